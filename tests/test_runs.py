"""A run folder: one run, one config, and nothing in it is half written or believed when damaged."""

import json
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from app.cli import explain
from training.loop import LoopConfig, Part, train_part
from training.runs import Run, differences, random_state, set_random_state, write_text

CONFIG = {"experiment": {"lam": {"steps": 10, "optim": {"lr": 0.1}}, "levels": (8, 6)}, "data": ["0"]}


def other(steps: int = 12) -> dict[str, object]:
    return {**CONFIG, "experiment": {**CONFIG["experiment"], "lam": {"steps": steps, "optim": {"lr": 0.1}}}}


def lines(run: Run) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]


def one_line(error: Exception) -> bool:
    """Whether the program would print one line, and not the name of a Python error."""
    text, status = explain(error)
    return "\n" not in str(error) and status == 2 and type(error).__name__ not in text


def test_the_config_is_written_as_plain_json(tmp_path: Path) -> None:
    Run(tmp_path / "run", CONFIG)
    found = json.loads((tmp_path / "run" / "config.json").read_text())
    assert found == {"experiment": {"lam": {"steps": 10, "optim": {"lr": 0.1}}, "levels": [8, 6]}, "data": ["0"]}


def test_a_folder_holds_one_run(tmp_path: Path) -> None:
    Run(tmp_path, CONFIG)
    with pytest.raises(ValueError, match=r"already holds a run; add --resume to go on with it or choose another --run"):
        Run(tmp_path, CONFIG)
    Run(tmp_path, CONFIG, resume=True)


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing to resume in .*run; leave --resume away to start"):
        Run(tmp_path / "run", CONFIG, resume=True)
    assert not (tmp_path / "run").exists()


def test_another_config_is_refused_with_what_differs(tmp_path: Path) -> None:
    Run(tmp_path, CONFIG)
    message = r"config differs from the run's: experiment.lam.steps: 10 → 12; add --override to go on"
    with pytest.raises(ValueError, match=message) as caught:
        Run(tmp_path, other(), resume=True)
    assert one_line(caught.value)
    assert json.loads((tmp_path / "config.json").read_text())["experiment"]["lam"]["steps"] == 10
    Run(tmp_path, other(), resume=True, override=True)
    assert json.loads((tmp_path / "config.json").read_text())["experiment"]["lam"]["steps"] == 12
    Run(tmp_path, other(), resume=True)


def test_differences_are_named_wherever_they_are() -> None:
    old = {"a": 1, "b": {"c": [1, 2], "d": None}, "e": 5}
    new = {"a": 1, "b": {"c": [1, 3], "d": None}, "f": 6}
    assert differences(old, new) == ["b.c: [1, 2] → [1, 3]", "e: 5 → None", "f: None → 6"]
    assert differences(old, old) == []


def test_a_damaged_config_is_one_line(tmp_path: Path) -> None:
    Run(tmp_path, CONFIG)
    (tmp_path / "config.json").write_text('{"experiment": ')
    with pytest.raises(ValueError, match=r"config.json is damaged and not JSON any more; choose another") as caught:
        Run(tmp_path, CONFIG, resume=True)
    assert one_line(caught.value)


def test_metrics_are_appended_and_forgotten_from_where_the_run_goes_on(tmp_path: Path) -> None:
    run = Run(tmp_path, CONFIG)
    for part in ("lam", "dynamics"):
        for step in (5, 10, 15):
            run.report(part, step, {"loss": step / 7})
    with (tmp_path / "metrics.jsonl").open("a") as handle:
        handle.write('{"part": "dynamics", "st')  # the writer was killed here
    run.forget_after("dynamics", 10)
    found = [(line["part"], line["step"]) for line in lines(run)]
    assert found == [("lam", 5), ("lam", 10), ("lam", 15), ("dynamics", 5), ("dynamics", 10)]
    assert lines(run)[0] == {"part": "lam", "step": 5, "loss": 0.714286}
    run.report("dynamics", 15, {"loss": 1.0})
    assert len(lines(run)) == 6


