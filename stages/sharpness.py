"""Sharpness of a restored face beside what surrounds it.

Sharpness is how strong the finest octave is where the next one has edges, noise taken off: it does
not depend on how many edges there are or how strong they are, only on how steep.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .detail import grey, soften

#: "match": as sharp as the sharpest around it, or as it was; "as is"; "more": sharpened.
MODES = ("match", "as is", "more")

#: Share of the samples, those with the strongest edges, in which sharpness is measured, the share,
#: the weakest, in which noise is, and how many samples are needed.
_EDGES, _QUIET, _SAMPLES = 0.1, 0.3, 100

#: Limits of the gain on the finest octave of "match", and that of "more".
_GAIN, _MORE = (0.6, 1.5), 1.5

#: Differences of sharpness up to this factor are left alone.
_ALIKE = 1.1

#: Mean change of a face, in [0, 1], from which it counts as changed.
_CHANGED = 2 / 255

#: Energy of edges, half an 8-bit step, below which there are none to measure.
_FLOOR = (0.5 / 255) ** 2


def sharpen(
    before: Tensor, after: Tensor, ramp: Tensor, mode: str, changed: float
) -> tuple[Tensor, float]:
    """Fit the finest octave of a restored crop to the picture around the face.

    Args:
        before, after: (1, C, s, s), at most as large as the face in the picture.
        ramp: (1, 1, g, g), 0 outside the face.
        mode: of MODES.
        changed: mean difference of the two, in [0, 1].

    Returns:
        (1, C, s, s), `after` itself where nothing is to be done, and the gain used.
    """
    gain = _MORE if mode == "more" else 1.0
    if mode == "match" and changed:
        gain = 1 + (_matched(before, after, ramp) - 1) * min(changed / _CHANGED, 1.0)
    if gain == 1:
        return after, 1.0
    return torch.lerp(soften(soften(after)), after, gain), gain


def _matched(before: Tensor, after: Tensor, ramp: Tensor) -> float:
    old, new = octaves(before), octaves(after)
    old, new = old[:, :, ::2], new[:, :, ::2]
    t = F.interpolate(ramp, size=old.shape[-2:], mode="bilinear", align_corners=False)[0, 0]
    inside, around = t > 0.5, t == 0
    face, near = measure(new, inside), measure(old, around)
    if face is None or near is None:
        return 1.0
    wanted = max(near, measure(old, inside) or 0.0) / max(face, 1e-6)
    if 1 / _ALIKE <= wanted <= _ALIKE:
        return 1.0
    return min(max(wanted, _GAIN[0]), _GAIN[1])


def octaves(picture: Tensor) -> Tensor:
    """Energies of the finest octave and of the next, (2, s / 2, s / 2), of (1, C, s, s)."""
    plane = grey(picture)
    first = soften(soften(plane))
    fine = F.avg_pool2d((plane - first).square_(), 2)
    half = F.avg_pool2d(first, 2)
    return torch.cat([fine, (half - soften(soften(half))).square_()])[:, 0]


def measure(energies: Tensor, where: Tensor) -> float | None:
    """Amplitude of the finest octave over that of the next at the edges, or None without edges.

    Args:
        energies: from `octaves`. where: bool, of their shape.
    """
    fine, edges = energies[:, where]
    count = len(edges)
    if count < _SAMPLES:
        return None
    sample = edges[:: max(count // 2048, 1)]
    strongest = edges >= sample.quantile(1 - _EDGES)
    quiet = edges <= sample.quantile(_QUIET)
    strength = float(edges[strongest].mean() - edges[quiet].mean())
    if strength < _FLOOR:
        return None
    return max(float(fine[strongest].mean() - fine[quiet].mean()) / strength, 0.0) ** 0.5
