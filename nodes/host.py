"""The Host that speaks to ComfyUI: its memory manager, progress bar and stop button.

ComfyUI's modules are addressed as attributes at call time, because other packs and the core itself
replace parts of them while running.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache

import comfy.model_management
import comfy.model_patcher
import comfy.utils
import torch
from server import PromptServer
from torch import Tensor, nn

from ..models import zoo
from ..stages.batch import check_mask
from ..stages.host import Host
from .downloads import Download
from .folders import model_folders

#: Networks kept for the next run; the oldest is given back when one more is loaded.
KEPT = 4

#: Faces whose working memory is asked of the memory manager; restorers halve their pass if short.
_FACES_AT_ONCE = 4

#: (path, modification time, dtype) -> the network under ComfyUI's memory management.
_patchers: OrderedDict[tuple[str, int, torch.dtype], object] = OrderedDict()


class ComfyHost(Host):
    """One run of one stage inside ComfyUI; networks outlive it in the module's table."""

    def __init__(self):
        folders = tuple((name, tuple(paths)) for name, paths in model_folders().items())
        super().__init__(comfy.model_management.get_torch_device(), _library(folders))
        self._bar = None

    def load(self, name: str) -> nn.Module:
        """The network of card `name`, moved to the device by ComfyUI's memory manager."""
        card = zoo.card(name)
        patcher = self._patcher(card)
        comfy.model_management.load_models_gpu(
            [patcher],
            memory_required=card.memory * _FACES_AT_ONCE * 2**20,
            force_full_load=True,
        )
        return patcher.model

    def _patcher(self, card: zoo.ModelCard):
        dtype = safe_dtype(card, self.device)
        follow = Download(card, self.progress)
        path = zoo.locate(card.name, library=self.library, progress=follow)
        key = (str(path), path.stat().st_mtime_ns, dtype)
        if key not in _patchers:
            _patchers[key] = comfy.model_patcher.ModelPatcher(
                zoo.load(card.name, library=self.library).to(dtype),
                load_device=self.device,
                offload_device=comfy.model_management.unet_offload_device(),
            )
            while len(_patchers) > KEPT:
                _patchers.popitem(last=False)
        _patchers.move_to_end(key)
        return _patchers[key]

    def progress(self, done: int, total: int) -> None:
        """Move the node's bar; raises ComfyUI's interrupt, which the stages let pass."""
        total = max(total, 1)
        if self._bar is None or self._bar.total != total:
            self._bar = comfy.utils.ProgressBar(total)
        self._bar.update_absolute(done, total)

    def free_memory(self) -> None:
        """Give unused device memory back before a smaller pass is tried."""
        comfy.model_management.soft_empty_cache()


def safe_dtype(card: zoo.ModelCard, device: torch.device) -> torch.dtype:
    """bfloat16 where both the card and ComfyUI say it is safe and fast, else float32."""
    wanted = "bfloat16" in card.dtypes and comfy.model_management.should_use_bf16(device)
    return torch.bfloat16 if wanted else torch.float32


@lru_cache(maxsize=2)
def _library(folders: tuple[tuple[str, tuple[str, ...]], ...]) -> zoo.Library:
    """The library of these folders; it remembers the hashes of files it has read."""
    return zoo.Library(dict(folders))


def to_intermediate(picture: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """`picture` where ComfyUI wants what travels between nodes.

    Args:
        picture: an IMAGE or a MASK.
        dtype: to keep; None for the one ComfyUI asks for, float32 on cores that do not ask.
    """
    if dtype is None:
        ask = getattr(comfy.model_management, "intermediate_dtype", None)
        dtype = ask() if ask else torch.float32
    return picture.to(comfy.model_management.intermediate_device(), dtype)


def painted(mask: Tensor | None, name: str = "mask") -> Tensor | None:
    """`mask` as a batch, or None for the 64 x 64 zeros that LoadImage gives for a picture without.

    Raises:
        ValueError: no mask by its shape, or values that are not numbers.
    """
    mask = None if mask is None else check_mask(mask, name)
    if mask is not None and mask.shape[-2:] == (64, 64) and not bool(mask.any()):
        return None
    return mask


def show_text(node, text: str) -> None:
    """Show one line on the running node, without JavaScript of our own."""
    unique_id = node.hidden.unique_id if node.hidden else None
    server = getattr(PromptServer, "instance", None)
    if unique_id is not None and server is not None:
        server.send_progress_text(text, unique_id)
