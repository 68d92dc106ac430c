"""Which edits Editable Training makes: drawn as they should be, and told apart by a checkpoint."""

import copy
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import editors
from baselines import edit_targets
from baselines.edit_targets import MatchedRanks, MistakenImages, RandomTargets, Targets
from baselines.editable import EditableObjective, EditableTerms
from baselines.objectives import Step
from benchmarks.data.augmentation import Augmentation
from benchmarks.data.candidates import Candidates
from benchmarks.data.dataset import Dataset, Split
from benchmarks.errors import InputError
from benchmarks.scoring.mistakes import distribution_of_ranks, divide, mistakes
from benchmarks.scoring.ranks import rank_distribution, ranks
from benchmarks.seeds import generator

CLASSES = 6
TERMS = EditableTerms(
    c_edit=0.7, c_loc=1.3, editor="rmsprop", layers="middle", max_steps=3, hyperparameters={"lr": 0.01, "eps": 9e-3}
)


def images(count: int, name: str) -> Split:
    source = generator("images", name)
    raw = torch.randint(256, (count, 1, 4, 4), generator=source, dtype=torch.uint8)
    return Split(raw, torch.randint(CLASSES, (count,), generator=source))


@pytest.fixture(scope="module")
def data() -> Dataset:
    splits = {name: images(60, name) for name in ("train", "tuning", "test")}
    names = tuple(map(str, range(CLASSES)))
    return Dataset("noise", names, **splits, mean=(127.0,), std=(74.0,), augmentation=Augmentation(1, True), source="")


@pytest.fixture(scope="module")
def found() -> Candidates:
    return Candidates(images(40, "mistakes"), torch.arange(40))


@pytest.fixture
def model() -> nn.Sequential:
    def part(before: int, after: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(before, after), nn.BatchNorm1d(after), nn.Tanh())

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        stem = nn.Sequential(nn.Flatten(), *part(16, 8))
        made = nn.Sequential(OrderedDict(stem=stem, middle=part(8, 8), head=nn.Linear(8, CLASSES))).double()
        with torch.no_grad():
            made.head.weight.mul_(3)
    return made


@pytest.fixture
def step(data: Dataset) -> Step:
    inputs = data.inputs(data.train.images[:16]).double()
    return Step(inputs[:12], data.train.labels[:12], seed=3, apart=lambda count: inputs[12 : 12 + count])


class InDouble(MistakenImages):
    """The same inputs for a model in float64."""

    def images(self, step: Step, count: int) -> Tensor:
        return super().images(step, count).double()


def test_random_targets_are_any_image_and_any_label(step):
    reference = torch.zeros(12, CLASSES)
    pairs = [RandomTargets().draw(replace(step, seed=seed), reference, 2) for seed in range(2000)]
    places, labels = np.array(pairs).reshape(-1, 2).T
    assert stats.chisquare(np.bincount(places, minlength=12)).pvalue > 0.001
    assert stats.chisquare(np.bincount(labels, minlength=CLASSES)).pvalue > 0.001
    assert stats.chi2_contingency(np.histogram2d(places, labels, (12, CLASSES))[0]).pvalue > 0.001
    assert pairs[0] == RandomTargets().draw(replace(step, seed=0), reference, 2)


def test_of_images_apart_from_the_batch_each_is_edited_once(step: Step) -> None:
    reference = torch.randn(14, CLASSES, generator=generator("reference"))
    uniform = torch.full((CLASSES,), 1 / CLASSES)
    for targets in (RandomTargets(), MatchedRanks(uniform)):
        drawn = [targets.draw(replace(step, seed=seed), reference, 2) for seed in range(600)]
        places, labels = np.array(drawn).transpose(2, 0, 1)
        assert (places == [12, 13]).all()
        for column in labels.T:
            assert stats.chisquare(np.bincount(column, minlength=CLASSES)).pvalue > 0.001


def test_matched_ranks_of_an_image_apart_are_those_under_its_own_answers(step: Step) -> None:
    reference = torch.randn(13, CLASSES, generator=generator("reference"))
    second = MatchedRanks(torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0, 0.0]))
    assert second.draw(step, reference, 1) == [(12, int(reference[12].argsort(descending=True)[1]))]


def test_matched_ranks_are_those_of_the_distribution_under_the_model_as_it_is(step):
    reference = torch.randn(12, CLASSES, generator=generator("reference"))
    distribution = rank_distribution(torch.tensor([1] * 6 + [2] * 3 + [4]), CLASSES)
    targets = MatchedRanks(distribution)
    drawn = [targets.draw(replace(step, seed=seed), reference, 1)[0] for seed in range(4000)]
    places, labels = torch.tensor(drawn).T
    counts = torch.bincount(ranks(reference[places], labels), minlength=CLASSES)
    possible = distribution > 0
    assert int(counts[~possible].sum()) == 0
    assert stats.chisquare(counts[possible], 4000 * distribution[possible].numpy()).pvalue > 0.001
    assert stats.chisquare(torch.bincount(places, minlength=12)).pvalue > 0.001
    elsewhere = torch.bincount(ranks(reference[places.roll(1)], labels), minlength=CLASSES)  # ranks of other images
    assert int(elsewhere[~possible].sum()) > 100


