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


def gain(
    before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor], ramp: Tensor, mode: str, changed
) -> float:
    """What the finest octave of a restored crop is to be multiplied with to fit its picture.

    Args:
        before, after: crops (1, C, s, s), at most as large as the face in the picture, each with
            its finest octave (1, 1, s, s).
        ramp: (1, 1, g, g), 0 outside the face.
        mode: of MODES.
        changed: mean difference of the two, in [0, 1].
    """
    if mode == "more":
        return _MORE
    if mode == "as is" or not changed:
        return 1.0
    return 1 + (_matched(before, after, ramp) - 1) * min(changed / _CHANGED, 1.0)


def _matched(before, after, ramp: Tensor) -> float:
    # Every other row is enough to measure.
    old, new = (octaves(*pair)[:, ::2] for pair in (before, after))
    t = F.interpolate(ramp, size=old.shape[-2:], mode="bilinear", align_corners=False)[0, 0]
    inside, around = t > 0.5, t == 0
    face, near = measure(new, inside), measure(old, around)
    if face is None or near is None:
        return 1.0
    wanted = max(near, measure(old, inside) or 0.0) / max(face, 1e-6)
    if 1 / _ALIKE <= wanted <= _ALIKE:
        return 1.0
    return min(max(wanted, _GAIN[0]), _GAIN[1])


def octaves(picture: Tensor, fine: Tensor) -> Tensor:
    """Energies of the finest octave and of the next, (2, s / 2, s / 2).

    Args:
        picture: (1, C, s, s). fine: its finest octave, (1, 1, s, s).
    """
    half = F.avg_pool2d(grey(picture) - fine, 2)
    next_one = half - soften(soften(half))
    return torch.cat([F.avg_pool2d(fine.square(), 2), next_one.square_()])[:, 0]


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
