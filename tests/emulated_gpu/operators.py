"""Writes operators.inc and whole.inc: which operations a GPU has, and which check that their tensors share a device."""

from __future__ import annotations

import sys
from pathlib import Path

import torchgen
from torchgen.gen import parse_native_yaml
from torchgen.model import DispatchKey

# Composite operations that look at the device, or call stubs that a CPU build has not for CUDA.
WHOLE = (
    *("convolution", "convolution_backward", "_convolution", "linear_backward", "unfold_backward"),
    *("native_group_norm", "native_group_norm_backward", "native_layer_norm", "native_layer_norm_backward"),
)


def main(target: Path) -> None:
    """Write both files into the folder ``target``."""
    folder = Path(torchgen.__file__).parent / "packaged/ATen/native"
    source = folder / "native_functions.yaml"
    comments = {}
    current = None
    for line in source.read_text().splitlines():
        if line.startswith("- func: "):
            current = line.removeprefix("- func: ").split("(")[0]
        elif "device_check: NoCheck" in line and current is not None:
            comments[current] = line.partition("#")[2]
    parsed = parse_native_yaml(str(source), str(folder / "tags.yaml"))
    cuda = parsed.backend_indices[DispatchKey.CUDA]
    functions = {str(one.func.name): one for one in parsed.native_functions}

    def has_kernel(one) -> bool:
        if cuda.has_kernel(one):
            return True
        delegate = functions.get(str(one.structured_delegate)) if one.structured_delegate else None
        return delegate is not None and cuda.has_kernel(delegate)

    lines, known = [], set()
    for name, one in functions.items():
        flags = 1 if has_kernel(one) or name in WHOLE else 0
        comment = comments.get(name)
        if comment is not None:
            flags |= 2 if "TensorIterator" in comment or not comment.strip() else 4
        elif str(one.device_check).endswith("NoCheck"):
            flags |= 2
        lines.append(f'{{"aten::{name}", {flags}}},')
        known.add(name)
    (target / "operators.inc").write_text("\n".join(lines) + "\n")
    # A structured kernel makes its output itself, instead of an `empty` of its own.
    structured = [name for name, one in functions.items() if one.structured_delegate and has_kernel(one)]
    names = dict.fromkeys([name for name in WHOLE if name in known] + structured)
    (target / "whole.inc").write_text("".join(f'"{name}",\n' for name in names))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
