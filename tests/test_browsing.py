"""The cursor of the data set browser: every frame with its own action, reward, code and mark; and its command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_app_doubles import CountingWorld, PlainWorld, spec
from test_shards import HEIGHT, WIDTH, make_dataset
from torch import Tensor

from app import browsing, cli, library
from app.browsing import Browser
from app.marks import Marks, marks_file
from collectors.editing import drop_episodes
from collectors.manifest import read_manifest
from collectors.rollout import CollectConfig, collect
from collectors.shards import Dataset

LENGTHS, FIRSTS = (5, 40, 1, 17, 30), (0, 6, 47, 49, 67)  # steps of the five episodes, and their first numbers
SMALL = replace(spec(), height=HEIGHT, width=WIDTH)


class ReadingWorld(CountingWorld):
    """Its code of a step is the number of the frame that it leads to, modulo 8. It notes what it was shown."""

    def __init__(self) -> None:
        super().__init__(SMALL)
        self.shown: list[list[int]] = []

    def infer_actions(self, frames: Tensor) -> Tensor:
        self.shown.append(frames[0, :, 0, 0, 0].tolist())
        return frames[:, 1:, 0, 0, 0].long() % 8


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DREAMCADE_SAVES", str(tmp_path / "saves"))
    return make_dataset(tmp_path / "data")[0]


@pytest.fixture
def browser(folder: Path) -> Iterator[Browser]:
    made = Browser(Dataset.open(folder), ReadingWorld())
    yield made
    made.close()


@pytest.mark.parametrize("block", [2, 5, 128])
def test_every_frame_and_its_step(browser: Browser, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(browser, "_block", block)
    for episode, (steps, first) in enumerate(zip(LENGTHS, FIRSTS, strict=True)):
        browser.go(episode)
        assert browser.last == steps
        for frame in range(steps + 1):
            browser.go(episode, frame)
            number = first + frame
            assert (browser.picture() == number).all()
            assert browser.picture().shape == (HEIGHT, WIDTH, 3)
            moment = browser.moment()
            assert (moment.frame, moment.objects) == (frame, (("number", (number, number) if number else None),))
            assert moment.end == (frame == steps)
            assert moment.total == pytest.approx(sum(range(first + 1, number + 1)) / 2)
            if frame:
                code = number % 8
                assert (moment.action, moment.reward) == (f"to {number}", number / 2)
                assert (browser.code(), moment.code) == (code, f"{code + 1} {spec().table.labels[code]}")
            else:
                assert (moment.action, moment.reward, moment.code) == (None, 0.0, None)


def test_an_object_that_is_not_visible_is_hidden(browser: Browser) -> None:
    assert browser.moment().objects == (("number", None),)  # the double's number 0 also says that it cannot be seen


def test_codes_are_read_when_asked_for_with_the_past_that_they_need(folder: Path) -> None:
    world = ReadingWorld()
    browser = Browser(Dataset.open(folder), world)
    browser.go(1)
    browser.picture()
    assert browser.moment().code is None
    assert world.shown == []
    browser.move(20)
    assert browser.code() == (6 + 20) % 8
    assert world.shown == [[6 + frame for frame in range(16 - 3, 33)]]  # three frames before, sixteen steps
    for _ in range(12):
        browser.move(1)
        browser.code()
    assert len(world.shown) == 1
    assert browser.codes().tolist() == [number % 8 for number in range(7, 47)]
    assert len(world.shown) == 3
    browser.codes()
    assert len(world.shown) == 3


def test_without_a_world_that_reads_there_are_no_codes(folder: Path) -> None:
    for world in (None, PlainWorld(SMALL)):
        browser = Browser(Dataset.open(folder), world)
        browser.go(1, 5)
        assert (browser.reads_codes, browser.code(), browser.moment().code) == (False, None, None)


def test_a_world_of_another_size_is_refused(folder: Path) -> None:
    message = "world 'block' sees frames of 3 x 48 x 40, the data set has 3 x 4 x 6; choose another --world"
    with pytest.raises(ValueError, match=message):
        Browser(Dataset.open(folder), CountingWorld())


def test_the_cursor_stays_within(browser: Browser) -> None:
    browser.go(1, 39)
    browser.move(15)
    assert (browser.episode, browser.frame) == (1, 40)
    browser.move(-100)
    assert (browser.episode, browser.frame) == (1, 0)
    browser.move(7)
    browser.turn(-3)
    assert (browser.episode, browser.frame) == (0, 0)
    browser.move(2)
    browser.turn(-1)
    assert (browser.episode, browser.frame) == (0, 2)
    browser.turn(99)
    assert (browser.episode, browser.frame) == (4, 0)
    for episode, frame, message in (
        (5, 0, r"episode 5 is outside \[0, 5\)"),
        (-1, 0, r"episode -1 is outside"),
        (0, 6, r"frame 6 is outside \[0, 6\) of episode 0"),
    ):
        with pytest.raises(ValueError, match=message):
            browser.go(episode, frame)
    assert (browser.episode, browser.frame) == (4, 0)


def test_playing_stops_at_the_end_and_begins_again(browser: Browser) -> None:
    browser.tick()
    assert browser.frame == 0
    browser.play()
    seen = []
    while browser.playing:
        browser.tick()
        seen.append(browser.frame)
    assert seen == [1, 2, 3, 4, 5]
    browser.play()
    assert (browser.frame, browser.playing) == (0, True)
    browser.play()
    assert not browser.playing


def test_a_clip_is_what_led_to_the_cursor(browser: Browser) -> None:
    browser.go(3, 6)
    clip = browser.clip(4)
    assert (clip.dtype, tuple(clip.shape)) == (torch.uint8, (4, 3, HEIGHT, WIDTH))
    assert clip[:, 0, 0, 0].tolist() == [52, 53, 54, 55]
    browser.go(3, 1)
    assert browser.clip(4)[:, 2, 3, 5].tolist() == [49, 49, 49, 50]


def test_the_strip_spans_the_episode(browser: Browser) -> None:
    browser.go(1)
    strip = browser.strip(5)
    assert [frame for frame, _ in strip] == [0, 10, 20, 30, 40]
    assert [int(pixels[0, 0, 0]) for _, pixels in strip] == [6, 16, 26, 36, 46]
    browser.go(2)
    assert [frame for frame, _ in browser.strip(5)] == [0, 1]


def test_rewards_and_summaries(browser: Browser) -> None:
    browser.go(3)
    assert browser.rewards() == [(step, (49 + step) / 2) for step in range(1, 18)]
    row = browser.summary(1)
    assert (row.number, row.seed, row.behaviour, row.steps, row.ended) == (1, 1, "counting", 40, True)
    assert row.total == sum(range(7, 47)) / 2
    assert row.split in ("train", "validation", "test")


def test_memory_is_bounded(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "_block", 2)
    for episode in (1, 4):
        for frame in range(31):
            browser.picture(frame, episode)
    assert len(browser._blocks) == browsing.BLOCKS


def test_marks_are_kept_and_belong_to_one_data_set(folder: Path, tmp_path: Path) -> None:
    browser = Browser(Dataset.open(folder))
    browser.go(1)
    assert browser.mark()
    browser.go(4)
    assert browser.mark()
    browser.go(1)
    assert not browser.mark()
    assert (browser.marked(), browser.is_marked(4), browser.is_marked(1)) == ([4], True, False)
    assert Browser(Dataset.open(folder)).marked() == [4]
    other = make_dataset(tmp_path / "other")[0]
    assert Browser(Dataset.open(other)).marked() == []
    assert [path.parent for path in (marks_file(folder), marks_file(other))] == [tmp_path / "saves" / "marks"] * 2


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 2, "marks": []}', '{"format": 1, "marks": [3]}', "[" * 99999]
)
def test_damaged_marks_are_one_line(folder: Path, text: str) -> None:
    path = marks_file(folder)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(ValueError, match="delete it to begin without marks") as caught:
        Browser(Dataset.open(folder))
    assert "\n" not in str(caught.value)


def test_marks_that_cannot_be_written_are_not_there(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "saves").write_text("in the way")
    with pytest.raises(OSError, match=r"cannot write .*marks.*\.json: ") as caught:
        browser.mark()
    assert "\n" not in str(caught.value)
    assert (browser.marked(), browser.is_marked(0)) == ([], False)


def test_a_mark_never_comes_to_lie_on_another_episode(folder: Path) -> None:
    browser = Browser(Dataset.open(folder))
    for episode in (1, 3):
        browser.go(episode)
        browser.mark()
    with Dataset.open(folder) as data:
        drop_episodes(folder, [data.episodes[0]])
    assert Browser(Dataset.open(folder)).marked() == [2]  # the other one's shard is another one now


def test_dropping_moves_cursor_and_marks_along(browser: Browser, folder: Path) -> None:
    for episode in (2, 4):
        browser.go(episode)
        browser.mark()
    browser.go(3, 7)
    browser.drop([0, 1])
    assert (browser.episode, browser.frame, browser.ref.seed) == (1, 7, 3)
    assert (browser.picture() == 56).all()
    assert browser.code() == 56 % 8
    assert browser.marked() == [0, 2]
    assert Browser(Dataset.open(folder)).marked() == [0, 2]
    browser.drop([1, 2])
    assert (browser.episode, browser.frame, browser.ref.seed, browser.marked()) == (0, 0, 2, [0])
    with pytest.raises(ValueError, match=r"all 1 episodes of .* would be dropped"):
        browser.drop([0])
    assert (browser.picture() == 47).all()


def test_dropping_from_a_set_that_changed_is_refused(browser: Browser, folder: Path) -> None:
    with Dataset.open(folder) as data:
        drop_episodes(folder, [data.episodes[0]])
    with pytest.raises(ValueError, match="was changed since it was opened; open it again"):
        browser.drop([1])
    assert [episode.seed for episode in read_manifest(folder).dropped] == [0]


def test_an_episode_is_exported(browser: Browser, tmp_path: Path) -> None:
    out = browser.export(3, tmp_path / "three.npz")
    with np.load(out) as loaded:
        assert loaded["frames"][:, 0, 0, 0].tolist() == list(range(49, 67))
        assert loaded["actions"].tolist() == list(range(50, 67))
    folder = browser.export(0, f"{tmp_path}/pictures/")
    assert [int(np.asarray(Image.open(path))[0, 0, 0]) for path in sorted(folder.iterdir())] == list(range(6))
    with pytest.raises(ValueError, match=r"episode 9 is outside \[0, 5\)"):
        browser.export(9, tmp_path / "nine.mp4")


def test_codes_of_real_pong_in_stretches_are_those_of_the_whole_episode(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("DREAMCADE_SAVES", str(tmp_path / "saves"))
    collect(CollectConfig(frames=45, episode_frames=45, shard_frames=60, workers=1), tmp_path / "pong")
    world = library.open_world(library.ASSETS / "worlds" / "pong", "cpu")
    with Dataset.open(tmp_path / "pong") as data:
        browser = Browser(data, world)
        frames = torch.from_numpy(data.read(browser.ref).frames).permute(0, 3, 1, 2)
        whole = world.infer_actions(frames[None])[0]
        assert browser.codes().tolist() == whole.tolist()
        assert len(set(whole.tolist())) > 1
        session_frames = browser.clip(world.spec.context)
    assert session_frames.shape == (world.spec.context, 3, 104, 80)


@pytest.fixture
def unattended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(library, "ASSETS", folder.parent / "assets")
    return folder


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of `dreamcade browse` with these words."""
    capsys.readouterr()
    status = cli.main(["browse", *(str(arg) for arg in args)])
    out, err = capsys.readouterr()
    return status, out, err


