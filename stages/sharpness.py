"""Sharpness of a restored face beside what surrounds it.

Sharpness is how strong the finest octave is where the next one has edges, noise taken off: it does
not depend on how many edges there are or how strong they are, only on how steep.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .detail import enlarged, halved, soften

#: "match": as sharp as the sharpest around it, or as it was; "as is"; "more": sharpened.
MODES = ("match", "as is", "more")

#: Share of the samples, those with the strongest edges, in which sharpness is measured, the share,
#: the weakest, in which noise is, and how many samples are needed.
_EDGES, _QUIET, _SAMPLES = 0.1, 0.3, 100

#: Samples a side that are enough to measure.
_ENOUGH = 128

#: Limits of the gain on the finest octave of "match", and that of "more".
_GAIN, _MORE = (0.6, 1.5), 1.5

#: Differences of sharpness up to this factor are left alone.
_ALIKE = 1.1

#: Mean change of a face, in [0, 1], from which it counts as changed.
_CHANGED = 2 / 255

#: Energy of edges, half an 8-bit step, below which there are none to measure.
_FLOOR = (0.5 / 255) ** 2


def gain(energies: Tensor, ramp: Tensor, mode: str, changed: float) -> float:
    """What the finest octave of a restored crop is to be multiplied with to fit its picture.

    Args:
        energies: from `octaves`, of the original and of the restored crop, each at most as large as
            the face in the picture.
        ramp: (1, 1, g, g), 0 outside the face.
        mode: of MODES.
        changed: mean difference of the two, in [0, 1].
    """
    if mode == "more":
        return _MORE
    if mode == "as is" or not changed:
        return 1.0
    return 1 + (_matched(energies, ramp) - 1) * min(changed / _CHANGED, 1.0)


def _matched(energies: Tensor, ramp: Tensor) -> float:
    step = -(-energies.shape[-1] // _ENOUGH)
    t = enlarged(ramp, energies.shape[-1])[0, 0, ::step, ::step]
    old, new = energies[..., ::step, ::step]
    inside, around = t > 0.5, t == 0
    face, near = measure(new, inside), measure(old, around)
    if face is None or near is None:
        return 1.0
    wanted = max(near, measure(old, inside) or 0.0) / max(face, 1e-6)
    if 1 / _ALIKE <= wanted <= _ALIKE:
        return 1.0
    return min(max(wanted, _GAIN[0]), _GAIN[1])


def octaves(soft: Tensor, squares: Tensor) -> Tensor:
    """Energies of the finest octave and of the next, (N, 2, s / 2, s / 2).

    Args:
        soft: (N, 1, s, s), grey crops without their finest octave.
        squares: (N, 1, s / 2, s / 2), the halved squares of that octave.
    """
    half = halved(soft)
    next_one = half - soften(soften(half))
    return torch.cat([squares, next_one.square_()], 1)


def measure(energies: Tensor, where: Tensor) -> float | None:
    """Amplitude of the finest octave over that of the next at the edges, or None without edges.

    Args:
        energies: (2, h, w), of one crop of `octaves`. where: (h, w) bool.
    """
    both = energies.flatten(1)[:, where.flatten().nonzero()[:, 0]]
    edges = both[1]
    count = len(edges)
    if count < _SAMPLES:
        return None
    ranked = edges[:: max(count // 2048, 1)].sort()[0]
    last = len(ranked) - 1
    limits = ranked[[round(_QUIET * last), round((1 - _EDGES) * last)]]
    groups = torch.stack([edges <= limits[0], edges >= limits[1]]).to(both)
    means = (both @ groups.T) / groups.sum(1)
    fineness, strength = (means[:, 1] - means[:, 0]).tolist()
    if strength < _FLOOR:
        return None
    return max(fineness / strength, 0.0) ** 0.5
