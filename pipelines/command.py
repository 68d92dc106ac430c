"""From a stage's function to a command: arguments by typer, mistakes as one sentence and exit code 2."""

from __future__ import annotations

import functools
import io
import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors import SafetensorError

from benchmarks.errors import InputError
from editors import EditError
from pipelines.config.params import PARAMS
from pipelines.jobs.parallel_map import compute_reproducibly
from pipelines.jobs.progress import one_line

_UNDETERMINED = "does not have a deterministic implementation"  # in torch's words

Benchmark = Annotated[str, typer.Argument(help="A name of a file in benchmarks/configs.")]
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
    for stream in (sys.stdout, sys.stderr):  # a terminal that is not UTF-8, a file name that is no text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    application = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

    @functools.wraps(stage)
    def careful(*arguments: object, **options: object) -> None:
        compute_reproducibly()
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that workers end, and temporary files
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            stage(*arguments, **options)
            sys.stdout.flush()
        except BrokenPipeError:  # whoever read the output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(141) from None
        except (InputError, EditError, OSError, SafetensorError, MemoryError, RuntimeError) as error:
            said = _sentence(error)
            if said is None:
                raise
            typer.echo(f"error: {one_line(said)}", err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            typer.echo("interrupted; run the same command again to go on", err=True)
            raise typer.Exit(130) from None
        finally:
            signal.signal(signal.SIGTERM, before)

    application.command()(careful)
    application()


def _sentence(error: Exception) -> str | None:
    """What went wrong, for whoever runs the command; None for a mistake of the suite's own, which needs a traceback."""
    if _UNDETERMINED in str(error):
        return f"{str(error).partition(',')[0]} on a GPU; use device: cpu"
    if isinstance(error, OSError):
        return f"{error.filename or 'a file'}: {error.strerror or error}"
    if isinstance(error, SafetensorError):  # what it makes of a full disk
        return f"a tensor file cannot be written: {error}"
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        asked = re.search(r"[\d.]+ [KMGTPE]iB|\d+ bytes", str(error))
        wanted = f" when {asked[0]} more were asked for" if asked else ""
        return f"the memory is full{wanted}: take smaller images, fewer of them, or fewer edits at a time"
    return str(error) if isinstance(error, InputError | EditError) else None
