"""Mosaic: its steps smoothed where they are, whatever the size of crop and block."""

from __future__ import annotations

import time

import pytest
import torch
import torch.nn.functional as F
from faces_for_tests import smooth_picture

from kintsugi.stages import mosaic
from kintsugi.stages.detail import scale
from kintsugi.stages.mosaic import Mosaic


def picture(size: int) -> torch.Tensor:
    """(3, size, size), four hills across."""
    coarse = smooth_picture(128, 128).permute(0, 3, 1, 2)
    return F.interpolate(coarse, (size, size), mode="bicubic")[0].clamp(0, 1)


def blocks(clean: torch.Tensor, side: int) -> torch.Tensor:
    """A mosaic of whole blocks, the last ones cut off at the border."""
    size = clean.shape[-1]
    wide = F.pad(clean[None], (0, -size % side, 0, -size % side), mode="replicate")
    means = F.avg_pool2d(wide, side)
    return F.interpolate(means, scale_factor=side)[0, :, :size, :size]


def error(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).square().mean())


def test_a_mosaic_over_a_part_is_known_from_one_over_everything():
    clean = picture(256) + 0.03 * torch.randn(
        1, 256, 256, generator=torch.Generator().manual_seed(0)
    )
    hidden = clean.clone()
    hidden[:, 96:160, 96:160] = blocks(clean, 16)[:, 96:160, 96:160]
    place = mosaic.within(hidden, Mosaic(16.0))
    assert place.shape == (1, 256, 256) and place[0, 112:144, 112:144].min() > 0.9
    assert place[0, :48].max() < 0.1 and place[0, :, 208:].max() < 0.1
    assert mosaic.within(blocks(clean, 16), Mosaic(16.0)) is None
    assert mosaic.within(clean, Mosaic(16.0)) is None


@pytest.mark.parametrize(("size", "side"), ((64, 4), (100, 6), (257, 8), (512, 16), (512, 40)))
def test_what_is_smoothed_is_nearer_to_what_was_there(size, side):
    clean = picture(size)
    found = mosaic.smooth(blocks(clean, side), Mosaic(side))
    assert found.shape == clean.shape
    assert error(found, clean) < 0.6 * error(blocks(clean, side), clean)


@pytest.mark.parametrize("block", (0.0, 7.3, 5000.0))
def test_a_picture_without_a_mosaic_is_left_alone(block):
    generator = torch.Generator().manual_seed(0)
    flat, noisy = torch.full((3, 64, 64), 0.4), torch.rand(3, 64, 64, generator=generator)
    assert torch.allclose(mosaic.smooth(flat, Mosaic(block)), flat)
    if block == 7.3:
        assert torch.equal(mosaic.smooth(noisy, Mosaic(block)), noisy)


def test_large_blocks_cost_no_more_than_small_ones():
    crop = picture(512)
    start = time.process_time()
    mosaic.smooth(crop, Mosaic(400.0))
    assert time.process_time() - start < 2, "ten seconds, were every pixel of a block looked at"


def test_a_mosaic_of_an_enlarged_face_is_smoothed_at_the_size_it_was_laid():
    clean = picture(512)
    small = blocks(scale(clean[None], 140)[0].clamp(0, 1), 5)
    crop = scale(small[None], 512)[0].clamp(0, 1)
    block = 5 * 512 / 140
    told, untold = (mosaic.smooth(crop, Mosaic(block, native)) for native in (139.5, None))
    assert error(told, clean) < 0.6 * error(crop, clean) < error(untold, clean)
