"""Grain: what is measured of a picture, and what is made of it again."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from faces_for_tests import smooth_picture
from PIL import Image

from kintsugi.stages import detail, grain, quiet, spectra

EVERYWHERE = torch.ones(384, 384, dtype=torch.bool)


def noise(seed: int = 0) -> torch.Tensor:
    """(384, 384, 3), deviation 3.5 of 255."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(384, 384, 3, generator=generator) * 3.5 / 255


def coded(picture: torch.Tensor, quality: int) -> torch.Tensor:
    file = io.BytesIO()
    levels = picture.clamp(0, 1).mul(255).round().byte().numpy()
    Image.fromarray(levels).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file))).float() / 255


def amplitudes(field: torch.Tensor) -> torch.Tensor:
    """(rings,) of all patches of (C, H, W)."""
    patches = field.unfold(1, 16, 8).unfold(2, 16, 8).permute(1, 2, 0, 3, 4).flatten(0, 1)
    return spectra.total(spectra.spectrum_of(patches)).sqrt()


@pytest.mark.parametrize("sigma", [0.1, 0.8, 1.2])
def test_grain_made_again_is_neither_finer_nor_coarser(sigma):
    ratios = []
    for seed in range(3):
        laid = detail.blur(noise(seed).permute(2, 0, 1)[None], 9, sigma)[0]
        laid = laid / laid.std() * 3.5 / 255
        found = grain.spectrum(laid.permute(1, 2, 0) + 0.5, EVERYWHERE)
        roots = grain.lacking(found, found, torch.zeros_like(found), 1.0)
        made = torch.stack([amplitudes(grain.tile(roots, seed)) for seed in range(2)]).mean(0)
        wanted = amplitudes(laid)
        ratios.append(made / wanted)
    loud = wanted > 0.15 * wanted[2]
    loud[:2] = False
    assert int(loud.sum()) >= 3
    assert (torch.stack(ratios).mean(0)[loud] - 1).abs().max() < 0.1


def test_grain_is_sought_at_the_brightness_of_the_face():
    shape = torch.full((384, 384, 1), 0.3)
    shape[:, 192:] = 0.6
    louder = torch.where(shape > 0.5, 1.2, 1.0)
    picture = shape + noise() * louder
    found = [
        grain.deviation(grain.spectrum(picture, EVERYWHERE, lit)) * 255
        for lit in ((0.25, 0.35), (0.55, 0.65))
    ]
    assert found == pytest.approx([3.5, 4.2], rel=0.06)


def test_what_coding_leaves_of_grain_is_not_taken_for_less():
    shape = torch.full((384, 384, 3), 0.5)
    left = coded(shape + noise(), 80) - 0.5
    patches = left.unfold(0, 16, 8).unfold(1, 16, 8).flatten(0, 1)
    there = grain.deviation(spectra.spectrum_of(patches))
    found = grain.deviation(grain.spectrum(shape + left, EVERYWHERE))
    assert found == pytest.approx(there, rel=0.13)


def test_blocks_are_seen_in_coded_pictures_alone():
    at = torch.arange(0, 368, 24).repeat_interleave(16), torch.arange(0, 368, 24).repeat(16)
    for picture, expected in ((0.5 + noise(), False), (coded(0.5 + noise(), 80), True)):
        assert quiet._coded(quiet.windows(picture, *at), *at) is expected


def test_faint_texture_is_not_grain():
    picture = smooth_picture(384, 384)[0] * 0.1 + 0.45 + noise() * 0.12
    found = grain.spectrum(picture, EVERYWHERE)
    assert 0.3 < grain.deviation(found) * 255 < 0.6
    assert grain.lacking(found, found, torch.zeros_like(found), 1.0) is None


def test_the_same_seed_makes_the_same_tile():
    found = grain.spectrum(0.5 + noise(), EVERYWHERE)
    roots = grain.lacking(found, found, torch.zeros_like(found), 1.0)
    tiles = [grain.tile(roots, seed) for seed in (3, 4, 3, 5, 3)]
    assert torch.equal(tiles[0], tiles[2]) and torch.equal(tiles[0], tiles[4])
    assert not torch.equal(tiles[0], tiles[1])


@pytest.mark.parametrize("kept", [0.0, 0.6])
def test_features_are_not_taken_for_grain_that_was_left(kept):
    """A small face has features in each patch, which a restorer sharpens."""
    at = torch.arange(96.0)
    shape = 0.5 + 0.12 * torch.sin(at[:, None] / 4) * torch.cos(at / 5 + at[:, None] / 9)[..., None]
    laid = noise()[:96, :96]
    everywhere = torch.ones(96, 96, dtype=torch.bool)
    around = grain.spectrum(0.5 + noise(1), EVERYWHERE)
    face = grain.compared(shape + laid, 0.5 + 1.1 * (shape - 0.5) + kept * laid, everywhere)
    roots = grain.lacking(around, *face, 1.0)
    given = float(grain.tile(roots, 0).std()) * 255
    assert given == pytest.approx(3.5 * (1 - kept**2) ** 0.5, rel=0.15)
