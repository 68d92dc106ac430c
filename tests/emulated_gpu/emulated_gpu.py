"""An emulated NVIDIA GPU for a CPU build of torch: ``cuda:0`` with the memory of the host and the kernels of the CPU.

Tensors really are on ``cuda:0``: ``is_cuda``, autograd on a device thread, autocast's list of CUDA operations, forks
that are refused once CUDA was touched, refused tensors of two devices, refused operations and generators that a GPU has
not, ``numpy()`` that raises. Values are those of a CPU, except what a generator on the GPU draws. See README.md for how
to run something with it, and for the environment variables that it looks at.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace

FOLDER = Path(__file__).resolve().parent
NAME = os.environ.get("EMULATED_GPU_NAME", "Emulated GPU")
TOTAL = 139 * 2**30

_library: ctypes.CDLL | None = None
_places: Counter[tuple[str, str]] = Counter()
_kept: list[object] = []


class CannotBuild(RuntimeError):
    """The extension cannot be compiled here; the message is one sentence that says why."""


def build() -> Path:
    """The extension, compiled once for this torch: a minute, two on slow cores, and 2 GB of memory.

    :raises CannotBuild: where there is no C++ compiler, or a torch that this was not written for.
    """
    import torch

    root = Path(torch.__file__).parent
    sources = [FOLDER / "emulated_gpu.cpp", FOLDER / "operators.py"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources) + torch.__version__.encode())
    folder = FOLDER / "build" / digest.hexdigest()[:12]
    library = folder / "libemulated_gpu.so"
    if not library.exists():
        compiler = shutil.which("g++")
        if compiler is None:
            raise CannotBuild("it takes a C++ compiler, and there is no g++ here")
        print(f"compiling the emulated GPU into {folder}, once ...", file=sys.stderr, flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "EMULATED_GPU": "0"}
        subprocess.run([sys.executable, FOLDER / "operators.py", folder], check=True, env=environment)
        abi = int(torch._C._GLIBCXX_USE_CXX11_ABI)
        temporary = folder / f"{os.getpid()}.so"
        command = [compiler, "-std=c++20", "-O0", "-fPIC", "-shared", f"-D_GLIBCXX_USE_CXX11_ABI={abi}", f"-I{folder}"]
        command += [f"-I{root}/include", f"-I{root}/include/torch/csrc/api/include", str(sources[0])]
        command += [f"-L{root}/lib", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{root}/lib", "-o", str(temporary)]
        ended = subprocess.run(command, capture_output=True, text=True)
        if ended.returncode:
            first = next((line for line in ended.stderr.splitlines() if "error" in line), "no reason given")
            raise CannotBuild(f"g++ cannot compile it for torch {torch.__version__}: {first}")
        temporary.rename(library)
    return library


def install() -> None:
    """Give this process a GPU, before anything asks torch for one."""
    global _library
    if _library is not None or os.environ.get("EMULATED_GPU") == "0":
        return
    import torch

    _library = ctypes.CDLL(str(build()), mode=ctypes.RTLD_GLOBAL)
    for name in ("launches", "syncs", "scalars", "undetermined"):
        getattr(_library, f"emulated_{name}").restype = ctypes.c_char_p
    for name in ("launch_count", "sync_count", "allocations", "bytes", "peak"):
        getattr(_library, f"emulated_{name}").restype = ctypes.c_int64
    _library.emulated_limit.argtypes = [ctypes.c_int64]
    _library.emulated_synchronised.argtypes = [ctypes.c_char_p]
    _library.emulated_different(0 if os.environ.get("EMULATED_GPU_SAME_RANDOM") else 1)
    _patch(torch)
    if os.environ.get("EMULATED_GPU_WHERE"):
        _watch()
    if os.environ.get("EMULATED_GPU_REPORT"):
        atexit.register(_write_report)
        os.register_at_fork(after_in_child=_begin_child)


@dataclass(frozen=True)
class Counts:
    """What happened so far, by operation.

    :ivar launches: of kernels.
    :ivar syncs: of the host with the GPU, which the host waited for.
    :ivar scalars: tensors ``()`` on the CPU that met others on the GPU.
    :ivar undetermined: kernels that sum in any order.
    :ivar allocations: of memory, ``peak`` the most that was held, in bytes.
    """

    launches: dict[str, int]
    syncs: dict[str, int]
    scalars: dict[str, int]
    undetermined: dict[str, int]
    allocations: int
    peak: int

    @property
    def launched(self) -> int:
        """Launches of all operations."""
        return sum(self.launches.values())

    @property
    def synchronised(self) -> int:
        """How often the host waited."""
        return sum(self.syncs.values())


def counts() -> Counts:
    """Since the beginning, or the last :func:`reset`."""
    tables = [_table(name) for name in ("launches", "syncs", "scalars", "undetermined")]
    return Counts(*tables, _library.emulated_allocations(), _library.emulated_peak())


def places() -> Counter[tuple[str, str]]:
    """Where the host waited: ``(operation, innermost frames of the program)``, if asked for by the environment."""
    return Counter(_places)


def reset() -> None:
    """Count anew."""
    _library.emulated_reset()
    _library.emulated_reset_peak()
    _places.clear()


@contextlib.contextmanager
def counting() -> Iterator[SimpleNamespace]:
    """A block of work; afterwards ``counts`` and ``places`` of what it yields say what it did."""
    reset()
    found = SimpleNamespace()
    yield found
    found.counts = counts()
    found.places = places()


@contextlib.contextmanager
def memory_of(size: int) -> Iterator[None]:
    """A block in which the GPU has ``size`` bytes beside those that it holds already."""
    _library.emulated_limit(_library.emulated_bytes() + size)
    try:
        yield
    finally:
        _library.emulated_limit(0)


def _table(name: str) -> dict[str, int]:
    lines = getattr(_library, f"emulated_{name}")().decode().splitlines()
    return {key: int(value) for key, value in (line.rsplit("\t", 1) for line in lines)}


def _begin_child() -> None:
    _library.emulated_reset()
    _places.clear()


def _write_report() -> None:
    found = counts()
    if not found.launches and not found.syncs:
        return
    folder = Path(os.environ["EMULATED_GPU_REPORT"])
    folder.mkdir(parents=True, exist_ok=True)
    where = [{"kind": kind, "where": place, "count": number} for (kind, place), number in _places.most_common()]
    content = {"command": sys.argv, "launches": found.launched, "syncs": found.synchronised, "places": where}
    content |= {"by_launch": found.launches, "by_sync": found.syncs, "scalars": found.scalars}
    content |= {"undetermined": found.undetermined, "allocations": found.allocations, "peak": found.peak}
    (folder / f"{os.getpid()}.json").write_text(json.dumps(content, indent=1))


def _watch() -> None:
    kind = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p)
    root = str(FOLDER.parents[1])

    def told(_: bytes, name: bytes) -> None:
        frames = [frame for frame in traceback.extract_stack(limit=60) if frame.filename.startswith(root)]
        skipped = ("/.venv/", str(FOLDER))
        ours = [frame for frame in frames if not any(one in frame.filename for one in skipped)]
        text = " < ".join(f"{os.path.relpath(one.filename, root)}:{one.lineno}" for one in reversed(ours[-3:]))
        _places[name.decode(), text or threading.current_thread().name] += 1

    callback = kind(told)
    _kept.append(callback)
    _library.emulated_watch(callback)


def _patch(torch: ModuleType) -> None:
    """Put in the place of what a CPU build of torch lacks for CUDA."""
    cuda, c = torch.cuda, torch._C
    library = _library
    state = SimpleNamespace(touched=False, child=False)

    def touched() -> None:
        state.touched = True

    # As in torch: counting devices is enough to make forked children useless for CUDA.
    os.register_at_fork(after_in_child=lambda: setattr(state, "child", state.child or state.touched))

    def device_count() -> int:
        touched()
        return 1

    def begin() -> None:
        touched()
        library.emulated_want_default(1)
        cuda.default_generators = (torch.Generator(device="cuda"),)
        library.emulated_want_default(0)
        cuda._get_device_properties = lambda index: properties

    properties = SimpleNamespace(
        name=NAME,
        major=9,
        minor=0,
        total_memory=TOTAL,
        multi_processor_count=132,
        L2_cache_size=50 * 2**20,
        warp_size=32,
        max_threads_per_multi_processor=2048,
        is_integrated=0,
        is_multi_gpu_board=0,
        uuid="emulated",
        regs_per_multiprocessor=65536,
        shared_memory_per_block=49152,
        shared_memory_per_block_optin=232448,
    )

    def synchronise() -> None:
        library.emulated_synchronised(b"torch.cuda.synchronize")

    def memory_stats(_: int = 0) -> dict:
        now, peak = library.emulated_bytes(), library.emulated_peak()
        pool = {"current": now, "peak": peak, "allocated": now, "freed": 0}
        kinds = {"all": pool, "small_pool": pool, "large_pool": pool}
        return dict.fromkeys(("allocated_bytes", "reserved_bytes", "active_bytes", "requested_bytes"), kinds)

    for name, value in {
        "_cuda_getDeviceCount": device_count,
        "_cuda_init": begin,
        "_cuda_getDevice": lambda: 0,
        "_cuda_setDevice": lambda index: None,
        "_cuda_exchangeDevice": lambda index: 0,
        "_cuda_maybeExchangeDevice": lambda index: 0,
        "_cuda_synchronize": synchronise,
        "_cuda_isInBadFork": lambda: state.child,
        "_cuda_getArchFlags": lambda: "sm_90",
        "_cuda_getCompiledVersion": lambda: 12080,
        "_cuda_memoryStats": memory_stats,
        "_cuda_resetPeakMemoryStats": lambda index: library.emulated_reset_peak(),
        "_cuda_resetAccumulatedMemoryStats": lambda index: None,
        "_cuda_emptyCache": lambda: None,
        "_cuda_getCurrentRawStream": lambda index: 0,
        "_cuda_is_stream_capturing": lambda: False,
        "_cuda_isCurrentStreamCapturing": lambda: False,
        "_cuda_hasPrimaryContext": lambda index: True,
    }.items():
        setattr(c, name, value)
    cuda._is_in_bad_fork = lambda: state.child
    cuda._cudart = SimpleNamespace()
    cuda._exchange_device = lambda index: 0
    cuda._maybe_exchange_device = lambda index: 0
    cuda.mem_get_info = lambda device=None: (TOTAL - library.emulated_bytes(), TOTAL)
    cuda.get_device_capability = lambda device=None: (9, 0)
    cuda.is_current_stream_capturing = lambda: False
    cuda.Event, cuda.Stream = _Event, _Stream
    cuda.current_stream = lambda device=None: _Stream()  # functions of their own each: dynamo tells them apart
    cuda.default_stream = lambda device=None: _Stream()
    cuda.stream = lambda stream: contextlib.nullcontext()
    as_it_was = torch.UntypedStorage.__new__

    def storage(kind, *arguments, device=None, **options):
        if device is None or torch.device(device).type != "cuda":
            return as_it_was(kind, *arguments, **({} if device is None else {"device": device}), **options)
        return torch.empty(arguments[0] if arguments else 0, dtype=torch.uint8, device=device).untyped_storage()

    torch.UntypedStorage.__new__ = staticmethod(storage)
    compile_as_it_is = torch.compile

    def compiled(*arguments, **options):
        options.setdefault("backend", os.environ.get("EMULATED_GPU_COMPILE", "aot_eager"))
        return compile_as_it_is(*arguments, **options)

    torch.compile = compiled


class _Stream:
    device_index = 0
    cuda_stream = 0

    def synchronize(self) -> None:
        _library.emulated_synchronised(b"stream.synchronize")

    def wait_stream(self, other: object) -> None: ...

    def wait_event(self, event: object) -> None: ...

    def record_event(self, event: object = None) -> object:
        return event or _Event()

    def query(self) -> bool:
        return True


class _Event:
    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> None:
        self._at = 0.0

    def record(self, stream: object = None) -> None:
        import time

        self._at = time.perf_counter()

    def synchronize(self) -> None:
        _library.emulated_synchronised(b"event.synchronize")

    def wait(self, stream: object = None) -> None: ...

    def query(self) -> bool:
        return True

    def elapsed_time(self, other: _Event) -> float:
        return 1e3 * (other._at - self._at)


if os.environ.get("EMULATED_GPU", "1") != "0":
    install()
