"""kintsugi-restorer: a small blind face restorer for 256 px crops, real time on a CPU.

A U-Net of residual blocks between a 4x4 cosine transform and its inverse: all work is done on
64 x 64 and smaller grids, where dense 3x3 convolutions are fast, and the transform, scaled to the
spectrum of faces, gives the network inputs and outputs of like size and without correlation, which
is what makes it learn in an hour on one core. It predicts what to add to the input: new detail, and
a gain for each frequency of each cell, as a Wiener filter has. The energy of the frequencies, near
each cell and over the whole face, says how much noise and blur there is. Blocks are
normalised as in NAFNet (Chen et al., 2022) and modulated by the fidelity asked for (FiLM, Perez et
al., 2018), so that one network covers the trade-off between closeness and detail.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .architecture import Architecture, StateDict

#: Pixels of the crop per cell of the finest grid.
SHUFFLE = 4

#: Deviation of brightness and of two opponent colours in 4x4 cells of damaged faces in [-1, 1]: of
#: the mean, of frequency 1 and the power by which it falls with frequency. Fitted to train/aligned.
FACES = ((2.9, 0.33, 2.0), (1.05, 0.07, 1.2), (0.3, 0.035, 0.7))

#: The same of the difference between the clean and the damaged face.
DIFFERENCE = ((0.6, 0.28, 1.3), (0.4, 0.065, 1.6), (0.2, 0.035, 1.3))

#: Cells along a side of the squares in which a pattern of their period is looked for.
GRID = 8

#: Features of the fidelity that modulate the blocks.
CONDITION = 32


def cosine(size: int) -> Tensor:
    """(size, size) orthonormal DCT-II, one frequency a row."""
    place = torch.arange(size, dtype=torch.float64)
    rows = (torch.pi * (2 * place + 1) * place[:, None] / (2 * size)).cos() * (2 / size) ** 0.5
    rows[0] /= 2**0.5
    return rows


def spectrum() -> tuple[Tensor, Tensor]:
    """Transform to and from the channels the network works on, (48, 48, 1, 1) each.

    From red, green and blue to brightness and two opponent colours, and from 4 x 4 cells to their
    frequencies, divided by the deviation that frequency has in damaged faces; back with the
    deviation it has in the difference that is to be predicted (both fitted to the training faces).
    """
    basis = torch.kron(cosine(3), torch.kron(cosine(SHUFFLE), cosine(SHUFFLE)))
    analysis = basis / _deviations(FACES)[:, None]
    synthesis = basis.T * _deviations(DIFFERENCE)
    return analysis.float()[..., None, None], synthesis.float()[..., None, None]


def _deviations(fits: tuple[tuple[float, float, float], ...]) -> Tensor:
    place = torch.arange(SHUFFLE, dtype=torch.float64)
    frequency = (place[:, None] ** 2 + place**2).sqrt().flatten()
    return torch.cat(
        [
            torch.where(frequency > 0, first * frequency.clamp(min=1) ** -fall, mean)
            for mean, first, fall in fits
        ]
    )


def energy(cells: Tensor) -> Tensor:
    """How loud each frequency is around each cell, as the logarithm of its deviation, about -3..1.

    Noise, blur and JPEG write themselves into these. A net without them first has to find out that
    it should smooth some faces and sharpen others, between which doing nothing is a long plateau.
    """
    power = F.avg_pool2d(cells.square(), 5, 1, 2, count_include_pad=False)
    return (power + 1e-3).log() / 2 + 0.5


def without_grid(change: Tensor) -> Tensor:
    """(N, 3, S, S) without what recurs from cell to cell: no face has a pattern of their period.

    Of what is finer than a cell, the mean of each of its places over GRID x GRID cells goes.
    """
    wide = F.pad(change, (2, 2, 2, 2), mode="replicate")
    rows = wide[..., 1:-3, :] + wide[..., 2:-2, :] + wide[..., 3:-1, :]
    rows = rows.add_(wide[..., :-4, :], alpha=0.5).add_(wide[..., 4:, :], alpha=0.5)
    coarse = rows[..., 1:-3] + rows[..., 2:-2] + rows[..., 3:-1]
    coarse = coarse.add_(rows[..., :-4], alpha=0.5).add_(rows[..., 4:], alpha=0.5)
    fine = F.pixel_unshuffle(change.sub(coarse, alpha=1 / SHUFFLE**2), SHUFFLE)
    side = max(fine.shape[-1] // GRID, 1)
    mean = F.interpolate(F.adaptive_avg_pool2d(fine, side), fine.shape[-2:], mode="bilinear")
    return change - F.pixel_shuffle(mean, SHUFFLE)


class Block(nn.Module):
    """Two convolutions around a shortcut, modulated between them."""

    def __init__(self, width: int):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.film = nn.Linear(CONDITION, 2 * width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        gain, shift = self.film(condition)[..., None, None].chunk(2, 1)
        # Channels last: the permutations are views and the norm runs along memory.
        calm = F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2]).permute(0, 3, 1, 2)
        return x + self.second(F.silu(self.first(calm) * (1 + gain) + shift))


class Restorer(nn.Module):
    """What to add to a damaged face.

    Args:
        widths: channels of the grids, finest first; each grid has half the side of the one before.
        blocks: residual blocks of each grid on the way down; the way up has as many, the coarsest
            grid only those.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (48, 80, 128, 136),
        blocks: tuple[int, ...] = (1, 1, 1, 2),
    ):
        super().__init__()
        pixels = 3 * SHUFFLE**2
        steps = list(zip(widths, widths[1:], strict=False))
        analysis, synthesis = spectrum()
        self.register_buffer("analysis", analysis)
        self.register_buffer("synthesis", synthesis)
        self.condition = nn.Sequential(
            nn.Linear(1 + 2 * pixels, 2 * CONDITION),
            nn.SiLU(),
            nn.Linear(2 * CONDITION, CONDITION),
            nn.SiLU(),
        )
        self.stem = nn.Conv2d(pixels, widths[0], 3, padding=1)
        self.loudness = nn.Conv2d(pixels, widths[0], 1)
        self.mood = nn.Linear(CONDITION, widths[0])
        self.encoder = nn.ModuleList(
            nn.ModuleList(Block(width) for _ in range(count))
            for width, count in zip(widths, blocks, strict=True)
        )
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 2, 2) for fine, coarse in steps)
        self.up = nn.ModuleList(nn.Conv2d(coarse, 4 * fine, 1) for fine, coarse in steps)
        self.decoder = nn.ModuleList(
            nn.ModuleList(Block(width) for _ in range(count))
            for width, count in zip(widths[:-1], blocks[:-1], strict=True)
        )
        self.out = nn.Conv2d(widths[0], pixels, 3, padding=1)
        self.gate = nn.Conv2d(widths[0], pixels, 1)

    def forward(self, image: Tensor, fidelity: float | Tensor = 0.5) -> Tensor:
        """Restore aligned faces.

        Args:
            image: (N, 3, 256, 256) RGB in [-1, 1], FFHQ template; other sides that are multiples of
                32 work, less well.
            fidelity: 0 (most detail) to 1 (closest), a number or (N,).

        Returns:
            (N, 3, 256, 256), not clamped.
        """
        fidelity = torch.as_tensor(fidelity, dtype=image.dtype, device=image.device)
        fidelity = fidelity.expand(image.shape[0])[:, None] * 2 - 1
        cells = F.conv2d(F.pixel_unshuffle(image, SHUFFLE), self.analysis)  # (N, 48, 64, 64)
        loud = energy(cells)
        overall = [loud.mean((2, 3)), loud.std((2, 3))]
        condition = self.condition(torch.cat([fidelity, *overall], 1))  # (N, 32)
        x = self.stem(cells) + self.loudness(loud) + self.mood(condition)[..., None, None]
        skips = []
        for level, blocks in enumerate(self.encoder):
            for block in blocks:
                x = block(x, condition)
            if level < len(self.down):
                skips.append(x)
                x = self.down[level](x)
        for up, blocks in zip(reversed(self.up), reversed(self.decoder), strict=True):
            x = F.pixel_shuffle(up(x), 2) + skips.pop()
            for block in blocks:
                x = block(x, condition)
        change = self.out(x) + self.gate(x) * cells
        return image + without_grid(F.pixel_shuffle(F.conv2d(change, self.synthesis), SHUFFLE))


def _construct(state: StateDict) -> Restorer:
    levels = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("down."))
    widths = [state["stem.weight"].shape[0]]
    widths += [state[f"down.{level}.weight"].shape[0] for level in range(levels)]
    blocks = [
        len({key.split(".")[2] for key in state if key.startswith(f"encoder.{level}.")})
        for level in range(levels + 1)
    ]
    return Restorer(tuple(widths), tuple(blocks))


def _widen(state: StateDict) -> StateDict:
    """The file stores half precision to be small; the network runs in single."""
    return {name: value.float() for name, value in state.items()}


ARCHITECTURE = Architecture(
    name="kintsugi-restorer",
    keys=(
        "analysis",
        "stem.weight",
        "gate.weight",
        "encoder.0.0.film.weight",
        "down.0.weight",
    ),
    construct=_construct,
    convert=_widen,
)