def test_without_a_display_there_is_a_table_and_a_sheet(unattended, capsys) -> None:
    browser = Browser(Dataset.open(unattended))
    browser.go(3)
    browser.mark()
    status, out, _ = run(capsys, unattended)
    lines = out.splitlines()
    assert (status, len(lines)) == (0, 7)
    assert lines[0].split() == ["mark", "episode", "seed", "behaviour", "steps", "return", "end", "split"]
    assert lines[2].split()[:6] == ["1", "1", "counting", "40", "530", "over"]
    assert lines[4].split()[:3] == ["X", "3", "3"]
    sheet = Path(lines[6].removeprefix("contact sheet: "))
    assert sheet.parent == unattended.parent / "saves" / "captures"
    assert Image.open(sheet).size == (10 * (WIDTH + 2), 5 * (HEIGHT + 2))
    status, out, _ = run(capsys, unattended, "--episode", 1)
    assert status == 0
    assert "-episode1-" in out.splitlines()[-1]


def test_a_name_in_saves_is_found(unattended, capsys) -> None:
    datasets = unattended.parent / "saves" / "datasets"
    datasets.mkdir(parents=True)
    unattended.rename(datasets / "mine")
    status, out, _ = run(capsys, "mine")
    assert (status, len(out.splitlines())) == (0, 7)


