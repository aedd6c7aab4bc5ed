"""How well a world foretells real play: short roll-outs from held-out clips, beside copying and the tokenizer.

Every figure is a mean over clips with a bootstrap interval over clips. Contexts are real frames;
actions are what the world reads off the true frames, or the recorded ones if its ids are the game's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.world import InfersActions, Reconstructs, State, Window, World
from training.action_table import device_of, objects_of
from training.held_out import Play
from training.metrics import (
    Figure,
    around,
    interval,
    masked_mse,
    mean_interval,
    moving_mask,
    moving_psnr,
    mse,
    psnr,
    ssim,
)
from training.probes import Probe, near, paddle_near

HORIZONS = (1, 4, 10, 30, 50, 100)
EARLY = 10
DELTA_STEP = 4
DELTA_DRAWS = 5
BATCH = 32

Scores = dict[str, list[NDArray[np.float64]]]
Sheet = list[list[Tensor]]
"""Rows of frames, each uint8 [C, H, W], for a contact sheet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clips:
    """Some clips of real play. frames: uint8 [B, T, C, H, W]; actions: int64 [B, T-1], ids the world accepts.

    moved: bool [B], whether the player moves at least one pixel within DELTA_STEP steps of the
    context's last frame, or None where nothing shows the player.
    """

    frames: Tensor
    actions: Tensor
    moved: NDArray[np.bool_] | None


def generator(seed: int) -> torch.Generator:
    """A seeded generator on the CPU, as worlds want it wherever their weights are."""
    return torch.Generator().manual_seed(seed)


def choose_spots(dataset: Play, length: int, count: int, seed: int) -> list[tuple[int, int]]:
    """`count` places (episode, first frame) at which `length` frames fit, evenly spread from a seeded offset."""
    room = np.array([max(0, reference.frames + 1 - length) for reference in dataset.episodes])
    total = int(room.sum())
    if total == 0:
        longest = max((reference.frames for reference in dataset.episodes), default=0)
        raise ValueError(f"evaluation needs episodes of {length} frames, the longest here has {longest}; record longer")
    count = min(count, total)
    offset = np.random.default_rng(seed).random()
    places = np.floor((np.arange(count) + offset) * total / count).astype(int)
    edges = np.cumsum(room)
    owner = np.searchsorted(edges, places, side="right")
    return [(int(e), int(p - edges[e] + room[e])) for e, p in zip(owner, places, strict=True)]


def accepted_actions(world: World, dataset: Play, frames: Tensor, recorded: Tensor) -> Tensor:
    """Action ids for `step` that go with true frames [B, T, C, H, W]: int64 [B, T-1], on the world's device."""
    if isinstance(world, InfersActions):
        return world.infer_actions(frames.to(device_of(world)))
    if len(world.spec.actions) != len(dataset.manifest.action_names):
        found = f"{len(world.spec.actions)} actions and cannot infer them"
        raise ValueError(f"world has {found}; the data set records {len(dataset.manifest.action_names)}")
    return recorded.to(device_of(world))


def read_clips(
    world: World, dataset: Play, probe: Probe | None, spots: list[tuple[int, int]], length: int
) -> Iterator[Clips]:
    """The clips at some spots, BATCH at a time."""
    present = world.spec.context - 1
    for first in range(0, len(spots), BATCH):
        frames, actions, moved = [], [], []
        for number, start in spots[first : first + BATCH]:
            episode = dataset.read(dataset.episodes[number], start, start + length)
            frames.append(torch.from_numpy(episode.frames.transpose(0, 3, 1, 2).copy()))
            actions.append(torch.from_numpy(episode.actions))
            objects, names = objects_of(episode, dataset, probe)
            if objects is not None and "player" in names:
                path = objects[present : present + DELTA_STEP + 1, names.index("player")]
                moved.append(bool((path[:, 0] > 0.5).all() and np.abs(path[:, 1:] - path[0, 1:]).max() >= 1))
        stacked = torch.stack(frames).to(device_of(world))
        yield Clips(
            frames=stacked,
            actions=accepted_actions(world, dataset, stacked, torch.stack(actions)),
            moved=np.array(moved) if moved else None,
        )


def start_state(world: World, clips: Clips, rng: torch.Generator) -> State:
    """The state after the first `context` frames of the clips."""
    context = world.spec.context
    return world.reset(Window(clips.frames[:, :context], clips.actions[:, : context - 1]), rng)


def roll(world: World, state: State, actions: Tensor, rng: torch.Generator) -> list[Tensor]:
    """The frames uint8 [B, C, H, W] that follow a state under actions [B, K]."""
    out = []
    for step in range(actions.shape[1]):
        state = world.step(state, actions[:, step], rng)
        out.append(world.render(state))
    return out


