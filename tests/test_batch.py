"""What every stage asks of its pictures: shape, kind, and values that are numbers."""

from __future__ import annotations

import pytest
import torch

from kintsugi.stages.batch import check


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
