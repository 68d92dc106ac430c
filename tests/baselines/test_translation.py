"""Training a translator: schedule, loss, checkpoints, and Editable Training with edits of translations."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from baselines import checkpointing
from baselines.checkpointing import WITHIN
from baselines.editable import EditableObjective, EditableTerms
from baselines.editable_translation import EditableTranslation, TranslationEditTerms
from baselines.model_files import save_model
from baselines.training import Trained, train
from baselines.translation import (
    LabelSmoothed,
    SentencePairs,
    TranslationPlan,
    TranslatorDescription,
    batch_of,
    load_translator,
    token_loss,
    validation_loss,
)
from benchmarks.errors import InputError
from benchmarks.seeds import drawn_from, generator
from benchmarks.translation import corpora, corpus
from benchmarks.translation.model import Architecture, Translator
from benchmarks.translation.parts import split
from benchmarks.translation.requests import TranslationRequest, as_asked
from tests.optional import FAIRSEQ, PREPARING, needs, skip_without

PLAN = TranslationPlan(epochs=3, lr=5e-3, warmup=5, tokens=400, patience=2)


@pytest.fixture(scope="module")
def data() -> corpus.Corpus:
    skip_without(*PREPARING)
    return corpus.prepare(corpora.make("toy_translation", train_size=60, valid_size=8, test_size=4, merges=400))


def _model(data, dropout: float = 0.1, max_positions: int = 64, dtype: torch.dtype = torch.float32) -> Translator:
    with drawn_from("model", device=torch.device("cpu")):
        return Translator(Architecture(16, 32, 2, 2, dropout, max_positions), data.source, data.target).to(dtype)


@pytest.fixture
def fit(data, tmp_path) -> Callable[..., Trained]:
    """Trains a small translator on the corpus, but for what is given."""

    def train_with(
        objective=None, *, model=None, data=data, plan=PLAN, folder="", axes: tuple[str, ...] = ("axes",), **watched
    ) -> Trained:
        model = model or _model(data)
        objective = objective or LabelSmoothed(plan.smoothing)
        return train(model, objective, SentencePairs(data, model), plan, tmp_path / folder, axes, **watched)

    return train_with


@pytest.fixture(scope="module")
def pool(data) -> list[TranslationRequest]:
    """Wants the reference of another sentence, against references."""
    targets, sources = data.train.target_numbers, data.train.source_numbers
    return [TranslationRequest(n, sources[n], targets[n + 1], targets[n + 2 : n + 5], n) for n in range(6)]


def test_the_learning_rate_rises_linearly_and_falls_with_the_root():
    plan = TranslationPlan(epochs=1, lr=5e-4, warmup=4000)
    assert plan.factor(0) == pytest.approx(1 / 4000)
    assert plan.factor(1999) == pytest.approx(0.5)
    assert plan.factor(3999) == pytest.approx(1.0)
    assert plan.factor(15999) == pytest.approx(0.5)


@needs(*FAIRSEQ)
def test_the_loss_is_the_smoothed_cross_entropy_per_token_without_padding():
    source = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 5, generator=source, dtype=torch.float64)
    target = torch.tensor([[4, 2, 1], [3, 4, 2]])
    log_p = logits.log_softmax(-1)
    total = 0.0
    for row, token in ((0, 0), (0, 1), (1, 0), (1, 1), (1, 2)):
        wanted = int(target[row, token])
        for unit in range(5):  # 0.9 for the token, 0.1 shared by the four others
            total -= (0.9 if unit == wanted else 0.1 / 4) * float(log_p[row, token, unit])
    assert float(token_loss(logits, target, pad=1, smoothing=0.1)) == pytest.approx(total / 5, abs=1e-12)


def test_every_pair_is_seen_once_an_epoch_in_another_order_each_time(data):
    model = _model(data)
    seen = []
    for epoch in (1, 2):
        batches = list(SentencePairs(data, model).epoch(PLAN, ("axes", epoch)).batches())
        assert all(batch.target.numel() <= PLAN.tokens for batch in batches)
        assert all(batch.size == int(batch.target.ne(model.pad).sum()) for batch in batches)
        seen.append([tuple(row[row != model.pad].tolist()) for batch in batches for row in batch.target])
    wanted = sorted(tuple(numbers.tolist()) for numbers in data.train.target_numbers)
    assert sorted(seen[0]) == sorted(seen[1]) == wanted
    assert seen[0] != seen[1]


@pytest.mark.parametrize(("epoch", "step", "editable"), [(1, 1, False), (1, 3, True), (3, 2, False)])
def test_a_training_killed_within_an_epoch_goes_on_from_the_step_that_was_saved_last(
    fit, pool, tmp_path, monkeypatch, epoch, step, editable
):
    terms = _terms(editor="rmsprop", hyperparameters={"lr": 1e-3}, max_steps=3)
    objective = EditableTranslation(terms, pool, PLAN.smoothing) if editable else None
    steps: list[int] = []
    unbroken = fit(objective, folder="one", on_step=steps.append)
    assert not (tmp_path / "one" / WITHIN).exists()
    monkeypatch.setattr(checkpointing, "_SAVED_EVERY", 0.0)
    made: list[int] = []

    def interrupt(done):
        made.append(done)
        if len(made) == (epoch - 1) * max(steps) + step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(objective, folder="two", on_step=interrupt)
    assert (tmp_path / "two" / WITHIN).exists()
    torch.manual_seed(99)
    left: list[int] = []
    resumed = fit(objective, folder="two", on_step=left.append)
    assert made + left == steps
    assert resumed.history == unbroken.history
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, unbroken.model.state_dict()[name]), name


def test_training_stops_early_and_keeps_the_best_epoch(data, fit):
    plan = TranslationPlan(epochs=50, lr=0.3, warmup=1, tokens=400, patience=2)
    trained = fit(plan=plan)
    losses = [epoch.scores["valid_loss"] for epoch in trained.history]
    assert len(losses) < 50
    assert trained.kept.scores["valid_loss"] == min(losses)
    assert len(losses) - trained.kept.epoch == 2
    assert not trained.model.training
    assert validation_loss(trained.model, data.valid) == trained.kept.scores["valid_loss"]


def test_training_never_looks_at_the_test_set(data, fit):
    unseen = replace(data, test=data.train)
    assert unseen.fingerprint != data.fingerprint
    one, other = (fit(data=seen, folder=seen.fingerprint) for seen in (data, unseen))
    assert one.history == other.history
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name


def test_a_sentence_that_is_too_long_is_one_sentence(data, fit):
    with pytest.raises(InputError, match="units, the model only 8 positions"):
        fit(model=_model(data, max_positions=8))


def test_a_translator_comes_back_for_its_own_corpus_alone(data, tmp_path):
    model = _model(data)
    architecture = {name: getattr(model.architecture, name) for name in model.architecture.__dataclass_fields__}
    save_model(tmp_path, model, TranslatorDescription(architecture, "plain", 1, 1, 2.0, data.fingerprint))
    again = load_translator(tmp_path, data)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert again.decoder.output_projection.weight is again.decoder.embed_tokens.weight
    other = corpus.prepare(corpora.make("toy_translation", train_size=40, valid_size=8, test_size=4, merges=400))
    with pytest.raises(InputError, match="was trained on another corpus than the one prepared, or its vocabulary"):
        load_translator(tmp_path, other)


def _terms(**changed) -> TranslationEditTerms:
    given = {"editor": "gd", "hyperparameters": {"lr": 0.05}, "max_steps": 2, "c_edit": 3.0, "c_loc": 7.0}
    return TranslationEditTerms(**(given | changed))


def test_editable_loss_is_in_the_papers_units(data, pool):
    model, batch = _model(data, dropout=0.0).train(), batch_of(_model(data), data.train, [3, 4, 5], seed=1)
    losses = EditableTranslation(_terms(hyperparameters={"lr": 1e-3}), pool, 0.0)(model, batch)
    parts, tokens = losses.parts, int(batch.target.ne(model.pad).sum())
    assert float(parts["locality_loss"]) > 0
    assert float(parts["edit_loss"]) > 0
    summed = tokens * parts["base_loss"] + 3.0 * parts["edit_loss"] + 7.0 * parts["locality_loss"]
    torch.testing.assert_close(losses.total, summed / tokens)
    assert float(parts["c_loc_per_token"]) == pytest.approx(7.0 / tokens)
    plain = LabelSmoothed(0.0)(model, batch)
    torch.testing.assert_close(parts["base_loss"], plain.total)


@pytest.mark.parametrize(
    "name", ["decoder.layers.1.fc1.weight", "decoder.layers.0.fc2.bias", "encoder.layers.0.self_attn.v_proj.weight"]
)
def test_gradient_of_edit_and_locality_agrees_with_finite_differences(data, pool, name):
    model = _model(data, dropout=0.0, dtype=torch.float64)
    batch = batch_of(model, data.train, [3, 4, 5], seed=1)
    objective = EditableTranslation(_terms(), pool, 0.0)
    parameter = dict(model.named_parameters())[name]
    parts = objective(model.train(), batch).parts
    (gradient,) = torch.autograd.grad(parts["edit_loss"] + 50 * parts["locality_loss"], parameter)
    direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model.eval()
    with torch.no_grad():
        reference = model(batch.source, batch.previous)  # p is taken as given while the parameter moves
    values = []
    for step in (1e-5, -2e-5):
        with torch.no_grad():
            parameter.add_(step * direction)
        values.append(_edit_and_locality(model, objective, batch, reference))
    expected = (values[0] - values[1]) / 2e-5
    assert abs(expected) > 1
    # fairseq computes some of it in float32 whatever the model is, hence the tolerance.
    assert float((gradient * direction).sum()) == pytest.approx(expected, rel=5e-3)


def _edit_and_locality(model, objective, batch, reference) -> float:
    """The two terms written out again: a patched copy of the whole model, with p given."""
    drawn = int(torch.randint(len(objective.pool), (), generator=generator(batch.seed, "edit")))
    with torch.no_grad():
        asked = as_asked(model, split(model, "decoder.layers.1")[0], objective.pool[drawn], "sum")
    edit = objective.terms.build().edit(split(model, "decoder.layers.1")[1], *asked, "decoder.layers.1")
    with torch.no_grad():
        edited = edit.apply(model)(batch.source, batch.previous).log_softmax(-1)
        p = reference.log_softmax(-1)
        each = (p.exp() * (p - edited)).sum(-1)[batch.target.ne(model.pad)]
    return float(edit.loss + 50 * each.mean())


def test_an_editable_training_prepares_for_edits_and_resumes(fit, pool):
    objective = EditableTranslation(_terms(editor="rmsprop", hyperparameters={"lr": 1e-3}, max_steps=3), pool, 0.0)
    plan = TranslationPlan(epochs=2, lr=2e-3, warmup=1, tokens=400, clip_norm=10.0)
    trained = fit(objective, plan=plan)
    assert set(trained.history[0].parts) >= {"base_loss", "edit_loss", "locality_loss", "edit_steps", "edit_success"}
    again = fit(objective, plan=plan)
    assert again.history == trained.history


def test_edits_stay_in_full_precision_where_the_rest_is_mixed(data, pool):
    model, objective = _model(data, dropout=0.0).train(), EditableTranslation(_terms(), pool, 0.0)
    batch = batch_of(model, data.train, [3, 4, 5], seed=1)
    full = objective(model, batch).parts
    with torch.autocast("cpu", torch.bfloat16):
        mixed = objective(model, batch).parts
    for name in ("edit_loss", "locality_loss"):
        assert torch.equal(full[name], mixed[name])
    assert mixed["base_loss"] != full["base_loss"]
    assert float(mixed["base_loss"].detach()) == pytest.approx(float(full["base_loss"].detach()), rel=0.05)


def test_bad_terms_are_one_sentence():
    with pytest.raises(InputError, match=r"c_loc must be a number >= 0, not -1\.0"):
        _terms(c_loc=-1.0)


@pytest.mark.parametrize(
    ("editor", "fault"),
    [
        ("lookup_cache", "is not differentiable"),
        ("covariance", "needs statistics of a trained model"),
    ],
)
def test_editors_that_no_training_can_go_through_are_refused_as_for_classifiers(editor, fault):
    with pytest.raises(InputError) as refused:
        _terms(editor=editor, hyperparameters={})
    with pytest.raises(InputError) as theirs:
        EditableObjective(EditableTerms(editor=editor, layers="all", c_edit=1.0, c_loc=1.0))
    assert str(refused.value) == str(theirs.value)
    assert str(refused.value).startswith(f"editor '{editor}' {fault}: Editable Training takes those that follow")
    assert "\n" not in str(refused.value)