def score_frames(before: Tensor, truth: Tensor, guess: Tensor, probe: Probe | None) -> dict[str, NDArray[np.float64]]:
    """Every picture metric of frames [B, C, H, W], one value a frame; NaN where it does not apply.

    `exact`: is every pixel right; `ball`: of frames with exactly one ball, is one within 2 px;
    `player`, `enemy`: of frames that show the paddle, is its centre within 2 px.
    """
    before, truth, guess = before.cpu(), truth.cpu(), guess.cpu()
    out = {"psnr": psnr(truth, guess), "ssim": ssim(truth, guess), "moving_psnr": moving_psnr(before, truth, guess)}
    out |= {"mse": mse(truth, guess), "exact": (truth == guess).flatten(1).all(1)}
    scores = {name: value.numpy().astype(np.float64) for name, value in out.items()}
    if probe is not None:
        real, shown = (probe.detect(frame.permute(0, 2, 3, 1).numpy()) for frame in (truth, guess))
        scores["ball"] = np.where(real.balls == 1, near(real, shown), np.nan)
        for name in real.paddles:
            hit = paddle_near(real.paddles[name], shown.paddles[name])
            scores[name] = np.where(real.paddles[name].visible, hit, np.nan)
    return scores


def score_things(
    names: Sequence[str], objects: NDArray[np.float32] | None, truth: Tensor, guess: Tensor
) -> dict[str, NDArray[np.float64]]:
    """PSNR and SSIM of the squares round each thing that labels [B, K, 3] show in frames [B, C, H, W], one value a
    frame that shows it; nothing without labels."""
    scores: dict[str, NDArray[np.float64]] = {}
    if objects is None:
        return scores
    for column, name in enumerate(names):
        there = np.flatnonzero(objects[:, column, 0])
        if not len(there):
            continue
        real, shown = (around(objects[there, column, 1:], frames[there]) for frames in (truth, guess))
        for kind, metric in (("psnr", psnr), ("ssim", ssim)):
            scores[f"{name}_{kind}"] = metric(real, shown).numpy().astype(np.float64)
    return scores


