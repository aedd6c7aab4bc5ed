"""Bad input as a person meets it, command by command: one clear line, the right exit status, nothing lost."""

import errno
import os
import re
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import test_shards as shards
import torch
from PIL import Image
from test_checkpoint import CLIPS, contents, files_of_a_player, made
from world_faults import FAULTS, bomb, odd_picture

from app import library, machine
from app.cli import explain, main
from models.checkpoint import load_world, save_world, update_facts
from training.runs import Run

Words = tuple[object, ...]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An untrained world called `blocks`, the only one that the player has; nothing shipped."""
    monkeypatch.setenv("DREAMCADE_SAVES", str(tmp_path / "saves"))
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr(library, "ASSETS", tmp_path / "assets")
    return save_world(made(), tmp_path / "saves" / "worlds" / "blocks", {}, CLIPS, "# Blocks\n")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five short episodes of a game called `counting`, 4x6 pixels, in two shards."""
    return shards.make_dataset(tmp_path / "data")[0]


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line with which the program refuses a command."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    lines = capsys.readouterr().err.splitlines()
    told = [line for line in lines if line.startswith("error: ")]
    assert len(told) == 1, lines
    assert "Traceback" not in "".join(lines)
    return told[0].removeprefix("error: ")


def on_world(world: object, data: Path, out: Path) -> tuple[Words, ...]:
    """Every command that opens a world."""
    return (
        ("dream", world, "--frames", 2, "--out", out),
        ("play", world, "--max-frames", 2),
        ("evaluate", world, "--data", data, "--split", "all", "--json", out, "--write"),
    )


def on_data(data: Path, world: Path, run: Path) -> tuple[Words, ...]:
    """Every command that reads a data set."""
    return (
        ("inspect", data),
        ("train", "lam", "--data", data, "--run", run),
        ("evaluate", world, "--data", data, "--split", "all"),
    )


