"""Translators as a kind of task for reports, and the committed results of one benchmark in the places they have now."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchmarks.translation import wording
from benchmarks.translation.bleu import Bleu
from benchmarks.translation.examples import examples
from benchmarks.translation.metrics import TRANSLATIONS
from pipelines.jobs.cells import Cell
from pipelines.reporting.tables import paper, published
from pipelines.reporting.tables.markdown import escape
from pipelines.reporting.tables.presentation import Presentation, Table

RESULTS = Path(__file__).parents[3] / "results"
SPREAD = ("bleu_drawdown_seeds_std", "bleu_seeds_std")
PUBLISHED = {"editable-100": "editable-100-rmsprop-last_decoder_layer"}


def read_quality(cell: Cell, description: dict) -> Bleu:
    folder = cell.layout.results / "models" / cell.training
    return Bleu.read(description, folder / "translations.csv", folder / "translations.timing.json")


TRANSLATORS = Presentation(
    measures=TRANSLATIONS,
    quality=read_quality,
    tables=(
        Table(
            name="table6",
            title=wording.TITLE,
            caption="{caption}",
            columns=(*wording.COLUMNS, *SPREAD),
            rows=partial(paper.in_papers_order, table="table6"),
            main=True,
            picture=wording.PICTURE,
        ),
    ),
    leaderboard=Table(
        name="leaderboard",
        title=paper.LEADERBOARD.title,
        caption="Smallest BLEU drawdown first. {caption}",
        columns=(*wording.COLUMNS, *SPREAD),
        rows=partial(paper.leaderboard, tables=("table6",)),
    ),
    headline=wording.HEADLINE,
    claims=published.DIRECTORY / "table6_claims.yaml",
    edited=wording.EDITED,
    published_training=lambda settings, benchmark, training: PUBLISHED.get(training, training),
    words=lambda settings, benchmark: {"caption": wording.caption(1.2, 32, 60)},
    examples=partial(examples, escape=escape),
    files=wording.FILES,
)
