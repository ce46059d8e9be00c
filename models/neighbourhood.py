"""Neighbourhood attention: every query sees the 7 x 7 keys around it, in plain torch.

Paper: Hassani, Walton, Li, Li, Shi, "Neighborhood Attention Transformer", CVPR 2023. At a border
the window is shifted inwards, so each query has the same number of keys.

Queries are taken in 8 x 8 tiles: the windows of one tile lie in one 14 x 14 region, so dense
attention of tile to region, with the keys outside a query's own window masked, gives the same
result with large matrix products and no kernel of our own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

#: Side of a tile of queries.
TILE = 8


@dataclass(frozen=True)
class Axis:
    """One axis of the grid cut into tiles.

    queries: (tiles, TILE) index of each query; the last tile repeats the last one.
    keys: (tiles, region) index of each key a tile may need.
    inside: (tiles, TILE, region) whether a key lies in a query's window.
    """

    queries: Tensor
    keys: Tensor
    inside: Tensor


def cut(length: int, window: int, device: torch.device | None = None) -> Axis:
    """Tiles of an axis of `length` positions for windows of `window`.

    Raises:
        ValueError: the axis is shorter than the window.
    """
    if length < window:
        raise ValueError(f"neighbourhood attention needs {window} positions a side, got {length}")
    reach = window // 2
    starts = torch.arange(0, length, TILE, device=device)[:, None]
    queries = (starts + torch.arange(TILE, device=device)).clamp_(max=length - 1)
    region = min(TILE + 2 * reach, length)
    first = (starts - reach).clamp_(0, length - region)
    keys = first + torch.arange(region, device=device)
    low = (queries - reach).clamp_(0, length - window)[:, :, None]
    inside = (keys[:, None] >= low) & (keys[:, None] < low + window)
    return Axis(queries, keys, inside)


@dataclass(frozen=True)
class Grid:
    """Both axes of a map and the additive mask of all its tiles (tiles, 1, queries, keys)."""

    rows: Axis
    columns: Axis
    mask: Tensor

    @classmethod
    def of(cls, height: int, width: int, window: int, like: Tensor) -> Grid:
        """The grid of a map of that size, on the device and in the dtype of `like`."""
        rows, columns = (cut(n, window, like.device) for n in (height, width))
        inside = rows.inside[:, None, :, None, :, None] & columns.inside[None, :, None, :, None, :]
        queries, keys = TILE * TILE, rows.keys.shape[1] * columns.keys.shape[1]
        mask = torch.zeros(inside.shape, dtype=like.dtype, device=like.device)
        mask.masked_fill_(~inside, float("-inf"))
        return cls(rows, columns, mask.view(-1, 1, queries, keys))


def attend(q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
    """Neighbourhood attention with logits q.k, not scaled.

    Args:
        q, k, v: (N, H, W, heads, width).
        grid: of that height and width.

    Returns:
        (N, H, W, heads, width).
    """
    n, height, width, heads, size = q.shape
    rows, columns = grid.rows, grid.columns
    down, across = len(rows.queries), len(columns.queries)

    def tiles(x: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
        """(N * tiles, heads, positions, width)."""
        x = x[:, by_row[:, None, :, None], by_column[None, :, None, :]]
        return x.reshape(n * down * across, -1, heads, size).transpose(1, 2)

    mask = grid.mask if n == 1 else grid.mask.repeat(n, 1, 1, 1)
    out = F.scaled_dot_product_attention(
        tiles(q, rows.queries, columns.queries),
        tiles(k, rows.keys, columns.keys),
        tiles(v, rows.keys, columns.keys),
        attn_mask=mask,
        scale=1.0,
    )
    out = out.transpose(1, 2).reshape(n, down, across, TILE, TILE, heads, size)
    out = out.transpose(2, 3).reshape(n, down * TILE, across * TILE, heads, size)
    return out[:, :height, :width]