def halve(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def full(*arguments: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_missing_world_is_named(world, data, tmp_path, capsys):
    for words in on_world("nosuch", data, tmp_path / "x.npz"):
        text = refused(capsys, *words)
        assert "no world" in text
        assert "'nosuch'" in text
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize("fault", ["no weights", "weights cut", "another format", "unknown family", "no spec"])
def test_a_damaged_world_is_refused_by_every_command(world, data, tmp_path, capsys, fault):
    harm, message = FAULTS[fault]
    harm(world)
    before = contents(world)
    for words in on_world(world, data, tmp_path / "x.npz"):
        assert re.search(message, refused(capsys, *words))
    assert contents(world) == before
    assert not (tmp_path / "x.npz").exists()


def test_a_run_or_a_data_set_is_no_world(world, data, tmp_path, capsys):
    run, out = tmp_path / "run", tmp_path / "x.npz"
    Run(run, {"experiment": {}})
    before = contents(run) | contents(data)
    for words in on_world(run, data, out):
        assert "config.json has world format None, this version reads 1" in refused(capsys, *words)
    for words in on_world(data, data, out):
        assert "no world" in refused(capsys, *words)
    assert contents(run) | contents(data) == before
    assert not out.exists()


def test_a_checkpoint_of_another_part_is_refused(tmp_path):
    run, parts = Run(tmp_path, {}), made()
    run.save_part("lam", parts.latent_actions)
    shutil.copy(tmp_path / "parts" / "lam.safetensors", tmp_path / "parts" / "tokenizer.safetensors")
    with pytest.raises(ValueError, match=r"tokenizer\.safetensors") as caught:
        run.load_part("tokenizer", parts.tokenizer)
    text, status = explain(caught.value)
    assert status == 2
    assert "\n" not in text


def test_doctor_names_a_damaged_world_and_goes_on(world, monkeypatch, capsys):
    save_world(made(), world.parent / "whole", {}, CLIPS, "# Whole\n")
    halve(world / "model.safetensors")
    monkeypatch.setattr(machine, "speed", lambda: [])
    capsys.readouterr()
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"blocks +broken: .*model\.safetensors is damaged", out)
    assert f"note: blocks: remove or replace {world}" in out
    assert re.search(r"whole +opens and dreams a frame", out)


HARMS: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (shutil.rmtree, r"no manifest.json in .*data; record with: dreamcade collect"),
    "empty": (lambda data: shards.edit(data, shards=[]), r"data has no finished shard yet; run the same collect"),
    "not json": (lambda data: (data / "manifest.json").write_text("{"), r"manifest.json is not readable as json"),
    "another kind": (lambda data: shards.edit(data, kind="cake"), r"of kind 'dreamcade-dataset', found 'cake'"),
    "another size": (lambda data: shards.edit(data, width=7), r"must be uint8 \[49, 4, 7, 3\], found uint8 \[49, 4, 6"),
    "shard gone": (lambda data: (data / "00001.h5").unlink(), r"00001.h5 is in the manifest and not in the folder"),
    "shard cut": (lambda data: halve(data / "00001.h5"), r"00001.h5 is truncated or damaged; copy the data set again"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_data_set_is_refused_by_every_command(world, data, tmp_path, capsys, harm):
    HARMS[harm][0](data)
    before = contents(data)
    for words in on_data(data, world, tmp_path / "run"):
        assert re.search(HARMS[harm][1], refused(capsys, *words))
    assert contents(data) == before
    assert not (tmp_path / "run").exists()


def test_a_world_is_no_data_set(world, tmp_path, capsys):
    for words in on_data(world, world, tmp_path / "run"):
        assert f"no manifest.json in {world}" in refused(capsys, *words)
    assert not (tmp_path / "run").exists()


def test_data_sets_of_two_sizes_are_not_mixed(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shards, "HEIGHT", 8)
    other, run = shards.make_dataset(tmp_path / "other")[0], tmp_path / "run"
    text = refused(capsys, "train", "lam", "--data", data, "--data", other, "--run", run)
    assert text == f"{other} has frames of 8x6, {data} of 4x6; sizes must agree"
    assert not run.exists()


def test_play_of_two_games_is_not_mixed(data, tmp_path, capsys):
    other, run = shards.make_dataset(tmp_path / "other")[0], tmp_path / "run"
    shards.edit(other, game="skipping")
    text = refused(capsys, "train", "lam", "--data", data, "--data", other, "--run", run)
    assert (
        text
        == f"{other} holds 'skipping', {data} holds 'counting'; a world is of one game; --mix lets one learn several"
    )
    assert not run.exists()


@pytest.mark.parametrize(("height", "width"), [(4, 6), (24, 32)])
def test_play_of_another_game_or_size_is_not_measured(world, tmp_path, monkeypatch, capsys, height, width):
    monkeypatch.setattr(shards, "HEIGHT", height)
    monkeypatch.setattr(shards, "WIDTH", width)
    data = shards.make_dataset(tmp_path / "data")[0]
    before, out = contents(world), tmp_path / "card.json"
    text = refused(capsys, "evaluate", world, "--data", data, "--split", "all", "--json", out, "--write")
    held = f"data set holds 'counting' at {height}x{width} but the world plays 'blocks' at 24x32"
    assert text == f"{held}; pass --data with play of that game"
    assert contents(world) == before
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--split", "mine"], "no split 'mine'; known are held-out, validation, test, all"),
        (["--device", "tpu"], "there is no device 'tpu'; use auto, cpu, cuda or mps"),
        (["--clips", "0"], "clips must be at least 1, found 0"),
        (["--dream-frames", "0"], "dream frames must be at least 1, found 0"),
    ],
)
def test_what_cannot_be_measured(world, data, capsys, words, message):
    assert message in refused(capsys, "evaluate", world, "--data", data, *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["collect", "pong", "--pool", "3"], "pool must be 1 or 2 raw frames, found 3"),
        (["collect", "pong", "--workers", "300"], "workers must be in [0, 256], found 300"),
        (["collect", "pong", "--episode-frames", "0"], "episode-frames must be in [1, 1000000000], found 0"),
        (["collect", "pong", "--shard-frames", "0"], "shard-frames must be in [1, 1000000000], found 0"),
        (["make", "pong", "--minutes", "1"], "--minutes 1 is too little for collecting, training and measuring"),
        (["make", "pnog"], "unknown game 'pnog'; did you mean pong"),
    ],
)
def test_what_is_refused_before_anything_begins(tmp_path, capsys, words, message):
    assert message in refused(capsys, *words, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "maskgti"], "unknown preset 'maskgti'; known: maskgit"),
        (["--set", "dynamics.stepz=1"], "no 'stepz' here; did you mean 'steps'?"),
        (["--set", "family.tokenizer.patch=(7,7)"], "patch 7x7 does not divide a frame of 104x80"),
        (["--device", "tpu"], "there is no device 'tpu'; use auto, cpu, cuda or mps"),
        (["--threads", "-1"], "--threads must be 0 or more, found -1"),
        (["--out", "{home}"], "home is there and is no world; choose another --out"),
        (["--run", "{run}"], "run already holds a run; add --resume to go on with it or choose another --run"),
    ],
)
def test_make_records_nothing_before_all_is_checked(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.setenv("DREAMCADE_SAVES", str(tmp_path / "saves"))
    places = {"home": tmp_path / "home", "run": tmp_path / "run"}
    files_of_a_player(places["home"])
    Run(places["run"], {"experiment": {}})
    before = contents(tmp_path)
    assert message in refused(capsys, "make", "pong", "--threads", 1, *(word.format(**places) for word in words))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("text", ["{", "[1]", "{}", '{"experiment": {"game": 1}}'])
def test_make_does_not_go_on_with_a_damaged_run(tmp_path, monkeypatch, capsys, text):
    monkeypatch.setenv("DREAMCADE_SAVES", str(tmp_path / "saves"))
    path = tmp_path / "run" / "config.json"
    path.parent.mkdir()
    path.write_text(text)
    told = refused(capsys, "make", "pong", "--threads", 1, "--run", path.parent, "--resume")
    assert str(path) in told
    assert not (tmp_path / "saves").exists()


def test_the_folder_of_the_player_is_where_everything_goes(world, tmp_path, capsys):
    saves = tmp_path / "saves"
    assert f"no manifest.json in {saves / 'datasets' / 'pong'}; " in refused(capsys, "train", "pong")
    assert main(["collect", "pong", "--frames", "10", "--workers", "1"]) == 0
    assert (saves / "datasets" / "pong" / "manifest.json").is_file()
    text = refused(capsys, "evaluate", "blokcs", "--data", saves / "datasets" / "pong")
    assert text == "there is no world 'blokcs'; did you mean 'blocks'?"


def test_threads_that_cannot_be(data, tmp_path, capsys):
    words = ("train", "lam", "--data", data, "--run", tmp_path / "run")
    assert refused(capsys, *words, "--threads", -1) == "--threads must be 0 or more, found -1"
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_not_replaced_in_silence(data, tmp_path, capsys):
    words = ("train", "lam", "--data", data, "--run", tmp_path / "run")
    assert "found none, use --device cpu" in refused(capsys, *words, "--device", "cuda")
    assert not (tmp_path / "run").exists()


def test_a_damaged_manifest_is_not_recorded_over(data, capsys):
    (data / "manifest.json").write_text("{")
    before = contents(data)
    text = refused(capsys, "collect", "pong", "--frames", 10, "--workers", 1, "--out", data)
    assert "manifest.json is not readable as json; record the data set again" in text
    assert contents(data) == before


def test_another_game_is_not_recorded_over(data, capsys):
    before = contents(data)
    text = refused(capsys, "collect", "pong", "--frames", 10, "--workers", 1, "--out", data)
    assert "holds another recording: game counting (now pong)" in text
    assert text.endswith("choose another --out")
    assert before.items() <= contents(data).items()


def _half_a_picture(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    halve(path)


PROMPTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "picture not found: "),
    "folder": (Path.mkdir, "picture not found: "),
    "empty": (lambda path: path.write_bytes(b""), "cannot read picture "),
    "text": (lambda path: path.write_text("hello"), "cannot read picture "),
    "cut": (_half_a_picture, "cannot read picture "),
    "odd": (odd_picture, "cannot read picture "),
    "bomb": (bomb, "cannot read picture "),
}


