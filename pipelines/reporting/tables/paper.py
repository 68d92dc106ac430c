"""The paper's tables as data, and Tables 1 to 5: which results stand where, in which order, beside which numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from pipelines.jobs.cells import KEYS
from pipelines.reporting.ranking import STANDINGS, standing
from pipelines.reporting.tables.presentation import Table
from pipelines.reporting.tables.results import CellResult, rows_of

DIRECTORY = Path(__file__).resolve().parents[3] / "results" / "published"

NAMES = ("architecture", *KEYS, "source")
"""Columns of text; all others are numbers."""
ARCHITECTURE = "resnet18"
"""Of the trainings of Table 4 that name none."""
TABLE_2_EDITORS = ("gd", "rmsprop")
WORKAROUNDS = ("lookup_cache", "retrain")
"""Editors that stand in Table 3's appendix: the paper's introduction names them, no table measures them."""
BASELINE = "plain"
"""The training whose models Tables 1 and 2 edit."""
PAPER_PART = "extra"
"""The part that the rows of Table 5 edit: section 4.3.1 speaks of the best models of section 4.3."""
NOT_RUN = "not part of this run"
_NONE = pd.DataFrame(columns=KEYS)


def load(table: str) -> pd.DataFrame:
    """Read one published table, such as ``"table1"`` or ``"table5_similar"``.

    Names are strings, empty where the paper names nothing; metrics are floats (%, percentage points, steps and so on),
    NaN where the paper has no number.
    """
    cells = pd.read_csv(DIRECTORY / f"{table}.csv", dtype=str, keep_default_na=False)
    return cells.assign(**{name: pd.to_numeric(cells[name]).astype(float) for name in cells if name not in NAMES})


def named(table: str) -> pd.DataFrame:
    """A published table whose training, editor and layers name a row alone, as they do here.

    In Table 4, a network with a random extra block is a training of its own here, ``extended``, and the trainings of
    DenseNet-169 begin with its name. Where rows differ in a learning rate, the editor's name ends with it, such as
    ``rmsprop_1e-3``.
    """
    frame = load(table)
    if "architecture" in frame:
        prefixes = [f"{name}-" * (name != ARCHITECTURE) for name in frame["architecture"]]
        extended = (frame["training"] == "pretrained") & (frame["layers"] == "extra")
        frame["training"] = prefixes + frame["training"].mask(extended, "extended")
    if "lr" in frame:
        rates = [f"{value:.0e}".replace("e-0", "e-") for value in frame.pop("lr")]
        frame["editor"] = frame["editor"] + "_" + rates
    return frame


def architecture_of(training: str) -> str:
    """The architecture of a training of Table 4, as the table calls it."""
    others = load("table4")["architecture"].unique()
    return next((name for name in others if training.startswith(f"{name}-")), ARCHITECTURE)


def beside(measured: pd.DataFrame, published: pd.DataFrame, on: Sequence[str]) -> pd.DataFrame:
    """Add the published metrics to measured rows as ``published_<metric>``, NaN where there is none.

    ``on`` names the columns that identify a row in both frames: ``["editor"]`` for Table 1, whose rows do not
    say which layers they edit, else ``["training", "editor", "layers"]``. Rows and index of ``measured`` stay.

    :raises ValueError: when several published rows share the same names.
    """
    metrics = {metric: f"published_{metric}" for metric in published if metric not in NAMES}
    asked, cells = (frame[[*on]].astype(object).fillna("").astype(str) for frame in (measured, published))
    cells = cells.join(published[[*metrics]].rename(columns=metrics))
    found = asked.merge(cells, how="left", on=[*on], validate="many_to_one")
    return measured.assign(**{name: found[name].to_numpy() for name in metrics.values()})


def leaderboard(results: Sequence[CellResult], tables: Sequence[str]) -> pd.DataFrame:
    """One row per cell, in the order of :data:`pipelines.reporting.ranking.STANDINGS` and, within one, of drawdown.

    :param tables: where the paper's number is looked for; of several that have a row, the first.
    :returns: the columns of :func:`pipelines.reporting.tables.results.rows_of`, and ``published_…``.
    """
    paper = pd.concat([named(name) for name in tables] or [_NONE], ignore_index=True)
    paper = paper[(paper["layers"] != "") | (paper["training"] != BASELINE)]  # not those of an unnamed part
    rows = _beside(results, paper.drop_duplicates(KEYS, keep="first"))
    rows.insert(rows.columns.get_loc("proposed_by") + 1, "standing", standing(rows, results[0].measures.drawdown))
    return rows.iloc[_ranking(results)].reset_index(drop=True)


def best_part(results: Sequence[CellResult]) -> CellResult:
    """Of several parts of one model, the one with the smallest drawdown *on the tuning split*, feasible ones first.

    :raises ValueError: for no results.
    """

    def rank(result: CellResult) -> tuple[bool, float]:
        tuning, feasible = result.tuning, result.description["feasible"]
        if not tuning:  # its values were given
            return False, math.inf
        return not feasible, tuning["drawdown"] if feasible else -tuning["success_rate"]

    return min(results, key=rank)


def table1(results: Sequence[CellResult]) -> pd.DataFrame:
    """Each editor on the part of the plain model where it had the smallest drawdown *on the tuning split*."""
    elsewhere = {*WORKAROUNDS, *load("table3")["editor"]} - {*load("table1")["editor"]}
    plain = [result for result in results if result.cell.training == BASELINE and result.cell.editor not in elsewhere]
    chosen = [
        best_part([result for result in plain if result.cell.editor == editor])
        for editor in dict.fromkeys(result.cell.editor for result in plain)
    ]
    return _beside(chosen, load("table1"), on=["editor"])


def table2(results: Sequence[CellResult]) -> pd.DataFrame:
    """Gradient descent and RMSProp on every part of the plain model."""
    chosen = [one for one in results if one.cell.training == BASELINE and one.cell.editor in TABLE_2_EDITORS]
    return _beside(chosen, load("table2"))


def table3(results: Sequence[CellResult]) -> pd.DataFrame:
    """The paper's eleven rows, then what it does not have: trainings of this run's own, and the workarounds."""
    rows = in_papers_order(results, "table3", by=["editor"])
    shown = ~rows["appendix"] | (rows["training"] != BASELINE) | rows["editor"].isin(WORKAROUNDS)
    return rows[shown].reset_index(drop=True)


def table4(results: Sequence[CellResult]) -> pd.DataFrame:
    """The paper's five rows for each architecture of the run, then other trainings."""
    rows = in_papers_order(results, "table4", by=["architecture", "training"])
    if rows.empty:
        return rows
    return rows[["architecture", *rows.columns.drop("architecture")]]


