"""Runs a Python program, and the processes that it starts, with an emulated GPU; see README.md.

python emulate.py [--report FOLDER] [--where] [--same-random] [--or-skip] (-m MODULE | SCRIPT | -c CODE) [ARGUMENT ...]
"""

import os
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SWITCHES = {"--where": "EMULATED_GPU_WHERE", "--same-random": "EMULATED_GPU_SAME_RANDOM"}


def main() -> None:
    arguments, environment, may_skip = sys.argv[1:], dict(os.environ), False
    while arguments and arguments[0].startswith("--"):
        option = arguments.pop(0)
        if option == "--report" and arguments:
            environment["EMULATED_GPU_REPORT"] = os.path.abspath(arguments.pop(0))
        elif option in SWITCHES:
            environment[SWITCHES[option]] = "1"
        elif option == "--or-skip":
            may_skip = True
        else:
            sys.exit(f"unknown option {option}\n\n{__doc__}")
    if not arguments:
        sys.exit(__doc__)
    environment["EMULATED_GPU"] = "1"
    environment.setdefault("OMP_NUM_THREADS", "1")  # kernels are small here: more threads only spin
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(FOLDER), environment.get("PYTHONPATH")]))
    sys.path.insert(0, str(FOLDER))
    os.environ["EMULATED_GPU"] = "0"
    import emulated_gpu

    try:
        emulated_gpu.build()  # once, here, so that no two processes do
    except emulated_gpu.CannotBuild as error:
        print(f"skipped what runs on the emulated GPU: {error}", file=sys.stderr)
        sys.exit(0 if may_skip else 2)
    os.execve(sys.executable, [sys.executable, *arguments], environment)


if __name__ == "__main__":
    main()
