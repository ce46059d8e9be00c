"""Runs a detector over an image pyramid and makes one candidate of all that mean the same face."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..models import detector, zoo
from ..models.anchors import Candidates
from .finders import Finder, ask, refine
from .geometry import TEMPLATES, transform
from .host import Host
from .memory import OutOfMemory
from .nms import overlap, suppress
from .pyramid import PASS_AREA, Level, Pyramid, passes, pyramid, sample

#: A picture with a side below this many pixels has no face that could be seen.
SMALLEST_PICTURE = 8

#: Candidates below this score are dropped at once.
FLOOR = 0.02

#: A candidate may be this much less sure than asked for before the second look decides.
HOPE = 0.5

#: Overlap above which two boxes are one face.
SAME_FACE = 0.4

#: Candidates of one pass and picture that are kept, the surest; a thousand faces fit many times.
MOST = 20_000

#: Second look: side of the crop and of the face in it, and faces looked at in one pass.
LOOK_CROP, LOOK_FACE, LOOK_BATCH = 96, 48.0, 64

#: A face's points are the mean over looks at it at these scales and angles (radians). Measured on
#: the validation people: off by 5.7 % of the eye distance with one look, 4.7 % with its mirror
#: image, 4 % with these.
GLANCES = ((1.05, -0.1), (1.2, 0.1))

#: The five points of a mirrored face in their usual order.
MIRROR = [1, 0, 2, 4, 3]

#: How often the points are refined, each time on a crop turned by the last ones, and how many faces
#: are in one pass.
ROUNDS, POINTS_BATCH = 2, 128

#: Share of the refiner in the logit of the score, its grids have the rest. Measured on validation
#: people and scenes: the recall of 97 % costs fewer false alarms with it than with 0 or 0.5.
REFINER = 0.25

#: Crops of a user's box: side of the crop, and of the box in it, from near to far.
BOX_CROPS = ((320, 240.0), (112, 72.0))


class Search:
    """One detector on one host."""

    def __init__(self, network: nn.Module, card: zoo.ModelCard, finder: Finder, host: Host):
        # Its weights lie as its pictures do, or every convolution would turn them again.
        self.network = network.to(memory_format=torch.channels_last)
        self.card, self.finder, self.host = card, finder, host

    def everywhere(
        self, image: Tensor, least: float, most: float, confidence: float
    ) -> list[Candidates]:
        """The faces of each picture.

        Args:
            image: (B, H, W, C) in about [0, 1].
            least: size in pixels of the smallest faces to find.
            most: of the largest, 0 for no limit.
            confidence: least score.

        Returns:
            One `Candidates` for each picture, without its first dimension, on the CPU.
        """
        frames, height, width = image.shape[:3]
        finest = self.finder.smallest / least
        # Shrinking by less than a quarter saves little, and enlarging shows nothing new.
        finest = 1.0 if finest > 0.75 else finest
        area = height * width * finest**2
        at_once = max(1, int(PASS_AREA // area))
        found: list[Candidates] = []
        for start in range(0, frames, at_once):
            part = image[start : start + at_once]
            scales = self._pyramid(part, finest)
            floor = max(FLOOR, HOPE * confidence)
            seen = self._candidates(scales.levels, part.shape[0], floor, most)
            seen = self._second_look(scales.looks, [_merge(each) for each in seen])
            sure = [_sure(_merge(each), confidence) for each in seen]
            found += self._refine(scales.looks, sure)
            self.host.progress(min(start + at_once, frames), frames)
        return found

    def inside(self, image: Tensor, boxes: list[list[tuple]]) -> list[Candidates]:
        """The one face inside each box, if there is any; `boxes` holds a list for each picture."""
        found = []
        for frame, each in enumerate(boxes):
            if not each:
                found.append(_none())
                continue
            levels = self._pyramid(image[frame : frame + 1], 1.0).looks
            wanted = torch.tensor(each, dtype=torch.float64)
            best = self._best_in(levels, wanted)
            looked = self._second_look(levels, [best])[0]
            found += self._refine(levels, [_merge(looked)])
            self.host.progress(frame + 1, len(boxes))
        return found

    def _pyramid(self, images: Tensor, finest: float) -> Pyramid:
        smallest_side = math.ceil(self.finder.largest)
        return pyramid(images, finest, self.finder.step, smallest_side)

    def _ask(self, pixels: Tensor) -> Candidates:
        """The network's candidates, in smaller passes when memory runs out."""
        try:
            return ask(self.network, self.card, pixels, self.host.device)
        except OutOfMemory:
            self.host.free_memory()
            if len(pixels) == 1:
                raise
        halves = [self._ask(half) for half in pixels.split((len(pixels) + 1) // 2)]
        return Candidates(*(torch.cat(parts) for parts in zip(*halves, strict=True)))

    def _candidates(
        self, levels: list[Level], frames: int, floor: float, most: float
    ) -> list[Candidates]:
        """All candidates of all levels, in pixels of the picture, for each picture."""
        gathered: list[list[Candidates]] = [[_none()] for _ in range(frames)]
        for level in levels:
            if most and self.finder.smallest > 2 * most * max(level.scale):
                continue
            for part in passes(level):
                seen = self._ask(part.pixels(self.finder.multiple))
                corner = torch.tensor([part.region.left, part.region.top], dtype=torch.float32)
                for frame in range(frames):
                    here = _above(seen, frame, floor)
                    shifted = here.boxes.reshape(-1, 2, 2) + corner, here.points + corner
                    middle = shifted[0].mean(dim=1)
                    inside = part.owns(middle)
                    boxes, points = (level.to_picture(each[inside]) for each in shifted)
                    gathered[frame].append(
                        Candidates(boxes.reshape(-1, 4), here.scores[inside], points)
                    )
        return [
            Candidates(*(torch.cat(parts) for parts in zip(*each, strict=True)))
            for each in gathered
        ]

    def _second_look(self, levels: list[Level], found: list[Candidates]) -> list[Candidates]:
        """Each face once more: upright, at one size, in the middle of a crop."""
        if not self.finder.second_look:
            return found
        counts = [len(each.scores) for each in found]
        frames = torch.repeat_interleave(torch.arange(len(found)), torch.tensor(counts))
        every = Candidates(*(torch.cat(parts) for parts in zip(*found, strict=True)))
        looked = [
            self._look(levels, frames[part], Candidates(*(each[part] for each in every)))
            for part in torch.arange(len(frames)).split(LOOK_BATCH)
        ]
        if not looked:
            return found
        joined = (torch.cat(parts).split(counts) for parts in zip(*looked, strict=True))
        return [Candidates(*parts) for parts in zip(*joined, strict=True)]

    def _refine(self, levels: list[Level], found: list[Candidates]) -> list[Candidates]:
        """The points once more, by the part of the network that sees nothing but one face."""
        if not self.finder.second_look:
            return found
        refined = []
        for frame, faces in enumerate(found):
            logits = faces.scores[:0]
            for _ in range(ROUNDS if len(faces.scores) else 0):
                parts = zip(*(each.split(POINTS_BATCH) for each in faces), strict=True)
                seen = [self._points(levels, frame, Candidates(*part)) for part in parts]
                points, logits = (torch.cat(each) for each in zip(*seen, strict=True))
                faces = faces._replace(points=points)
            refined.append(faces._replace(scores=_surer(faces.scores, logits)))
        return refined

    def _points(self, levels: list[Level], frame: int, faces: Candidates) -> tuple[Tensor, Tensor]:
        """The mean of what the refiner says of each face at each of GLANCES, mirrored and not."""
        matrices = torch.cat(
            [
                upright(faces, detector.LOOK_SIZE, detector.LOOK_FACE * zoom, turn)
                for zoom, turn in GLANCES
            ]
        )
        frames = torch.full((len(matrices),), frame)
        crops = sample(levels, frames, matrices, detector.LOOK_SIZE)
        both = torch.cat([crops, crops.flip(-1)])
        points, logits = refine(self.network, self.card, both, self.host.device)
        points, mirrored = points.chunk(2)
        mirrored = mirrored[:, MIRROR]
        mirrored[..., 0] = detector.LOOK_SIZE - 1 - mirrored[..., 0]
        said = transform(_inverse(matrices), ((points + mirrored) / 2).double())
        said = said.unflatten(0, (len(GLANCES), -1)).mean(dim=0).float()
        return said, logits.unflatten(0, (2 * len(GLANCES), -1)).mean(dim=0)

    def _look(self, levels: list[Level], frames: Tensor, faces: Candidates) -> Candidates:
        matrices = upright(faces, LOOK_CROP, LOOK_FACE)
        seen = self._ask(sample(levels, frames, matrices, LOOK_CROP))
        boxes, scores, points = (each.cpu() for each in seen)
        extent = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1e-3)
        sides = extent.prod(dim=-1).sqrt() / LOOK_FACE
        middle = (boxes[..., :2] + boxes[..., 2:]) / 2
        away = (middle - (LOOK_CROP - 1) / 2).norm(dim=-1) / LOOK_FACE
        same = (sides > 0.5) & (sides < 2.0) & (away < 0.4)
        best, index = (scores * same).max(dim=1)
        rows = torch.arange(len(index))
        inverse = _inverse(matrices)
        sure = best > FLOOR
        new_points = transform(inverse, points[rows, index].double()).float()
        new_boxes = _turned(boxes[rows, index].double(), inverse).float()
        return Candidates(
            torch.where(sure[:, None], new_boxes, faces.boxes),
            (faces.scores * best.clamp(min=1e-6)).sqrt(),
            torch.where(sure[:, None, None], new_points, faces.points),
        )

    def _best_in(self, levels: list[Level], boxes: Tensor) -> Candidates:
        """The candidate that fits each box (K, 4) best; none for a box with nothing in it."""
        kept: list[list[Tensor]] = [[], [], []]
        count = len(boxes)
        middle, extent = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        gathered: list[list[Candidates]] = [[] for _ in range(count)]
        for size, inner in BOX_CROPS:
            scale = inner / extent.amax(dim=1)
            matrices = _placing(middle, scale, torch.zeros(count, dtype=torch.float64), size)
            inverse = _inverse(matrices)
            for part in torch.arange(count).split(8):
                frames = torch.zeros(len(part), dtype=torch.long)
                seen = self._ask(sample(levels, frames, matrices[part], size))
                for row, number in enumerate(part.tolist()):
                    here = _above(seen, row, FLOOR)
                    back = inverse[number : number + 1]
                    gathered[number].append(
                        Candidates(
                            _turned(here.boxes.double(), back).float(),
                            here.scores,
                            transform(back, here.points.double()).float(),
                        )
                    )
        for box, each in zip(boxes.float(), gathered, strict=True):
            every = Candidates(*(torch.cat(parts) for parts in zip(*each, strict=True)))
            centre = (every.boxes[:, :2] + every.boxes[:, 2:]) / 2
            within = ((centre >= box[:2]) & (centre <= box[2:])).all(dim=1)
            fit = every.scores * (0.5 + overlap(every.boxes, box[None])[:, 0]) * within
            if len(fit) and float(fit.max()) > 0:
                best = int(fit.argmax())
                for values, value in zip(kept, every, strict=True):
                    values.append(value[best])
        return Candidates(*(torch.stack(each) for each in kept)) if kept[0] else _none()


def upright(faces: Candidates, size: int, face: float, turn: float = 0.0) -> Tensor:
    """(N, 2, 3) similarities into crops where each face is centred and `face` pixels large.

    It is upright there, or turned by `turn` radians from that.
    """
    points = faces.points.double()
    source = points - points.mean(dim=1, keepdim=True)
    target = torch.tensor(TEMPLATES["ffhq"].five_points, dtype=torch.float64)
    target = target - target.mean(dim=0)
    along = (source * target).sum(dim=(1, 2))
    across = (source[..., 0] * target[:, 1] - source[..., 1] * target[:, 0]).sum(dim=1)
    extent = (faces.boxes[:, 2:] - faces.boxes[:, :2]).double().clamp(min=1e-3)
    middle = (faces.boxes[:, :2] + faces.boxes[:, 2:]).double() / 2
    scale = face / extent.prod(dim=1).sqrt()
    return _placing(middle, scale, torch.atan2(across, along) + turn, size)


def _placing(middle: Tensor, scale: Tensor, angle: Tensor, size: int) -> Tensor:
    """(N, 2, 3) similarities that scale and turn about `middle`, which lands on the crop's."""
    cos, sin = scale * angle.cos(), scale * angle.sin()
    linear = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], 1)
    shift = (size - 1) / 2 - (linear @ middle[..., None])[..., 0]
    return torch.cat([linear, shift[..., None]], dim=2)


