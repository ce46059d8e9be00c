"""Checkpoints in published layouts, made of numbers instead of training."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

LAYOUTS = Path(__file__).parent / "layouts"


def state_dict(shapes: Mapping[str, Sequence[int]], seed: int = 0) -> dict[str, Tensor]:
    """Tensors for names and shapes: small weights, positive variances, counters of zero."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.zeros((), dtype=torch.int64)
        elif name.endswith("running_var"):
            state[name] = torch.rand(*shape, generator=generator) + 0.5
        else:
            fan = max(1, math.prod(shape[1:]))
            state[name] = torch.randn(*shape, generator=generator) / fan**0.5
    return state


def retinaface(seed: int = 0) -> dict[str, Tensor]:
    """RetinaFace MobileNet0.25 as published: every key behind `module.`."""
    shapes = json.loads((LAYOUTS / "retinaface-mobilenet0.25.json").read_text("utf-8"))
    return {f"module.{name}": value for name, value in state_dict(shapes, seed).items()}


def saved(checkpoint, *, zipped: bool = True) -> bytes:
    """The bytes of torch.save, in its format of today or of before 1.6."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()
