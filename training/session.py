"""How every training begins and how fast it goes."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import torch


def begin(seed: int, threads: int, folder: Path) -> None:
    """Fix the chances, keep to `threads` cores and make the folder of the run.

    OpenCV gets none of its own: the pictures are damaged in the loader's process.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    cv2.setNumThreads(0)
    folder.mkdir(parents=True, exist_ok=True)


def rate(share: float, peak: float, rise: float = 0.01) -> float:
    """Learning rate after `share` of the time: up until `rise`, then a cosine to nothing."""
    return peak * min(share / rise, 0.5 * (1 + math.cos(math.pi * min(share, 1))) + 1e-3)
