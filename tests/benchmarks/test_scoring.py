import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import editors
from benchmarks import models
from benchmarks.augmentation import Augmentation
from benchmarks.dataset import Dataset, Split
from benchmarks.requests import EditRequests, control_images, draw_requests
from benchmarks.scoring import VIEWS, EditRecord, Scorer, shards
from benchmarks.seeds import generator
from tests.benchmarks.conftest import random_split

CLASSES = 4
LARGEST = 3 * 8 * 8 * 4
"""Bytes of the largest activation of the model below, for one image."""
EDITOR = editors.build("rmsprop", lr=0.03, beta=0.5, max_steps=4)


def split(name: str, count: int) -> Split:
    return random_split("scoring", name, count=count, classes=CLASSES, size=8)


@pytest.fixture(scope="module")
def model() -> nn.Sequential:
    """A ResNet-18 with random weights, its answers spread over all classes; left in training mode."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = models.make("resnet18", channels=1, classes=CLASSES, width=3)
    inputs = (split("test", 30).images - 127.0) / 73.0
    with torch.no_grad():
        for _ in range(30):
            net(inputs)  # so that batch statistics are those of these images
        logits = net.eval()(inputs)
        net.head.linear.weight /= logits.std(dim=0)[:, None]
        net.head.linear.bias.copy_((net.head.linear.bias - logits.mean(dim=0)) / logits.std(dim=0))
    return net.train()


@pytest.fixture(scope="module")
def dataset(model: nn.Sequential) -> Dataset:
    """Random images with labels of which the model gets one in two wrong."""
    test = split("test", 30)
    right = answers(copy.deepcopy(model).eval(), (test.images - 127.0) / 73.0).argmax(dim=1)
    return Dataset(
        name="tiny",
        classes=("a", "b", "c", "d"),
        train=split("train", 20),
        tuning=split("tuning", 5),
        test=Split(test.images, torch.where(torch.arange(30) % 2 == 0, (right + 1) % CLASSES, right)),
        mean=(127.0,),
        std=(73.0,),
        augmentation=Augmentation(crop_padding=1, flip=True),
        source="Made by a test.",
    )


@pytest.fixture(scope="module")
def requests(dataset: Dataset) -> EditRequests:
    return draw_requests(dataset.test, CLASSES, 10, 0, "tiny", "test")


def answers(model: nn.Module, inputs: Tensor) -> Tensor:
    """Log-probabilities of every image, by the whole model at once."""
    with torch.no_grad():
        return F.log_softmax(model(inputs), dim=1)


def naive_record(
    model: nn.Module,
    editor: editors.Editor,
    layers: str,
    dataset: Dataset,
    requests: EditRequests,
    row: int,
    control_size: int | None = None,
) -> EditRecord:
    """What section 4.1 says, without sharing anything: one edit, a patched copy, and every image again."""
    original = copy.deepcopy(model).eval()
    images, labels = dataset.inputs(dataset.test.images), dataset.test.labels
    image, target = int(requests.images[row]), int(requests.targets[row])
    edit = editor.edit(
        original,
        images[image : image + 1],
        editors.constraints.predicts(target),
        layers=None if layers == "all" else layers,
    )
    patched = edit.apply(original)
    chosen = control_images(len(labels), control_size, requests.seeds[row])
    chosen = torch.arange(len(labels)) if chosen is None else chosen
    before, after = answers(original, images[chosen]), answers(patched, images[chosen])
    old, new, true = before.argmax(dim=1).tolist(), after.argmax(dim=1).tolist(), labels[chosen].tolist()
    divergences = [(p.exp() * (p - q)).sum() for p, q in zip(before.double(), after.double(), strict=True)]
    copies = torch.stack([dataset.test.images[image]] * VIEWS)
    views = dataset.inputs(dataset.augmentation.apply(copies, generator(requests.seeds[row], "views")))
    predicted = int(answers(original, images[image : image + 1]).argmax())
    return EditRecord(
        edit=row,
        image=image,
        label=int(labels[image]),
        target=target,
        predicted=predicted,
        trivial=predicted == target,
        succeeded=edit.succeeded,
        steps=edit.steps,
        loss=float(edit.loss),
        control_size=len(chosen),
        wrong_before=sum(a != b for a, b in zip(old, true, strict=True)),
        wrong_after=sum(a != b for a, b in zip(new, true, strict=True)),
        flips=sum(a != b for a, b in zip(old, new, strict=True)),
        kl=float(torch.stack(divergences).mean()),
        views=VIEWS,
        views_before=answers(original, views).argmax(dim=1).tolist().count(target),
        views_after=answers(patched, views).argmax(dim=1).tolist().count(target),
    )


def assert_same(found: EditRecord, expected: EditRecord) -> None:
    exact = {"loss": 0.0, "kl": 0.0}
    assert replace(found, **exact) == replace(expected, **exact)
    assert found.loss == pytest.approx(expected.loss, abs=2e-4)
    assert found.kl == pytest.approx(expected.kl, rel=1e-3, abs=1e-6)


def score(scorer: Scorer, editor: editors.Editor = EDITOR, **options: Any) -> list[EditRecord]:
    rows = range(len(scorer.requests))
    return [scorer.record(row, edit, **options) for row, edit in zip(rows, scorer.edit(editor, rows)[0], strict=True)]


@pytest.mark.parametrize("layers", ["all", "chain2", "chain4", "head"])
def test_every_field_equals_a_naive_reference(
    model: nn.Sequential, dataset: Dataset, requests: EditRequests, layers: str
) -> None:
    found = score(Scorer(model, layers, dataset, dataset.test, requests, chunk_bytes=7 * LARGEST))
    for row, record in enumerate(found):
        assert_same(record, naive_record(model, EDITOR, layers, dataset, requests, row))


def test_the_edits_that_are_compared_differ_in_every_field(
    model: nn.Sequential, dataset: Dataset, requests: EditRequests
) -> None:
    records = [
        record
        for layers in ("chain4", "head")
        for record in score(Scorer(model, layers, dataset, dataset.test, requests))
    ]
    for name in ("trivial", "steps", "wrong_after", "flips", "views_before", "views_after", "predicted"):
        assert len({getattr(record, name) for record in records}) > 1, name
    assert any(record.wrong_after > record.wrong_before for record in records)
    assert any(record.views_after > record.views_before for record in records)
    assert all(record.flips >= abs(record.wrong_after - record.wrong_before) for record in records)


def test_edits_that_fail_are_scored_too(model: nn.Sequential, dataset: Dataset, requests: EditRequests) -> None:
    editor = editors.build("gd", lr=1e-5, max_steps=2)
    records = score(Scorer(model, "chain3", dataset, dataset.test, requests), editor)
    assert any(not record.succeeded for record in records)
    for row, record in enumerate(records):
        assert_same(record, naive_record(model, editor, "chain3", dataset, requests, row))
        assert record.succeeded == (record.loss <= 0)


def test_trivial_edits_take_no_step_and_change_nothing(model: nn.Sequential, dataset: Dataset) -> None:
    with torch.no_grad():
        targets = copy.deepcopy(model).eval()(dataset.inputs(dataset.test.images)).argmax(dim=1)
    requests = EditRequests(torch.arange(30), targets, tuple(range(30)))
    for record in score(Scorer(model, "chain2", dataset, dataset.test, requests)):
        assert (record.trivial, record.succeeded, record.steps, record.loss) == (True, True, 0, 0.0)
        assert (record.flips, record.kl, record.wrong_after) == (0, 0.0, record.wrong_before)
        assert record.views_after == record.views_before


def test_control_subset_belongs_to_each_edit(model: nn.Sequential, dataset: Dataset, requests: EditRequests) -> None:
    layers = "chain3"
    found = score(Scorer(model, layers, dataset, dataset.test, requests, control_size=11, chunk_bytes=4 * LARGEST))
    for row, record in enumerate(found):
        assert_same(record, naive_record(model, EDITOR, layers, dataset, requests, row, control_size=11))
    assert {record.control_size for record in found} == {11}
    assert len({record.wrong_before for record in found}) > 1


def test_control_subset_as_large_as_the_split_is_the_split(
    model: nn.Sequential, dataset: Dataset, requests: EditRequests
) -> None:
    whole, large = (
        score(Scorer(model, "head", dataset, dataset.test, requests, control_size=size)) for size in (None, 30)
    )
    assert whole == large


def test_small_cache_gives_the_same_records(model: nn.Sequential, dataset: Dataset, requests: EditRequests) -> None:
    cached = score(Scorer(model, "chain3", dataset, dataset.test, requests))
    anew = score(Scorer(model, "chain3", dataset, dataset.test, requests, cache_bytes=100))
    for found, expected in zip(anew, cached, strict=True):
        assert_same(found, expected)


def test_records_do_not_depend_on_the_order_and_the_batch(
    model: nn.Sequential, dataset: Dataset, requests: EditRequests
) -> None:
    scorer = Scorer(model, "chain4", dataset, dataset.test, requests)
    together = score(scorer)
    for row in (7, 2):
        (edit,), _ = scorer.edit(EDITOR, [row])
        assert_same(scorer.record(row, edit), together[row])


def test_views_are_made_by_the_augmentation_of_the_benchmark(
    model: nn.Sequential, dataset: Dataset, requests: EditRequests
) -> None:
    still = replace(dataset, augmentation=Augmentation(crop_padding=0, flip=False))
    for record in score(Scorer(model, "chain4", still, still.test, requests)):
        assert record.views_before == (VIEWS if record.trivial else 0)
        assert record.views_after == (VIEWS if record.succeeded else 0)
    moving = score(Scorer(model, "chain4", dataset, dataset.test, requests))
    assert any(0 < record.views_after < VIEWS for record in moving)


def test_views_are_fresh_for_every_request(model: nn.Sequential, dataset: Dataset) -> None:
    class Spy(Augmentation):
        seen: list[Tensor] = []  # noqa: RUF012

        def apply(self, images: Tensor, generator: torch.Generator) -> Tensor:
            self.seen.append(super().apply(images, generator))
            return self.seen[-1]

    spied = replace(dataset, augmentation=Spy(crop_padding=3, flip=True))
    requests = EditRequests(torch.tensor([4, 4, 4]), torch.tensor([0, 1, 2]), (1, 2, 1))
    score(Scorer(model, "head", spied, spied.test, requests))
    first, second, again = torch.cat(Spy.seen).view(3, VIEWS, 8, 8)
    assert torch.equal(first, again)
    assert len({view.numpy().tobytes() for view in torch.cat([first, second])}) == 2 * VIEWS


def test_without_views_nothing_else_changes(model: nn.Sequential, dataset: Dataset, requests: EditRequests) -> None:
    scorer = Scorer(model, "chain4", dataset, dataset.test, requests)
    none = {"views": 0, "views_before": 0, "views_after": 0}
    assert score(scorer, views=False) == [replace(record, **none) for record in score(scorer)]


class Diverged(editors.Edit):
    """Answers that are not numbers, as after a learning rate that was far too large."""

    succeeded, steps, loss, unchanged = False, 10, torch.tensor(torch.nan), False

    def predict(self, inputs: Tensor) -> Tensor:
        return torch.full((len(inputs), 4), torch.nan)


def test_answers_that_are_not_numbers_are_wrong(model: nn.Sequential, dataset: Dataset, requests: EditRequests) -> None:
    record = Scorer(model, "head", dataset, dataset.test, requests).record(0, Diverged())
    assert record.wrong_after == record.flips == record.control_size == len(dataset.test)
    assert record.views_after == 0


def test_scoring_leaves_the_model_bit_identical(model: nn.Sequential, dataset: Dataset, requests: EditRequests) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    score(Scorer(model, "all", dataset, dataset.test, requests))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert all(value.grad is None for value in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_frozen_part_runs_once_however_many_edits_are_scored(
    model: nn.Sequential, dataset: Dataset, requests: EditRequests
) -> None:
    seen = []
    handle = model.chain1.register_forward_hook(lambda module, inputs, outputs: seen.append(len(outputs)))
    try:
        scorer = Scorer(model, "chain3", dataset, dataset.test, requests)
        score(scorer)
        prepared = sum(seen)
        score(scorer)
    finally:
        handle.remove()
    assert prepared <= 1 + len(dataset.test) + len(requests) * (1 + VIEWS)
    assert sum(seen) == prepared


@pytest.mark.parametrize(("chunk_bytes", "most"), [(7 * LARGEST, 7), (8 * LARGEST - 1, 7), (1, 1), (None, 30)])
def test_no_activation_takes_more_memory_than_allowed(
    model: nn.Sequential, dataset: Dataset, requests: EditRequests, chunk_bytes: int | None, most: int
) -> None:
    seen = []
    handle = model.stem.register_forward_hook(lambda module, inputs, outputs: seen.append(len(outputs)))
    try:
        Scorer(model, "chain2", dataset, dataset.test, requests, chunk_bytes=chunk_bytes)
    finally:
        handle.remove()
    assert max(seen) == most


def test_wrong_before_counts_the_whole_split(model: nn.Sequential, dataset: Dataset, requests: EditRequests) -> None:
    scorer = Scorer(model, "chain3", dataset, dataset.test, requests, control_size=5)
    predicted = answers(copy.deepcopy(model).eval(), dataset.inputs(dataset.test.images)).argmax(dim=1)
    assert scorer.wrong_before == (predicted != dataset.test.labels).nonzero().flatten().tolist() != []


@dataclass(frozen=True, eq=False)
class Lookup(editors.Edit):
    """Answers one input by heart, and leaves every other to the model."""

    model: nn.Module
    known: Tensor
    target: int
    succeeded: bool = True
    steps: int = 0

    @property
    def loss(self) -> Tensor:
        return torch.zeros(())

    @property
    def unchanged(self) -> bool:
        return False

    def predict(self, inputs: Tensor) -> Tensor:
        with editors.contract.evaluation_mode(self.model):
            logits = self.model(inputs)
        learnt = (inputs == self.known).flatten(1).all(dim=1)
        return torch.where(learnt[:, None], 20.0 * F.one_hot(torch.tensor(self.target), CLASSES), logits)


class Cache(editors.Editor):
    """An editor that knows nothing of weights."""

    def edit(
        self,
        model: nn.Module,
        inputs: Tensor,
        constraint: Callable[[Any], Tensor],
        layers: editors.contract.Layers = None,
        differentiable: bool = False,
    ) -> Lookup:
        return Lookup(model, inputs, int(constraint.labels))


@pytest.mark.parametrize("layers", ["all", "chain3"])
def test_a_method_without_weights_is_scored_like_any_other(
    model: nn.Sequential, dataset: Dataset, requests: EditRequests, layers: str
) -> None:
    padded = replace(dataset, augmentation=Augmentation(crop_padding=2, flip=False))
    for record in score(Scorer(model, layers, padded, padded.test, requests, chunk_bytes=9 * LARGEST), Cache()):
        asked = record.target == record.label
        assert (record.succeeded, record.steps) == (True, 0)
        assert record.flips == (not record.trivial)
        was_right = record.predicted == record.label
        assert record.wrong_after - record.wrong_before == was_right - asked
        assert (record.kl > 1e-3) or record.trivial


def test_an_edit_that_mends_a_mistake_lowers_the_error(model: nn.Sequential, dataset: Dataset) -> None:
    mending = EditRequests(torch.arange(30), dataset.test.labels, tuple(range(30)))
    records = score(Scorer(model, "chain3", dataset, dataset.test, mending), Cache())
    assert {record.wrong_after - record.wrong_before for record in records if not record.trivial} == {-1}
    assert {record.wrong_after - record.wrong_before for record in records if record.trivial} == {0}


def test_milliseconds_are_per_edit(model: nn.Sequential, dataset: Dataset, requests: EditRequests) -> None:
    edits, milliseconds = Scorer(model, "head", dataset, dataset.test, requests).edit(EDITOR, [3, 1])
    assert len(edits) == 2
    assert milliseconds > 0


@pytest.mark.parametrize(("count", "size"), [(10, 3), (9, 3), (1, 50), (50, 1)])
def test_shards_run_through_every_edit_once_in_order(count: int, size: int) -> None:
    runs = list(shards(count, size))
    assert [row for run in runs for row in run] == list(range(count))
    assert all(len(run) == size for run in runs[:-1])
    assert 0 < len(runs[-1]) <= size


def test_record_holds_plain_numbers(model: nn.Sequential, dataset: Dataset, requests: EditRequests) -> None:
    values = asdict(score(Scorer(model, "head", dataset, dataset.test, requests))[0])
    assert {type(value) for value in values.values()} == {int, bool, float}


def test_views_that_are_asked_for_are_fresh_copies_of_the_edited_image(
    model: nn.Sequential, dataset: Dataset, requests: EditRequests
) -> None:
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
        scored = dataset.augmentation.apply(copies[:VIEWS], generator(requests.seeds[row], "views"))
        assert not torch.equal(expected[:VIEWS], scored)
        assert constraint.margin == 0.5
        logits = torch.zeros(7, CLASSES)
        logits[:, requests.targets[row]] = 0.4
        assert constraint(logits).item() == pytest.approx(0.1)


def test_success_is_that_of_the_edited_image_alone_whatever_more_was_asked(
    model: nn.Sequential, dataset: Dataset, requests: EditRequests
) -> None:
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
