"""Colour of a restored face: keep the tones it had, so that it fits the picture around it.

Tones are compared on thumbnails, where blur and noise do not count, and only the low band of the
restored crop is moved, so detail stays as restored. Every way is first fitted (a `Tone`) and then
applied, so that the fits of one person can be averaged over the frames of a video.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from kornia.color import lab_to_rgb, rgb_to_lab
from torch import Tensor

from .detail import scale

#: "match": mean and deviation of each CIELAB channel. "covariance": all of their covariance.
#: "wavelet": the low band itself. "none": the tones of the crop.
METHODS = ("match", "none", "covariance", "wavelet")

#: What becomes of pictures of one tone: grey, sepia, cyanotype.
TONES = ("keep", "neutral", "free")

#: Side of the thumbnail on which tones are compared, and of the low band of "wavelet".
_THUMBNAIL, _LOW = 32, 16

#: Limits of the change of contrast, so that a nearly flat face is not blown up.
_GAIN = (0.5, 2.0)

#: Deviation in Lab units below which a channel says nothing about contrast.
_FLAT = 1.0

#: Largest deviation from one tone curve, RGB in [0, 1], of a picture that counts as of one tone.
_ONE_TONE = 0.012

#: Deviation, in frames, of the window over which fits of one person are averaged.
_STEADY = 4.0


@dataclass(frozen=True, eq=False)
class Tone:
    """How tones are moved: x to linear (x - centre) + target in Lab / 100, or by `drift` in RGB.

    linear: (C, C). centre, target: (C,). drift: (1, C, 16, 16) of "wavelet", else None.
    """

    linear: Tensor
    centre: Tensor
    target: Tensor
    drift: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Curve:
    """The colours of a picture of one tone, by luma y.

    powers: (4, 3) coefficients of 1, y, y^2, y^3 for red, green and blue; None of a grey picture.
    low, high: the lumas between which they hold.
    """

    powers: Tensor | None
    low: float
    high: float


def luma(picture: Tensor) -> Tensor:
    """(N, 3, H, W) RGB to (N, 1, H, W), Rec. 601."""
    red, green, blue = picture.unbind(1)
    return (0.299 * red + 0.587 * green + 0.114 * blue)[:, None]


def thumbnail(picture: Tensor) -> Tensor:
    """(N, C, S, S) at the side on which tones are compared."""
    return scale(picture, _THUMBNAIL)


def fit(method: str, after: Tensor, before: Tensor, weight: Tensor | None = None) -> Tone | None:
    """What gives the thumbnail `after` the tones of `before`.

    Args:
        method: of METHODS.
        after, before: (1, C, 32, 32) thumbnails in [0, 1], C 1 or 3.
        weight: (1, 1, 32, 32), where to compare them; everywhere without.

    Returns:
        Tone, or None where nothing is to be moved.

    Source: Reinhard et al., "Color transfer between images", 2001; Pitie and Kokaram, "The linear
    Monge-Kantorovitch linear colour mapping for example-based colour transfer", 2007.
    """
    if method == "none" or torch.equal(after, before):
        return None
    weight = torch.ones_like(after[:, :1]) if weight is None else weight.to(after)
    if float(weight.sum()) < 1:
        return None
    eye, zero = torch.eye(after.shape[1]), torch.zeros(after.shape[1])
    if method == "wavelet":
        # Outside the face the drift is that of the face, so that its rim is moved like the rest.
        share = weight / weight.sum()
        mean = ((before - after) * share).sum((2, 3), keepdim=True)
        drift = mean + (before - after - mean) * weight.clamp(0, 1)
        return Tone(eye, zero, zero, scale(drift, _LOW))
    labs = _lab(torch.cat([after, before])).split(1)
    (mean_a, cov_a), (mean_b, cov_b) = (_moments(lab, weight) for lab in labs)
    flat = torch.eye(len(mean_a), dtype=cov_a.dtype) * (_FLAT / 100) ** 2
    if method == "covariance":
        linear = _monge_kantorovich(cov_a + flat, cov_b + flat)
    else:
        std_a, std_b = (cov.diagonal().clamp(min=0).sqrt() for cov in (cov_a, cov_b))
        linear = ((std_b + _FLAT / 100) / (std_a + _FLAT / 100)).clamp(*_GAIN).diag()
    return Tone(linear.float(), mean_a.float(), mean_b.float())


def shift(tone: Tone | None, after: Tensor) -> Tensor | None:
    """What a tone adds to the thumbnail `after` (1, C, 32, 32); None for nothing."""
    if tone is None:
        return None
    if tone.drift is not None:
        return scale(tone.drift.to(after), after.shape[-1])
    lab = _lab(after).flatten(2)[0].cpu()
    moved = tone.linear @ (lab - tone.centre[:, None]) + tone.target[:, None]
    moved = moved.view(after.shape).to(after)
    rgb = moved if after.shape[1] == 1 else lab_to_rgb(moved * 100)
    return rgb - after.clamp(0, 1)


def match(after: Tensor, before: Tensor, method: str = "match") -> Tensor:
    """Give crops the tones of other crops: `fit` and `shift` in one.

    Args:
        after, before: (N, C, S, S) in [0, 1], C 1 or 3.
        method: of METHODS.

    Returns:
        (N, C, S, S), equal to `after` where the tones already agree.
    """
    moved = []
    for one, other in zip(after[:, None], before[:, None], strict=True):
        small = thumbnail(one)
        change = shift(fit(method, small, thumbnail(other)), small)
        moved.append(one if change is None else one + scale(change, one.shape[-1]))
    return torch.cat(moved) if moved else after


def steady(tones: list[Tone | None], frames: list[int]) -> list[Tone | None]:
    """The fits of one person, each averaged with those of the frames around it.

    Args:
        tones: one for each frame in which the person is; None moves nothing.
        frames: their frame numbers.
    """
    present = [(tone, frame) for tone, frame in zip(tones, frames, strict=True) if tone]
    result = []
    for tone, frame in zip(tones, frames, strict=True):
        if tone is None:
            result.append(None)
            continue
        share = [math.exp(-0.5 * ((other - frame) / _STEADY) ** 2) for _, other in present]
        share = torch.tensor(share) / sum(share)
        linear = _mean([other.linear for other, _ in present], share)
        offset = _mean([other.target - other.centre for other, _ in present], share)
        drift = tone.drift
        if drift is not None:
            drift = _mean([other.drift for other, _ in present], share.to(drift.device))
        target = tone.centre + offset
        result.append(replace(tone, linear=linear, target=target, drift=drift))
    return result


def tone_curve(thumb: Tensor) -> Curve | None:
    """The curve on which all colours of a picture of one tone lie.

    Args:
        thumb: (1, 3, 32, 32) thumbnail in [0, 1].

    Returns:
        The curve; None where the picture has more than one tone.
    """
    if thumb.shape[1] != 3:
        return None
    colours = thumb.flatten(2)[0].T.cpu().double()
    if float((colours.amax(1) - colours.amin(1)).max()) < _ONE_TONE / 3:
        return Curve(None, 0.0, 1.0)
    values = luma(thumb).flatten().cpu().double()
    terms = _powers(values)
    ridge = 1e-4 * torch.eye(4, dtype=terms.dtype)
    powers = torch.linalg.solve(terms.T @ terms + ridge, terms.T @ colours)
    off = (terms @ powers - colours).square().mean().sqrt()
    if float(off) >= _ONE_TONE:
        return None
    return Curve(powers.float(), float(values.min()), float(values.max()))


def on_curve(change_from: Tensor, change_to: Tensor, curve: Curve) -> Tensor:
    """The change between two crops (1, 3, s, s) in luma alone, in the tone of the curve.

    Where nothing of the picture has shown what its tone is, brighter and darker are grey.
    """
    before, after = luma(change_from), luma(change_to)
    if curve.powers is None:
        return (after - before).expand(-1, 3, -1, -1)
    first, second, third = (curve.powers[power].to(before).view(1, 3, 1, 1) for power in (1, 2, 3))
    old, new = before.clamp(curve.low, curve.high), after.clamp(curve.low, curve.high)
    square = new.square() - old.square()
    cube = new.pow(3) - old.pow(3)
    beyond = (after - new) - (before - old)
    return (new - old) * first + square * second + cube * third + beyond


def keep(after: Tensor, before: Tensor) -> Tensor:
    """A restored crop in the colours it had: on the curve of a picture of one tone, else with the
    coarse colours of before. Its brightness is as restored.

    Args:
        after, before: (3, S, S) in [0, 1].

    Returns:
        (3, S, S) in [0, 1].
    """
    small = thumbnail(torch.stack([before, after]))
    curve = tone_curve(small[:1])
    if curve is None:
        drift = scale(small[:1] - small[1:], _LOW)
        moved = after + scale(drift - luma(drift), after.shape[-1])[0]
    else:
        light = luma(after[None])
        moved = light.expand(-1, 3, -1, -1)[0]
        if curve.powers is not None:
            held = light[0, 0].clamp(curve.low, curve.high)
            beyond = light[0] - held
            moved = (_powers(held) @ curve.powers.to(light)).permute(2, 0, 1) + beyond
    return moved.clamp(0, 1)


def _powers(values: Tensor) -> Tensor:
    return torch.stack([torch.ones_like(values), values, values**2, values**3], -1)


def _mean(tensors: list[Tensor], share: Tensor) -> Tensor:
    return torch.einsum("n,n...->...", share, torch.stack(tensors))


def _lab(thumb: Tensor) -> Tensor:
    """Lab / 100 of (N, C, s, s); a grey picture is its own."""
    return thumb if thumb.shape[1] == 1 else rgb_to_lab(thumb.clamp(0, 1)) / 100


def _moments(lab: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    values = lab.flatten(2)[0].cpu().double()
    share = weight.flatten().cpu().double()
    share = share / share.sum()
    mean = values @ share
    centred = values - mean[:, None]
    return mean, (centred * share) @ centred.T


def _monge_kantorovich(source: Tensor, target: Tensor) -> Tensor:
    """The linear map of least change that takes one covariance to another, its gains limited."""
    root = _power(source, 0.5)
    inverse = _power(source, -0.5)
    linear = inverse @ _power(root @ target @ root, 0.5) @ inverse
    values, vectors = torch.linalg.eigh((linear + linear.T) / 2)
    return vectors @ values.clamp(*_GAIN).diag() @ vectors.T


def _power(matrix: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ values.clamp(min=1e-12).pow(exponent).diag() @ vectors.T
