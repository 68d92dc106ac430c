"""Tuning one editor on one part of one model: smallest drawdown subject to a success rate (section 4.1)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import optuna
import pandas as pd
from filelock import FileLock
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

import editors
from benchmarks.errors import InputError
from benchmarks.metrics import Measures
from benchmarks.scoring.scorer import shards
from benchmarks.seeds import seed
from editors.hyperparameters import Hyperparameter
from pipelines.jobs.progress import Progress

CONSTRAINT = "share of failed edits above the limit"
_SHARD = 25
_BISECTIONS = 6
_STARTUP_TRIALS = 5
_FINALISTS = 3
_RESCORED = "drawdowns of finalists on the whole split"


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
class Outcome:
    """The edits of a trial in numbers.

    :ivar success_rate: percent of the ``edits`` that were tried; fewer than all once too many had failed.
    :ivar drawdowns: percentage points of each edit whose control images were looked at, in order: of all edits unless
        the trial is infeasible or was beaten.
    """

    success_rate: float
    edits: int
    feasible: bool
    drawdowns: tuple[float, ...]

    @property
    def drawdown(self) -> float:
        """Mean over the edits that were looked at: where they are not all, a rough value, for plots and for TPE."""
        return fmean(self.drawdowns)

    @property
    def complete(self) -> bool:
        """Whether the trial can be chosen: feasible, and its drawdown is that of all its edits."""
        return self.feasible and len(self.drawdowns) == self.edits


def try_edits(
    scorer: Any,
    editor: editors.Editor,
    min_success: float,
    measures: Measures,
    best: Sequence[float] = (),
) -> Outcome:
    """Try the scorer's edits; stop as soon as so many failed that the constraint cannot be met any more.

    :param scorer: see :class:`pipelines.tasks.base.Scorer`; ``measures`` say what its records' drawdown is.
    :param best: drawdowns of the best trial so far. One that is worse on the same edits, by three standard errors of
        the paired difference, is beaten: whether it is feasible is still found out, but no control image looked at.
    """
    count = len(scorer.requests)
    allowed = count * (1 - min_success / 100) + 1e-9
    tried = failed = 0
    drawdowns: list[float] = []
    for rows in shards(count, _SHARD):
        edits = scorer.edit(editor, rows)[0]  # a shard at a time: all edits of a large model would fill the memory
        tried += len(edits)
        failed += sum(not edit.succeeded for edit in edits)
        if not drawdowns or (failed <= allowed and not _beaten(drawdowns, best)):
            frame = pd.DataFrame(map(asdict, scorer.records(rows, edits, generality=False)))
            drawdowns += measures.per_edit(measures.drawdown, frame).tolist()
        if failed > allowed:
            break
    return Outcome(100.0 * (tried - failed) / tried, tried, failed <= allowed, tuple(drawdowns))


def _beaten(drawdowns: Sequence[float], best: Sequence[float]) -> bool:
    if not best:
        return False
    difference = np.subtract(drawdowns, best[: len(drawdowns)])
    return bool(difference.mean() > 3 * difference.std(ddof=1) / math.sqrt(len(difference)))


def search(
    build: Callable[..., editors.Editor],
    space: Space,
    scorer: Any,
    measures: Measures,
    trials: int,
    min_success: float,
    journal: Path,
    axes: tuple[str | int, ...],
    progress: Progress,
    rescorable: int,
) -> pd.DataFrame:
    """Run a study of ``trials`` trials, or the rest of one that was interrupted.

    The best setting lies where the constraint just holds, and a few trials of TPE alone miss that place by far. So
    the first trials look for it by bisection of the learning rate (an editor's first hyperparameter on a logarithmic
    scale), the others at their defaults, or in the middle of a range that leaves the default out; TPE goes on from
    there. All trials meet the same edits and control examples. In the end the best few are looked at on the whole
    split, which decides between them.

    :param build: makes the editor, informed of the training data, of hyperparameters by name and ``max_steps``.
    :param scorer: see :class:`pipelines.tasks.base.Scorer`; ``measures`` say what its records' drawdown is.
    :param journal: Optuna's journal file; it may be opened with optuna-dashboard at any time.
    :param rescorable: see :attr:`pipelines.tasks.base.Task.rescorable`.
    :raises InputError: if the journal cannot be read.
    :returns: one row per trial (``number, success_rate, drawdown, edits, scored, rescored, feasible, chosen`` and the
        hyperparameters; ``drawdown`` is of the first ``scored`` edits, ``rescored`` the drawdown of a finalist on the
        whole split).
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    journal.parent.mkdir(parents=True, exist_ok=True)
    # A lock that ends with its process: after a kill, Optuna's own would be waited for without end.
    lock = FileLock(journal.with_suffix(".lock"))
    try:
        storage = JournalStorage(JournalFileBackend(str(journal), lock_obj=lock))
        study = optuna.create_study(storage=storage, study_name=journal.stem, direction="minimize", load_if_exists=True)
    except (ValueError, KeyError) as error:
        raise InputError(f"{journal} is not a readable study: remove it to tune from the start") from error
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)  # left by a killed process
    progress.resume(len(_complete(study)))
    while (number := len(_complete(study))) < trials:
        # A sampler of its own for every trial: a resumed study goes on exactly as an unbroken one would.
        study.sampler = optuna.samplers.TPESampler(
            seed=seed(*axes, "trial", number) % 2**32,
            n_startup_trials=_STARTUP_TRIALS,
            multivariate=len(space.free) > 1,
        )
        # One may wait already: a process that was killed here left it, and it is the same.
        if number < _BISECTIONS and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            study.enqueue_trial(_bisected(_complete(study), space))
        trial = study.ask()
        values = {
            parameter.name: trial.suggest_float(parameter.name, *space.range(parameter), log=parameter.log)
            for parameter in space.free
        }
        built = build(**space.fixed, **values, max_steps=space.max_steps)
        best = min((one for one in _outcomes(study) if one.complete), key=lambda one: one.drawdown, default=None)
        found = try_edits(scorer, built, min_success, measures, best.drawdowns if best else ())
        trial.set_constraint(CONSTRAINT, (100 - found.success_rate) - (100 - min_success))
        trial.set_user_attr("outcome", asdict(found))
        study.tell(trial, found.drawdown)
        progress.advance()
    size = scorer.control_size
    for number in finalists(_outcomes(study)) if size and scorer.examples <= rescorable * size else []:
        known = study.user_attrs.get(_RESCORED, {})
        if str(number) not in known:
            values = {name: _complete(study)[number].params[name] for name in (one.name for one in space.free)}
            built = build(**space.fixed, **values, max_steps=space.max_steps)
            study.set_user_attr(_RESCORED, known | {str(number): rescored(scorer, built, measures)})
    return _table(study, space)


