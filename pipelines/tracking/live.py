"""A training's epochs in MLflow while they happen."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

import typer

from pipelines.tracking.sync import Unreachable, live_training


@contextlib.contextmanager
def logging_live(
    experiment: str, model: str, settings: Mapping[str, object], tags: Mapping[str, str]
) -> Iterator[Callable[[Mapping[str, float], int], None]]:
    """Yields ``log(metrics, epoch)``; a server that does not answer costs a warning, not the training."""
    with contextlib.ExitStack() as stack:
        try:
            log = stack.enter_context(live_training(experiment, f"training/{model}", settings, tags))
        except Unreachable as error:
            typer.echo(f"warning: {str(error).rstrip('.')}; training goes on without live metrics", err=True)
            log = _nothing
        yield log


def _nothing(*_: object) -> None:
    """Drop it: what is logged is in history.csv as well, from which the report fills MLflow."""
