"""Clips that others made → a data set without actions.

Nobody noted what was pressed, so there is one action called `unknown` and every step has it; rewards are zero and no
end is marked, and `Manifest.knows_actions` is false. Latent actions need none of this: they are learned from pixels.

Clips are read twice: once to judge every frame, and once to write what is kept. So a film needs the memory of an
episode, and a file that breaks off in the middle is refused before anything is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from collectors.episode import Episode
from collectors.games import LARGEST_SIDE, SMALLEST_SIDE, Size, check_size, game_named
from collectors.manifest import UNKNOWN, Manifest
from collectors.packing import Packer, check_new, new_dataset
from collectors.quality import CODEC_NOISE, DROPPED, Piece, Report, found_lines, judge, summed
from collectors.video import Clip, clips_in
from collectors.writing import PACKED_BY

Frame = NDArray[np.uint8]
Progress = Callable[[int], None]

IMPORTED = "imported"  # who played: nobody knows
USUAL_FPS = 15.0
MOST_EPISODE = 256 << 20  # bytes of frames in one episode
NAMED = re.compile(r"[a-z0-9][a-z0-9_.:/-]{0,63}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportConfig:
    """How to import. size: (height, width) of the stored frames, the clips' own if None.

    fps: frames a second to keep, of a source that knows its own; elsewhere it is believed. stride: every how
    many frames one is kept. cuts: whether a new scene begins an episode; drop: whether black, frozen and menu frames
    are left out. episode_frames, shard_frames: as in `CollectConfig`. Raises ValueError naming the field.
    """

    game: str
    size: Size | None = None
    fps: float | None = None
    stride: int | None = None
    cuts: bool = True
    drop: bool = False
    episode_frames: int = 2000
    shard_frames: int = 4096

    def __post_init__(self) -> None:
        if not NAMED.fullmatch(self.game):
            raise ValueError(f"--game must be a short name in small letters, as pong, found '{self.game}'")
        if self.size is not None:
            check_size(self.size)
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise ValueError(f"fps must be in (0, 1000], found {self.fps:g}")
        if self.stride is not None and not 1 <= self.stride <= 10_000:
            raise ValueError(f"stride must be in [1, 10000], found {self.stride}")
        for name in ("episode_frames", "shard_frames"):
            if not 1 <= getattr(self, name) <= 10**9:
                raise ValueError(f"{name.replace('_', '-')} must be in [1, 1000000000], found {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sifted:
    """A clip, what was found in it, and which of its frames are kept.

    step: source frames from one frame looked at to the next; the numbers in the report and the pieces count those.
    """

    clip: Clip
    step: float
    report: Report
    pieces: tuple[Piece, ...]

    @property
    def kept(self) -> int:
        """Frames that are kept."""
        return sum(stop - start for start, stop in self.pieces)


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What an import did: the data set, clip by clip what was found, and what a user should be told."""

    manifest: Manifest
    sifted: tuple[Sifted, ...]
    dropped: bool
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values; frame numbers count the frames looked at, of which every `step`-th of the source is one."""
        clips = [
            {"path": str(one.clip.path), "step": one.step, "kept": one.kept, **one.report.to_json()}
            for one in self.sifted
        ]
        counts = {"episodes": self.manifest.episodes, "steps": self.manifest.steps, "frames": self.manifest.frames}
        return {**counts, "filtered": self.dropped, "clips": clips, "warnings": list(self.warnings)}

    def lines(self) -> list[str]:
        """The quality of what was read, for a person."""
        total = summed([one.report for one in self.sifted])
        kept = sum(one.kept for one in self.sifted)
        steps = sorted({one.step for one in self.sifted} - {1.0})
        every = f", one of every {' or '.join(f'{step:g}' for step in steps)}" if steps else ""
        lines = [f"looked at {total['frames']} frames{every}, kept {kept}"]
        for one in self.sifted:
            prefix = f"{one.clip.path.name}: " if len(self.sifted) > 1 else ""
            lines += [f"  {prefix}{line}" for line in found_lines(one.report, self.dropped)]
        if not self.dropped and any(total[kind] for kind in DROPPED):
            lines.append("  --filter leaves such frames out")
        return lines


def known_game(name: str) -> tuple[str, str]:
    """The id of a game of the table and no note; else the name itself, as a film may show any game, and a note."""
    try:
        return game_named(name).id, ""
    except ValueError as error:
        return name.strip().lower(), str(error)


def import_clips(source: Path, out: Path, config: ImportConfig, progress: Progress | None = None) -> Imported:
    """Write the clips of a file or folder as a new data set.

    `progress(frames)` is called after each frame looked at and each one written. Raises FileNotFoundError or
    ValueError naming the file when something cannot be read or nothing is left, OSError when `out` cannot be
    written; there is no data set then.
    """
    tell = progress or (lambda frames: None)
    check_new(out)
    clips = clips_in(source)
    size, fps, steps = _plan(clips, config)
    sifted = tuple(_sift(clip, step, size, fps, config, tell) for clip, step in zip(clips, steps, strict=True))
    warnings = list(dict.fromkeys(note for clip in clips for note in clip.notes))
    warnings += [text for one in sifted if (text := _broken_off(one))]
    if not any(one.pieces for one in sifted):
        found = ", ".join(f"{count} {kind}" for kind, count in summed([one.report for one in sifted]).items())
        raise ValueError(f"no two frames in a row are left of {source}: {found}; try without --filter or --stride")
    manifest = _manifest(source, clips, config, size, fps, round(max(steps)), tuple(warnings))
    most = max(1, min(config.episode_frames, MOST_EPISODE // (size[0] * size[1] * 3)))
    with new_dataset(out, manifest) as packer:
        for one in sifted:
            _write(packer, cut_up(_sampled(one.clip, one.step, size), one.pieces, most), tell)
    return Imported(manifest=packer.manifest, sifted=sifted, dropped=config.drop, warnings=tuple(warnings))


def _plan(clips: Sequence[Clip], config: ImportConfig) -> tuple[Size, float, list[float]]:
    """The frame size and frames a second of the data set, and the step of every clip."""
    plans = [_pace(clip, config) for clip in clips]
    for clip, (fps, _) in zip(clips, plans, strict=True):
        if abs(fps - plans[0][0]) > 0.01 * plans[0][0]:
            first = f"{clips[0].path.name} {plans[0][0]:g}"
            raise ValueError(f"{clip.path.name} has {fps:g} frames a second, {first}; choose one with --fps")
    return _size_of(clips, config.size), plans[0][0], [step for _, step in plans]


def _pace(clip: Clip, config: ImportConfig) -> tuple[float, float]:
    """Frames a second of what is kept, and source frames a step."""
    if clip.fps is None:
        return config.fps or USUAL_FPS, float(config.stride or 1)
    if config.fps is None:
        stride = config.stride or 1
        return clip.fps / stride, float(stride)
    if config.stride is not None:
        raise ValueError(
            f"--fps and --stride both choose among the {clip.fps:g} frames a second of {clip.path}; use one"
        )
    if config.fps > 1.001 * clip.fps:
        raise ValueError(f"{clip.path} has {clip.fps:g} frames a second; --fps {config.fps:g} asks for more")
    return config.fps, max(1.0, clip.fps / config.fps)


def _size_of(clips: Sequence[Clip], size: Size | None) -> Size:
    if size is not None:
        return size
    first = clips[0]
    for clip in clips:
        if (clip.height, clip.width) != (first.height, first.width):
            found, want = f"{clip.height}x{clip.width}", f"{first.height}x{first.width}"
            raise ValueError(f"{clip.path} has pictures of {found}, {first.path} of {want}; choose one with --size")
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in (first.height, first.width)):
        found = f"{first.height}x{first.width}, and sides from {SMALLEST_SIDE} to {LARGEST_SIDE} can be stored"
        raise ValueError(f"{first.path} has pictures of {found}; choose with --size, for example --size 104x80")
    return first.height, first.width


def _sift(clip: Clip, step: float, size: Size, fps: float, config: ImportConfig, tell: Progress) -> Sifted:
    frames = _counted(_sampled(clip, step, size), tell)
    report = judge(frames, fps, CODEC_NOISE if clip.lossy else 0)
    if report.frames == 0:
        raise ValueError(f"{clip.path}: not one frame could be read; it is empty, truncated or damaged")
    pieces = report.pieces(drop=config.drop, cuts=config.cuts)
    return Sifted(clip=clip, step=step, report=report, pieces=tuple(pieces))


def _counted(frames: Iterable[Frame], tell: Progress) -> Iterator[Frame]:
    for frame in frames:
        yield frame
        tell(1)


def _sampled(clip: Clip, step: float, size: Size) -> Iterator[Frame]:
    """Every step-th frame from the first one on, in the stored size."""
    due = 0
    for number, frame in enumerate(clip.read()):
        if number >= due * step - 1e-6:
            due += 1
            yield fitted(frame, size)


def fitted(frame: Frame, size: Size) -> Frame:
    """A frame uint8 [H, W, 3] in another size: averaged where it gets smaller, as while recording."""
    height, width = size
    if frame.shape[:2] == size:
        return frame
    smaller = height <= frame.shape[0] and width <= frame.shape[1]
    kind = cv2.INTER_AREA if smaller else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(frame, (width, height), interpolation=kind), np.uint8)


def cut_up(frames: Iterable[Frame], pieces: Sequence[Piece], most: int) -> Iterator[NDArray[np.uint8]]:
    """The pieces of a run of frames, each as stretches uint8 [T+1, H, W, 3] of at most `most` steps.

    Where a piece is longer, the next stretch begins with the last frame of the one before: no step is lost.
    """
    stream = enumerate(frames)
    for start, stop in pieces:
        held = list[Frame]()
        for number, frame in stream:
            if number >= start:
                held.append(frame)
            if len(held) == most + 1:
                yield np.stack(held)
                held = held[-1:]
            if number == stop - 1:
                break
        if len(held) > 1:
            yield np.stack(held)


def _write(packer: Packer, stretches: Iterable[NDArray[np.uint8]], tell: Progress) -> None:
    for frames in stretches:
        seed = packer.added
        packer.add(unlabelled(frames, seed))
        tell(len(frames))


def unlabelled(frames: NDArray[np.uint8], seed: int) -> Episode:
    """An episode of which nothing is known but its frames."""
    steps = len(frames) - 1
    return Episode(
        frames=frames,
        actions=np.zeros(steps, np.int64),
        rewards=np.zeros(steps, np.float32),
        ends=np.zeros(steps, np.bool_),
        seed=seed,
        behaviour=IMPORTED,
    )


def _manifest(
    source: Path,
    clips: Sequence[Clip],
    config: ImportConfig,
    size: Size,
    fps: float,
    skip: int,
    warnings: tuple[str, ...],
) -> Manifest:
    """The data set before its first shard."""
    return Manifest(
        game=config.game,
        height=size[0],
        width=size[1],
        fps=round(fps, 3),
        frame_skip=max(1, skip),
        pooled=1,
        action_names=UNKNOWN,
        object_names=(),
        behaviour=IMPORTED,
        seed=0,
        episode_frames=config.episode_frames,
        shard_frames=config.shard_frames,
        frames_requested=1,
        versions={"numpy": np.__version__, **PACKED_BY, "opencv": cv2.__version__},
        complete=True,
        notes=(f"imported from {source.name}; actions, rewards and ends are not known", *warnings),
        lossy=any(clip.lossy for clip in clips),
    )


def _broken_off(one: Sifted) -> str:
    """What to say of a clip that ends before it should."""
    said, seen = one.clip.frames, round(one.report.frames * one.step)
    if said is None or seen >= 0.98 * said - one.step - 1:
        return ""
    return f"{one.clip.path.name} says that it has {said} frames, and only about {seen} could be read"


def split_episode(episode: Episode, pieces: Sequence[Piece]) -> list[Episode]:
    """The pieces [start, stop) of an episode, in frames. All keep its seed, so that no split parts them."""
    columns: dict[str, Any] = {field.name: getattr(episode, field.name) for field in fields(episode)}
    arrays = {name: value for name, value in columns.items() if isinstance(value, np.ndarray)}
    parts = list[Episode]()
    for start, stop in pieces:
        of_frames, of_steps = slice(start, stop), slice(start, stop - 1)
        cut: dict[str, Any] = {
            name: value[of_frames if len(value) == len(episode.frames) else of_steps] for name, value in arrays.items()
        }
        parts.append(replace(episode, **cut))
    return parts
