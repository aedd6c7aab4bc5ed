"""`dreamcade rebuild`: what an autoencoder or a tokenizer makes of frames that it has not seen."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("what", metavar="WORLD|RUN")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Data set with play of the same size.")
@click.option(
    "--split",
    default="held-out",
    show_default=True,
    help="held-out (validation and test), validation, by which the best checkpoint was chosen, test, or all for a data"
    " set that was not trained on.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for figures, pictures and a video of both.")
@click.option("--frames", default=2000, show_default=True, help="About how many frames to measure.")
@click.option("--film", "filmed", default=300, show_default=True, help="Frames of the video.")
@click.option("--seed", default=0, show_default=True)
def rebuild(what: str, data: Path, split: str, out: Path | None, frames: int, filmed: int, seed: int) -> None:
    """Measure what is left of real frames once they went through a tokenizer or an autoencoder: that of WORLD, or of a
    RUN in which it is trained already. PSNR, SSIM, moving pixels, and of latents variance and mean.

    \b
      dreamcade train pong --family latent_ae --minutes 15
      dreamcade rebuild saves/runs/pong-latent_ae --data saves/datasets/pong --out saves/rebuilt
    """
    from app import library
    from app.recorder import record
    from collectors.drafts import publish
    from collectors.shards import Dataset
    from training.held_out import held_out
    from training.rebuilding import as_json, film, measure, open_rebuilder, written
    from training.report import save_sheet

    if frames < 2 or filmed < 2:
        raise ValueError(f"--frames and --film must be 2 or more, found {frames} and {filmed}")
    folder = Path(what) if (Path(what) / "config.json").is_file() else library.pick(what)
    with Dataset.open(data) as dataset:
        play = held_out(dataset, split)
        module = open_rebuilder(folder, play)
        card, sheet = measure(module, play, frames, seed, lambda line: click.echo(line, err=True))
        click.echo(written(card))
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            publish(out / "rebuilt.json", as_json(card))
            save_sheet(out / "rebuilt.png", sheet)
            record(out / "rebuilt.mp4", film(module, play, filmed), [], 15.0)
            click.echo(f"figures, pictures and video: {out}")


COMMANDS = [rebuild]
