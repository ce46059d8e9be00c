"""Signs that damage leaves in the statistics of a picture, in its own pixels: a fixed front end.

Nothing here is learned. Blur, noise, coding and enlargement each write themselves into a few
global statistics, which a small network then only has to read:

- the energy of each frequency of 8 x 8 cells, as power means: the arithmetic one sees edges, the
  geometric one texture, the harmonic one the noise floor and what a coder rounded to nothing;
- percentiles of the energy over the face, and over its dark and light parts (shot noise);
- averaged power spectra of 32 px windows at three scales (Welch 1967): cut-off, direction of
  motion, grain;
- the spectrum of the profile of curvature along rows and columns, in which mosaics and coder blocks
  of any size stand as combs; and its eight phases, for blocks that lie on the crop's own grid;
- percentiles of brightness and colour, the shares that are clipped, the colour of the dark and of
  the light parts, and a thumbnail, in which a colour cast is a shift of logarithms.

All but the colours is measured in the picture's own pixels and once more in half as many a side,
where what was enlarged, or blurred widely, looks as lesser damage does. Larger pictures are
measured at fewer places, so that 512 px cost little more than 256.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .restorer import cosine

#: Side of a cell of the frequencies, as JPEG has it, and of a window of the spectra, px.
CELL, WINDOW = 8, 32

#: Squares are added to this, in steps of 255 squared, before logarithms: rounding to bytes.
FLOOR = 0.2

#: Bands over which the energies of a cell are summed for their percentiles.
BANDS = 8

#: Bins of the comb spectra, from no to half a period per pixel.
COMB = 128

#: Positions in sorted values, 0..1.
SHARES = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.995)

#: Number of equal parts by brightness, for noise that is louder in the light and for tints.
LIGHTS = 8

#: Side of a picture of the face, whose skin tells a colour cast from a coloured wall.
THUMBNAIL = 16

#: Added to colours, in steps of 255, before logarithms.
BLACK = 4.0

#: How many sizes of pixels are measured, and how many numbers that makes of each: of frequencies,
#: combs, spectra and colours.
LEVELS = 2
SIZE = (
    3 * (CELL**2 - 1)
    + BANDS * len(SHARES)
    + 7 * LIGHTS
    + 2 * (CELL + COMB)
    + 6 * WINDOW * (WINDOW // 2 + 1)
    + 6 * (len(SHARES) + 3)
    + 3 * LIGHTS
    + 3 * THUMBNAIL**2
)

#: Rec. 601: brightness and the two opponent colours of JPEG.
YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def _log(power: Tensor) -> Tensor:
    return (power + FLOOR).log()


def _sorted(values: Tensor) -> Tensor:
    """Along the last dimension; NumPy's sort is ten times as fast on the CPU."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.sort(values.numpy(), -1))
    return values.sort(-1).values


def sum_pairs(pictures: Tensor) -> Tensor:
    """Sum of 2 x 2 pixels; a fifth of the time of avg_pool2d on the CPU."""
    rows = pictures[..., ::2, :] + pictures[..., 1::2, :]
    return rows[..., ::2] + rows[..., 1::2]


def halve(pictures: Tensor) -> Tensor:
    """Mean of 2 x 2 pixels."""
    return sum_pairs(pictures).mul_(0.25)


def _ratios(colours: Tensor) -> Tensor:
    """Red, green and blue (N, 3, M) as logarithms: of green, and of red and blue beside it."""
    red, green, blue = (colours + BLACK).log().unbind(1)
    return torch.stack([green - 4, 2 * (red - green), 2 * (blue - green)], 1).flatten(1)


def _percentiles(values: Tensor) -> Tensor:
    """(N, C, M) to (N, C * len(SHARES))."""
    count = values.shape[-1]
    places = [min(count - 1, int(share * count)) for share in SHARES]
    return _sorted(values)[..., places].flatten(1)


@functools.cache
@torch.inference_mode(False)  # kept for training too
def _rgb(device: torch.device) -> Tensor:
    """The way back from YCC."""
    return torch.tensor(YCC, device="cpu").inverse().to(device)


