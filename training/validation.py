"""What dynamics foretell of held-out play while they train: the next frame, beside the present one kept."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import nn

from models.given_actions import actions_between
from models.world import Window
from training.loop import Logs
from training.metrics import mse, psnr, ssim
from training.runs import VALIDATION, Run
from training.snapshots import Learned, with_dynamics
from training.windows import Windows

JUDGED, AT_ONCE = 64, 16
"""Windows of held-out play, and how many at a time."""
SHARE = 0.01
"""Of the time of training that it may take; of the checkpoints between, some are not judged."""


class Validation:
    """Reports, in val_metrics.jsonl of a run, squared error, PSNR in dB and SSIM of the next frame, and the same of
    `copy`, the present one kept. The windows are the same at every checkpoint."""

    def __init__(self, world: Learned, held_out: Windows, run: Run) -> None:
        self.world, self.run, self._next = world, run, 0.0
        length = world.spec.context + 1
        window = held_out.read(held_out.draw(np.random.default_rng(3), JUDGED, length), length)
        self.parts = []
        for frames, actions in zip(*(_split(tensor) for tensor in (window.frames, window.actions)), strict=True):
            known = Window(frames) if hasattr(world, "infer_actions") else Window(frames, actions)
            self.parts.append(Window(frames, actions_between(known, world).cpu()))
        copied = _means([_judged(part, part.frames[:, -2]) for part in self.parts])
        self.copied = {f"copy_{kind}": value for kind, value in copied.items()}

    @torch.inference_mode()
    def saw(self, dynamics: nn.Module, step: int, done: bool) -> None:
        """Judge the dynamics as they are after `step` steps; those that are done always."""
        began = time.monotonic()
        if began < self._next and not done:
            return
        world, rng = with_dynamics(self.world, dynamics), torch.Generator().manual_seed(0)
        found: list[Logs] = []
        for part in self.parts:
            assert part.actions is not None, "they were read beforehand"
            state = world.reset(Window(part.frames[:, :-1], part.actions[:, :-1]), rng)
            found.append(_judged(part, world.render(world.step(state, part.actions[:, -1], rng)).cpu()))
        self.run.report("dynamics", step, {**_means(found), **self.copied}, VALIDATION)
        ended = time.monotonic()
        self._next = ended + (ended - began) / SHARE


def _judged(part: Window, guess: torch.Tensor) -> Logs:
    truth = part.frames[:, -1]
    return {"mse": mse(truth, guess), "psnr": psnr(truth, guess), "ssim": ssim(truth, guess)}


def _means(found: list[Logs]) -> dict[str, float]:
    return {kind: float(torch.cat([one[kind] for one in found]).mean()) for kind in found[0]}


def _split(tensor: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
    assert tensor is not None, "recorded windows have actions"
    return torch.split(tensor, AT_ONCE)
