"""kintsugi-degradation: what is wrong with a face, how much, and where.

Two paths and a head that reads both. The statistics of the picture in its own pixels
(damage_signs.py) tell noise, coding, blur and scale, whose pixels must not be resampled before they
are measured. A small U-Net (degradation_picture.py) sees the whole face at 256 px and draws what is
missing and where the damage is. The head reads the statistics of the picture and those of its half
alike and weighs what it makes of either.

Everything is measured in pixels of the picture handed in. The side of the picture is told to the
head, since at 512 px a sharp face has less detail per pixel than at 256.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .architecture import Architecture, StateDict
from .damage_signs import LEVELS, SIZE, DamageSigns, sum_pairs
from .degradation_picture import Picture
from .restorer import SHUFFLE

#: Side at which the U-Net sees the face, px.
SIDE = 256

#: Pixels of the view by which a second look moves the face: half a cell of the U-Net.
STEP = SHUFFLE // 2

#: Sides that are measured as they are, px.
SIDES = (256, 512)

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
    scales = torch.tensor([scale or torch.nan for scale in SCALES.values()], device=strength.device)
    return torch.where(scales.isnan(), strength.exp(), strength * scales)


@dataclass(frozen=True)
class Reading:
    """What the network says; N pictures.

    present: (N, 12) logits. strength: (N, 12), in the network's units. direction: (N, 2) cosine and
    sine of twice the angle. shot, grain, face: (N,) logit, logarithm of px, logit.
    missing: (N, 1, S, S) logits, S 512 for pictures of 512 px, else 256.
    where: (N, 1, 32, 32) logits.
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
    gain = 2.0
    if image.shape[-1] == 2 * SIDE:
        image, gain = sum_pairs(image), 0.5
    elif image.shape[-1] != SIDE:
        image = F.interpolate(image, (SIDE, SIDE), mode="area")
    return image.new_full((), -1.0).add(image, alpha=gain)


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
        # Added to the logits of what is missing, so that those above 0 overlap best with it.
        self.register_buffer("edge", torch.zeros(1))
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
        self.weigh = nn.Linear(LEVELS * width, width // 2)
        self.out = nn.Linear(LEVELS * width + width // 2, 2 * KINDS + EXTRAS)

    def forward(self, image: Tensor) -> Reading:
        """Measure.

        Args:
            image: (N, 3, S, S) RGB in [0, 1], FFHQ template, S from 256 to 512.
        """
        side = image.shape[-1]
        zoom = image.new_full((len(image),), math.log2(side / SIDE))
        return self.judge(view(image), self.signs(image), zoom, image if side == 2 * SIDE else None)

    def judge(
        self, view: Tensor, signs: Tensor, zoom: Tensor, image: Tensor | None = None
    ) -> Reading:
        """From the view (N, 3, 256, 256) in [-1, 1], the statistics and log2(S / 256) (N,); what is
        missing is drawn on the view, or on the `image` in [0, 1] if there is one."""
        features, missing, where = self.picture(view, image)
        *figures, level = self.figures(features, signs, zoom)
        return Reading(*figures, missing.add_(self.edge), where + level.view(-1, 1, 1, 1))

    def again(self, image: Tensor) -> Tensor:
        """What is missing, as Reading has it, on a second look at the pictures: mirrored and moved
        by half a cell. Cells lie elsewhere on them, so the mean of both looks errs less."""
        finer = None
        if image.shape[-1] == 2 * SIDE:
            finer = _aside(image, 2 * STEP)
        _, missing, _ = self.picture(_aside(view(image), STEP), finer)
        return _back(missing, STEP if finer is None else 2 * STEP).add_(self.edge)

    def figures(self, features: Tensor, signs: Tensor, zoom: Tensor) -> tuple[Tensor, ...]:
        """The head, from the U-Net's features and the statistics: a Reading without the maps, and
        the level of the heat map."""
        signs = ((signs - self.mean) / self.deviation).clamp(-6, 6)
        code = self.read(self.condense(signs))  # (N, LEVELS, code)
        seen = self.norm(features)[:, None].expand(-1, LEVELS, -1)
        zoom = zoom[:, None] - torch.arange(LEVELS, device=zoom.device)
        x = torch.cat([code, seen, zoom[..., None]], 2)
        x = F.silu(self.first(x))
        x = (x + F.silu(self.second(x))).flatten(1)
        x = torch.cat([x, F.silu(self.weigh(x))], 1)
        present, strength, extras = self.out(x).split((KINDS, KINDS, EXTRAS), 1)
        present = present * self.slope + self.shift
        return present, strength, extras[:, :2], *extras[:, 2:].unbind(1)


def _aside(pictures: Tensor, step: int) -> Tensor:
    """Pictures (N, C, S, S) mirrored, then moved right and down by `step` px; the edge goes on."""
    edged = F.pad(pictures.flip(-1), (step, 0, step, 0), mode="replicate")
    return edged[..., :-step, :-step].contiguous()


def _back(pictures: Tensor, step: int) -> Tensor:
    """The inverse of _aside, but for the `step` px that it moved out."""
    return F.pad(pictures[..., step:, step:], (0, step, 0, step), mode="replicate").flip(-1)


def _construct(state: StateDict) -> Degradation:
    return Degradation(state["condense.weight"].shape[0], state["first.weight"].shape[0])


def _widen(state: StateDict) -> StateDict:
    """The file stores half precision to be small, and bytes with a step for each row of the largest
    matrix; the network runs in single, and its convolutions with the channels last."""
    state = dict(state)
    state["condense.weight"] = state["condense.weight"] * state.pop("condense.step", 1)
    last = {True: torch.channels_last, False: torch.contiguous_format}
    return {
        name: value.float().contiguous(memory_format=last[value.ndim == 4])
        for name, value in state.items()
    }


ARCHITECTURE = Architecture(
    name="kintsugi-degradation",
    keys=("picture.stem.weight", "picture.place", "condense.weight", "slope"),
    construct=_construct,
    convert=_widen,
)
