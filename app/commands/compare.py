"""`compare`: the real game beside the dreamed one: live, as a clip, or measured over much recorded play."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.places import saves

if TYPE_CHECKING:
    from app.compare import Comparison, Turn
    from collectors.shards import Dataset
    from models.world import World, WorldSpec

UNATTENDED = 300  # turns where nobody can press a key
BATCH = 20  # stretches dreamed at a time
MODES = ("codes", "keys", "lead")


@click.command()
@click.argument("world")
@click.option("--episode", help="real play from a recording, as in DATASET:3 or 3, instead of from the emulator")
@click.option("--from", "first", type=click.IntRange(min=0), default=0, show_default=True, help="its first frame")
@click.option(
    "--mode", type=click.Choice(MODES), default="codes", show_default=True, help="who follows whom, see above"
)
@click.option("--frames", type=click.IntRange(min=1), help="how many  [default: 300, without end in a window]")
@click.option("--out", type=click.Path(), help="x.mp4, x.gif, x.npz or folder/, and no window")
@click.option(
    "--episodes", type=click.IntRange(1, 1000), help="measure so many stretches of recorded play, and no window"
)
@click.option(
    "--data", type=click.Path(path_type=Path), help="recorded play  [default: GAME-held-out in saves/datasets]"
)
@click.option("--split", help="all, held-out, validation, test  [default: held-out of --data, all of GAME-held-out]")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="write what --episodes measured here")
@click.option("--threshold", type=float, default=15.0, show_default=True, help="dB of moving pixels that mean lost")
@click.option("--auto", is_flag=True, help="put the dream back on the real game whenever it is lost")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="luck of dream and game")
@click.option("--steps", type=click.IntRange(1, 64), help="sampling steps a frame")
@click.option("--temperature", type=click.FloatRange(0.0, 10.0), help="surprise; 0 always takes the likeliest")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps")
@click.option("--threads", type=click.IntRange(1, 256), help="CPU threads  [default: 1; in a window 1 or 2]")
@click.option("--scale", type=click.IntRange(1, 32), help="pixels of the window for one of the game")
def compare(world: str, **options: Any) -> None:
    """Show the real game beside what WORLD dreams, and where they differ.

    In mode codes the dream follows what WORLD reads off the real game; in mode keys both get what your key stands
    for; in mode lead the real game follows the dream. In a window H shows the keys, M changes the mode, R puts the
    dream back on the real game. Lost: 3 frames in a row, of those in which something moves, below --threshold.

    \b
    dreamcade compare pong
    dreamcade compare pong --episode saves/datasets/pong-held-out:3 --frames 300 --out beside.mp4
    dreamcade compare pong --episodes 20 --frames 200 --json drift.json
    """
    measured = options["episodes"] is not None
    if measured and (options["episode"] is not None or options["out"] is not None):
        raise ValueError("--episodes measures many stretches; leave out --episode and --out, or leave out --episodes")
    if options["json_path"] is not None and not measured:
        raise ValueError("--json keeps what --episodes measured; add --episodes 20")
    if options["out"] is not None:
        from app import recorder

        recorder.kind_of(options["out"])  # before anything slow
    if measured:
        _measure(world, options)
        return
    comparison, folder = _comparison(world, options)
    if options["out"] is not None:
        _clip(comparison, options)
        return
    from app.commands.play import has_display

    if not has_display():
        raise ValueError("there is no display; add --out beside.mp4 for a clip, or --episodes 20 for figures")
    _watch(comparison, folder, options)


def _measure(name: str, options: dict[str, Any]) -> None:
    """Dream along many stretches and say how long dreams held."""
    from tqdm import tqdm

    from app import drift
    from collectors.drafts import publish
    from models.world import InfersActions
    from training.held_out import held_out
    from training.rollouts import choose_spots

    _, world, device = _opened(name, options)
    frames, count, seed = options["frames"] or UNATTENDED, options["episodes"], options["seed"]
    data = options["data"] or _usual_data(world.spec)
    split = options["split"] or ("held-out" if options["data"] else "all")
    length, found = world.spec.context + frames, []
    with _dataset(data, world.spec) as dataset:
        if not isinstance(world, InfersActions) and world.spec.actions != dataset.manifest.action_names:
            raise ValueError(f"world '{world.spec.game}' cannot read its actions off real frames")
        play = held_out(dataset, split)
        spots = choose_spots(play, length, count, seed)
        with tqdm(total=frames * -(-len(spots) // BATCH), unit="frame", desc="dreaming", disable=None) as bar:
            for first in range(0, len(spots), BATCH):
                some = spots[first : first + BATCH]
                stretches = [play.read(play.episodes[number], start, start + length) for number, start in some]
                found += drift.drifts(world, stretches, seed=seed + first, device=device, say=bar.update)
    figures = drift.summary(found, options["threshold"])
    click.echo(f"{len(found)} stretches of {frames} frames from {data} ({split}); frames held, median:")
    for kind, what in (("dream", "the dream"), ("copy", "the first frame, kept"), ("shuffled", "codes shuffled")):
        row = figures[kind]
        kept = f", {row['never_lost']} never lost" if row["never_lost"] else ""
        click.echo(f"    {what:<22} {row['median']:>6g}   mean {row['mean_db']} dB of what moves{kept}")
    if figures["times_shuffled"] is not None:
        click.echo(f"the dream holds {figures['times_shuffled']:g} times as long as with shuffled codes")
    if options["json_path"] is not None:
        path: Path = options["json_path"]
        told = {"world": name, "game": world.spec.game, "data": str(data), "split": split, "seed": seed, **figures}
        path.parent.mkdir(parents=True, exist_ok=True)
        publish(path, (json.dumps(told, indent=1, allow_nan=False) + "\n").encode())


def _clip(comparison: Comparison, options: dict[str, Any]) -> None:
    """Run both games without a window into a file, and say how near they were."""
    from tqdm import tqdm

    from app import recorder
    from app.compare import panes
    from app.controllers import RandomHeld

    out, spec = options["out"], comparison.spec
    player = RandomHeld(len(comparison.hears.labels), options["seed"])
    turns: list[Turn] = []

    def run() -> Iterator[Turn]:
        for _ in tqdm(range(options["frames"] or UNATTENDED), unit="frame", desc="comparing", disable=None):
            if comparison.over:
                return
            yield comparison.turn(player.act())

    if recorder.kind_of(out) == "npz":
        turns.extend(run())
        _save(Path(out), turns)
    else:

        def pictures() -> Iterator[Any]:
            for turn in run():
                turns.append(turn)
                yield panes(turn)

        recorder.record(out, pictures(), [], spec.fps)
    held = comparison.hold.held
    lost = f"never lost in {comparison.since} frames" if held is None else f"held {held} frames"
    if comparison.spans and comparison.auto:
        lost = f"held {comparison.median_held:g} frames, median of {len(comparison.spans)} times"
    click.echo(f"{out}: {len(turns)} turns, mode {comparison.mode.value}, the dream {lost}")
    for name, values in (("moving pixels", [turn.moving for turn in turns]), ("all pixels", [t.psnr for t in turns])):
        known = [value for value in values if not math.isnan(value)]
        click.echo(f"    {name}: {sum(known) / len(known):.1f} dB on average" if known else f"    {name}: none moved")


def _save(path: Path, turns: list[Turn]) -> None:
    """Real and dreamed frames uint8 [T, H, W, 3], codes and real actions int64 [T], curves float64 [T]."""
    import numpy as np

    from collectors.drafts import publish

    packed = io.BytesIO()
    np.savez_compressed(
        packed,
        real=np.stack([turn.real for turn in turns]),
        dream=np.stack([turn.dream for turn in turns]),
        codes=np.array([turn.code for turn in turns], np.int64),
        actions=np.array([turn.button for turn in turns], np.int64),
        psnr=np.array([turn.psnr for turn in turns]),
        moving_psnr=np.array([turn.moving for turn in turns]),
        copy_moving_psnr=np.array([turn.copy for turn in turns]),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    publish(path, packed.getvalue())


def _watch(comparison: Comparison, folder: Path, options: dict[str, Any]) -> None:
    """Both games in a window, under the same keys."""
    import pygame
    import torch

    from app.game import Game
    from app.hud import Stats
    from app.scenes.compare import CompareScene, bars
    from app.screen import Screen
    from app.thinker import Thinker
    from app.threads import settle

    spec, stats, limit = comparison.spec, Stats(), options["frames"]
    try:
        screen = Screen(
            3 * spec.width, spec.height, bars=bars, scale=options["scale"], title=f"{folder.name} - Dreamcade"
        )
    except pygame.error as problem:
        raise ValueError(f"no window could be opened ({problem}); add --out beside.mp4 for a clip") from None
    if limit is None and screen.driver == "dummy":
        limit = UNATTENDED
        click.echo(f"the video driver is 'dummy' and nobody can press a key: stopping after {limit} frames")
    thinker = Thinker(threaded=True)
    torch.set_num_threads(1)  # in this thread, which only draws
    if options["threads"] is not None:
        thinker.use(options["threads"])
    elif comparison.session.device.type == "cpu":
        thinker.ask(lambda: settle(comparison.session.rehearse))
    scene = CompareScene(
        comparison,
        screen,
        title=folder.name,
        captures=saves() / "captures",
        datasets=saves() / "datasets",
        thinker=thinker,
    )

    def going() -> bool:
        return limit is None or (comparison.turns < limit and not comparison.over)

    try:
        Game(screen, scene, stats, fps=spec.fps, after_turn=going).run()
    finally:
        thinker.close()
        comparison.close()
        screen.close()
    times = "1 time" if comparison.syncs == 1 else f"{comparison.syncs} times"
    click.echo(f"{comparison.turns} turns; the dream was put on the real game {times}")


def _comparison(name: str, options: dict[str, Any]) -> tuple[Comparison, Path]:
    """A world and a real game, side by side."""
    from app import library
    from app.compare import Comparison, Mode
    from app.real import LiveGame, RealGame, RecordedGame
    from app.session import Session
    from collectors.games import game_named

    folder, world, device = _opened(name, options)
    spec, seed = world.spec, options["seed"]
    real: RealGame
    if options["episode"] is None:
        real = LiveGame(game_named(spec.game, (spec.height, spec.width)), seed)
    else:
        data, number = _place(options["episode"], options["data"] or _usual_data(spec))
        with _dataset(data, spec) as dataset:
            if number >= len(dataset.episodes):
                raise ValueError(f"--episode {number} is outside [0, {len(dataset.episodes)}), the episodes of {data}")
            ref = dataset.episodes[number]
            left = ref.frames - options["first"]
            if left <= spec.context:
                raise ValueError(
                    f"episode {number} of {data} has {max(0, left)} frames from there on, {spec.context + 1} are needed"
                )
            real = RecordedGame(dataset.read(ref, options["first"]), dataset.manifest.action_names)
    clips = library.starts(folder, spec, None, strict=False, say=click.echo)
    session = Session(world, clips, seed=seed, device=device)
    mode, threshold = Mode(options["mode"]), options["threshold"]
    return Comparison(session, real, mode=mode, threshold=threshold, auto=options["auto"]), folder


def _opened(name: str, options: dict[str, Any]) -> tuple[Path, World, str]:
    """The folder of a world, the world under its dials, and where it runs."""
    import torch

    from app import library
    from models.world import Samples

    torch.set_num_threads(options["threads"] or 1)
    device, folder = library.device(options["device"]), library.pick(name)
    world = library.open_world(folder, device)
    chosen = {key: options[key] for key in ("steps", "temperature") if options[key] is not None}
    if chosen:
        if not isinstance(world, Samples):
            raise ValueError(f"world '{world.spec.game}' has no sampling dials; leave out steps and temperature")
        world = world.with_sampling(replace(world.sampling, **chosen))
    return folder, world, device


def _usual_data(spec: WorldSpec) -> Path:
    """Where play that no world was trained on is kept."""
    return saves() / "datasets" / f"{spec.game}-held-out"


def _place(text: str, usual: Path) -> tuple[Path, int]:
    """`DATASET:3` or `3` → the folder of a data set and the number of an episode."""
    folder, colon, number = text.rpartition(":")
    if not number.isdecimal() or (colon and not folder):
        raise ValueError(f"--episode must be DATASET:NUMBER, as in saves/datasets/pong-held-out:3, found '{text}'")
    return (Path(folder) if colon else usual), int(number)


def _dataset(folder: Path, spec: WorldSpec) -> Dataset:
    """Recorded play of a world's game. Raises ValueError where it is of another game or size."""
    from collectors.shards import Dataset

    dataset = Dataset.open(folder)
    found = dataset.manifest
    if (found.game, found.height, found.width) != (spec.game, spec.height, spec.width):
        have, want = f"'{found.game}' at {found.height}x{found.width}", f"'{spec.game}' at {spec.height}x{spec.width}"
        dataset.close()
        raise ValueError(f"{folder} holds {have} but the world dreams {want}; record with: dreamcade collect")
    return dataset
