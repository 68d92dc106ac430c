"""Tuning one editor on one part of one model: smallest drawdown subject to a success rate (section 4.1)."""

from __future__ import annotations

import logging
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import optuna
import pandas as pd
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

import editors
from benchmarks.metrics import drawdown
from benchmarks.scoring import Scorer, shards
from benchmarks.seeds import seed
from editors.hyperparameters import Hyperparameter
from pipelines.progress import Progress

CONSTRAINT = "share of failed edits above the limit"
_SHARD = 25
_STARTUP_TRIALS = 5


@dataclass(frozen=True)
class Space:
    """What is searched: ranges by name, and what is fixed instead."""

    hyperparameters: tuple[Hyperparameter, ...]
    ranges: dict[str, tuple[float, float]]
    fixed: dict[str, float]
    max_steps: int

    @property
    def free(self) -> list[Hyperparameter]:
        """The hyperparameters that are searched."""
        return [parameter for parameter in self.hyperparameters if parameter.name not in self.fixed]

    def range(self, parameter: Hyperparameter) -> tuple[float, float]:
        """Its search range, both ends included."""
        return self.ranges.get(parameter.name, (parameter.low, parameter.high))


@dataclass(frozen=True)
class Judgement:
    """What a trial's edits came to.

    :ivar success_rate: percent of the ``edits`` that were tried; fewer than all once too many had failed.
    :ivar drawdown: percentage points, over the edits that were looked at.
    """

    success_rate: float
    drawdown: float
    edits: int
    feasible: bool


def judge(scorer: Scorer, editor: editors.Editor, min_success: float) -> Judgement:
    """Try the scorer's edits; stop as soon as so many failed that the constraint cannot be met any more.

    A trial that is stopped or fails the constraint is looked at on its first shard only: its drawdown is shown in
    plots, it decides nothing.
    """
    count = len(scorer.requests)
    allowed = count * (1 - min_success / 100) + 1e-9
    done: list[editors.Edit] = []
    for rows in shards(count, _SHARD):
        done += scorer.edit(editor, rows)[0]
        if sum(not edit.succeeded for edit in done) > allowed:
            break
    feasible = sum(not edit.succeeded for edit in done) <= allowed
    looked_at = done if feasible else done[:_SHARD]
    records = pd.DataFrame([asdict(scorer.record(row, edit, views=False)) for row, edit in enumerate(looked_at)])
    success_rate = 100.0 * sum(edit.succeeded for edit in done) / len(done)
    return Judgement(success_rate, float(drawdown(records).mean()), len(done), feasible)


def search(
    editor: str,
    space: Space,
    scorer: Scorer,
    trials: int,
    min_success: float,
    journal: Path,
    axes: tuple[str | int, ...],
    progress: Progress,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Run a TPE study of ``trials`` trials, or the rest of one that was interrupted.

    The first trial takes the editor's defaults. All trials meet the same edits and control images.

    :param journal: Optuna's journal file; it may be opened with optuna-dashboard at any time.
    :returns: one row per trial (``number, success_rate, drawdown, edits, feasible, chosen`` and the hyperparameters),
        and importances of the hyperparameters for the drawdown (0 to 1).
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    journal.parent.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(journal)))
    study = optuna.create_study(storage=storage, study_name=journal.stem, direction="minimize", load_if_exists=True)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)  # left by a killed process
    progress.advance(0)
    while (number := len(_complete(study))) < trials:
        # A sampler of its own for every trial: a resumed study goes on exactly as an unbroken one would.
        study.sampler = optuna.samplers.TPESampler(
            seed=seed(*axes, "trial", number) % 2**32,
            n_startup_trials=_STARTUP_TRIALS,
            multivariate=len(space.free) > 1,
        )
        if number == 0:
            study.enqueue_trial({parameter.name: _clipped(space, parameter) for parameter in space.free})
        trial = study.ask()
        values = {
            parameter.name: trial.suggest_float(parameter.name, *space.range(parameter), log=parameter.log)
            for parameter in space.free
        }
        built = editors.build(editor, **space.fixed, **values, max_steps=space.max_steps)
        judged = judge(scorer, built, min_success)
        trial.set_constraint(CONSTRAINT, (100 - judged.success_rate) - (100 - min_success))
        trial.set_user_attr("judgement", asdict(judged))
        study.tell(trial, judged.drawdown if judged.drawdown == judged.drawdown else 100.0)
        progress.advance()
    return _table(study, space), _importances(study)


def choose(trials: pd.DataFrame) -> int:
    """Position of the trial with the smallest drawdown among the feasible; without any, the one that violates least."""
    feasible = trials[trials["feasible"]]
    if feasible.empty:
        return int(trials["success_rate"].idxmax())
    return int(feasible["drawdown"].idxmin())


def _complete(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _clipped(space: Space, parameter: Hyperparameter) -> float:
    low, high = space.range(parameter)
    return min(max(parameter.default, low), high)


def _table(study: optuna.Study, space: Space) -> pd.DataFrame:
    rows = [
        {"number": number, **trial.user_attrs["judgement"], **trial.params, **space.fixed}
        for number, trial in enumerate(_complete(study))
    ]
    trials = pd.DataFrame(rows)
    trials.insert(5, "chosen", trials.index == choose(trials))
    return trials


def _importances(study: optuna.Study) -> dict[str, float]:
    names = sorted({name for trial in _complete(study) for name in trial.params})
    if len(names) < 2 or len(_complete(study)) < 4:
        return dict.fromkeys(names, 1.0)
    logging.getLogger("optuna").setLevel(logging.ERROR)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    try:
        return dict(sorted(optuna.importance.get_param_importances(study, evaluator=evaluator).items()))
    except (RuntimeError, ValueError):  # all trials alike: nothing is more important than anything else
        return {name: float("nan") for name in names}
