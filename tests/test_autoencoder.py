"""The linear autoencoder against what principal components must do."""

import pytest
import torch

from models.autoencoder import AutoencoderConfig, PatchAutoencoder
from models.world import WorldSpec

SPEC = WorldSpec(game="dots", height=16, width=24)


def frames(count: int = 40, seed: int = 0) -> torch.Tensor:
    """uint8 [1, T, C, H, W] of smooth pictures with a little noise."""
    luck = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 6, generator=luck)
    smooth = torch.nn.functional.interpolate(coarse, size=(16, 24), mode="bilinear")
    return ((smooth + 0.02 * torch.randn(smooth.shape, generator=luck)).clamp(0, 1) * 255).to(torch.uint8)[None]


def fitted(latent: int) -> tuple[PatchAutoencoder, dict[str, float]]:
    model = PatchAutoencoder(AutoencoderConfig(latent=latent), SPEC)
    return model, model.fit(iter(frames()))


def test_all_directions_lose_nothing() -> None:
    model, values = fitted(48)
    assert torch.equal(model.reconstruct(frames(5, seed=3)), frames(5, seed=3))
    assert values["kept"] == pytest.approx(1.0)


def test_fewer_lose_what_they_say() -> None:
    seen, losses = frames().float() / 255, []
    for latent in (2, 6, 12, 24):
        model, values = fitted(latent)
        lost = (model.decode(model.encode(frames())) - seen).square().mean()
        assert -10 * torch.log10(lost).item() == pytest.approx(values["psnr"], abs=0.05)
        losses.append(lost.item())
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > 5 * losses[-1]


def test_an_error_of_latents_is_an_error_of_pixels() -> None:
    model, _ = fitted(12)
    one, two = (model.encode(frames(6, seed)) for seed in (4, 5))
    latents = (one - two).square().sum()
    pixels = (model.decode(one) - model.decode(two)).square().sum()
    torch.testing.assert_close(latents / model.scale**2, pixels, rtol=1e-4, atol=1e-4)
    assert model.encode(frames()).var(dim=(0, 1, 3, 4)).mean().item() == pytest.approx(1.0, abs=0.1)


def test_what_was_decoded_is_encoded_as_it_was() -> None:
    model, _ = fitted(12)
    latents = model.encode(frames(3, seed=7))
    assert latents.shape == (1, 3, 12, 4, 6)
    torch.testing.assert_close(model.encode(model.decode(latents)), latents, rtol=1e-4, atol=1e-4)


def test_it_wants_frames_and_a_size_that_can_be() -> None:
    with pytest.raises(ValueError, match="no frames to fit the autoencoder on; collect some first"):
        PatchAutoencoder(AutoencoderConfig(), SPEC).fit(iter(()))
    with pytest.raises(ValueError, match=r"latent must be in \[1, 48\] for patches of \(4, 4\), found 49"):
        AutoencoderConfig(latent=49)
    with pytest.raises(ValueError, match="patch 5x4 does not divide a frame of 16x24"):
        PatchAutoencoder(AutoencoderConfig(patch=(5, 4)), SPEC)
