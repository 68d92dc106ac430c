"""Whether edits carry over to similar images, against the same done by hand with the whole model."""

import copy
from dataclasses import asdict

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import editors
from benchmarks import models
from benchmarks.analysis.embedding import nearest, pooled_features
from benchmarks.data.corruptions import taken_again
from benchmarks.data.dataset import Dataset, Split
from benchmarks.datasets import digits_finetune
from benchmarks.scoring.mistakes import mistakes
from benchmarks.scoring.requests import Demand
from benchmarks.scoring.similar import SimilarScorer, accuracies
from benchmarks.seeds import generator

COUNT = 4


@pytest.fixture(scope="module")
def data() -> Dataset:
    return digits_finetune.digits_finetune(tuning_size=60, test_size=120)


@pytest.fixture(scope="module")
def model(data: Dataset) -> nn.Module:
    """Trained for a moment: right about most digits, wrong about many of the shifted ones."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = models.make("resnet18", channels=1, classes=10, width=4)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for step in range(40):
        rows = torch.randperm(len(data.train), generator=generator("batch", step))[:200]
        optimizer.zero_grad()
        F.cross_entropy(net(data.inputs(data.train.images[rows])), data.train.labels[rows]).backward()
        optimizer.step()
    return net.eval()


@pytest.fixture(scope="module")
def wrong(model: nn.Module, data: Dataset) -> Split:
    found = mistakes(model, data, digits_finetune.candidates(tuning_size=60, test_size=120, copies=2))
    return found.images.select(torch.arange(12))


@pytest.fixture(scope="module")
def neighbours(model: nn.Module, data: Dataset, wrong: Split) -> list[int]:
    embedded = (pooled_features(model, data.inputs(some.images)) for some in (wrong, data.test))
    return nearest(*embedded).tolist()


def test_every_number_is_that_of_editing_the_whole_model_by_hand(model, data, wrong, neighbours):
    before, seeds = copy.deepcopy(model.state_dict()), range(100, 112)
    editor = editors.build("rmsprop", lr=1e-3, max_steps=10)
    scorer = SimilarScorer(model, "chain3", data, wrong, data.test, neighbours, seeds, COUNT)
    records = [record for place in range(len(wrong)) for record in scorer.run(editor, place)]
    assert len(records) == 12 * COUNT
    for record in records:
        label, neighbour = int(wrong.labels[record.image]), neighbours[record.image]

        def views(image: torch.Tensor, name: str, seed: int = seeds[record.image]) -> torch.Tensor:
            copies, source = image.expand(COUNT, *image.shape), generator(seed, name)
            if name == "edited":
                return data.inputs(data.augmentation.apply(copies, source))
            return data.inputs(taken_again(copies, data.augmentation, source))

        edited = views(wrong.images[record.image], "edited")[record.augmentation][None]
        edit = editor.edit(model, edited, editors.constraints.predicts(label), layers="chain3")
        own, similar = views(wrong.images[record.image], "own"), views(data.test.images[neighbour], "similar")
        with torch.no_grad():
            hits = [
                int((net(some).argmax(1) == label).sum()) for net in (model, edit.predict) for some in (own, similar)
            ]
        found = [record.own_before, record.similar_before, record.own_after, record.similar_after]
        assert found == hits
        assert (record.succeeded, record.steps, record.target) == (edit.succeeded, edit.steps, label)
        assert record.same_class == (int(data.test.labels[neighbour]) == label)
    # The example must tell the columns apart.
    totals = pd.DataFrame([asdict(record) for record in records]).sum()
    assert totals["own_after"] > totals["own_before"]
    assert len({totals[name] for name in ("own_before", "own_after", "similar_before", "similar_after")}) == 4
    assert 0 < totals["same_class"] < len(records)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_edits_are_asked_for_what_single_ones_are(model, data, wrong, neighbours):
    editor = editors.build("rmsprop", lr=1e-3, max_steps=20)
    steps = {}
    for demand in (Demand(), Demand(margin=4.0), Demand(views=4)):
        scorer = SimilarScorer(model, "chain3", data, wrong, data.test, neighbours, range(12), COUNT, demand)
        steps[demand] = sum(record.steps for place in range(12) for record in scorer.run(editor, place))
    assert steps[Demand(margin=4.0)] > steps[Demand()]
    assert steps[Demand(views=4)] > steps[Demand()]


def test_shares_are_reckoned_over_images():
    columns = ["image", "augmentation", "same_class", "succeeded", "views"]
    columns += ["own_before", "own_after", "similar_before", "similar_after"]
    rows = [
        (0, 0, True, True, 5, 0, 5, 4, 5),
        (0, 1, True, True, 5, 0, 3, 4, 4),
        (1, 0, False, False, 5, 1, 1, 0, 1),
        (1, 1, False, True, 5, 1, 4, 0, 0),
    ]
    found = accuracies(pd.DataFrame(rows, columns=columns))
    expected = {
        "similar_accuracy": (90 + 10) / 2,
        "similar_before": (80 + 0) / 2,
        "same_class_accuracy": 90,
        "same_class_before": 80,
        "same_class": 50,
        "own_accuracy": (80 + 50) / 2,
        "own_before": (0 + 20) / 2,
        "success_rate": 75,
    }
    assert {name: one.value for name, one in found.items()} == pytest.approx(expected)
    assert (found["similar_accuracy"].low, found["similar_accuracy"].high) == (
        10,
        90,
    )  # over two images, not four edits
