"""Translation from German to English (Table 6): corpora, the model, edit requests and scores.

In this order: :mod:`.corpus` (with :mod:`.corpora`, :mod:`.text`, :mod:`.vocabulary`), :mod:`.model` and :mod:`.parts`,
:mod:`.requests`, :mod:`.scoring` and the metrics of its records, :mod:`.metrics` and :mod:`.bleu`; the others serve
these. Only :mod:`.toolkit` imports fairseq, and only once something is to be computed with it.
"""
