"""From a weights file to its tensors, without ever running code that the file carries."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file as load_safetensors


class WeightsError(ValueError):
    """A weights file cannot be used; the message names the file, what was seen and the remedy."""


def load_file(path: str | Path):
    """What a checkpoint file holds, tensors memory-mapped where the format allows."""
    path = Path(path)
    if path.suffix == ".safetensors":
        return load_safetensors(path)
    return torch.load(path, map_location="cpu", weights_only=True)
