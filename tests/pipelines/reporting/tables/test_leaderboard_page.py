"""The leaderboard page, read with an HTML parser and, where Chromium is installed, in a browser."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from benchmarks.metrics import Column
from pipelines.reporting.tables.sheet import Sheet, leaderboard_html
from tests.pipelines.reporting.conftest import steps_only_of

COLUMNS = {"drawdown": Column("Drawdown", "points", 2), "success_rate": Column("Success rate", "%", 1)}
WORDS = {"caption": "All entries.", "scale_note": "Not CIFAR-10."}
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def html_of(frame, columns=COLUMNS, words=WORDS, **options) -> str:
    return leaderboard_html(Sheet("Leaderboard: <digits>", frame, columns, **options), **words)


class Page(HTMLParser):
    """Collects tags with attributes, and the text of each table row."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.rows, self.open = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "input"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def with_tag(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


def test_page_is_well_formed_and_needs_nothing_else(table1):
    html = html_of(table1)
    page = Page(html)
    assert page.open == []
    assert not {"link", "img", "iframe"} & {tag for tag, _ in page.tags}
    assert not any(name in attributes for _, attributes in page.tags for name in ("src", "srcset"))
    assert not re.search(r"https?://|url\(|@import|fetch\(", html)
    assert "&lt;digits&gt;" in html
    assert "prefers-color-scheme: dark" in html


def test_words_look_as_they_do_in_markdown(table1):
    html = html_of(table1, words=WORDS | {"caption": "*Views* of `a*b*c` ask 2 * 3 more."})
    assert "<p><em>Views</em> of <code>a*b*c</code> ask 2 * 3 more.</p>" in html


def test_steps_of_editors_without_gradients_are_dashes_that_sort_last(table1):
    frame = steps_only_of(table1, ["rmsprop", "momentum", "mine"])
    html = html_of(frame, COLUMNS | {"num_steps": Column("Steps", "", 2)})
    assert [row[-1].strip() for row in Page(html).rows[1:3]] == ["–", "3.10 [2.85, 3.60]"]
    assert '<td class="number" data-value="">–</td>' in html
    assert "the editor takes no gradient steps" in html


def test_rows_carry_the_numbers_of_the_frame(table1):
    page = Page(html_of(table1))
    assert page.rows[0] == [
        "Training", "Editor", "Layers", "Drawdown (points)", "Drawdown, paper", "Success rate (%)",
    ]  # fmt: skip
    assert [row[1] for row in page.rows[1:]] == list(table1["editor"])
    values = [attributes["data-value"] for attributes in page.with_tag("td") if "data-value" in attributes]
    found = np.array([float(value or "nan") for value in values]).reshape(len(table1), 3)
    np.testing.assert_array_equal(found, table1[["drawdown", "published_drawdown", "success_rate"]].to_numpy())
    assert page.rows[2][3] == "2.31 [2.06, 2.81]"


def test_chosen_hyperparameters_are_one_column(table1):
    page = Page(html_of(table1.assign(lr=[1e-3, np.nan, 0.02, 3.0], beta=0.5), chosen=["lr", "beta"]))
    assert page.rows[0][3] == "Chosen"
    assert [row[3] for row in page.rows[1:]] == ["lr 1e-3, β 0.5", "β 0.5", "lr 0.02, β 0.5", "lr 3, β 0.5"]


def test_headers_tell_how_they_are_sorted_and_the_filter_has_a_label(table1):
    page = Page(html_of(table1))
    assert [th["aria-sort"] for th in page.with_tag("th")] == ["none"] * 6
    assert all(th["scope"] == "col" for th in page.with_tag("th"))
    assert page.with_tag("label")[0]["for"] == page.with_tag("input")[0]["id"]
    assert page.with_tag("html")[0]["lang"] == "en"


def test_rows_below_95_percent_say_so(table1):
    page = Page(html_of(table1))
    classes = [tr.get("class") for tr in page.with_tag("tr")][1:]
    assert classes == [None, None, "below", None]
    assert ["below 95 %" in row[5] for row in page.rows[1:]] == [False, False, True, False]


def test_a_row_that_carries_no_further_than_the_unedited_network_says_so_and_is_not_strong(table1):
    frame = table1.assign(generality=[60.0, 30.0, 80.0, 8.0], generality_before=9.0)
    page = Page(html_of(frame))
    assert [tr.get("class") for tr in page.with_tag("tr")][1:] == [None, None, "below", "below"]
    assert ["no further" in row[3] for row in page.rows[1:]] == [False, False, False, True]
    assert [strong["title"] for strong in page.with_tag("strong")] == ["on the Pareto front"] * 2


def test_notes_are_reached_by_links(table1):
    page = Page(html_of(table1))
    assert [a["href"] for a in page.with_tag("a")] == ["#note-1"]
    assert [li["id"] for li in page.with_tag("li")] == ["note-1"]


def test_empty_frame_is_refused(table1):
    with pytest.raises(ValueError, match="no rows"):
        html_of(table1.iloc[:0])


@pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")
def test_a_browser_sorts_by_number_and_filters(table1, tmp_path):
    """Clicks in the page itself: by the paper's drawdown, down and up again, then a filter of two words."""
    clicks = """<script>
    const order = () => Array.from(document.querySelectorAll("tbody tr"), row => row.cells[1].textContent);
    const header = document.querySelectorAll("thead th")[4], seen = [];
    header.firstChild.click(); seen.push(header.getAttribute("aria-sort"), ...order());
    header.firstChild.click(); seen.push(header.getAttribute("aria-sort"), ...order());
    filter.value = "PLAIN chain3"; filter.dispatchEvent(new Event("input"));
    seen.push(document.getElementById("count").value);
    document.body.innerHTML = `<p id="seen">${seen.join(",")}</p>`;
    </script></body>"""
    page = tmp_path / "leaderboard.html"
    page.write_text(html_of(table1).replace("</body>", clicks), encoding="utf-8")
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    seen = re.search(r'<p id="seen">(.*?)</p>', dom).group(1).split(",")
    assert seen[:5] == ["ascending", "rmsprop", "momentum", "gd", "mine"]
    assert seen[5:10] == ["descending", "gd", "momentum", "rmsprop", "mine"]
    assert seen[10] == "1 of 4 rows"
