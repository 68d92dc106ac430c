"""The paper's claims about translation, judged on rows that are made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pipelines.reporting.claims.verdicts import Verdict
from pipelines.table6 import RowResult, published_name

from benchmarks.errors import InputError
from pipelines import table6_claims
from pipelines.config import params
from pipelines.reporting.claims import definitions
from pipelines.reporting.claims.definitions import Condition, Paper, Row
from pipelines.reporting.pages.claims import claims_markdown
from pipelines.reporting.tables import published
from pipelines.translation_job import RowCell
from pipelines.translation_settings import RowSettings, TranslationSettings, read
from tests.optional import needs, skip_without

ROOT = Path(__file__).parents[2]
EDITED = "rmsprop/last_decoder_layer"
HALVES, SMALLER_STEPS, COSTS = (
    "editable-training-halves-bleu-drawdown",
    "smaller-steps-are-more-local",
    "locality-costs-steps",
)


def _settings(c_loc: float = 100.0) -> TranslationSettings:
    editing = {"editor": "rmsprop", "hyperparameters": {"lr": 1e-3}, "c_edit": 100, "c_loc": c_loc, "pool": 4}
    row = {"editor": "rmsprop", "hyperparameters": {"lr": 1e-3}}
    return TranslationSettings.model_validate(
        {
            "note": "Small.",
            "data": {"corpus": "toy_translation"},
            "model": {},
            "trainings": {"plain": {"epochs": 1}, "mine": {"epochs": 1, "editing": editing}},
            "edits": {"count": 40},
            "rows": [row | {"training": "plain"}, row | {"training": "mine"}],
        }
    )


def _result(training: str, lr: float, drawdown: float, steps: int, **changed) -> RowResult:
    """40 edits that cost ``drawdown`` BLEU points, give or take, on 200 sentences that are half right."""
    row = RowSettings(training=training, editor="rmsprop", hyperparameters={"lr": lr})
    noise = np.linspace(-0.1, 0.1, 40)
    records = pd.DataFrame({"edit": range(40), "sentence": range(40), "target": "so", "bleu_before": 50.0})
    records = records.assign(bleu_after=50.0 - drawdown + noise, steps=[steps, steps + 1] * 20, succeeded=True)
    counts = np.tile([8, 6, 5, 4, 10, 9, 8, 7, 10, 10], (200, 1))
    given = {"records": records, "counts": counts} | changed
    described = {"hyperparameters": {"lr": lr}, "bleu": 66.0}
    return RowResult(RowCell(row, 0), described, given["records"], pd.Series([1.0]), {}, given["counts"], 1.0)


def _results(**changed) -> list[RowResult]:
    return [
        _result("plain", 1e-3, 0.8, 2),
        _result("mine", 1e-3, 0.4, 3, **changed),
        _result("mine", 3e-4, 0.2, 5),
    ]


def _judge(results, c_loc: float = 100.0):
    skip_without("sacrebleu")
    judged = table6_claims.judge(definitions.load(table6_claims.FILE), _settings(c_loc), results)
    return {one.name: one for one in judged}


def test_numbers_as_in_the_paper_hold():
    judged = _judge(_results())
    assert {name: one.verdict for name, one in judged.items()} == dict.fromkeys(
        (HALVES, SMALLER_STEPS, COSTS), Verdict.HOLDS
    )
    drawdown, quality = judged[HALVES].comparisons
    assert drawdown.estimate.value == pytest.approx(-0.4)
    assert [side.published for side in drawdown.sides] == [0.35, 0.76]
    assert drawdown.method == "paired, the same 40 edits of each of two models"
    assert quality.estimate == (quality.estimate.__class__)(0.0, 0.0, 0.0)
    assert quality.method == "paired, the same 200 test sentences"


def test_a_worse_translator_does_not_pass_for_an_equal_one():
    worse = np.tile([5, 3, 2, 1, 10, 9, 8, 7, 10, 10], (200, 1))
    judged = _judge(_results(counts=worse))[HALVES]
    assert judged.comparisons[0].verdict is Verdict.HOLDS
    assert judged.verdict is Verdict.FAILS


def test_another_c_loc_stands_in_with_a_note():
    judged = _judge(_results(), c_loc=3000.0)
    assert judged[HALVES].verdict is Verdict.HOLDS
    (note,) = judged[HALVES].comparisons[0].caveats
    assert note.startswith(f"mine/{EDITED}/0.001: was trained with c_loc = 3000")
    assert not _judge(_results())[HALVES].comparisons[0].caveats
    page = claims_markdown(list(judged.values()), title="Claims", scale_note="Small.", scope=table6_claims.SCOPE)
    assert f"BLEU drawdown of `mine/{EDITED}/0.001` < `plain/{EDITED}/0.001` | 0.35 vs. 0.76" in page
    assert "Best part" not in page


@needs("sacrebleu")
def test_rows_with_the_papers_c_loc_are_judged_even_if_another_comes_first():
    chosen = _settings()
    mine = chosen.trainings["mine"]
    other = mine.model_copy(update={"editing": mine.editing.model_copy(update={"c_loc": 3000.0})})
    trainings = {"plain": chosen.trainings["plain"], "strong": other, "mine": mine}
    chosen = chosen.model_copy(update={"trainings": trainings})
    plain, *papers = _results()
    results = [plain, _result("strong", 1e-3, 0.1, 9), _result("strong", 3e-4, 0.1, 9), *papers]
    for judged in table6_claims.judge(definitions.load(table6_claims.FILE), chosen, results):
        for comparison in judged.comparisons:
            assert {side.row.training for side in comparison.sides} <= {"plain", "mine"}
            assert not comparison.caveats


def test_the_generated_corpus_has_every_row_of_the_papers_table():
    chosen = read(params.load(ROOT / "params.yaml"), "toy_translation")
    ours = {
        (published_name(chosen, row.training), row.editor, row.layers, row.hyperparameters["lr"])
        for row in chosen.rows
        if not row.search
    }
    paper = published.load("table6")
    assert len(paper) == 3
    assert ours >= set(paper[["training", "editor", "layers", "lr"]].itertuples(index=False, name=None))


def test_what_was_not_measured_is_named():
    judged = _judge(_results()[:2])[SMALLER_STEPS]
    assert judged.verdict is Verdict.NOT_MEASURED
    assert judged.comparisons[0].missing == (f"editable-100-rmsprop-last_decoder_layer/{EDITED}/0.0003",)


def test_failures_are_noted_and_other_edits_refused():
    records = _results()[1].records
    judged = _judge(_results(records=records.assign(succeeded=[True, False] * 20)))[HALVES]
    assert any("only 50.0 % of its edits succeeded" in note for note in judged.comparisons[0].caveats)
    with pytest.raises(InputError, match="were not measured on the same edits: evaluate them again"):
        _judge(_results(records=records.assign(sentence=range(1, 41))))


def test_rows_of_table_6_have_a_learning_rate():
    row = Row.parse(f"plain/{EDITED}/0.001")
    assert (row.lr, str(row)) == ("0.001", f"plain/{EDITED}/0.001")
    assert Paper().value(row, "bleu_drawdown") == 0.76
    with pytest.raises(InputError, match="the paper has no row .* in Table 6"):
        Paper().value(Row.parse(f"plain/{EDITED}/0.01"), "bleu")
    with pytest.raises(ValueError, match="bleu is that of a row with a learning rate"):
        Condition(rule="larger", metric="bleu", of=f"plain/{EDITED}", than=[f"plain/{EDITED}"])
