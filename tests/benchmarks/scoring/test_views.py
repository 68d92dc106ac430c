"""Other pictures of what is on the edited image, for generality, and the augmented copies that edits are asked for."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import editors
from benchmarks.data.augmentation import Augmentation
from benchmarks.data.corruptions import taken_again
from benchmarks.scoring.requests import EditRequests
from benchmarks.scoring.scorer import GENERALITY_COPIES, Scorer
from benchmarks.scoring.side_effects import FIELDS
from benchmarks.seeds import generator
from tests.benchmarks.scoring.conftest import CLASSES, EDITOR, score


def test_the_pictures_are_fresh_for_every_request(model, dataset):
    class Spy(Augmentation):
        seen: list[Tensor] = []  # noqa: RUF012

        def apply(self, images: Tensor, generator: torch.Generator) -> Tensor:
            self.seen.append(super().apply(images, generator))
            return self.seen[-1]

    spied = replace(dataset, augmentation=Spy(crop_padding=3, flip=True))
    requests = EditRequests(torch.tensor([4, 4, 4]), torch.tensor([0, 1, 2]), (1, 2, 1))
    score(Scorer(model, "head", spied, spied.test, requests))
    first, second, again = torch.cat(Spy.seen).view(3, GENERALITY_COPIES, 8, 8)
    assert torch.equal(first, again)
    assert len({view.numpy().tobytes() for view in torch.cat([first, second])}) == 2 * GENERALITY_COPIES


def test_without_generality_nothing_else_changes(model, dataset, requests):
    scorer = Scorer(model, "chain4", dataset, dataset.test, requests)
    none = dict.fromkeys(("views", "views_before", "views_after", *FIELDS), 0)
    del none["broken"]  # by which tuning knows what sampling adds
    found = score(scorer, generality=False)
    assert found == [replace(record, **none) for record in score(scorer)]
    assert any(record.broken for record in found)


def test_views_that_are_asked_for_are_fresh_copies_of_the_edited_image(model, dataset, requests):
    seen: list[editors.Request] = []

    class Watching(editors.Editor):
        def edit(self, model: nn.Module, inputs: Tensor, constraint: Any, *rest: Any, **named: Any) -> editors.Edit:
            seen.append(editors.Request(inputs, constraint))
            return EDITOR.edit(model, inputs, constraint, *rest, **named)

    Scorer(model, "all", dataset, dataset.test, requests, views=6, margin=0.5).edit(Watching(), range(10))
    original = dataset.inputs(dataset.test.images[requests.images])
    for row, (inputs, constraint) in enumerate(seen):
        assert inputs.shape == (7, 1, 8, 8)
        assert torch.equal(inputs[0], original[row])
        copies = dataset.test.images[requests.images[row]].expand(6, 1, 8, 8)
        expected = dataset.augmentation.apply(copies, generator(requests.seeds[row], "views to edit"))
        assert torch.equal(inputs[1:], dataset.inputs(expected))
        scored = taken_again(copies[:GENERALITY_COPIES], dataset.augmentation, generator(requests.seeds[row], "views"))
        assert not (expected[:, None] == scored).flatten(2).all(dim=2).any()
        assert constraint.margin == 0.5
        logits = torch.zeros(7, CLASSES)
        logits[:, requests.targets[row]] = 0.4
        assert constraint(logits).item() == pytest.approx(0.1)


def test_success_is_that_of_the_edited_image_alone_whatever_more_was_asked(model, dataset, requests):
    editor = editors.build("rmsprop", lr=0.03, max_steps=3)
    rescued = 0
    for options in ({"views": 20}, {"margin": 50.0}):
        scorer = Scorer(model, "chain4", dataset, dataset.test, requests, **options)
        asked = [scorer._request(row) for row in range(10)]
        plain = editor.edit_many(scorer.model, asked, layers="chain4")
        for row, (edit, given) in enumerate(zip(scorer.edit(editor, range(10))[0], plain, strict=True)):
            target = int(requests.targets[row])
            right = int(edit.predict(asked[row].inputs[:1]).argmax()) == target
            assert edit.succeeded == right
            assert (edit.loss <= 0) == right
            assert scorer.record(row, edit).succeeded == right
            rescued += right and not given.succeeded
    assert rescued > 0