def prediction(
    world: World,
    dataset: Play,
    probe: Probe | None,
    *,
    clips: int,
    seed: int,
    horizons: tuple[int, ...] = HORIZONS,
    lpips: Callable[[Tensor, Tensor], Tensor] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[dict[str, Any], Sheet]:
    """Rows `world`, `copy_last_frame`, `tokenizer` at each horizon, Δ4 PSNR, and a sheet of the first clips.

    `first_frames` holds averages over the first EARLY frames, as roll-outs on CoinRun are told of elsewhere
    (GenieRedux, arXiv 2409.06445).
    """
    context, furthest = world.spec.context, max((*horizons, DELTA_STEP))
    spots = choose_spots(dataset, context + furthest, clips, seed)
    rng, draw = generator(seed), generator(seed + 1)
    found: dict[tuple[str, int], Scores] = defaultdict(lambda: defaultdict(list))
    deltas: list[NDArray[np.float64]] = []
    moved: list[NDArray[np.bool_]] = []
    sheet: Sheet = []
    early: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for batch in read_clips(world, dataset, probe, spots, context + furthest):
        start = start_state(world, batch, rng)
        dreamed = roll(world, start, batch.actions[:, context - 1 :], rng)
        if len(dreamed) >= EARLY:
            truth = batch.frames[:, context : context + EARLY]
            copied = batch.frames[:, context - 1 : context].expand_as(truth)
            for row, guess in (("world", torch.stack(dreamed[:EARLY], dim=1)), ("copy_last_frame", copied)):
                early[row].append(_over(truth, guess))
        for horizon in horizons:
            for row, guess in _rows(world, batch, dreamed, horizon):
                at = context - 1 + horizon
                truth = batch.frames[:, at]
                for name, value in score_frames(batch.frames[:, at - 1], truth, guess, probe).items():
                    found[row, horizon][name].append(value)
                if lpips is not None:
                    found[row, horizon]["lpips"].append(lpips(truth.cpu(), guess.cpu()).double().numpy())
        deltas.append(_delta(world, start, batch, dreamed[DELTA_STEP - 1], draw))
        moved.append(batch.moved if batch.moved is not None else np.zeros(len(batch.frames), bool))
        sheet = sheet or _sheet(batch, dreamed, context)
        say(f"prediction: {sum(len(d) for d in deltas)} of {len(spots)} clips")
    rows: dict[str, Any] = {}
    for (row, horizon), scores in found.items():
        figures = {name: mean_interval(np.concatenate(v), seed=seed).data() for name, v in scores.items()}
        rows.setdefault(row, {})[str(horizon)] = figures
    rows |= _delta_figures(np.concatenate(deltas), np.concatenate(moved), seed)
    for row, scores_over in early.items():
        both = np.concatenate(scores_over)
        figures = {name: mean_interval(both[:, i], seed=seed).data() for i, name in enumerate(("psnr", "ssim"))}
        rows.setdefault("first_frames", {"frames": EARLY})[row] = figures
    return rows, sheet


def _over(truth: Tensor, guess: Tensor) -> NDArray[np.float64]:
    """PSNR and SSIM of frames [B, T, C, H, W], averaged over T: [B, 2]."""
    batch, frames = truth.shape[:2]
    found = [metric(truth.flatten(0, 1), guess.flatten(0, 1)).reshape(batch, frames) for metric in (psnr, ssim)]
    return torch.stack([one.mean(dim=1) for one in found], dim=1).cpu().numpy().astype(np.float64)


def code_gain(world: World, dataset: Play, probe: Probe | None, *, clips: int, seed: int) -> Figure:
    """Error of the next frame's moving pixels with shuffled codes over that with inferred ones; 1: codes tell nothing.

    One step a clip. The shuffled code is another clip's, from the same batch.
    """
    context = world.spec.context
    spots = choose_spots(dataset, context + 1, clips, seed + 2)
    order = np.random.default_rng(seed).permutation(len(spots))  # neighbours in time must not swap codes
    wrong: list[NDArray[np.float64]] = []
    right: list[NDArray[np.float64]] = []
    for batch in read_clips(world, dataset, probe, [spots[i] for i in order], context + 1):
        code = batch.actions[:, context - 1]
        start = start_state(world, batch, generator(seed))
        before, truth = batch.frames[:, context - 1], batch.frames[:, context]
        mask = moving_mask(before, truth)
        for errors, action in ((right, code), (wrong, code.roll(1))):
            guess = world.render(world.step(start, action, generator(seed + 3)))
            errors.append(masked_mse(truth, guess, mask).cpu().numpy().astype(np.float64))
    above, below = np.concatenate(wrong), np.concatenate(right)
    known = np.isfinite(above) & np.isfinite(below)
    # A perfect world has no error at all; one part in 10^8 keeps the ratio finite.
    return interval(above[known] + 1e-8, below[known] + 1e-8, n=int(known.sum()), seed=seed)


def _rows(world: World, clips: Clips, dreamed: list[Tensor], horizon: int) -> Iterator[tuple[str, Tensor]]:
    context = world.spec.context
    yield "world", dreamed[horizon - 1]
    yield "copy_last_frame", clips.frames[:, context - 1]
    if isinstance(world, Reconstructs):
        yield "tokenizer", world.reconstruct(clips.frames[:, horizon : horizon + context])[:, -1]


def _delta(world: World, start: State, clips: Clips, inferred: Tensor, draw: torch.Generator) -> NDArray[np.float64]:
    """PSNR and mse of the frame dreamed with inferred codes, then their means over DELTA_DRAWS random ones: [B, 4]."""
    truth = clips.frames[:, world.spec.context - 1 + DELTA_STEP]
    shape = (len(truth), DELTA_STEP)
    chance = []
    for _ in range(DELTA_DRAWS):
        codes = torch.randint(len(world.spec.actions), shape, generator=draw).to(truth.device)
        chance.append(roll(world, start, codes, draw)[-1])
    wild = [torch.stack([metric(truth, guess) for guess in chance]).mean(0) for metric in (psnr, mse)]
    return torch.stack([psnr(truth, inferred), mse(truth, inferred), *wild], 1).cpu().numpy().astype(np.float64)


def _delta_figures(found: NDArray[np.float64], moved: NDArray[np.bool_], seed: int) -> dict[str, Any]:
    """Δ4 PSNR (Genie, arXiv 2402.15391: inferred less random, dB) over all clips and those where the player moves.

    `delta4_pooled_db` is 10 log10 of the ratio of mean errors: unlike the mean of PSNRs it does not
    depend on the cap that perfect frames get.
    """
    out: dict[str, Any] = {"delta4_psnr": {}, "delta4_pooled_db": {}}
    for name, rows in (("all", found), ("player_moves", found[moved])):
        out["delta4_psnr"][name] = mean_interval(rows[:, 0] - rows[:, 2], seed=seed).data()
        ratio = interval(rows[:, 3] + 1e-8, rows[:, 1] + 1e-8, n=len(rows), seed=seed)
        out["delta4_pooled_db"][name] = ratio.decibels().data()
    return out


def _sheet(clips: Clips, dreamed: list[Tensor], context: int) -> Sheet:
    """The first four clips: the real row above the dreamed row."""
    shown = [h for h in (1, 2, 3, 4, 6, 8, 10, 15, 20, 30, 40, 50) if h <= len(dreamed)]
    sheet: Sheet = []
    for clip in range(min(4, len(clips.frames))):
        sheet.append([clips.frames[clip, context - 1 + h].cpu() for h in shown])
        sheet.append([dreamed[h - 1][clip].cpu() for h in shown])
    return sheet
