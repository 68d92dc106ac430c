import weakref

import pytest
import torch
from torch import Tensor, nn

import editors
from benchmarks import models
from benchmarks.networks.model_split import activations, layers_of, split
from benchmarks.seeds import generator

PARTS = ["stem", "chain1", "chain2", "chain3", "chain4", "head"]


@pytest.fixture
def model() -> nn.Sequential:
    """A ResNet-18 in training mode, but for its stem, with batch statistics that matter."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = models.make("resnet18", channels=1, classes=3, width=2).train()
    for name, value in net.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(generator=generator(name))
    net.stem.eval()
    return net


@pytest.fixture
def images() -> Tensor:
    return torch.randn(7, 1, 8, 8, generator=generator("images"))


def outputs(model: nn.Module, images: Tensor) -> Tensor:
    """What the whole model answers in evaluation mode, written without the code under test."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    with torch.no_grad():
        answers = model(images)
    for module, mode in modes.items():
        module.training = mode
    return answers


@pytest.mark.parametrize("layers", [*PARTS, None, ["chain2", "head"], "chain[34]", "*.bn2", "chain3.0.conv1.weight"])
def test_suffix_of_prefix_is_bit_identical_to_the_model(model, images, layers):
    prefix, suffix = split(model, layers)
    assert torch.equal(activations(suffix, activations(prefix, images)), outputs(model, images))


@pytest.mark.parametrize("part", PARTS)
def test_prefix_holds_exactly_the_parts_before_the_edited_one(model, part):
    prefix, suffix = split(model, part)
    assert [name for name, _ in prefix.named_children()] == PARTS[: PARTS.index(part)]
    assert [name for name, _ in suffix.named_children()] == PARTS[PARTS.index(part) :]


def test_prefix_of_two_parts_ends_before_the_first_of_them(model):
    prefix, _ = split(model, ["head", "chain2"])
    assert [name for name, _ in prefix.named_children()] == ["stem", "chain1"]


def test_whole_model_has_an_empty_prefix(model, images):
    prefix, suffix = split(model, layers_of("all"))
    assert list(prefix.parameters()) == []
    assert torch.equal(activations(prefix, images), images)
    assert dict(suffix.named_parameters()).keys() == dict(model.named_parameters()).keys()


@pytest.mark.parametrize("layers", [*PARTS, None])
def test_suffix_shares_parameters_and_their_names_with_the_model(model, layers):
    _, suffix = split(model, layers)
    whole = dict(model.named_parameters())
    assert all(value is whole[name] for name, value in suffix.named_parameters())
    edited = [name for name in whole if layers is None or name.split(".")[0] == layers]
    assert set(edited) <= dict(suffix.named_parameters()).keys()


def test_edit_of_the_suffix_applies_to_the_model(model, images):
    prefix, suffix = split(model, "chain4")
    editor = editors.build("rmsprop", lr=0.05)
    wanted = int(outputs(model, images[:1]).argmin())
    edit = editor.edit(suffix, activations(prefix, images[:1]), editors.constraints.predicts(wanted), layers="chain4")
    assert edit.steps > 0
    torch.testing.assert_close(
        outputs(edit.apply(model), images), edit.predict(activations(prefix, images)).detach(), rtol=0, atol=1e-6
    )


def test_model_without_parts_is_all_suffix(images):
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(8, 4), nn.Linear(4, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.second(self.first(inputs).relu())

    flat = Flat()
    prefix, suffix = split(flat, "second")
    assert suffix is flat
    assert activations(prefix, images) is images


def test_sequence_that_computes_something_of_its_own_is_all_suffix(images):
    class Residual(nn.Sequential):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs + super().forward(inputs)

    torch.manual_seed(0)
    model = Residual(nn.Linear(8, 8), nn.Linear(8, 8))
    prefix, suffix = split(model, "1")
    assert torch.equal(activations(suffix, activations(prefix, images)), outputs(model, images))


@pytest.mark.parametrize("layers", ["0", "2", "4", None])
def test_part_that_occurs_twice_is_run_twice(images, layers):
    relu, linear = nn.ReLU(), nn.Linear(8, 8)
    model = nn.Sequential(nn.Linear(8, 8), relu, linear, relu, nn.Linear(8, 8), linear)
    prefix, suffix = split(model, layers)
    assert torch.equal(activations(suffix, activations(prefix, images)), outputs(model, images))


def test_part_that_occurs_twice_is_edited_wherever_it_is():
    linear = nn.Linear(8, 8)
    prefix, suffix = split(nn.Sequential(nn.Linear(8, 8), linear, nn.ReLU(), linear), "3")
    assert (len(prefix), len(suffix)) == (1, 3)


def test_unknown_layer_is_refused_with_those_there_are(model):
    with pytest.raises(editors.EditError, match=r"unknown layer 'chain5'; the model has: stem, chain1"):
        split(model, "chain5")


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 500])
def test_activations_in_chunks_are_those_of_the_whole_in_order(model, images, chunk):
    torch.testing.assert_close(
        activations(model, images, chunk), outputs(model, images), rtol=1e-5, atol=1e-6, check_stride=False
    )


def test_each_input_runs_once_and_one_chunk_at_a_time_is_in_memory(model, images):
    sizes, alive = list[int](), list[int]()
    made: list[weakref.ref[Tensor]] = []

    def watch(module: nn.Module, inputs: tuple[Tensor], outputs: Tensor) -> None:
        sizes.append(len(outputs))
        alive.append(sum(one() is not None for one in made))
        made.append(weakref.ref(outputs))

    prefix, _ = split(model, "chain3")
    handle = prefix.register_forward_hook(watch)
    try:
        activations(prefix, images, 2)
    finally:
        handle.remove()
    assert sizes == [2, 2, 2, 1]
    assert alive == [0, 0, 0, 0]


def test_no_inputs_have_no_activations(model, images):
    assert activations(model, images[:0]).shape == (0, 3)


def test_activations_have_no_graph_and_leave_modes_and_statistics(model, images):
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = activations(model, images, 3)
    assert not found.requires_grad
    assert [module.training for module in model.modules()] == modes
    assert len(set(modes)) == 2
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_modes_come_back_when_the_model_fails(model):
    modes = [module.training for module in model.modules()]
    with pytest.raises(RuntimeError):
        activations(model, torch.zeros(2, 5, 8, 8))
    assert [module.training for module in model.modules()] == modes


def test_all_means_every_layer():
    assert layers_of("all") is None
    assert layers_of("chain3") == "chain3"
