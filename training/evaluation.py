"""Any world against held-out play: one scorecard, JSON-able, the same for the same seed (but for `speed`).

Sections: `tokenizer`, `lam`, `prediction`, `dreams`, `speed`, each as far as the world has the
ability. Every figure is {value, low, high, n, clusters} with a 95 % bootstrap interval; copying the
last frame and a constant picture stand beside the world, because both score well on games.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.world import ActionTable, InfersActions, Reconstructs, Samples, World
from training.action_table import Track, device_of, directions, lagged_counts, player_axis, table_of, tracks
from training.canonical import Canonical
from training.dream_statistics import Palette
from training.dreams import dream, dream_section, eyes_for, real_stretches
from training.held_out import Play
from training.metrics import (
    code_usage,
    count_table,
    crossed_accuracy,
    interval,
    normalized_mutual_information,
    perplexity,
)
from training.motion_statistics import error
from training.probes import Probe, probe_for
from training.report import save_film, save_sheet
from training.rollouts import (
    HORIZONS,
    Sheet,
    choose_spots,
    code_gain,
    generator,
    prediction,
    read_clips,
    score_frames,
    score_things,
    start_state,
)
from training.two_sample import FOLDS, two_sample
from training.two_sample import HORIZONS as JUDGED_AFTER

FORMAT = 1
CLUSTER = 50
"""Neighbouring frames that the bootstrap keeps together when whole episodes are scored."""

Say = Callable[[str], None]


@runtime_checkable
class MeasuresCodeGain(Protocol):
    """A world whose LAM can say what its codes are worth to it."""

    def code_gain(self, frames: Tensor) -> dict[str, float]:
        """frames: uint8 [B, T, C, H, W] → figures by name."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationOptions:
    """How much to measure. clips: roll-outs; gain_clips: single steps for the code gain; most_frames: of the tokenizer;
    judged: clips a horizon of the two-sample test, 0 for none; judged_after: its horizons.

    history: frames of the past a code may see; published: metrics for which there are weights;
    strips: folder for contact sheets; folder: the world's own, for its size on disk.
    """

    clips: int = 128
    gain_clips: int = 512
    dreams: int = 20
    dream_frames: int = 1000
    judged: int = 64
    judged_after: tuple[int, ...] = JUDGED_AFTER
    speed_frames: int = 600
    most_frames: int = 8000
    horizons: tuple[int, ...] = HORIZONS
    history: int = 3
    seed: int = 0
    published: Canonical | None = None
    strips: Path | None = None
    folder: Path | None = None

    def __post_init__(self) -> None:
        for name in ("clips", "gain_clips", "dreams", "dream_frames", "speed_frames", "most_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name.replace('_', ' ')} must be at least 1, found {getattr(self, name)}")
        if self.judged < 0:
            raise ValueError(f"judged must be at least 0, found {self.judged}")