def test_a_world_tells_the_codes_of_an_episode(unattended, capsys, monkeypatch) -> None:
    monkeypatch.setattr(library, "pick", lambda name: unattended)
    monkeypatch.setattr(library, "open_world", lambda folder, where: ReadingWorld())
    status, out, _ = run(capsys, unattended, "--world", "block", "--episode", 1)
    assert status == 0
    assert "latent codes of episode 1: 1 STILL 12%, 2 UP 12%, 3 UP 12%, 4 DOWN 12%," in out


def test_export_and_drop_without_a_window(unattended, capsys, tmp_path: Path) -> None:
    out = tmp_path / "x.npz"
    assert run(capsys, unattended, "--export", 4, "--out", out)[0] == 0
    with np.load(out) as loaded:
        assert loaded["frames"].shape == (31, HEIGHT, WIDTH, 3)
    status, said, err = run(capsys, unattended, "--drop", "0,2-3", "--yes")
    assert status == 0
    assert "deleted 3 of 5 episodes with 23 transitions; left are 70 transitions in 2 episodes" in said
    with Dataset.open(unattended) as data:
        data.verify()
        assert [ref.seed for ref in data.episodes] == [1, 4]
    browser = Browser(Dataset.open(unattended))
    browser.mark()
    status, said, err = run(capsys, unattended, "--drop", "marked", "--yes")
    assert (status, err) == (0, "")
    assert [seed for shard in read_manifest(unattended).shards for seed in shard.seeds] == [4]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--drop", "3"], "error: nobody can be asked whether to delete 1 of 5 episodes with 17 transitions from"),
        (["--drop", "7", "--yes"], "error: episode 7 is outside [0, 5)"),
        (["--drop", "3-1", "--yes"], "error: --drop 3-1 ends before it begins"),
        (["--drop", "all", "--yes"], "error: --drop takes numbers as in 3,7,10-12, or marked; found 'all'"),
        (["--drop", "", "--yes"], "error: --drop takes numbers as in 3,7,10-12, or marked; found ''"),
        (["--drop", "marked", "--yes"], "error: no episode is marked; mark some in the window with X"),
        (["--drop", "0-4", "--yes"], "error: all 5 episodes of"),
        (["--export", "3"], "error: --export needs --out"),
        (["--out", "x.mp4"], "error: --export needs --out"),
        (["--export", "9", "--out", "x.mp4"], "error: episode 9 is outside [0, 5)"),
        (["--export", "1", "--out", "x.webp"], "error: cannot write '.webp' files"),
        (["--episode", "5"], "error: episode 5 is outside [0, 5)"),
        (["--world", "nosuch"], "error: there is no world 'nosuch'"),
    ],
)
def test_what_a_person_gets_wrong_changes_nothing(unattended, capsys, monkeypatch, args, message) -> None:
    monkeypatch.chdir(unattended.parent)
    before = {path: path.read_bytes() for path in unattended.glob("*.*")}
    status, out, err = run(capsys, unattended, *args)
    assert (status, out) == (2, "")
    assert err.startswith(message)
    assert len(err.splitlines()) == 1
    assert {path: path.read_bytes() for path in unattended.glob("*.*") if path.suffix != ".lock"} == {
        path: content for path, content in before.items() if path.suffix != ".lock"
    }
    assert not list(unattended.parent.glob("*.mp4"))


def test_no_data_set_is_one_line(unattended, capsys) -> None:
    status, _, err = run(capsys, unattended / "nowhere")
    assert status == 2
    assert err.startswith("error: no manifest.json in ")


def test_the_marks_say_whose_they_are(folder: Path) -> None:
    marks = Marks(folder)
    assert marks.toggle("a:0")
    found = json.loads(marks.path.read_text())
    assert found == {"format": 1, "dataset": str(folder.resolve()), "marks": ["a:0"]}
    assert "a:0" in Marks(folder)
    assert not marks.toggle("a:0")
    assert "a:0" not in Marks(folder)
