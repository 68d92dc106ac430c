import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(script: str) -> None:
    """In a process of its own: operators cannot be taken back."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, check=True)


def test_torchvision_is_not_imported_by_it_and_can_be_used_after_it():
    run(
        "import sys, torch, benchmarks.torchvision_cpu\n"
        "assert 'torchvision' not in sys.modules\n"
        "from torchvision.models import resnet18\n"
        "from torchvision.transforms.functional import hflip\n"
        "assert hasattr(torch.ops.torchvision, 'nms')\n"
        "assert resnet18(num_classes=3).eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 3)\n"
        "assert hflip(torch.arange(3)[None]).tolist() == [[2, 1, 0]]\n"
    )


def test_operators_that_are_there_are_left_alone():
    run(
        "import torch\n"
        "there = torch.library.Library('torchvision', 'DEF')\n"
        "there.define('nms(Tensor dets) -> Tensor')\n"
        "import benchmarks.torchvision_cpu\n"
        "assert benchmarks.torchvision_cpu._library is None\n"
        "assert not hasattr(torch.ops.torchvision, 'qnms')\n"
    )
