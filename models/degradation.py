"""kintsugi-degradation: what is wrong with a face, how much, and where.

Two paths and a head that reads both. The statistics of the picture in its own pixels
(damage_signs.py) tell noise, coding, blur and scale, whose pixels must not be resampled before they
are measured. A small U-Net sees the whole face at 256 px, through the cosine transform and the
energies of kintsugi-restorer, and draws what is missing and where the damage is.

Everything is measured in pixels of the picture handed in. The side of the picture is told to the
head, since at 512 px a sharp face has less detail per pixel than at 256.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .architecture import Architecture, StateDict
from .damage_signs import SIZE, DamageSigns
from .restorer import SHUFFLE, spectrum

#: Side at which the U-Net sees the face, px.
SIDE = 256

#: Sides that are measured as they are, px.
SIDES = (256, 512)

#: Which frequencies of the cosine transform the stem starts from: the lowest of brightness, and the
#: mean and the two lowest of either opponent colour.
START = (0, 1, 2, 3, 4, 5, 6, 8, 9, 12, 16, 17, 20, 32, 33, 36)

#: Kinds of damage, as in stages/degradation_estimate.py, and how the network writes their
#: strengths: as logarithms, or divided by this.
SCALES: dict[str, float | None] = {
    "blur": None,
    "motion": None,
    "resolution": None,
    "pixelation": None,
    "noise": None,
    "jpeg": 40.0,
    "missing": None,
    "fading": 0.3,
    "cast": 0.3,
    "grey": 0.4,
    "underexposure": 1.5,
    "overexposure": 1.0,
}

KINDS = len(SCALES)

#: Beside a presence and a strength for each kind: twice the angle of motion as cosine and sine,
#: shot noise, logarithm of the grain, face, and the level of the heat map.
EXTRAS = 6


def to_network(strength: Tensor) -> Tensor:
    """Physical strengths (..., 12) as the network writes them; NaN stays."""
    scales = SCALES.values()
    parts = zip(strength.unbind(-1), scales, strict=True)
    return torch.stack([v.clamp(min=1e-4).log() if s is None else v / s for v, s in parts], -1)


def to_units(strength: Tensor) -> Tensor:
    """What the network writes (..., 12) in physical units, the inverse of to_network."""
    parts = zip(strength.unbind(-1), SCALES.values(), strict=True)
    return torch.stack([v.exp() if s is None else v * s for v, s in parts], -1)


@dataclass(frozen=True)
class Reading:
    """What the network says; N pictures.

    present: (N, 12) logits. strength: (N, 12), in the network's units. direction: (N, 2) cosine and
    sine of twice the angle. shot, grain, face: (N,) logit, logarithm of px, logit.
    missing: (N, 1, 256, 256) logits. where: (N, 1, 32, 32) logits.
    """

    present: Tensor
    strength: Tensor
    direction: Tensor
    shot: Tensor
    grain: Tensor
    face: Tensor
    missing: Tensor
    where: Tensor


def view(image: Tensor) -> Tensor:
    """(N, 3, S, S) in [0, 1] as the U-Net sees it: (N, 3, 256, 256) in [-1, 1]."""
    side = image.shape[-1]
    if side % SIDE == 0:
        image = F.avg_pool2d(image, side // SIDE) if side > SIDE else image
    else:
        image = F.interpolate(image, (SIDE, SIDE), mode="area")
    return image * 2 - 1


class Block(nn.Module):
    """One 3 x 3 convolution around a shortcut."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.silu(self.conv(self.norm(x)))


