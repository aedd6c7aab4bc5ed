"""A Ray cluster as an engine: the same calls, spread over the machines of a cluster.

Ray is an extra. Without RAY_ADDRESS a cluster of this machine alone is started and ended again. The other machines
need the same version of Dreamcade and its games; finished shards come back here and are written here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from collectors.engines import AHEAD, Kept, Packing, Packs, Part, Plays, available_cores, gathered
from collectors.episode import Episode
from collectors.writing import Packed

INSTALL = "pip install ray, or use --engine local"


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ValueError(f"--engine ray needs the package ray, which is not here; {INSTALL}") from error
    return ray


class Cluster:
    """The cluster that RAY_ADDRESS names, or one of this machine alone with a process for each worker."""

    def __init__(self, workers: int) -> None:
        self._ray = ray = _ray()
        self._mine = not ray.is_initialized()
        if self._mine:
            quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
            alone = {"num_cpus": workers or available_cores(), "include_dashboard": False}
            try:
                ray.init(**quiet, **({} if os.environ.get("RAY_ADDRESS") else alone))
            except (ConnectionError, RuntimeError) as error:
                where = os.environ.get("RAY_ADDRESS", "this machine")
                raise OSError(f"no ray cluster on {where}: {error}; start one with ray start --head") from error
        self.workers = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        self.ahead = AHEAD * self.workers
        self._play = ray.remote(num_cpus=1, num_returns=2)(_played)
        self._pack = ray.remote(num_cpus=1)(_packed)

    def play(self, call: Plays) -> Kept:
        """Let some machine play; the frames stay in its store."""
        return _Remote(self, *self._play.remote(call))

    def pack(self, call: Packs, parts: Sequence[Part]) -> Packing:
        """Let some machine pack."""
        kept, places = gathered(parts)
        return _RemoteShard(self, self._pack.remote(call, places, *(one.episodes for one in kept)))

    def close(self) -> None:
        """Leave the cluster; end it where it is this machine alone."""
        if self._mine:
            self._ray.shutdown()

    def get(self, reference: Any) -> Any:
        """Wait for a result. What went wrong with a call is raised as if it had been made here."""
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self._ray.exceptions.RayError as error:
            first = str(error).strip().partition("\n")[0]
            raise OSError(f"the ray cluster lost a task ({first}); run the same command again to go on") from error

    def ready(self, reference: Any) -> bool:
        """Whether a result is there."""
        return bool(self._ray.wait([reference], timeout=0)[0])


@dataclass(frozen=True, slots=True)
class _Remote:
    cluster: Cluster
    lengths: Any
    episodes: Any

    def steps(self) -> tuple[int, ...]:
        found: tuple[int, ...] = self.cluster.get(self.lengths)
        return found


@dataclass(frozen=True, slots=True)
class _RemoteShard:
    cluster: Cluster
    reference: Any

    def done(self) -> bool:
        return self.cluster.ready(self.reference)

    def result(self) -> Packed:
        packed: Packed = self.cluster.get(self.reference)
        return packed


def _played(call: Plays) -> tuple[tuple[int, ...], list[Episode]]:
    """Play. Runs on the cluster; what is small goes to the parent and the episodes into the store."""
    episodes = list(call())
    return tuple(episode.steps for episode in episodes), episodes


def _packed(call: Packs, places: Sequence[tuple[int, int]], *kept: list[Episode]) -> Packed:
    """Pack episodes from the store. Runs on the cluster."""
    return call([kept[number][place] for number, place in places])