def test_metrics_are_a_table_too(tmp_path: Path) -> None:
    run = Run(tmp_path, CONFIG)
    run.report("lam", 5, {"loss": 1.5})
    run.report("lam", 10, {"loss": 1.0})
    assert (tmp_path / "metrics.csv").read_text().split() == ["part,step,loss", "lam,5,1.5", "lam,10,1.0"]
    run.report("dynamics", 5, {"mse": 0.25})
    run.report("dynamics", 10, {"mse": 0.125})
    told = ["part,step,loss,mse", "lam,5,1.5,", "lam,10,1.0,", "dynamics,5,,0.25", "dynamics,10,,0.125"]
    assert (tmp_path / "metrics.csv").read_text().split() == told
    with (tmp_path / "metrics.csv").open("a") as handle:
        handle.write("dynamics,15,")  # the writer was killed here
    run.forget_after("dynamics", 5)
    assert (tmp_path / "metrics.csv").read_text().split() == told[:-1]


def test_metrics_are_on_the_tensorboard_too(tmp_path: Path) -> None:
    run = Run(tmp_path, CONFIG)
    run.report("lam", 5, {"loss": 1.0})
    assert len(list((tmp_path / "tb").glob("events.*"))) == 1


def test_a_finished_part_comes_back_and_needs_no_resume(tmp_path: Path) -> None:
    run = Run(tmp_path, CONFIG)
    torch.manual_seed(0)
    module, again = nn.Linear(4, 3), nn.Linear(4, 3)
    run.save_resume("lam", {"step": 3})
    assert not run.part_done("lam")
    run.save_part("lam", module)
    assert run.part_done("lam")
    assert run.load_resume("lam") is None
    run.load_part("lam", again)
    assert torch.equal(module.weight, again.weight)


def test_a_part_that_is_not_there_or_does_not_fit(tmp_path: Path) -> None:
    run = Run(tmp_path, CONFIG)
    message = r"lam checkpoint not found at .*lam.safetensors; there are: none"
    with pytest.raises(FileNotFoundError, match=message):
        run.load_part("lam", nn.Linear(4, 3))
    run.save_part("tokenizer", nn.Linear(4, 3))
    with pytest.raises(FileNotFoundError, match="there are: tokenizer"):
        run.load_part("lam", nn.Linear(4, 3))
    for wrong in (nn.Linear(4, 5), nn.Linear(4, 3, bias=False), nn.Conv1d(4, 3, 1)):
        with pytest.raises(ValueError, match=r"tokenizer.safetensors does not fit the config of this run") as caught:
            run.load_part("tokenizer", wrong)
        assert one_line(caught.value)


def test_a_checkpoint_of_another_part_is_named(tmp_path: Path) -> None:
    run = Run(tmp_path, CONFIG)
    run.save_part("lam", nn.Linear(2, 3))
    (tmp_path / "parts" / "lam.safetensors").rename(tmp_path / "parts" / "tokenizer.safetensors")
    with pytest.raises(ValueError, match=r"expected a tokenizer checkpoint, .* holds 'lam'") as caught:
        run.read_part("tokenizer")
    assert one_line(caught.value)


def test_a_damaged_part_is_one_line(tmp_path: Path) -> None:
    run = Run(tmp_path, CONFIG)
    run.save_part("lam", nn.Linear(4, 3))
    path = tmp_path / "parts" / "lam.safetensors"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"lam.safetensors is damaged: .*; delete it to train lam again") as caught:
        run.load_part("lam", nn.Linear(4, 3))
    assert one_line(caught.value)


@pytest.mark.parametrize("harm", ["cut", "empty", "text"])
def test_a_damaged_resume_file_says_what_to_do(tmp_path: Path, harm: str) -> None:
    run = Run(tmp_path, CONFIG)
    run.save_resume("lam", {"module": {"weight": torch.randn(50, 50)}, "step": 3})
    path = tmp_path / "resume" / "lam.pt"
    path.write_bytes({"cut": path.read_bytes()[:4000], "empty": b"", "text": b"hello there"}[harm])
    with pytest.raises(ValueError, match=r"lam.pt is damaged; delete it to restart lam") as caught:
        run.load_resume("lam")
    assert one_line(caught.value)


