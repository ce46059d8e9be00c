"""Deblur: take back straight motion and lens blur as far as they only weakened what was there.

A trail only weakens the frequencies of a picture, and by how much follows from its length and
direction. Divided by that, as far as noise allows, they come back: detail that was photographed,
not invented (Wiener 1949). DegradationEstimate says about how long the trail is; it is then
measured closer, for a trail that is taken a tenth too long already rings. Where the spectrum shows
no trail, since something else has happened to the picture afterwards, nothing is done.

Of a lens blur, whose spectrum has no such marks, only the width told is known, and what looks like
one may be a picture of few pixels that was enlarged, where a division brings up the pixels. So the
restorer, which errs in other places, is asked: the more what both add is alike, the more of the
detail comes from the division.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from . import detail
from .colour import luma
from .degradation_estimate import Degradation

#: Largest side at which crops are deblurred, and side at which trails are measured, px.
_LARGEST, _MEASURED = 512, 256

#: Share of the side that is mirrored around a crop, and fades there, so that its border does not
#: ring.
_MARGIN = 1 / 8

#: Noise over signal at a frequency of 1 per px of a 256 px crop: for an error in the trail, and for
#: each unit of the variance of noise in [0, 1]. Pictures lose power with the square of frequency.
_DOUBT, _NOISE = 1.0, 5e3

#: Length of trails, px of a 256 px crop, from which an error in it counts for more; and how much
#: louder than it was fitted noise counts, for after enlargement it lies in the low frequencies.
_LONG, _HEARD = 15.0, 2.0

#: Deviation of the noise that each step of JPEG quality below 100 counts as, in [0, 1].
_CODING = 0.1 / 255

#: Share of the width told by which a lens blur is taken back, for too much rings; the noise, in
#: [0, 1], above which a division brings up little else; and the share of the worst damage from
#: which a blur is about as bad.
_CAUTION, _LOUD, _ABOUT = 0.9, 0.03, 0.75

#: Side to which a crop is reduced to tell its tones, which are the restorer's, from its detail; the
#: octave, as the sides between which it lies, in which division and restorer are compared; the
#: correlations from which and at which the division counts; and the share of detail it then has.
_TONES, _COMPARED, _ALIKE, _MOST = 32, (128, 64), (0.3, 0.65), 0.8

#: Probability of few pixels from which a blur may be a picture that was enlarged.
_ENLARGED = 0.3

#: Mean step from pixel to pixel of a 256 px crop below which it counts as flat, and taps and
#: deviation of the window over which it is taken.
_STEP, _NEAR = 0.012, (13, 3.0)

#: Width of a trail, as the deviation of a Gaussian, px.
_WIDTH = 0.5

#: How far around the length and the angle told a trail is looked for, as factors and in degrees:
#: those of faces that were enlarged are told short, down to half, and half of a trail resembles it.
#: Lengths and angles of the first round, and of the second within one step of the first.
_LENGTHS, _TURNED, _ROUNDS = (0.74, 1.9), 14.0, ((25, 9), (5, 5))

#: Deviations of the lens blurs, px, that a trail is held against; and by how much more likely it
#: has to be than the likeliest of them, as a logarithm for each frequency.
_LENSES, _EVIDENT = torch.cat([torch.zeros(1), torch.linspace(0.3, 6, 20)])[:, None], 0.03

#: Frequencies that tell of a trail, per px, the power by which the pictures' own power falls, and
#: the least deviation of noise.
_BAND, _FALL, _ROUNDING = (0.02, 0.45), 2.2, 0.4 / 255

#: Fewest frequencies that can show a trail; a face of some 30 px has fewer.
_FEWEST = 300

#: How often the strengths of the picture and of its noise are fitted.
_FITS = 5


@dataclass(frozen=True)
class Trail:
    """Straight motion in a crop: its length, px of the crop, 0 for none, and angle, degrees as
    Finding.angle. sigma: of the lens blur beside it, px. noise: deviation of what lies over both,
    in [0, 1]."""

    length: float
    angle: float
    sigma: float = 0.0
    noise: float = 0.0


def trail(crop: Tensor, degradation: Degradation, native: float | None = None) -> Trail | None:
    """The straight motion that findings tell of, measured, if the crop's spectrum shows it.

    Args:
        crop: (3, S, S) in [0, 1]. degradation: what was found in it.
        native: side of the crop in px of the picture it was cut from, if that is known.

    Source: Whittle, "Estimation and information in stationary time series", 1953: the likelihood of
    a periodogram, here of a power law seen through the trail, with noise over it.
    """
    motion, blur = degradation.finding("motion"), degradation.finding("blur")
    if not motion.present or motion.angle is None:
        return None
    factor = _MEASURED / crop.shape[-1]
    spectrum = _Spectrum(crop, max(_noise(degradation), _ROUNDING), native)
    if spectrum.power.numel() < _FEWEST:
        return None
    start = motion.strength * factor, motion.angle
    # A trail is often told as a blur besides.
    sigmas = {0.0, blur.strength * factor if blur.present else 0.0}
    cost, sigma, length, angle = min(_likeliest(spectrum, *start, sigma) for sigma in sigmas)
    lenses, _ = spectrum.cost(_lens(_LENSES.to(crop.device), *spectrum.at))
    if float(lenses.min()) - cost < _EVIDENT * spectrum.power.numel():
        return None
    reach = torch.tensor([[length]], device=crop.device)
    _, floor = spectrum.cost(_passed(sigma, reach, angle, *spectrum.at))
    return Trail(length / factor, angle % 180, sigma / factor, _HEARD * float(floor) ** 0.5)


def _likeliest(
    spectrum: _Spectrum, length: float, angle: float, sigma: float
) -> tuple[float, float, float, float]:
    """Cost, sigma, length and angle of the likeliest trail around a length, px of 256, and angle,
    with a lens blur of deviation sigma."""
    cost, (shorter, longer), turned = math.inf, map(math.log, _LENGTHS), _TURNED
    for many, ways in _ROUNDS:
        lengths = torch.linspace(shorter, longer, many, device=spectrum.power.device).exp()
        lengths = length * lengths[:, None]
        angles = [angle + offset for offset in torch.linspace(-turned, turned, ways).tolist()]
        costs = torch.stack(
            [spectrum.cost(_passed(sigma, lengths, one, *spectrum.at))[0] for one in angles]
        )
        row, column = divmod(int(costs.argmin()), many)
        cost, length, angle = float(costs.min()), float(lengths[column]), angles[row]
        step = (longer - shorter) / (many - 1)
        shorter, longer, turned = -step, step, turned * 2 / (ways - 1)
    return cost, sigma, length, angle


def lens(degradation: Degradation) -> Trail | None:
    """The lens blur that findings tell of, where it is about the worst and little noise is."""
    blur, loud = degradation.finding("blur"), _noise(degradation)
    worst = max((one.severity for one in degradation.found()), default=0.0)
    if not blur.present or blur.severity < _ABOUT * worst or loud > _LOUD:
        return None
    return Trail(0.0, 0.0, _CAUTION * blur.strength, loud)


def certain(degradation: Degradation) -> bool:
    """Whether a face is surely blurred and not enlarged, so that a restorer may see it divided."""
    return degradation.finding("resolution").probability < _ENLARGED


def shared(before: Tensor, restored: Tensor, divided: Tensor, after: Tensor) -> Tensor:
    """(3, S, S) with the tones of `restored` and the detail of both it and `after`, `divided` or
    what a restorer made of it, as far as division and restorer agree on what `before` lacks."""
    one, other = (_octave(each - before) for each in (restored, divided))
    alike = F.cosine_similarity(one.flatten(), other.flatten(), 0)
    low, high = _ALIKE
    share = _MOST * ((alike - low) / (high - low)).clamp(0, 1)
    more = (after - restored)[None]
    tones = detail.scale(detail.scale(more, _TONES), more.shape[-1])
    return restored.add(share * (more - tones)[0]).clamp_(0, 1)


def _octave(change: Tensor) -> Tensor:
    """What a change (3, S, S) has in the octave _COMPARED."""
    fine, coarse = _COMPARED
    change = detail.scale(change[None], fine)
    return change - detail.scale(detail.scale(change, coarse), fine)


def _noise(degradation: Degradation) -> float:
    """Deviation of noise and of what coding left, in [0, 1]."""
    noise, coding = degradation.finding("noise"), degradation.finding("jpeg")
    loud = noise.strength / 255 if noise.present else 0.0
    return math.hypot(loud, (100 - coding.strength) * _CODING if coding.present else 0.0)


def deblur(crop: Tensor, trail: Trail) -> Tensor:
    """(3, S, S) in [0, 1] with a trail taken back as far as its noise allows."""
    size = crop.shape[-1]
    side = min(size, _LARGEST)
    before = detail.scale(crop[None], side)
    factor, margin = side / size, max(int(side * _MARGIN), 1)
    wide = F.pad(before, (margin,) * 4, mode="reflect")
    down, across = _frequencies(wide.shape[-1], crop.device)
    passed = _passed(trail.sigma * factor, trail.length * factor, trail.angle, down, across)
    long = max(trail.length * _MEASURED / size / _LONG, 1.0)
    doubt = _DOUBT * (long * side / _MEASURED) ** 2 + _NOISE * trail.noise**2
    gain = passed / (passed.square() + doubt * (down.square() + across.square()))
    waves = torch.fft.rfft2(_faded(wide, passed, margin))
    clear = torch.fft.irfft2(waves * gain, s=wide.shape[-2:])
    clear = torch.lerp(before, clear[..., margin:-margin, margin:-margin], _uneven(before))
    return detail.return_to_size(crop[None], before, clear)[0].clamp(0, 1)


def _faded(wide: Tensor, passed: Tensor, margin: int) -> Tensor:
    """A crop in its mirrored margin (1, 3, s, s), blurred once more the further out.

    What is mirrored moved another way, and a picture that does not go on over its border is none
    that can have been blurred so: divided, both would ring far into the crop (edge tapering).
    """
    blurred = torch.fft.irfft2(torch.fft.rfft2(wide) * passed, s=wide.shape[-2:])
    rise = torch.arange(1, margin + 1, device=wide.device) / (margin + 1)
    rise = rise.square() * (3 - 2 * rise)
    kept = torch.cat([rise, rise.new_ones(wide.shape[-1] - 2 * margin), rise.flip(0)])
    return torch.lerp(blurred, wide, kept[:, None] * kept)


def _uneven(picture: Tensor) -> Tensor:
    """(1, 1, s, s) in [0, 1], 0 where a picture (1, 3, s, s) is so flat that nothing was blurred
    there and what a division adds is the ringing of edges far away."""
    grey = F.pad(detail.grey(picture), (0, 1, 0, 1), mode="replicate")
    steps = (grey[..., 1:, :-1] - grey[..., :-1, :-1]).abs_()
    steps += (grey[..., :-1, 1:] - grey[..., :-1, :-1]).abs_()
    per_px = picture.shape[-1] / _MEASURED
    return (detail.blur(steps, *_NEAR) * (per_px / _STEP)).clamp_(max=1)


class _Spectrum:
    """The power of a crop (3, S, S) by frequency, against what models of it say.

    at: the frequencies (M,) downwards and across, per px of 256. power: (M,).
    """

    def __init__(self, crop: Tensor, noise: float, native: float | None):
        side = _MEASURED
        grey = luma(detail.scale(crop[None], side))[0, 0]
        fade = torch.hann_window(side, periodic=False, device=crop.device)
        fade = fade[:, None] * fade
        fade = fade / fade.square().mean().sqrt()
        grey = (grey - (grey * fade).sum() / fade.sum()) * fade
        down, across = _frequencies(side, crop.device)
        radius = torch.hypot(down, across)
        # A crop that was enlarged holds no higher frequencies, moved or not.
        own = min(crop.shape[-1] / side, (native or side) / side, 1.0)
        told = (radius > _BAND[0]) & (radius < _BAND[1] * own)
        self.power = (torch.fft.rfft2(grey).abs().square() / side**2)[told]
        self.at = down.expand_as(told)[told], across.expand_as(told)[told]
        self._own = radius[told] ** -_FALL
        self._floor = noise**2

    def cost(self, passed: Tensor) -> tuple[Tensor, Tensor]:
        """(K,) negative logarithms of the likelihood of what `passed` (K, M) makes of a picture of
        unknown strength under unknown noise, and (K,) variances of the noise that fits best."""
        seen = self._own * passed.square()
        strength = (self.power / (seen + 1e-9)).median(1, keepdim=True).values
        floor = torch.full_like(strength, self._floor)
        for _ in range(_FITS):
            share = 1 / (strength * seen + floor)
            excess = self.power * share.square()
            strength = strength * (excess * seen).sum(1, keepdim=True)
            strength /= (share * seen).sum(1, keepdim=True)
            floor *= excess.sum(1, keepdim=True) / share.sum(1, keepdim=True)
            floor.clamp_(min=_ROUNDING**2)
        model = strength * seen + floor
        return (model.log() + self.power / model).sum(1), floor[:, 0]


def _frequencies(side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Those of rfft2, per px: (side, 1) downwards and (1, side / 2 + 1) across."""
    down = torch.fft.fftfreq(side, device=device)[:, None]
    return down, torch.fft.rfftfreq(side, device=device)[None]


def _lens(sigma: Tensor | float, down: Tensor, across: Tensor) -> Tensor:
    """How much of each frequency a lens blur of that deviation lets through."""
    return torch.exp(-2 * math.pi**2 * sigma**2 * (down.square() + across.square()))


def _passed(
    sigma: float, length: Tensor | float, angle: float, down: Tensor, across: Tensor
) -> Tensor:
    """The same of a trail and a lens blur."""
    turned = math.radians(angle)
    along = across * math.cos(turned) + down * math.sin(turned)
    return torch.sinc(length * along) * _lens(math.hypot(sigma, _WIDTH), down, across)
