"""Translation by fairseq's beam search or sampling, from encoder outputs that are computed once.

Lower decoder layers depend on the tokens chosen so far, so they are computed anew while decoding; only the encoder's
output is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmarks.seeds import drawn_from
from benchmarks.translation.batches import by_tokens, rows
from benchmarks.translation.model import Translator
from benchmarks.translation.toolkit import fairseq
from editors.forward import evaluation_mode

BEAM = 5
_AT_ONCE = {"cpu": 4_000, "cuda": 32_000}
"""Source tokens of a batch that is decoded: a GPU is waited for at every token of it, however many sentences it has."""
_HOPELESS = -1e4  # log-probability of every token where a model's answer is not a number
LONGER = 10
"""A translation may have twice as many tokens as its source, and so many more."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """Source sentences with the encoder's outputs for them.

    :ivar outputs: for each sentence ``(S, C)``.
    """

    sentences: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def encode(model: Translator, sentences: Sequence[Tensor]) -> Encoded:
    """Run the encoder over ``sentences``, each int32 ``(S,)``.

    :raises InputError: for a sentence that is longer than the model has positions.
    """
    model.check_length(*sentences)
    device = next(model.parameters()).device
    outputs: dict[int, Tensor] = {}
    lengths = [len(sentence) for sentence in sentences]
    with torch.no_grad(), evaluation_mode(model):
        for batch in by_tokens(lengths, range(len(sentences)), 4 * _AT_ONCE[device.type]):
            source = rows([sentences[number] for number in batch], model.pad).to(device)
            encoded = model.encoder(source, source.ne(model.pad).sum(dim=1))["encoder_out"][0].transpose(0, 1)
            # Copies: a part of the batch's tensor would keep all of it.
            outputs |= {number: row[: lengths[number]].clone() for number, row in zip(batch, encoded, strict=True)}
    return Encoded(tuple(sentences), tuple(outputs[number] for number in range(len(sentences))))


def translate(
    model: Translator,
    encoded: Encoded,
    chosen: Sequence[int],
    changed: Mapping[str, Tensor] | None = None,
    *,
    beam: int = BEAM,
) -> list[list[Tensor]]:
    """The ``beam`` best translations of each of the ``chosen`` sentences, best first, each int32 with its end.

    :param changed: parameters by name that take the place of the model's; where one of the encoder's is among them,
        encoder outputs are computed anew.
    """
    changed = dict(changed or {})
    anew = any(name.startswith("encoder.") for name in changed)
    found: dict[int, list[Tensor]] = {}
    lengths, most = [len(sentence) for sentence in encoded.sentences], _AT_ONCE[next(model.parameters()).device.type]
    with evaluation_mode(model):
        search = _Search(model, {"beam_size": beam})
        for batch in by_tokens(lengths, chosen, most):
            hypotheses = functional_call(search, changed, (_sample(model, encoded, batch, anew),))
            found |= {number: _tokens(best) for number, best in zip(batch, hypotheses, strict=True)}
    return [found[number] for number in chosen]


def sample(model: Translator, encoded: Encoded, number: int, temperature: float, *axes: str | int) -> Tensor:
    """One translation drawn token by token from the model's distribution at ``temperature``, int32 with its end.

    :param axes: what the draw depends on.
    """
    strategy = fairseq().search.Sampling(model.target.dictionary)
    settings = {"beam_size": 1, "search_strategy": strategy, "temperature": temperature}
    with evaluation_mode(model), drawn_from(*axes, device=next(model.parameters()).device):
        return _tokens(_Search(model, settings)(_sample(model, encoded, [number]))[0])[0]


class _Search(nn.Module):
    """fairseq's generator as a module, under the names of the model's parameters."""

    def __init__(self, model: Translator, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.encoder, self.decoder = model.encoder, model.decoder
        ensemble = _ensemble()([model])
        generator = fairseq().sequence_generator.SequenceGenerator
        settings = {"max_len_a": 2, "max_len_b": LONGER, "tokens_to_suppress": model.target.never_used, **settings}
        # Hidden from torch: what it holds are the model's modules once more.
        self.__dict__["generator"] = generator(ensemble, model.target.dictionary, **settings)

    def forward(self, sample: Mapping[str, Any]) -> list[list[dict[str, Tensor]]]:
        return self.generator.generate([], sample)


@cache
def _ensemble() -> type[nn.Module]:
    base = fairseq().sequence_generator.EnsembleModel

    class Ensemble(base):
        """Takes encoder outputs from the sample where it has them, and survives a model that has diverged."""

        def forward_encoder(self, net_input: Mapping[str, Any]) -> list[Mapping[str, list[Tensor]]]:
            if "encoded" not in net_input:
                return super().forward_encoder(net_input)
            source, mask = net_input["src_tokens"], net_input["src_tokens"].eq(self.single_model.pad)
            known = {"encoder_out": [net_input["encoded"]], "encoder_padding_mask": [mask], "src_tokens": [source]}
            return [known | {"encoder_embedding": [], "encoder_states": [], "src_lengths": []}]

        def forward_decoder(self, *arguments: Any, **options: Any) -> tuple[Tensor, Tensor | None]:
            log_probabilities, attention = super().forward_decoder(*arguments, **options)
            return log_probabilities.nan_to_num(nan=_HOPELESS, neginf=-torch.inf), attention

    return Ensemble


def _sample(model: Translator, encoded: Encoded, batch: Sequence[int], anew: bool = False) -> dict[str, Any]:
    device = encoded.outputs[0].device
    source = rows([encoded.sentences[number] for number in batch], model.pad).to(device)
    sample = {"src_tokens": source, "src_lengths": source.ne(model.pad).sum(dim=1)}
    if not anew:
        sample["encoded"] = nn.utils.rnn.pad_sequence([encoded.outputs[number] for number in batch])
    return {"net_input": sample}


def _tokens(hypotheses: Sequence[Mapping[str, Tensor]]) -> list[Tensor]:
    return [hypothesis["tokens"].to("cpu", torch.int32) for hypothesis in hypotheses]
