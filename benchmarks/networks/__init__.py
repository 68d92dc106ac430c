"""Networks prepared for editing, whichever they are: the same answers, in less work.

In this order: :mod:`.model_split` (the frozen front and the part that an edit may change), :mod:`.raw_images` (the
front from raw images on), :mod:`.folding` (batch normalisation folded into convolutions). The architectures themselves
are :mod:`benchmarks.models`.
"""
