"""The report on speed: honest statistics, records that survive, a page that says what they say."""

import copy
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.errors import InputError
from benchmarks.metrics import Estimate
from editors.compiling import CompilationError
from pipelines import speed, timing
from pipelines.speed import line, markdown
from pipelines.timing import Comparison, Counts, Goal, Growth, from_json, loops, subjects, to_json
from tests.optional import compiles

CPU = torch.device("cpu")
ASKED = timing.Conditions(CPU, turns=1)
FASTER = Comparison(
    Goal("edits", 2, 4),
    {"naive": [9.0, 10.0, 30.0], "ours": [2.0, 3.0, 4.0]},
    Estimate(3.0, 2.0, 5.0),
    {"steps": 0},
    Estimate(1.5, 1.4, 1.6),
)
STEP = Comparison(
    Goal("a training step", 2.4, 2.2),
    {"plain": [1.0], "ours": [2.0], "naive": [3.0]},
    Estimate(2.0, 1.9, 2.1),
    {},
    Estimate(1.25, 1.2, 1.3),
    naive_ratio=Estimate(3.0, 2.9, 3.1),
)
RECORDS = [
    FASTER,
    STEP,
    Counts("peak memory in GB", {"ours": 1.5, "allowed": 2.0}),
    Counts("operations of an inner step", {"ours": 700, "naive": 1400}),
    Growth("edits", "edits", [1, 10], {"ours": [1.0, 10.0], "naive": [4.0]}, {"ours": 1.0, "naive": 1.0}),
]


def test_ways_take_turns_and_are_timed_once_a_round():
    order = []
    ways = {name: partial(order.append, name) for name in ("naive", "ours")}
    seconds = timing.in_turns(ways, 3, CPU)
    assert order == ["naive", "ours"] * 3
    assert {name: len(spent) for name, spent in seconds.items()} == {"naive": 3, "ours": 3}


def test_ratio_is_of_medians_and_its_interval_that_of_resampled_rounds():
    slow, fast = np.array([8.0, 9.0, 10.0, 11.0, 40.0]), np.array([4.0, 5.0, 5.0, 5.0, 6.0])
    found = timing.ratio(slow, fast)
    assert found.value == 2.0
    source = np.random.default_rng(1)
    drawn = source.integers(5, size=(20_000, 5))
    every = np.median(slow[drawn], axis=1) / np.median(fast[drawn], axis=1)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(every, [0.025, 0.975])), rel=0.15)
    same = timing.ratio(3 * fast, fast)
    assert (same.value, same.low, same.high) == pytest.approx((3, 3, 3))


def test_exponent_is_that_of_a_power_law():
    sizes = [16, 64, 256]
    assert timing.exponent(sizes, [0.3 * size**1.7 for size in sizes]) == pytest.approx(1.7)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_survives_its_file(record):
    assert from_json(json.loads(json.dumps(to_json(record)))) == record


def test_more_is_better_against_naive_and_less_is_better_for_a_training_step():
    assert [FASTER.reaches(target) for target in (2, 3, 4)] == [True, True, False]
    assert [STEP.reaches(target) for target in (2.4, 2.2, 1.9)] == [True, True, False]
    assert line(FASTER).endswith("floor")
    assert line(STEP).endswith("stretch")


def test_the_page_shows_medians_quartiles_ratios_and_verdicts():
    page = markdown("a machine", RECORDS, ["commit `abc`"], 3, "a-machine")
    assert "| edits | 10 [9.5, 20] | 3 [2.5, 3.5] | **3.00×** [2.00, 5.00] | 2× / 4× | floor | 1.50 [1.40," in page
    assert "| a training step | 1 [1, 1] | 2 [2, 2] | **2.00** [1.90, 2.10] | 3.00 [2.90, 3.10] |" in page
    assert "peak memory in GB: ours 1.5, allowed 2.\n" in page
    assert "operations of an inner step: ours 700, naive 1400." in page
    assert "| edits | edits | naive | 1.00 | 1: 4 |" in page
    assert "(a-machine-growth.png)" in page


@pytest.mark.parametrize(
    "make",
    [
        partial(loops.edits, 16, "chain4", 3),
        pytest.param(partial(loops.edits, 16, "chain4", 3, compiled=True), marks=[compiles, pytest.mark.slow]),
        partial(loops.evaluation, 16, "chain4", 20),
        partial(loops.edits_and_evaluation, 16, "chain4", 3, 20),
    ],
    ids=["edits", "compiled edits", "evaluation", "both"],
)
def test_both_ways_of_a_loop_do_the_same(make):
    ways = make(CPU)
    found = ways.differences(ways.ours(), ways.naive())
    assert found
    assert all(value < 1e-3 for value in found.values())


def test_a_comparison_is_of_what_both_ways_find_and_of_their_times():
    def make(device: torch.device) -> loops.Ways:
        small, large = torch.ones(50, 50, device=device), torch.ones(200, 200, device=device)
        return loops.Ways(lambda: small @ small, lambda: large @ large, lambda *found: {"size": len(found[1])})

    record = loops.compare(make, Goal("a loop", 1, 2), ASKED)
    assert record.differences == {"size": 200}
    assert record.ratio.value == record.seconds["naive"][0] / record.seconds["ours"][0]


