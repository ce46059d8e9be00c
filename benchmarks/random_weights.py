"""Made-up weights for networks whose time or shape is asked, not what they can do."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

#: Names of what must be positive, and not near zero.
POSITIVE = ("running_var", "self_attn.scale", "freqs")


def random_weights(like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Random values for a state dict's names, shapes and kinds, which may be on the meta device.

    Each layer keeps about the scale of what goes through it, so that deep networks stay finite.
    """
    state = {}
    for key, value in like.items():
        if not value.is_floating_point():
            state[key] = torch.zeros(value.shape, dtype=value.dtype)
        elif key.endswith(POSITIVE):
            state[key] = torch.rand(value.shape) + 0.5
        else:
            fan = math.prod(value.shape[1:]) if value.dim() > 1 else 4
            state[key] = torch.randn(value.shape) / max(fan, 1) ** 0.5
    return state
