"""Memory for whole pictures: what the system hands out page by page can take longer than the work.

Tensors this large are not kept for the next one, each asks the system for fresh pages.
"""

from __future__ import annotations

import mmap
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

#: What torch raises where a device has no more room, by its name from 2.5 on or before.
OutOfMemory = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)

#: Bytes from which the C library asks the system each time (glibc's largest threshold).
_LARGE = 32 * 2**20


def zeros(*shape: int, device: torch.device) -> Tensor:
    """Float32 zeros; on a CPU their pages come to be when they are first written.

    Most of a large picture's mask is never written: it has no face.
    """
    if device.type != "cpu":
        return torch.zeros(shape, device=device)
    return torch.from_numpy(np.zeros(shape, np.float32))


def copied(picture: Tensor) -> Tensor:
    """A contiguous copy; of a large picture on a CPU in pages of 2 MB where the system has them.

    With those of 4 kB most of the time would go into 35,000 page faults for 12 megapixels.
    """
    size = picture.numel() * picture.element_size()
    if picture.device.type != "cpu" or size < _LARGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return picture.clone(memory_format=torch.contiguous_format)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # A kernel without large pages refuses; the small ones hold the picture as well.
    with suppress(OSError):
        pages.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(pages, dtype=picture.dtype).view(picture.shape).copy_(picture)