def evaluate(
    world: World, dataset: Play, options: EvaluationOptions | None = None, say: Say = lambda _: None
) -> dict[str, Any]:
    """Measure a world against held-out play. say: told a line at a time how far it is.

    Raises ValueError if the data set is of another game or frame size, or has no episode that is long enough.
    """
    options = EvaluationOptions() if options is None else options
    published = options.published or Canonical(files={})
    check_fit(world, dataset)
    spec, seed = world.spec, options.seed
    probe = probe_for(spec.game, spec.height, spec.width)
    longest = max(reference.frames for reference in dataset.episodes)
    horizons = tuple(h for h in options.horizons if spec.context + h <= longest)
    card: dict[str, Any] = {"format": FORMAT, "game": spec.game, "seed": seed, "data": _data_facts(dataset)}
    card["notes"] = _notes(world, probe, horizons, options)
    if published.files:
        card["weights"] = published.files
    if isinstance(world, Samples):
        card["sampling"] = asdict(world.sampling)
    with torch.no_grad():
        say("speed")
        card["speed"] = speed(world, dataset, options)
        frames = _sample(dataset)
        if isinstance(world, Reconstructs):
            card["tokenizer"], sheet = tokenizer(world, dataset, probe, frames, options, say)
            _strip(options, "tokenizer", sheet)
        plays, table, names = list[Track](), spec.table, dataset.manifest.action_names
        if isinstance(world, InfersActions) or spec.actions == tuple(names):
            say("actions")
            plays = list(tracks(world, dataset, probe, history=options.history))
            measured = table_of(plays, names, len(spec.actions), probe=probe, buttons=not spec.latent)
            card["lam"] = latent_actions(world, dataset, probe, plays, measured, options)
            table = table or measured
        card["prediction"], sheet = prediction(
            world, dataset, probe, clips=options.clips, seed=seed, horizons=horizons, lpips=published.lpips, say=say
        )
        _strip(options, "prediction", sheet)
        eyes = eyes_for(dataset, probe, Palette(frames))
        size: dict[str, int] = {"dreams": options.dreams, "frames": options.dream_frames}
        film: list[NDArray[np.uint8]] | None = None if options.strips is None else []
        dreamed, sheet = dream(world, dataset, eyes, **size, seed=seed, film=film, say=say)
        _strip(options, "dreams", sheet)
        if options.strips is not None and film is not None:
            save_film(options.strips / "film.gif", film, world.spec.fps)
        real = real_stretches(dataset, eyes, plays, probe)
        card["dreams"] = dream_section(dreamed, real, probe, table, seed=seed)
        ways = [one.moved for one in real if one.moved is not None]
        if plays and ways and (apart := error(plays, ways, seed)) is not None:
            card["motion_probe"] = apart
        if options.judged:
            look = None if published.i3d is None else published.i3d.look
            horizons = options.judged_after
            told = two_sample(world, dataset, clips=options.judged, horizons=horizons, i3d=look, seed=seed, say=say)
            if told["world"]:
                card["two_sample"] = told
            else:
                card["notes"].append(f"a two-sample test needs {FOLDS} episodes that are long enough: left out")
    return card


def check_fit(world: World, dataset: Play) -> None:
    """Raise ValueError unless the data set holds play of the world's game at the world's frame size."""
    spec, found = world.spec, dataset.manifest
    if (found.game, found.height, found.width) != (spec.game, spec.height, spec.width):
        held = f"{found.game!r} at {found.height}x{found.width}"
        wanted = f"{spec.game!r} at {spec.height}x{spec.width}"
        raise ValueError(f"data set holds {held} but the world plays {wanted}; pass --data with play of that game")
    if not dataset.episodes:
        raise ValueError(f"data set of {found.game!r} has no episodes; record some with `dreamcade collect`")


def tokenizer(
    world: Reconstructs,
    dataset: Play,
    probe: Probe | None,
    sample: NDArray[np.uint8],
    options: EvaluationOptions,
    say: Say = lambda _: None,
) -> tuple[dict[str, Any], Sheet]:
    """Rows `tokenizer`, `constant` (the median picture of `sample`) and `copy_last_frame`, and a sheet.

    Frames are rebuilt in clips as long as the world's context, or one by one for a world without one. Where there are
    labels, `ball_psnr`, `player_ssim` and so on are of the squares round those things.
    """
    context = world.spec.context if isinstance(world, World) else 1
    median = torch.from_numpy(np.median(sample, axis=0).astype(np.uint8)).permute(2, 0, 1)
    above: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    below: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    sheet: Sheet = []
    ranges = _ranges(dataset, options)
    for count, (number, start, stop) in enumerate(ranges):
        episode = dataset.read(dataset.episodes[number], start, stop)
        frames = torch.from_numpy(episode.frames.transpose(0, 3, 1, 2).copy())
        rebuilt = rebuild(world, frames, context)
        before, truth = frames[:-1], frames[1:]
        rows = {"tokenizer": rebuilt[1:], "constant": median.expand_as(truth), "copy_last_frame": before}
        for row, guess in rows.items():
            for part in range(0, len(truth), CLUSTER):
                cut = slice(part, part + CLUSTER)
                things = None if episode.objects is None else episode.objects[1:][cut]
                scores = score_frames(before[cut], truth[cut], guess[cut], probe)
                scores |= score_things(dataset.manifest.object_names, things, truth[cut], guess[cut])
                for name, values in scores.items():
                    above[row][name].append(float(np.nansum(values)))
                    below[row][name].append(float(np.isfinite(values).sum()))
        if not sheet:
            shown = range(0, min(len(frames), 240), 20)
            sheet = [[frames[i] for i in shown], [rebuilt[i] for i in shown]]
        say(f"tokenizer: {count + 1} of {len(ranges)} stretches")
    return {
        row: {name: interval(sums, below[row][name], seed=options.seed).data() for name, sums in found.items()}
        for row, found in above.items()
    }, sheet


