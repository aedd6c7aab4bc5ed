"""What this machine is and has: packages, processor, speed, display, games. Facts for `doctor`, no opinions."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

REQUIRED: tuple[str, ...] = (
    *("torch", "numpy", "click", "opencv-python", "h5py", "einops", "isal", "safetensors", "tqdm", "pillow"),
    *("gymnasium", "ale-py", "tensorboard"),
)
EITHER = (("pygame", "pygame-ce"), ("procgen", "procgen-mirror"))  # two makers of one package; never both
FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd")
GEMM, GEMM_S = 768, 0.2


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the report. `cure` says how to get what is missing; `fatal` that nothing works without it."""

    name: str
    found: str
    cure: str = ""
    fatal: bool = False


def packages() -> list[Fact]:
    """Versions of everything that Dreamcade imports."""
    facts = [_python()]
    for name in REQUIRED:
        version = _version(name)
        cure = "" if version else f"pip install {name}"
        facts.append(Fact(name, version or "missing", cure, fatal=not version))
    for names in EITHER:
        have = [f"{name} {version}" for name in names if (version := _version(name))]
        needed = names[0] == "pygame"
        name = names[0]
        if len(have) > 1:
            cure = f"both own the same folder: pip uninstall -y {' '.join(names)}; pip install {name}"
            facts.append(Fact(name, " and ".join(have), cure, fatal=needed))
        elif have:
            facts.append(Fact(name, have[0]))
        else:
            facts.append(Fact(name, "missing", f"pip install {name}" if needed else _procgen_cure(), fatal=needed))
    return facts


def processor() -> list[Fact]:
    """Model, cores, and the instructions that decide the speed."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    model = fields.get("model name") or platform.processor() or platform.machine()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [
        Fact("cpu", model),
        Fact("cores", f"{usable} usable of {os.cpu_count()}"),
        Fact("instructions", " ".join(name for name in FEATURES if name in flags) or "unknown"),
    ]


def speed() -> list[Fact]:
    """Matrix products in GFLOP/s, float32 and bfloat16, with one thread and with all; about a second."""
    import torch

    before = torch.get_num_threads()
    counts = sorted({1, os.cpu_count() or 1})
    rates: dict[tuple[str, int], float] = {}
    try:
        for threads in counts:
            torch.set_num_threads(threads)
            for kind in (torch.float32, torch.bfloat16):
                rates[str(kind).removeprefix("torch."), threads] = _gflops(kind)
    finally:
        torch.set_num_threads(before)
    facts = [
        Fact(kind, ", ".join(f"{rates[kind, n]:.0f} GFLOP/s with {n} thread{'s' * (n > 1)}" for n in counts))
        for kind in ("float32", "bfloat16")
    ]
    faster = rates["bfloat16", counts[-1]] > 1.2 * rates["float32", counts[-1]]
    return [*facts, Fact("autocast on cpu", "bfloat16 (faster here)" if faster else "none (float32 is faster here)")]


def accelerators() -> list[Fact]:
    """CUDA and MPS devices that torch can use."""
    import torch

    facts = []
    for index in range(torch.cuda.device_count()):
        facts.append(Fact(f"cuda:{index}", f"{torch.cuda.get_device_name(index)}, autocast bfloat16"))
    if torch.backends.mps.is_available():
        facts.append(Fact("mps", "Apple GPU"))
    return facts or [Fact("accelerator", "none: playing and small training runs do well on the CPU")]


def display() -> Fact:
    """What a window could open on."""
    names = ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY")
    found = ", ".join(f"{name}={os.environ[name]}" for name in names if os.environ.get(name))
    if found or platform.system() != "Linux":
        return Fact("display", found or f"the {platform.system()} desktop")
    return Fact("display", "none: 'play' will write a video", "start it on a desktop or over ssh -X to play live")


def roms() -> Fact:
    """Whether the Atari games themselves are here; ale-py brings them along."""
    if importlib.util.find_spec("ale_py") is None:
        return Fact("atari games", "none", "pip install ale-py")
    from ale_py import roms as games

    try:
        found = len(list(games.get_all_rom_ids()))
    except (OSError, AttributeError) as problem:
        return Fact("atari games", f"cannot be listed: {problem}", "pip install --force-reinstall ale-py")
    return Fact("atari games", f"{found} in ale-py") if found else Fact("atari games", "none", "pip install -U ale-py")


def _gflops(kind: torch.dtype) -> float:
    import torch

    left, right = (torch.ones(GEMM, GEMM, dtype=kind) for _ in range(2))
    torch.mm(left, right)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < GEMM_S:
        torch.mm(left, right)
        done += 1
    return 2e-9 * GEMM**3 * done / (time.perf_counter() - began)


def _python() -> Fact:
    version = platform.python_version()
    old = tuple(map(int, version.split(".")[:2])) < (3, 11)
    return Fact("python", version, "install Python 3.11 or newer" if old else "", fatal=old)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _procgen_cure() -> str:
    """Procgen has wheels for some machines only."""
    minor = int(platform.python_version_tuple()[1])
    if platform.system() == "Linux" and platform.machine() == "x86_64" and minor in (11, 12):
        return "pip install procgen-mirror"
    return "no wheel for this machine: Procgen games need Linux on x86_64 with Python 3.11 or 3.12"
