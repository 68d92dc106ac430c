"""The site of all leaderboards: its data, its paired intervals, and the page in a real browser."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import metrics
from benchmarks.scoring.measures import IMAGES
from pipelines.reporting.site import SITE, differences, write_site
from pipelines.tasks import kinds
from tests.pipelines.reporting.test_index import ROWS, TRANSLATED, report

TOLD = [task.presentation for task in kinds()]
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "</script><img src=x onerror=alert(1)>"


def records(flips: list[int], **more) -> pd.DataFrame:
    """Edits of the same images, after which so many of 100 control images are wrong, of 10 before."""
    count = len(flips)
    return pd.DataFrame(
        {
            "edit": range(count),
            "image": range(count),
            "label": 1,
            "target": 2,
            "predicted": 1,
            "trivial": False,
            "succeeded": True,
            "steps": 2,
            "loss": 0.1,
            "control_images": 100,
            "control_size": 100,
            "wrong_before": 10,
            "wrong_after": [10 + flip for flip in flips],
            "flips": flips,
            "kl": 0.1,
            "views": 4,
            "views_before": 0,
            "views_after": 2,
        }
    ).assign(**more)


def site(results: Path) -> str:
    write_site(results, TOLD)
    return (results / SITE).read_text()


def data_of(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S).group(1))


def test_rows_of_all_benchmarks_with_their_standing_and_links_to_what_is_there(tmp_path):
    folder = report(tmp_path, "mine")
    report(tmp_path, "translated", TRANSLATED)
    (folder / "edits/rmsprop").mkdir(parents=True)
    (folder / "figures").mkdir()
    (folder / "figures/tuning-rmsprop.png").write_bytes(b"")
    found = data_of(site(tmp_path))
    assert [one["name"] for one in found["benchmarks"]] == ["mine", "translated"]
    rows = found["benchmarks"][0]["rows"]
    assert [row["standing"] for row in rows] == [
        "not clearly more general than the unedited network", "on the Pareto front", "beaten",
    ]  # fmt: skip
    assert rows[1]["values"]["drawdown"] == [1.25, 1.0, 1.5]
    assert rows[2]["paper"] == 1.77
    assert rows[1]["links"] == [["figure: the tuning", "mine/figures/tuning-rmsprop.png"]]
    assert found["benchmarks"][1]["drawdown"] == "bleu_drawdown"


def test_records_of_other_edits_are_linked_and_the_one_tuning_beside_them(tmp_path):
    folder = report(tmp_path, "mine")
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(run | {"training_seeds": [0], "edit_seeds": [1]}))
    found = data_of(site(tmp_path))["benchmarks"][0]["rows"][1]
    training, editor, layers = found["keys"]
    for kind, name in (("edits", f"{training}-{layers}@1"), ("tuned", f"{training}-{layers}")):
        (folder / kind / editor).mkdir(parents=True)
        (folder / kind / editor / f"{name}.csv").write_text("")
    found = data_of(site(tmp_path))["benchmarks"][0]["rows"][1]
    assert [words for words, _ in found["links"]] == ["a record per edit", "trials of the tuning"]


def test_pairs_have_the_interval_of_their_differences():
    """Compared with the bootstrap of each difference alone, which the tables use."""
    rng = np.random.default_rng(0)
    of = {place: records(rng.integers(0, 9, 40).tolist()) for place in (0, 2, 5)}
    found = differences(IMAGES, "drawdown", of)
    assert set(found) == {(0, 2), (0, 5), (2, 5)}
    for (first, other), ends in found.items():
        difference = (of[first]["wrong_after"] - of[other]["wrong_after"]).to_numpy(dtype=float)
        expected = metrics.mean(difference, "drawdown")
        np.testing.assert_allclose(ends, [expected.value, expected.low, expected.high], atol=1e-9)


def test_text_of_others_stays_text_and_the_page_needs_nothing_else(tmp_path):
    report(tmp_path, "mine", ROWS.assign(training=HOSTILE, note=HOSTILE))
    page = site(tmp_path)
    assert HOSTILE not in page
    assert data_of(page)["benchmarks"][0]["rows"][0]["note"] == HOSTILE
    assert "default-src 'none'" in page
    assert "innerHTML" not in page
    assert not re.search(r'https?://(?!www\.w3\.org/2000/svg")|url\(|@import|fetch\(', page)


def browse(page: Path, script: str, address: str = "") -> list:
    """What a script in the page leaves in ``seen``, read after it ran in a browser."""
    text = page.read_text().replace("</body>", f"""<script>
    const seen = [], frame = id => document.getElementById(id), texts = place =>
      Array.from(document.querySelectorAll("#rows tbody tr[data-id]"), row => row.cells[place].textContent.trim());
    {script}
    document.body.replaceChildren(make("p", {{id: "seen"}}, JSON.stringify(seen)));
    </script></body>""")  # fmt: skip
    page.with_name("driven.html").write_text(text)
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=400,800",
        f"--user-data-dir={page.parent / 'profile'}", "--dump-dom", page.with_name("driven.html").as_uri() + address,
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    return json.loads(html.unescape(re.search(r'<p id="seen">(.*?)</p>', dom).group(1)))


@pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")
def test_a_browser_sorts_filters_opens_compares_and_remembers(tmp_path):
    folder = report(tmp_path, "mine", ROWS.assign(note=HOSTILE))
    for training, editor, layers, flips in (
        ("editable", "rmsprop", "chain3", [1, 2, 1, 2]), ("plain", "rmsprop", "chain3", [5, 5, 6, 6]),
    ):  # fmt: skip
        path = folder / f"edits/{editor}/{training}-{layers}"
        path.parent.mkdir(parents=True, exist_ok=True)
        records(flips).to_csv(f"{path}.csv", index=False)
        described = {"protocol": 2, "edits": 4, "hyperparameters": {}, "max_steps": 10, "feasible": True}
        described |= {"training": training, "editor": editor, "layers": layers, "dataset": "d", "fingerprint": "f"}
        described |= {"min_success": 95.0, "tuning": None, "made": {"commit": "beef", "machine": "a computer"}}
        Path(f"{path}.json").write_text(json.dumps(described))
    report(tmp_path, "translated", TRANSLATED)
    site(tmp_path)
    seen = browse(
        tmp_path / SITE,
        """
    seen.push(texts(1));
    frame("sort:drawdown").click(); frame("sort:drawdown").click();
    seen.push(frame("sort:drawdown").closest("th").getAttribute("aria-sort"), texts(5));
    frame("pick:mine/plain/rmsprop/chain3").click(); frame("pick:mine/editable/rmsprop/chain3").click();
    seen.push(document.querySelector(".difference").textContent);
    frame("open:mine/plain/rmsprop/chain3").click();
    seen.push(document.querySelector("#rows dl a").getAttribute("href"), document.images.length);
    seen.push(csv().split("\\n")[1]);
    frame("q").value = "RMSPROP plain"; frame("q").dispatchEvent(new Event("input"));
    seen.push(frame("count").value, document.querySelectorAll("circle").length, decodeURIComponent(location.hash));
    seen.push(document.documentElement.scrollWidth <= innerWidth);
    """,
        "#benchmark=mine",
    )
    assert seen[0] == ["plain", "editable", "plain"]
    assert seen[1:3] == ["descending", ["2.00 [1.50, 2.50]", "1.25 [1.00, 1.50]", "† 0.10 [0.05, 0.15]"]]
    assert seen[3].startswith("-4.00 [-")
    assert seen[4:6] == ["mine/edits/rmsprop/plain-chain3.csv", 0]
    assert seen[6].startswith("plain,rmsprop,chain3,beaten,2,1.5,2.5,")
    assert seen[7:9] == ["1 of 3 rows", 3]
    assert "sort=-drawdown" in seen[9]
    assert "pick=mine/plain/rmsprop/chain3" in seen[9]
    assert seen[10]
