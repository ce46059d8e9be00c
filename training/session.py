"""How every training begins."""

from __future__ import annotations

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
