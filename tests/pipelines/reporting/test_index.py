"""results/README.md, from files as reports leave them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks.errors import InputError
from pipelines.reporting.index import write_index
from pipelines.tasks import kinds

TOLD = [task.presentation for task in kinds()]
RUN = {
    "command": "dvc repro report@mine",
    "git_commit": "0123456789abcdef-dirty",
    "machine": "AMD EPYC, 2 cores",
    "training_seeds": [0],
    "edit_seeds": [0],
    "data": {"source": "Digits.", "sizes": {"training": 1000}},
    "parameters": {"benchmark": {"note": "As it was said when this was run."}},
    "made_elsewhere": {},
}
ROWS = pd.DataFrame(
    {
        "training": ["plain", "editable", "plain"],
        "editor": ["lookup_cache", "rmsprop", "rmsprop"],
        "layers": ["all", "chain3", "chain3"],
        "trials": 2,
        "test_error": [6.0, 6.5, 6.0],
        "drawdown": [0.1, 1.25, 2.0],
        "drawdown_low": [0.05, 1.0, 1.5],
        "drawdown_high": [0.15, 1.5, 2.5],
        "success_rate": [100.0, 97.0, 98.0],
        "generality": [10.0, 50.0, 40.0],
        "generality_before": 10.0,
        "edits": 150,
        "note": [None, None, "one step short"],
        "published_drawdown": [None, None, 1.77],
    }
)
TABLE = ROWS.assign(appendix=[True, False, False])
NAMES = {"test_error": "bleu", "drawdown": "bleu_drawdown"}
TRANSLATED = ROWS.rename(columns=lambda name: name.replace("test_error", "bleu").replace("drawdown", "bleu_drawdown"))


def report(results: Path, name: str, board: pd.DataFrame = ROWS, **more: Any) -> Path:
    """What a report leaves of a benchmark, as far as the index looks; ``more`` are tables, or parts of run.json."""
    folder = results / name
    folder.mkdir(parents=True)
    board.to_csv(folder / "leaderboard.csv", index=False)
    for table in [key for key, value in more.items() if isinstance(value, pd.DataFrame)]:
        more.pop(table).to_csv(folder / f"{table}.csv", index=False)
        (folder / f"{table}.md").write_text("# A table")
    (folder / "run.json").write_text(json.dumps(RUN | more))
    return folder


def index(results: Path, **options: Any) -> str:
    write_index(results, TOLD, **options)
    return (results / "README.md").read_text()


def test_a_page_says_what_was_found_and_what_made_it(tmp_path):
    folder = report(tmp_path, "mine", table3=TABLE, made_elsewhere={"NVIDIA H200 at commit 0123456789ab": 3})
    (folder / "tuned/rmsprop").mkdir(parents=True)
    (folder / "tuned/rmsprop/plain-chain3.csv").write_text("number\n0\n1\n")
    (folder / "figures").mkdir()
    (folder / "figures/table3.png").write_bytes(b"")
    index(tmp_path)
    text = (folder / "README.md").read_text()
    assert text.startswith("# mine\n\nAs it was said when this was run.\n\n**On the Pareto front of drawdown and")
    assert "1 of 3 rows ([leaderboard](leaderboard.md))" in text
    assert "Before any edit it is 10 %." in text
    assert "| editable | rmsprop | chain3 | 6.50 % | **1.25** [1.00, 1.50] | **50.0 %** | 97.0 % |" in text
    assert "lookup_cache" not in text  # it breaks least, and reaches nothing
    assert "Data: Digits. Tuning tried 2 configurations" in text
    assert "Made on AMD EPYC, 2 cores at commit `0123456789ab` with local changes to its code; again with" in text
    assert "Of these, 3 rows were made on NVIDIA H200 at commit 0123456789ab." in text
    assert "![Drawdown and test error of every way to edit](figures/table3.png)" in text
    assert "| Table 3: Editable Training and its baselines | [table3.md](table3.md) | [table3.csv](table3.csv)" in text
    assert "| Chosen hyperparameters and all trials |  | [tuned/](tuned/) |" in text
    assert "Table 1" not in text


def test_an_empty_folder_which_git_does_not_keep_is_not_linked(tmp_path):
    folder = report(tmp_path, "mine")
    (folder / "joint").mkdir()
    index(tmp_path)
    assert "joint/" not in (folder / "README.md").read_text()
    (folder / "joint/records.csv").write_text("draw\n0\n")
    index(tmp_path)
    assert "[joint/](joint/)" in (folder / "README.md").read_text()


def test_what_edited_is_named_not_what_is_there_now(tmp_path):
    folder = report(tmp_path, "mine", hardware={"cpu": "AMD EPYC", "cores": 2, "gpu": "NVIDIA H200"})
    index(tmp_path)
    assert "Made on AMD EPYC, 2 cores at commit" in (folder / "README.md").read_text()


def test_the_index_has_a_line_for_each_benchmark_with_the_front_of_the_papers_rows_and_of_all(tmp_path):
    block = {"note": "", "model": {"architecture": "resnet18", "options": {"width": 8}}, "trainings": {"plain": {}}}
    report(tmp_path, "mine", table3=TABLE, parameters={"benchmark": block})
    text = index(tmp_path)
    cells = [
        "[mine](mine/README.md)",
        "Digits<br>1,000 to train on<br>resnet18, width 8",
        "test error 6.00 %",
        "**2.00** at 40.0 %: `rmsprop` on chain3, plain",
        "**1.25** at 50.0 %: `rmsprop` on chain3, editable",
        "[leaderboard](mine/leaderboard.md)",
    ]
    assert f"| {' | '.join(cells)} |" in text
    assert "How to read: a good edit breaks little (drawdown) and reaches far (generality)" in text


def test_benchmarks_are_ordered_by_kind_main_table_and_size(tmp_path):
    larger = {"data": {"source": "More.", "sizes": {"training": 50000}}}
    report(tmp_path, "a-translator", TRANSLATED, table6=TRANSLATED.assign(appendix=False), **larger)
    report(tmp_path, "b-without-tables", **larger)
    report(tmp_path, "c-finetuned", table4=TABLE.assign(architecture="resnet18"), **larger)
    report(tmp_path, "d-shorter", ROWS.iloc[:2], table3=TABLE)
    report(tmp_path, "e-small", table3=TABLE)
    report(tmp_path, "f-large", table3=TABLE, **larger)
    (report(tmp_path, "g-being-written") / "run.json").unlink()
    (tmp_path / "published").mkdir()
    (tmp_path / "published/table1.csv").write_text("training\n")
    order = re.findall(r"^\| \[(.*?)\]\(", index(tmp_path), re.MULTILINE)
    assert order == ["f-large", "e-small", "d-shorter", "c-finetuned", "b-without-tables", "a-translator"]


def test_another_kind_of_task_is_told_in_its_own_words(tmp_path):
    folder = report(tmp_path, "mine", TRANSLATED, table6=TRANSLATED.assign(appendix=False))
    (folder / "translations").mkdir()
    (folder / "translations/plain.csv").write_text("translation\n")
    assert "| BLEU 6.00 | **2.00** at 40.0 %" in index(tmp_path)
    text = (folder / "README.md").read_text()
    assert "**On the Pareto front of BLEU drawdown and generality**" in text
    assert "| Training | Editor | Layers | BLEU | BLEU drawdown (points) | Generality (%) | Success (%) |" in text
    assert "| Test translations before any edit |  | [translations/](translations/) |" in text


def test_all_claims_are_counted(tmp_path):
    folder = report(tmp_path, "mine")
    assert "claims.md" not in index(tmp_path)
    verdicts = {
        "claim": ["a", "a", "b", "c"],
        "says": ["x < y.", "x < y.", "z.", "ours."],
        "source": ["T", "T", "T", None],
    }
    verdicts["claim_verdict"] = ["holds", "holds", "undecided", "does not hold"]
    pd.DataFrame(verdicts).to_csv(folder / "claims.csv", index=False)
    counts = "1 holds, 1 does not hold, 1 is undecided, 0 were not measured"
    assert f"| [mine](mine/README.md)<br>[{counts}](mine/claims.md) |" in index(tmp_path)
    text = (folder / "README.md").read_text()
    assert "| The paper's claims: 1 holds, 0 do not hold, 1 is undecided, 0 were not measured; Our own claims:" in text


def test_pages_that_were_written_by_hand_and_warnings_stand_first(tmp_path):
    (tmp_path / "FINDINGS.md").write_text("# What we found\n\nMuch.")
    text = index(tmp_path, warning="MLflow was <b>not</b> filled")
    assert "- [What we found](FINDINGS.md)" in text
    assert "> **Warning:** MLflow was &lt;b&gt;not&lt;/b&gt; filled" in text


def test_text_of_others_is_shown_as_it_is(tmp_path):
    hostile = "<script>x</script> [here](http://evil) | `b`\n# no heading"
    changes = {"data": {"source": hostile, "sizes": {}}, "machine": hostile, "command": hostile}
    changes |= {"git_commit": "<b>`|", "made_elsewhere": {hostile: 1}, "parameters": {"benchmark": {"note": hostile}}}
    report(
        tmp_path, "mine", ROWS.assign(training=hostile, note=hostile), table3=TABLE.assign(training=hostile), **changes
    )
    markdown = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable("table")
    for text, cells in ((index(tmp_path), 6), ((tmp_path / "mine/README.md").read_text(), 7 + 3 * 3)):
        page = markdown.render(text)
        assert "<script>" not in page
        assert 'href="http' not in page
        assert page.count("<h1>") == 1
        assert page.count("</td>") == cells


@pytest.mark.parametrize("broken", ["training,editor\nplain\n", "training,drawdown\nplain,1\n"])
def test_broken_results_are_named(tmp_path, broken):
    (report(tmp_path, "mine") / "leaderboard.csv").write_text(broken)
    with pytest.raises(InputError, match=r"the results in .*mine are broken .* pipelines.report mine"):
        index(tmp_path)
