"""DkNN: neighbours against scikit-learn's, votes by hand, and what flipping labels changes."""

import copy
import itertools
import math
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import editors
from baselines import dknn
from baselines.model_files import ModelDescription, load_model, save_model
from benchmarks import models
from benchmarks.errors import InputError
from benchmarks.networks.model_split import activations, split
from benchmarks.seeds import generator
from editors import EditError
from editors.constraints import predicts
from editors.voting import Votes, tally

CLASSES = 4
EXAMPLES = 60


@pytest.fixture(scope="module")
def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return models.make("resnet18", channels=1, classes=CLASSES, width=2).eval()


@pytest.fixture(scope="module")
def examples() -> Tensor:
    return torch.randn(EXAMPLES, 1, 8, 8, generator=generator("examples"))


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(30, 1, 8, 8, generator=generator("images"))


@pytest.fixture(scope="module")
def labels() -> Tensor:
    return torch.randint(CLASSES, (EXAMPLES,), generator=generator("labels"))


def made(network: nn.Sequential, examples: Tensor, labels: Tensor, k: int = 7) -> nn.Sequential:
    return dknn.from_network(network, examples, labels, classes=CLASSES, k=k)


@pytest.fixture
def model(network: nn.Sequential, examples: Tensor, labels: Tensor) -> nn.Sequential:
    return made(network, examples, labels)


def embedded(network: nn.Sequential, images: Tensor, parts: tuple[str, ...] = dknn.PARTS) -> np.ndarray:
    """The embedding, written without the code under test."""
    columns = []
    with torch.no_grad():
        for name, part in network.named_children():
            images = part(images)
            if name in parts:
                pooled = images.mean(dim=(2, 3)).numpy()
                columns.append(pooled / np.linalg.norm(pooled, axis=1, keepdims=True))
    return np.concatenate(columns, axis=1)


def sklearns(index: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances and positions ``(N, k)`` of what is nearest in the index, as scikit-learn finds it."""
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=k, algorithm="brute").fit(index).kneighbors(queries)


def nearest(network: nn.Sequential, examples: Tensor, images: Tensor, k: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Distances and positions ``(N, k)`` of the nearest examples."""
    return sklearns(embedded(network, examples), embedded(network, images), k)


def count(labels: Tensor, distances: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """Predictions by counting labels, ties by the smaller sum of distances."""
    predictions = []
    for near, votes in zip(distances, labels.numpy()[neighbours], strict=True):
        merits = {label: (np.sum(votes == label), -np.sum(near[votes == label])) for label in range(CLASSES)}
        predictions.append(max(merits, key=lambda label: merits[label]))
    return np.array(predictions)


def some_flip(model: nn.Module, images: Tensor) -> tuple[int, int]:
    """An image and a label that takes several flips."""
    for row in range(len(images)):
        for label in range(CLASSES):
            edit = editors.build("flip_labels").edit(model, images[row : row + 1], predicts(label))
            if edit.steps > 2:
                return row, label
    raise AssertionError("every edit is easy")


# Embeddings and neighbours


@pytest.mark.parametrize("parts", [dknn.PARTS, ("chain4",), ("chain1", "chain3"), ("stem", "head")])
def test_an_embedding_is_the_pooled_activations_of_each_part_at_length_one(network, examples, labels, images, parts):
    model = dknn.from_network(network, examples, labels, classes=CLASSES, k=3, parts=parts)
    if "head" in parts:
        logits = activations(network, examples)
        expected = logits / logits.norm(dim=1, keepdim=True)
        torch.testing.assert_close(model.neighbours.index[:, -CLASSES:], expected, rtol=0, atol=1e-6)
    else:
        np.testing.assert_allclose(model.neighbours.index, embedded(network, examples, parts), rtol=0, atol=1e-6)
    assert model.neighbours.index.square().sum(dim=1).tolist() == pytest.approx([len(parts)] * EXAMPLES, abs=1e-5)


@pytest.mark.parametrize("k", [1, 7, EXAMPLES])
def test_neighbours_are_those_of_scikit_learn(network, examples, labels, images, k):
    index, queries = (torch.randn(count, 9, generator=generator("n", count)).double() for count in (500, 80))
    search = dknn.NearestNeighbours(nn.Identity(), k, 500, 9).double()
    search.index.copy_(index)
    found = search.search(queries)
    distances, neighbours = sklearns(index, queries, k)
    assert np.array_equal(found[:, 0], neighbours)
    np.testing.assert_allclose(found[:, 1], distances, rtol=0, atol=1e-12)
    model = made(network, examples, labels, k)
    found = activations(model.neighbours, images)
    assert np.array_equal(found[:, 0], nearest(network, examples, images, k)[1])


def test_neighbours_do_not_depend_on_how_many_images_are_searched_at_once():
    index, queries = (torch.randn(count, 33, generator=generator("n", count)) for count in (700, 90))
    whole = dknn.NearestNeighbours(nn.Identity(), 5, 700, 33)
    narrow = dknn.NearestNeighbours(nn.Identity(), 5, 700, 33, memory=1)
    for search in (whole, narrow):
        search.index.copy_(index)
    together = whole.search(queries)
    assert torch.equal(narrow.search(queries), together)
    assert torch.equal(torch.cat([whole.search(part) for part in queries.split(7)]), together)


def most_allocated(work: Callable[[], object]) -> int:
    """The most bytes that ``work`` held at the same time, scratch space of kernels included."""
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        work()
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    assert events
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(itertools.accumulate(changes))


def test_a_search_needs_no_more_than_it_is_allowed_beside_its_index():
    examples, allowed = 8000, 2**20
    search = dknn.NearestNeighbours(nn.Identity(), 5, examples, 256, memory=allowed)
    search.index.copy_(torch.randn(examples, 256, generator=generator("n", examples)))
    queries = torch.randn(40, 256, generator=generator("queries"))
    assert search.index.nbytes > 7 * allowed  # another index would be seen
    assert most_allocated(lambda: search.index.square()) >= search.index.nbytes
    norms = examples * search.index.element_size()
    assert most_allocated(lambda: search.search(queries)) <= allowed + 2 * norms


def test_images_are_prepared_chunk_by_chunk(network, examples, labels):
    seen = []

    def halved(images: Tensor) -> Tensor:
        seen.append(len(images))
        return images / 2

    options = {"classes": CLASSES, "k": 7, "chunk": 16}
    found = dknn.from_network(network, examples, labels, prepare=halved, **options)
    assert seen == [16, 16, 16, EXAMPLES - 48]
    expected = dknn.from_network(network, examples / 2, labels, **options)
    assert torch.equal(found.neighbours.index, expected.neighbours.index)
    whole = dknn.from_network(network, examples / 2, labels, classes=CLASSES, k=7)
    torch.testing.assert_close(found.neighbours.index, whole.neighbours.index, rtol=0, atol=1e-6)


def test_of_equal_distances_the_first_example_is_nearer():
    search = dknn.NearestNeighbours(nn.Identity(), 4, 6, 2)
    search.index.copy_(torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, -1], [1, 0], [5, 5]]))
    found = search.search(torch.tensor([[1.0, 0.0]]))
    assert found[0, 0].tolist() == [0, 2, 4, 1]
    assert found[0, 1].tolist() == pytest.approx([0, 0, 0, math.sqrt(2)])


