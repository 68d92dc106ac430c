"""The network that translates: fairseq's ``transformer_iwslt_de_en``, at its own size or smaller."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict, dataclass
from types import SimpleNamespace

from torch import Tensor, nn

from benchmarks.errors import InputError
from benchmarks.translation.toolkit import fairseq
from benchmarks.translation.vocabulary import Vocabulary
from editors.base import Layers

LAST_DECODER_LAYER = "last_decoder_layer"
"""The name, in tables and configuration, of the layer that the paper edits."""
LAST_FEED_FORWARD = "last_feed_forward"
"""The name of its two linear layers without the attention, which calls no modules whose inputs could be watched."""


@dataclass(frozen=True)
class Architecture:
    """The sizes of encoder and decoder alike; the defaults are those of ``transformer_iwslt_de_en``.

    :ivar max_positions: the longest sentence, on either side, in units with the end of the sentence.
    """

    embed_dim: int = 512
    ffn_dim: int = 1024
    heads: int = 4
    layers: int = 6
    dropout: float = 0.3
    max_positions: int = 1024


class Translator(nn.Module):
    """fairseq's transformer, with one embedding for the decoder's inputs and outputs.

    :ivar encoder, decoder: fairseq's own, so layers are named as there: ``decoder.layers.5``.
    :ivar pad: the number that fills up rows of tokens.
    """

    def __init__(self, architecture: Architecture, source: Vocabulary, target: Vocabulary) -> None:
        super().__init__()
        built = _build(architecture, source, target)
        self.encoder, self.decoder = built.encoder, built.decoder
        self.architecture = architecture
        self.target = target
        self.pad = target.pad

    def forward(self, source: Tensor, previous: Tensor) -> Tensor:
        """Logits ``(B, T, V)`` of each next token of the translation.

        :param source: int64 ``(B, S)``, sentences with their ends, filled up at the end.
        :param previous: int64 ``(B, T)``, the translation as far as it is known: end of sentence, then tokens.
        """
        encoded = self.encoder(source, source.ne(self.pad).sum(dim=1))
        return self.decoder(previous, encoder_out=encoded)[0]

    def check_length(self, *sentences: Tensor) -> None:
        """Refuse sentences ``(T,)`` that are longer than the model has positions.

        :raises InputError: naming both lengths.
        """
        longest = max(len(sentence) for sentence in sentences)
        if longest > self.architecture.max_positions:
            raise InputError(
                f"a sentence has {longest} units, the model only {self.architecture.max_positions} positions: "
                "leave it out or raise model.max_positions"
            )

    # What fairseq's generator asks a model for.

    def max_decoder_positions(self) -> int:
        """The most tokens of a translation."""
        return self.architecture.max_positions

    def get_normalized_probs(self, net_output: tuple, log_probs: bool, sample: object = None) -> Tensor:
        """(Log-)probabilities of the decoder's outputs."""
        return self.decoder.get_normalized_probs(net_output, log_probs, sample)


def layers_named(model: Translator, name: str) -> Layers:
    """The ``layers`` that an editor takes, for a name in tables and configuration."""
    last = f"decoder.layers.{model.architecture.layers - 1}"
    if name == LAST_FEED_FORWARD:
        return [f"{last}.fc1", f"{last}.fc2"]
    return last if name == LAST_DECODER_LAYER else name


def _build(architecture: Architecture, source: Vocabulary, target: Vocabulary) -> nn.Module:
    arguments = Namespace(
        share_decoder_input_output_embed=True,
        max_source_positions=architecture.max_positions,
        max_target_positions=architecture.max_positions,
        dropout=architecture.dropout,
    )
    for side in ("encoder", "decoder"):
        setattr(arguments, f"{side}_embed_dim", architecture.embed_dim)
        setattr(arguments, f"{side}_ffn_embed_dim", architecture.ffn_dim)
        setattr(arguments, f"{side}_attention_heads", architecture.heads)
        setattr(arguments, f"{side}_layers", architecture.layers)
    transformer = fairseq().models.transformer
    transformer.transformer_legacy.transformer_iwslt_de_en(arguments)
    dictionaries = SimpleNamespace(source_dictionary=source.dictionary, target_dictionary=target.dictionary)
    try:
        return transformer.TransformerModel.build_model(arguments, dictionaries)
    except (AssertionError, ValueError, RuntimeError) as error:
        raise InputError(f"model: {asdict(architecture)} is no transformer ({error})") from error
