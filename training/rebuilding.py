"""How well an autoencoder or a tokenizer rebuilds held-out play, by itself: no dynamics needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.checkpoint import from_json, load_world
from models.conv_autoencoder import ConvAutoencoder
from models.tokenizer import PatchTokenizer
from models.world import WorldSpec
from training.evaluation import EvaluationOptions, tokenizer
from training.held_out import Play
from training.parts import frames_of
from training.presets import Experiment
from training.probes import probe_for
from training.rollouts import Sheet
from training.runs import read_json, read_part

Say = Callable[[str], None]


def open_rebuilder(folder: Path, play: Play) -> nn.Module:
    """The tokenizer of a world, or of a run in which it is trained already.

    Raises FileNotFoundError naming the checkpoints that are there, and ValueError for frames of another size.
    """
    found = play.manifest
    if (folder / "model.safetensors").is_file():
        world = load_world(folder)
        _check_size(folder, f"{world.spec.height}x{world.spec.width}", found.height, found.width)
        module: nn.Module = world.tokenizer
        return module.eval()
    if not (folder / "config.json").is_file():
        hint = "train one: dreamcade train GAME --family latent_ae"
        raise FileNotFoundError(f"neither a world nor a run at {folder}; {hint}")
    facts = read_json(folder / "config.json")
    _check_size(folder, frames_of(facts), found.height, found.width)
    experiment = from_json(Experiment, facts.get("experiment"), str(folder / "config.json"))
    module = experiment.family.tokenizer.build(WorldSpec(game=found.game, height=found.height, width=found.width))
    weights = read_part(folder, "tokenizer")
    if isinstance(module, PatchTokenizer):
        module.make_room(len(weights.get("book.patches", ())))
    module.load_state_dict(weights)
    return module.eval()


def _check_size(folder: Path, size: str | None, height: int, width: int) -> None:
    if size is not None and size != f"{height}x{width}":
        raise ValueError(f"{folder} rebuilds frames of {size}, the data set has frames of {height}x{width}")


def measure(module: nn.Module, play: Play, most: int, seed: int, say: Say) -> tuple[dict[str, Any], Sheet]:
    """Figures as in the scorecard's `tokenizer`, beside a constant picture and the frame before, and of continuous
    latents variance and norm of the mean over held-out play; and a sheet of real and rebuilt frames, see `pictures`."""
    found = play.manifest
    options = EvaluationOptions(most_frames=most, seed=seed)
    sample = np.stack([play.read(ref, 0, 2).frames[0] for ref in play.episodes])
    probe = probe_for(found.game, found.height, found.width)
    with torch.no_grad():
        rows, _ = tokenizer(module, play, probe, sample, options, say)  # type: ignore[arg-type]  # it rebuilds
        card: dict[str, Any] = {"data": {"game": found.game, "episodes": len(play.episodes)}, "frames": rows}
        if isinstance(module, ConvAutoencoder):
            card["latents"] = _latents(module, play, most)
    return card, pictures(module, play)


def _latents(module: ConvAutoencoder, play: Play, most: int) -> dict[str, float]:
    """`variance` of all latents as the encoder makes them, and `mean_norm`, the norm of their mean over the frames."""
    total, squares, count = torch.zeros(module.config.latent, dtype=torch.float64), 0.0, 0
    for frames in clips(play, most):
        latents = module.raw(module.seen(frames[None]))[:, : module.config.latent].double()
        total = total + latents.sum(dim=(0, 2, 3))
        squares, count = squares + float(latents.square().sum()), count + latents[:, 0].numel()
    mean = total / count
    overall = float(mean.mean())
    return {"variance": squares / (count * len(mean)) - overall**2, "mean_norm": float(mean.norm()), "n": float(count)}


@torch.inference_mode()
def pictures(module: nn.Module, play: Play, count: int = 10) -> Sheet:
    """Real frames and the same rebuilt, two rows [count] of uint8 [C, H, W]: the middle ones of episodes spread over
    all of the play, as those of one level look alike."""
    spread = np.linspace(0, len(play.episodes) - 1, min(count, len(play.episodes))).round().astype(int)
    chosen = [play.episodes[index] for index in spread]
    frames = [play.read(ref, ref.frames // 2 - 1, ref.frames // 2 + 1).frames[1] for ref in chosen]
    real = torch.from_numpy(np.stack(frames).transpose(0, 3, 1, 2).copy())
    rebuilt = module.reconstruct(real[:, None])[:, 0]  # type: ignore[operator]  # it rebuilds
    return [list(real), list(rebuilt)]


def clips(play: Play, most: int, length: int = 64) -> Iterator[Tensor]:
    """Clips uint8 [T, C, H, W], from the beginning of each episode, of about `most` frames in all."""
    each = max(2, most // len(play.episodes))
    for ref in play.episodes:
        for start in range(0, min(each, ref.frames - 1), length):
            stop = min(start + length, ref.frames)
            if stop - start >= 2:
                yield torch.from_numpy(play.read(ref, start, stop).frames.transpose(0, 3, 1, 2).copy())


def film(module: nn.Module, play: Play, frames: int) -> Iterator[NDArray[np.uint8]]:
    """Real and rebuilt frames side by side, uint8 [H, 2 W, 3], from the longest episode."""
    ref = max(play.episodes, key=lambda each: each.frames)
    for start in range(0, min(frames, ref.frames - 1), 64):
        stop = min(start + 64, ref.frames, frames)
        if stop - start < 2:
            return
        real = play.read(ref, start, stop).frames
        with torch.inference_mode():
            rebuilt = module.reconstruct(torch.from_numpy(real.transpose(0, 3, 1, 2).copy())[None])[0]  # type: ignore[operator]  # it rebuilds
        for one, other in zip(real, rebuilt.permute(0, 2, 3, 1).numpy(), strict=True):
            yield np.concatenate([one, other], axis=1)


def written(card: dict[str, Any]) -> str:
    """The figures as Markdown."""
    things = sorted({key for row in card["frames"].values() for key in row if key[-5:] in UNITS} - COLUMNS.keys())
    columns = COLUMNS | {key: f"round the {key[:-5]}, {UNITS[key[-5:]]}" for key in things}
    lines = [f"| | {' | '.join(columns.values())} | n |", "| --- " * (len(columns) + 2) + "|"]
    for name, row in card["frames"].items():
        cells = [f"{row[key]['value']:.3f}" if row.get(key, {}).get("value") is not None else "–" for key in columns]
        lines.append(f"| {name.replace('_', ' ')} | {' | '.join(cells)} | {row['psnr']['n']} |")
    if "latents" in card:
        told = card["latents"]
        lines += ["", f"latents: variance {told['variance']:.3f}, norm of their mean {told['mean_norm']:.3f}"]
    return "\n".join(lines)


COLUMNS = {"psnr": "PSNR, dB", "ssim": "SSIM", "moving_psnr": "moving pixels, dB"}
UNITS = {"_psnr": "dB", "_ssim": "SSIM"}


def as_json(card: dict[str, Any]) -> bytes:
    """The figures as JSON."""
    return (json.dumps(card, indent=1, allow_nan=False) + "\n").encode()
