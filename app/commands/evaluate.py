"""`dreamcade evaluate` measures a world against real play that it has not seen."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click


@click.command()
@click.argument("world")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Data set with play of the world's game.")
@click.option(
    "--split",
    default="held-out",
    show_default=True,
    help="held-out (validation and test), validation, test, or all for a data set that was not trained on.",
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the scorecard here.")
@click.option("--clips", default=128, show_default=True, help="Clips for the roll-outs.")
@click.option("--dreams", default=20, show_default=True, help="Dreams under random codes.")
@click.option("--dream-frames", default=1000, show_default=True, help="Frames of each dream.")
@click.option("--judged", default=64, show_default=True, help="Clips a horizon of the two-sample test; 0: none.")
@click.option(
    "--prompt", type=click.IntRange(1, 64), help="Real frames that a dream begins with.  [default: the world's own]"
)
@click.option(
    "--weights-dir",
    type=click.Path(path_type=Path),
    help="Folder with published weights, for LPIPS: alexnet-owt-7be5be79.pth, and alex.pth or the package lpips.",
)
@click.option(
    "--fvd", is_flag=True, help="With --weights-dir: FVD by i3d_torchscript.pt there, which runs the code in that file."
)
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same scorecard, speed aside.")
@click.option("--strips", type=click.Path(path_type=Path), help="Folder for pictures of real and dreamed frames.")
@click.option(
    "--html",
    "html_folder",
    type=click.Path(path_type=Path),
    help="Folder for the scorecard as WORLD.html, one page with all pictures, and as WORLD.json.",
)
@click.option("--write", is_flag=True, help="Keep the scorecard in the world's own config.json.")
@click.option("--device", default="cpu", show_default=True, help="Where the world runs: auto, cpu, cuda or mps.")
def evaluate(
    world: str,
    data: Path,
    split: str,
    json_path: Path | None,
    clips: int,
    dreams: int,
    dream_frames: int,
    judged: int,
    prompt: int | None,
    weights_dir: Path | None,
    fvd: bool,
    seed: int,
    strips: Path | None,
    html_folder: Path | None,
    write: bool,
    device: str,
) -> None:
    """Measure WORLD, a folder or the name of a world, against held-out real play.

    Prints a report in Markdown on stdout; progress goes to stderr.

    \b
      dreamcade evaluate pong --data saves/datasets/pong-held-out --split all --html docs/scorecards
    """
    from app import library
    from models.checkpoint import update_facts
    from training.canonical import canonical
    from training.evaluation import EvaluationOptions
    from training.report import markdown

    if fvd and weights_dir is None:
        raise click.UsageError("--fvd needs --weights-dir with i3d_torchscript.pt")
    published = None if weights_dir is None else canonical(weights_dir, fvd)
    where, folder = library.device(device), library.pick(world)
    keeping = TemporaryDirectory() if html_folder is not None and strips is None else None
    pictures = Path(keeping.name) if keeping is not None else strips
    options = EvaluationOptions(
        clips=clips,
        dreams=dreams,
        dream_frames=dream_frames,
        judged=judged,
        seed=seed,
        published=published,
        strips=pictures,
        folder=folder,
    )
    card = _card(folder, data, split, prompt, where, options)
    click.echo(markdown(card))
    _publish(card, json_path)
    if html_folder is not None and pictures is not None:
        _publish(card, html_folder / f"{folder.name}.json")
        _publish_page(card, html_folder / f"{folder.name}.html", pictures)
    if keeping is not None:
        keeping.cleanup()
    if write:
        update_facts(folder, {"scorecard": card})


def _card(folder: Path, data: Path, split: str, prompt: int | None, where: str, options: Any) -> dict[str, Any]:
    """The scorecard of the world in a folder, with what it was made from and by what."""
    from dataclasses import replace

    from app import library
    from collectors.shards import Dataset
    from training.evaluation import evaluate as measure
    from training.held_out import held_out

    with Dataset.open(data) as dataset:
        _warn(dataset.manifest, data)
        model: Any = library.open_world(folder, where)
        if prompt is not None:
            model = model.with_spec(replace(model.spec, context=prompt))
        card = measure(model, held_out(dataset, split), options, lambda line: click.echo(line, err=True))
    return card | {"data": card["data"] | {"path": str(data), "split": split}, "made": _made()}


def _warn(manifest: Any, data: Path) -> None:
    """Say so where some of the play was dreamed."""
    if manifest.dreamed:
        share = f"{manifest.dreamed} of {manifest.episodes} episodes"
        click.echo(f"warning: {data}: {share} were dreamed; this does not measure the real game", err=True)


def _made() -> dict[str, Any]:
    """By which code and on which machine a scorecard was made."""
    from training.cards import commit, machine

    made = machine()
    return {"commit": commit(), "processor": made["cpu"], "threads": made["threads"], "torch": made["torch"]}


def _publish(card: dict[str, Any], path: Path | None) -> None:
    """Write a scorecard as JSON, if it is wanted."""
    from collectors.drafts import publish

    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        publish(path, (json.dumps(card, indent=1, allow_nan=False) + "\n").encode())


def _publish_page(card: dict[str, Any], path: Path, pictures: Path) -> None:
    """Write a scorecard as one page, with the pictures of a folder."""
    from collectors.drafts import publish
    from training.page import page

    publish(path, page(card, _pictures(pictures)).encode())


def _pictures(folder: Path) -> dict[str, tuple[str, bytes]]:
    """The pictures of a scorecard by name: media type and bytes."""
    kinds = {".png": "image/png", ".gif": "image/gif"}
    found = folder.iterdir() if folder.is_dir() else ()
    return {path.stem: (kinds[path.suffix], path.read_bytes()) for path in found if path.suffix in kinds}


COMMANDS = [evaluate]
