"""What is in a data set: numbers for a table, and a sheet of frames to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from collectors.drafts import publish
from collectors.quality import CODEC_NOISE, Report, judge, summed
from collectors.shards import Dataset, EpisodeRef, split_of

SHEET_ROWS, SHEET_COLUMNS = 8, 10
SHEET_WIDTH, MARGIN, LETTERS = 1600, 132, 15  # pixels: about how wide a sheet is, room for words, how large they are
ROOM, INK, PALE = (18, 20, 26), (236, 234, 226), (150, 154, 166)
STRETCH_BYTES = 32 << 20  # of frames that are judged at a time
Progress = Callable[[int, int], None]


def inspect_dataset(dataset: Dataset) -> dict[str, Any]:
    """Counts, returns, actions, splits and bytes of a data set; plain values, fit for JSON.

    `returns` has, for each behaviour, its number of episodes and the mean, lowest and highest sum of
    rewards; `actions` counts action ids by name, `latents` latent ones where they are known; `controls` has mean and
    standard deviation of each continuous action instead; `sources` counts
    real and dreamed episodes and `worlds` names the worlds that dreamed; `bytes` is what the shards take on disk
    and `raw_bytes` what the frames would take in memory; `lengths` are of episodes, in transitions. Where
    `knows_actions` is false, actions, rewards and ends are placeholders.
    """
    manifest = dataset.manifest
    actions = np.zeros(len(manifest.action_names), np.int64)
    latents = np.zeros(len(manifest.latent_names), np.int64)
    returns: dict[str, list[float]] = {}
    pushed: list[NDArray[np.float32]] = []
    for index in range(len(manifest.shards)):
        columns = dataset.columns(index, ("actions", "rewards", *(("latent",) if len(latents) else ())))
        if manifest.continuous:
            pushed.append(columns["actions"])
        else:
            actions += np.bincount(columns["actions"], minlength=len(actions))
        if len(latents):
            latents += np.bincount(columns["latent"] + 1, minlength=len(latents) + 1)[1:]
        for ref in (ref for ref in dataset.episodes if ref.shard == index):
            first = ref.start - ref.index
            total = float(columns["rewards"][first : first + ref.steps].sum())
            returns.setdefault(ref.behaviour, []).append(total)
    splits = dict.fromkeys(("train", "validation", "test"), 0)
    for ref in dataset.episodes:
        splits[split_of(ref.seed, manifest.game)] += 1
    return {
        "game": manifest.game,
        "size": [manifest.height, manifest.width],
        "fps": manifest.fps,
        "complete": manifest.complete,
        "shards": len(manifest.shards),
        "episodes": manifest.episodes,
        "frames": manifest.frames,
        "steps": manifest.steps,
        "steps_requested": manifest.frames_requested,
        "dropped": {"episodes": len(manifest.dropped), "steps": manifest.recorded_steps - manifest.steps},
        "behaviour": manifest.behaviour,
        "seed": manifest.seed,
        "objects": list(manifest.object_names),
        "returns": {name: _summary(values) for name, values in sorted(returns.items())},
        "actions": {} if pushed else dict(zip(manifest.action_names, actions.tolist(), strict=True)),
        "controls": _controls(manifest.action_names, pushed),
        "latents": dict(zip(manifest.latent_names, latents.tolist(), strict=True)),
        "sources": {"real": manifest.episodes - manifest.dreamed, "dream": manifest.dreamed},
        "worlds": sorted({ref.world for ref in dataset.episodes} - {""}),
        "splits": splits,
        "bytes": sum((dataset.folder / shard.file).stat().st_size for shard in manifest.shards),
        "raw_bytes": manifest.frames * manifest.height * manifest.width * 3,
        "lengths": _summary([float(ref.steps) for ref in dataset.episodes]),
        "knows_actions": manifest.knows_actions,
        "lossy": manifest.lossy,
        "notes": list(manifest.notes),
    }


def _controls(names: Sequence[str], pushed: list[NDArray[np.float32]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of each continuous action."""
    if not pushed:
        return {}
    column = np.concatenate(pushed).astype(np.float64)
    spread = zip(names, column.mean(0).tolist(), column.std(0).tolist(), strict=True)
    return {name: {"mean": round(mean, 4), "std": round(std, 4)} for name, mean, std in spread}


def _summary(values: list[float]) -> dict[str, float | int]:
    return {
        "episodes": len(values),
        "mean": round(sum(values) / len(values), 3),
        "low": min(values),
        "high": max(values),
    }