def finalists(found: Sequence[Outcome]) -> list[int]:
    """Positions of the best trials, at most three, between which the control images that they were shown cannot decide.

    Fewer than two are no finalists: a trial that the best one beats on all edits is none.
    """
    complete = sorted((one.drawdown, place) for place, one in enumerate(found) if one.complete)[:_FINALISTS]
    places = [place for _, place in complete]
    near = [place for place in places if not _beaten(found[place].drawdowns, found[places[0]].drawdowns)]
    return near if len(near) > 1 else []


def rescored(scorer: Any, editor: editors.Editor, measures: Measures) -> float:
    """Mean drawdown of all of the scorer's edits, in percentage points, each looked at on the whole split."""
    records = []
    for rows in shards(len(scorer.requests), _SHARD):
        edits = scorer.edit(editor, rows)[0]
        records += map(asdict, scorer.records(rows, edits, generality=False, every=True))
    return float(measures.per_edit(measures.drawdown, pd.DataFrame(records)).mean())


def choose(trials: pd.DataFrame) -> int:
    """Position of the trial with the smallest drawdown among the feasible; without any, the one that violates least.

    A feasible trial of which not all edits are scored was beaten by one that is. Where finalists were looked at on the
    whole split, that decides.
    """
    if trials["rescored"].notna().any():
        return int(trials["rescored"].idxmin())
    feasible = trials[trials["feasible"] & (trials["scored"] == trials["edits"])]
    if feasible.empty:
        return int(trials["success_rate"].idxmax())
    return int(feasible["drawdown"].idxmin())


def _complete(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _outcomes(study: optuna.Study) -> list[Outcome]:
    return [_outcome(trial) for trial in _complete(study)]


def _outcome(trial: optuna.trial.FrozenTrial) -> Outcome:
    values = trial.user_attrs["outcome"]
    return Outcome(**values | {"drawdowns": tuple(values["drawdowns"])})


def _bisected(trials: Sequence[optuna.trial.FrozenTrial], space: Space) -> dict[str, float]:
    """The defaults, with the learning rate halfway (in logarithm) between too small and large enough."""
    values = {parameter.name: _start(parameter, *space.range(parameter)) for parameter in space.free}
    strength = next((parameter for parameter in space.free if parameter.log), None)
    if strength is None or not trials:
        return values
    low, high = space.range(strength)
    tried = {trial.params[strength.name]: _outcome(trial).feasible for trial in trials}
    enough = min((value for value, feasible in tried.items() if feasible), default=None)
    if enough is None:  # neither the default nor what was tried above it: look further up, then further down
        enough = high if len(trials) % 2 else min(tried)
    below = max((value for value, feasible in tried.items() if not feasible and value < enough), default=low)
    return values | {strength.name: math.sqrt(below * enough)}


def _start(parameter: Hyperparameter, low: float, high: float) -> float:
    """The default; the middle of the range where whoever chose the range left the default out."""
    if low <= parameter.default <= high:
        return parameter.default
    return math.sqrt(low * high) if parameter.log else (low + high) / 2


def _table(study: optuna.Study, space: Space) -> pd.DataFrame:
    rows = []
    for number, (trial, found) in enumerate(zip(_complete(study), _outcomes(study), strict=True)):
        shown = {name: getattr(found, name) for name in ("success_rate", "drawdown", "edits")}
        final = study.user_attrs.get(_RESCORED, {}).get(str(number), math.nan)
        scored = {"scored": len(found.drawdowns), "rescored": final, "feasible": found.feasible}
        rows.append({"number": number, **shown, **scored, **trial.params, **space.fixed})
    trials = pd.DataFrame(rows)
    trials.insert(7, "chosen", trials.index == choose(trials))
    return trials
