"""Screen: take the dots of a printed picture out of it, so that a restorer sees a face.

Print makes its greys of dots on a lattice. In the spectrum of a scan these are sharp peaks at the
lattice's frequencies and their sums, each with a copy of the picture around it, and nothing in a
face looks like that. The power of pictures falls with frequency by a law that shows below the
dots' frequencies; what stands out above that law further out is the print's and is brought down to
it. So dots that hardly show cost hardly any of the detail between them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from . import detail
from .colour import luma

#: Largest side of what is looked at, px: the middle of a crop, then that of the crop at half its
#: size, until all of it has been seen; and the least.
_WINDOW, _LEAST = 256, 96

#: Fewest dots along a side that make a screen.
_DOTS = 20

#: Deviation over which the power of a peak is gathered, side of the square whose mean it is held
#: against, and how far peaks lie apart; in bins.
_PEAK, _AROUND, _APART = 1.0, 25, 4

#: Power of a bin, for each px of the window, that does not count: of noise of half a step of 255.
_FLOOR = 0.14 * (0.5 / 255) ** 2

#: Bins and peaks that are looked at, and the least amplitude of a peak: what enlargement leaves of
#: the photo's own pixels makes peaks as sharp, but has less than half of it.
_BINS, _PEAKS, _LOUD = 64, 6, 0.7 / 255

#: Logarithm of the power over its surroundings from which two peaks are a screen, where one stands
#: upright to this sine and where not: mosaics stand upright and come to 5.5, little else to 3.4.
_SCREEN, _UPRIGHT = (6.0, 3.6), 0.34

#: Greatest ratio of the lengths of a lattice's two vectors, and greatest cosine between them.
_RATIO, _COSINE = 1.33, 0.5

#: Share of a crop's side that is mirrored around it, so that its border does not ring.
_MARGIN = 1 / 8

#: Between which shares of the dots' frequency the power begins to be held to its law; the least
#: frequency, cycles a side, and greatest share of it that tell the law; the least power by which it
#: falls; and taps and deviation of the power's mean, in bins.
_BEGINS, _LAW, _FALL, _MEAN = (0.6, 0.7), (4.0, 0.45), -2.0, (13, 1.5)


#: By how much a peak of a spectrum stands out, and its frequency: down and right, cycles a side.
Peak = tuple[float, float, float]


@dataclass(frozen=True)
class Screen:
    """The lattice of a screen: two frequencies (down, right), cycles per side of the crop."""

    first: tuple[float, float]
    second: tuple[float, float]

    @property
    def dots(self) -> float:
        """Dots along a side of the crop."""
        return min(math.hypot(*self.first), math.hypot(*self.second))


def find(crops: Tensor) -> list[Screen | None]:
    """The screen of each crop (N, 3, S, S) in [0, 1] that has one."""
    found: list[Screen | None] = [None] * len(crops)
    while (side := crops.shape[-1]) >= _LEAST:
        window = min(side, _WINDOW)
        edge = (side - window) // 2
        middle = crops[..., edge : edge + window, edge : edge + window]
        for index, peaks in enumerate(_peaks(luma(middle)[:, 0])):
            pairs = [pair for pair in combinations(peaks, 2) if _lattice(*pair)]
            if pairs and not found[index]:
                # The others are its overtones. From cycles a window to cycles a crop:
                screens = (Screen(*_scaled(pair, side / window)) for pair in pairs)
                found[index] = min(screens, key=lambda screen: screen.dots)
        if window == side:
            break
        crops = detail.halved(crops)
    return found


def _peaks(planes: Tensor) -> list[list[Peak]]:
    """The highest peaks in the spectra of (N, s, s), those that can be a screen's."""
    side = planes.shape[-1]
    fade, (gather_down, gather_right), (near_down, near_right), looked = _tools(side, planes.device)
    spectrum = torch.fft.rfft2((planes - planes.mean((1, 2), keepdim=True)) * fade)
    power = (spectrum.real.square() + spectrum.imag.square()).add_(_FLOOR * side**2)
    gathered = gather_down @ power @ gather_right
    height = gathered.log() - near_down @ power.log() @ near_right
    # A wave of amplitude a comes to (a * side**2 / 8)**2 in its bin and to 0.27 of it gathered.
    loud = gathered > 0.27 * (_LOUD * side**2 / 8) ** 2
    bins = torch.where(looked & loud, height, -torch.inf).flatten(1).topk(_BINS)
    found = []
    for heights, indices in zip(bins.values.tolist(), bins.indices.tolist(), strict=True):
        peaks: list[Peak] = []
        for high, index in zip(heights, indices, strict=True):
            y, x = divmod(index, power.shape[2])
            y = y if y <= side // 2 else y - side
            apart = all(max(abs(y - b), abs(x - a)) > _APART for _, b, a in peaks)
            if high > min(_SCREEN) and apart:
                peaks.append((high, float(y), float(x)))
        found.append(peaks[:_PEAKS])
    return found


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # kept for later calls of any mode
def _tools(side: int, device: torch.device) -> tuple:
    """What `_peaks` needs for planes of `side` px: a window, matrices that gather peaks and that
    average around them along both axes, and where in the spectrum screens are looked for."""
    fade = torch.hann_window(side, device="cpu")
    down = torch.fft.fftfreq(side, 1 / side, device="cpu")
    right = torch.fft.rfftfreq(side, 1 / side, device="cpu")
    apart = [(down[:, None] - down).abs(), (right[:, None] - right).abs()]
    # The spectrum goes on from its last row to its first.
    apart[0] = torch.minimum(apart[0], side - apart[0])
    gather = [(-(each / _PEAK).square() / 2).exp() * (each <= 4 * _PEAK) for each in apart]
    near = [(each <= _AROUND // 2).float() for each in apart]
    pairs = []
    for rows, columns in (gather, near):
        columns = (columns / columns.sum(1, keepdim=True)).T.contiguous()
        pairs.append(((rows / rows.sum(1, keepdim=True)).to(device), columns.to(device)))
    looked = down[:, None].square() + right.square() > _DOTS**2
    # At 0 to the right each frequency stands twice.
    looked &= (right > 0) | (down[:, None] > 0)
    return (fade[:, None] * fade).to(device), *pairs, looked.to(device)


def _scaled(pair: tuple[Peak, Peak], factor: float) -> Iterator[tuple[float, float]]:
    """The frequencies of two peaks times a factor."""
    return ((down * factor, right * factor) for _, down, right in pair)


def _lattice(first: Peak, second: Peak) -> bool:
    """Whether two peaks stand out, are about as far out, and about at right angles."""
    (high, *one), (other, *two) = first, second
    near, far = sorted((math.hypot(*one), math.hypot(*two)))
    cosine = (one[0] * two[0] + one[1] * two[1]) / (near * far)
    upright = min(abs(one[0]), abs(one[1])) < _UPRIGHT * math.hypot(*one)
    return min(high, other) > _SCREEN[not upright] and far < _RATIO * near and abs(cosine) < _COSINE


def remove(crop: Tensor, screen: Screen) -> Tensor:
    """(3, S, S) in [0, 1] without its screen.

    Source: Field, "Relations between the statistics of natural images and the response properties
    of cortical cells", 1987: their power falls by a power of the frequency.
    """
    size = crop.shape[-1]
    margin = round(_MARGIN * size)
    wide = F.pad(crop[None], (margin,) * 4, mode="reflect")[0]
    side = wide.shape[-1]
    down = torch.fft.fftfreq(side, 1 / size, device=crop.device)  # in cycles a crop
    right = torch.fft.rfftfreq(side, 1 / size, device=crop.device)
    radius = torch.hypot(down[:, None], right)
    spectrum = torch.fft.rfft2(wide)
    mean = spectrum.mean(0)
    power = mean.real.square() + mean.imag.square() + 1e-9
    level, fall = _law(power, radius, screen.dots)
    lawful = (level + fall * radius.clamp(min=1).log()).exp()
    passed = (lawful / detail.blur(power[None, None], *_MEAN)[0, 0]).sqrt_().clamp_(max=1)
    low, high = _BEGINS
    share = ((radius / screen.dots - low) / (high - low)).clamp_(0, 1)
    result = torch.fft.irfft2(spectrum * (1 - share * (1 - passed)), s=(side, side))
    return result[..., margin : margin + size, margin : margin + size].clamp(0, 1)


def _law(power: Tensor, radius: Tensor, dots: float) -> tuple[float, float]:
    """The law of a spectrum's power below the frequency of the dots, as a logarithm: its level at a
    radius of 1, and by what power it falls."""
    least, share = _LAW
    ring = (radius > least) & (radius < share * dots)
    # Each octave counts alike, though the outer ones have more bins.
    weight = radius[ring].square().reciprocal()
    at, height = radius[ring].log(), power[ring].log()
    middle, high = ((weight * each).sum() / weight.sum() for each in (at, height))
    slope = (weight * (at - middle) * (height - high)).sum() / (
        weight * (at - middle).square()
    ).sum()
    fall = min(float(slope), _FALL)
    return float(high) - fall * float(middle), fall
