"""The command line: what it prints, what it writes, and one line for whatever goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from test_app_doubles import HEIGHT, WIDTH, CountingWorld, card, clips, spec

from app import cli, library, machine, shelf

HOUSE = Path(__file__).resolve().parents[1]


@pytest.fixture
def worlds(tmp_path, monkeypatch):
    """One world called `block` among the player's own; nothing shipped."""
    monkeypatch.setenv("DREAMCADE_SAVES", str(tmp_path / "saves"))
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr(library, "ASSETS", tmp_path / "assets")
    folder = tmp_path / "saves" / "worlds" / "block"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(card()))
    (folder / "model.safetensors").write_bytes(b"no weights are needed here")
    monkeypatch.setattr(library.checkpoint, "load_world", lambda folder, device: CountingWorld())
    monkeypatch.setattr(library.checkpoint, "load_starts", lambda folder: clips())
    return tmp_path


def run(capsys, *args: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command line, through the same door as the program."""
    capsys.readouterr()
    status = cli.main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    return status, out, err


def program(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real program in a process of its own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SDL", "DREAMCADE"))}
    return subprocess.run(
        [sys.executable, "play.py", *args], cwd=HOUSE, env={**kept, **environment}, capture_output=True, text=True
    )


def test_help_is_quick_and_needs_no_torch():
    began = time.perf_counter()
    result = program("--help")
    assert result.returncode == 0
    assert all(name in result.stdout for name in cli.COMMANDS)
    assert time.perf_counter() - began < 1.0  # 0.06 s on an idle machine
    code = "import app.cli, sys; app.cli.main(['--help']); print([m for m in ('torch', 'pygame') if m in sys.modules])"
    probe = subprocess.run([sys.executable, "-c", code], cwd=HOUSE, capture_output=True, text=True, check=True)
    assert probe.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["plya"], "error: there is no command 'plya'; did you mean 'play'?"),
        (["xyzzy"], "error: there is no command 'xyzzy'; known are play, dream"),
        (["play", "nosuch"], "error: there is no world 'nosuch'"),
        (["dream", "--frames", "0", "--out", "x.npz"], "error: invalid value for '--frames'"),
        (["dream", "--out", "x.webp"], "error: cannot write '.webp' files; --out takes x.mp4"),
        (["dream"], "error: missing option '--out'"),
        (["play", "--nope"], "error: no such option"),
    ],
)
def test_errors_are_one_line_and_exit_2(args, message):
    result = program(*args)
    assert result.returncode == 2
    assert result.stderr.startswith(message)
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


def test_a_traceback_only_on_request(worlds, monkeypatch, capsys):
    def broken(folder, device):
        raise RuntimeError("weights\nare odd")

    monkeypatch.setattr(library.checkpoint, "load_world", broken)
    status, _, err = run(capsys, "play", "block")
    assert (status, len(err.splitlines())) == (1, 1)
    assert err.startswith("error: RuntimeError: weights are odd")
    monkeypatch.setenv("DREAMCADE_DEBUG", "1")
    with pytest.raises(RuntimeError):
        cli.main(["play", "block"])


def test_interrupts_and_accelerator_memory_have_their_own_status(worlds, monkeypatch, capsys):
    def stop(folder, device):
        raise KeyboardInterrupt

    class OutOfMemoryError(RuntimeError):
        pass

    def burst(folder, device):
        raise OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(library.checkpoint, "load_world", stop)
    assert run(capsys, "play", "block")[0] == 130
    monkeypatch.setattr(library.checkpoint, "load_world", burst)
    status, _, err = run(capsys, "play", "block")
    assert status == 4
    assert "--device cpu" in err


def test_the_same_dream_twice_is_the_same_file(worlds, capsys):
    outs = [worlds / f"{name}.npz" for name in "abc"]
    for out, seed in zip(outs, (7, 7, 8), strict=True):
        assert run(capsys, "dream", "block", "--frames", 12, "--seed", seed, "--out", out)[0] == 0
    same, again, other = (out.read_bytes() for out in outs)
    assert same == again
    assert same != other
    with np.load(outs[0]) as loaded:
        assert loaded["frames"].shape == (13, HEIGHT, WIDTH, 3)
        assert loaded["frames"][:, 0, -1, 2].tolist() == list(range(13))
        assert loaded["actions"].shape == (12,)


def test_a_recorded_dream_can_be_dreamed_again_from_its_actions(worlds, capsys):
    first, second = worlds / "a.npz", worlds / "b.npz"
    run(capsys, "dream", "block", "--frames", 9, "--seed", 3, "--out", first)
    status, _, _ = run(capsys, "dream", "block", "--actions", first, "--seed", 3, "--out", second)
    assert status == 0
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.npz", "folder/"])
def test_every_kind_of_recording(worlds, capsys, name):
    out = f"{worlds}/{name}"
    status, said, _ = run(capsys, "dream", "block", "--actions", "0,1,2", "--start", 1, "--out", out)
    assert status == 0
    assert "3 frames" in said
    assert Path(out).exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--actions", "0,1,2,9"], "error: action 9 at position 3 is outside [0, 8)"),
        (["--actions", ""], "error: the list of actions is empty"),
        (["--actions", "0,1", "--frames", "5"], "error: --frames 5 needs 5 actions, found 2"),
        (["--actions", "missing.txt"], "error: actions file not found: missing.txt"),
        (["--start", "9"], "error: start 9 is outside [0, 3)"),
        (["--prompt", "missing.png"], "error: picture not found: missing.png"),
        (["--device", "abacus"], "error: there is no device 'abacus'"),
        (["--temperature", "11"], "error: invalid value for '--temperature'"),
        (["--steps", "65"], "error: invalid value for '--steps'"),
    ],
)
def test_bad_dreams_are_one_line_and_write_nothing(worlds, capsys, args, message):
    status, out, err = run(capsys, "dream", "block", *args, "--out", worlds / "x.npz")
    assert (status, out) == (2, "")
    assert err.startswith(message)
    assert len(err.splitlines()) == 1
    assert not list(worlds.glob("*x*"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_an_error(worlds, capsys):
    status, _, err = run(capsys, "play", "block", "--device", "cuda")
    assert status == 2
    assert "found none, use --device cpu" in err


def test_a_picture_as_the_beginning(worlds, capsys):
    Image.new("RGB", (200, 100), (30, 0, 0)).save(worlds / "p.png")
    Image.new("L", (WIDTH, HEIGHT), 30).save(worlds / "fits.png")
    (worlds / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n junk")
    out = worlds / "x.npz"
    ask = ["dream", "block", "--actions", "0", "--out", out, "--prompt"]
    status, _, err = run(capsys, *ask, worlds / "p.png")
    assert status == 0
    assert "is 200 x 100: resized to 40 x 48" in err
    status, _, err = run(capsys, *ask, worlds / "p.png", "--strict")
    assert status == 2
    assert "needs 40 x 48" in err
    assert run(capsys, *ask, worlds / "fits.png", "--strict")[0] == 0
    status, _, err = run(capsys, *ask, worlds / "broken.png")
    assert status == 2
    assert err.startswith("error: cannot read picture")
    clip = library.still(worlds / "fits.png", spec(), strict=True, say=print)
    assert tuple(clip.shape) == (3, 3, HEIGHT, WIDTH)
    assert int(clip.float().mean()) == 30


def test_play_on_the_dummy_driver(worlds, capsys):
    status, out, _ = run(capsys, "play", "block", "--fps", 0, "--max-frames", 5)
    assert status == 0
    assert "first dreamed frame after " in out
    assert "CPU threads: " in out
    assert "dreamed 5 frames" in out
    status, out, _ = run(capsys, "--help")
    assert status == 0
    assert library.pick(None).name == "block"


def test_play_that_nobody_can_quit_stops_by_itself(worlds, capsys):
    status, out, _ = run(capsys, "play", "block", "--fps", 0, "--threads", 1)
    assert status == 0
    assert "stopping after 300 frames" in out
    assert "dreamed 300 frames" in out


def test_no_command_plays(worlds, capsys, monkeypatch):
    monkeypatch.setattr("app.commands.play.UNATTENDED", 4)
    status, out, _ = run(capsys)
    assert status == 0
    assert "dreamed 4 frames" in out


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is always a desktop")
def test_play_without_a_display_writes_a_video_and_a_sheet(worlds, capsys, monkeypatch):
    for name in ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    status, out, _ = run(capsys, "play", "block", "--max-frames", 20)
    assert status == 0
    assert out.startswith("there is no display: dreaming 20 frames")
    assert "DISPLAY set" in out
    assert sorted(path.suffix for path in (worlds / "saves" / "captures").iterdir()) == [".mp4", ".png"]


def test_a_display_that_does_not_open_writes_a_video_too(worlds, capsys, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "nonsense")
    status, out, _ = run(capsys, "play", "block", "--max-frames", 3)
    assert status == 0
    assert out.startswith("no window could be opened")


def test_worlds_lists_cards_and_survives_broken_ones(worlds, capsys):
    broken = worlds / "saves" / "worlds" / "odd"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    shipped = worlds / "assets" / "worlds" / "block"
    shipped.mkdir(parents=True)
    (shipped / "config.json").write_text(json.dumps(card()))
    status, out, _ = run(capsys, "worlds")
    assert status == 0
    assert f"block: block, counting, {WIDTH} x {HEIGHT} pixels" in out
    assert "psnr 31.2, ball present 0.934" in out
    assert "odd: cannot be read" in out
    assert "hides the shipped world of this name" in out
    assert library.pick("block").is_relative_to(worlds / "saves")


def test_a_card_without_a_score_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(shelf.checkpoint, "read_card", lambda folder: {"spec": None})
    assert "not evaluated yet" in shelf.describe("x", tmp_path)[1]


def test_near_names_are_suggested(worlds, capsys):
    assert run(capsys, "play", "blok")[2].strip() == "error: there is no world 'blok'; did you mean 'block'?"


def test_doctor_reports_and_fails_only_for_what_is_required(worlds, monkeypatch):
    monkeypatch.setattr(machine, "speed", lambda: [machine.Fact("float32", "fast")])
    doctor = cli.cli.get_command(None, "doctor")
    result = CliRunner().invoke(doctor)
    assert result.exit_code == 0
    assert "block            opens and dreams a frame" in result.output
    assert "instructions" in result.output
    monkeypatch.setattr(machine, "REQUIRED", ("torch", "no-such-package"))
    result = CliRunner().invoke(doctor)
    assert result.exit_code == 1
    assert "MISSING: no-such-package: pip install no-such-package" in result.output


def test_speed_is_measured_quickly():
    began = time.perf_counter()
    facts = machine.speed()
    assert [fact.name for fact in facts] == ["float32", "bfloat16", "autocast on cpu"]
    assert time.perf_counter() - began < 5.0
