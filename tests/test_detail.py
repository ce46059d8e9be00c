"""Detail: resizing by products of matrices is the resizing of torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from kintsugi.stages import detail


@pytest.mark.parametrize("layout", ["planes", "pixels", "a part of a picture with alpha"])
@pytest.mark.parametrize("size", [(40, 37), (128, 96), (97, 200), (5, 300)])
def test_resized_is_interpolate(layout, size):
    pixels = torch.rand(2, 131, 140, 4, generator=torch.Generator().manual_seed(0))
    pictures = pixels[:, 3:, 8:-4, :3].permute(0, 3, 1, 2)
    if layout != "a part of a picture with alpha":
        last = layout == "pixels"
        kind = torch.channels_last if last else torch.contiguous_format
        pictures = pictures.contiguous(memory_format=kind)
    expected = F.interpolate(pictures, size=size, mode="bicubic", antialias=True)
    torch.testing.assert_close(detail.resized(pictures, *size), expected, atol=2e-6, rtol=0)


def test_resized_takes_pictures_too_large_for_matrices_and_other_dtypes():
    wide = torch.rand(1, 1, 3, 2000, generator=torch.Generator().manual_seed(0))
    for picture in (wide, wide[..., :40].double()):
        expected = F.interpolate(picture, size=(6, 30), mode="bicubic", antialias=True)
        assert torch.equal(detail.resized(picture, 6, 30), expected)


def test_softening_is_a_binomial_blur():
    point = torch.zeros(1, 1, 5, 5)
    point[..., 2, 2] = 16
    line = torch.tensor([0.0, 1, 2, 1, 0])
    assert torch.equal(detail.soften(point)[0, 0], line[:, None] * line)
