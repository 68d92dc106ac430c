"""The earlier name of :mod:`pipelines.patching.own_models`, by which scripts of others import it."""

from pipelines.patching.own_models import OwnModel, Preprocessing, load

__all__ = ["OwnModel", "Preprocessing", "load"]
