"""Processes that learn side by side, each from batches of its own:
torchrun --nproc-per-node N -m -- kintsugi.training.degradation ...

(Without the two dashes torchrun takes some of the training's options for its own.)
Small networks on small batches leave a second core half idle as threads of one process, and keep it
busy as a process. A process that runs alone needs none of this and passes through it unchanged.
"""

from __future__ import annotations

import os

import torch
from torch import distributed, nn


def join() -> int:
    """Which of the processes this is, from 0."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        distributed.init_process_group("gloo")
        return distributed.get_rank()
    return 0


def agree(value: float) -> float:
    """What the first process says, as the clock, which must tell all to stop at one step."""
    if not distributed.is_initialized():
        return value
    said = torch.tensor(value, dtype=torch.float64)
    distributed.broadcast(said, 0)
    return float(said)


def leave() -> None:
    """Wait for the others and part: a process that just ends may break off one still talking."""
    if distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def average_gradients(network: nn.Module) -> None:
    """Gradients as of one batch of all processes' samples."""
    if not distributed.is_initialized():
        return
    gradients = [value.grad for value in network.parameters() if value.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