class Picture(nn.Module):
    """The whole face at 256 px: features for the head, and the two maps."""

    def __init__(self, fine: int = 16, middle: int = 32, coarse: int = 48):
        super().__init__()
        self.stem = nn.Conv2d(3, fine, SHUFFLE, SHUFFLE)
        self.loudness = nn.Conv2d(fine, middle, 1)
        self.down = nn.Conv2d(fine, middle, 2, 2)
        self.near = Block(middle)
        self.deep = nn.Sequential(nn.Conv2d(middle, coarse, 2, 2), nn.SiLU(), Block(coarse))
        self.widen = nn.Conv2d(coarse, 4 * middle, 1)
        self.join = nn.Conv2d(middle, fine, 1)
        self.where = nn.Conv2d(fine, 1, 1)
        self.refine = nn.Conv2d(fine, 4 * fine, 1)
        self.skip = nn.Conv2d(fine, fine, 1)
        self.around = nn.Conv2d(fine, middle, 3, padding=1)
        self.missing = nn.Conv2d(middle, SHUFFLE**2 + 4, 1)
        self.size = 3 * middle + 2 * coarse
        with torch.no_grad():
            self.stem.weight.copy_(spectrum()[0][list(START)].view_as(self.stem.weight))

    def forward(self, view: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 3, 256, 256) RGB in [-1, 1] to features (N, size), missing and where as logits."""
        fine = self.stem(view)  # (N, 16, 64, 64)
        loud = (F.avg_pool2d(fine.square(), 2) + 1e-4).log() / 2 + 0.5  # (N, 16, 32, 32)
        near = self.near(F.silu(self.down(fine) + self.loudness(loud)))
        deep = self.deep(near)  # (N, coarse, 16, 16)
        mean = near.mean((2, 3))
        features = [mean, near.square().mean((2, 3)) - mean.square(), near.amax((2, 3))]
        features += [deep.mean((2, 3)), deep.amax((2, 3))]
        near = F.silu(self.join(near + F.pixel_shuffle(self.widen(deep), 2)))
        fine = F.silu(self.skip(fine) + F.pixel_shuffle(self.refine(near), 2))
        missing = self._mask(self.missing(F.silu(self.around(fine))), view)
        return torch.cat(features, 1), missing, self.where(near)

    def _mask(self, drawn: Tensor, view: Tensor) -> Tensor:
        """Logits of what is missing, from the 16 of each cell and a rule for its pixels.

        Thin scratches are finer than what a few channels can draw, but stand out by their colour:
        so each cell also says how much red, green, blue and the square of a pixel speak for it, as
        a local linear model does in a guided filter (He, Sun and Tang 2013).
        """
        places, *rule = drawn.split((SHUFFLE**2, 1, 1, 1, 1), 1)
        channels = F.pixel_unshuffle(view, SHUFFLE).split(SHUFFLE**2, 1)  # 3 of (N, 16, h, w)
        power = sum(channel.square() for channel in channels)
        for weight, values in zip(rule, (*channels, power), strict=True):
            places = torch.addcmul(places, weight, values)
        return F.pixel_shuffle(places, SHUFFLE)


class Degradation(nn.Module):
    """What is wrong with aligned faces.

    Args:
        code: numbers the statistics are condensed to. width: of the head.
    """

    def __init__(self, code: int = 128, width: int = 192):
        super().__init__()
        self.signs = DamageSigns()
        self.picture = Picture()
        self.register_buffer("mean", torch.zeros(SIZE))
        self.register_buffer("deviation", torch.ones(SIZE))
        # Calibration after training (Platt 1999): probability = sigmoid(slope * logit + shift).
        self.register_buffer("slope", torch.ones(KINDS))
        self.register_buffer("shift", torch.zeros(KINDS))
        self.condense = nn.Linear(SIZE, code)
        self.read = nn.Sequential(
            nn.LayerNorm(code),
            nn.SiLU(),
            nn.Linear(code, code),
            nn.SiLU(),
        )
        self.norm = nn.LayerNorm(self.picture.size)
        self.first = nn.Linear(code + self.picture.size + 1, width)
        self.second = nn.Linear(width, width)
        self.out = nn.Linear(width, 2 * KINDS + EXTRAS)

    def forward(self, image: Tensor) -> Reading:
        """Measure.

        Args:
            image: (N, 3, S, S) RGB in [0, 1], FFHQ template, S from 256 to 512.
        """
        side = image.shape[-1]
        zoom = torch.full((len(image),), side / SIDE, dtype=image.dtype, device=image.device).log2()
        return self.judge(view(image), self.signs(image), zoom)

    def judge(self, view: Tensor, signs: Tensor, zoom: Tensor) -> Reading:
        """From the view (N, 3, 256, 256) in [-1, 1], the statistics and log2(S / 256) (N,)."""
        features, missing, where = self.picture(view)
        *figures, level = self.figures(features, signs, zoom)
        return Reading(*figures, missing, where + level.view(-1, 1, 1, 1))

    def figures(self, features: Tensor, signs: Tensor, zoom: Tensor) -> tuple[Tensor, ...]:
        """The head, from the U-Net's features and the statistics: a Reading without the maps, and
        the level of the heat map."""
        signs = ((signs - self.mean) / self.deviation).clamp(-6, 6)
        code = self.read(self.condense(signs))
        x = torch.cat([code, self.norm(features), zoom[:, None]], 1)
        x = F.silu(self.first(x))
        x = x + F.silu(self.second(x))
        present, strength, extras = self.out(x).split((KINDS, KINDS, EXTRAS), 1)
        present = present * self.slope + self.shift
        return present, strength, extras[:, :2], *extras[:, 2:].unbind(1)


def _construct(state: StateDict) -> Degradation:
    return Degradation(state["condense.weight"].shape[0], state["first.weight"].shape[0])


def _widen(state: StateDict) -> StateDict:
    """The file stores half precision to be small; the network runs in single."""
    return {name: value.float() for name, value in state.items()}


ARCHITECTURE = Architecture(
    name="kintsugi-degradation",
    keys=("picture.stem.weight", "condense.weight", "slope", "picture.around.weight"),
    construct=_construct,
    convert=_widen,
)
