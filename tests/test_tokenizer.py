"""Frames ↔ tokens: nothing of a seen frame is lost, nothing is told before it happens, and all kinds learn."""

from dataclasses import replace

import block_play
import pytest
import torch

from models.tokenizer import PatchTokenizer, TokenizerConfig
from models.world import Window, WorldSpec

TINY = replace(TokenizerConfig.sized("tiny"), patch=block_play.PATCH)


def fitted(frames: torch.Tensor, codes: int = 64) -> PatchTokenizer:
    tokenizer = replace(TINY, codes=codes).build(block_play.SPEC)
    assert isinstance(tokenizer, PatchTokenizer)
    tokenizer.fit(iter(frames))
    return tokenizer


def learned(kind: str, **changes: object):
    torch.manual_seed(0)
    config = replace(TINY, kind=kind, codes=32, levels=(4, 4, 4), foreground=5.0, **changes)
    return config.build(block_play.SPEC)


def test_patches_bring_seen_frames_back_without_loss() -> None:
    frames = block_play.play(8, 12)[0].frames
    tokenizer = fitted(frames)
    tokens = tokenizer.encode(frames)
    assert tokens.shape == (8, 12, 12)
    assert torch.equal(tokenizer.decode(tokens), frames)
    assert torch.equal(tokenizer.encode(tokenizer.decode(tokens)), tokens)


def test_fit_counts_what_it_saw() -> None:
    frames = block_play.play(8, 12)[0].frames
    config = replace(TINY, codes=64)
    whole, clipped = (config.build(block_play.SPEC) for _ in range(2))
    values = whole.fit(iter(frames))
    patches = frames.unfold(3, 8, 8).unfold(4, 8, 8).permute(0, 1, 3, 4, 2, 5, 6).reshape(-1, 192)
    distinct, counts = torch.unique(patches, dim=0, return_counts=True)
    assert values == {"distinct": len(distinct), "kept": len(distinct), "covered": 1.0}
    assert whole.book.counts.sum() == len(patches)
    assert torch.equal(whole.book.counts[: len(distinct)], counts.sort(descending=True).values)
    assert clipped.fit(half for frame in frames for half in (frame[:5], frame[5:])) == values
    assert torch.equal(whole.book.patches, clipped.book.patches)


def test_a_small_book_says_how_much_it_covers() -> None:
    frames = block_play.play(4, 10)[0].frames
    tokenizer = replace(TINY, codes=2).build(block_play.SPEC)
    values = tokenizer.fit(iter(frames))
    same = (tokenizer.decode(tokenizer.encode(frames)) == frames).unfold(3, 8, 8).unfold(4, 8, 8)
    assert values["covered"] == pytest.approx(same.all(-1).all(-1).all(2).float().mean().item())
    assert 0.5 < values["covered"] < 1
    assert values["kept"] == 2


def test_a_fitted_book_has_no_empty_pages_and_weights_of_its_size_can_be_read_back() -> None:
    frames = block_play.play(8, 12)[0].frames
    tokenizer = fitted(frames, codes=500)
    distinct = int((tokenizer.book.counts > 0).sum())
    assert (
        tokenizer.size == tokenizer.book.size == tokenizer.config.codes == len(tokenizer.features()) == distinct < 500
    )
    other = replace(TINY, codes=500).build(block_play.SPEC)
    assert isinstance(other, PatchTokenizer)
    other.make_room(distinct)
    other.load_state_dict(tokenizer.state_dict())
    assert torch.equal(other.encode(frames), tokenizer.encode(frames))


def test_features_know_how_far_apart_two_balls_are() -> None:
    """In pixels, a ball one column aside is as far away as one five columns aside; in slow waves it is nearer."""
    empty = torch.zeros(1, 3, 24, 32, dtype=torch.uint8)
    frames = empty.repeat(7, 1, 1, 1)
    for place in range(6):
        frames[place + 1, :, 3:5, 1 + place] = 236
    tokenizer = fitted(frames[None])
    codes = tokenizer.encode(frames[None])[0, :, 0]
    balls = tokenizer.features()[codes[1:]]
    pixels, waves = balls.split([192, balls.shape[1] - 192], dim=1)
    near, far = (pixels[0] - pixels[1]).norm(), (pixels[0] - pixels[5]).norm()
    torch.testing.assert_close(near, far)
    assert (waves[0] - waves[1]).norm() < 0.7 * (waves[0] - waves[5]).norm()
    assert (tokenizer.features()[codes[0]] == 0).all()  # the commonest patch is what the others differ from


def test_nothing_to_fit_on() -> None:
    with pytest.raises(ValueError, match="no frames to fit the patch codebook on"):
        TINY.build(block_play.SPEC).fit(iter(()))


@pytest.mark.parametrize("kind", ["vq", "fsq"])
def test_learned_kinds_overfit_a_window(kind: str) -> None:
    tokenizer = learned(kind)
    window = Window(block_play.play(1, 4, seed=3)[0].frames)
    adam = torch.optim.Adam(tokenizer.parameters(), lr=4e-3)
    losses = []
    for _ in range(250):
        loss, logs = tokenizer.loss(window)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10
    tokenizer.eval()
    error = (tokenizer.reconstruct(window.frames).float() - window.frames.float()).square().mean()
    constant = (window.frames.float() - window.frames.float().mean(dim=(1, 3, 4), keepdim=True)).square().mean()
    assert error < constant / 4
    assert set(logs) == {"psnr", "worst", "perplexity", "used"}


