"""How fast a shipped world plays: dream + decode + draw, against what the processor could do.

Not part of the default run: pytest -m benchmark tests/benchmarks -s
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
FRAMES = 600


def gemm_peak(dtype: torch.dtype, seconds: float = 1.0) -> float:
    """GFLOP/s of a 2048³ matrix product."""
    a = torch.ones(2048, 2048, dtype=dtype)
    a @ a
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        a @ a
        count += 1
    return 2 * 2048**3 * count / (time.perf_counter() - began) / 1e9


@pytest.mark.benchmark
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("world", ["pong"])
def test_frames_a_second_with_the_picture_drawn(world, threads, monkeypatch, tmp_path):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    from torch.utils.flop_counter import FlopCounterMode

    from app.live import Live
    from app.places import Places
    from app.session import Session
    from models.checkpoint import find_world, load_starts, load_world

    folder = find_world(world)
    torch.set_num_threads(1)  # in the thread that draws
    session = Session(load_world(folder), load_starts(folder), seed=0)
    with FlopCounterMode(display=False) as counter:
        for action in range(20):
            session.step(action % len(session.world.spec.actions))
    flops = counter.get_total_flops() / 20
    live = Live(session, title=world, scale=None, fps=0, places=Places.within(tmp_path), threads=threads)
    times, began, seen = [], time.perf_counter(), 0
    while len(times) < FRAMES + 20:
        live.game.turn()
        live.engine.wait(0.02)
        if live.dreamed > seen:
            now = time.perf_counter()
            times.append((now - began) / (live.dreamed - seen))
            began, seen = now, live.dreamed
    live.engine.close()
    live.screen.close()
    took = np.array(times[20:]) * 1000
    median, slow = float(np.median(took)), float(np.percentile(took, 95))
    reached = flops / median * 1e3 / 1e9
    torch.set_num_threads(threads)
    peaks = {str(dtype)[6:]: gemm_peak(dtype) for dtype in (torch.float32, torch.bfloat16)}
    shares = ", ".join(f"{reached / peak:.1%} of the {name} GEMM peak {peak:.0f}" for name, peak in peaks.items())
    print(
        f"\n{world}, {threads} threads: median {1000 / median:.0f} FPS ({median:.2f} ms), p95 {slow:.2f} ms over"
        f" {FRAMES} frames; {flops / 1e6:.0f} MFLOP a frame, {reached:.1f} GFLOP/s = {shares}"
    )
    assert live.dreamed >= FRAMES
    assert 1000 / median >= session.world.spec.fps, "slower than the game itself"


@pytest.mark.benchmark
def test_seconds_to_the_first_dreamed_frame():
    environment = {**os.environ, "SDL_VIDEODRIVER": "dummy"}
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        command = [sys.executable, str(ROOT / "play.py"), "play", "pong", "--max-frames", "1"]
        subprocess.run(command, check=True, env=environment, capture_output=True)
        seconds.append(time.perf_counter() - began)
    print(f"\nstart of the program to its end after one dreamed frame: {sorted(seconds)} s")
    assert min(seconds) < 10
