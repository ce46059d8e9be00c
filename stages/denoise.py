"""Denoise: take most of strong noise away, so that a restorer sees a face, not the noise.

A small restorer takes strong noise for texture, and noise in the colours, which eyes hardly mind,
for skin of many colours. A guided filter (He, Sun and Tang 2013) takes both down where the
brightness is flat and leaves edges: brightness by itself, colours by the brightness around them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from kornia.filters import guided_blur
from torch import Tensor

from ..models.damage_signs import YCC
from .degradation_estimate import Degradation

#: Least deviation of noise, of 255, that is taken down here.
_LEAST = 5.0

#: Reach of the filter in grains, of brightness and of colours, and largest reach, px.
_REACH, _LARGEST = (1.0, 2.0), (3, 16)

#: Contrast of brightness, as a variance in [0, 1], along which colours are kept apart.
_EDGE = 5e-4

#: Deviations of noise in either colour, of 255, between which it begins to be taken down: below,
#: a restorer does it better.
_COLOURS = (5.0, 9.0)

#: The same of noise in brightness, where it is all there is, and where the colours have as much: a
#: restorer knows the noise of sensors, but takes what is grey for texture.
_GREY, _ALIKE = (3.0, 5.0), (6.0, 12.0)

#: How much of the variance of noise in red, green and blue that of either colour makes, and the
#: least share that brightness has.
_OF_COLOURS, _OF_BRIGHTNESS = 1.41, 0.3

#: Median deviation of a Gaussian in shares of its deviation.
_MEDIAN = 0.6745


@dataclass(frozen=True)
class Noise:
    """Noise in a crop: its deviation in [0, 1], and the side of its grains, px of the crop."""

    deviation: float
    grain: float = 1.0


def told(degradation: Degradation) -> Noise | None:
    """The noise that findings tell of, if it is strong enough to be taken down first."""
    finding = degradation.finding("noise")
    if not finding.present or finding.strength < _LEAST:
        return None
    return Noise(finding.strength / 255, max(finding.grain, 1.0))


def denoise(crop: Tensor, noise: Noise) -> Tensor:
    """(3, S, S) in [0, 1] with most of its noise taken down."""
    matrix = torch.tensor(YCC, device=crop.device)
    planes = torch.einsum("dc,chw->dhw", matrix, crop)[:, None]
    light, colours = planes[:1], planes[1:].transpose(0, 1)
    smooth = _guided(light, colours, noise.grain, 1, _EDGE)
    loud = float((colours - smooth).abs().median()) / _MEDIAN
    colours = colours.lerp(smooth, _ramp(loud, *_COLOURS))
    left = noise.deviation**2 - _OF_COLOURS * loud**2
    left = max(left, _OF_BRIGHTNESS * noise.deviation**2)
    alike = min(loud / left**0.5, 1.0)
    limits = (grey + (other - grey) * alike for grey, other in zip(_GREY, _ALIKE, strict=True))
    if (share := _ramp(left**0.5, *limits)) > 0:
        light = light.lerp(_guided(light, light, noise.grain, 0, left), share)
    planes = torch.cat([light, colours], 1)[0]
    return torch.einsum("cd,dhw->chw", matrix.inverse(), planes).clamp_(0, 1)


def _ramp(deviation: float, low: float, high: float) -> float:
    """0 at `low` of 255 and below, 1 at `high` and above."""
    return min(max((255 * deviation - low) / (high - low), 0.0), 1.0)


def _guided(guide: Tensor, planes: Tensor, grain: float, which: int, edge: float) -> Tensor:
    """Planes (1, C, S, S) without what the guide (1, 1, S, S) does not bear out."""
    largest = min(_LARGEST[which], (planes.shape[-1] - 1) // 2)
    reach = min(max(round(_REACH[which] * grain), 1), largest)
    # Grains of several px need not be looked at more closely than at their size.
    apart = max(1, reach // 4)
    return guided_blur(guide, planes, 2 * reach + 1, edge, subsample=apart)
