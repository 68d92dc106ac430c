"""Gives every Python process that finds this folder on its path an emulated GPU, as soon as it imports torch."""

import importlib.abc
import importlib.machinery
import os
import sys


class _AfterTorch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            import emulated_gpu

            emulated_gpu.install()

        spec.loader.exec_module = exec_module
        return spec


if os.environ.get("EMULATED_GPU", "1") != "0":
    sys.meta_path.insert(0, _AfterTorch())
