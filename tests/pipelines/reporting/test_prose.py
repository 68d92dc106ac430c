"""Pages of prose: the numbers that are filled in, and the committed templates."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pandas as pd
import pytest

from pipelines.reporting.prose import FIELD, TEMPLATES, write_pages
from pipelines.tasks import kinds

RESULTS = Path(__file__).parents[3] / "results"
TOLD = [task.presentation for task in kinds()]
PAGES = sorted((RESULTS / TEMPLATES).glob("*.md"))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Tables of one benchmark, as reports leave them."""
    folder = tmp_path / "mine"
    folder.mkdir()
    names = {"training": "plain", "editor": ["gd", "rmsprop"], "layers": "chain3"}
    drawdowns = {"drawdown": [7.176, 2.0], "drawdown_low": [6.2, 1.5], "drawdown_high": [8.11, 2.5]}
    board = pd.DataFrame({**names, **drawdowns, "generality": [44.8, 50.0], "published_drawdown": [5.3, None]})
    board.to_csv(folder / "leaderboard.csv", index=False)
    claim = {
        "claim": "c",
        "claim_verdict": "undecided",
        "claim_p_holm": 1.0,
        "says": "One beats | another.",
        "scale": "difference",
    }
    comparisons = {"verdict": ["holds", "undecided"], "metric": ["drawdown", "test_error"], "than": "plain/gd/chain3"}
    ends = {"estimate": [-3.0, 1.0], "estimate_low": [-4.0, -0.5], "estimate_high": [-2.0, 2.5]}
    claims = pd.DataFrame({**claim, **comparisons, **ends})
    doubtful = claims[:1].assign(claim="of_many", claim_verdict="holds", claim_p_holm=0.06)
    pd.concat([claims, doubtful]).to_csv(folder / "claims.csv", index=False)
    counted = {**names, "count": [5, 25], "in_force": [100.0, 46.25], "in_force_std": [0.0, 12.6]}
    pd.DataFrame({**counted, "editor": "gd"}).to_csv(folder / "joint.csv", index=False)
    return tmp_path


def page(results: Path, template: str) -> tuple[str, list[str]]:
    (results / TEMPLATES).mkdir(exist_ok=True)
    (results / TEMPLATES / "P.md").write_text(template)
    problems = write_pages(results, TOLD)
    first, _, text = (results / "P.md").read_text().partition("\n\n")
    assert first == "<!-- Made by `python -m pipelines.report` from pages/P.md, which is the file to change. -->"
    return text, problems


@pytest.mark.parametrize(
    ("field", "text"),
    {
        "an interval": ("mine/leaderboard plain/gd/chain3 drawdown", "7.18 [6.20, 8.11]"),
        "a percentage": ("mine/leaderboard plain/gd generality", "44.8 %"),
        "the paper's": ("mine/leaderboard plain/gd/chain3 published_drawdown", "5.3"),
        "alternatives": ("mine/leaderboard other/gd,plain/rmsprop drawdown", "2.00 [1.50, 2.50]"),
        "a spread": ("mine/joint plain/gd/chain3/25 in_force", "46.2 % ± 12.6"),
        "a verdict": ("mine/claims c", "**undecided**: test error +1.00 [-0.50, +2.50]"),
        "one of many": ("mine/claims of_many", "**holds** °: -3.00 [-4.00, -2.00]"),
        "another benchmark": ("other/leaderboard plain/gd/chain3 drawdown", "*not measured*"),
    }.values(),
)
def test_a_field_becomes_what_the_table_says(results, field, text):
    assert page(results, f"It is {{{{{field}}}}}.") == (f"It is {text}.", [])


def test_tables_of_rows_and_claims(results):
    asked = "{{rows mine/leaderboard other/leaderboard | drawdown generality |\nsteepest = plain/gd/chain3}}"
    rows = "|  | Drawdown (points) | Generality (%) |\n| --- | ---: | ---: |\n| steepest | 7.18 [6.20, 8.11] | 44.8 % |"
    assert page(results, asked) == (rows, [])
    text, problems = page(results, "{{claims mine other | absent,c}}")
    assert problems == []
    assert text.splitlines()[0] == "| claim | [mine](mine/claims.md) |"
    assert text.splitlines()[2] == "| One beats \\| another. | **undecided**: test error +1.00 [-0.50, +2.50] |"


@pytest.mark.parametrize(
    ("field", "name"),
    {
        "a row": ("mine/leaderboard plain/adam/chain3 drawdown", "plain/adam/chain3"),
        "several rows": ("mine/leaderboard plain drawdown", "several rows 'plain'"),
        "a column": ("mine/leaderboard plain/gd/chain3 bleu", "no column 'bleu'"),
        "a claim": ("mine/claims d", "'d'"),
        "a claim of a table": ("claims mine | d", "'d'"),
        "a row of a table": ("rows mine/leaderboard | drawdown | A = plain/adam", "'plain/adam'"),
        "nothing asked": ("rows mine/leaderboard", "rows mine/leaderboard"),
        "an empty field": ("", ""),
    }.values(),
)
def test_a_name_that_is_not_there_is_told_with_its_page_and_line(results, field, name):
    text, (problem,) = page(results, f"One\n\nand {{{{{field}}}}}.")
    assert text == "One\n\nand *not measured*."
    assert problem.startswith("pages/P.md, line 3: ")
    assert name in problem


