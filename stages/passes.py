"""A network run over many crops in passes that fit into the device's memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .host import Host
from .memory import OutOfMemory

#: Crops in one pass; halved when the device runs out of memory.
BATCH = 8


def in_passes(crops: Tensor, run: Callable[[Tensor], Tensor], host: Host) -> Tensor:
    """`run` over `crops`, a few at a time, its results on the CPU.

    Args:
        crops: (N, ...), N at least 1.
        run: takes (n, ...) on the host's device and returns (n, ...).

    Returns:
        (N, ...) on the CPU.

    Raises:
        memory.OutOfMemory: not even one crop fits.
    """
    done, batch = [], BATCH
    start = 0
    while start < len(crops):
        part = crops[start : start + batch].to(host.device)
        try:
            done.append(run(part).cpu())
        except OutOfMemory:
            if len(part) == 1:
                raise
            host.free_memory()
            batch = len(part) // 2
            continue
        start += len(part)
        host.progress(start, len(crops))
    return torch.cat(done)
