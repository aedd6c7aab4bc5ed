"""Windows and the token cache, on episodes whose every pixel says which frame it is: any off-by-one shows."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from test_shards import edit, make_dataset
from torch import Tensor, nn

from collectors.shards import Dataset, split_of
from models.world import WorldSpec
from training import token_cache
from training.pipeline import Data, start_clips
from training.token_cache import TokenCache, fingerprint, read_codes, tokenize
from training.windows import Windows, open_datasets, to_channels_first

LENGTHS = [6, 41, 2, 18, 31]  # frames of the five episodes; their values run on: 0 … 97


@pytest.fixture
def windows(tmp_path: Path) -> Windows:
    return Windows([Dataset.open(make_dataset(tmp_path / "data")[0])], "all")


class CountingTokenizer(nn.Module):
    """Token n of a frame: n, and the values of this frame and of the two before it, as far as it was shown them."""

    reach = 3

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.calls = 0

    def encode(self, frames: Tensor) -> Tensor:
        self.calls += 1
        value = frames[:, :, 0, 0, 0].long()  # [B, T]
        before = torch.nn.functional.pad(value, (2, 0), value=255)
        whole = value + 256 * before[:, 1:-1] + 256**2 * before[:, :-2]
        return whole[..., None] + 256**3 * torch.arange(4)


class CountingLam(nn.Module):
    """Reads off what the actions of the counting play say: the number of the frame that comes next."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def infer(self, frames: Tensor) -> Tensor:
        return frames[:, 1:, 0, 0, 0].long()