# Votes


def test_logits_are_logarithms_of_the_shares_of_votes():
    votes = Votes(6, 4)
    with torch.no_grad():
        votes.cast.copy_(nn.functional.one_hot(torch.tensor([0, 0, 0, 0, 0, 2]), 4).float())
    neighbours = torch.stack([torch.arange(6.0), torch.ones(6)]).unsqueeze(0)
    shares = votes(neighbours).softmax(dim=1)[0]
    # One vote is spread over the classes; the second class of the vote gives up 0.1 / 7 for its sum of distances.
    given = np.array([5 - 0.1 / 7, 0, 1, 0]) + 0.25
    np.testing.assert_allclose(shares, given / given.sum(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "distances", "expected"),
    [
        ([1, 1, 0, 2], [0.1, 0.2, 0.3, 0.4], 1),  # the majority
        ([2, 1, 1, 2], [0.1, 0.2, 0.3, 0.5], 1),  # 0.5 against 0.6
        ([2, 1, 1, 2], [0.1, 0.2, 0.3, 0.35], 2),  # 0.5 against 0.45
        ([3, 1, 1, 3], [0.1, 0.2, 0.2, 0.3], 1),  # as many, as near: the first class
        ([3, 2, 1, 0], [0.1, 0.2, 0.3, 0.4], 3),  # one vote each: the nearest
        ([3, 2, 1, 0], [0.0, 0.0, 0.0, 0.0], 0),
        ([3, 0, 0, 0], [0.0, 9.0, 9.0, 9.0], 0),  # distance never outweighs a vote
    ],
)
def test_ties_go_to_the_class_whose_voters_are_nearest(labels, distances, expected):
    cast = nn.functional.one_hot(torch.tensor(labels), 4).float()
    logits = tally(cast, torch.tensor(distances))
    assert int(logits.argmax()) == expected
    assert logits.isfinite().all()


@pytest.mark.parametrize("k", [1, 7, 10])
def test_predictions_are_those_of_a_count(network, examples, labels, images, k):
    predictions = activations(made(network, examples, labels, k), images).argmax(dim=1)
    assert np.array_equal(predictions, count(labels, *nearest(network, examples, images, k)))
    assert len(set(predictions.tolist())) > 1


# Edits


