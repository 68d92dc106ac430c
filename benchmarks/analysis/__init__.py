"""A closer look at what edits did, beside the records of :mod:`benchmarks.scoring`.

In this order: :mod:`.descriptors` (the effect of an edit on every image of a split), :mod:`.edit_space` (which classes
suffer, how many kinds of edits there are; section 4.2), :mod:`.embedding` (which images are alike; section 4.3.1).
"""
