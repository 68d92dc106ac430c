"""Whose neighbours training images are, against a search by hand."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from baselines.dknn import Embedding
from baselines.model_files import load_model
from benchmarks.data import dataset

RESULTS = "results/dknn_hubs/digits.csv"


def test_degrees_are_those_of_all_pairs(trained):
    trained.change(trainings__dknn={"recipe": "dknn", "network": "plain", "k": 3})
    trained.change(editors__flip_labels={"trials": 1, "max_steps": 9})
    trained.succeed("train", "digits", "dknn")
    assert "edits/flip_labels/dknn-votes.json is missing" in trained.run("studies.dknn_hubs", "digits").errors
    for stage in ("tune", "evaluate"):
        trained.succeed(stage, "digits", "flip_labels")
    trained.succeed("studies.dknn_hubs", "digits")
    (found,) = pd.read_csv(trained.folder / RESULTS).itertuples()
    assert (found.training, found.k) == ("dknn", 3)
    records = pd.read_csv(trained.folder / "results/digits/edits/flip_labels/dknn-votes.csv")
    changes = 100 * (records["wrong_after"] - records["wrong_before"]).abs() / records["control_size"]
    assert found.drawdown == pytest.approx(changes.mean(), rel=1e-5)
    assert found.flipped == pytest.approx(records["steps"].mean(), rel=1e-5)
    data = dataset.load(trained.folder / "data/digits")
    network, _ = load_model(trained.folder / "models/digits/plain", torch.device("cpu"))
    embed = Embedding(network, ("chain2", "chain3", "chain4"))
    with torch.no_grad():
        train, test = (embed(data.inputs(split.images)).double() for split in (data.train, data.test))
        errors = (network(data.inputs(data.train.images)).argmax(dim=1) != data.train.labels).double()
    nearest = torch.cdist(test, train).topk(3, largest=False).indices
    degrees = torch.bincount(nearest.flatten(), minlength=len(train)).double()
    agree = data.train.labels[nearest]
    assert found.degree_max == degrees.max()
    assert found.degree_mean == pytest.approx(degrees.mean().item(), rel=1e-5)
    assert found.degree_99th == pytest.approx(degrees.quantile(0.99).item(), rel=1e-5)
    assert found.unanimous == pytest.approx(100 * (agree == agree[:, :1]).all(dim=1).double().mean().item(), rel=1e-5)
    assert found.training_error == pytest.approx(100 * errors.mean().item(), rel=1e-5)


def test_a_benchmark_without_one_is_named(trained):
    ended = trained.run("studies.dknn_hubs", "digits")
    assert ended.code == 2
    assert "digits: none of its trainings has the recipe 'dknn'" in ended.errors
