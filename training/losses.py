"""What the restorer is trained for: close pixels, close edges, the same person, real texture."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.restorer import cosine

#: Softness of the absolute value, as usual for Charbonnier in [-1, 1].
_SOFT = 1e-3

#: Side of the windows in which texture is compared, px.
_WINDOW = 16

#: Correlation of a wave around a place from which it counts as the same detail.
_AGREED = 0.5

#: Deviation of a wave, in [-1, 1] units, below which it counts as flat: about one 8-bit step.
_FLAT = 0.008


def charbonnier(output: Tensor, target: Tensor) -> Tensor:
    """(N,) mean soft absolute difference."""
    return ((output - target).square() + _SOFT**2).sqrt().mean((1, 2, 3))


def edges(output: Tensor, target: Tensor) -> Tensor:
    """(N,) mean absolute difference of the finite differences in x and y."""
    error = output - target
    return error.diff(dim=2).abs().mean((1, 2, 3)) + error.diff(dim=3).abs().mean((1, 2, 3))


@functools.cache
def _waves() -> tuple[Tensor, Tensor]:
    """The cosines of a window that fades to its rim, (W * W, W * W - 1), its mean left out, and
    the weight of each: all octaves count alike."""
    place = torch.arange(_WINDOW)
    weights = (place[:, None] ** 2 + place**2).flatten()[1:].float().reciprocal()
    fade = torch.hann_window(_WINDOW, periodic=False)
    fade = torch.outer(fade, fade).flatten()
    waves = torch.kron(cosine(_WINDOW), cosine(_WINDOW))[1:].float() * fade
    waves /= fade.square().mean().sqrt()
    return waves.T.contiguous(), weights / weights.sum()


def texture(output: Tensor, target: Tensor) -> Tensor:
    """(N,) mean log ratio of the local power of each wave, where output and target agree.

    The mean of all plausible faces is too faint, and this is what tells. Only detail that lies
    where it lay is asked for at full strength: asked for texture of which it knows nothing, a
    network without chance of its own draws a grid over the face.
    """
    waves, weights = _waves()
    half = _WINDOW // 2
    windows = torch.cat([output, target]).mean(1).unfold(1, _WINDOW, half).unfold(2, _WINDOW, half)
    found = (windows.flatten(3) @ waves).permute(0, 3, 1, 2)  # (2 N, waves, rows, columns)
    power = F.avg_pool2d(found.square(), 3, 1) + _FLAT**2
    one, other = power.chunk(2)
    with torch.no_grad():
        shared = F.avg_pool2d(found[: len(output)] * found[len(output) :], 3, 1)
        agreed = ((shared / (one * other).sqrt() - _AGREED) / (1 - _AGREED)).clamp(min=0)
    faint = (one.log() - other.log()).abs() * agreed
    return torch.einsum("nwrc,w->n", faint, weights) / (2 * faint[0, 0].numel())


def likeness(output: tuple[Tensor, list[Tensor]], target: tuple[Tensor, list[Tensor]]):
    """(N,) cosine distance of embeddings, and (N,) relative distance of feature maps."""
    distance = 1 - (output[0] * target[0]).sum(1)
    features = [
        (a - b).abs().mean((1, 2, 3)) / b.abs().mean((1, 2, 3))
        for a, b in zip(output[1], target[1], strict=True)
    ]
    return distance, torch.stack(features).mean(0)
