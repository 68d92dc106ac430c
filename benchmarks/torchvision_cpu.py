"""Makes ``import torchvision`` work beside a torch that its compiled extension does not fit, as a CPU build.

Import this module before torchvision. It declares the two operators that torchvision's Python code refers to
while it is imported; they are not implemented and this project does not call them. Where the extension loads,
nothing is done.
"""

import importlib.util
from pathlib import Path

import torch

FINGERPRINTED = False  # decides no number
_OPERATORS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _extension_loads() -> bool:
    """Whether torchvision's own extension can be loaded; it then stays loaded, as by torchvision itself."""
    found = importlib.util.find_spec("torchvision")
    folders = found.submodule_search_locations if found is not None else None
    for folder in folders or ():
        for extension in [*Path(folder).glob("_C*.so"), *Path(folder).glob("_C*.pyd")]:
            try:
                torch.ops.load_library(str(extension))
                return True
            except (ImportError, OSError):
                continue
    return False


def _declare_operators() -> torch.library.Library | None:
    """Declare the operators if nobody has; the caller keeps the library, because they vanish with it."""
    if hasattr(torch.ops.torchvision, "nms") or _extension_loads():
        return None
    library = torch.library.Library("torchvision", "DEF")
    for name in _OPERATORS:
        library.define(f"{name}{_SIGNATURE}")
    return library


_library = _declare_operators()
