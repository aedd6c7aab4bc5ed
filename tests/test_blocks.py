"""Attention sees the past, all of it within reach, and nothing else; a cache changes nothing."""

import pytest
import torch

from models.blocks import KeysValues, Past, STBlock, causal_offset

B, T, N, D, HEADS, GRID = 2, 7, 6, 16, 2, (2, 3)


@pytest.fixture(params=[False, True], ids=["plain", "conditioned"])
def made(request: pytest.FixtureRequest):
    """A block with weights that matter everywhere, frames and conditions."""
    torch.manual_seed(3)
    block = STBlock(D, HEADS, reach=4, grid=GRID, conditioned=request.param)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return block.requires_grad_(False), torch.randn(B, T, N, D), torch.randn(B, T, D) if request.param else None


def test_changing_a_frame_changes_nothing_before_it_and_nothing_beyond_reach(made) -> None:
    block, x, condition = made
    before, _ = block(x, condition)
    changed = x.clone()
    changed[:, 2] = torch.randn(B, N, D)
    after, _ = block(changed, condition)
    moved = (after - before).abs().amax(dim=(0, 2, 3))
    assert (moved[:2] == 0).all()
    assert (moved[2:6] > 1e-4).all()  # the frame itself and the three that reach back to it
    assert (moved[6:] == 0).all()


def test_space_is_not_causal(made) -> None:
    block, x, condition = made
    changed = x.clone()
    changed[:, :, 5] = torch.randn(B, T, D)
    moved = (block(changed, condition)[0] - block(x, condition)[0]).abs().amax(dim=(0, 1, 3))
    assert (moved > 1e-4).all()


def test_frame_by_frame_with_a_cache_is_all_at_once(made) -> None:
    block, x, condition = made
    whole, own = block(x, condition)
    keys = values = None
    for t in range(T):
        past = None
        if keys is not None:
            kept = keys.shape[3]
            past = Past(KeysValues(keys, values), torch.arange(kept, 0, -1)[None])
        y, new = block(x[:, t : t + 1], None if condition is None else condition[:, t : t + 1], past)
        torch.testing.assert_close(y[:, 0], whole[:, t], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(new.keys[:, :, :, 0], own.keys[:, :, :, t], atol=1e-5, rtol=1e-4)
        keys = new.keys if keys is None else torch.cat([keys, new.keys], dim=3)[:, :, :, -3:]
        values = new.values if values is None else torch.cat([values, new.values], dim=3)[:, :, :, -3:]


def test_offsets_say_how_far_back() -> None:
    assert causal_offset(3).tolist() == [[0, -1, -2], [1, 0, -1], [2, 1, 0]]


def test_offset_decides_what_is_seen(made) -> None:
    """A memory that lies beyond reach or in the future weighs nothing; where it lies changes its weight."""
    block, x, condition = made
    now, at = x[:, :1], None if condition is None else condition[:, :1]
    alone, _ = block(now, at)
    memory = KeysValues(torch.randn(B, N, HEADS, 1, D // HEADS), torch.randn(B, N, HEADS, 1, D // HEADS))
    found = {offset: block(now, at, Past(memory, torch.tensor([[offset]])))[0] for offset in (-1, 0, 1, 3, 4)}
    for hidden in (-1, 0, 4):
        torch.testing.assert_close(found[hidden], alone)
    assert (found[1] - alone).abs().max() > 1e-3
    assert (found[1] - found[3]).abs().max() > 1e-3


def test_an_unfilled_cache_is_not_seen_row_by_row(made) -> None:
    block, x, condition = made
    now, at = x[:, :1], None if condition is None else condition[:, :1]
    full = KeysValues(torch.randn(B, N, HEADS, 3, D // HEADS), torch.randn(B, N, HEADS, 3, D // HEADS))
    rubbish = KeysValues(full.keys.clone(), full.values.clone())
    rubbish.keys[0, ..., :2, :] = rubbish.values[0, ..., :2, :] = 1e4
    offset = torch.tensor([[[0, 0, 1]], [[3, 2, 1]]])  # the first row has seen one frame, the second three
    y, _ = block(now, at, Past(rubbish, offset))
    short = KeysValues(full.keys[:1, ..., 2:, :], full.values[:1, ..., 2:, :])
    one, _ = block(now[:1], at if at is None else at[:1], Past(short, torch.tensor([[1]])))
    all_three = Past(KeysValues(full.keys[1:], full.values[1:]), torch.tensor([[3, 2, 1]]))
    three, _ = block(now[1:], at if at is None else at[1:], all_three)
    torch.testing.assert_close(y, torch.cat([one, three]), atol=1e-5, rtol=1e-4)


def test_asking_at_some_places_is_asking_everywhere() -> None:
    torch.manual_seed(4)
    block = STBlock(D, HEADS, reach=1, grid=GRID, conditioned=True)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    x, condition = torch.randn(B, N, D), torch.randn(B, D)
    whole, _ = block(x[:, None], condition[:, None])
    for places in (torch.tensor([[0, 5], [4, 2]]), torch.tensor([[3], [3]])):
        expected = whole[:, 0].gather(1, places[..., None].expand(-1, -1, D))
        torch.testing.assert_close(block.at(x, condition, places), expected)


def test_heads_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="width 16 is not divisible by 3 heads; use 1, 2, 4, 8, 16"):
        STBlock(16, 3, 4, GRID)