def _inverse(matrices: Tensor) -> Tensor:
    linear = torch.linalg.inv(matrices[:, :, :2])
    return torch.cat([linear, -linear @ matrices[:, :, 2:]], dim=2)


def _turned(boxes: Tensor, matrices: Tensor) -> Tensor:
    """Bounds of the boxes' inscribed ellipses (N, 4) after affine maps (N or 1, 2, 3).

    At quarter turns that is the turned box, and unlike its bounds it does not swell in between.
    """
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    centre = transform(matrices, middle[:, None])[:, 0]
    extent = (matrices[:, :, :2].square() @ half.square()[..., None])[..., 0].sqrt()
    return torch.cat([centre - extent, centre + extent], dim=1)


def _above(seen: Candidates, frame: int, floor: float) -> Candidates:
    """The surest candidates of one picture of a pass, on the CPU."""
    scores = seen.scores[frame]
    index = (scores > floor).nonzero()[:, 0]
    if len(index) > MOST:
        index = index[scores[index].topk(MOST).indices]
    return Candidates(*(each[frame, index].cpu() for each in seen))


def _surer(scores: Tensor, logits: Tensor) -> Tensor:
    """Scores (N,) of the grids and what the refiner says of the same faces, as one."""
    return torch.sigmoid(torch.logit(scores, 1e-6).lerp(logits, REFINER))


def _merge(faces: Candidates) -> Candidates:
    keep = suppress(faces.boxes, faces.scores, SAME_FACE)
    return Candidates(*(each[keep] for each in faces))


def _sure(faces: Candidates, confidence: float) -> Candidates:
    keep = faces.scores >= confidence
    return Candidates(*(each[keep] for each in faces))


def _none() -> Candidates:
    return Candidates(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, 5, 2))