def table5(mistakes: Sequence[CellResult]) -> pd.DataFrame:
    """One row per cell, of edits of realistic mistakes to their true classes; last what the paper does not edit.

    Besides the metrics, ``already_right`` is the share of mistakes, in percent, that the row's model gets right before
    the edit: they are those of the pre-trained model.
    """
    if not mistakes:
        return _NONE
    rows = _beside(mistakes, load("table5"))
    already = [100.0 * result.records["trivial"].astype(float).mean() for result in mistakes]
    rows.insert(rows.columns.get_loc("note") + 1, "already_right", already)
    others = rows["training"].map(architecture_of) != ARCHITECTURE
    rows = rows.assign(appendix=(rows["layers"] != PAPER_PART) | others)
    return rows.sort_values("appendix", kind="stable").reset_index(drop=True)


def in_papers_order(results: Sequence[CellResult], table: str, by: Sequence[str] = ()) -> pd.DataFrame:
    """The paper's rows in its order, then, as ``appendix``, the others in the leaderboard's; empty without any of the
    paper's.

    A row of the paper's that this run does not have is empty and says so; of an architecture that the run does not
    have, it is left out.

    :param by: sorts the appendix before the leaderboard does.
    """
    paper = named(table)
    order = {names: place for place, names in enumerate(paper[KEYS].itertuples(index=False, name=None))}
    ranking = _ranking(results)
    places = [order.get(tuple(results[one].published_names.values()), len(order)) for one in ranking]
    if not set(places).difference([len(order)]):
        return _NONE.assign(appendix=pd.Series(dtype=bool))
    missing = paper[[place not in places for place in order.values()]]
    rows = _beside(results, paper).iloc[ranking]
    if "architecture" in paper:
        rows = rows.assign(architecture=rows["training"].map(architecture_of))
        missing = missing[missing["architecture"].isin(rows["architecture"])]
    names = [*KEYS, *({"architecture"} & {*rows})]
    absent = beside(missing[names].assign(note=NOT_RUN), paper, on=KEYS)
    places += [order[names] for names in missing[KEYS].itertuples(index=False, name=None)]
    rows = pd.concat([rows, absent], ignore_index=True)
    rows = rows.assign(place=places, appendix=[place == len(order) for place in places])
    return rows.sort_values(["place", *by], kind="stable").drop(columns="place").reset_index(drop=True)