def rebuild(world: Reconstructs, frames: Tensor, context: int, batch: int = 16) -> Tensor:
    """An episode's frames uint8 [T, C, H, W] through the tokenizer, in clips of `context` frames → the same shape."""
    length = min(context, len(frames))
    starts = sorted({*range(0, len(frames) - length + 1, length), len(frames) - length})
    out = torch.empty_like(frames)
    for first in range(0, len(starts), batch):
        some = starts[first : first + batch]
        clips = torch.stack([frames[start : start + length] for start in some]).to(device_of(world))
        for start, clip in zip(some, world.reconstruct(clips).cpu(), strict=True):
            out[start : start + length] = clip
    return out


def latent_actions(
    world: World,
    dataset: Play,
    probe: Probe | None,
    plays: Sequence[Track],
    table: ActionTable,
    options: EvaluationOptions,
) -> dict[str, Any]:
    """The scorecard's `lam`: use of the codes, their worth to the dynamics, what they tell of player and keys."""
    seed, size = options.seed, len(world.spec.actions)
    usage = code_usage(np.concatenate([track.codes for track in plays]), size)
    out: dict[str, Any] = {
        "codes": size,
        "usage": [float(share) for share in usage],
        "perplexity": perplexity(usage),
        "codes_over_5_percent": int((usage > 0.05).sum()),
        "code_gain": code_gain(world, dataset, probe, clips=options.gain_clips, seed=seed).data(),
        "best_lag": table.best_lag,
        "mutual_information": list(table.mutual_information),
        "table": asdict(table),
    }
    if isinstance(world, MeasuresCodeGain):
        spots = choose_spots(dataset, world.spec.context + 4, 32, seed)
        clips = next(read_clips(world, dataset, None, spots, world.spec.context + 4))
        out["lam_code_gain"] = {name: float(value) for name, value in world.code_gain(clips.frames).items()}
    axis = player_axis(plays)
    for name, known in (("direction", None), ("direction_away_from_walls", probe)):
        told = [directions(track, known, axis) for track in plays]
        if sum(int(mask.sum()) for _, mask in told):
            out[name] = _agreement(plays, told, 0, size, seed)
    lag = table.best_lag
    pressed = [(track.actions, np.ones(len(track.actions), bool)) for track in plays]
    out["real_action"] = _agreement(plays, pressed, lag, size, seed)
    out["real_action"]["counts"] = lagged_counts(plays, lag, size, len(table.real_actions)).tolist()
    return out


