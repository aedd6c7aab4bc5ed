"""Game × behaviour × engine → shards. Task i has the seed `seed + i` and owes nothing to any other.

A task is an episode, or several that all have its seed. It does not matter who plays a task, or when: an engine
(see engines.py) plays and packs, the parent writes the shards in order, and a recording that was interrupted goes on
after its last whole shard.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from collectors import novelty
from collectors.behaviours import Seen, behaviour_named, choose, weights_of
from collectors.drafts import only_writer, publish, remove_drafts
from collectors.engines import ENGINES, Engine, Kept, Packing, Part, engine_named
from collectors.episode import Episode
from collectors.games import Action, Game, Size, game_named
from collectors.machines import Machine, make_machine, versions_of
from collectors.manifest import NAME, Manifest, read_manifest
from collectors.shards import verify_shards
from collectors.verify import record_again
from collectors.writing import PACKED_BY, Packed, pack_shard, publish_shard

Progress = Callable[[int, int], None]
HIGHEST_SEED = 2**31
RUN = 1024  # transitions that a worker should play at a time: short episodes are not worth a message each
LONGEST_RUN = 32  # tasks
ROOM = 2048  # transitions that an episode has room for at first


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectConfig:
    """What to record. frames: transitions in all; episode_frames: transitions at which an episode is cut.

    shard_frames: a shard is closed when it has that many frames; levels: how many different seeds there are, after
    which the first comes again with another player's luck, 0 for no end; labels: tell where things are, also where that
    takes long; engine: who works, see engines.py; workers:
    processes, 0 for one a core. All but `engine` and `workers` decide the bytes. Raises ValueError naming the field.
    """

    game: str = "pong"
    frames: int = 200_000
    seed: int = 0
    behaviour: str = "mix"
    size: Size | None = None
    pooled: int | None = None
    labels: bool = False
    episode_frames: int = 2000
    shard_frames: int = 4096
    levels: int = 0
    engine: str = "local"
    workers: int = 0

    def __post_init__(self) -> None:
        for name in ("frames", "episode_frames", "shard_frames"):
            value = getattr(self, name)
            if not 1 <= value <= 10**9:
                raise ValueError(f"{name.replace('_', '-')} must be in [1, 1000000000], found {value}")
        if not 0 <= self.seed < HIGHEST_SEED:
            raise ValueError(f"seed must be in [0, {HIGHEST_SEED}), found {self.seed}")
        if not 0 <= self.levels <= HIGHEST_SEED - self.seed:
            raise ValueError(f"levels must be in [0, {HIGHEST_SEED - self.seed}], found {self.levels}")
        if not 0 <= self.workers <= 256:
            raise ValueError(f"workers must be in [0, 256], found {self.workers}")
        if self.engine not in ENGINES:
            raise ValueError(f"unknown engine '{self.engine}'; known: {', '.join(ENGINES)}")


class Task(NamedTuple):
    """What decides an episode beside game and behaviour. take: how often this seed was played before."""

    seed: int
    take: int


@lru_cache(maxsize=1)
def _machine(game: Game) -> Machine:
    """The machine of this process. It is reset with every episode and owes nothing to the one before."""
    return make_machine(game)


def play_episode(game: Game, behaviour: str, seed: int, most_steps: int, take: int = 0) -> Episode:
    """Play one episode: a pure function of its arguments. Cut after `most_steps` transitions."""
    rng = np.random.default_rng([seed, 1, take] if take else [seed, 1])
    name = choose(weights_of(behaviour, game), rng)
    player, machine = behaviour_named(name, game), _machine(game)
    player.reset(rng)
    frame, end = machine.reset(seed), False
    # Memory that was never touched costs nothing, and a frame is put where it stays.
    frames, objects = np.empty((min(most_steps, ROOM) + 1, *frame.shape), np.uint8), [machine.objects]
    frames[0] = frame
    actions, rewards, ends = list[Action](), list[float](), list[bool]()
    while len(actions) < most_steps and not end:
        action = player.act(Seen(frame, machine.ram))
        frame, reward, end = machine.step(action)
        if len(actions) + 1 == len(frames):
            frames = np.concatenate([frames, np.empty_like(frames)])
        frames[len(actions) + 1] = frame
        objects.append(machine.objects)
        actions.append(action)
        rewards.append(reward)
        ends.append(end)
    labels = [found for found in objects if found is not None]
    return Episode(
        frames=frames[: len(actions) + 1],
        actions=np.array(actions, np.float32 if game.continuous else np.int64),
        rewards=np.array(rewards, np.float32),
        ends=np.array(ends, np.bool_),
        objects=np.stack(labels) if labels else None,
        seed=seed,
        behaviour=name,
    )


def play_task(game: Game, behaviour: str, task: Task, most_steps: int) -> Iterator[Episode]:
    """The episodes of one task, a pure function of the arguments. Each is cut after `most_steps` transitions."""
    rng = np.random.default_rng([task.seed, 1])
    if choose(weights_of(behaviour, game), rng) == novelty.NAME:
        yield from novelty.expedition(_machine(game), game, task.seed, rng, most_steps)
    else:
        yield play_episode(game, behaviour, task.seed, most_steps, task.take)


def _play_tasks(game: Game, behaviour: str, tasks: Sequence[Task], most_steps: int) -> Iterator[Episode]:
    for task in tasks:
        yield from play_task(game, behaviour, task, most_steps)


def collect(config: CollectConfig, out: Path, progress: Progress | None = None) -> Manifest:
    """Record a data set into a folder, or go on with the one that is there.

    `progress(done, total)` is called after every episode, in transitions. Exactly `config.frames`
    transitions are recorded; the last episode is cut for that. Two runs of the same config give the
    same bytes, with any number of workers and however often they were interrupted. Episodes that were
    dropped from the folder by hand count as recorded and are not played again; shards that were damaged
    and set aside are. Raises ValueError when the folder holds another recording, OSError when it cannot be written.
    """
    game = game_named(config.game, config.size, config.pooled, config.labels)
    planned = plan(config, game)
    tell = progress or (lambda done, total: None)
    with only_writer(out):
        remove_drafts(out)

        def again(seed: int, before: int, most: int) -> Episode:
            task, skip = (Task(seed, before), 0) if config.levels else (Task(seed, 0), before)
            played = play_task(game, config.behaviour, task, config.episode_frames)
            episode = next(islice(played, skip, None), None)
            if episode is None:
                raise ValueError(f"seed {seed} has no {before + 1} episodes, a lost shard had; choose another --out")
            return _cut(episode, most)

        manifest = record_again(_continue_from(planned, out), out, again)
        if manifest.complete:
            tell(manifest.recorded_steps, config.frames)
            return manifest
        with closing(engine_named(config.engine, config.workers)) as engine:
            return _Recording(config, game, engine, out, manifest).run(tell)


def plan(config: CollectConfig, game: Game) -> Manifest:
    """The manifest of a recording before its first shard."""
    if novelty.NAME in weights_of(config.behaviour, game):
        novelty.check(make_machine(game), game, config.levels)
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
        versions={**versions_of(game), "numpy": np.__version__, **PACKED_BY},
        continuous=game.continuous,
        levels=config.levels,
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


@dataclass(slots=True)
class _Recording:
    """A recording on its way. waiting: parts of the next shard; packing: shards that are not written yet, in order."""

    config: CollectConfig
    game: Game
    engine: Engine
    out: Path
    manifest: Manifest
    waiting: list[Part] = field(default_factory=list)
    packing: deque[Packing] = field(default_factory=deque)

    def run(self, tell: Progress) -> Manifest:
        """Pack episodes into shards until the transitions are together."""
        config, done = self.config, self.manifest.recorded_steps
        tell(done, config.frames)
        for part in self._parts(config.frames - done):
            steps = min(part.steps, config.frames - done)
            self.waiting.append(part._replace(steps=steps))
            done += steps
            tell(done, config.frames)
            complete = done == config.frames
            if complete or sum(one.steps + 1 for one in self.waiting) >= config.shard_frames:
                cut = partial(_pack, tuple(one.steps for one in self.waiting))
                self.packing.append(self.engine.pack(cut, self.waiting))
                self.waiting = []
            while self.packing and (complete or self.packing[0].done() or len(self.packing) > self.engine.workers):
                self._write(self.packing.popleft().result(), complete and not self.packing)
            if complete:
                break
        return self.manifest

    def _write(self, packed: Packed, complete: bool) -> None:
        manifest = self.manifest
        shard = publish_shard(self.out, manifest.free_number, packed, manifest.episodes)
        self.manifest = replace(manifest, shards=(*manifest.shards, shard), complete=complete)
        publish(self.out / NAME, self.manifest.to_json().encode())

    def _parts(self, left: int) -> Iterator[Part]:
        """The episodes that are still to be recorded, without end and in order; left: transitions to come.

        How many tasks a worker gets at a time depends on how long their episodes turn out to be.
        """
        task, done = self._reached()
        run, played, steps = 1, 0, 0
        pending = deque[tuple[Kept, int]]()
        while True:
            while len(pending) < self.engine.ahead:
                tasks = tuple(self._task(task + index) for index in range(run))
                call = partial(_play_tasks, self.game, self.config.behaviour, tasks, self.config.episode_frames)
                pending.append((self.engine.play(call), run))
                task += run
            kept, count = pending.popleft()
            lengths = kept.steps()
            for place, length in islice(enumerate(lengths), done, None):
                yield Part(kept, place, length)
            done, played, steps = 0, played + count, steps + sum(lengths)
            if self.engine.workers > 1:
                each = steps / played
                run = int(max(1, min(RUN // each, LONGEST_RUN, (left - steps) / each / self.engine.ahead)))

    def _task(self, number: int) -> Task:
        take, place = divmod(number, self.config.levels) if self.config.levels else (0, number)
        return Task(self.config.seed + place, take)

    def _reached(self) -> tuple[int, int]:
        """The task to go on with, and how many of its episodes are recorded already. Those dropped since count."""
        manifest = self.manifest
        if self.config.levels:
            return manifest.recorded_episodes, 0
        seeds = [seed for shard in manifest.shards for seed in shard.seeds]
        seeds += [episode.seed for episode in manifest.dropped]
        last = max(seeds, default=self.config.seed)
        return last - self.config.seed, seeds.count(last)


def _pack(steps: Sequence[int], episodes: Sequence[Episode]) -> Packed:
    return pack_shard([_cut(episode, length) for episode, length in zip(episodes, steps, strict=True)])


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
