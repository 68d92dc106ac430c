"""Rehearsal: fine-tuning that holds the model to its own answers on stored training samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editors.base import Layers, spread
from editors.forward import outputs_of
from editors.hyperparameters import check_whole
from editors.registry import register
from editors.replay import Replay, TrainingData

_AT_ONCE = 500


@register("rehearsal")
@dataclass(frozen=True, kw_only=True)
class Rehearsal(Replay):
    """Adam on the mean KL(p(y|x,θ⁰) ‖ p(y|x,θ)) of a batch of stored samples + w · l_e, until l_e ≤ 0.

    Source: Robins 1995 (rehearsal), Li & Hoiem 2016 (old answers as targets); here on a single edit

    The first step has nothing to hold on to yet: at θ⁰ the divergence and its gradient are 0.

    :ivar samples: most training inputs to store, spread evenly over those given.
    """

    samples: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("samples", self.samples, 1)

    @property
    def examples(self) -> int:
        return self.samples

    def statistics(self, model: nn.Module, inputs: Tensor, labels: Tensor, layers: Layers) -> TrainingData:
        with torch.inference_mode(False), torch.no_grad():
            stored = inputs[spread(len(inputs), self.samples).to(inputs.device)]
            answers = [outputs_of(model, {}, some).log_softmax(dim=-1) for some in stored.split(_AT_ONCE)]
        return TrainingData(stored, torch.cat(answers))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.kl_div(outputs.log_softmax(dim=-1), targets, reduction="batchmean", log_target=True)
