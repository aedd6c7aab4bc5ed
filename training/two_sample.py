"""Can anybody tell dreams from the game? A classifier two-sample test on clips of 16 frames.

A small network learns to tell clips of real play from dreamed ones and is asked about others (Lopez-Paz & Oquab 2017,
arXiv 1610.06545). Half of the right answers by chance means that dreams are as good as real, as far as this network
can see; how far it can see is what the controls say: real play against other real play, and against pictures that
stand still.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from models.world import World
from training.action_table import device_of
from training.dreams import held_codes
from training.held_out import Play, played_by
from training.metrics import Figure, balanced_interval
from training.rollouts import choose_spots, generator, read_clips, start_state

LENGTH = 16
"""Frames of a clip."""

HORIZONS = (16, 64, 256)
"""Frames after the last real one at which dreamed clips begin."""

FOLDS = 4
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeConfig:
    """How the network learns. steps: with `batch` clips of each kind in every one."""

    steps: int = 150
    batch: int = 8
    lr: float = 2e-3
    width: int = 16

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")


class Judge(nn.Module):
    """Clips uint8 [B, T, C, H, W] → how sure it is that each is not real, float [B].

    It sees every frame beside its difference from the one before; what is small and only somewhere counts by a maximum.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.see = nn.Sequential(
            nn.Conv2d(2 * channels, width, 5, stride=2, padding=2),
            nn.GELU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(2 * width, 3 * width, 3, stride=2, padding=1),
            nn.GELU(),
        )
        self.follow = nn.Sequential(
            nn.Conv3d(3 * width, 4 * width, 3, stride=(2, 1, 1), padding=1),
            nn.GELU(),
            nn.Conv3d(4 * width, 4 * width, 3, stride=(2, 2, 2), padding=1),
            nn.GELU(),
        )
        self.tell = nn.Sequential(nn.LayerNorm(8 * width), nn.Linear(8 * width, 1))

    def forward(self, clips: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → float [B]."""
        x = clips.float() / 127.5 - 1.0
        x = torch.cat([x[:, 1:], x[:, 1:] - x[:, :-1]], dim=2)  # [B, T-1, 2C, H, W]
        batch, frames = x.shape[:2]
        x = self.see(x.flatten(0, 1)).unflatten(0, (batch, frames)).transpose(1, 2)  # [B, D, T-1, h, w]
        x = self.follow(x).flatten(2)
        return self.tell(torch.cat([x.amax(-1), x.mean(-1)], dim=-1))[:, 0]


def told_apart(
    real: Tensor,
    other: Tensor,
    owners: tuple[NDArray[np.int64], NDArray[np.int64]],
    config: JudgeConfig,
    *,
    seed: int = 0,
) -> Figure:
    """Share of clips that a judge names rightly, both kinds weighing the same, with a bootstrap over their owners.

    real, other: uint8 [N, T, C, H, W] each; owners: int64 [N] each, the episode or dream that a clip is from, the same
    number for the same one. Clips of one owner are never in training and test at once: every owner is asked about once,
    by a judge that did not see it.
    """
    clips, kinds = torch.cat([real, other]), np.repeat([0, 1], [len(real), len(other)])
    folds = np.concatenate(_folds(owners, seed))
    right = np.zeros(len(clips), np.bool_)
    for fold in range(FOLDS):
        judge = _taught(clips, kinds, folds != fold, config, seed + fold)
        asked = np.flatnonzero(folds == fold)
        right[asked] = (_answers(judge, clips, asked) > 0) == kinds[asked]
    _, blocks = np.unique(np.concatenate(owners), return_inverse=True)
    hits, totals = np.zeros((2, int(blocks.max()) + 1, 2))
    np.add.at(totals, (blocks, kinds), 1)
    np.add.at(hits, (blocks[right], kinds[right]), 1)
    return balanced_interval(hits, totals, n=len(clips), seed=seed)


def _folds(owners: tuple[NDArray[np.int64], NDArray[np.int64]], seed: int) -> list[NDArray[np.int64]]:
    """Each clip's fold, one for all clips of an owner; both kinds are spread over all folds."""
    chosen: dict[int, int] = {}
    for kind, owned in enumerate(owners):
        names = np.unique(owned)
        if len(names) < FOLDS:
            raise ValueError(f"a two-sample test needs {FOLDS} episodes or dreams of each kind, found {len(names)}")
        order = np.random.default_rng([seed, kind]).permutation(len(names))
        chosen = {int(name): int(place) % FOLDS for name, place in zip(names, order, strict=True)} | chosen
    return [np.array([chosen[int(owner)] for owner in owned], np.int64) for owned in owners]


def two_sample(
    world: World,
    play: Play,
    *,
    dreams: int = 96,
    horizons: tuple[int, ...] = HORIZONS,
    config: JudgeConfig | None = None,
    seed: int = 0,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """For each horizon: `world`, dreamed clips against real ones. And the controls `real` and `copy`, see above.

    Dreams are under held random codes, so the real clips are of the behaviour `sticky` where there is any. All have as
    many clips: one a dream and horizon. Raises ValueError where there are too few episodes.
    """
    config, sticky = config or JudgeConfig(), played_by(play, "sticky")
    spots = choose_spots(sticky, LENGTH, 2 * dreams, seed + 6)
    real = torch.cat([clips.frames.cpu() for clips in read_clips(world, sticky, None, spots, LENGTH)])
    owners = np.array([episode for episode, _ in spots])
    even, odd = np.arange(0, len(spots), 2), np.arange(1, len(spots), 2)
    out: dict[str, Any] = {"length": LENGTH, "dreams": dreams, "clips": len(even), "world": {}}

    def asked(name: str, other: Tensor, owned: NDArray[np.int64]) -> dict[str, Any]:
        found = told_apart(real[even], other, (owners[even], owned), config, seed=seed).data()
        say(f"two-sample test, {name}: {found['value']:.2f}")
        return found

    out["real"] = asked("real play", real[odd], owners[odd])
    still = real[odd][:, :1].expand(-1, LENGTH, -1, -1, -1).contiguous()
    out["copy"] = asked("pictures that stand still", still, owners[odd])
    for horizon, clips in _dreamed(world, sticky, dreams, horizons, seed, say).items():
        out["world"][str(horizon)] = asked(f"dreams after {horizon} frames", clips, -1 - np.arange(len(clips)))
    return out


def _dreamed(
    world: World, play: Play, dreams: int, horizons: tuple[int, ...], seed: int, say: Say
) -> dict[int, Tensor]:
    """Clips uint8 [dreams, LENGTH, C, H, W] that begin so many frames after the last real one."""
    length = max(world.spec.context, 2)
    starts = [
        start_state(world, batch, generator(seed))
        for batch in read_clips(world, play, None, choose_spots(play, length, dreams, seed + 7), length)
    ]
    state = {name: torch.cat([part[name] for part in starts]) for name in starts[0]}
    count = len(next(iter(state.values())))
    last = max(horizons) + LENGTH - 1
    codes = torch.from_numpy(held_codes(count, last, len(world.spec.actions), seed + 8)).to(device_of(world))
    kept: dict[int, list[Tensor]] = {horizon: [] for horizon in horizons}
    rng = generator(seed + 9)
    with torch.no_grad():
        for step in range(1, last + 1):
            state = dict(world.step(state, codes[:, step - 1], rng))
            wanted = [frames for first, frames in kept.items() if first <= step < first + LENGTH]
            if wanted:
                shown = world.render(state).cpu().clone()
                for frames in wanted:
                    frames.append(shown)
            if step % 50 == 0:
                say(f"two-sample test: {step} of {last} frames of {count} dreams")
    return {horizon: torch.stack(frames, dim=1) for horizon, frames in kept.items()}


def _taught(clips: Tensor, kinds: NDArray[np.int64], seen: NDArray[np.bool_], config: JudgeConfig, seed: int) -> Judge:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = Judge(clips.shape[2], config.width)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=config.lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=config.steps, pct_start=0.1)
    rng, pools = np.random.default_rng([seed, 1]), [np.flatnonzero(seen & (kinds == kind)) for kind in (0, 1)]
    truth = torch.repeat_interleave(torch.arange(2.0), config.batch)
    for _ in range(config.steps):
        drawn = np.concatenate([rng.choice(pool, config.batch) for pool in pools])
        loss = F.binary_cross_entropy_with_logits(judge(clips[torch.from_numpy(drawn)]), truth)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return judge.eval()


@torch.no_grad()
def _answers(judge: Judge, clips: Tensor, asked: NDArray[np.int64], batch: int = 16) -> NDArray[np.float32]:
    parts = [judge(clips[torch.from_numpy(asked[first : first + batch])]) for first in range(0, len(asked), batch)]
    return np.asarray(torch.cat(parts).numpy(), np.float32)
