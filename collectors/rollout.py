"""Game × behaviour × workers → shards. Episode i has the seed `seed + i` and owes nothing to any other.

So it does not matter who plays an episode, or when: workers hand theirs to the parent, the parent
packs them in order, and a recording that was interrupted goes on after its last whole shard.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.metadata import version
from multiprocessing import connection
from pathlib import Path

import numpy as np

from collectors.atari import AtariGame
from collectors.behaviours import Seen, behaviour_named, choose, weights_of
from collectors.drafts import only_writer, publish, remove_drafts
from collectors.episode import Episode
from collectors.games import Game, Size, game_named
from collectors.manifest import NAME, Manifest, read_manifest
from collectors.shards import H5PY_VERSION, verify_shards, write_shard
from collectors.verify import record_again

Progress = Callable[[int, int], None]
HIGHEST_SEED = 2**31


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectConfig:
    """What to record. frames: transitions in all; episode_frames: transitions at which an episode is cut.

    shard_frames: a shard is closed when it has that many frames; workers: processes, 0 for one a core.
    All but `workers` decide the bytes. Raises ValueError naming the field.
    """

    game: str = "pong"
    frames: int = 200_000
    seed: int = 0
    behaviour: str = "mix"
    size: Size | None = None
    pooled: int | None = None
    episode_frames: int = 2000
    shard_frames: int = 4096
    workers: int = 0

    def __post_init__(self) -> None:
        for name in ("frames", "episode_frames", "shard_frames"):
            value = getattr(self, name)
            if not 1 <= value <= 10**9:
                raise ValueError(f"{name.replace('_', '-')} must be in [1, 1000000000], found {value}")
        if not 0 <= self.seed < HIGHEST_SEED:
            raise ValueError(f"seed must be in [0, {HIGHEST_SEED}), found {self.seed}")
        if not 0 <= self.workers <= 256:
            raise ValueError(f"workers must be in [0, 256], found {self.workers}")


def play_episode(game: Game, behaviour: str, seed: int, most_steps: int) -> Episode:
    """Play one episode: a pure function of its arguments. Cut after `most_steps` transitions."""
    rng = np.random.default_rng([seed, 1])
    name = choose(weights_of(behaviour, game), rng)
    player, machine = behaviour_named(name, game), AtariGame(game)
    player.reset(rng)
    frame = machine.reset(seed)
    frames, objects = [frame], [machine.objects]
    actions, rewards, ends = list[int](), list[float](), list[bool]()
    while len(actions) < most_steps and not (ends and ends[-1]):
        action = player.act(Seen(frame, machine.ram))
        frame, reward, end = machine.step(action)
        frames.append(frame)
        objects.append(machine.objects)
        actions.append(action)
        rewards.append(reward)
        ends.append(end)
    labels = [found for found in objects if found is not None]
    return Episode(
        frames=np.stack(frames),
        actions=np.array(actions, np.int64),
        rewards=np.array(rewards, np.float32),
        ends=np.array(ends, np.bool_),
        objects=np.stack(labels) if labels else None,
        seed=seed,
        behaviour=name,
    )


def collect(config: CollectConfig, out: Path, progress: Progress | None = None) -> Manifest:
    """Record a data set into a folder, or go on with the one that is there.

    `progress(done, total)` is called after every episode, in transitions. Exactly `config.frames`
    transitions are recorded; the last episode is cut for that. Two runs of the same config give the
    same bytes, with any number of workers and however often they were interrupted. Episodes that were
    dropped from the folder by hand count as recorded and are not played again; shards that were damaged
    and set aside are. Raises ValueError when the folder holds another recording, OSError when it cannot be written.
    """
    game = game_named(config.game, config.size, config.pooled)
    planned = plan(config, game)
    tell = progress or (lambda done, total: None)
    with only_writer(out):
        remove_drafts(out)

        def again(seed: int, most: int) -> Episode:
            return play_episode(game, config.behaviour, seed, min(most, config.episode_frames))

        manifest = record_again(_continue_from(planned, out), out, again)
        if manifest.complete:
            tell(manifest.recorded_steps, config.frames)
            return manifest
        with closing(_episodes(config, game, manifest.recorded_episodes)) as episodes:
            return _record(config, manifest, out, episodes, tell)


def plan(config: CollectConfig, game: Game) -> Manifest:
    """The manifest of a recording before its first shard."""
    weights_of(config.behaviour, game)
    return Manifest(
        game=game.id,
        height=game.height,
        width=game.width,
        fps=game.fps,
        frame_skip=game.frame_skip,
        pooled=game.pooled,
        action_names=game.action_names,
        object_names=game.object_names,
        behaviour=config.behaviour,
        seed=config.seed,
        episode_frames=config.episode_frames,
        shard_frames=config.shard_frames,
        frames_requested=config.frames,
        versions={"ale_py": version("ale-py"), "numpy": np.__version__, "h5py": H5PY_VERSION},
    )


def _continue_from(planned: Manifest, out: Path) -> Manifest:
    """The manifest to go on with: the one in the folder when it is the same recording, else a new one."""
    if not (out / NAME).exists():
        if any(out.glob("*.h5")):
            raise ValueError(f"{out} holds .h5 files and no {NAME}; choose another --out")
        publish(out / NAME, planned.to_json().encode())
        return planned
    found = read_manifest(out)
    names = planned.differences(found)
    if names:
        pairs = ", ".join(f"{name} {getattr(found, name)} (now {getattr(planned, name)})" for name in names)
        raise ValueError(f"{out} holds another recording: {pairs}; choose another --out")
    verify_shards(out, found)
    return found


def _record(
    config: CollectConfig, manifest: Manifest, out: Path, episodes: Iterator[Episode], tell: Progress
) -> Manifest:
    """Pack episodes into shards until the transitions are together."""
    done, waiting = manifest.recorded_steps, list[Episode]()
    tell(done, config.frames)
    for episode in episodes:
        episode = _cut(episode, config.frames - done)
        waiting.append(episode)
        done += episode.steps
        tell(done, config.frames)
        complete = done == config.frames
        if complete or sum(len(one.frames) for one in waiting) >= config.shard_frames:
            shard = write_shard(out, manifest.free_number, waiting, manifest.episodes)
            manifest = replace(manifest, shards=(*manifest.shards, shard), complete=complete)
            publish(out / NAME, manifest.to_json().encode())
            waiting = []
        if complete:
            break
    return manifest


def _cut(episode: Episode, steps: int) -> Episode:
    if episode.steps <= steps:
        return episode
    return replace(
        episode,
        frames=episode.frames[: steps + 1],
        actions=episode.actions[:steps],
        rewards=episode.rewards[:steps],
        ends=episode.ends[:steps],
        objects=None if episode.objects is None else episode.objects[: steps + 1],
        latent=None if episode.latent is None else episode.latent[:steps],
    )


def _episodes(config: CollectConfig, game: Game, first: int) -> Generator[Episode, None, None]:
    """Episodes first, first + 1, …, without end, in order. At most two more than there are workers wait in memory."""
    workers = config.workers or available_cores()
    index = first
    if workers == 1:
        while True:
            yield play_episode(game, config.behaviour, config.seed + index, config.episode_frames)
            index += 1
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _enter_worker)
    pending: deque[Future[Episode]] = deque()
    try:
        while True:
            while len(pending) < workers + 2:
                seed = config.seed + index
                pending.append(pool.submit(play_episode, game, config.behaviour, seed, config.episode_frames))
                index += 1
            yield pending.popleft().result()
    except BrokenProcessPool as error:
        advice = "run the same command again to go on, with fewer --workers if memory was short"
        raise OSError(f"a recording process ended unexpectedly; {advice}") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _enter_worker() -> None:
    """Leave Ctrl-C to the parent, and leave when the parent is gone: nobody would collect the work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"
    threading.Thread(target=_leave_with, args=(parent.sentinel,), daemon=True).start()


def _leave_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