@pytest.mark.parametrize("kind", ["vq", "fsq"])
def test_loss_is_finite_and_reaches_every_weight(kind: str) -> None:
    tokenizer = learned(kind)
    loss, logs = tokenizer.loss(block_play.play(2, 5)[0])
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(value) for value in logs.values())
    still = [name for name, weight in tokenizer.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert still == []


@pytest.mark.parametrize("kind", ["vq", "fsq"])
def test_tokens_tell_of_the_past_only(kind: str) -> None:
    tokenizer = learned(kind, reach=2)
    with torch.no_grad():
        for parameter in tokenizer.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    tokenizer.eval()
    frames = block_play.play(1, 8, seed=1)[0].frames
    changed = frames.clone()
    changed[:, 4:] = 255 - changed[:, 4:]
    latents, later = tokenizer.latents(frames), tokenizer.latents(changed)
    assert torch.equal(latents[:, :4], later[:, :4])
    assert not torch.equal(latents[:, 4], later[:, 4])
    assert torch.equal(tokenizer.encode(frames)[:, :4], tokenizer.encode(changed)[:, :4])
    tokens = tokenizer.encode(frames)
    other = tokens.clone()
    other[:, 4:] = (other[:, 4:] + 7) % tokenizer.size
    assert torch.equal(tokenizer.decode(tokens)[:, :4], tokenizer.decode(other)[:, :4])
    assert not torch.equal(tokenizer.decode(tokens)[:, 4], tokenizer.decode(other)[:, 4])


@pytest.mark.parametrize("kind", ["vq", "fsq"])
def test_reach_is_how_far_back_a_pixel_may_depend(kind: str) -> None:
    """What `reach` frames give is what the whole past gives: a state may keep only so many frames."""
    tokenizer = learned(kind, reach=2).eval()
    frames = block_play.play(1, 9, seed=2)[0].frames
    reach = tokenizer.reach
    assert reach == 3
    torch.testing.assert_close(tokenizer.latents(frames)[:, -1], tokenizer.latents(frames[:, -reach:])[:, -1])
    whole, short = tokenizer.reconstruct(frames), tokenizer.reconstruct(frames[:, -reach:])
    assert (whole[:, -1].int() - short[:, -1].int()).abs().max() <= 1


@pytest.mark.parametrize(("kind", "reach", "frames"), [("vq", 2, 9), ("fsq", 3, 9), ("fsq", 3, 2), ("fsq", 1, 4)])
def test_the_last_frame_alone_is_as_it_is_with_the_others(kind: str, reach: int, frames: int) -> None:
    tokenizer = learned(kind, reach=reach, decoder_depth=2).eval()
    with torch.no_grad():
        for parameter in tokenizer.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        vectors = tokenizer.quantizer.lookup(torch.randint(tokenizer.size, (2, frames, *tokenizer.place[0].shape[:1])))
        whole = tokenizer.pixels(vectors)
        torch.testing.assert_close(tokenizer.pixels(vectors, frames=1)[:, -1], whole[:, -1])
        tokens = torch.randint(tokenizer.size, (2, frames, len(tokenizer.place[0])))
        far = tokenizer.decode_last(tokens).int() - tokenizer.decode(tokens)[:, -1].int()
    assert far.abs().max() <= 1
    assert tokenizer.decode(tokens).float().std() > 5


def test_encoding_teaches_nothing() -> None:
    tokenizer = learned("vq").train()
    before = {key: value.clone() for key, value in tokenizer.state_dict().items()}
    tokenizer.encode(block_play.play(2, 5)[0].frames)
    assert all(torch.equal(value, before[key]) for key, value in tokenizer.state_dict().items())
    assert tokenizer.quantizer.training


@pytest.mark.parametrize("kind", ["patch", "vq", "fsq"])
def test_what_all_kinds_promise(kind: str) -> None:
    frames = block_play.play(2, 5)[0].frames
    tokenizer = fitted(frames) if kind == "patch" else learned(kind).eval()
    tokens = tokenizer.encode(frames)
    assert tokens.dtype == torch.int64
    assert tokens.shape == (2, 5, tokenizer.grid[0] * tokenizer.grid[1])
    assert 0 <= int(tokens.min()) <= int(tokens.max()) < tokenizer.size
    rebuilt = tokenizer.decode(tokens)
    assert (rebuilt.dtype, rebuilt.shape) == (torch.uint8, frames.shape)
    assert torch.equal(tokenizer.reconstruct(frames), rebuilt)
    features = tokenizer.features()
    assert features.shape[0] == tokenizer.size
    assert features.isfinite().all()


def test_a_patch_that_does_not_fit_names_those_that_do() -> None:
    spec = WorldSpec(game="pong", height=104, width=80)
    message = (
        "patch 10x12 does not divide a frame of 104x80; use rows of 4, 8, 13, 26 and columns of 4, 5, 8, 10, 16, 20"
    )
    with pytest.raises(ValueError, match=message):
        replace(TINY, patch=(10, 12)).build(spec)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "jpeg"}, "tokenizer kind must be patch, vq or fsq, found 'jpeg'"),
        ({"width": 30, "heads": 4}, "width 30 is not divisible by 4 heads; use 1, 2, 3, 5, 6, 10, 15"),
        ({"codes": 1}, "codes 1"),
        ({"patch": (0, 8)}, r"patch \(0, 8\)"),
    ],
)
def test_bad_configs_say_why(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)
