"""Keeping what a detour through another resolution would lose.

A face goes into a crop, and a crop into a network, at sizes that are not its own. Whatever the
smaller grid cannot carry is set aside as a residual and put back afterwards, to the degree that the
restorer left the neighbouring, carried band alone: a restorer that changes nothing gives back the
very same picture, one that removes noise does not get the noise back.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

#: Energy below which a band counts as empty: half an 8-bit step.
_FLOOR = (0.5 / 255) ** 2

#: Side of the cells on which band energies are compared, a power of 2, and deviation and taps of
#: the window over those cells.
_CELL = 4
_WINDOW = (7, 1.5)

#: Largest side of a picture that products of matrices resize, beyond which their operands leave the
#: cache, and how many pixels along an axis one product makes, where it shrinks and where not.
_SMALL, _BANDS = 1024, (32, 64)

#: Largest side of a picture that products of matrices blur sooner than kernels do.
_TINY = 160


def finest(picture: Tensor) -> Tensor:
    """The finest octave of (N, C, H, W), of its grey: (N, 1, H, W)."""
    plane = grey(picture)
    return plane - soften(soften(plane))


def energy(band: Tensor) -> Tensor:
    """Local energy of a band (N, 1, H, W): (N, 1, ceil(H / 4), ceil(W / 4))."""
    return energy_of(halved(band.square()))


def energy_of(squares: Tensor) -> Tensor:
    """`energy` from the halved squares of the band."""
    return blur(halved(squares), *_WINDOW)


def grey(picture: Tensor) -> Tensor:
    """(N, 1, H, W), the mean of the channels of (N, C, H, W); much faster than `mean`."""
    if picture.shape[1] == 1:
        return picture
    total = picture[:, :1] + picture[:, 1:2]
    for channel in range(2, picture.shape[1]):
        total += picture[:, channel : channel + 1]
    return total.div_(picture.shape[1])


def soften(picture: Tensor) -> Tensor:
    """(N, C, H, W) blurred by the binomial 1, 2, 1 along both axes; the border is replicated."""
    wide = F.pad(picture, (1, 1, 1, 1), mode="replicate")
    wide = (wide[..., :-2] + wide[..., 2:]).add_(wide[..., 1:-1], alpha=2)
    rows = (wide[..., :-2, :] + wide[..., 2:, :]).add_(wide[..., 1:-1, :], alpha=2)
    return rows.mul_(1 / 16)


def halved(picture: Tensor) -> Tensor:
    """(N, C, H, W) to means of squares of four pixels, those that there are at an odd border.

    Several times faster than `F.avg_pool2d`, which asks of each pixel whether it is inside.
    """
    if picture.shape[-1] % 2 or picture.shape[-2] % 2:
        return F.avg_pool2d(picture, 2, ceil_mode=True)
    rows = picture[..., ::2, :] + picture[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]).mul_(0.25)


def enlarged(maps: Tensor, side: int) -> Tensor:
    """(N, C, s, s) to (N, C, side, side), bilinear; also where that makes it smaller.

    Each channel as a picture of its own, which is two to three times faster than a few together.
    """
    if maps.shape[-1] == side:
        return maps
    apart = maps.flatten(0, 1)[:, None]
    grown = F.interpolate(apart, size=(side, side), mode="bilinear", align_corners=False)
    return grown.view(*maps.shape[:2], side, side)


def blur(picture: Tensor, taps: int, sigma: float) -> Tensor:
    """Gaussian blur of (N, C, H, W); the border is replicated, so 1-pixel pictures are fine.

    Args:
        taps: samples of the kernel along each axis, odd. sigma: deviation in pixels.
    """
    if max(picture.shape[2:]) <= _TINY and picture.dtype == torch.float32:
        down, across = (_blurs(side, taps, sigma, picture.device) for side in picture.shape[2:])
        return down @ picture @ across.T
    reach = taps // 2
    kernel = _gaussian(taps, sigma).to(picture)
    planes = F.pad(picture.flatten(0, 1)[:, None], (reach, reach, reach, reach), mode="replicate")
    planes = F.conv2d(F.conv2d(planes, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return planes.view(picture.shape)


@lru_cache(maxsize=64)
def _blurs(side: int, taps: int, sigma: float, device: torch.device) -> Tensor:
    """(side, side) shares of the samples of a line in what `blur` makes of each."""
    # Kept for all later calls, so not made for inference alone.
    with torch.inference_mode(False):
        lines = F.pad(torch.eye(side)[:, None], (taps // 2, taps // 2), mode="replicate")
        return F.conv1d(lines, _gaussian(taps, sigma).view(1, 1, -1))[:, 0].T.to(device)


@lru_cache(maxsize=64)
def _gaussian(taps: int, sigma: float) -> Tensor:
    """(taps,) weights that sum to 1."""
    at = torch.arange(taps, dtype=torch.float64) - taps // 2
    weights = (-0.5 * (at / sigma).square()).exp()
    return (weights / weights.sum()).float()


def kept(before: Tensor, after: Tensor) -> Tensor:
    """How much of the finest octave of `before` is still in `after`.

    Args:
        before, after: (N, C, H, W) at one resolution.

    Returns:
        (N, 1, ceil(H / 4), ceil(W / 4)) in [0, 1], cells that cover the picture: the local ratio of
        band amplitudes, 1 where nothing was taken away.
    """
    return kept_of(energy(finest(before)), energy(finest(after)))


def kept_of(energy_before: Tensor, energy_after: Tensor) -> Tensor:
    """`kept` by the energies of the finest octave."""
    return ((energy_after + _FLOOR) / (energy_before + _FLOOR)).sqrt_().clamp_(max=1)


def scale(picture: Tensor, size: int) -> Tensor:
    """(N, C, S, S) to (N, C, size, size), bicubic, antialiased where it shrinks.

    Convention: pixel areas are kept (align_corners=False).
    """
    side = picture.shape[-1]
    if side == size:
        return picture
    if size < side:
        return resized(picture, size, size)
    return F.interpolate(picture, size=(size, size), mode="bicubic", align_corners=False)


def resized(picture: Tensor, height: int, width: int) -> Tensor:
    """(N, C, H, W) to (N, C, height, width), bicubic as `F.interpolate` with antialias has it.

    By products of matrices, in a third to two thirds of the time. The matrices are zero far from
    their diagonals, so they are multiplied in bands.

    Convention: pixel areas are kept (align_corners=False).
    """
    size = (height, width)
    if picture.dtype != torch.float32 or max(*picture.shape[2:], *size) > _SMALL:
        return F.interpolate(picture, size=size, mode="bicubic", antialias=True)
    count, channels, old_height, old_width = picture.shape
    down = _bands(old_height, height, picture.device)
    across = _bands(old_width, width, picture.device)
    planar = picture.stride(-1) == 1
    lines = picture.flatten(0, 1) if planar else picture.permute(0, 2, 3, 1).flatten(2)
    rows = [torch.bmm(share.expand(len(lines), -1, -1), lines[:, seen]) for seen, share in down]
    rows = torch.cat(rows, 1)
    if not planar:
        rows = rows.view(count, height, old_width, channels).permute(0, 3, 1, 2)
    rows = rows.reshape(-1, old_width)
    columns = torch.cat([rows[:, seen] @ share.T for seen, share in across], 1)
    return columns.view(count, channels, height, width)


@lru_cache(maxsize=64)
def _bands(side: int, size: int, device: torch.device) -> list[tuple[slice, Tensor]]:
    """For every few of `size` pixels which of `side` they are made of, and their shares (n, k)."""
    # Kept for all later calls, so not made for inference alone.
    with torch.inference_mode(False):
        each = torch.eye(side, device=device)[None, None]
        shares = F.interpolate(each, size=(size, side), mode="bicubic", antialias=True)[0, 0]
        bands = []
        for share in shares.split(_BANDS[size >= side]):
            seen = share.any(0).nonzero()
            seen = slice(int(seen[0]), int(seen[-1]) + 1)
            bands.append((seen, share[:, seen].contiguous()))
        return bands


def return_to_size(full: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Bring a result found at another size back, with the residual that size could not carry.

    Args:
        full: (N, C, S, S), the original.
        before: (N, C, s, s), the original as the network saw it: scale(full, s).
        after: (N, C, s, s), what the network made of it.

    Returns:
        (N, C, S, S); equal to `full` up to rounding where `after` equals `before`.
    """
    size = full.shape[-1]
    if before.shape[-1] == size:
        return after
    back_before, back_after = scale(before, size), scale(after, size)
    shrunk = before.shape[-1] < size
    share = kept(before, after) if shrunk else kept(back_before, back_after)
    share = enlarged(share, size)
    return torch.addcmul(back_after, share, full - back_before)
