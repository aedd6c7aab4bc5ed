"""What is in a data set: numbers for a table, and a sheet of frames to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from collectors.drafts import publish
from collectors.shards import Dataset, split_of

SHEET_ROWS, SHEET_COLUMNS = 8, 10


def inspect_dataset(dataset: Dataset) -> dict[str, Any]:
    """Counts, returns, actions, splits and bytes of a data set; plain values, fit for JSON.

    `returns` has, for each behaviour, its number of episodes and the mean, lowest and highest sum of
    rewards; `actions` counts action ids by name, `latents` latent ones where they are known; `controls` has mean and
    standard deviation of each continuous action instead; `sources` counts
    real and dreamed episodes and `worlds` names the worlds that dreamed; `bytes` is what the shards take on disk
    and `raw_bytes` what the frames would take in memory.
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


def contact_sheet(dataset: Dataset, rows: int = SHEET_ROWS, columns: int = SHEET_COLUMNS) -> NDArray[np.uint8]:
    """Up to `rows` episodes spread over the data set, each as `columns` frames spread over it.

    Returns uint8 [rows * (H + 2), columns * (W + 2), 3], RGB, with grey lines between the frames.
    """
    picked = sorted(set(np.linspace(0, len(dataset.episodes) - 1, rows).round().astype(int).tolist()))
    lines = []
    for episode in picked:
        ref = dataset.episodes[episode]
        moments = np.linspace(0, ref.frames - 2, columns).round().astype(int).tolist()
        tiles = [dataset.read(ref, moment, moment + 2).frames[0] for moment in moments]
        padded = [np.pad(tile, ((0, 2), (0, 2), (0, 0)), constant_values=96) for tile in tiles]
        lines.append(np.concatenate(padded, axis=1))
    return np.concatenate(lines)


def write_sheet(dataset: Dataset, path: Path) -> None:
    """Write the contact sheet as a PNG. Raises OSError when the place cannot be written."""
    done, encoded = cv2.imencode(".png", contact_sheet(dataset)[..., ::-1])
    assert done, "a sheet of uint8 pixels is always a png"
    publish(path, encoded.tobytes())
