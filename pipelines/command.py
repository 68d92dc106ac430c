"""From a stage's function to a command: arguments by typer, mistakes as one sentence and exit code 2."""

from __future__ import annotations

import functools
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from safetensors import SafetensorError

from benchmarks.errors import InputError
from editors import EditError
from pipelines.config.params import PARAMS
from pipelines.jobs.parallel_map import compute_reproducibly

_UNDETERMINED = "does not have a deterministic implementation"  # in torch's words

Params = Annotated[Path, typer.Option("--params", help="The parameter file.")]
DEFAULT_PARAMS = PARAMS
Editors = Annotated[
    list[str] | None,
    typer.Argument(metavar="editor", help="Names under `editors` of the benchmark; all of them, if none is given."),
]


def run(stage: Callable[..., None], *others: Callable[..., None]) -> None:
    """Run ``stage`` with the arguments of the command line, or one of ``others`` whose name comes first in them."""
    named = {other.__name__: other for other in others}
    if len(sys.argv) > 1 and sys.argv[1] in named:
        stage = named[sys.argv.pop(1)]
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    application = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

    @functools.wraps(stage)
    def careful(*arguments: object, **options: object) -> None:
        compute_reproducibly()
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that workers end, and temporary files
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            stage(*arguments, **options)
        except (InputError, EditError) as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from None
        except OSError as error:
            typer.echo(f"error: {error.filename or 'a file'}: {error.strerror or error}", err=True)
            raise typer.Exit(2) from None
        except SafetensorError as error:  # what it makes of a full disk
            typer.echo(f"error: a tensor file cannot be written: {error}", err=True)
            raise typer.Exit(2) from None
        except RuntimeError as error:
            if _UNDETERMINED not in str(error):
                raise
            typer.echo(f"error: {str(error).partition(',')[0]} on a GPU; use device: cpu", err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            typer.echo("interrupted; run the same command again to go on", err=True)
            raise typer.Exit(130) from None
        finally:
            signal.signal(signal.SIGTERM, before)

    application.command()(careful)
    application()
