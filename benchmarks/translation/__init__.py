"""Table 6: the same editors and the same evaluation on a sequence model that translates from German to English.

Only :mod:`benchmarks.translation.toolkit` imports fairseq, and only once something is to be computed with it.
"""
