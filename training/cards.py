"""What a world says of itself: the facts in its config.json and the model card beside it."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from models.world import WorldSpec

if TYPE_CHECKING:
    from training.pipeline import Data
    from training.presets import Experiment


def facts_of(
    experiment: Experiment, data: Data, minutes: Mapping[str, float], extra: Mapping[str, Any]
) -> dict[str, Any]:
    """How a world came about, as plain JSON values."""
    manifests = [dataset.manifest for dataset in data.train.datasets]
    return {
        "experiment": asdict(experiment),
        "data": [
            {"game": found.game, "frames": found.frames, "behaviour": found.behaviour, "seed": found.seed}
            for found in manifests
        ],
        "train_frames": data.train.frames,
        "minutes": {key: round(value, 2) for key, value in minutes.items()},
        "machine": machine(),
        "commit": commit(),
        **extra,
    }


def machine() -> dict[str, Any]:
    """Processor, cores used, torch version."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        name = names[0] if names else name
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {"cpu": name, "threads": torch.get_num_threads(), "gpu": gpu, "torch": torch.__version__}


def commit() -> str:
    """The commit of the code that runs, or "unknown" outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def write_card(spec: WorldSpec, facts: Mapping[str, Any]) -> str:
    """The model card: what it is, what it was made of, what its codes do, how good it is."""
    lines = [
        f"# {spec.game}, dreamed",
        "",
        f"A world of {spec.height}x{spec.width} pixels at {spec.fps:g} frames a second with {len(spec.actions)} "
        + ("latent actions, found without labels." if spec.latent else "actions of the game itself."),
        "",
        "## Made of",
        "",
        *(f"- {item['frames']} frames of {item['game']}, behaviour `{item['behaviour']}`, seeds from {item['seed']}"
          for item in facts.get("data", [])),
        *_ways(facts),
        f"- machine: {facts.get('machine', {}).get('cpu')}, {facts.get('machine', {}).get('threads')} threads,"
        f" GPU: {facts.get('machine', {}).get('gpu') or 'none'}",
        f"- commit: {facts.get('commit')}",
        "",
    ]  # fmt: skip
    if spec.table is not None:
        what = "code" if spec.latent else "action"
        lines += [f"## What the {what}s do", "", f"| {what} | name | agreement | use |", "| --- | --- | --- | --- |"]
        rows = zip(spec.table.labels, spec.table.agreement, spec.table.usage, strict=True)
        called = [str(code) for code in range(len(spec.actions))] if spec.latent else spec.actions
        lines += [
            f"| {name} | {label} | {share:.0%} | {use:.1%} |"
            for name, (label, share, use) in zip(called, rows, strict=True)
        ]
        lines += ["", f"Real actions answer {spec.table.best_lag} step(s) late.", ""]
    return "\n".join(lines)


def _ways(facts: Mapping[str, Any]) -> list[str]:
    """The commands that made a world, the first one first, and what each took."""
    earlier = _ways(facts["from"]) if "from" in facts else []
    minutes = ", ".join(f"{part} {value:.1f}" for part, value in facts.get("minutes", {}).items())
    which = f", commit {facts.get('commit', 'unknown')}, weights {facts['weights']}" if "weights" in facts else ""
    return [*earlier, f"- command: `{facts.get('command', 'unknown')}`; minutes: {minutes or 'unknown'}{which}"]