def _ranking(results: Sequence[CellResult]) -> list[int]:
    """Positions of the results in the leaderboard's order: by standing, then by drawdown."""
    if not results:
        return []
    rows, drawdown = pd.DataFrame([result.row for result in results]), results[0].measures.drawdown
    place = standing(rows, drawdown).map({name: place for place, name in enumerate((*STANDINGS, ""))})
    return list(rows.assign(_place=place).sort_values(["_place", drawdown], kind="stable").index)


def _beside(results: Sequence[CellResult], paper: pd.DataFrame, on: Sequence[str] = KEYS) -> pd.DataFrame:
    """The rows of these results beside the paper's; without any, an empty table with their names."""
    if not results:
        return _NONE
    rows, names = rows_of(results), pd.DataFrame([result.published_names for result in results])
    found = beside(names, paper, on)
    return rows.assign(**{name: found[name] for name in found if name.startswith("published_")})


_TERMS = (
    "*Generality* is the share of five altered copies of the edited image (augmented as in training, then turned by "
    "up to 10 degrees and scaled by up to 10 %) that get the target after the edit. Brackets hold 95 % intervals over "
    "edits of one trained model (bootstrap, Wilson's for shares), those of test errors over test images; they say "
    "nothing of other trainings."
)
_EDITS = f"{{edits}} of test images, targets drawn from all classes. {_TERMS}"
_COLUMNS = ("test_error", "drawdown", "success_rate", "num_steps", "generality")
_SPREAD = ("drawdown_seeds_std", "drawdown_edit_seeds_std")
_LEARNED = ("drawdown_learned", "success_rate_learned")

TABLES = (
    Table(
        name="table1",
        title="Table 1 on {benchmark}: editors on the plain model",
        caption=(
            f"Each editor on the part of the network where it had the smallest drawdown on the tuning split. {_EDITS}"
        ),
        columns=(*_COLUMNS, *_SPREAD),
        rows=table1,
        picture="Drawdown and success of each editor on the plain model",
    ),
    Table(
        name="table2",
        title="Table 2 on {benchmark}: which layers to edit",
        caption=_EDITS,
        columns=(*_COLUMNS, *_SPREAD),
        rows=table2,
    ),
    Table(
        name="table3",
        title="Table 3 on {benchmark}: Editable Training and its baselines",
        caption=(
            f"Every row's editor is tuned by the same rule. {{learned}}{_EDITS} The last rows are not in the paper's "
            f"table: other trainings of this run, and workarounds that the paper names and does not measure."
        ),
        columns=(*_COLUMNS, *_LEARNED, *_SPREAD),
        rows=table3,
        main=True,
        picture="Drawdown and test error of every way to edit",
    ),
    Table(
        name="table4",
        title="Table 4 on {benchmark}: fine-tuning a trained network",
        caption=(
            f"`pretrained` was trained before anyone thought of edits; `extended` is that network with a new block "
            f"before its last layer (a random layer and one of zeros, so that no answer changes), the paper's second "
            f"row; the others go on from it and learn its own answers (distillation). Every row's "
            f"editor is tuned by the same rule. {_EDITS} The last rows are not in the paper's table: other ways to "
            f"draw the edits of Editable Training."
        ),
        columns=(*_COLUMNS, *_LEARNED, *_SPREAD),
        rows=table4,
        keys=("architecture", *KEYS),
        main=True,
        picture="Drawdown and test error of a trained network, fine-tuned for edits or not",
    ),
    Table(
        name="table5",
        title="Table 5 on {benchmark}: realistic mistakes",
        caption=(
            f"Images that the pre-trained model gets wrong, each edited to its true class; drawdown is on the test "
            f"split. Each row's editor is the one that was tuned for Table 4, on random targets of the tuning split. "
            f'"Already right" are the mistakes that the row\'s model does not make. {{mistakes}} mistakes. {_TERMS} '
            f"The published row is the one that is known: the paper shows its Table 5 as a picture."
        ),
        columns=("already_right", *_COLUMNS, *_LEARNED, *_SPREAD),
        rows=table5,
        of_mistakes=True,
        picture="Drawdown of correcting realistic mistakes",
    ),
)
LEADERBOARD = Table(
    name="leaderboard",
    title="Leaderboard of {benchmark}",
    caption=(
        f"{_EDITS} "
        '"Signed drawdown" is the mean of error after − error before, "flips" the share of test images whose '
        'answer changes, "before the edit" the generality of the network that is not edited yet.'
    ),
    columns=(*_COLUMNS, "generality_before", "drawdown_signed", "flip_rate", *_SPREAD),
    rows=partial(leaderboard, tables=("table4", "table3", "table2", "table1")),
)
