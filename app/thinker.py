"""The one thread of a window in which worlds think.

All of torch's work has to be done in one thread: OpenMP keeps a team of helpers for every thread that asks for
any, and once there are more of them than cores they no longer spin while they wait, which makes the many short
operations of a step twice as slow. So the thread that draws asks for everything here, and computes with one
CPU thread where it does compute.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


class Thinker:
    """Does jobs one after the other. threaded False: at once, in the thread that asks, for tests and headless use."""

    def __init__(self, threaded: bool = False) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="dream") if threaded else None
        self._ident: int | None = None

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Have something done; the caller looks after it. Without a thread, what a job raises is raised here."""
        if self._pool is not None:
            return self._pool.submit(self._run, job)
        done: Future[T] = Future()
        done.set_result(job())
        return done

    def ask(self, job: Callable[[], T]) -> T:
        """Have something done and wait for it. May be asked from within a job, and after the end."""
        if self._pool is None or threading.get_ident() == self._ident:
            return job()
        return self._pool.submit(self._run, job).result()

    def use(self, threads: int) -> None:
        """Compute with so many CPU threads from now on."""
        self.ask(lambda: torch.set_num_threads(threads))

    def close(self) -> None:
        """Let the thread end, after the job that it is at."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _run(self, job: Callable[[], T]) -> T:
        self._ident = threading.get_ident()
        return job()
