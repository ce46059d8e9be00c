"""What every stage asks of its pictures: shape, kind, and values that are numbers."""

from __future__ import annotations

import pytest
import torch

from kintsugi.stages.batch import check, check_mask


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_one_bad_value_is_found_and_its_picture_named(dtype, bad):
    image = torch.rand(3, 40, 50, 3).to(dtype)
    assert check(image) is image
    image[2, 39, 49, 2] = bad
    with pytest.raises(ValueError, match="picture 2 has 1 values that are NaN or infinite"):
        check(image)


def test_opposite_infinities_do_not_cancel():
    image = torch.zeros(1, 8, 8, 3)
    image[0, 0, 0, 0], image[0, 0, 1, 0] = float("inf"), -float("inf")
    with pytest.raises(ValueError, match="has 2 values"):
        check(image)


def test_a_white_picture_too_wide_for_sums_in_half_precision_is_fine():
    image = torch.full((1, 2, 30_000, 3), 1.0, dtype=torch.float16)
    assert not torch.isfinite(image[0, 0].sum())
    assert check(image) is image


def test_no_picture_is_fine_and_a_picture_without_a_pixel_is_not():
    assert check(torch.zeros(0, 8, 8, 3)).shape[0] == 0
    with pytest.raises(ValueError, match="without a pixel"):
        check(torch.zeros(1, 0, 8, 3))


def test_a_mask_becomes_a_batch():
    mask = torch.rand(2, 8, 9)
    assert check_mask(mask) is mask
    assert torch.equal(check_mask(mask[:, None]), mask)
    assert torch.equal(check_mask(mask[0]), mask[:1])
    assert check_mask(mask > 0.5).dtype == torch.bool


@pytest.mark.parametrize(
    "mask", [None, torch.ones(5), torch.ones(1, 8, 8, 3), torch.ones(1, 0, 0), torch.ones(0, 8, 8)]
)
def test_what_is_no_mask_is_said(mask):
    with pytest.raises(ValueError, match=r"damage is .*; expected \(B, H, W\) or \(H, W\)"):
        check_mask(mask, "damage")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_mask_that_is_not_numbers_is_no_empty_mask(bad):
    with pytest.raises(ValueError, match="NaN or infinite"):
        check_mask(torch.full((1, 8, 8), bad))
