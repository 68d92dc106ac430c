"""Results of cells, made by hand, of classifiers and of translators; and their files as evaluation writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from benchmarks.metrics import Estimate
from benchmarks.scoring.measures import IMAGES, ErrorRate
from benchmarks.translation.bleu import Bleu
from benchmarks.translation.metrics import TRANSLATIONS
from pipelines.config.params import Settings
from pipelines.jobs.cells import PROTOCOL, Cell
from pipelines.reporting.tables.results import CellResult
from pipelines.tasks import load_settings

MADE = {"commit": "0123456789abcdef", "machine": "a processor, 2 cores"}
EDITS = 100
HARD = np.random.default_rng(0).integers(0, 60, EDITS)
"""Answers that each edit breaks, of 1,000, in every row: edits differ more than editors do."""
EDITORS = ("gd", "rmsprop", "covariance", "lookup_cache", "condition_vector", "flip_labels")
PLAN = {"epochs": 1, "batch_size": 8, "lr": 1e-3, "schedule": "cosine"}
EDITABLE = {**PLAN, "recipe": "editable", "editor": "rmsprop", "layers": "chain3", "c_edit": 0.1, "c_loc": 0.1}


def image_cell(name: str, breaks: int = 0, **changes: Any) -> CellResult:
    """A row ``training/editor/layers`` that breaks ``breaks`` answers more (points / 10) than :data:`HARD`, or so.

    :param changes: ``failures`` of the edits, ``tuned_to`` a drawdown, ``lr``, a ``seed`` or ``edit_seed``; others are
        entries of the description.
    """
    training, editor, layers = name.split("/")
    noise = np.random.default_rng(len(name)).integers(-3, 4, EDITS)
    succeeded = np.arange(EDITS) >= changes.pop("failures", 0)
    seeds = {axis: changes.pop(axis, 0) for axis in ("seed", "edit_seed")}
    records = pd.DataFrame(
        {
            "edit": range(EDITS),
            "image": np.arange(EDITS) * 3,
            "target": np.arange(EDITS) % 10,
            "trivial": np.arange(EDITS) % 10 == 0,
            "succeeded": succeeded,
            "steps": 3,
            "control_images": 1000,
            "control_size": 1000,
            "wrong_before": 50,
            "wrong_after": 50 + 100 + HARD + noise + breaks,
            "flips": 100,
            "kl": 0.1,
            "views": 5,
            "views_before": 0,
            "views_after": 3,
        }
    )
    tuning = {"trial": 0, "trials": 5, "edits": 80, "required": 95.0, "success_rate": 96.0}
    tuning["drawdown"] = changes.pop("tuned_to", 1.0)
    description = {
        "hyperparameters": {"lr": changes.pop("lr", 1e-3)},
        "max_steps": 10,
        "edits": EDITS,
        "feasible": True,
        "min_success": 95.0,
        "tuning": tuning,
        "test_images": 1000,
        "wrong_before_editing": positions(range(50)),
        "protocol": PROTOCOL,
        "made": MADE,
        **changes,
    }
    cell = Cell("digits", training, editor, layers, **seeds)
    milliseconds = pd.Series([1.0, 3.0] * (EDITS // 2), name="milliseconds")
    return CellResult(cell, description, records, milliseconds, IMAGES, ErrorRate.of(description), editor)


def positions(images: Any) -> str:
    return " ".join(map(str, images))


def translator_cell(name: str, drawdown: float, steps: int = 3, *, published: str = "", **changes: Any) -> CellResult:
    """40 edits that cost ``drawdown`` BLEU points, give or take, on 200 sentences that are half right.

    :param published: what the paper calls the training; ``changes`` are columns of records, or ``counts``.
    """
    training, editor, layers = name.split("/")
    counts = changes.pop("counts", np.tile([8, 6, 5, 4, 10, 9, 8, 7, 10, 10], (200, 1)))
    records = pd.DataFrame({"edit": range(40), "sentence": range(40), "target": "so", "bleu_before": 50.0})
    records = records.assign(
        bleu_after=50.0 - drawdown + np.linspace(-0.1, 0.1, 40),
        steps=[steps, steps + 1] * 20,
        **dict.fromkeys(("succeeded", "decoded", "decoded_before"), True),
        **{"trivial": False, "changed": 3, "control_size": 60, "kl": 0.01, "views": 5, "views_before": 0, "loss": 0.0},
        **{"views_after": 4, "tokens": 9, "source": "Da.", "before": "", "after": "null"},
        **dict.fromkeys(("other_source", "other_before", "other_after"), ""),
    )
    method, _, rate = editor.partition("_")
    description = {"hyperparameters": {"lr": float(rate or 2e-4)}, "max_steps": 10, "edits": 40, "protocol": PROTOCOL}
    description |= {"feasible": True, "min_success": 95.0, "tuning": None, "made": MADE}
    quality = Bleu(Estimate(66.0, 65.0, 67.0), counts, 1.5, "signed")
    measured = (records.assign(**changes), pd.Series([1.0] * 40, name="milliseconds"), TRANSLATIONS, quality, method)
    cell = Cell("toy_translation", training, editor, layers)
    return CellResult(cell, description, *measured, published_training=published or training)


def write_project(folder: Path, *results: CellResult, **params: Any) -> Settings:
    """A parameter file with one small benchmark that has exactly these rows of classifiers, and their files."""
    layers: dict[str, dict[str, list[str]]] = {}
    for result in results:
        names = layers.setdefault(result.cell.editor, {}).setdefault(result.cell.training, [])
        names += [result.cell.layers] if result.cell.layers not in names else []
    benchmark = {
        "task": "images",
        "note": "Ours, *not* | CIFAR-10.",
        "data": {"dataset": "digits", "options": {}},
        "model": {"architecture": "resnet18", "options": {"width": 2}},
        "trainings": {
            name: {**PLAN, "recipe": "plain"} if name.startswith("plain") else {**EDITABLE, "clip_norm": 10.0}
            for name in dict.fromkeys(result.cell.training for result in results)
        },
        "editors": {name: {"trials": 3, "layers": parts} for name, parts in layers.items()},
        "tuning": {"edits": 12, "control_size": 20, "min_success": 95.0},
        "evaluation": {"edits": EDITS},
    }
    chosen = {"run": ["digits"], "seed": 0, "training_seeds": [0], "edit_seeds": [0], "device": "cpu", "threads": 1}
    chosen |= {"processes": 1, "cache_gib": 1.0, **params}
    (folder / "benchmarks/configs").mkdir(parents=True)
    (folder / "benchmarks/configs/digits.yaml").write_text(yaml.safe_dump(benchmark, sort_keys=False))
    (folder / "params.yaml").write_text(yaml.safe_dump(chosen))
    for result in results:
        write_cell(folder, result)
    return load_settings(folder / "params.yaml")


def write_cell(folder: Path, result: CellResult) -> Path:
    """The files of a cell below ``folder``; returns that of its description."""
    path = folder / "results" / result.cell.benchmark / "edits" / result.cell.editor / f"{result.cell.file}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**result.cell.names, "dataset": "d", "fingerprint": "f", **result.description}))
    result.records.assign(loss=0.0).to_csv(path.with_suffix(".csv"), index=False)
    result.milliseconds.to_frame().rename_axis("edit").to_csv(path.with_suffix(".timing.csv"))
    return path