def committed(folder: Path) -> Path:
    """A copy of what pages are made of: links to the folders of benchmarks, and templates."""
    for path in RESULTS.iterdir():
        if path.suffix != ".md":
            (folder / path.name).symlink_to(path)
    return folder


def test_committed_pages_say_what_committed_tables_say(tmp_path):
    assert write_pages(committed(tmp_path), TOLD) == []
    assert PAGES
    for template in PAGES:
        assert (tmp_path / template.name).read_bytes() == (RESULTS / template.name).read_bytes(), (
            f"results/{template.name} is not what its template gives: run `python -m pipelines.report digits`"
        )


@pytest.mark.parametrize("template", PAGES, ids=lambda path: path.stem)
def test_pages_are_prose_with_few_numbers(template):
    text = template.read_text(encoding="utf-8")
    text = FIELD.sub(lambda match: "" if match[1].split()[0] in ("rows", "claims") else " 1 ", text)
    text = re.sub(r"\]\([^)]*\)|`[^`]*`", "", text)
    numbers = re.findall(r"(?<![\w-])\d[\d.,]*", text)
    words = re.findall(r"[A-Za-z][\w'-]*", text)
    assert len(words) >= 15 * len(numbers), f"{len(words)} words, {len(numbers)} numbers: {numbers}"


@pytest.mark.parametrize("template", PAGES, ids=lambda path: path.stem)
def test_pages_are_short_and_their_links_lead_somewhere(template):
    text = (RESULTS / template.name).read_text(encoding="utf-8")
    assert text.count("\n") <= 120
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (RESULTS / link).exists(), link


def test_what_is_said_of_another_processor_is_what_was_found_there():
    text = " ".join((RESULTS / "MEASURES.md").read_text(encoding="utf-8").split())
    both = pd.read_csv(RESULTS / "another_processor.csv")
    left = ~both["drawdown_again"].between(both["drawdown_low"], both["drawdown_high"])
    assert "about a third of the drawdowns on digits left the first run's intervals" in text
    assert 0.29 < left.mean() < 0.38
    verdicts = pd.read_csv(RESULTS / "another_processor_claims.csv")[["verdict", "verdict_again"]]
    changed = verdicts[verdicts["verdict"] != verdicts["verdict_again"]]
    assert "about a sixth were decided in one run and not in the other, and none was reversed" in text
    assert 0.14 < len(changed) / len(verdicts) < 0.19
    assert (changed == "undecided").any(axis=1).all()


README_ROWS = {
    ("plain", "gradient descent"): "plain/gd/chain3",
    ("plain", "RMSProp"): "plain/rmsprop/chain3",
    ("plain, the paper's width", "gradient descent"): "plain-width-64/gd/chain3",
    ("plain, the paper's width", "RMSProp"): "plain-width-64/rmsprop/chain3",
    ("plain, trained as long", "RMSProp"): "plain-longer/rmsprop/chain3",
    ("Editable+CNP", "condition vector, no steps"): "cnp/condition_vector/condition",
    ("DkNN, k = 10", "flipped labels"): "dknn-10/flip_labels/votes",
    ("Editable Training, c = 0.01", "RMSProp"): "editable-0.01-rmsprop-chain3/rmsprop/chain3",
    ("Editable Training, c = 0.1", "RMSProp"): "editable-0.1-rmsprop-chain3/rmsprop/chain3",
    ("plain", "covariance (beyond the paper)"): "plain/covariance/chain3",
    ("plain", "rank one, last layer (beyond the paper)"): "plain/rank_one/head",
}
"""What the first two columns of README's table call rows of cifar10_half."""


def test_the_table_of_the_readme_is_that_of_the_leaderboard():
    board = pd.read_csv(RESULTS / "cifar10_half" / "leaderboard.csv").set_index(["training", "editor", "layers"])
    lines = (RESULTS.parent / "README.md").read_text(encoding="utf-8").splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("| training | editor |"))
    told = {}
    for line in itertools.takewhile(lambda line: line.startswith("|"), lines[start + 2 :]):
        training, editor, *numbers = (cell.strip() for cell in line.strip("|").split("|"))
        told[training, editor] = numbers
    assert told.keys() == README_ROWS.keys()
    for names, numbers in told.items():
        training, *edited = README_ROWS[names].split("/")
        row = board.loc[(training, *edited)]
        published = board.loc[("plain", *edited) if training == "plain-width-64" else row.name, "published_drawdown"]
        drawdown = f"{row['drawdown']:.2f} [{row['drawdown_low']:.2f}, {row['drawdown_high']:.2f}]"
        paper = f"{published:g}" if pd.notna(published) else "–"
        others = [f"{row[name]:.1f}" for name in ("success_rate", "generality")]
        assert numbers == [f"{row['test_error']:.2f}", drawdown, *others, paper], names
