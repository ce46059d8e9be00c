"""Spectra: grain told from the shape of things."""

from __future__ import annotations

import torch

from kintsugi.stages import spectra


def noise(count: int = 48) -> torch.Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_mere_noise_has_its_own_level():
    cross, level = spectra.spectra_of(noise(), coded=False)
    assert torch.allclose(cross, spectra.spectrum_of(noise()))
    share = spectra.total(level) / spectra.total(cross)
    assert (share[3:11] > 0.8).all() and (share <= 1 + 1e-6).all()


def test_edges_in_half_of_the_patches_are_not_grain():
    patches = noise()
    patches[::2, :, :, 8:] += 12
    cross, level = spectra.spectra_of(patches, coded=False)
    wanted = spectra.total(spectra.spectrum_of(noise()))
    assert (spectra.total(cross)[3:8] > 3 * wanted[3:8]).all()
    assert (spectra.total(level)[3:8] < 1.6 * wanted[3:8]).all()
    in_codes = spectra.spectra_of(patches, coded=True)[1]
    assert torch.allclose(in_codes[spectra.SHAPED :], cross[spectra.SHAPED :])


def test_slow_rings_rise_no_steeper_than_grain():
    at = torch.arange(12.0)
    coarse = (-0.2 * at.square()).exp()[:, None, None] * torch.eye(3)
    assert torch.allclose(spectra.without_shape(coarse), coarse, rtol=1e-4)
    shaped = torch.eye(3).repeat(12, 1, 1)
    shaped[:3] *= 30
    freed = spectra.total(spectra.without_shape(shaped))
    assert torch.allclose(freed, torch.full_like(freed, 3.0))
