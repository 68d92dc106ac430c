"""Edits of a classifier, each written down as one record of counts.

In this order: :mod:`.requests` (what is edited, to which label), :mod:`.edited_part` (the network, folded and split),
:mod:`.scorer` (the record of an edit), :mod:`.measures` (the metrics that records give), :mod:`.sampling` (what a
sample of control images adds to them). Then the studies of section
4.3.1: :mod:`.mistakes` and :mod:`.ranks` (realistic mistakes, and targets like them), :mod:`.sequential` (edits in a
row), :mod:`.similar` (the image most like the edited one).
"""
