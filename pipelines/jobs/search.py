"""Tuning one editor on one part of one model: smallest drawdown subject to a success rate (section 4.1)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from filelock import FileLock
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

import editors
from benchmarks.errors import InputError
from benchmarks.metrics import Measures
from benchmarks.seeds import seed
from editors.hyperparameters import Hyperparameter
from pipelines.jobs.progress import Progress
from pipelines.jobs.trials import Asked, Outcome, choose, finalists, hardest, rescored, try_edits
from pipelines.jobs.weakest import Weakest

CONSTRAINT = "share of failed edits above the limit"
DEFAULT, BISECTION, HYPERCUBE, SAMPLER = "default", "bisection", "hypercube", "sampler"
"""Who proposed a trial's values: all at their defaults, all but the strength, or all but the strength by a Latin
hypercube of the ranges or by the sampler.
"""
_RATIO = 1.03
_STEPS = 256
_ROUNDS = 5
_IN_CUBE = 2
_RESCORED = "drawdowns of finalists on the whole split"

Sampler = Callable[[int], optuna.samplers.BaseSampler]
"""``sampler(seed)`` makes what proposes a trial."""


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

    @property
    def strength(self) -> Hyperparameter | None:
        """The one of them that is bisected."""
        return next((parameter for parameter in self.free if parameter.stronger), None)

    @property
    def others(self) -> list[Hyperparameter]:
        """Those that a sampler proposes."""
        return [parameter for parameter in self.free if parameter != self.strength]

    def range(self, parameter: Hyperparameter) -> tuple[float, float]:
        """Its search range, both ends included."""
        return self.ranges.get(parameter.name, (parameter.low, parameter.high))

    def at(self, parameter: Hyperparameter, strength: float) -> float:
        """The value of the parameter that is bisected at a ``strength`` from 0, the weak end of its range, to 1."""
        return _between(parameter, *self.range(parameter), strength if parameter.stronger == "larger" else 1 - strength)

    def strength_of(self, parameter: Hyperparameter, value: float) -> float:
        """The strength, from 0 to 1, of a value of the parameter that is bisected."""
        low, high = self.range(parameter)
        if low == high:
            return 0.0
        share = math.log(value / low) / math.log(high / low) if parameter.log else (value - low) / (high - low)
        return share if parameter.stronger == "larger" else 1 - share

    def resolution(self, parameter: Hyperparameter) -> float:
        """How finely it is bisected, as a share of its range."""
        low, high = self.range(parameter)
        return math.log(_RATIO) / math.log(high / low) if parameter.log and low < high else 1 / _STEPS


def gaussian_process(number: int) -> optuna.samplers.BaseSampler:
    """A sampler that models drawdown as a Gaussian process of what it proposes."""
    return optuna.samplers.GPSampler(seed=number, n_startup_trials=1 + _IN_CUBE, deterministic_objective=True)


def search(
    build: Callable[..., editors.Editor],
    space: Space,
    scorer: Any,
    measures: Measures,
    trials: int,
    asked: Asked,
    journal: Path,
    axes: tuple[str | int, ...],
    progress: Progress,
    rescorable: int,
    sampler: Sampler = gaussian_process,
    patience: int = 2,
) -> pd.DataFrame:
    """Run a study of ``trials`` trials, or the rest of one that was interrupted.

    The smallest drawdown lies where the constraint just holds. That place can be found without any control example. So
    of every trial a sampler proposes all hyperparameters but the editor's strength, edits alone find the weakest
    strength at which enough of them succeed, and drawdown is looked at only there. The first trial has the defaults, or
    the middle of a range that leaves the default out; the next two have one value in each half of every range, so that
    none of them is left out by chance. An editor with nothing to propose has the first trial alone. All trials meet the
    same edits and control examples. A study in which none is feasible yet goes on, up to ``patience`` times as long. In
    the end the best few are looked at on the whole split, which decides between them.

    :param build: makes the editor, informed of the training data, of hyperparameters by name and ``max_steps``.
    :param scorer: see :class:`pipelines.tasks.base.Scorer`; ``measures`` say what its records' drawdown is.
    :param journal: Optuna's journal file; it may be opened with optuna-dashboard at any time.
    :param rescorable: see :attr:`pipelines.tasks.base.Task.rescorable`.
    :raises InputError: if the journal cannot be read.
    :returns: one row per trial (``number, proposed_by, success_rate, drawdown, edits, scored, rescored, feasible,
        beaten, chosen, probes`` and the hyperparameters; ``drawdown`` is of the first ``scored`` edits, ``rescored``
        the drawdown of a finalist on the whole split, ``probes`` the strengths that were tried).
    """
    study = _opened(journal)
    trials, most = (trials, patience * trials) if space.others else (1, 1)
    first = _first(space, axes)
    progress.resume(len(_complete(study)))
    while (number := len(_complete(study))) < (trials if any(map(_is_feasible, _complete(study))) else most):
        # A sampler of its own for every trial: a resumed study goes on exactly as an unbroken one would.
        study.sampler = sampler(seed(*axes, "trial", number) % 2**32)
        # One may wait already: a process that was killed here left it, and it is the same.
        if number < len(first) and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            study.enqueue_trial(first[number])
        trial = study.ask()
        values = {one.name: trial.suggest_float(one.name, *space.range(one), log=one.log) for one in space.others}
        leader = min(filter(_can_lead, _complete(study)), key=lambda one: _outcome(one).drawdown, default=None)
        values, found, probes = _weakest(build, space, scorer, measures, asked, values, leader)
        best = _outcome(leader) if leader else None
        trial.set_constraint(CONSTRAINT, 0.0 if found.feasible else asked.required - found.success_rate)
        trial.set_user_attr("outcome", asdict(found))
        trial.set_user_attr("values", values)
        trial.set_user_attr("probes", probes)
        study.tell(trial, found.compared(best))
        progress.advance()
    size = scorer.control_size
    for number in finalists(_outcomes(study)) if size and scorer.examples <= rescorable * size else []:
        known = study.user_attrs.get(_RESCORED, {})
        if str(number) not in known:
            built = build(**_complete(study)[number].user_attrs["values"], max_steps=space.max_steps)
            study.set_user_attr(_RESCORED, known | {str(number): rescored(scorer, built, asked, measures)})
    return _table(study, space)


def _weakest(
    build: Callable[..., editors.Editor],
    space: Space,
    scorer: Any,
    measures: Measures,
    asked: Asked,
    proposed: dict[str, float],
    leader: optuna.trial.FrozenTrial | None,
) -> tuple[dict[str, float], Outcome, int]:
    """All values of a trial, its strength the weakest that is feasible; its outcome; how many strengths were tried.

    Where no strength is feasible, it is the one that comes closest.
    """
    strength, best = space.strength, _outcome(leader) if leader else None

    def made(at: float) -> tuple[dict[str, float], editors.Editor]:
        bisected = {strength.name: space.at(strength, at)} if strength else {}
        values = {**space.fixed, **proposed, **bisected}
        return values, build(**values, max_steps=space.max_steps)

    def fails(at: float, rows: Sequence[int]) -> list[bool]:
        return [not edit.succeeded for edit in scorer.edit(made(at)[1], rows)[0]]

    if strength is None:
        values, editor = made(0.0)
        return values, try_edits(scorer, editor, asked, measures, best), 1
    known = leader.user_attrs["values"][strength.name] if leader else _start(strength, *space.range(strength))
    start = space.strength_of(strength, known)
    hard = best.hardest if best else hardest(scorer, made(start)[1], asked)
    weakest = Weakest(fails, asked.edits, hard, asked.allowed, start, space.resolution(strength))
    for _ in range(_ROUNDS):
        at = weakest.find()
        values, editor = made(weakest.likeliest if at is None else at)
        found = try_edits(scorer, editor, asked, measures, best)
        if found.feasible or at is None:
            break
        weakest.learn(found.failed)
    return values, found, weakest.probes


def _opened(journal: Path) -> optuna.Study:
    """The study in a journal, a new one if there is none.

    :raises InputError: if it cannot be read.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    # Of trials that are all infeasible to the same degree its Gaussian process learns nothing, and samples at random.
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="optuna._gp")
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
    return study