@pytest.mark.parametrize("kind", PROMPTS)
def test_a_prompt_that_cannot_be_read(world, data, tmp_path, capsys, kind):
    prompt, out = tmp_path / "prompt.png", tmp_path / "x.npz"
    PROMPTS[kind][0](prompt)
    for words in on_world(world, data, out)[:2]:
        assert refused(capsys, *words, "--prompt", prompt).startswith(f"{PROMPTS[kind][1]}{prompt}")
    assert not out.exists()


def test_nothing_in_a_file_of_actions_is_run(world, tmp_path, capsys):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    actions, out = tmp_path / "actions.npy", tmp_path / "x.npz"
    np.save(actions, np.array([Trap()], dtype=object))
    text = refused(capsys, "dream", world, "--actions", actions, "--out", out)
    assert text.startswith(f"cannot read actions from {actions}: ")
    assert not (tmp_path / "sprung").exists()
    assert not out.exists()


def test_a_full_disk_keeps_the_old_dream(world, tmp_path, monkeypatch, capsys):
    out, usage = tmp_path / "x.npz", namedtuple("usage", "total used free")
    out.write_bytes(b"old")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 0))
    text = refused(capsys, "dream", world, "--frames", 2, "--out", out)
    assert text == f"cannot write {out}: no space left on device; choose another place"
    assert out.read_bytes() == b"old"
    assert not list(tmp_path.glob(".*draft*"))


def test_a_full_disk_keeps_the_old_sheet(data, tmp_path, monkeypatch, capsys):
    sheet = tmp_path / "sheet.png"
    sheet.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    text = refused(capsys, "inspect", data, "--sheet", sheet)
    assert text.startswith(f"cannot write {sheet}: no space left on the disk; make room")
    assert sheet.read_bytes() == b"old"
    assert not list(tmp_path.glob(".*draft*"))


def test_a_scorecard_without_room_leaves_the_world_as_it_was(world, monkeypatch):
    before = (world / "config.json").read_bytes()
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"cannot write .*blocks.config\.json: no space left on device") as caught:
            update_facts(world, {"scorecard": {"psnr": 40.0}})
    assert explain(caught.value)[1] == 2
    assert (world / "config.json").read_bytes() == before
    assert not list(world.glob(".config*"))
    load_world(world)


def test_a_place_without_permission_is_named():
    problem = PermissionError(errno.EACCES, "Permission denied", "/there")
    assert explain(problem) == ("cannot use /there: permission denied", 2)


ALLOCATOR = "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"


@pytest.mark.parametrize("problem", [MemoryError(), RuntimeError(ALLOCATOR)])
def test_too_little_memory_has_its_own_status_and_advice(problem):
    text, status = explain(problem)
    assert text == "this machine is out of memory; to train, use a smaller --set PART.batch or PART.length"
    assert status == 4