def expected_tokens(value: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Tokens [..., 4] of frames by their values and the value of their episode's first frame."""
    before = [np.where(value - back >= first, value - back, 255) for back in (1, 2)]
    return (value + 256 * before[0] + 256**2 * before[1])[..., None] + 256**3 * np.arange(4)


def test_frames_and_actions_are_aligned(windows: Windows) -> None:
    rng = np.random.default_rng(0)
    starts = np.cumsum([0, *LENGTHS])
    for length in (2, 5, 18):
        places = windows.draw(rng, 64, length)
        window = windows.read(places, length)
        assert window.frames.shape == (64, length, 3, 4, 6)
        value = window.frames[:, :, 0, 0, 0].long()
        assert (window.frames == window.frames[:, :, :1, :1, :1]).all()
        assert torch.equal(value[:, 0], torch.from_numpy(starts[places[:, 0]] + places[:, 1]))
        assert torch.equal(value.diff(dim=1), torch.ones(64, length - 1, dtype=torch.int64))
        assert torch.equal(window.actions, value[:, 1:])


def test_windows_stay_within_their_episode(windows: Windows) -> None:
    places = windows.draw(np.random.default_rng(1), 5000, 6)
    lengths = np.array(LENGTHS)[places[:, 0]]
    assert (places[:, 1] >= 0).all()
    assert (places[:, 1] + 6 <= lengths).all()
    assert set(places[:, 0]) == {0, 1, 3, 4}  # episode 2 is too short


def test_every_window_is_drawn_equally_often(windows: Windows) -> None:
    room = {episode: frames - 9 for episode, frames in enumerate(LENGTHS) if frames > 9}
    total = sum(room.values())
    places = windows.draw(np.random.default_rng(2), 400 * total, 10)
    found, counts = np.unique(places, axis=0, return_counts=True)
    assert found.tolist() == [[episode, start] for episode in room for start in range(room[episode])]
    assert np.abs(counts - 400).max() < 5 * 400**0.5


def test_same_generator_same_windows(windows: Windows) -> None:
    one, two = (windows.draw(np.random.default_rng(3), 50, 4) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_too_short_episodes_are_an_error(windows: Windows) -> None:
    message = "longest episode has 41 frames, a window needs 42; collect longer episodes"
    with pytest.raises(ValueError, match=message):
        windows.draw(np.random.default_rng(0), 1, 42)
    assert (windows.draw(np.random.default_rng(0), 3, 41) == [1, 0]).all()


def test_clips_show_every_frame_once(windows: Windows) -> None:
    for length in (2, 3, 5, 500):
        values = torch.cat([clip[skip:, 0, 0, 0] for i in range(5) for skip, clip in windows.clips_of(i, length)])
        assert values.tolist() == list(range(98)), length
    for skip, clip in windows.clips_of(1, 10, overlap=4):
        values = clip[:, 0, 0, 0].tolist()
        assert values == list(range(values[0], values[0] + len(clip)))
        assert skip == (0 if values[0] == 6 else 4 if len(clip) > 4 else skip)


def test_split_is_by_seed_and_moves_nothing() -> None:
    """Written down: if these change, what was held out yesterday is trained on today."""
    found = [split_of(seed, "pong") for seed in range(2000)]
    assert [seed for seed in range(60) if found[seed] != "train"] == [4, 7]
    assert 0.88 < found.count("train") / 2000 < 0.92
    assert 0.03 < found.count("validation") / 2000 < 0.07
    assert [split_of(seed, "breakout") for seed in range(2000)] != found


def test_splits_share_no_episode_and_leave_none_out(tmp_path: Path) -> None:
    dataset = Dataset.open(make_dataset(tmp_path)[0])
    seeds = []
    for split in ("train", "validation", "test"):
        expected = [seed for seed in range(5) if split_of(seed, "counting") == split]
        if expected:
            seeds += [ref.seed for _, ref in Windows([dataset], split).episodes]
            assert seeds[-len(expected) :] == expected
        else:
            with pytest.raises(ValueError, match=f"no episodes in the {split} split of 5 episodes; collect more"):
                Windows([dataset], split)
    assert sorted(seeds) == [0, 1, 2, 3, 4]


def test_several_data_sets_are_one(tmp_path: Path) -> None:
    parts = [make_dataset(tmp_path / name)[0] for name in ("one", "two")]
    windows = Windows(open_datasets(tuple(parts)), "all")
    assert windows.frames == 196
    places = windows.draw(np.random.default_rng(0), 400, 5)
    assert set(places[:, 0]) == {0, 1, 3, 4, 5, 6, 8, 9}
    value = windows.read(places, 5).frames[:, :, 0, 0, 0].long()
    assert (value.diff(dim=1) == 1).all()


def test_data_sets_that_do_not_belong_together(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "data")[0]
    with pytest.raises(ValueError, match="no data set given; record one: dreamcade collect pong"):
        open_datasets(())
    with pytest.raises(ValueError, match=r"data holds 'counting', expected 'pong'"):
        open_datasets((folder,), "pong")
    other = make_dataset(tmp_path / "other")[0]
    edit(other, game="skipping")
    message = r"other holds 'skipping', .*data holds 'counting'; a world is of one game; --mix lets one learn several"
    with pytest.raises(ValueError, match=message):
        open_datasets((folder, other))
    with pytest.raises(FileNotFoundError, match=r"no manifest.json in .*nowhere"):
        open_datasets((tmp_path / "nowhere",))


def check_cache(cache: TokenCache, windows: Windows, length: int) -> None:
    places = windows.draw(np.random.default_rng(4), 200, length)
    tokens, codes = cache.read(places, length)
    window = windows.read(places, length)
    value = window.frames[:, :, 0, 0, 0].long().numpy()
    first = np.cumsum([0, *LENGTHS])[places[:, 0]][:, None]
    np.testing.assert_array_equal(tokens.numpy(), expected_tokens(value, first))
    assert codes is not None
    assert torch.equal(codes, window.actions)


@pytest.mark.parametrize("clip", [2, 5, 7, 256])
def test_tokens_and_codes_are_those_of_their_frames(
    tmp_path: Path, windows: Windows, monkeypatch: pytest.MonkeyPatch, clip: int
) -> None:
    monkeypatch.setattr(token_cache, "CLIP", clip)
    cache = read_codes(tokenize(windows, CountingTokenizer(), tmp_path), CountingLam(), tmp_path)
    for length in (2, 4, 9):
        check_cache(cache, windows, length)
    assert (np.asarray(cache.codes)[np.cumsum(LENGTHS) - 1] == -1).all()
    assert len(cache.tokens) == len(cache.codes) == 98


def test_what_was_tokenized_is_not_tokenized_again(tmp_path: Path, windows: Windows) -> None:
    tokenizer = CountingTokenizer()
    first = tokenize(windows, tokenizer, tmp_path)
    calls = tokenizer.calls
    again = tokenize(windows, tokenizer, tmp_path)
    assert tokenizer.calls == calls > 0
    np.testing.assert_array_equal(first.tokens, again.tokens)
    with torch.no_grad():
        tokenizer.weight.add_(1)
    tokenize(windows, tokenizer, tmp_path)
    assert tokenizer.calls == 2 * calls
    assert len(list(tmp_path.glob("tokens-*.npy"))) == 2


def test_fingerprint_knows_weights_and_episodes(tmp_path: Path, windows: Windows) -> None:
    tokenizer = CountingTokenizer()
    found = fingerprint(tokenizer, windows)
    assert found == fingerprint(CountingTokenizer(), windows)
    fewer = Windows(windows.datasets, "all")
    fewer.episodes = fewer.episodes[:-1]
    assert fingerprint(tokenizer, fewer) != found


def test_an_interrupted_cache_is_not_believed(
    tmp_path: Path, windows: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"cannot write .*tokens-\w+\.npy: no space left on device; make room"):
            tokenize(windows, CountingTokenizer(), tmp_path)
    assert not list(tmp_path.glob("tokens-*"))
    assert len(tokenize(windows, CountingTokenizer(), tmp_path).tokens) == 98


def test_start_clips_move_at_every_step(windows: Windows) -> None:
    clips = start_clips(windows, context=4, count=5)
    assert len(clips) == 5
    assert all(clip.shape == (4, 3, 4, 6) and (clip.float().diff(dim=0) == 1).all() for clip in clips)


def test_spec_is_what_the_data_says(windows: Windows) -> None:
    assert Data(windows, windows).spec() == WorldSpec(game="counting", height=4, width=6, fps=15.0)


def test_channels_come_first() -> None:
    frames = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)
    assert to_channels_first(frames)[1, 2, 3, 5] == frames[1, 3, 5, 2]


def test_windows_across_go_from_the_end_of_one_game_to_the_beginning_of_another(
    tmp_path: Path, windows: Windows
) -> None:
    cache = read_codes(tokenize(windows, CountingTokenizer(), tmp_path), CountingLam(), tmp_path)
    assert windows.over().tolist() == [0, 1, 2, 3, 4]
    tokens, codes = cache.read_across(np.random.default_rng(5), 300, 9)
    value = tokens[..., 0].numpy() % 256
    ends, firsts = np.cumsum(LENGTHS) - 1, np.cumsum([0, *LENGTHS[:-1]])
    kept = set()
    for row, told in zip(value, codes.numpy(), strict=True):
        (cut,) = np.flatnonzero(np.isin(row[:-1], ends) & np.isin(row[1:], firsts))[:1]
        kept.add(int(cut))
        assert (np.diff(row[: cut + 1]) == 1).all()
        assert (np.diff(row[cut + 1 :]) == 1).all()
        inside = np.delete(np.arange(8), cut)
        np.testing.assert_array_equal(told[inside], row[inside + 1])
        assert told[cut] == -1
    assert kept == set(range(8))  # the end of the game falls on every place


def test_what_is_only_cut_is_no_end_of_a_game(
    tmp_path: Path, windows: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = read_codes(tokenize(windows, CountingTokenizer(), tmp_path), CountingLam(), tmp_path)
    monkeypatch.setattr(windows, "over", lambda: np.array([0, 2]))
    assert cache.can_cross(6)
    assert not cache.can_cross(7)  # episodes 0 and 2 have 6 and 2 frames
    with pytest.raises(ValueError, match="no game of 7 frames or more ends in this data"):
        cache.read_across(np.random.default_rng(0), 1, 7)
    tokens, _ = cache.read_across(np.random.default_rng(0), 50, 6)
    assert {int(row[0]) for row in tokens[..., 0] % 256} <= {1, 2, 3, 4, 5}


class CountingMotion(nn.Module):
    """Of a transition from a frame of value v: the code v % 8 and the displacement (v / 4, 2 if it was shown the frame
    before, else 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def read(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        value = frames[:, :-1, 0, 0, 0].long()  # [B, T-1]
        known = torch.ones_like(value)
        known[:, 1:] = 2
        return value % 8, torch.stack([value / 4, known.float()], dim=-1)


@pytest.mark.parametrize("clip", [256, 7, 3])
def test_motion_and_codes_are_those_of_their_frames(
    tmp_path: Path, windows: Windows, monkeypatch: pytest.MonkeyPatch, clip: int
) -> None:
    monkeypatch.setattr(token_cache, "CLIP", clip)
    lam = CountingMotion()
    cache = token_cache.read_motion(windows, lam, tmp_path)
    places = windows.draw(np.random.default_rng(0), 64, 2)
    motion, codes = cache.read(places, 2)
    value = windows.read(places, 2).frames[:, 0, 0, 0, 0].long()
    assert codes is not None
    assert torch.equal(codes[:, 0], value % 8)
    right, known = (motion[:, 0] / token_cache.FINE).unbind(-1)
    assert torch.equal(right, value / 4)
    assert torch.equal(known, torch.where(torch.from_numpy(places[:, 1]) == 0, 1.0, 2.0))
    monkeypatch.setattr(lam, "read", lambda frames: pytest.fail("it was read before"))
    again = token_cache.read_motion(windows, lam, tmp_path)
    assert np.array_equal(again.tokens, cache.tokens)


def test_some_episodes_are_spread_over_all(windows: Windows) -> None:
    assert windows.some(98) is windows
    assert windows.some(50).lengths.tolist() == [6, 2, 31]
    assert windows.some(1).lengths.tolist() == [6]
