"""How many CPU threads a live dream gets.

Two threads are nearly twice as fast on an idle machine, and thirty times slower where another
program keeps the cores busy. So: measure, and look again when steps become slow.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

STEPS, BUDGET_S = 10, 0.4  # of each candidate, whichever ends first
GAIN = 0.9  # more threads must need less than this share of the time of one
ROOM = 0.7  # idle cores there must be, beside the one in use
SLOW, PATIENCE = 3.0, 4  # so many steps in a row, so much slower than measured: go back to one thread


def measure(rehearse: Callable[[], float], threads: int, worst_ms: float = float("inf")) -> float:
    """Median milliseconds of a step with so many threads; given up at once when the first needs `worst_ms`.

    rehearse: dream a frame, return the seconds it took.
    """
    torch.set_num_threads(threads)
    times = [rehearse()]
    if 1000.0 * times[0] > worst_ms:
        return 1000.0 * times[0]
    times.clear()  # the first one only warmed up
    began = time.perf_counter()
    while len(times) < STEPS and (not times or time.perf_counter() - began < BUDGET_S):
        times.append(rehearse())
    return 1000.0 * statistics.median(times)


def settle(rehearse: Callable[[], float]) -> tuple[int, dict[int, float]]:
    """Time 1 and 2 threads, keep the better one. Returns it, and milliseconds a step by threads.

    Two are not tried where the clock says that other programs have the second core.
    """
    began, idle = time.perf_counter(), _idle_seconds()
    took = {1: measure(rehearse, 1)}
    free = (_idle_seconds() - idle) / (time.perf_counter() - began)
    if (os.cpu_count() or 1) >= 2 and (idle == 0.0 or free > ROOM):
        took[2] = measure(rehearse, 2, worst_ms=2.0 * took[1])
    best = 2 if 2 in took and took[2] < GAIN * took[1] else 1
    torch.set_num_threads(best)
    return best, took


class Watch:
    """Goes back to one thread when steps stay much slower than they were measured."""

    def __init__(self, threads: int, expected_ms: float) -> None:
        self.threads, self._expected, self._slow = threads, expected_ms, 0

    def saw(self, step_ms: float) -> bool:
        """Note the time of a step. True if that made it change to one thread."""
        self._slow = self._slow + 1 if step_ms > SLOW * self._expected else 0
        if self.threads == 1 or self._slow < PATIENCE:
            return False
        self.threads = 1
        torch.set_num_threads(1)
        return True


def _idle_seconds() -> float:
    """Seconds that the cores were idle since the machine started, added up; 0 where the system does not tell."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
        return float(fields[4]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0
