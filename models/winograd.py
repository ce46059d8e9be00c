"""3x3 convolutions of wide maps on the CPU with a quarter of the products.

Paper: Lavin, Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016 (Winograd's
minimal filtering).

The products of two polynomials are found from their values at a few points. A tile of 4x4 results
needs the values at 6x6 points: one product each for every pair of channels instead of 9 a result.
So the convolution becomes 36 matrix products, which run at the machine's full rate, between three
small linear maps along the rows and the columns of the tiles. The paper's points 0, 1, -1, 2, -2
lose a digit more than those taken here, which lie evenly around 1 and cost no more, because the
maps are matrix products too.

Kernels are transformed at each call: beside the work on a large map that is nothing, and holding
them would take four times the memory.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Results a side of a tile, and the inputs they depend on.
TILE, SEEN = 4, 6
#: Where the polynomials are evaluated, beside infinity.
POINTS = (0.0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5))
#: Tiles transformed together, for each thread: more leave the cache, fewer make the matrices slim
#: and the threads wait for each other more often.
STRIP = 256
#: The least product of the widths, and the least width, from which this is clearly faster (1.3 to
#: 2.5 times, AVX-512, torch 2.13). 128 by 128 gains a tenth, lost again where threads must wait.
LEAST_PRODUCT, LEAST_WIDTH = 128 * 256, 64
#: Pixels for each channel below which transforming the kernel costs more than it saves.
LEAST_PIXELS = 4


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution of padding 1.

    Args:
        inner, outer: channels in and out.
        bias: whether it has one.
    """

    def __init__(self, inner: int, outer: int, bias: bool = True) -> None:
        super().__init__(inner, outer, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return conv3x3(x, self.weight, self.bias)


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 3x3 convolution of padding 1, by whichever way is faster for these shapes.

    Args:
        x: (N, inner, H, W).
        weight: (outer, inner, 3, 3).
        bias: (outer,) or None.

    Returns:
        (N, outer, H, W); either way the same to about 1e-5 of the largest value in float32.
    """
    if pays(x, weight):
        return filter_tiles(x, weight, bias)
    return F.conv2d(x, weight, bias, padding=1)


def pays(x: Tensor, weight: Tensor) -> bool:
    """Whether `filter_tiles` takes these and is faster than the ordinary convolution."""
    n, inner, height, width = x.shape
    outer = len(weight)
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and min(inner, outer) >= LEAST_WIDTH
        and inner * outer >= LEAST_PRODUCT
        and n * height * width >= LEAST_PIXELS * min(inner, outer)
        and height % TILE == 0
        and width % TILE == 0
        and x.is_contiguous(memory_format=torch.channels_last)
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
    )


@functools.cache
def transforms() -> tuple[Tensor, Tensor, Tensor]:
    """The paper's B^T (6, 6) of inputs, G (6, 3) of kernels and A^T (4, 6) of results."""
    points = np.array(POINTS)
    others = [np.delete(points, i) for i in range(len(points))]
    inputs = np.zeros((SEEN, SEEN))
    for i, rest in enumerate((*others, points)):
        inputs[i, : len(rest) + 1] = np.poly(rest)[::-1]
    scale = [np.prod(point - rest) for point, rest in zip(points, others, strict=True)]
    kernels = np.vstack((np.vander(points, 3, increasing=True) / np.c_[scale], [0, 0, 1]))
    results = np.vstack((np.vander(points, TILE, increasing=True), np.eye(TILE)[-1])).T
    return tuple(
        torch.tensor(m, dtype=torch.float32, device="cpu") for m in (inputs, kernels, results)
    )


def transform_kernel(weight: Tensor) -> Tensor:
    """Kernels (outer, inner, 3, 3) at the points: (6, 6, inner, outer), a view."""
    outer, inner = weight.shape[:2]
    both = torch.kron(transforms()[1], transforms()[1])  # 36, 9
    taps = weight.permute(0, 2, 3, 1).reshape(outer, 9, inner)
    return torch.matmul(both, taps).view(outer, SEEN, SEEN, inner).permute(1, 2, 3, 0)


def filter_tiles(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`conv3x3` by minimal filtering.

    Args:
        x: (N, inner, H, W) float32 on the CPU, channels last, H and W multiples of 4.
        weight: (outer, inner, 3, 3).
        bias: (outer,) or None.

    Returns:
        (N, outer, H, W), channels last.
    """
    n, inner, height, width = x.shape
    outer, across, rows = len(weight), width // TILE, n * height // TILE  # of tiles
    inputs, _, results = transforms()
    kernel = transform_kernel(weight)
    # A divisor of the rows: every strip is of one size and its buffers serve them all.
    most = max(1, STRIP * torch.get_num_threads() // across)
    strip = next(count for count in range(min(most, rows), 0, -1) if rows % count == 0)
    tiles = strip * across
    pixels = x.permute(0, 2, 3, 1)
    out = x.new_empty(n, height, width, outer)
    tiled = out.view(rows, TILE, across, TILE, outer)

    tall = x.new_zeros(strip, SEEN, width + 2, inner)  # transformed along the columns
    row, point, pixel, _ = tall.stride()
    seen = tall.as_strided(
        (SEEN, SEEN, strip, across, inner), (point, pixel, row, TILE * pixel, 1)
    )  # overlapping: what each tile sees
    gathered = x.new_empty(SEEN, strip, across, inner)
    values = x.new_empty(SEEN, tiles, inner)
    products = x.new_empty(SEEN, tiles, outer)
    narrow = x.new_empty(TILE, SEEN, tiles * outer)  # results along the rows only
    both = x.new_empty(TILE, TILE, tiles * outer)
    shown = both.view(TILE, TILE, strip, across, outer).permute(2, 1, 3, 0, 4)

    for first in range(0, rows, strip):
        for i in range(strip):
            face, down = divmod(first + i, height // TILE)
            top = TILE * down - 1
            start, stop = max(top, 0), min(top + SEEN, height)  # rows beyond the map are zero
            source = pixels[face, start:stop].flatten(1)
            torch.mm(inputs[:, start - top : stop - top], source, out=tall[i, :, 1:-1].flatten(1))
        for i in range(SEEN):
            gathered.copy_(seen[i])
            torch.mm(inputs, gathered.flatten(1), out=values.flatten(1))
            torch.bmm(values, kernel[i], out=products)
            torch.mm(results, products.flatten(1), out=narrow[:, i])
        for i in range(TILE):
            torch.mm(results, narrow[i], out=both[i])
        target = tiled[first : first + strip]
        if bias is None:
            target.copy_(shown)
        else:
            torch.add(shown, bias, out=target)
    return out.permute(0, 3, 1, 2)
