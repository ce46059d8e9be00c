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
- percentiles of brightness and colour, the shares that are clipped, and a thumbnail.
"""

from __future__ import annotations

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
SHARES = (0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98)

#: Number of equal parts by brightness, for noise that is louder in the light.
LIGHTS = 8

#: Side of a picture of the face, whose skin tells a colour cast from a coloured wall.
THUMBNAIL = 8

#: How many numbers that makes: of frequencies, combs, spectra and colours.
SIZE = (
    3 * (CELL**2 - 1)
    + BANDS * len(SHARES)
    + 7 * LIGHTS
    + 2 * (CELL + COMB)
    + 6 * WINDOW * (WINDOW // 2 + 1)
    + 6 * (len(SHARES) + 3)
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


def _percentiles(values: Tensor) -> Tensor:
    """(N, C, M) to (N, C * len(SHARES))."""
    count = values.shape[-1]
    places = [min(count - 1, int(share * count)) for share in SHARES]
    return _sorted(values)[..., places].flatten(1)


class DamageSigns(nn.Module):
    """Pictures to vectors of SIZE numbers of about -10 to 15."""

    def __init__(self):
        super().__init__()
        basis = torch.kron(cosine(CELL), cosine(CELL))
        place = torch.arange(CELL)
        radius = (place[:, None].square() + place.square()).float().sqrt().flatten()
        band = (radius / radius.max() * BANDS).ceil().clamp(1, BANDS).long() - 1
        members = F.one_hot(band, BANDS).T.float()
        members[0, 0] = 0.0  # the mean is no energy
        fade = torch.hann_window(WINDOW, periodic=False)
        self.register_buffer("basis", basis.float().view(-1, 1, CELL, CELL))
        self.register_buffer("bands", members / members.sum(1, keepdim=True))
        self.register_buffer("fade", fade[:, None] * fade)
        self.register_buffer("ycc", torch.tensor(YCC))

    def forward(self, image: Tensor) -> Tensor:
        """Measure.

        Args:
            image: (N, 3, S, S) RGB in [0, 1], S at least 128; a remainder of S by 8 is left out.

        Returns:
            (N, SIZE).
        """
        side = image.shape[-1] // CELL * CELL
        pixels = image[..., :side, :side]
        light = (255 * self.ycc[:1] @ pixels.flatten(2)).view(-1, 1, side, side)
        parts = [*self._frequencies(light), *self._combs(light)]
        *colours, thumbnail = self._colours(255 * pixels[..., ::2, ::2])
        parts += colours
        for _ in range(3):
            parts.append(self._spectrum(light))
            light = F.avg_pool2d(light, 2)
        return torch.cat([*parts, thumbnail], 1)

    def _frequencies(self, light: Tensor) -> list[Tensor]:
        cells = F.conv2d(light, self.basis, stride=CELL).flatten(2)  # (N, 64, cells)
        power = cells[:, 1:].square()
        floored = power + FLOOR
        means = [floored.mean(2).log(), floored.log().mean(2), -floored.reciprocal().mean(2).log()]
        bands = self.bands[:, 1:] @ power  # (N, BANDS, cells)
        by_light = cells[:, 0].argsort(1)
        count = by_light.shape[1] // LIGHTS
        order = by_light[:, : count * LIGHTS, None].transpose(1, 2).expand(-1, 3, -1)
        fine = bands[:, -4:-1].gather(2, order).view(len(light), 3, LIGHTS, count)
        floors = _sorted(fine)[..., [count // 8, count // 3]]
        brightness = cells[:, 0].gather(1, order[:, 0]).view(-1, LIGHTS, count).mean(2) / 256
        return [*means, _log(_percentiles(bands)), _log(floors.flatten(1)), brightness]

    def _combs(self, light: Tensor) -> list[Tensor]:
        parts = []
        for picture in (light[:, 0], light[:, 0].transpose(1, 2)):
            bend = picture[..., 2:] + picture[..., :-2] - 2 * picture[..., 1:-1]
            profile = bend.abs().clamp(max=24).mean(1)  # (N, S - 2)
            profile = F.pad(profile, (1, 1), "replicate").add(0.05).log()
            smooth = F.avg_pool1d(F.pad(profile[:, None], (8, 8), "replicate"), 17, 1)[:, 0]
            ripple = profile - smooth
            phases = ripple.view(len(light), -1, CELL).mean(1)
            comb = torch.fft.rfft(ripple).abs()[:, None] / ripple.shape[1]
            comb = F.adaptive_max_pool1d(comb, COMB)[:, 0]
            parts += [3 * phases, (comb + 1e-3).log()]
        return parts

    def _spectrum(self, light: Tensor) -> Tensor:
        """Logarithm of the mean power, and mean of its logarithm, of at most 8 x 8 windows in the
        middle."""
        count = min(light.shape[-1] // WINDOW, 8)
        edge = (light.shape[-1] - count * WINDOW) // 2
        middle = light[:, 0, edge:, edge:][:, : count * WINDOW, : count * WINDOW]
        windows = middle.view(-1, count, WINDOW, count, WINDOW).transpose(2, 3)
        windows = windows - windows.mean((3, 4), keepdim=True)
        found = torch.fft.rfft2(windows * self.fade)
        power = (found.real.square() + found.imag.square()) / self.fade.square().sum()
        return torch.cat([_log(power.mean((1, 2))), _log(power).mean((1, 2))], 1).flatten(1)

    def _colours(self, pixels: Tensor) -> list[Tensor]:
        """Of every second pixel and row."""
        chroma = (self.ycc[1:] @ pixels.flatten(2)).view(-1, 2, *pixels.shape[2:])
        rough = []
        for _ in range(3):
            rough.append((chroma[..., 1:] - chroma[..., :-1]).square().mean((2, 3)))
            chroma = F.avg_pool2d(chroma, 2)
        step = pixels.shape[-1] // 32
        quarter = F.avg_pool2d(pixels, 2)
        few = quarter[..., :: step // 2, :: step // 2].flatten(2)
        few = torch.cat([self.ycc @ few, few], 1)
        thumbnail = self.ycc @ F.avg_pool2d(quarter, quarter.shape[-1] // THUMBNAIL).flatten(2)
        area = pixels.shape[-2] * pixels.shape[-1]
        clipped = [(pixels > 250).sum((2, 3)) / area, (pixels < 5).sum((2, 3)) / area]
        return [
            _percentiles(few) / 64,
            few.std(2) / 32,
            _log(torch.cat(rough, 1)),
            4 * torch.cat(clipped, 1),
            thumbnail.flatten(1) / 64,
        ]
