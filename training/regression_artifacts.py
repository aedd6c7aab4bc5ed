"""The files of a regression run under the names that its specification gives them, inside the run folder:
`run_config.json`, `checkpoints/dynamics_checkpoint_TIME.pth`, `visualizations/dynamics_prediction_step_N_TIME.png`.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from training.runs import write_state, write_text

if TYPE_CHECKING:
    from training.pipeline import Pipeline

STAMP = "%a_%b_%d_%H_%M_%S_%Y"


def write_artifacts(pipeline: Pipeline) -> None:
    """Write them for dynamics that were trained."""
    run, world, loop = pipeline.run, pipeline.world, pipeline.experiment.dynamics
    stamp, lines = time.strftime(STAMP), _lines(pipeline)
    updates, losses = int(lines[-1]["step"]), [line["mse"] for line in lines]
    results = {"n_updates": updates, "dynamics_losses": losses, "loss_vals": [line["loss"] for line in lines]}
    optimiser = (run.load_resume("dynamics") or {}).get("optimiser")  # as it was at the last checkpoint
    checkpoint = run.folder / "checkpoints" / f"dynamics_checkpoint_{stamp}.pth"
    checkpoint.parent.mkdir(exist_ok=True)
    config = asdict(world.dynamics.config)
    model = world.dynamics.state_dict()
    state = {"model": model, "optimizer_state_dict": optimiser, "results": results, "hyperparameters": config}
    write_state(checkpoint, state)
    shown = run.folder / "visualizations"
    shown.mkdir(exist_ok=True)
    for preview in sorted((run.folder / "previews").glob("dynamics-*.png")):
        step = int(preview.stem.split("-")[1])
        shutil.copy(preview, shown / f"dynamics_prediction_step_{step}_{stamp}.png")
    told: dict[str, Any] = {
        "timestamp": stamp,
        "device": pipeline.device,
        "model_architecture": {"tokenizer": asdict(world.tokenizer.config), "dynamics": config},
        "training_parameters": asdict(loop),
        "pretrained_models": {part: str(run.folder / "parts" / f"{part}.safetensors") for part in ("tokenizer", "lam")},
        "checkpoint_info": {"path": str(checkpoint), "results": {"n_updates": updates}},
        "directories": {"checkpoints": str(checkpoint.parent), "visualizations": str(shown)},
    }
    write_text(run.folder / "run_config.json", json.dumps(told, indent=1) + "\n")


def _lines(pipeline: Pipeline) -> list[dict[str, float]]:
    """What was reported of the dynamics."""
    lines = map(json.loads, (pipeline.run.folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["part"] == "dynamics"]
