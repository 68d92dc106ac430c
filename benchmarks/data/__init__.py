"""Images in memory and in files: the parts of which every data set is made.

In this order: :mod:`.dataset` (raw images in three splits, and their folder), :mod:`.split` (what is held out),
:mod:`.augmentation` and :mod:`.corruptions` (other pictures of the same things), :mod:`.candidates` (images that models
may get wrong); then :mod:`.download` and :mod:`.image_files`, from which data sets are read. The data sets themselves
are :mod:`benchmarks.datasets`.
"""