@pytest.mark.parametrize("layers", [None, "votes"])
def test_after_an_edit_all_predictions_are_those_of_a_count_with_the_flipped_labels(
    network, model, examples, labels, images, layers
):
    prefix, suffix = split(model, layers)
    assert len(prefix) == (1 if layers else 0) if isinstance(prefix, nn.Sequential) else layers is None
    inputs = activations(prefix, images)
    many = editors.build("flip_labels").edit_many(
        suffix, [(inputs[row : row + 1], predicts(row % CLASSES)) for row in range(len(images))], layers=layers
    )
    near = nearest(network, examples, images)
    changed = 0
    for row, edit in enumerate(many):
        flipped = labels.clone()
        flipped[edit.flipped] = row % CLASSES
        found = edit.predict(inputs).argmax(dim=1).numpy()
        assert np.array_equal(found, count(flipped, *near))
        assert edit.succeeded
        assert found[row] == row % CLASSES
        assert set(edit.flipped.tolist()) <= set(near[1][row].tolist())
        changed += edit.steps > 0
    assert 15 < changed < 30


def test_labels_are_flipped_nearest_first_and_no_more_than_needed(network, model, examples, labels, images):
    row, label = some_flip(model, images)
    edit = editors.build("flip_labels").edit(model, images[row : row + 1], predicts(label))
    near = nearest(network, examples, images)
    others = [position for position in near[1][row] if labels[position] != label]
    assert edit.flipped.tolist() == others[: edit.steps]
    for fewer in range(edit.steps):
        flipped = labels.clone()
        flipped[others[:fewer]] = label
        assert count(flipped, *near)[row] != label
    short = editors.build("flip_labels", max_steps=edit.steps - 1).edit(model, images[row : row + 1], predicts(label))
    assert (short.succeeded, short.steps) == (False, edit.steps - 1)
    assert short.loss > 0


def test_loss_is_the_constraint_of_the_edited_model(model, images):
    row, label = some_flip(model, images)
    for most in (0, 1, 100):
        one, constraint = images[row : row + 1], predicts(label)
        edit = editors.build("flip_labels", max_steps=most).edit(model, one, constraint)
        torch.testing.assert_close(edit.loss, constraint(edit.predict(one)), rtol=0, atol=1e-6)
        assert edit.unchanged == (most == 0)


def test_edits_leave_the_model_as_it_was_and_can_be_applied_and_pickled(model, images):
    row, label = some_flip(model, images)
    before = copy.deepcopy(model.state_dict())
    model.train()
    edit = editors.build("flip_labels").edit(model, images[row : row + 1], predicts(label), layers="votes")
    found, patched = edit.predict(images), edit.apply(model).eval()
    assert torch.equal(patched(images), found)
    assert torch.equal(pickle.loads(pickle.dumps(edit)).predict(images), found)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    held = sum(value.numel() for value in vars(edit).values() if isinstance(value, Tensor))
    assert held == edit.steps + 1


def test_what_the_model_answers_already_takes_no_flip(model, images):
    label = int(model(images[:1]).argmax())
    edit = editors.build("flip_labels").edit(model, images[:1], predicts(label))
    assert (edit.succeeded, edit.steps, edit.unchanged) == (True, 0, True)


def test_what_cannot_be_edited_is_said_in_one_sentence(model, images):
    editor = editors.build("flip_labels")
    with pytest.raises(EditError, match="layers 'neighbours' hold no votes to flip; they are in 'votes'"):
        editor.edit(model, images[:1], predicts(0), layers="neighbours")
    with pytest.raises(EditError, match="edits models that end in .*Votes, which Linear does not"):
        editor.edit(nn.Linear(2, 2), torch.eye(2)[:1], predicts(0))
    with pytest.raises(EditError, match="one input at a time, not 3"):
        editor.edit(model, images[:3], predicts(0))
    with pytest.raises(EditError, match="not differentiable"):
        editor.edit(model, images[:1], predicts(0), differentiable=True)


# Files


def test_a_saved_dknn_is_loaded_with_the_same_answers(network, model, images, tmp_path):
    options = dknn.options_of(model, "resnet18", {"width": 2})
    described = ModelDescription("dknn", options, 1, CLASSES, "dknn-7", 1, 1, 0.0, "data")
    save_model(tmp_path, model, described)
    loaded, description = load_model(tmp_path)
    assert description == described
    assert torch.equal(loaded(images), model(images))
    assert [name for name, _ in loaded.named_children()] == ["neighbours", "votes"]


@pytest.mark.parametrize("k", [0, EXAMPLES + 1, 2.5, True])
def test_k_must_be_a_number_of_examples(network, examples, labels, k):
    with pytest.raises(InputError, match=f"k must be a whole number from 1 to {EXAMPLES}, .*, not {k}"):
        made(network, examples, labels, k)


@pytest.mark.parametrize("parts", [("chain9",), ()])
def test_unknown_parts_are_named_with_those_there_are(network, examples, labels, parts):
    with pytest.raises(InputError, match=f"stem, chain1, .*head, not {'chain9' if parts else 'none'}"):
        dknn.from_network(network, examples, labels, classes=CLASSES, k=3, parts=parts)
