"""The network at the paper's size."""

import torch

from benchmarks.translation.model import Architecture, Translator, layers_named
from benchmarks.translation.vocabulary import Vocabulary
from tests.optional import FAIRSEQ, needs


def _vocabulary(size: int) -> Vocabulary:
    """``size`` units, fairseq's four special ones included."""
    return Vocabulary.of([" ".join(f"u{number}" for number in range(size - 4))])


@needs(*FAIRSEQ)
def test_the_default_is_fairseqs_transformer_iwslt_de_en():
    source, target = _vocabulary(8848), _vocabulary(6632)
    with torch.device("meta"):
        model = Translator(Architecture(), source, target)
    # fairseq's log of the published recipe: "num. model params: 39,469,056", positions left out.
    assert sum(value.numel() for value in model.parameters()) == 39_469_056
    assert model.decoder.output_projection.weight is model.decoder.embed_tokens.weight
    assert layers_named(model, "last_decoder_layer") == "decoder.layers.5"
    assert layers_named(model, "last_feed_forward") == ["decoder.layers.5.fc1", "decoder.layers.5.fc2"]
    assert layers_named(model, "decoder.layers.0") == "decoder.layers.0"