def test_nothing_in_a_resume_file_is_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "sprung",)  # type: ignore[return-value]

    run = Run(tmp_path, CONFIG)
    torch.save({"module": Trap()}, tmp_path / "resume" / "lam.pt")
    with pytest.raises(ValueError, match=r"lam.pt is damaged; ") as caught:
        run.load_resume("lam")
    assert one_line(caught.value)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("state", [{}, {"module": {}, "average": {}, "optimiser": [], "random": {}, "step": 1}])
def test_a_resume_file_of_another_config_is_one_line(tmp_path: Path, state: dict[str, object]) -> None:
    run = Run(tmp_path, CONFIG)
    run.save_resume("lam", state)
    part = Part("lam", nn.Linear(4, 3), lambda rng, progress: (torch.zeros((), requires_grad=True), {}))
    message = r"lam.pt does not fit the config of this run; delete it to restart lam"
    with pytest.raises(ValueError, match=message) as caught:
        train_part(part, LoopConfig(steps=2), run, seed=0)
    assert one_line(caught.value)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    run = Run(tmp_path, CONFIG)
    run.save_resume("lam", {"step": 3})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, limits[1]))
    caught = []
    try:
        for write in (
            lambda: run.save_resume("lam", {"step": 4, "module": torch.randn(100, 100)}),
            lambda: run.save_part("lam", nn.Linear(100, 100)),
        ):
            with pytest.raises(OSError, match=r"cannot write .*: file too large; make room and go on with") as error:
                write()
            caught.append(error.value)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert all("\n" not in str(error) and explain(error)[1] == 2 for error in caught)
    assert run.load_resume("lam") == {"step": 3}
    assert not run.part_done("lam")
    assert not list(tmp_path.rglob("*.draft"))


def test_a_full_disk_is_one_line_whatever_is_written(tmp_path: Path) -> None:
    run, limits = Run(tmp_path, CONFIG), resource.getrlimit(resource.RLIMIT_FSIZE)
    picture = torch.randint(256, (3, 40, 50), dtype=torch.uint8)
    writes = {
        "autocast.txt": lambda: write_text(tmp_path / "autocast.txt", 200 * "on"),
        "minutes.json": lambda: run.add_minutes(200 * "lam", 1.0),
        "metrics.jsonl": lambda: run.report("lam", 5, {200 * "loss": 1.0}),
        "lam-000005.png": lambda: run.preview("lam-000005", picture),
    }
    caught = {}
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        for name, write in writes.items():
            with pytest.raises(OSError, match=rf"cannot write .*{name}: file too large; make room and go on") as error:
                write()
            caught[name] = error.value
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert all(one_line(error) for error in caught.values())
    assert not list(tmp_path.rglob("*.draft"))
    assert not list((tmp_path / "previews").iterdir())
    run.forget_after("lam", 5)
    assert lines(run) == []


def test_minutes_of_a_part_add_up(tmp_path: Path) -> None:
    run = Run(tmp_path, CONFIG)
    assert run.minutes() == {}
    for part, spent in (("lam", 1.5), ("dynamics", 4.0), ("lam", 0.25)):
        run.add_minutes(part, spent)
    assert Run(tmp_path, CONFIG, resume=True).minutes() == {"lam": 1.75, "dynamics": 4.0}


def test_random_states_go_on_where_they_stood(tmp_path: Path) -> None:
    run = Run(tmp_path, CONFIG)
    torch.manual_seed(3)
    rng = np.random.default_rng(5)
    torch.rand(7), rng.random(3)
    run.save_resume("lam", {"random": random_state(rng)})
    expected = torch.rand(4), torch.randn(3), rng.random(4), rng.integers(0, 99, 5)
    torch.manual_seed(0)
    again = np.random.default_rng(0)
    set_random_state(again, run.load_resume("lam")["random"])
    found = torch.rand(4), torch.randn(3), again.random(4), again.integers(0, 99, 5)
    for one, two in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, two)


def test_previews_are_pictures(tmp_path: Path) -> None:
    from PIL import Image

    picture = torch.arange(3 * 4 * 5, dtype=torch.uint8).reshape(3, 4, 5)
    Run(tmp_path, CONFIG).preview("lam-000005", picture)
    found = np.asarray(Image.open(tmp_path / "previews" / "lam-000005.png"))
    np.testing.assert_array_equal(found, picture.permute(1, 2, 0).numpy())