def test_mistakes_are_augmented_copies_with_their_true_classes(data, found, step):
    targets = MistakenImages(data, found)
    padded = torch.nn.functional.pad(found.images.images, (1, 1, 1, 1))
    crops = torch.stack([padded[:, :, top : top + 4, left : left + 4] for top in range(3) for left in range(3)], dim=1)
    crops = data.inputs(torch.cat([crops, crops.flip(4)], dim=1).flatten(0, 1)).unflatten(0, (40, 18))
    met = []
    for seed in range(300):
        asked = replace(step, seed=seed)
        inputs, drawn = targets.images(asked, 2), targets.draw(asked, torch.zeros(12, CLASSES), 2)
        assert [place for place, _ in drawn] == [12, 13]
        for one, (_, label) in zip(inputs, drawn, strict=True):
            which = (crops == one).all(dim=(2, 3, 4)).any(dim=1).nonzero()[0]
            assert int(found.images.labels[which]) == label
            met.append(int(which))
    assert len(set(met)) == 40


def test_an_edited_mistake_counts_for_the_edit_and_the_batch_alone_for_locality(model, data, found, step):
    targets = InDouble(data, found)
    losses = EditableObjective(TERMS, targets=targets).double()(copy.deepcopy(model).train(), step)
    settled = copy.deepcopy(model).train()
    settled(step.inputs)  # the base loss moves the running statistics first
    settled.eval()
    image, label = targets.images(step, 1), targets.draw(step, torch.zeros(12, CLASSES), 1)[0][1]
    made = editors.build("rmsprop", lr=0.01, eps=9e-3, max_steps=3)
    patched = made.edit(settled, image, editors.constraints.predicts(label), "middle").apply(settled)
    before, after = (network(step.inputs).log_softmax(dim=1) for network in (settled, patched))
    locality = (before.exp() * (before - after)).sum(dim=1).mean()
    margin = patched(image).log_softmax(dim=1)[0]
    torch.testing.assert_close(losses.parts["locality_loss"], locality)
    torch.testing.assert_close(losses.parts["edit_loss"], (margin.max() - margin[label]).clamp(min=0))
    assert float(losses.parts["edit_steps"]) > 0


def test_ranks_and_training_know_nothing_of_the_mistakes_that_are_evaluated(model, data):
    """Planted: other images and labels in place of every mistake that is evaluated."""
    network = model.float().eval()
    wrong = mistakes(network, data, Candidates(images(300, "candidates"), torch.arange(300)))
    training, evaluation = divide(wrong, 60, "test")
    before = distribution_of_ranks(network, data, training)
    evaluated = torch.isin(wrong.sources, evaluation.sources)
    other = images(len(wrong), "other")
    changed = Candidates(
        Split(
            torch.where(evaluated[:, None, None, None], other.images, wrong.images.images),
            torch.where(evaluated, (wrong.images.labels + 1) % CLASSES, wrong.images.labels),
        ),
        wrong.sources,
    )
    again, evaluated_again = divide(changed, 60, "test")
    assert not torch.equal(evaluated_again.images.images, evaluation.images.images)
    assert torch.equal(again.images.images, training.images.images)
    assert torch.equal(distribution_of_ranks(network, data, again), before)
    assert not torch.equal(distribution_of_ranks(network, data, changed), before)  # as ties would show


def test_what_edits_are_drawn_from_is_part_of_a_trainings_identity(data, found):
    def written(targets: Targets) -> str:
        return str(EditableObjective(TERMS, targets=targets))

    fewer = found.select(torch.arange(39))
    uniform, steep = torch.full((CLASSES,), 1 / CLASSES), torch.tensor([0, 0.5, 0.3, 0.2, 0, 0])
    made = [RandomTargets(), MatchedRanks(uniform), MatchedRanks(steep)]
    made += [MistakenImages(data, found), MistakenImages(data, fewer)]
    assert len({written(targets) for targets in made}) == 5
    assert written(MistakenImages(data, found)) == written(made[3])
    assert all(not targets.state_dict() for targets in made)  # a checkpoint need not hold thousands of images


def test_only_what_is_needed_is_asked_for(data, found):
    def never() -> None:
        raise AssertionError("asked for")

    assert isinstance(edit_targets.make("random", data, never, never), RandomTargets)
    assert isinstance(edit_targets.make("mistakes", data, lambda: found, never), MistakenImages)
    drawn = edit_targets.make("match_ranks", data, never, lambda: torch.tensor([0.0, 1.0]))
    assert drawn.distribution.tolist() == [0.0, 1.0]
    with pytest.raises(InputError, match="targets must be one of random, match_ranks, mistakes, not 'rank'"):
        edit_targets.make("rank", data, never, never)
