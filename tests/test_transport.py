"""Pictures that move: shifts, masks, and what is left when nothing was learned yet."""

import pytest
import torch

from models.transport import Transport, shift

STILL = torch.zeros(2, 2)


def picture(seed: int = 0, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 3, 16, 24, generator=torch.Generator().manual_seed(seed)) - 0.5


def test_a_shift_by_whole_pixels_copies_them() -> None:
    frames = picture()
    moved = shift(frames, torch.tensor([[3.0, 0.0], [0.0, -2.0]]))
    torch.testing.assert_close(moved[0, :, :, 3:], frames[0, :, :, :-3], atol=1e-5, rtol=0)
    torch.testing.assert_close(moved[0, :, :, :3], frames[0, :, :, :1].expand(-1, -1, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(moved[1, :, :-2], frames[1, :, 2:], atol=1e-5, rtol=0)
    torch.testing.assert_close(moved[1, :, -2:], frames[1, :, -1:].expand(-1, 2, -1), atol=1e-5, rtol=0)


def test_half_a_pixel_is_the_mean_of_two() -> None:
    frames = picture()
    moved = shift(frames, torch.full((2, 2), 0.5) * torch.tensor([1.0, 0.0]))
    mean = (frames[..., 1:] + frames[..., :-1]) / 2
    torch.testing.assert_close(moved[..., 1:], mean, atol=1e-5, rtol=0)


def test_a_sharp_shift_keeps_more_detail() -> None:
    """Half a pixel there and back, eight times: what is left of a fine pattern."""
    row, column = torch.meshgrid(torch.arange(16.0), torch.arange(24.0), indexing="ij")
    frames = torch.sin(column + row / 2)[None, None]
    left = {}
    for sharp in (False, True):
        moved = frames
        for _ in range(8):
            moved = shift(shift(moved, torch.tensor([[0.5, 0.0]]), sharp), torch.tensor([[-0.5, 0.0]]), sharp)
        left[sharp] = (moved[..., 4:-4].std() / frames[..., 4:-4].std()).item()
    assert left[False] < 0.3
    assert left[True] > 2 * left[False]


@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.8])
def test_no_wave_grows_by_being_moved_again_and_again(fraction: float) -> None:
    """One way and on, a hundred times, on waves that go round: what is not moved is an eighth of a wave or longer."""
    row = torch.arange(48.0)
    waves = torch.stack([torch.cos(2 * torch.pi * row / length) for length in (48, 16, 8, 6, 4, 3)])
    moved = waves[None, :, None].expand(1, -1, 8, -1)
    for _ in range(100):
        padded = torch.cat([moved[..., -4:], moved, moved[..., :4]], dim=-1)
        moved = shift(padded, torch.tensor([[fraction, 0.0]]), sharp=True)[..., 4:-4]
    left = moved[0, :, 4].std(dim=-1) / waves.std(dim=-1)
    assert left.max() < 1.01
    assert left[0] > 0.99  # and the longest stay


def test_a_sharp_shift_along_one_axis_leaves_the_other_alone() -> None:
    frames = picture().requires_grad_(False)
    moved = shift(frames, torch.tensor([[2.5, 0.0], [0.0, 1.0]]), sharp=True)
    torch.testing.assert_close(moved[1, :, 1:], frames[1, :, :-1], atol=1e-5, rtol=0)
    taps = torch.tensor([-1, 9, 9, -1]) / 16  # Keys' kernel half way
    want = sum(tap * frames[0, :, :, i : i + 20] for i, tap in enumerate(taps))
    torch.testing.assert_close(moved[0, :, :, 4:23], want[..., :19], atol=1e-5, rtol=0)


def test_where_to_shift_can_be_learned() -> None:
    """The gradient leads to the true shift of a smooth picture from pixels away."""
    row, column = torch.meshgrid(torch.arange(16.0), torch.arange(24.0), indexing="ij")
    frame = (torch.sin(row / 4) + torch.cos(column / 5))[None, None]
    truth = shift(frame, torch.tensor([[2.0, -1.5]]))
    by = torch.zeros(1, 2, requires_grad=True)
    adam = torch.optim.Adam([by], lr=0.1)
    for _ in range(150):
        loss = (shift(frame, by) - truth).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    torch.testing.assert_close(by.detach(), torch.tensor([[2.0, -1.5]]), atol=0.05, rtol=0)


