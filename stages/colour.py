"""Colour of a restored face: keep the tones it had, so that it fits the picture around it."""

from __future__ import annotations

import torch
from kornia.color import lab_to_rgb, rgb_to_lab
from torch import Tensor

from .detail import scale

#: Side of the thumbnail on which tones are compared; at this size blur and noise do not count.
_THUMBNAIL = 32

#: Limits of the change of contrast, so that a nearly flat face is not blown up.
_GAIN = (0.5, 2.0)

#: Deviation in Lab units below which a channel says nothing about contrast.
_FLAT = 1.0


def luma(picture: Tensor) -> Tensor:
    """(N, 3, H, W) RGB to (N, 1, H, W), Rec. 601."""
    red, green, blue = picture.unbind(1)
    return (0.299 * red + 0.587 * green + 0.114 * blue)[:, None]


def unchanged(after: Tensor, before: Tensor) -> Tensor:
    """The tones of the restored crop."""
    return after


def match(after: Tensor, before: Tensor) -> Tensor:
    """Move mean and deviation of each CIELAB channel of `after` to those of `before`.

    Only the low band is changed, by what a thumbnail needs, so detail stays as restored.

    Args:
        after, before: (N, C, S, S) in [0, 1], C 1 or 3.

    Returns:
        (N, C, S, S), equal to `after` where the tones already agree.

    Source: Reinhard et al., "Color transfer between images", 2001, in CIELAB.
    """
    small_after, small_before = scale(after, _THUMBNAIL), scale(before, _THUMBNAIL)
    grey = after.shape[1] == 1
    if torch.equal(small_after, small_before):
        return after
    lab_after, lab_before = (
        picture * 100 if grey else rgb_to_lab(picture.clamp(0, 1))
        for picture in (small_after, small_before)
    )
    std_after, mean_after = torch.std_mean(lab_after, (2, 3), keepdim=True)
    std_before, mean_before = torch.std_mean(lab_before, (2, 3), keepdim=True)
    gain = ((std_before + _FLAT) / (std_after + _FLAT)).clamp(*_GAIN)
    moved = (lab_after - mean_after) * gain + mean_before
    small_moved = moved / 100 if grey else lab_to_rgb(moved)
    return after + scale(small_moved - small_after.clamp(0, 1), after.shape[-1])


METHODS = {"match": match, "none": unchanged}
