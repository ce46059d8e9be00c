"""kintsugi-restorer: a small blind face restorer for 256 px crops, real time on a CPU.

A U-Net of plain residual blocks between a 4x4 pixel-unshuffle and its inverse (as in ESPCN, Shi et
al., 2016): all work is done on 64 x 64 and smaller grids, where dense 3x3 convolutions are fast on
a CPU. It predicts what to add to the input. Every block is modulated by the fidelity asked for
(FiLM, Perez et al., 2018), so one network covers the trade-off between closeness and detail.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .architecture import Architecture, StateDict

#: Pixels of the crop per cell of the finest grid.
SHUFFLE = 4

#: Features of the fidelity that modulate the blocks.
CONDITION = 32


class Block(nn.Module):
    """Two convolutions around a shortcut, modulated between them."""

    def __init__(self, width: int):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.film = nn.Linear(CONDITION, 2 * width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        gain, shift = self.film(condition)[..., None, None].chunk(2, 1)
        return x + self.second(F.silu(self.first(x) * (1 + gain) + shift))


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
        self.condition = nn.Linear(1, CONDITION)
        self.stem = nn.Conv2d(pixels, widths[0], 3, padding=1)
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
        condition = F.silu(self.condition(fidelity.expand(image.shape[0])[:, None] * 2 - 1))
        x = self.stem(F.pixel_unshuffle(image, SHUFFLE))
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
        return image + F.pixel_shuffle(self.out(x), SHUFFLE)


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
    keys=("condition.weight", "stem.weight", "encoder.0.0.film.weight", "down.0.weight"),
    construct=_construct,
    convert=_widen,
)