@pytest.mark.parametrize("noisy", [False, True])
def test_codes_push_the_candidates_and_none_does_not(noisy: bool) -> None:
    torch.manual_seed(0)
    net = Transport(2, 4, 16, 2, channels=3, push=2.0, noisy=noisy)
    memory = net.remember(torch.stack([picture(1), picture(2)], dim=1))
    none = net.shifts(memory, torch.tensor([4, 4]), STILL)
    first = net.shifts(memory, torch.tensor([0, 1]), STILL)
    assert none.shape == first.shape == (2, 2, 2)
    pushed = first - none
    # what the net adds for a code is small next to the push that tells codes apart before anything is learned
    torch.testing.assert_close(pushed, net.push.weight[:2, None].expand(-1, 2, -1), atol=0.3, rtol=0)
    assert not net.push.weight[4].any()


def test_the_next_frame_is_made_of_its_candidates_and_of_what_is_drawn() -> None:
    """With masks that say so, exactly one of them."""
    torch.manual_seed(0)
    net = Transport(2, 4, 16, 2, channels=3)
    frames = torch.stack([picture(1), picture(2)], dim=1)
    memory, codes = net.remember(frames), torch.tensor([0, 3])
    shifts = net.shifts(memory, codes, STILL)
    candidates = net.candidates(frames[:, -1], shifts)
    assert torch.equal(candidates[:, 0], frames[:, -1])
    assert torch.equal(candidates[:, 2], shift(frames[:, -1], shifts[:, 1]))
    torch.nn.init.zeros_(net.choose.weight)
    for chosen in range(4):
        bias = torch.full((4, 16), -40.0)
        bias[chosen] = 40.0
        net.choose.bias.data.copy_(bias.flatten())
        told = net.tell(memory, candidates, shifts, codes)
        if chosen < 3:
            torch.testing.assert_close(told, candidates[:, chosen], atol=2e-3, rtol=0)  # no choice is ever quite sure
        else:
            assert all((told - candidate).abs().max() > 0.05 for candidate in candidates.unbind(1))


def test_a_noisy_frame_and_its_time_are_seen() -> None:
    torch.manual_seed(0)
    net = Transport(2, 4, 16, 2, channels=3, noisy=True)
    for block in net.judge:
        torch.nn.init.normal_(block.film.weight, std=0.1)
    frames = torch.stack([picture(1), picture(2)], dim=1)
    memory, codes, late = net.remember(frames), torch.tensor([0, 3]), torch.ones(2)
    shifts = net.shifts(memory, codes, STILL)
    candidates = net.candidates(frames[:, -1], shifts)
    everywhere = torch.ones(2, 2, 16, 24, dtype=torch.bool)
    told = [
        net.tell(memory, candidates, shifts, codes, noisy, time, everywhere)
        for noisy, time in ((picture(3), late), (picture(4), late), (picture(3), 0.5 * late))
    ]
    assert not torch.equal(told[0], told[1])
    assert not torch.equal(told[0], told[2])


def test_what_has_not_been_seen_is_not_chosen() -> None:
    torch.manual_seed(0)
    net = Transport(2, 4, 16, 2, channels=3, noisy=True)
    frames = torch.stack([picture(1), picture(2)], dim=1)
    memory, codes, late = net.remember(frames), torch.tensor([0, 3]), torch.ones(2)
    shifts = net.shifts(memory, codes, STILL)
    candidates = net.candidates(frames[:, -1], shifts)
    seen = torch.ones(2, 2, 16, 24, dtype=torch.bool)
    seen[:, :, :5] = False
    told = net.tell(memory, candidates, shifts, codes, picture(3), late, seen)
    candidates[:, 1:, :, :5] = 100.0
    with torch.no_grad():
        net.look.weight[:, 16 * 3 : 16 * 9] = 0.0  # nor would the shifted pictures be looked at
    blind = net.tell(memory, candidates, shifts, codes, picture(3), late, seen)
    assert told.abs().max() < 5
    assert blind.abs().max() < 5


def test_pictures_in_motion_go_on_as_far_as_was_learned() -> None:
    torch.manual_seed(0)
    net = Transport(2, 4, 16, 2, channels=3)
    memory, codes = net.remember(torch.stack([picture(1), picture(2)], dim=1)), torch.tensor([0, 3])
    torch.nn.init.zeros_(net.move[-1].weight)
    torch.nn.init.zeros_(net.move[-1].bias)
    moved = torch.tensor([[1.0, 0.0], [-2.0, 7.0]])
    for kept, logit in ((0.5, 0.0), (1.0, 4.0), (0.0, -4.0)):
        torch.nn.init.constant_(net.inertia, logit)
        found = net.shifts(memory, codes, moved)
        torch.testing.assert_close(found, (kept * moved)[:, None].expand(-1, 2, -1))
