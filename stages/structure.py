"""Structure: does a restored face agree with its original in what the original does show?

However damaged, an original fixes the large forms and the colours. Original and result are compared
octave by octave at the sizes that survive heavy damage (16 px of 512 and longer), by the
correlation of their luma inside the face: it is blind to brightness and contrast, and the samples
that fit worst are left out, as a mended scratch or hole is honest work. Colours are compared at
1/16 of the crop's side. A logistic curve turns the figures into a probability; benchmarks/guard.py
fits it on people of the training split, honest results (restored, true, half way) against other
people's faces warped in.

Limits: it sees swaps, averages, moved features and wrong colours. A result that keeps the large
forms and makes up somebody else's detail passes; only an embedder or references can tell that.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from kornia.color import rgb_to_lab
from torch import Tensor

from . import octaves
from .batch import check_crops
from .detail import scale

#: Side at which structure is compared, and the octaves' shortest wavelengths there.
SIDE, WAVES = 128, (64, 128)

#: Share of the face's samples, those that fit worst, that a correlation leaves out.
TRIMMED = 0.1

#: Correlations nearer to 1 say nothing more.
_HIGHEST = 0.999

#: Side at which colours are compared.
_COLOURS = 32

#: Where skin lies in CIELAB's a and b: mean and covariance of the mean colour of the clean real
#: faces of the training split.
SKIN_MEAN = (15.0, 13.3)
SKIN_COVARIANCE = ((19.6, 21.4), (21.4, 42.7))

#: Deviations from SKIN_MEAN up to which a colour is a skin's.
_SKIN = 2.0

#: Chroma below which a face counts as grey; giving it colour is no shift.
_GREY = 5.0


@dataclass(frozen=True)
class Curve:
    """P = sigmoid(bias + sum of weights x figures)."""

    bias: float
    weights: tuple[float, ...]

    def __call__(self, figures: Tensor) -> Tensor:
        """(N,) probabilities of figures (N, K)."""
        weights = torch.tensor(self.weights, dtype=figures.dtype)
        return torch.sigmoid(self.bias + figures @ weights)


#: Over `forms` and `tones`; fitted by `python -m kintsugi.benchmarks.guard --fit`.
FORMS = Curve(-9.87, (1.492, 3.075))
TONES = Curve(3.928, (-0.182, -0.988, -0.152))


@dataclass(frozen=True, eq=False)
class Agreement:
    """How well results agree with their originals.

    forms: (N,) probability that the large forms are the same face's. tones: (N,) that the colours
    are. shift: (N,) px of 512 by which the eyes, the nose or the mouth moved at most, as far as the
    original tells. proportions: (N,) change of eye distance over eye-to-mouth distance, as a share.
    eye_colour: (N,) difference of the irises' a and b.
    """

    forms: Tensor
    tones: Tensor
    shift: Tensor
    proportions: Tensor
    eye_colour: Tensor

    @property
    def probability(self) -> Tensor:
        """(N,), the lower of forms and tones."""
        return torch.minimum(self.forms, self.tones)

    def sentence(self, face: int) -> str:
        """The figures of one face in words."""
        return (
            f"features moved by {float(self.shift[face]):.1f} px of 512, proportions by "
            f"{float(self.proportions[face]):.1%}, eye colour by {float(self.eye_colour[face]):.0f}"
        )


def agreement(before: Tensor, after: Tensor) -> Agreement:
    """Compare results with their originals.

    Args:
        before, after: (N, S, S, C) in [0, 1], FFHQ-aligned, any sizes, C of 1, 3 or 4.

    Raises:
        ValueError: wrong shapes, another number of crops before than after.
    """
    before, after = check_crops(before, "before").cpu(), check_crops(after, "after").cpu()
    if len(before) != len(after):
        raise ValueError(f"{len(before)} crops before and {len(after)} after; give one for each")
    if not len(after):
        return Agreement(*(torch.zeros(0) for _ in range(5)))
    old, new = (octaves.plane(crops, SIDE) for crops in (before, after))
    shift, proportions = moved(old, new)
    old_tones, new_tones = lab(before), lab(after)
    return Agreement(
        FORMS(forms(old, new)),
        TONES(tones(old_tones, new_tones)),
        shift,
        proportions,
        _eye_colour(old_tones, new_tones),
    )


def forms(old: Tensor, new: Tensor) -> Tensor:
    """(N, 2) figures of luma planes (N, 1, SIDE, SIDE): Fisher's z of the correlation over the face
    in each octave of WAVES. Finer ones say nothing against a person that these do not say: an
    honest restoration has less of them in common with its original than a swap may have."""
    pairs = list(zip(octaves.split(old), octaves.split(new), strict=True))
    lengths = (*octaves.wavelengths(SIDE), octaves.LONGEST)
    figures = []
    for wave in WAVES:
        figures.append(_correlation(*pairs[lengths.index(wave)]))
    return torch.stack(figures, 1).clamp(-_HIGHEST, _HIGHEST).atanh()


def _correlation(old: Tensor, new: Tensor) -> Tensor:
    """(N,) correlation of two bands over the face, without the samples that fit worst."""
    inside = octaves.region("face", old.shape[-1]).flatten() > 0.5
    old, new = old.flatten(1)[:, inside], new.flatten(1)[:, inside]
    weight = torch.ones_like(old)
    for _ in range(2):
        total = weight.sum(1, keepdim=True)
        x = old - (old * weight).sum(1, keepdim=True) / total
        y = new - (new * weight).sum(1, keepdim=True) / total
        xx, yy, xy = ((weight * p).sum(1, keepdim=True) for p in (x * x, y * y, x * y))
        rest = (y - xy / xx.clamp(min=1e-9) * x).abs()
        weight = (rest <= rest.quantile(1 - TRIMMED, dim=1, keepdim=True)).to(old)
    return (xy / (xx * yy).clamp(min=1e-12).sqrt())[:, 0]


def lab(crops: Tensor) -> Tensor:
    """(N, 3, 32, 32) CIELAB of crops."""
    picture = crops.permute(0, 3, 1, 2)[:, :3].float()
    picture = picture.expand(-1, 3, -1, -1)
    return rgb_to_lab(scale(picture, _COLOURS).clamp(0, 1))


def tones(old: Tensor, new: Tensor) -> Tensor:
    """(N, 3) figures of CIELAB planes: how far the colour of the face moved, unless towards that
    of skin, how much further it is from that (in deviations), and how far the lightness moved."""
    face = octaves.region("face", _COLOURS)
    before, after = ((plane * face).sum((2, 3)) / face.sum() for plane in (old, new))
    grey = before[:, 1:].norm(dim=1) < _GREY
    away = (_from_skin(after) - _from_skin(before).clamp(min=_SKIN)).clamp(min=0)
    distance = (after - before)[:, 1:].norm(dim=1)
    # Taking a cast away moves the colour far, towards that of skin.
    nearer = (_from_skin(before) - _from_skin(after).clamp(min=_SKIN)).clamp(min=0)
    distance = distance * (1 - (nearer / _SKIN).clamp(max=1))
    distance = torch.where(grey & (away == 0), 0.0, distance)
    return torch.stack([distance, away, (after - before)[:, 0].abs()], 1)


def _from_skin(colour: Tensor) -> Tensor:
    """(N,) deviations of colours (N, 3) from that of skin, and from grey, whichever is nearer."""
    shift = colour[:, 1:] - torch.tensor(SKIN_MEAN)
    inverse = torch.linalg.inv(torch.tensor(SKIN_COVARIANCE))
    skin = ((shift @ inverse) * shift).sum(1).clamp(min=0).sqrt()
    # A grey or sepia print lies on the line from grey to skin and is no wrong colour.
    along = (colour[:, 1:] @ torch.tensor(SKIN_MEAN)) / torch.tensor(SKIN_MEAN).square().sum()
    nearest = along.clamp(0, 1)[:, None] * torch.tensor(SKIN_MEAN)
    off = colour[:, 1:] - nearest
    line = ((off @ inverse) * off).sum(1).clamp(min=0).sqrt()
    return torch.minimum(skin, line)


def _eye_colour(old: Tensor, new: Tensor) -> Tensor:
    eyes = octaves.region("eyes", _COLOURS)
    difference = ((new - old)[:, 1:] * eyes).sum((2, 3)) / eyes.sum()
    return difference.norm(dim=1)


def moved(old: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
    """How far features moved between two luma planes (N, 1, SIDE, SIDE).

    One step of Lucas and Kanade (1981) on the forms of 16 px of 512 and longer, for each eye, the
    nose and the mouth, brightness and contrast fitted.

    Returns:
        (N,) the largest shift in px of 512, at most 16 along each axis (beyond, the step says no
        more than that),
        and (N,) the change of eye distance over eye-to-mouth distance, as a share.
    """
    side = SIDE // 2
    old, new = (scale(plane, side)[:, 0] for plane in (old, new))
    down, across = torch.gradient(new, dim=(1, 2))
    at = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(at, at, indexing="ij")
    shifts = []
    ellipses = (*octaves.ELLIPSES["eyes"], *octaves.ELLIPSES["nose"], *octaves.ELLIPSES["mouth"])
    for centre_x, centre_y, half_x, half_y in ellipses:
        inside = ((x - centre_x) / half_x) ** 2 + ((y - centre_y) / half_y) ** 2 < 1.5
        columns = [plane[:, inside] for plane in (across, down, new)]
        columns.append(torch.ones_like(columns[0]))
        # In singles even colours, such as white, have no solution.
        design = torch.stack(columns, 2).double()  # (N, P, 4)
        ridge = design.new_tensor([1e-4, 1e-4, 1e-6, 0]) + 1e-7
        normal = design.mT @ design + torch.diag(ridge)
        found = torch.linalg.solve(normal, design.mT @ old[:, inside, None].double()).float()
        gain = found[:, 2].clamp(min=0.25)
        shifts.append(found[:, :2, 0] / gain * (octaves.REFERENCE / side))
    shift = torch.stack(shifts, 1).clamp(-16, 16)  # (N, 4, 2): eye, eye, nose, mouth
    centres = torch.tensor([[e[0], e[1]] for e in ellipses]) * octaves.REFERENCE

    def ratio(points: Tensor) -> Tensor:
        eyes = (points[:, 1] - points[:, 0]).norm(dim=1)
        return eyes / (points[:, 3] - (points[:, 0] + points[:, 1]) / 2).norm(dim=1)

    still = ratio(centres[None])
    return shift.norm(dim=2).amax(1), (ratio(centres + shift) / still - 1).abs()
