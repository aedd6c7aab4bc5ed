"""What the latent codes do: read off real play after training, and used for nothing but names.

The emulator answers late, so code × real action is counted for several lags, and a code is named
by what it does to the player (UP), not by the button that was pressed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from collectors.episode import Episode
from models.world import ActionTable, InfersActions, World
from training.held_out import Play, parts_of
from training.metrics import code_usage, count_table, mutual_information, run_lengths
from training.probes import Probe, probe_for
from training.windows import Windows

STILL_PIXELS = 0.5
"""A player that moves at most this far in a step stands still."""

WALL_PIXELS = 8
"""A paddle whose centre is nearer than this to a wall is at the wall: it may be cut or stopped there."""

CLEAR = 3 / 4
"""A code is called by a direction if it goes that way in at least this share of its uses, of all of them and of those
away from the walls, and MIXED otherwise: a code that is mostly used where nothing can move promises nothing elsewhere,
and one that goes right when it comes off the wall is not the way to go right."""

MIXED, UNUSED = "MIXED", "UNUSED"

DIRECTIONS = {0: ("STILL", "UP", "DOWN"), 1: ("STILL", "LEFT", "RIGHT")}
"""Names of the classes 0, 1, 2 for a player that moves along the rows (axis 0) or the columns (axis 1)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Track:
    """One episode of T steps as the world read it.

    codes, actions: int64 [T]; objects: float32 [T+1, K, 3] (visible, y, x) of `names`, or None;
    episode: its number in the data set.
    """

    codes: NDArray[np.int64]
    actions: NDArray[np.int64]
    objects: NDArray[np.float32] | None
    names: tuple[str, ...]
    episode: int


def device_of(world: object) -> torch.device:
    """Where a world's weights are; the CPU for a world without any."""
    first = next(world.parameters(), None) if isinstance(world, nn.Module) else None
    return torch.device("cpu") if first is None else first.device


def infer_codes(
    world: InfersActions, frames: NDArray[np.uint8], *, history: int = 3, stride: int = 32, batch: int = 8
) -> NDArray[np.int64]:
    """Codes of a whole episode, uint8 [T+1, H, W, 3] → int64 [T], read in overlapping chunks.

    Each chunk holds `stride` new transitions after `history` frames of the past; every code is kept
    from the chunk in which it has at least that much past, or all there is of it.
    """
    steps = len(frames) - 1
    length = min(steps, history + stride)  # transitions in one chunk
    starts = list(range(0, steps - length + 1, stride))
    if starts[-1] + length < steps:
        starts.append(steps - length)
    clips = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))  # [T+1, C, H, W]
    codes = np.full(steps, -1, np.int64)
    for first in range(0, len(starts), batch):
        some = starts[first : first + batch]
        window = torch.stack([clips[start : start + length + 1] for start in some])
        with torch.no_grad():
            found = world.infer_actions(window.to(device_of(world))).cpu().numpy()  # [B, length]
        for start, row in zip(some, found, strict=True):
            kept = 0 if start == 0 else history
            fresh = codes[start + kept : start + length] < 0
            codes[start + kept : start + length][fresh] = row[kept:][fresh]
    return codes


def tracks(world: InfersActions | World, dataset: Play, probe: Probe | None, *, history: int = 3) -> Iterator[Track]:
    """Every episode of a data set with its inferred codes, or for a world under the game's own actions with these; one
    episode is in memory at a time.

    Objects come from the data set, else from the probe, else there are none.
    """
    for number, reference in enumerate(dataset.episodes):
        episode = dataset.read(reference)
        objects, names = objects_of(episode, dataset, probe)
        codes = episode.actions.astype(np.int64)
        if isinstance(world, InfersActions):
            codes = infer_codes(world, episode.frames, history=history)
        yield Track(codes=codes, actions=episode.actions, objects=objects, names=names, episode=number)


