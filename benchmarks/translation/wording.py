"""The words of tables and pages about edits of translators, as data and small functions."""

from __future__ import annotations

from typing import Any

COLUMNS = (
    "bleu",
    "bleu_drawdown",
    "success_rate",
    "decoded_rate",
    "num_steps",
    "generality",
    "generality_before",
    "changed",
    "kl",
)
"""The metrics of Table 6, in its order."""
HEADLINE = ("bleu", "bleu_drawdown", "success_rate", "num_steps", "generality")
"""The main ones."""
EDITED = "test sentences"
"""The edited examples, as tables call them."""
TITLE = "Table 6 on {benchmark}: editing a translator"
PICTURE = "BLEU drawdown and BLEU of every row of Table 6"
FILES = (("Test translations before any edit", (), "translations/"),)
"""Further files in a benchmark's folder: a name, pages, data."""


def caption(temperature: float, alternatives: int, control_size: int | None) -> str:
    """The caption of a table: its edits and its columns; ``{edits}`` stands for their number.

    :param control_size: how many test sentences each edit is scored on; None for all.
    """
    control = f"a fresh sample of {control_size} test sentences for each" if control_size else "all of it"
    return (
        f"{{edits}} a row. Each takes a test sentence and a translation of it that was sampled from the plain model at "
        f"temperature {temperature:g}, and changes weights until that translation is preferred to the {alternatives} "
        f"best of the plain model's beam search. *BLEU* is that of the whole test set before any edit; *BLEU drawdown* "
        f"is the mean over edits of BLEU before − BLEU after on {control}, below zero where translations became "
        f"better; *decoded* is the share of edits after which beam search really answers so; *generality* the share of "
        f"sentences near the edited one (a word left out, or two neighbours exchanged) for which the same translation "
        f"is preferred to the same alternatives, after and before the edit; *changed* the share of sentences that are "
        f"translated otherwise; *KL* is per token of the references. Intervals are over edits of one trained model "
        f"(that of BLEU over test sentences); they say nothing of other trainings."
    )


def published_training(name: str, training: Any) -> str:
    """The name of a training in the published Table 6; empty for one that it does not have.

    :param training: its settings: ``start``, and for Editable Training ``editor``, ``layers`` and ``c_loc``.
    """
    if not hasattr(training, "c_loc"):
        return name if training.start is None else ""
    return f"editable-{training.c_loc:g}-{training.editor}-{training.layers}"


def training_note(training: Any) -> str:
    """A training's terms, where they are not the paper's wording.

    :param training: its settings: ``start``, ``tokens``, and for Editable Training ``hyperparameters`` and ``c_loc``.
    """
    if not hasattr(training, "c_loc"):
        more = "without edits, to tell what longer training alone brings"
        return f"goes on from {training.start} {more}" if training.start else ""
    rate = training.hyperparameters.get("lr")
    trained = f"trained with learning rate {rate:g} of the editor" if rate is not None else "trained with its defaults"
    per_token = f"{training.c_loc / training.tokens:.2g} beside a loss per token, in full batches"
    return f"{trained}, c_loc = {training.c_loc:g} ({per_token})" + (
        f", going on from {training.start}" if training.start else ""
    )


def views_note(views: int | None) -> str:
    """A note on the sentences that had to follow an edit, if any."""
    if not views:
        return ""
    return f"up to {views} sentences near the edited one had to follow too, others than generality is measured on"