def _complete(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _is_feasible(trial: optuna.trial.FrozenTrial) -> bool:
    return _outcome(trial).feasible


def _can_lead(trial: optuna.trial.FrozenTrial) -> bool:
    return _outcome(trial).complete


def _outcomes(study: optuna.Study) -> list[Outcome]:
    return [_outcome(trial) for trial in _complete(study)]


def _outcome(trial: optuna.trial.FrozenTrial) -> Outcome:
    values = trial.user_attrs["outcome"]
    return Outcome(**values | {name: tuple(values[name]) for name in ("failed", "drawdowns")})


def _first(space: Space, axes: tuple[str | int, ...]) -> list[dict[str, float]]:
    """What the first trials propose: the defaults, then a Latin hypercube of the ranges."""
    from scipy.stats import qmc  # takes a second

    proposed = [{one.name: _start(one, *space.range(one)) for one in space.others}]
    if space.others:
        cube = qmc.LatinHypercube(len(space.others), rng=seed(*axes, "design")).random(_IN_CUBE)
        proposed += [
            {one.name: _between(one, *space.range(one), share) for one, share in zip(space.others, point, strict=True)}
            for point in cube.tolist()
        ]
    return proposed


def _between(parameter: Hyperparameter, low: float, high: float, share: float) -> float:
    value = low * (high / low) ** share if parameter.log else low + (high - low) * share
    return min(max(value, low), high)


def _start(parameter: Hyperparameter, low: float, high: float) -> float:
    """The default; the middle of the range where whoever chose the range left the default out."""
    if low <= parameter.default <= high:
        return parameter.default
    return math.sqrt(low * high) if parameter.log else (low + high) / 2


def _table(study: optuna.Study, space: Space) -> pd.DataFrame:
    rows = []
    for number, (trial, found) in enumerate(zip(_complete(study), _outcomes(study), strict=True)):
        default = BISECTION if space.strength else DEFAULT
        by = default if not number else HYPERCUBE if number <= _IN_CUBE else SAMPLER
        shown = {name: getattr(found, name) for name in ("success_rate", "drawdown", "edits")}
        final = study.user_attrs.get(_RESCORED, {}).get(str(number), math.nan)
        scored = {"scored": len(found.drawdowns), "rescored": final, "feasible": found.feasible}
        row = {"number": number, "proposed_by": by, **shown, **scored}
        row |= {"beaten": found.beaten, "probes": trial.user_attrs["probes"]}
        rows.append({**row, **trial.user_attrs["values"]})
    trials = pd.DataFrame(rows)
    trials.insert(9, "chosen", trials.index == choose(trials))
    return trials
