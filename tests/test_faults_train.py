"""Training goes wrong: killed, interrupted, diverging, wrong data. Nothing is lost, and one line says why."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.cli import main
from collectors.rollout import CollectConfig, collect
from models.checkpoint import load_world, read_card

ROOT = Path(__file__).parent.parent
SMALL = [
    *("--size", "tiny", "--threads", "1", "--autocast", "off", "--device", "cpu"),
    *("--set", "lam.steps=40", "--set", "lam.keep_every=7", "--set", "dynamics.steps=40"),
    *("--set", "dynamics.keep_every=7", "--set", "dynamics.batch=2"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 frames of real Pong."""
    folder = tmp_path_factory.mktemp("data") / "pong"
    collect(CollectConfig(frames=600, episode_frames=150, shard_frames=320, workers=1), folder)
    return folder


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a run that nothing interrupted left its run folder and its world."""
    folder = tmp_path_factory.mktemp("whole")
    assert main(["train", "pong", *arguments(data, folder)]) == 0
    return folder


def arguments(data: Path, folder: Path) -> list[str]:
    return ["--data", str(data), "--run", str(folder / "run"), "--out", str(folder / "world"), *SMALL]


def start(data: Path, folder: Path, part: str, *more: str) -> "subprocess.Popen[str]":
    """The train command in a process of its own, in the midst of a part: its first checkpoint is there."""
    command = [sys.executable, "-m", "app.cli", "train", "pong", *arguments(data, folder), *more]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 120
    while not (folder / "run" / "resume" / f"{part}.pt").exists():
        if process.poll() is not None or time.monotonic() > limit:
            process.kill()
            pytest.fail(f"training ended before {part} was kept: {process.communicate()}")
        time.sleep(0.005)
    return process


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "steps_per_second"} for line in lines]


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "world" / "model.safetensors").read_bytes()).hexdigest()


def test_interrupted_killed_and_resumed_is_the_same_as_never_stopped(tmp_path: Path, data: Path, whole: Path) -> None:
    process = start(data, tmp_path, "lam")
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert f"stopped; go on with --resume --run {tmp_path / 'run'}" in said
    assert "Traceback" not in said + errors
    process = start(data, tmp_path, "dynamics", "--resume")
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "world").exists()
    assert main(["train", "pong", *arguments(data, tmp_path), "--resume"]) == 0
    assert digest(tmp_path) == digest(whole)
    assert metrics(tmp_path) == metrics(whole)
    for key in ("family", "config", "spec"):
        assert read_card(tmp_path / "world")[key] == read_card(whole / "world")[key], key
    assert not list((tmp_path / "run" / "resume").iterdir())


def test_a_finished_run_is_written_again_from_its_parts(tmp_path: Path, data: Path, whole: Path) -> None:
    options = arguments(data, whole)
    options[options.index("--out") + 1] = str(tmp_path / "world")
    assert main(["train", "pong", *options, "--resume"]) == 0
    assert digest(tmp_path) == digest(whole)


def refused(capsys: pytest.CaptureFixture[str], *words: str, status: int = 2) -> str:
    """What the program says on stderr in its one line of refusal."""
    capsys.readouterr()
    assert main(["train", *words]) == status
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    return told[0].removeprefix("error: ")


def test_another_config_is_refused_and_can_be_insisted_on(
    tmp_path: Path, data: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = arguments(data, whole)
    options[options.index("--out") + 1] = str(tmp_path / "world")
    changed = [*options, "--set", "dynamics.optim.clip=2.0", "--resume"]
    text = refused(capsys, "pong", *changed)
    assert "config differs from the run's: experiment.dynamics.optim.clip: 1.0 → 2.0; add --override to go on" in text
    assert not (tmp_path / "world").exists()
    before = (whole / "run" / "config.json").read_text()
    assert main(["train", "pong", *changed, "--override"]) == 0
    assert digest(tmp_path) == digest(whole)
    assert json.loads((whole / "run" / "config.json").read_text())["experiment"]["dynamics"]["optim"]["clip"] == 2.0
    (whole / "run" / "config.json").write_text(before)


def test_a_run_does_not_go_on_with_other_data(tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    collect(CollectConfig(frames=300, episode_frames=150, shard_frames=320, workers=1), tmp_path / "other")
    options = arguments(tmp_path / "other", whole)
    options[options.index("--out") + 1] = str(tmp_path / "world")
    text = refused(capsys, "pong", *options, "--resume")
    was, now = (f"['pong 104x80, {frames} frames, mix, seed 0']" for frames in (604, 302))
    assert text == f"config differs from the run's: data: {was} → {now}; add --override to go on"
    assert not (tmp_path / "world").exists()


def test_what_is_no_world_is_not_replaced(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "world"
    home.mkdir()
    (home / "novel.txt").write_text("Chapter one.")
    text = refused(capsys, "pong", *arguments(data, tmp_path))
    assert text == f"{home} is there and is no world; choose another --out"
    assert (home / "novel.txt").read_text() == "Chapter one."
    assert not (tmp_path / "run").exists()


def test_a_second_run_does_not_overwrite_the_first(data: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = digest(whole)
    text = refused(capsys, "pong", *arguments(data, whole))
    assert "already holds a run; add --resume to go on with it or choose another --run" in text
    assert digest(whole) == before


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = refused(capsys, "pong", *arguments(data, tmp_path), "--set", "lam.optim.lr=1e38", status=3)
    assert "loss of lam is nan at step " in text or "loss of lam is inf at step " in text
    assert "nothing is kept yet; go on with --resume --override --set lam.optim.lr=3e+37" in text
    assert "NotFinite" not in text
    assert (tmp_path / "run" / "nan_dump.pt").is_file()
    assert (tmp_path / "run" / "parts" / "tokenizer.safetensors").is_file()
    assert not (tmp_path / "run" / "parts" / "lam.safetensors").exists()
    assert not (tmp_path / "world").exists()


def test_a_damaged_checkpoint_says_what_to_do(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [*arguments(data, tmp_path), "--resume"]
    assert main(["train", "tokenizer", *options[:-1]]) == 0
    kept = tmp_path / "run" / "resume" / "lam.pt"
    kept.write_bytes(b"PK\x03\x04 half a checkpoint")
    assert f"{kept} is damaged; delete it to restart lam" in refused(capsys, "lam", *options)
    part = tmp_path / "run" / "parts" / "tokenizer.safetensors"
    part.write_bytes(part.read_bytes()[:1000])
    text = refused(capsys, "lam", *options)
    assert f"{part} is damaged" in text
    assert "delete it to train tokenizer again" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pong", "--set", "dynamics.stepz=1"], "no 'stepz' here; did you mean 'steps'? known: steps, batch, length"),
        (["pong", "--set", "lam.steps=0"], "steps must be 1 or more, found 0"),
        (
            ["pong", "--set", "family.tokenizer.patch=(7,7)"],
            "patch 7x7 does not divide a frame of 104x80; use rows",
        ),
        (
            ["pong", "--set", "family.dynamics.heads=0"],
            "is not divisible by 0 heads; use 1, 2, 4",
        ),
        (["pong", "--set", "seed=-1"], "seed must be 0 or more, found -1"),
        (["pong", "--set", "lam.length=500"], "longest episode has 151 frames, a window needs 500; collect longer"),
        (["pong", "--set", "dynamics.length=1"], "too short"),
        (["pong", "--preset", "maskgti"], "unknown preset 'maskgti'; known: maskgit"),
        (["pong", "--device", "tpu"], "there is no device 'tpu'; use auto, cpu, cuda or mps"),
        (["pong", "--resume"], "nothing to resume in"),
        (["breakout"], "holds 'pong', expected 'breakout'"),
        (["pnog"], "unknown game 'pnog'; did you mean pong"),
    ],
)
def test_what_a_person_gets_wrong(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    text = refused(capsys, words[0], *arguments(data, tmp_path), *words[1:])
    assert message in text
    assert not (tmp_path / "world").exists()
    assert not (tmp_path / "run").exists()


def test_data_that_is_not_there(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "run")
    nowhere = str(tmp_path / "nowhere")
    assert "no manifest.json in" in refused(capsys, "pong", "--data", nowhere, "--run", folder)
    assert "no data set given" in refused(capsys, "lam", "--run", folder)
    empty = tmp_path / "empty"
    empty.mkdir()
    found = json.loads((data / "manifest.json").read_text())
    (empty / "manifest.json").write_text(json.dumps({**found, "shards": [], "complete": False}))
    assert "has no finished shard yet" in refused(capsys, "pong", "--data", str(empty), "--run", folder)
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / "manifest.json").write_text(json.dumps(found))
    assert "is in the manifest and not in the folder" in refused(capsys, "pong", "--data", str(cut), "--run", folder)
    assert not Path(folder).exists()


def test_no_world_is_written_where_none_can_be(tmp_path: Path, data: Path, whole: Path, capsys) -> None:
    (tmp_path / "file").write_text("in the way")
    options = arguments(data, whole)
    options[options.index("--out") + 1] = str(tmp_path / "file" / "world")
    text = refused(capsys, "pong", *options, "--resume")
    assert "world could not be written to" in text
    parts = {path.stem for path in (whole / "run" / "parts").glob("*.safetensors")}
    assert parts == {"tokenizer", "lam", "dynamics"}


def test_a_world_goes_on_learning(tmp_path: Path, data: Path, whole: Path) -> None:
    begin = whole / "world"
    folder = ["--data", str(data), "--run", str(tmp_path / "run"), "--out", str(tmp_path / "world")]
    dials = ["--threads", "1", "--autocast", "off", "--set", "dynamics.steps=4", "--set", "dynamics.length=6"]
    assert main(["train", "pong", "--from", str(begin), *folder, *dials, "--set", "across=0.5"]) == 0
    before, after = load_world(begin).state_dict(), load_world(tmp_path / "world").state_dict()
    changed = {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"dynamics"}
    facts = read_card(tmp_path / "world")["facts"]
    assert facts["from"]["command"] == read_card(begin)["facts"]["command"]
    assert facts["from"]["weights"] == digest(whole)[:16]
    assert (tmp_path / "world" / "README.md").read_text().count("- command:") == 2
    assert {line["part"] for line in metrics(tmp_path)} == {"dynamics"}


def test_counting_alone_leaves_the_weights_as_they_are(tmp_path: Path, data: Path, whole: Path, capsys) -> None:
    """Of a world that never heard of counting: told it by config, as worlds of before are."""
    begin, folder = tmp_path / "begin", ["--data", str(data), "--run", str(tmp_path / "run")]
    shutil.copytree(whole / "world", begin)
    card = json.loads((begin / "config.json").read_text())
    card["config"]["dynamics"]["familiar"] = False
    (begin / "config.json").write_text(json.dumps(card))
    weights = load_file(begin / "model.safetensors")
    del weights["dynamics.prior"]
    save_file(weights, begin / "model.safetensors")
    told = ["--only-count", "--set", "family.dynamics.changes=true", "--threads", "1", "--autocast", "off"]
    refusal = refused(capsys, "pong", *folder, "--only-count")
    assert "--only-count needs --from WORLD" in refusal
    assert main(["train", "pong", "--from", str(begin), *folder, "--out", str(tmp_path / "world"), *told]) == 0
    before, after = load_world(begin).state_dict(), load_world(tmp_path / "world").state_dict()
    assert set(after) - set(before) == {f"dynamics.changes.{name}" for name in ("seen", "most", "opens")}
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert bool((after["dynamics.changes.seen"] != -1).any())
    assert not bool(after["dynamics.changes.opens"].all())
    assert "--only-count" in read_card(tmp_path / "world")["facts"]["command"]


def test_a_world_that_does_not_fit_is_refused(
    tmp_path: Path, data: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ["--data", str(data), "--run", str(tmp_path / "run"), "--out", str(tmp_path / "world")]
    begin = ["train", "pong", *folder, "--from", str(whole / "world")]
    for change, message in (
        ("family.dynamics.width=64", "--set may not change the sizes of the world to go on from"),
        ("across=2", "across must be in [0, 1], found 2"),
    ):
        assert main([*begin, "--set", change]) == 2
        assert message in capsys.readouterr().err
    assert main(["train", "pong", *folder, "--from", "nowhere"]) == 2
    assert "there is no world 'nowhere'" in capsys.readouterr().err
    assert not (tmp_path / "world").exists()