def _agreement(
    plays: Sequence[Track],
    classes: Sequence[tuple[NDArray[np.int64], NDArray[np.bool_]]],
    lag: int,
    size: int,
    seed: int,
) -> dict[str, Any]:
    """How well codes tell a class that came `lag` steps earlier: balanced accuracy, NMI, chance."""
    codes, truth, half, cluster = [], [], [], []
    base = 0
    for number, (track, (kind, told)) in enumerate(zip(plays, classes, strict=True)):
        steps = len(track.codes) - lag
        kept = np.flatnonzero(told[:steps])
        codes.append(track.codes[kept + lag])
        truth.append(kind[kept])
        side = kept * 2 // max(steps, 1) if len(plays) == 1 else np.full(len(kept), number % 2)
        half.append(side.astype(np.int64))
        cluster.append(base + kept // (4 * CLUSTER))
        base += steps // (4 * CLUSTER) + 1
    code, kind, side = (np.concatenate(parts) for parts in (codes, truth, half))
    columns = int(kind.max()) + 1
    return {
        "balanced_accuracy": crossed_accuracy(code, kind, np.concatenate(cluster), side, size, seed=seed).data(),
        "chance": 1.0 / len(np.unique(kind)),
        "nmi": normalized_mutual_information(count_table(code, kind, size, columns)),
        "lag": lag,
    }


def speed(world: World, dataset: Play, options: EvaluationOptions) -> dict[str, Any]:
    """Step and render at batch 1, milliseconds; size of the world; the process's peak memory so far."""
    context = world.spec.context
    length = max(context, 2)
    clips = next(read_clips(world, dataset, None, choose_spots(dataset, length, 1, options.seed), length))
    rng = generator(options.seed)
    state = start_state(world, clips, rng)
    codes = torch.randint(len(world.spec.actions), (options.speed_frames, 1), generator=generator(options.seed))
    codes = codes.to(device_of(world))
    took = []
    for code in codes:
        began = time.perf_counter()
        state = world.step(state, code, rng)
        world.render(state).cpu()  # waits for the device
        took.append(time.perf_counter() - began)
    median, late = np.percentile(np.array(took) * 1000, [50, 95])
    folder = options.folder
    weights = list(world.parameters()) if isinstance(world, nn.Module) else []
    return {
        "frames": len(took),
        "median_ms": float(median),
        "p95_ms": float(late),
        "fps": float(1000 / median),
        "threads": torch.get_num_threads(),
        "device": str(device_of(world)),
        "parameters": sum(weight.numel() for weight in weights),
        "disk_bytes": None if folder is None else sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        * (1 if sys.platform == "darwin" else 1024),
    }


def _data_facts(dataset: Play) -> dict[str, Any]:
    behaviours: dict[str, int] = {}
    for reference in dataset.episodes:
        behaviours[reference.behaviour] = behaviours.get(reference.behaviour, 0) + reference.frames
    return {
        "episodes": len(dataset.episodes),
        "frames": sum(behaviours.values()),
        "frames_by_behaviour": behaviours,
        "actions": list(dataset.manifest.action_names),
    }


def _notes(world: World, probe: Probe | None, horizons: tuple[int, ...], options: EvaluationOptions) -> list[str]:
    notes = []
    if probe is None:
        notes.append(
            f"no object probe for {world.spec.game!r} at this size: what moves is told by the picture, if it scrolls"
        )
    for ability, lost in ((Reconstructs, "tokenizer"), (InfersActions, "lam")):
        if ability is InfersActions and not world.spec.latent:
            notes.append("the world is under the game's own actions: section 'lam' is about these")
        elif not isinstance(world, ability):
            notes.append(f"the world lacks the ability {ability.__name__}: no section {lost!r}")
    if isinstance(world, InfersActions) and world.spec.table is None:
        notes.append("the world has no action table: labels were measured on this data set")
    if horizons != options.horizons:
        notes.append(f"no episode is long enough for all horizons {list(options.horizons)}: used {list(horizons)}")
    return notes


def _sample(dataset: Play, most: int = 2000) -> NDArray[np.uint8]:
    """At most about `most` frames, evenly spread over all episodes: uint8 [N, H, W, 3]."""
    total = sum(reference.frames for reference in dataset.episodes)
    apart = max(1, -(-total // most))
    return np.concatenate([dataset.read(reference).frames[::apart] for reference in dataset.episodes])


def _ranges(dataset: Play, options: EvaluationOptions) -> list[tuple[int, int, int]]:
    """(episode, first frame, one past the last) to score: all, or an even spread of at most about most_frames."""
    total = sum(reference.frames for reference in dataset.episodes)
    if total <= options.most_frames:
        return [(number, 0, reference.frames) for number, reference in enumerate(dataset.episodes)]
    length = min(4 * CLUSTER, max(reference.frames for reference in dataset.episodes))
    spots = choose_spots(dataset, length, max(1, options.most_frames // length), options.seed)
    return [(number, start, start + length) for number, start in spots]


def _strip(options: EvaluationOptions, name: str, sheet: Sheet) -> None:
    if options.strips is not None:
        save_sheet(options.strips / f"{name}.png", sheet)
