"""Cutting a face out once: what LandmarkAlign cut is what Blend compares the restored face with.

A Crop knows where it was cut, and does not keep it alive: crops travel on a wire of their own. As
long as they live, and neither they nor the pixels they were cut from have changed, they are what
cutting again would give, bit for bit, and Blend need not do it.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from . import geometry


@dataclass(frozen=True, eq=False)
class Cut:
    """Where a crop lies and what it and its source looked like.

    batch: of the crops (N, S, S, 3). index: of this one. crop, source: signatures. Copies made by
    pickling know nothing of it.
    """

    batch: weakref.ref[Tensor]
    index: int
    crop: Tensor
    source: Tensor

    def __reduce__(self):
        return _forgotten, ()

    def again(self, picture: Tensor, matrix: Tensor, size: int) -> Tensor | None:
        """The crop (size, size, 3), if cutting `picture` would give it again; else None.

        Args:
            picture: (H, W, C). matrix: (2, 3), picture to crop. size: its side.
        """
        crops = self.batch()
        if crops is None or crops.device != picture.device or crops.shape[1] != size:
            return None
        crop = crops[self.index]
        same = torch.equal(signature(crop), self.crop)
        return crop if same and torch.equal(_seen(picture, matrix, size), self.source) else None


def note(crops: Tensor, index: int, picture: Tensor, matrix: Tensor) -> Cut | None:
    """Where a crop is to be found again.

    Args:
        crops: (N, S, S, 3), the batch. index: of the crop.
        picture: (H, W, C) it was cut from; nothing is noted of grey, which became RGB.
        matrix: (2, 3), picture to crop.
    """
    if picture.shape[-1] < crops.shape[-1]:
        return None
    source = _seen(picture, matrix, crops.shape[1])
    return Cut(weakref.ref(crops), index, signature(crops[index]), source)


def signature(picture: Tensor) -> Tensor:
    """(H,) float32, a weighted sum of each row of (H, W, C): another for any other colours."""
    rows = picture.to(torch.float32).flatten(1)
    weights = _weights(-(-rows.shape[1] // 1024) * 1024, picture.shape[-1])
    return rows @ weights[: rows.shape[1]].to(rows.device)


def _seen(picture: Tensor, matrix: Tensor, size: int) -> Tensor:
    """The signature of what `geometry.cut` reads."""
    return signature(picture[geometry.read_by(matrix, size, *picture.shape[:2]).slices()])


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # kept for later calls of any mode
def _weights(count: int, channels: int) -> Tensor:
    weights = torch.randn(count, generator=torch.Generator().manual_seed(0))
    if channels == 4:
        weights[3::4] = 0  # no alpha is cut
    return weights


def _forgotten() -> None:
    return None