def test_a_step_in_mixed_precision_has_the_loss_of_one_in_float32_up_to_bfloat16s_digits():
    record = loops.compare(partial(loops.mixed_precision, 8, 16), Goal("a step", 1, 2), ASKED)
    assert 0 < record.differences["loss (relative)"] < 0.03
    assert {"mixed-w16", "mixed-w32"} <= loops.loops().keys()


def test_the_edit_of_a_training_step_takes_all_inner_steps():
    training = subjects.Training(16, 4, 3, CPU)
    model = copy.deepcopy(training.model).train()
    assert int(training.objective(model, training.step).parts["edit_steps"]) == 3
    found, expected = training.gradient(training.ours), training.gradient(training.naive)
    assert float((found - expected).norm()) <= 1e-5 * float(expected.norm())


@pytest.fixture
def quick(monkeypatch):
    """Two loops that are over at once, the second of which is interrupted the first time."""
    calls = []

    def second(asked):
        calls.append(asked)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return RECORDS[-1]

    table = {"first": lambda asked: FASTER, "second": second}
    monkeypatch.setattr(speed, "loops", lambda: table)
    return table


def test_what_was_measured_before_an_interruption_stays_and_the_rest_is_added(quick, tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        speed.measure(["*"], ASKED, tmp_path)
    (path,) = tmp_path.glob("*.json")
    assert list(json.loads(path.read_text())["loops"]) == ["first"]
    assert "| edits |" in path.with_suffix(".md").read_text()
    speed.measure(["sec*"], ASKED, tmp_path)
    assert list(json.loads(path.read_text())["loops"]) == ["first", "second"]
    page = path.with_suffix(".md").read_text()
    assert "| edits |" in page
    assert "How cost grows" in page
    assert path.with_name(f"{path.stem}-growth.svg").stat().st_size > 1000
    assert "speed 1/2 edits: 3.00" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "third"], "no loop is called third; there are first, second"),
        (["--turns", "0"], "--turns must be >= 1, not 0"),
        (["--device", "tpu"], "argument --device: invalid choice: 'tpu' (choose from"),
    ],
)
def test_bad_arguments_are_answered_with_one_sentence(quick, arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        speed.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_damaged_file_of_an_earlier_run_is_named(quick, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        speed.measure(["*"], ASKED, tmp_path)
    (path,) = tmp_path.glob("*.json")
    path.write_text("[]")
    with pytest.raises(InputError, match=r"\.json is not what an earlier run wrote"):
        speed.measure(["first"], ASKED, tmp_path)


def test_it_needs_none_of_the_packages_that_only_pipelines_know():
    absent = ("mlflow", "optuna", "dvc", "pydantic", "typer", "ray", "yaml")
    code = f"import sys, pipelines.speed; assert not {{*{absent!r}}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_operations_are_those_of_every_convolution_product_and_gradient():
    inputs, weight = torch.randn(2, 6, 8, 8, requires_grad=True), torch.randn(12, 3, 3, 3, requires_grad=True)
    forward = 2 * 2 * 8 * 8 * 12 * 3 * 9

    def gradients(*wanted: torch.Tensor) -> None:
        outputs = torch.nn.functional.conv2d(inputs, weight, padding=1, groups=2)
        torch.autograd.grad(outputs.sum(), wanted)

    assert timing.operations(lambda: gradients(weight)) == 2 * forward
    assert timing.operations(lambda: gradients(inputs, weight)) == 3 * forward
    assert timing.operations(lambda: torch.rand(5, 4, 3) @ torch.rand(5, 3, 7)) == 2 * 5 * 4 * 3 * 7


def test_the_limit_is_the_pace_of_the_faster_reference():
    known = timing.references(CPU)
    assert list(known) == ["product", "convolution"]
    for reference in known.values():
        assert timing.operations(reference.way) == reference.operations
    pace = {name: reference.operations / 1e9 for name, reference in known.items()}  # seconds at one GFLOP/s
    for fast, slow in (("product", "convolution"), ("convolution", "product")):
        seconds = {"ours": [6.0, 6.0, 8.0], fast: [pace[fast] / 2] * 3, slow: [pace[slow]] * 3}
        assert timing.over_limit(seconds, int(4e9), known).value == 3.0


def test_a_loop_that_cannot_be_compiled_is_left_out_and_the_others_are_measured(quick, tmp_path, monkeypatch, capsys):
    def refused(asked):
        raise CompilationError("it cannot be compiled")

    monkeypatch.setattr(speed, "loops", lambda: {"before": refused, **quick})
    speed.measure(["before", "first"], ASKED, tmp_path)
    (path,) = tmp_path.glob("*.json")
    assert list(json.loads(path.read_text())["loops"]) == ["first"]
    assert "speed 1/2 before left out: it cannot be compiled" in capsys.readouterr().out
