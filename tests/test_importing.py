"""Pictures of others become data sets: what is lossless stays so, what is wrong is named, nothing is half there."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from PIL import Image

from app.cli import main
from collectors.games import PONG, game_named
from collectors.importing import ImportConfig, cut_up, import_clips, known_game
from collectors.manifest import UNKNOWN, read_manifest
from collectors.rollout import play_episode
from collectors.shards import Dataset
from collectors.video import clips_in

STEPS = 90


@pytest.fixture(scope="module")
def pong() -> np.ndarray:
    """91 frames of real Pong."""
    return play_episode(PONG, "sticky", 1, STEPS).frames


@pytest.fixture(scope="module")
def breakout() -> np.ndarray:
    """41 frames of real Breakout."""
    return play_episode(game_named("breakout"), "sticky", 1, 40).frames


def video(path: Path, frames: np.ndarray, code: str = "mp4v", fps: float = 15.0) -> Path:
    height, width = frames.shape[1:3]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), fps, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


def pictures(folder: Path, frames: np.ndarray) -> Path:
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number}.png")
    return folder


def column(path: Path, frames: np.ndarray, name: str = "frames", **options: object) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=frames, **options)
    return path


def gif(path: Path, frames: np.ndarray, milliseconds: int | list[int] = 70) -> Path:
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], duration=milliseconds, loop=0)
    return path


def frames_of(folder: Path) -> list[np.ndarray]:
    with Dataset.open(folder) as data:
        data.verify()
        return [data.read(ref).frames for ref in data.episodes]


def take(source: Path, out: Path, **options: object) -> list[np.ndarray]:
    import_clips(source, out, ImportConfig(game="pong", **options))  # type: ignore[arg-type]
    return frames_of(out)


def test_pictures_come_in_as_they_are(pong: np.ndarray, tmp_path: Path) -> None:
    (only,) = take(pictures(tmp_path / "pictures", pong), tmp_path / "out")  # 10.png comes after 9.png
    np.testing.assert_array_equal(only, pong)
    manifest = read_manifest(tmp_path / "out")
    assert (manifest.game, manifest.height, manifest.width, manifest.fps) == ("pong", 104, 80, 15.0)
    assert (manifest.action_names, manifest.knows_actions, manifest.lossy) == (UNKNOWN, False, False)
    assert (manifest.complete, manifest.steps, manifest.frames_requested) == (True, STEPS, STEPS)
    assert "actions, rewards and ends are not known" in manifest.notes[0]
    with Dataset.open(tmp_path / "out") as data:
        episode = data.read(data.episodes[0])
        assert (episode.behaviour, episode.actions.any(), episode.rewards.any(), episode.ends.any()) == (
            *("imported", False, False, False),
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "pictures"]


@pytest.mark.parametrize("form", ["last", "first", "to 1", "to 255", "half", "lzf"])
def test_one_column_files_come_in_as_they_are(pong: np.ndarray, tmp_path: Path, form: str) -> None:
    frames = {
        "last": pong,
        "first": pong.transpose(0, 3, 1, 2),
        "to 1": pong.astype(np.float32) / 255,
        "to 255": pong.transpose(0, 3, 1, 2).astype(np.float64),
        "half": (pong / 255).astype(np.float16),
        "lzf": pong,
    }[form]
    source = column(tmp_path / "x.h5", frames, **({"compression": "lzf"} if form == "lzf" else {}))
    (only,) = take(source, tmp_path / "out")
    np.testing.assert_array_equal(only, pong)


def test_a_lossless_video_comes_in_as_it_is(pong: np.ndarray, tmp_path: Path) -> None:
    (only,) = take(video(tmp_path / "x.mkv", pong, "FFV1"), tmp_path / "out")
    np.testing.assert_array_equal(only, pong)
    assert not read_manifest(tmp_path / "out").lossy


def test_a_lossy_video_is_called_so(pong: np.ndarray, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source, out = video(tmp_path / "x.mp4", pong), tmp_path / "out"
    assert main(["import", str(source), "--game", "ALE/Pong-v5", "--out", str(out)]) == 0
    told = capfd.readouterr()
    assert told.err.startswith("warning: this is lossy video: what is one pixel large, as a ball may be,")
    assert f"looked at {len(pong)} frames, kept {len(pong)}\n" in told.out
    assert f"{out}: {STEPS} transitions in 1 episodes, pong 104x80 at 15 fps, actions unknown" in told.out
    (only,) = frames_of(out)
    assert only.shape == pong.shape
    assert 0 < np.abs(only.astype(int) - pong).mean() < 4  # the colours are where they were, if a little off
    manifest = read_manifest(out)
    assert manifest.lossy
    assert manifest.notes[1].startswith("this is lossy video")


def test_a_gif_is_as_long_as_it_is_shown(pong: np.ndarray, tmp_path: Path) -> None:
    different = [frame for number, frame in enumerate(pong) if number == 0 or (frame != pong[number - 1]).any()][:20]
    times = [60] * 19 + [180]
    (only,) = take(gif(tmp_path / "x.gif", np.stack(different), times), tmp_path / "out")
    assert len(only) == 22  # the last picture is shown for three frames
    np.testing.assert_array_equal(only[:20], different)  # Pong has fewer colours than a GIF
    np.testing.assert_array_equal(only[19:], np.stack([different[-1]] * 3))
    assert read_manifest(tmp_path / "out").fps == pytest.approx(1000 / 60, abs=0.001)


@pytest.mark.parametrize(
    ("options", "picked", "fps"),
    [
        ({"stride": 2}, range(0, 91, 2), 7.5),
        ({"fps": 5.0}, range(0, 91, 3), 5.0),
        ({"fps": 10.0}, [-(-3 * one // 2) for one in range(61)], 10.0),
        ({"fps": 15.0}, range(91), 15.0),
    ],
)
def test_fewer_frames_a_second(
    pong: np.ndarray, tmp_path: Path, options: dict[str, object], picked: list[int], fps: float
) -> None:
    (only,) = take(video(tmp_path / "x.mkv", pong, "FFV1"), tmp_path / "out", **options)
    np.testing.assert_array_equal(only, pong[list(picked)])
    assert read_manifest(tmp_path / "out").fps == fps


def test_another_size_is_averaged_as_in_recording(tmp_path: Path) -> None:
    raw = np.repeat(np.repeat(play_episode(game_named("breakout"), "sticky", 1, 20).frames, 2, axis=1), 2, axis=2)
    (only,) = take(pictures(tmp_path / "pictures", raw), tmp_path / "out", size=(104, 80))
    np.testing.assert_array_equal(only, raw[:, ::2, ::2])


def test_long_clips_are_cut_without_losing_a_step(pong: np.ndarray, tmp_path: Path) -> None:
    parts = take(pictures(tmp_path / "pictures", pong), tmp_path / "out", episode_frames=40, shard_frames=60)
    assert [len(part) for part in parts] == [41, 41, 11]
    np.testing.assert_array_equal(np.concatenate([parts[0], parts[1][1:], parts[2][1:]]), pong)
    manifest = read_manifest(tmp_path / "out")
    assert [shard.episodes for shard in manifest.shards] == [2, 1]
    assert [seed for shard in manifest.shards for seed in shard.seeds] == [0, 1, 2]


def test_pieces_are_cut_out_exactly() -> None:
    frames = np.broadcast_to(np.arange(20, dtype=np.uint8)[:, None, None, None], (20, 8, 8, 3))
    parts = [part[:, 0, 0, 0].tolist() for part in cut_up(iter(frames), [(2, 4), (5, 12), (19, 20)], 4)]
    assert parts == [[2, 3], [5, 6, 7, 8, 9], [9, 10, 11]]


def test_another_scene_is_another_episode(pong: np.ndarray, breakout: np.ndarray, tmp_path: Path) -> None:
    source = column(tmp_path / "x.h5", np.concatenate([pong, breakout]))
    one, two = take(source, tmp_path / "out")
    np.testing.assert_array_equal(one, pong)
    np.testing.assert_array_equal(two, breakout)
    (whole,) = take(source, tmp_path / "whole", cuts=False)
    assert len(whole) == len(pong) + len(breakout)


def test_the_filter_drops_what_is_wrong_and_says_so(
    pong: np.ndarray, breakout: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dark, still = np.zeros((20, 104, 80, 3), np.uint8), np.repeat(pong[-1:], 50, axis=0)
    source = column(tmp_path / "x.h5", np.concatenate([dark, pong, still, breakout]))
    words = ["import", str(source), "--game", "pong", "--out", str(tmp_path / "out")]
    assert main([*words, "--filter"]) == 0
    told = capsys.readouterr().out
    assert "looked at 202 frames, kept 132" in told
    assert "dropped 20 black: frames 0-19" in told
    assert "dropped 50 frozen: frames 111-160" in told
    assert "found 2 cut: scenes begin at 20, 161" in told
    one, two = frames_of(tmp_path / "out")
    np.testing.assert_array_equal(one, pong)
    np.testing.assert_array_equal(two, breakout)
    words[-1] = str(tmp_path / "all")
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["filtered"], found["clips"][0]["kept"], found["clips"][0]["frozen"]) == (False, 202, 50)
    assert ["frozen", 111, 161] in found["clips"][0]["findings"]
    assert sum(len(part) for part in frames_of(tmp_path / "all")) == 202


def test_a_folder_of_clips(pong: np.ndarray, breakout: np.ndarray, tmp_path: Path) -> None:
    video((tmp_path / "in").mkdir() or tmp_path / "in" / "a.mkv", pong, "FFV1")
    pictures(tmp_path / "in" / "b", breakout)
    (tmp_path / "in" / "notes.txt").write_text("mine")
    assert [clip.path.name for clip in clips_in(tmp_path / "in")] == ["a.mkv", "b"]
    one, two = take(tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(one, pong)
    np.testing.assert_array_equal(two, breakout)
    assert read_manifest(tmp_path / "out").notes == ("imported from in; actions, rewards and ends are not known",)


def test_inspect_says_what_is_not_known(pong: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    take(video(tmp_path / "x.mp4", pong), tmp_path / "out")
    assert main(["inspect", str(tmp_path / "out"), "--verify"]) == 0
    told = capsys.readouterr().out
    assert "actions, rewards and ends: not known" in told
    assert "note: this is lossy video" in told
    assert "returns" not in told


def test_names_of_games() -> None:
    assert known_game("ALE/Pong-v5") == ("pong", "")
    name, note = known_game("Brekout")
    assert name == "brekout"
    assert "did you mean breakout" in note


def test_same_source_same_bytes(pong: np.ndarray, tmp_path: Path) -> None:
    source = video(tmp_path / "x.mp4", pong)
    for name in ("one", "two"):
        take(source, tmp_path / name, episode_frames=40)
    for path in (tmp_path / "one").glob("*.*"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def refused(capfd: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line with which the program refuses, and not one other word of it or of a library."""
    capfd.readouterr()
    assert main(["import", *(str(word) for word in words)]) == 2
    told = capfd.readouterr()
    lines = [line for line in told.err.splitlines() if line]
    assert len(lines) == 1, told.err
    assert lines[0].startswith("error: ")
    assert told.out == ""
    return lines[0].removeprefix("error: ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--game", "pong", "--size", "big"], "--size must be HEIGHTxWIDTH as in 104x80, found 'big'"),
        (["--game", "pong", "--size", "0x80"], "frame size must be HxW with sides in [8, 512], found 0x80"),
        (["--game", "pong", "--fps", "0"], "fps must be in (0, 1000], found 0"),
        (["--game", "pong", "--fps", "60"], "x.mkv has 15 frames a second; --fps 60 asks for more"),
        (["--game", "pong", "--stride", "0"], "stride must be in [1, 10000], found 0"),
        (["--game", "pong", "--stride", "2", "--fps", "5"], "--fps and --stride both choose among the 15 frames"),
        (["--game", "pong", "--stride", "500"], "no two frames in a row are left of"),
        (["--game", "pong", "--episode-frames", "0"], "episode-frames must be in [1, 1000000000], found 0"),
        (["--game", "../../x"], "--game must be a short name in small letters, as pong, found '../../x'"),
        ([], "does not say which game it is; name it, for example with --game pong"),
    ],
)
def test_what_a_person_gets_wrong(
    pong: np.ndarray, tmp_path: Path, options: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    source, out = video(tmp_path / "x.mkv", pong[:20], "FFV1"), tmp_path / "out"
    assert message in refused(capfd, source, *options, "--out", out)
    assert [path.name for path in tmp_path.iterdir()] == ["x.mkv"]


def test_a_game_of_no_table_is_remarked_on(
    pong: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = pictures(tmp_path / "in", pong[:5])
    assert main(["import", str(source), "--game", "pnog", "--out", str(tmp_path / "out")]) == 0
    assert "note: unknown game 'pnog'; did you mean pong" in capsys.readouterr().err
    assert read_manifest(tmp_path / "out").game == "pnog"


def _cut_short(path: Path, pong: np.ndarray) -> None:
    whole = video(path, pong).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def _playlist(path: Path, pong: np.ndarray) -> None:
    path.write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")


def _broken_picture(path: Path, pong: np.ndarray) -> None:
    pictures(path, pong[:5])
    last = path / "4.png"
    last.write_bytes(last.read_bytes()[:200])


def _uneven_pictures(path: Path, pong: np.ndarray) -> None:
    pictures(path, pong[:5])
    Image.fromarray(pong[0, :50]).save(path / "3.png")


def _deep_picture(path: Path, pong: np.ndarray) -> None:
    path.mkdir()
    for number in range(3):
        Image.fromarray(np.full((20, 20), 60000, np.uint16)).save(path / f"{number}.png")


def _way_out(path: Path, pong: np.ndarray) -> None:
    pictures(path, pong[:3])
    (path.parent / "secret.png").write_bytes((path / "0.png").read_bytes())
    (path / "1.png").unlink()
    (path / "1.png").symlink_to(path.parent / "secret.png")


def _half_gif(path: Path, pong: np.ndarray) -> None:
    whole = gif(path, pong[:30]).read_bytes()
    path.write_bytes(whole[:300])


def _huge_png(path: Path, pong: np.ndarray) -> None:
    """A head that claims 60000x60000 pixels."""
    pictures(path, pong[:3])
    content = bytearray((path / "0.png").read_bytes())
    content[16:24] = (60000).to_bytes(4, "big") * 2
    (path / "0.png").write_bytes(content)


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("x.mp4", _cut_short, "x.mp4 is no video that can be decoded"),
        ("x.mp4", _playlist, "x.mp4 is nothing this version can import; expected a video (MP4, MOV, MKV"),
        ("x.mp4", lambda path, pong: path.write_bytes(b""), "x.mp4 is empty"),
        (
            "x.mp4",
            lambda path, pong: path.write_bytes(b"\0\0\0\x20ftypisom" + b"\0" * 99),
            "no video that can be decoded",
        ),
        ("x.gif", _half_gif, "x.gif"),
        (
            "x.png",
            lambda path, pong: Image.fromarray(pong[0]).save(path),
            "x.png is a single picture; import the folder",
        ),
        ("in", lambda path, pong: path.mkdir(), "nothing to import in"),
        ("in", _broken_picture, "4.png"),
        ("in", _uneven_pictures, "3.png is 50x80 and the first picture of its folder 104x80; sizes must agree"),
        ("in", _deep_picture, "0.png has pixels of kind I;16; save it with 8 bits a colour"),
        ("in", _way_out, "1.png is a link out of"),
        ("in", _huge_png, "0.png"),
        (
            "in",
            lambda path, pong: pictures(path, np.zeros((3, 600, 700, 3), np.uint8)),
            "600x700, and sides from 8 to 512",
        ),
    ],
)
def test_what_cannot_be_read_is_named(  # type: ignore[no-untyped-def]
    pong: np.ndarray, tmp_path: Path, name: str, make, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / name, pong)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert message in refused(capfd, tmp_path / name, "--game", "pong", "--out", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((5, 20, 30), np.uint8), "'frames' must be [N, H, W, 3] or [N, 3, H, W], found [5, 20, 30]"),
        (np.zeros((5, 20, 30, 4), np.uint8), "'frames' must be [N, H, W, 3] or [N, 3, H, W], found [5, 20, 30, 4]"),
        (np.zeros((0, 20, 30, 3), np.uint8), "'frames' holds no frame"),
        (np.zeros((5, 20, 30, 3), np.int64), "'frames' must be uint8 or floating point, found int64"),
        (np.full((5, 20, 30, 3), -0.5), "'frames' must go from 0 to 1 or from 0 to 255, found -0.5 to -0.5"),
        (np.full((5, 20, 30, 3), np.nan), "'frames' must go from 0 to 1 or from 0 to 255, found nan to nan"),
        (np.full((5, 20, 30, 3), 300.0), "found 300 to 300"),
        (np.full((5, 4, 4, 3), 90, np.uint8), "pictures of 4x4, and sides from 8 to 512 can be stored"),
        (np.full((1, 20, 20, 3), 90, np.uint8), "no two frames in a row are left of"),
    ],
)
def test_columns_of_the_wrong_kind_are_named(
    tmp_path: Path, frames: np.ndarray, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    source = column(tmp_path / "x.h5", frames)
    assert message in refused(capfd, source, "--game", "pong", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def _external(file: h5py.File) -> None:
    file["frames"] = h5py.ExternalLink("other.h5", "frames")


def _outside(file: h5py.File) -> None:
    file.create_dataset("frames", (5, 8, 8, 3), np.uint8, external=[("/etc/passwd", 0, 960)])


def _claims(file: h5py.File) -> None:
    file.create_dataset("frames", (10**8, 64, 64, 3), np.uint8, chunks=(16, 64, 64, 3), compression="gzip")


def _other(file: h5py.File) -> None:
    file.create_dataset("observations", data=np.zeros((5, 8, 8, 3), np.uint8))


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (_external, "'frames' points outside the file; do not use it"),
        (_outside, "'frames' points outside the file; do not use it"),
        (_claims, "'frames' claims 1228.8 GB and the file holds 0.0"),
        (_other, "has no column 'frames'; it has observations"),
    ],
)
def test_hostile_files_are_refused(  # type: ignore[no-untyped-def]
    tmp_path: Path, plant, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        plant(file)
    assert message in refused(capfd, tmp_path / "x.h5", "--game", "pong", "--out", tmp_path / "out")


def test_a_truncated_column_is_named(pong: np.ndarray, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = column(tmp_path / "x.h5", pong)
    source.write_bytes(source.read_bytes()[:5000])
    said = refused(capfd, source, "--game", "pong", "--out", tmp_path / "out")
    assert "x.h5 cannot be read as HDF5: it is truncated, damaged or something else" in said


def test_what_breaks_off_is_told(pong: np.ndarray, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = video(tmp_path / "x.mkv", pong, "MJPG")
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    assert main(["import", str(source), "--game", "pong", "--out", str(tmp_path / "out")]) == 0
    assert "could be read" in capfd.readouterr().err
    (only,) = frames_of(tmp_path / "out")
    assert 20 < len(only) < 70


def test_nothing_is_overwritten(pong: np.ndarray, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source, out = pictures(tmp_path / "in", pong[:5]), tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("mine")
    assert refused(capfd, source, "--game", "pong", "--out", out) == f"{out} is there already; choose another --out"
    assert (out / "mine").read_text() == "mine"
    missing = tmp_path / "nowhere"
    assert refused(capfd, missing, "--game", "pong") == f"there is no file or folder {missing}"


def test_a_full_disk_leaves_nothing_behind(
    pong: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    source, out = pictures(tmp_path / "in", pong), tmp_path / "out"

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        assert "no space left on the disk" in refused(capfd, source, "--game", "pong", "--out", out)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    (tmp_path / ".draft-out").mkdir()  # as a killed import leaves it
    (tmp_path / ".draft-out" / "00000.h5").write_bytes(b"half")
    assert len(take(source, out)) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]
