"""`dreamcade evaluate` measures a world against real play that it has not seen."""

from __future__ import annotations

import json
from pathlib import Path

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
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same scorecard, speed aside.")
@click.option("--strips", type=click.Path(path_type=Path), help="Folder for pictures of real and dreamed frames.")
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
    seed: int,
    strips: Path | None,
    write: bool,
    device: str,
) -> None:
    """Measure WORLD, a folder or the name of a world, against held-out real play.

    Prints a report in Markdown on stdout; progress goes to stderr.
    """
    from app import library
    from collectors.drafts import publish
    from collectors.shards import Dataset
    from models.checkpoint import update_facts
    from training.evaluation import EvaluationOptions
    from training.evaluation import evaluate as measure
    from training.held_out import held_out
    from training.report import markdown

    where, folder = library.device(device), library.pick(world)
    options = EvaluationOptions(
        clips=clips, dreams=dreams, dream_frames=dream_frames, seed=seed, strips=strips, folder=folder
    )
    with Dataset.open(data) as dataset:
        if dataset.manifest.dreamed:
            share = f"{dataset.manifest.dreamed} of {dataset.manifest.episodes} episodes"
            click.echo(f"warning: {data}: {share} were dreamed; this does not measure the real game", err=True)
        model = library.open_world(folder, where)
        card = measure(model, held_out(dataset, split), options, lambda line: click.echo(line, err=True))
    card["data"] |= {"path": str(data), "split": split}
    click.echo(markdown(card))
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        publish(json_path, (json.dumps(card, indent=1, allow_nan=False) + "\n").encode())
    if write:
        update_facts(folder, {"scorecard": card})


COMMANDS = [evaluate]
