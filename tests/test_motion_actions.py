"""The LAM of moving pictures, on a landscape that is seen through a window that the player moves."""

import pytest
import torch

from models.motion_actions import MotionActionConfig, MotionActionModel, astray, error, missed, surprise
from models.world import WorldSpec

HEIGHT, WIDTH = 24, 32
SPEC = WorldSpec(game="landscape", height=HEIGHT, width=WIDTH)
WAYS = torch.tensor([0, -2, 2])
"""Columns that the window moves by, for each of three actions."""


def play(batch: int, length: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 [B, T, C, H, W] of random walks over landscapes, and the actions int64 [B, T-1]."""
    luck = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, 4, 14, generator=luck)
    land = torch.nn.functional.interpolate(coarse, size=(HEIGHT, 96), mode="bicubic").clamp(0, 1)
    actions = torch.randint(0, 3, (batch, length - 1), generator=luck)
    columns = 32 + torch.cat([torch.zeros(batch, 1, dtype=torch.int64), WAYS[actions].cumsum(1)], dim=1)
    rows = [torch.stack([land[b, :, :, x : x + WIDTH] for x in columns[b].tolist()]) for b in range(batch)]
    return (torch.stack(rows) * 255).to(torch.uint8), actions


@pytest.fixture(scope="module")
def learned() -> MotionActionModel:
    torch.manual_seed(0)
    config = MotionActionConfig(codes=3, width=16, channels=8, tries=12)
    model = MotionActionModel(config, SPEC)
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    frames, _ = play(2000, 3)
    for step in range(400):
        if step == 160:
            model.spread(frames)
        rows = torch.randint(0, 2000, (16,))
        loss, _ = model.loss(frames[rows], step / 400)
        adam.zero_grad()
        loss.backward()
        adam.step()
    return model.eval()


def test_codes_are_what_the_player_did(learned: MotionActionModel) -> None:
    frames, actions = play(64, 4, seed=5)
    codes = learned.infer(frames)
    assert (codes.dtype, codes.shape) == (torch.int64, (64, 3))
    table = torch.zeros(3, 3, dtype=torch.int64)
    table.index_put_((codes.flatten(), actions.flatten()), torch.tensor(1), accumulate=True)
    assert table.amax(dim=1).sum() >= 0.9 * actions.numel()  # a third if codes told nothing
    assert (table.sum(dim=1) > 0.1 * actions.numel()).all()


def test_codes_are_worth_something_to_the_decoder(learned: MotionActionModel) -> None:
    found = learned.gain(play(32, 5, seed=6)[0])
    assert found["inferred"] < 0.5 * found["none"]
    assert found["gain"] == pytest.approx(found["shuffled"] / found["inferred"])
    assert found["gain"] > 3


def test_a_clip_alone_is_read_as_in_a_batch(learned: MotionActionModel) -> None:
    frames, _ = play(6, 5, seed=7)
    together = learned.infer(frames)
    assert all(torch.equal(together[i : i + 1], learned.infer(frames[i : i + 1])) for i in range(6))


def test_a_code_needs_no_more_than_three_frames(learned: MotionActionModel) -> None:
    frames, _ = play(8, 6, seed=8)
    assert torch.equal(learned.infer(frames)[:, 2:], learned.infer(frames[:, 1:])[:, 1:])


def test_codes_begin_where_the_picture_goes_without_being_expected_there() -> None:
    torch.manual_seed(0)
    model = MotionActionModel(MotionActionConfig(codes=3, width=16, channels=8), SPEC)
    torch.nn.init.constant_(model.decoder.inertia, -4.0)
    assert not model.spread_out
    model.spread(play(200, 3, seed=9)[0])
    assert model.spread_out
    ways = model.decoder.push.weight[:3].sort(dim=0).values
    torch.testing.assert_close(ways[:, 0], torch.tensor([-2.0, 0.0, 2.0]), atol=0.4, rtol=0)
    assert not model.decoder.push.weight[3].any()


def test_without_an_action_the_middle_is_expected_and_with_one_a_way() -> None:
    ways, shifts = torch.tensor([[-2.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    costs = {kind: [kind(shift.expand(2, 2), ways).mean().item() for shift in shifts] for kind in (missed, astray)}
    assert costs[missed][0] < costs[missed][1]
    assert costs[astray][1] < costs[astray][0]


def test_displacements_are_read_with_the_codes(learned: MotionActionModel) -> None:
    frames, actions = play(16, 5, seed=7)
    codes, moved = learned.read(frames)
    assert torch.equal(codes, learned.infer(frames))
    torch.testing.assert_close(moved[..., 0], -WAYS[actions].float(), atol=0.3, rtol=0)
    assert moved[..., 1].abs().max() < 0.3


def test_errors_are_fine_and_coarse() -> None:
    truth, told = torch.zeros(2, 1, 3, 8, 8), torch.zeros(2, 4, 3, 8, 8)
    told[0, 1] = 0.1  # everywhere: fine and coarse
    told[0, 2, :, ::2] = 0.1
    told[0, 2, :, 1::2] = -0.1  # on average nothing
    found = error(told, truth)
    torch.testing.assert_close(found[0], torch.tensor([0.0, 0.03, 0.01, 0.0]))
    assert not found[1].any()
    cost = surprise(found)
    assert (cost[0, 1] - cost[0, 2]).item() == pytest.approx(0.5 * torch.log(torch.tensor(0.032 / 0.012)).item())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"codes": 1}, r"number of latent actions must be in \[2, 64\], found 1"),
        ({"free_share": 0.9, "sort_share": 0.2}, "free_share 0.9 and sort_share 0.2 must be in"),
        ({"width": 20}, "width 20 a multiple of 8"),
    ],
)
def test_configs_that_cannot_be(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MotionActionConfig(**values)


def test_windows_of_another_length_are_refused(learned: MotionActionModel) -> None:
    with pytest.raises(ValueError, match=r"windows of 4 frames do not fit; use --set lam\.length=3"):
        learned.loss(play(2, 4)[0], 0.0)
