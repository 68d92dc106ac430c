"""Which machine and which commit a number comes from."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def git_commit() -> str:
    """The commit that is checked out, with ``-dirty`` if code differs from it; ``unknown`` without git."""
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return "unknown"
    code = ("editors", "benchmarks", "baselines", "pipelines", "dvc.yaml")
    return commit + ("-dirty" if _git("status", "--porcelain", "--", *code) else "")


def cpu() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )


def machine(device: torch.device) -> str:
    """What computes, in words: the GPU, or the processor with its number of cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{cpu() or platform.machine()}, {os.cpu_count()} cores"


def described(hardware: Mapping[str, Any]) -> str:
    """The same of what run.json says about the hardware.

    :raises KeyError: if it does not say it.
    """
    return hardware.get("gpu") or f"{hardware['cpu']}, {hardware['cores']} cores"


def slug(name: str) -> str:
    """``name`` as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(
            ("git", *arguments), capture_output=True, text=True, check=True, timeout=30
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
