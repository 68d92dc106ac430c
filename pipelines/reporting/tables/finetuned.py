"""Tables 4 and 5: networks that were trained before they are prepared for edits (section 4.3)."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from pipelines.jobs.cells import KEYS
from pipelines.reporting.tables import published
from pipelines.reporting.tables.leaderboard import CellResult, leaderboard
from pipelines.reporting.tables.markdown import Column

PAPER_PART = "extra"
"""The part that the rows of Table 5 edit: section 4.3.1 speaks of the best models of section 4.3."""
NOT_RUN = "not part of this run"
ALREADY_RIGHT = Column("already_right", "Already right", "%", 1)


def table4(results: Sequence[CellResult]) -> pd.DataFrame:
    """The paper's five rows for each architecture of the run, in its order, then, as ``appendix``, other trainings.

    A row of the paper's that this run does not have is empty and says so. Without any of the paper's rows, empty.
    """
    paper = published.table4()
    names = list(paper[KEYS].itertuples(index=False, name=None))
    found = [result for result in results if tuple(result.cell.names.values()) in names]
    if not found:
        return pd.DataFrame(columns=["architecture", *KEYS])
    rows = leaderboard(results)
    rows = rows.assign(architecture=[published.architecture_of(training) for training in rows["training"]])
    there = set(rows[KEYS].itertuples(index=False, name=None))
    absent = pd.Series([name not in there for name in names], paper.index)
    missing = paper.loc[absent & paper["architecture"].isin(rows["architecture"]), ["architecture", *KEYS]].assign(
        note=NOT_RUN
    )
    rows = pd.concat([rows, published.beside(missing, paper, on=KEYS)], ignore_index=True)
    order = {name: place for place, name in enumerate(names)}
    place = [order.get(name, len(names)) for name in rows[KEYS].itertuples(index=False, name=None)]
    rows = rows.assign(place=place, appendix=[number == len(names) for number in place])
    rows = rows.sort_values(["place", "architecture", "training"], kind="stable").drop(columns="place")
    return rows[["architecture", *rows.columns.drop("architecture")]].reset_index(drop=True)


def table5(mistakes: Sequence[CellResult]) -> pd.DataFrame:
    """One row per cell, of edits of realistic mistakes to their true classes; last what the paper does not edit.

    Besides the metrics, ``already_right`` is the share of mistakes, in percent, that the row's model gets right before
    the edit: they are those of the pre-trained model.
    """
    if not mistakes:
        return pd.DataFrame(columns=KEYS)
    already = [100.0 * result.records["trivial"].astype(float).mean() for result in mistakes]
    rows = pd.DataFrame([dict(result.row) for result in mistakes]).assign(already_right=already)
    rows = published.beside(rows, published.load("table5"), on=KEYS)
    others = rows["training"].map(published.architecture_of) != published.ARCHITECTURE
    rows = rows.assign(appendix=(rows["layers"] != PAPER_PART) | others)
    return rows.sort_values("appendix", kind="stable").reset_index(drop=True)


def pages(benchmark: str, edits: str, mistakes: str, columns: Sequence[Column], further: Sequence[Column]) -> dict:
    """Title, caption and columns of both tables, by name.

    :param edits: how many edits, and what intervals say, in words; ``mistakes`` the same of Table 5.
    :param columns: the paper's metrics; ``further`` those that only we have.
    """
    return {
        "table4": (
            f"Table 4 on {benchmark}: fine-tuning a trained network",
            f"`pretrained` was trained before anyone thought of edits; `extended` is that network with a new block "
            f"before its last layer (a random layer and one of zeros, so that no answer changes), the paper's second "
            f"row; the others go on from it and learn its own answers (distillation). Every row's "
            f"editor is tuned by the same rule. {edits} The last rows are not in the paper's table: other ways to draw "
            f"the edits of Editable Training.",
            [*columns, *further],
        ),
        "table5": (
            f"Table 5 on {benchmark}: realistic mistakes",
            f"Images that the pre-trained model gets wrong, each edited to its true class; drawdown is on the test "
            f"split. Each row's editor is the one that was tuned for Table 4, on random targets of the tuning split. "
            f'"Already right" are the mistakes that the row\'s model does not make. {mistakes} The published row is '
            f"the one that is known: the paper shows its Table 5 as a picture.",
            [ALREADY_RIGHT, *columns, *further],
        ),
    }


def ranks(results: Sequence[CellResult], drawn: pd.DataFrame, classes: int) -> pd.DataFrame:
    """How far answers are off, by rank of the wanted class among the pre-trained model's: shares that add up to 1.

    Columns: ``rank``; ``training`` of mistakes that are trained on, ``drawn`` the probabilities of matched targets that
    follow from them, ``evaluation`` of mistakes that are edited, ``random`` of targets drawn from all classes.

    :param results: on mistakes, of cells of the pre-trained model.
    :param drawn: what a training with matched ranks wrote down, see :data:`pipelines.store.layout.RANKS`.
    """
    evaluated = results[0].records["rank"].value_counts(normalize=True)
    return pd.DataFrame(
        {
            "rank": drawn["rank"],
            "training": drawn["mistakes"] / drawn["mistakes"].sum(),
            "drawn": drawn["probability"],
            "evaluation": evaluated.reindex(range(classes), fill_value=0.0).to_numpy(),
            "random": 1 / classes,
        }
    )
