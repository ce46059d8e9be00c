"""What restorers share that let a flow move a first estimate, with a little noise, to a sharp face.

Paper: Ohayon, Michaeli, Elad, "Posterior-Mean Rectified Flow: Towards Minimum MSE Photo-Realistic
Image Restoration", ICLR 2025.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Share of unit noise in the flow's start.
NOISE = 0.1


def check_flow(image: Tensor, steps: int, multiple: int) -> None:
    """Raise ValueError unless the sides of (N, 3, H, W) are multiples and there is a step."""
    height, width = image.shape[2:]
    if height % multiple or width % multiple:
        raise ValueError(f"sides must be multiples of {multiple}, got {width} x {height}: resize")
    if steps < 1:
        raise ValueError(f"the flow needs at least 1 step, got {steps}")


def noisy_start(estimate: Tensor, noise: Tensor | None) -> Tensor:
    """The estimate with unit normal `noise` of its shape mixed in, or without.

    Raises:
        ValueError: the noise has another shape.
    """
    if noise is None:
        return estimate
    if noise.shape != estimate.shape:
        raise ValueError(f"noise must be {tuple(estimate.shape)}, got {tuple(noise.shape)}")
    return torch.add(estimate, noise, alpha=NOISE)