def quality(dataset: Dataset, progress: Progress | None = None) -> dict[str, Any]:
    """What is wrong with the frames, see collectors/quality.py: counts over all, and the episodes with findings.

    `progress(done, total)` counts episodes. Raises ValueError when a shard's bytes are damaged.
    """
    manifest = dataset.manifest
    reports = list[Report]()
    for done, ref in enumerate(dataset.episodes, start=1):
        reports.append(judge(_frames(dataset, ref), manifest.fps, CODEC_NOISE if manifest.lossy else 0))
        if progress is not None:
            progress(done, len(dataset.episodes))
    pairs = zip(dataset.episodes, enumerate(reports), strict=True)
    episodes = [{"episode": index, "seed": ref.seed, **one.to_json()} for ref, (index, one) in pairs if one.findings]
    return {**summed(reports), "episodes": episodes}


def _frames(dataset: Dataset, ref: EpisodeRef) -> Iterator[NDArray[np.uint8]]:
    """The frames of an episode one by one, read in stretches."""
    stretch = max(2, STRETCH_BYTES // (dataset.manifest.height * dataset.manifest.width * 3))
    start = 0
    while start < ref.frames:
        stop = min(start + stretch, ref.frames)
        early = min(start, stop - 2)  # a stretch has two frames at least
        yield from dataset.read(ref, early, stop).frames[start - early :]
        start = stop


def _picked(dataset: Dataset, rows: int) -> list[int]:
    """Up to `rows` episodes spread over the data set."""
    return sorted(set(np.linspace(0, len(dataset.episodes) - 1, rows).round().astype(int).tolist()))


def contact_sheet(dataset: Dataset, rows: int = SHEET_ROWS, columns: int = SHEET_COLUMNS) -> NDArray[np.uint8]:
    """Up to `rows` episodes spread over the data set, each as `columns` frames spread over it.

    Returns uint8 [rows * (H + 2), columns * (W + 2), 3], RGB, with grey lines between the frames.
    """
    lines = []
    for episode in _picked(dataset, rows):
        ref = dataset.episodes[episode]
        moments = np.linspace(0, ref.frames - 2, columns).round().astype(int).tolist()
        tiles = [dataset.read(ref, moment, moment + 2).frames[0] for moment in moments]
        padded = [np.pad(tile, ((0, 2), (0, 2), (0, 0)), constant_values=96) for tile in tiles]
        lines.append(np.concatenate(padded, axis=1))
    return np.concatenate(lines)


def titled_sheet(dataset: Dataset, rows: int = SHEET_ROWS, columns: int = SHEET_COLUMNS) -> NDArray[np.uint8]:
    """The contact sheet as a person wants it: larger, and with words about each episode beside its frames.

    Returns uint8 [H, W, 3], RGB. Frames are enlarged by whole numbers, so a pixel stays a square.
    """
    manifest, plain = dataset.manifest, contact_sheet(dataset, rows, columns)
    scale = max(1, round(SHEET_WIDTH / plain.shape[1]))
    large = plain.repeat(scale, axis=0).repeat(scale, axis=1)
    head = 3 * LETTERS
    image = Image.new("RGB", (MARGIN + large.shape[1], head + large.shape[0]), ROOM)
    image.paste(Image.fromarray(large), (MARGIN, head))
    draw, row_height = ImageDraw.Draw(image), scale * (manifest.height + 2)
    title = f"{manifest.game}, {manifest.height}x{manifest.width}, {manifest.steps} transitions in {manifest.episodes}"
    draw.text((LETTERS, LETTERS), f"{title} episodes, {manifest.behaviour}", INK, ImageFont.load_default(LETTERS + 2))
    for row, index in enumerate(_picked(dataset, rows)):
        top = head + row * row_height
        for line, (words, ink) in enumerate(_caption(dataset, index)):
            if (line + 1) * (LETTERS + 3) <= row_height:
                place = (LETTERS, top + line * (LETTERS + 3))
                draw.text(place, words, ink, ImageFont.load_default(LETTERS))
    return np.asarray(image)


def _caption(dataset: Dataset, index: int) -> list[tuple[str, tuple[int, int, int]]]:
    """What to say about an episode, the most telling first."""
    ref = dataset.episodes[index]
    rewards = dataset.columns(ref.shard, ("rewards",))["rewards"][ref.start - ref.index :][: ref.steps]
    total = [(f"return {rewards.sum():g}", INK)] if dataset.manifest.knows_actions else []
    return [(f"episode {index}", INK), (ref.behaviour[:14], INK), *total, (f"{ref.steps} steps", PALE)]


def write_sheet(dataset: Dataset, path: Path) -> None:
    """Write the titled sheet as a PNG. Raises OSError when the place cannot be written."""
    done, encoded = cv2.imencode(".png", titled_sheet(dataset)[..., ::-1])
    assert done, "a sheet of uint8 pixels is always a png"
    publish(path, encoded.tobytes())