@functools.lru_cache(8)
@torch.inference_mode(False)  # kept for training too
def _averages(counts: tuple[int, ...], device: torch.device) -> Tensor:
    """A matrix that takes the mean of the first of `counts` rows, of the next, and so on."""
    rows = [torch.full((1, count), 1 / count, device="cpu") for count in counts]
    return torch.block_diag(*rows).to(device)


@functools.lru_cache(8)
@torch.inference_mode(False)  # kept for training too
def _ripples(count: int, device: torch.device) -> Tensor:
    """What is made of a profile of `count` values, as one matrix, for all of it is linear: the
    phases and the Fourier transform, real and imaginary, of what rises above its surroundings."""
    profile = F.pad(torch.eye(count, device="cpu")[None], (1, 1), "replicate")
    ripple = profile - F.avg_pool1d(F.pad(profile, (8, 8), "replicate"), 17, 1)
    phases = 3 * ripple.unflatten(2, (-1, CELL)).mean(2)
    found = torch.fft.rfft(ripple) / ripple.shape[2]
    return torch.cat([phases, found.real, found.imag], 2)[0].to(device)


class DamageSigns(nn.Module):
    """Pictures to vectors of SIZE numbers of about -10 to 15, one for each of LEVELS."""

    def __init__(self):
        super().__init__()
        basis = torch.kron(cosine(CELL), cosine(CELL))
        place = torch.arange(CELL)
        radius = (place[:, None].square() + place.square()).float().sqrt().flatten()
        band = (radius / radius.max() * BANDS).ceil().clamp(1, BANDS).long() - 1
        members = F.one_hot(band, BANDS).T.float()
        members[0, 0] = 0.0  # the mean is no energy
        fade = torch.hann_window(WINDOW, periodic=False)
        self.register_buffer("basis", basis.float())
        self.register_buffer("bands", members / members.sum(1, keepdim=True))
        fade = fade[:, None] * fade
        self.register_buffer("fade", fade / fade.square().sum().sqrt())
        self.register_buffer("ycc", torch.tensor(YCC))

    def forward(self, image: Tensor) -> Tensor:
        """Measure.

        Args:
            image: (N, 3, S, S) RGB in [0, 1], S at least 256; a remainder of S by 8 is left out.

        Returns:
            (N, LEVELS, SIZE): of the picture, and of its half. The colours are the same in both.
        """
        side = image.shape[-1] // CELL * CELL
        pixels = image[..., :side, :side]
        red, green, blue = (255 * weight for weight in YCC[0])
        light = (pixels[:, 0] * red).add_(pixels[:, 1], alpha=green).add_(pixels[:, 2], alpha=blue)
        scales = [light]
        while len(scales) < LEVELS + 2:
            scales.append(halve(scales[-1]))
        colours = self._colours(255 * pixels[..., :: side // 128, :: side // 128])
        spectra = self._spectra(scales)
        levels = []
        for level, light in enumerate(scales[:LEVELS]):
            side = light.shape[-1] // CELL * CELL
            light, apart = light[:, :side, :side].contiguous(), max(1, side // 256)
            parts = [*self._frequencies(light, apart), self._combs(light, apart), *colours]
            levels.append(torch.cat([*parts, spectra[:, level : level + 3].flatten(1)], 1))
        return torch.stack(levels, 1)

    def _frequencies(self, light: Tensor, apart: int) -> list[Tensor]:
        """Of every `apart`-th cell and row of cells."""
        count = light.shape[-1] // CELL
        cells = light.view(-1, count, CELL, count, CELL)[:, ::apart, :, ::apart].transpose(2, 3)
        cells = self.basis @ cells.reshape(len(light), -1, CELL**2).mT
        mean, power = cells[:, 0], cells[:, 1:].square()  # (N, cells), (N, 63, cells)
        bands = self.bands[:, 1:] @ power  # (N, BANDS, cells)
        power.add_(FLOOR)
        means = [power.mean(2).log(), power.log().mean(2), -power.reciprocal_().mean(2).log()]
        order = mean.argsort(1)
        count = order.shape[1] // LIGHTS
        order = order[:, : count * LIGHTS]
        fine = bands[:, -4:-1].gather(2, order[:, None].expand(-1, 3, -1))
        fine = _sorted(fine.unflatten(2, (LIGHTS, count)))
        floors = fine[..., [count // 8, count // 3]]
        brightness = mean.gather(1, order).view(-1, LIGHTS, count).mean(2) / 256
        sums = torch.cat([_percentiles(bands), floors.flatten(1)], 1)
        return [*means, _log(sums), brightness]

    def _combs(self, light: Tensor, apart: int) -> Tensor:
        """Phases and comb spectra of columns, then of rows, each averaged over every `apart`-th."""
        rows, columns = light[:, ::apart], light[..., ::apart].contiguous()
        across = (rows[..., 2:] + rows[..., :-2]).sub_(rows[..., 1:-1], alpha=2)
        down = (columns[:, 2:] + columns[:, :-2]).sub_(columns[:, 1:-1], alpha=2)
        profiles = [across.abs_().clamp_(max=24).mean(1), down.abs_().clamp_(max=24).mean(2)]
        profile = torch.stack(profiles, 1).add_(0.05).log_()  # (N, 2, S - 2)
        found = profile @ _ripples(profile.shape[2], light.device)
        bins = (found.shape[2] - CELL) // 2
        phases, real, imaginary = found.split((CELL, bins, bins), 2)
        comb = F.adaptive_max_pool1d(real.hypot(imaginary), COMB)
        return torch.cat([phases, comb.add_(1e-3).log_()], 2).flatten(1)

    def _spectra(self, scales: list[Tensor]) -> Tensor:
        """Logarithm of the mean power, and mean of its logarithm, of at most 8 x 8 windows in the
        middle of each of the scales (N, h, h): (N, scales, 2 * 544)."""
        counts = [min(light.shape[-1] // WINDOW, 8) for light in scales]
        squares = tuple(count**2 for count in counts)
        windows = scales[0].new_empty(len(scales[0]), sum(squares), WINDOW, WINDOW)
        for light, count, part in zip(scales, counts, windows.split(squares, 1), strict=True):
            edge = (light.shape[-1] - count * WINDOW) // 2
            middle = light[:, edge:, edge:][:, : count * WINDOW, : count * WINDOW]
            cut = middle.unflatten(2, (count, WINDOW)).unflatten(1, (count, WINDOW))
            part.unflatten(1, (count, count)).copy_(cut.transpose(2, 3))
        pixels = windows.flatten(2)
        pixels.sub_(pixels.mean(2, keepdim=True)).mul_(self.fade.flatten())
        found = torch.view_as_real(torch.fft.rfft2(windows).flatten(2)).square()
        power = (found[..., 0] + found[..., 1]).add_(FLOOR)
        averages = _averages(squares, windows.device)
        return torch.cat([(averages @ power).log_(), averages @ power.log_()], 2)

    def _colours(self, pixels: Tensor) -> list[Tensor]:
        """Of some pixels (N, 3, h, w) in steps of 255."""
        # Compared in place: ones and zeros that are numbers already, four times as fast.
        clipped = [pixels.clone().gt_(250).mean((2, 3)), pixels.clone().lt_(5).mean((2, 3))]
        ycc = (self.ycc @ pixels.flatten(2)).view_as(pixels)
        few = torch.cat([ycc[..., ::4, ::4], pixels[..., ::4, ::4]], 1).flatten(2)
        order = few[:, 0].argsort(1)
        count = order.shape[1] // LIGHTS
        order = order[:, None, : count * LIGHTS].expand(-1, 3, -1)
        tones = few[:, 3:].gather(2, order).view(len(few), 3, LIGHTS, count).mean(3)
        rough = []
        side = pixels.shape[-1] // 4 * 4
        ycc = ycc[..., :side, :side]
        for scale in range(3):
            if scale:
                ycc = halve(ycc)
            chroma = ycc[:, 1:]
            rough.append((chroma[..., 1:] - chroma[..., :-1]).square_().mean((2, 3)))
        thumbnail = _rgb(ycc.device) @ F.adaptive_avg_pool2d(ycc, THUMBNAIL).flatten(2)
        spread = few - few.mean(2, keepdim=True)
        spread = torch.linalg.vector_norm(spread, dim=2) / (few.shape[2] - 1) ** 0.5
        return [
            _percentiles(few) / 64,
            spread / 32,
            _log(torch.cat(rough, 1)),
            4 * torch.cat(clipped, 1),
            _ratios(tones),
            _ratios(thumbnail),
        ]
