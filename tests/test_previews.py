"""Previews are small, faithful and made of anything a node may see."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kintsugi.stages.previews import GOLD, SIDE, around, gilded, preview


def test_a_picture_of_8000_px_shrinks_to_the_mean_of_what_was_there():
    stripes = torch.zeros(40, 8000, 3)
    stripes[:, ::2] = 1.0
    small = preview(stripes)
    assert small.size == (SIDE, 5)
    # An area that is half white, half black, wherever its borders fall between stripes.
    assert abs(np.asarray(small, np.float32) - 127.5).max() <= 18


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_small_pictures_keep_every_pixel(channels, dtype):
    levels = torch.arange(0, 250, 10).reshape(5, 5, 1).expand(5, 5, channels)
    shown = np.asarray(preview((levels / 255).to(dtype)))
    assert shown.shape == (5, 5, 3) and shown.dtype == np.uint8
    np.testing.assert_array_equal(shown[..., 0], levels[..., 0].numpy())


def test_what_is_no_colour_is_shown_as_one():
    odd = torch.tensor([float("nan"), 2.0, -1.0, float("inf")]).reshape(2, 2, 1)
    assert np.asarray(preview(odd))[..., 0].tolist() == [[0, 255], [0, 255]]


def test_previews_do_not_write_into_what_they_are_given():
    picture = torch.rand(8, 8, 3)
    before = picture.clone()
    preview(picture)
    gilded(picture[..., 0])
    assert torch.equal(picture, before)


def test_invented_detail_is_gold_and_the_rest_clear():
    mask = torch.zeros(4, 4)
    mask[0, 0] = 1.0
    mask[1, 1] = 0.5
    veil = np.asarray(gilded(mask))
    assert tuple(veil[0, 0]) == (*GOLD, 255)
    assert veil[1, 1, 3] == 128 and veil[3, 3, 3] == 0


@pytest.mark.parametrize(
    "box", [(10, 10, 30, 40), (-50, -50, 5, 5), (95, 70, 300, 200), (400, 400, 500, 500)]
)
def test_the_neighbourhood_of_a_face_lies_in_the_picture(box):
    left, top, right, bottom = around(torch.tensor(box, dtype=torch.float32), 80, 100)
    assert 0 <= left < right <= 100 and 0 <= top < bottom <= 80


def test_the_neighbourhood_holds_the_face_and_as_much_again():
    left, top, right, bottom = around(torch.tensor([40.0, 30.0, 60.0, 50.0]), 200, 200)
    assert left <= 30 and top <= 20 and right >= 70 and bottom >= 60
    assert right - left <= 42 and bottom - top <= 42
