"""Classifying images, as a task of the pipeline; :class:`ImageTask` is the adapter, the other modules are its parts."""

from pipelines.tasks.images.task import ImageTask as ImageTask
