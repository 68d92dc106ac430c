"""What is said about results, for every kind of task the same way: from files to tables, claims, pages and figures.

The way through, as ``pipelines/report.py`` walks it:

1. All that is particular to a kind of task is its :class:`~pipelines.reporting.tables.presentation.Presentation`, which
   its adapter in ``pipelines/tasks`` gives. Its ``read`` reads what ``evaluate`` wrote: one cell is a
   :class:`~pipelines.reporting.tables.results.CellResult`, with records, description, and how good its model was before
   any edit. Its ``row`` holds every metric with its 95 % interval. What the metrics are says
   :class:`benchmarks.metrics.Measures`, one object for each kind of task; intervals are computed in
   ``benchmarks/metrics.py``. ``tables/other_stages.py`` tells what other stages wrote.
2. ``tables/paper.py`` says which results stand in which table, in which order, beside which numbers of the paper. A
   table is a small definition, a :class:`~pipelines.reporting.tables.presentation.Table`. ``write_tables`` writes them,
   ``tables/sheet.py`` is how they look. Which rows compete and which win says ``ranking.py``, to tables, pages and
   figures.
3. ``claims/`` holds results against claims, the paper's and our own: ``definitions.py`` is what a claim is,
   ``comparing.py`` finds its rows and compares them, ``statistics.py`` has the intervals and what they decide,
   ``judging.py`` decides on claims, ``page.py`` tells it.
4. ``prose.py`` fills the numbers of pages of prose, whose templates lie in ``results/pages``.
5. ``index.py`` writes results/README.md. Text of other people's passes through ``escape`` or ``code`` of
   ``tables/sheet.py``.
6. ``figures/`` draws frames; ``drawing.py`` decides which figures there are.

Nothing here knows a stage or a task. To show a further metric, add it to the task's ``Measures`` and name it in the
``columns`` of a table; to claim something about any row of any table, add an entry to ``results/claims.yaml``.
"""
