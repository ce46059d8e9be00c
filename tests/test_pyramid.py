"""The pyramid: positions that hold from level to level, no aliasing, crops from the right level."""

from __future__ import annotations

import pytest
import torch

from kintsugi.stages.pyramid import OVERLAP, TILE, Level, _spans, pyramid, sample, shrink


def ramps(height: int, width: int) -> torch.Tensor:
    """(1, H, W, 3) whose red is the column, green the row and blue their sum, in [0, 1]."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    red, green = x / width, y / height
    return torch.stack([red, green, (red + green) / 2], dim=-1)[None]


@pytest.mark.parametrize("size", [(300, 400), (301, 403), (97, 640)])
@pytest.mark.parametrize("ratio", [0.9, 0.48, 0.3, 0.25, 0.07])
def test_a_shrunk_picture_shows_each_place_where_its_scale_says(size, ratio):
    height, width = size
    small, (x, y) = shrink(ramps(height, width), ratio)
    h, w = small.shape[1:3]
    assert abs(x - ratio) < 0.02 + 1 / width and abs(h - height * ratio) <= 1
    columns = ((torch.arange(w) + 0.5) / x - 0.5) / width
    rows = ((torch.arange(h) + 0.5) / y - 0.5) / height
    inner = slice(1, -1)
    torch.testing.assert_close(small[0, h // 2, inner, 0], columns[inner], atol=2e-3, rtol=0)
    torch.testing.assert_close(small[0, inner, w // 2, 1], rows[inner], atol=2e-3, rtol=0)


def test_shrinking_leaves_out_alpha_repeats_grey_and_takes_half_precision():
    picture = ramps(120, 160)
    wanted, _ = shrink(picture, 0.3)
    alpha = torch.cat([picture, torch.rand(1, 120, 160, 1)], dim=-1)
    assert torch.allclose(shrink(alpha, 0.3)[0], wanted, atol=1e-6)
    grey, _ = shrink(picture[..., :1], 0.3)
    assert torch.allclose(grey, wanted[..., :1].expand_as(grey), atol=1e-6)
    half, _ = shrink(picture.half(), 0.3)
    assert half.dtype == torch.float32 and torch.allclose(half, wanted, atol=2e-3)


def test_fine_stripes_become_grey():
    stripes = (torch.arange(600) % 2).float().expand(1, 600, 600)[..., None]
    for level in pyramid(stripes, 0.4, 4.0, 64).levels:
        assert float(level.pixels[..., 2:-2].std()) < 0.02


@pytest.mark.parametrize("finest", [1.0, 0.6, 0.25, 0.03])
def test_levels_start_at_the_finest_and_no_two_looks_are_far_apart(finest):
    scales = pyramid(ramps(600, 800), finest, 4.0, 20)
    assert max(scales.levels[0].scale) == pytest.approx(finest, rel=0.03)
    sides = [max(each.pixels.shape[-2:]) for each in scales.looks]
    assert sides[0] == 800 and sides[-1] <= max(20, 800 * finest)
    assert all(a > b >= a / 4.2 for a, b in zip(sides, sides[1:], strict=False))
    assert scales.looks[-len(scales.levels) :] == scales.levels


@pytest.mark.parametrize("zoom", [1.5, 0.7, 0.2, 0.05])
def test_a_crop_shows_the_place_its_matrix_says_from_every_level(zoom):
    scales = pyramid(ramps(600, 800), 0.3, 4.0, 20)
    middles = ((400.0, 300.0), (250.0, 210.0))
    matrices = torch.tensor(
        [[[zoom, 0, 15.5 - zoom * x], [0, zoom, 15.5 - zoom * y]] for x, y in middles]
    )
    crops = sample(scales.looks, torch.zeros(2, dtype=torch.long), matrices, 32)
    for crop, (x, y) in zip(crops, middles, strict=True):
        columns = x + (torch.arange(32) - 15.5) / zoom
        inside = (columns > 10) & (columns < 780)
        torch.testing.assert_close(
            crop[0, 16][inside], columns[inside] / 800, atol=1.5 / 800, rtol=0
        )
        assert abs(float(crop[1, 15:17, 15:17].mean()) - y / 600) < 1.5 / 600


@pytest.mark.parametrize("length", [100, TILE, TILE + 1, 5000])
def test_tiles_share_a_side_out_and_see_beyond_their_own_part(length):
    spans = _spans(length)
    assert [own for *_, own, _ in spans] == [0, *(end for *_, end in spans[:-1])]
    assert spans[-1][3] == length
    for start, end, own_start, own_end in spans:
        assert 0 <= start <= own_start < own_end <= end <= length and end - start <= TILE
        assert start == 0 or own_start - start == OVERLAP // 2
        assert end == length or end - own_end == OVERLAP // 2


def test_beyond_the_picture_a_crop_is_grey():
    looks = pyramid(ramps(64, 64), 1.0, 4.0, 20).looks
    matrices = torch.tensor([[[1.0, 0, 200.0], [0, 1.0, 200.0]], [[1.0, 0, 20.0], [0, 1.0, 0.0]]])
    far, near = sample(looks, torch.zeros(2, dtype=torch.long), matrices, 32)
    assert torch.equal(far, torch.full_like(far, 0.5))
    assert torch.allclose(near[:, :, :19], torch.full_like(near[:, :, :19], 0.5))
    assert float(near[0, :, 24:].max()) < 0.3


def test_no_crops_is_a_normal_result():
    levels = [Level(torch.full((1, 3, 40, 50), 0.5), (1.0, 1.0))]
    nothing = torch.zeros(0, 2, 3, dtype=torch.float64)
    assert sample(levels, torch.zeros(0, dtype=torch.long), nothing, 96).shape == (0, 3, 96, 96)
