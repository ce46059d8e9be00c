"""What a stage needs of the world around it: a device, loaded networks, progress, interruption.

The plain Host serves scripts and the command line; `nodes/host.py` makes the one that speaks to
ComfyUI's memory manager, progress bar and stop button.
"""

from __future__ import annotations

import torch
from torch import nn

from ..models import zoo


class Host:
    """Runs networks on one device and keeps each one loaded as long as the Host lives.

    device: where they run. library: the folders their files are looked up in and fetched to, those
    of the command line by default.
    """

    def __init__(self, device: str | torch.device = "cpu", library: zoo.Library | None = None):
        self.device = torch.device(device)
        self.library = library or zoo.default_library()
        self._networks: dict[str, nn.Module] = {}

    def load(self, name: str) -> nn.Module:
        """The network of card `name` in eval mode on `device`, ready to be called."""
        if name not in self._networks:
            network = zoo.load(name, library=self.library, progress=self.progress)
            self._networks[name] = network.to(self.device)
        return self._networks[name]

    def progress(self, done: int, total: int) -> None:
        """Told after each step of a long stage or a download; may raise to stop it."""

    def free_memory(self) -> None:
        """Called after running out of device memory, before the batch is halved and tried again."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