def objects_of(
    episode: Episode, dataset: Play, probe: Probe | None
) -> tuple[NDArray[np.float32] | None, tuple[str, ...]]:
    """An episode's objects float32 [T+1, K, 3] and their names: as recorded, else as the probe sees them, else none."""
    if episode.objects is not None:
        return episode.objects, tuple(dataset.manifest.object_names)
    if probe is not None:
        return probe.table(probe.detect(episode.frames)), probe.object_names
    return None, ()


def displacement(track: Track, name: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """How an object moved in each step, float32 [T, 2] (y, x), and whether it was visible before and after, [T]."""
    if track.objects is None or name not in track.names:
        steps = len(track.codes)
        return np.zeros((steps, 2), np.float32), np.zeros(steps, np.bool_)
    thing = track.objects[:, track.names.index(name)]
    seen = (thing[1:, 0] > 0.5) & (thing[:-1, 0] > 0.5)
    return np.where(seen[:, None], thing[1:, 1:] - thing[:-1, 1:], 0).astype(np.float32), seen


def player_axis(plays: Sequence[Track]) -> int:
    """0 if the player moves mostly along the rows, as in Pong, 1 if along the columns."""
    way = sum((np.abs(displacement(track, "player")[0]).sum(0) for track in plays), np.zeros(2))
    return int(way[1] > way[0])


def directions(track: Track, probe: Probe | None, axis: int = 0) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """What the player did in each step: class int64 [T] (see DIRECTIONS), and whether that can be told, bool [T].

    It can where the player is visible before and after and, if a probe knows the walls, at neither.
    """
    move, told = displacement(track, "player")
    way = move[:, axis]
    classes = np.where(way < -STILL_PIXELS, 1, np.where(way > STILL_PIXELS, 2, 0)).astype(np.int64)
    if probe is not None and axis == probe.axis and track.objects is not None and "player" in track.names:
        first, last = probe.span
        centre = track.objects[:, track.names.index("player"), 1 + axis]
        inside = (centre >= first + WALL_PIXELS) & (centre <= last - 1 - WALL_PIXELS)
        told = told & inside[1:] & inside[:-1]
    return classes, told


def since_press(pressed: NDArray[np.str_]) -> NDArray[np.int64]:
    """For how many steps the same has been pressed, from 1: names [N] → int64 [N]."""
    same = np.append(False, pressed[1:] == pressed[:-1])[: len(pressed)]
    return run_lengths(same) + 1


def button_ways(plays: Sequence[Track], count: int, axis: int, probe: Probe | None) -> NDArray[np.int64]:
    """How often the player went each way under each of so many real actions once it had been held for two steps, as
    games answer late, and away from the walls that the probe knows: int64 [count, 3]."""
    total = np.zeros((count, 3), np.int64)
    for track in plays:
        classes, told = directions(track, probe, axis)
        held = told & (since_press(track.actions.astype(np.str_)) >= 2)
        total += count_table(track.actions[held], classes[held], count, 3)
    return total


def measure_action_table(
    world: InfersActions | World,
    play: Play | Windows,
    lags: Sequence[int] = (0, 1, 2, 3),
    probe: Probe | None = None,
    *,
    codes: int | None = None,
    history: int = 3,
) -> ActionTable:
    """Run the LAM over every episode and tabulate what its codes go with. Of a world under the game's own actions, what
    these go with.

    play: a data set, a part of one, or the windows that a world is trained on. probe: the game's own
    if None. codes: how many there are; as many as the world publishes if None. history: frames of
    the past that every code may see, see `infer_codes`.
    """
    parts = parts_of(play)
    found = parts[0].manifest
    probe = probe_for(found.game, found.height, found.width) if probe is None else probe
    plays = [track for part in parts for track in tracks(world, part, probe, history=history)]
    if codes is None:
        published = len(world.spec.actions) if isinstance(world, World) else 0
        codes = max(published, 1 + max(int(track.codes.max()) for track in plays))
    return table_of(plays, found.action_names, codes, lags, probe, buttons=not isinstance(world, InfersActions))


def table_of(
    plays: Sequence[Track],
    action_names: Sequence[str],
    codes: int,
    lags: Sequence[int] = (0, 1, 2, 3),
    probe: Probe | None = None,
    *,
    buttons: bool = False,
) -> ActionTable:
    """The action table of play that the world has already read. `lags` counts up from 0 without a gap; probe: knows
    where the walls are, see `CLEAR`; buttons: the codes are the real actions, see `button_ways`."""
    if tuple(lags) != tuple(range(len(lags))) or not lags:
        raise ValueError(f"lags must count 0, 1, 2, ... without a gap, found {tuple(lags)}")
    counts = [lagged_counts(plays, lag, codes, len(action_names)) for lag in lags]
    information = [mutual_information(table) for table in counts]
    best = int(np.argmax(information))
    named = _by_direction(plays, codes, probe, buttons) or _by_button(counts[best], action_names)
    seen = np.concatenate([track.codes for track in plays])
    return ActionTable(
        real_actions=tuple(action_names),
        counts=tuple(tuple(tuple(int(x) for x in row) for row in table) for table in counts),
        best_lag=best,
        mutual_information=tuple(information),
        usage=tuple(float(share) for share in code_usage(seen, codes)),
        moves=_moves(plays, codes),
        labels=tuple(label for label, _ in named),
        agreement=tuple(share for _, share in named),
    )


def lagged_counts(plays: Sequence[Track], lag: int, codes: int, actions: int) -> NDArray[np.int64]:
    """How often each code was read `lag` steps after each real action: int64 [codes, actions]."""
    total = np.zeros((codes, actions), np.int64)
    for track in plays:
        pressed = track.actions[: max(0, len(track.actions) - lag)]
        total += count_table(track.codes[lag:], pressed, codes, actions)
    return total


def _moves(plays: Sequence[Track], codes: int) -> tuple[Mapping[str, tuple[float, float]], ...]:
    """Mean displacement (y, x) of each object under each code; an object never seen under a code is left out."""
    out: list[dict[str, tuple[float, float]]] = [{} for _ in range(codes)]
    for name in dict.fromkeys(name for track in plays for name in track.names):
        found = [displacement(track, name) for track in plays]
        seen = np.concatenate([visible for _, visible in found])
        code = np.concatenate([track.codes for track in plays])[seen]
        move = np.concatenate([way for way, _ in found])[seen]
        for each in np.unique(code):
            y, x = move[code == each].mean(0)
            out[int(each)][name] = (float(y), float(x))
    return tuple(out)


def _by_direction(
    plays: Sequence[Track], codes: int, probe: Probe | None, buttons: bool
) -> list[tuple[str, float]] | None:
    """Label and agreement of each code by what the player did, the lower of everywhere and away from the walls, of
    buttons by what it did when they were held; None if there is no player to be seen."""
    axis = player_axis(plays)
    names = DIRECTIONS[axis]
    if buttons:
        everywhere = away = button_ways(plays, codes, axis, probe)
    else:
        everywhere, away = (_ways(plays, codes, axis, walls) for walls in (None, probe))
    if not everywhere.any():
        return None
    named = [_majority(row, names) for row in everywhere]
    shares = [
        min(share, row[names.index(label)] / row.sum()) if row.any() else share
        for (label, share), row in zip(named, away, strict=True)
    ]
    return [
        (label if share >= CLEAR or label == UNUSED else MIXED, float(share))
        for (label, _), share in zip(named, shares, strict=True)
    ]


def _ways(plays: Sequence[Track], codes: int, axis: int, probe: Probe | None) -> NDArray[np.int64]:
    """How often the player went each way under each code, where that can be told: int64 [codes, 3]."""
    total = np.zeros((codes, 3), np.int64)
    for track in plays:
        classes, told = directions(track, probe, axis)
        total += count_table(track.codes[told], classes[told], codes, 3)
    return total


def _by_button(counts: NDArray[np.int64], action_names: Sequence[str]) -> list[tuple[str, float]]:
    return [_majority(row, action_names) for row in counts]


def _majority(row: NDArray[np.int64], names: Sequence[str]) -> tuple[str, float]:
    total = int(row.sum())
    return (names[int(row.argmax())], float(row.max() / total)) if total else (UNUSED, 0.0)
