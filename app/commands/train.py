"""`dreamcade train`: a game's whole world, or one part of it, from recorded frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from app.commands.experiments import chosen_experiment, going_on
from app.places import saves

PARTS = ("tokenizer", "lam", "dynamics")


autocast_option = click.option(
    "--autocast",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    show_default=True,
    help="bfloat16 matrix products; auto measures whether they pay here.",
)


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that `train` and `make` share."""
    options = [
        click.option(
            "--preset",
            "preset_name",
            default="auto",
            show_default=True,
            help="Which experiment: maskgit, with Genie's tokenizer maskgit-vq or maskgit-fsq, for what scrolls warp;"
            " auto looks at the data. For comparison: one-pass, genie, tinyworlds.",
        ),
        click.option(
            "--family",
            metavar="FAMILY",
            help="How the next frame is told, instead of --preset: maskgit, autoregressive or one_pass over tokens,"
            " regression over their vectors, pixel_film (or pixel_world_model) over pixels, latent_predictor or"
            " latent_flow over an autoencoder's latents, warp, genie. latent_ae is the autoencoder alone.",
        ),
        click.option(
            "--actions",
            type=click.Choice(["latent", "real"]),
            default="latent",
            show_default=True,
            help="Eight codes found in the pixels, or the actions that were recorded.",
        ),
        click.option(
            "--size",
            type=click.Choice(["tiny", "small", "base", "paper"]),
            default="small",
            show_default=True,
            help="One dial for the size of all parts; tiny is for trying things out.",
        ),
        click.option(
            "--set",
            "changes",
            multiple=True,
            metavar="KEY=VALUE",
            help="Change one value, as in dynamics.steps=500 or family.dynamics.depth=4; may be repeated.",
        ),
        click.option(
            "--seed",
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            help="Seed of the weights and of the order of the data.",
        ),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps."),
        click.option("--threads", type=int, default=0, show_default=True, help="CPU threads; 0 takes every core."),
        autocast_option,
        click.option(
            "--compile", "compiled", is_flag=True, help="Compile the blocks: about a minute to start, then faster."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("what", metavar="GAME|tokenizer|lam|dynamics")
@click.option(
    "--data",
    "data",
    multiple=True,
    type=click.Path(),
    help="A data set; may be repeated.  [default: saves/datasets/GAME]",
)
@click.option("--run", "run_folder", type=click.Path(), help="Run folder.  [default: saves/runs/GAME, or GAME-FAMILY]")
@click.option("--out", type=click.Path(), help="Where the world goes.  [default: saves/worlds/GAME, or GAME-FAMILY]")
@click.option(
    "--from",
    "begin",
    metavar="WORLD",
    help="Keep this world's tokenizer and latent actions and go on training its dynamics.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Train for so long, by the clock, instead of for a number of steps; the preset shares it out."
    " Fitting and reading frames come on top.",
)
@click.option(
    "--tokenizer", "tokenizer_run", type=click.Path(path_type=Path), metavar="RUN", help="Take a run's tokenizer."
)
@click.option("--lam", "lam_run", type=click.Path(path_type=Path), metavar="RUN", help="Take a run's latent actions.")
@click.option(
    "--mix",
    is_flag=True,
    help="The --data are of several games of one frame size: one world learns all of them, and is called by the first.",
)
@click.option(
    "--weights-dir",
    type=click.Path(path_type=Path),
    help="Folder with published weights of LPIPS, for --set family.dynamics.objectives.perceptual=1.",
)
@click.option(
    "--only-count",
    is_flag=True,
    help="With --from: leave all weights as they are and count anew what play shows, for dials such as"
    " family.dynamics.changes.",
)
@click.option("--resume", is_flag=True, help="Go on with the run where it stopped, exactly.")
@click.option("--override", is_flag=True, help="With --resume: accept a config that differs from the run's.")
@training_options
def train(
    what: str,
    data: tuple[str, ...],
    run_folder: str | None,
    out: str | None,
    begin: str | None,
    resume: bool,
    override: bool,
    **options: Any,
) -> None:
    """Fit tokenizer, latent actions and dynamics to recorded frames and write a world.

    GAME (pong, breakout, …) trains all three in order. "tokenizer", "lam" or "dynamics" trains the run up to
    that part, stops there and writes no world; --resume with GAME goes on with the next part.

    The run folder gets metrics, previews and checkpoints. Ctrl-C loses nothing that was kept there; the same
    command with --resume goes on bit for bit as if nothing had happened.

    With --from WORLD only the dynamics are trained, further than they were, on old or on new frames; --preset
    and --size do not apply then, and --set may change how it is trained but no sizes.

    \b
      dreamcade train pong --data saves/datasets/pong
      dreamcade train pong --data saves/datasets/pong --resume
      dreamcade train pong --minutes 30
      dreamcade train tokenizer --data saves/datasets/pong --preset maskgit-vq
      dreamcade train pong --family latent_flow --actions real --minutes 30
      dreamcade train pong --data saves/datasets/more --from pong --run saves/runs/further
    """
    from training.windows import open_datasets

    part = _checked(what, begin, options)
    game_known = what not in PARTS
    paths = data or ((str(saves() / "datasets" / what),) if game_known else ())
    datasets = open_datasets(paths, _game(what) if game_known else None, options["mix"])
    for path, dataset in zip(paths, datasets, strict=True):
        if dataset.manifest.dreamed:
            share = f"{dataset.manifest.dreamed} of {dataset.manifest.episodes} episodes"
            click.echo(f"warning: {path}: {share} were dreamed; what a dream gets wrong is learned too", err=True)
        if dataset.manifest.lossy:
            click.echo(f"warning: {path}: frames are from lossy pictures; small things may be missing", err=True)
    game = datasets[0].manifest.game
    name = named(game, options) if begin is None else _name_of(begin, game)
    folder = Path(run_folder) if run_folder else saves() / "runs" / name
    target = Path(out) if out else saves() / "worlds" / name
    shown = " ".join(f"--data {path}" for path in data)
    command = (
        f"dreamcade train {what} {shown}".strip() + (f" --from {begin}" if begin else "") + " --mix" * options["mix"]
    )
    world = run_training(
        datasets, folder, target, part or "dynamics", part is None, resume, override, command, options, begin=begin
    )
    if world is None:
        click.echo(f"{part} is done; go on with: {_further(game, shown, folder, options)}")
    else:
        click.echo(f"world written to {world}; play it: dreamcade play {world}")


def _checked(what: str, begin: str | None, options: dict[str, Any]) -> str | None:
    """The part that is to be trained alone, if it is one; what was typed is checked, and the parts of other runs are
    put together as `parts`."""
    if options["family"] and options["preset_name"] != "auto":
        raise click.UsageError("--family and --preset say the same in two ways; leave one of them out")
    if options["family"] and begin is not None:
        raise click.UsageError("--from goes on with the family that a world has; leave --family out")
    if options["only_count"] and begin is None:
        raise click.UsageError("--only-count needs --from WORLD, whose weights are kept")
    runs = (("tokenizer", options.pop("tokenizer_run")), ("lam", options.pop("lam_run")))
    options["parts"] = {name: folder for name, folder in runs if folder is not None}
    if options["family"]:
        from models.registry import alone, family

        family(options["family"])
        if alone(options["family"]):
            return "tokenizer"
    return what if what in PARTS else None


def named(game: str, options: dict[str, Any]) -> str:
    """What a run and its world are called: the game, with the family and the kind of actions where they were chosen."""
    parts = [game, options.get("family"), "real" if options.get("actions") == "real" else None]
    return "-".join(part for part in parts if part)


def _name_of(begin: str, game: str) -> str:
    """What a world is called that another one of the same game went on to."""
    name = Path(begin).resolve().name
    return name if name.startswith(f"{game}-") else game


def _game(name: str) -> str:
    from collectors.games import game_named

    return game_named(name).id


def settle_machine(options: dict[str, Any]) -> str:
    """Set the CPU threads and return the device, both as told. Raises ValueError where that cannot be."""
    import os

    import torch

    from app import library

    if options["threads"] < 0:
        raise ValueError(f"--threads must be 0 or more, found {options['threads']}")
    device = library.device(options["device"])
    torch.set_num_threads(options["threads"] or os.cpu_count() or 1)
    return device


def settle_autocast(choice: str, device: str, folder: Path) -> bool:
    """Whether to use bfloat16: as told, or measured once a run, so that a resumed run computes as it began."""
    from training.loop import bf16_pays
    from training.runs import write_text

    kept = folder / "autocast.txt"
    if choice == "auto":
        choice = kept.read_text().strip() if kept.is_file() else ("on" if bf16_pays(device) else "off")
    write_text(kept, choice + "\n")
    return choice == "on"


def run_training(
    datasets: list[Any],
    folder: Path,
    target: Path,
    until: str,
    finish: bool,
    resume: bool,
    override: bool,
    command: str,
    options: dict[str, Any],
    experiment: Any = None,
    begin: str | None = None,
) -> Path | None:
    """Train a run up to a part, and write the world if `finish`. Returns the world's folder or None. begin: name or
    folder of a world whose dynamics go on learning."""
    from dataclasses import asdict

    import torch

    from models.checkpoint import check_out
    from training.loop import Interrupted
    from training.parts import fitting_parts, take_parts
    from training.pipeline import Pipeline, check
    from training.runs import Run

    device = settle_machine(options)
    if finish:
        check_out(target)
    manifest = datasets[0].manifest
    earlier = _earlier(begin, device) if begin else None
    if earlier is not None:
        experiment = going_on(options, manifest.game, earlier.world.config)
    elif experiment is None:
        experiment = chosen_experiment(options, manifest.game, manifest.height, manifest.width, datasets)
    splits = splits_of(datasets)
    check(experiment, splits, until)
    facts = {"experiment": asdict(experiment), "data": [_described(found.manifest) for found in datasets]}
    if earlier is not None:
        facts["from"] = earlier.digest
    told = fitting_parts(experiment, splits, options.get("parts") or {})
    run = Run(folder, facts, resume, override)
    take_parts(run, told)
    autocast = settle_autocast(options["autocast"], device, folder)
    click.echo(
        f"{splits.train.frames} frames of {manifest.game}; {device}, {torch.get_num_threads()} threads,"
        f" bf16 autocast {'on' if autocast else 'off'}; run {folder}"
    )
    pipeline = Pipeline(
        experiment, splits, run, device, autocast, options["compiled"], click.echo,
        None if earlier is None else earlier.world,
        options.get("only_count", False), _look(options.get("weights_dir"), device),
    )  # fmt: skip
    try:
        pipeline.train(until)
    except Interrupted as stop:
        click.echo(str(stop))
        raise SystemExit(130) from None
    before = {"from": earlier.facts} if earlier is not None else {}
    extra = {"command": command + as_typed(options), "autocast": autocast, **before}
    return pipeline.finish(target, extra) if finish else None


def _further(game: str, shown: str, folder: Path, options: dict[str, Any]) -> str:
    """What goes on after one part of a world. An autoencoder that was trained alone is taken by another run, as its
    own was timed otherwise."""
    from models.registry import ALIASES, alone

    begin = f"dreamcade train {game} {shown}".strip()
    if options.get("family") and alone(options["family"]):
        real = " --actions real" if options.get("actions") == "real" else ""
        return f"{begin} --family {ALIASES[options['family']]}{real} --tokenizer {folder}"
    return f"{begin} --run {folder} --resume{as_typed(options)}"


def _look(folder: Path | None, device: str) -> Any:
    """LPIPS by the weights in a folder, for dynamics that learn how things look; None without one."""
    from training.canonical import canonical

    found = None if folder is None else canonical(folder).lpips
    return None if found is None else found.to(device).between


def as_typed(options: dict[str, Any]) -> str:
    """The options that decide what is learned, as on a command line; those that are as usual left out."""
    from shlex import quote

    usual = (
        ("preset_name", "preset", "auto"), ("family", "family", None), ("actions", "actions", "latent"),
        ("size", "size", "small"), ("seed", "seed", 0),
    )  # fmt: skip
    told = [f" --{name} {options[key]}" for key, name, default in usual if options.get(key, default) != default]
    told += [f" --minutes {options['minutes']:g}"] if options.get("minutes") else []
    told += [" --only-count"] if options.get("only_count") else []
    told += [f" --{part} {folder}" for part, folder in options.get("parts", {}).items()]
    told += [f" --weights-dir {options['weights_dir']}"] if options.get("weights_dir") else []
    return "".join(told + [f" --set {quote(change)}" for change in options["changes"]])


@dataclass(frozen=True, slots=True)
class _Earlier:
    """A world to go on from: what its weights are, and how they came about."""

    world: Any
    digest: str
    facts: dict[str, Any]


def _earlier(name: str, device: str) -> _Earlier:
    from hashlib import sha256

    from app import library
    from models.checkpoint import load_world, read_card

    folder = library.pick(name)
    world, card = load_world(folder, device), read_card(folder)
    digest = sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    known = card.get("facts", {})
    kept = {key: known[key] for key in ("command", "minutes", "commit", "from") if key in known}
    return _Earlier(world, digest[:16], {"weights": digest[:16], **kept})


def _described(manifest: Any) -> str:
    """What a run remembers of a data set, so that it does not go on with another one unasked."""
    size, seed = f"{manifest.height}x{manifest.width}", f"seed {manifest.seed}"
    dreamed = f", {manifest.dreamed} episodes dreamed" if manifest.dreamed else ""
    return f"{manifest.game} {size}, {manifest.frames} frames, {manifest.behaviour}, {seed}{dreamed}"


def splits_of(datasets: list[Any]) -> Any:
    """What is learned from, and the validation split to look at, or the training episodes where a small data set has
    none."""
    from training.pipeline import Data
    from training.windows import Windows

    learned = Windows(datasets, "train")
    try:
        return Data(learned, Windows(datasets, "validation"))
    except ValueError:
        click.echo("note: too few episodes for a validation split; previews show training episodes")
        return Data(learned, learned)


COMMANDS = [train]
