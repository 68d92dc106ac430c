"""``editors.constraints.prefers``: that a sequence model likes one answer best."""

import math
import re

import pytest
import torch
from torch import nn

import editors
from editors.constraints import Prefers, prefers

TARGET, ALTERNATIVES = [2, 0, 1], [[1, 1], [2, 0, 1, 3], [3]]


def _logits(seed: int = 0, vocabulary: int = 4) -> torch.Tensor:
    return torch.randn(4, 4, vocabulary, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _score(logits: torch.Tensor, tokens: list[int]) -> float:
    """log p of an answer, written out: one softmax after the other."""
    total = 0.0
    for row, token in zip(logits.tolist(), tokens, strict=False):
        total += row[token] - math.log(sum(math.exp(value) for value in row))
    return total


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("score", "length"), [("sum", lambda row: 1), ("token_average", len)])
def test_the_loss_is_the_best_alternatives_score_above_the_targets(seed, score, length):
    logits = _logits(seed)
    scores = [_score(one, row) / length(row) for one, row in zip(logits, [TARGET, *ALTERNATIVES], strict=True)]
    loss = prefers(TARGET, ALTERNATIVES, score)(logits)
    assert float(loss) == pytest.approx(max(0.0, max(scores[1:]) - scores[0]), abs=1e-12)


def test_what_fills_up_a_row_changes_neither_loss_nor_gradient():
    logits = _logits().requires_grad_()
    constraint = prefers(TARGET, ALTERNATIVES)
    (gradient,) = torch.autograd.grad(constraint.scores(logits).sum(), logits)
    assert not gradient[1, 2:].any()
    assert not gradient[3, 1:].any()
    assert gradient[2].abs().sum(dim=-1).all()
    other = logits.detach().clone()
    other[~constraint.mask] = 1e6
    torch.testing.assert_close(constraint(other), constraint(logits), rtol=0, atol=0)


def test_made_in_inference_mode_it_can_be_differentiated():
    logits = _logits().requires_grad_()
    with torch.inference_mode():
        constraint = prefers(torch.tensor(TARGET), [torch.tensor(row) for row in ALTERNATIVES])
    (found,) = torch.autograd.grad(constraint.scores(logits).sum(), logits)
    (expected,) = torch.autograd.grad(prefers(TARGET, ALTERNATIVES).scores(logits).sum(), logits)
    assert torch.equal(found, expected)


def test_a_tie_satisfies_the_constraint():
    assert float(prefers([1, 2], [[2, 1], [1, 2]])(torch.zeros(3, 2, 4))) == 0.0


def test_a_stack_of_constraints_gives_the_loss_of_each():
    constraints = [prefers(TARGET, ALTERNATIVES), prefers([0, 0, 3], [[1, 1, 1, 1], [2], [2, 2]])]
    outputs = [_logits(1), _logits(2)]
    alone = torch.stack([one(logits) for one, logits in zip(constraints, outputs, strict=True)])
    torch.testing.assert_close(Prefers.stack(constraints)(torch.stack(outputs)), alone)
    assert Prefers.stack([constraints[0], prefers([1], [[2]])]) is None


class _Speller(nn.Module):
    """Predicts each token from a table: inputs ``(H, T)`` to logits ``(H, T, V)``."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(4, 4, _weight=torch.randn(4, 4, generator=torch.Generator().manual_seed(0)))

    def forward(self, previous: torch.Tensor) -> torch.Tensor:
        return self.table(previous)


def test_editors_edit_a_sequence_model_one_by_one_as_in_a_batch():
    model = _Speller()
    wanted = [prefers([token, 2], [[1, 1], [0, 3], [3, 0]]) for token in range(4)]
    requests = []
    for constraint in wanted:
        previous = torch.cat([torch.zeros(4, 1, dtype=torch.int64), constraint.tokens[:, :-1]], dim=1)
        requests.append(editors.Request(previous, constraint))
    editor = editors.build("gd", lr=0.5, max_steps=30)
    together = editor.edit_many(model, requests)
    for request, edit in zip(requests, together, strict=True):
        alone = editor.edit(model, *request)
        assert alone.succeeded
        assert edit.succeeded
        assert edit.steps == alone.steps
        assert request.constraint(edit.predict(request.inputs)) <= 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: prefers([1], []), "at least one alternative"),
        (lambda: prefers([], [[1]]), "one or more whole numbers"),
        (lambda: prefers([1], [[0.5]]), "one or more whole numbers"),
        (lambda: prefers([1], [[-1]]), "one or more whole numbers"),
        (lambda: prefers([1], [[2]], score="mean"), "score must be one of sum, token_average, not 'mean'"),
        (lambda: prefers([1], [[9]])(torch.zeros(2, 1, 4)), "token 9 is outside the model's vocabulary of 4"),
        (lambda: prefers([1], [[2]])(torch.zeros(3, 1, 4)), "needs logits of shape (2, 1, 'vocabulary'), not (3, 1"),
    ],
)
def test_a_mistake_is_one_sentence(make, message):
    with pytest.raises(editors.EditError, match=re.escape(message)):
        make()
