"""Landmarks: the outline, brows, eyes, nose and lips of every face, by a landmark network.

Convention: pixels of the picture, (x, y), the centre of the top-left pixel is (0, 0); left is the
viewer's left on an upright face.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..models import awing_fan, zoo
from . import geometry
from .batch import check, check_same_pictures
from .faces import Faces
from .host import Host
from .passes import in_passes
from .pixels import run

DEFAULT = "awing-fan-98"


@dataclass(frozen=True)
class View:
    """What a landmark network is shown, and how its answer is read.

    centre, side: the square it sees of an upright face, in pixels of the FFHQ template at 512.
    scheme: numbering of its points (faces.SCHEMES).
    points: from its output to (N, K, 2) pixels of the crop of side `size`.
    """

    centre: tuple[float, float]
    side: float
    scheme: str
    points: Callable[[Tensor, int], Tensor]

    def matrices(self, faces: Faces, size: int) -> Tensor:
        """(N, 2, 3) from picture pixels to a crop of side `size`, upright whatever the rotation."""
        corner = torch.tensor(self.centre, dtype=torch.float64) - self.side / 2
        template = geometry.template("ffhq").points(512) + 0.5
        target = (template - corner) * (size / self.side) - 0.5
        return geometry.similarity(torch.stack([face.points for face in faces]), target)


#: Squares by architecture. The measures are means over the FFHQ-aligned portraits of the project's
#: data: the 98 points span 289 x 277 around (259, 333), RetinaFace's boxes 290 x 387 around
#: (256, 281); what the authors make of them is in the comments.
VIEWS = {
    # AdaptiveWingLoss, convert_WFLW.py and dataloader.py: 1.344 times the mean side of the box of
    # the points. The last map is the outline, no point.
    "awing_fan": View(
        (257.5, 333.5), 380.0, "wflw98", lambda heat, size: awing_fan.decode(heat[:, :-1])
    ),
    # pytorch_face_landmark, test_batch_detections.py: 1.2 times the narrow side of the detector's
    # box; points from 0 to 1 over the square.
    "mobilefacenet_landmark68": View(
        (257.0, 281.5), 348.0, "ibug68", lambda out, size: out.unflatten(1, (-1, 2)) * size - 0.5
    ),
}


def _one(*indices: int) -> tuple[tuple[int, int], ...]:
    return tuple((index, index) for index in indices)


#: For each of iBUG's 68 points the two WFLW points whose mean it is. WFLW draws brows as closed
#: outlines and has twice the points along the jaw.
#: Source: facexlib, convert_98_to_68_landmarks.py.
WFLW_OF_IBUG: tuple[tuple[int, int], ...] = (
    *_one(*range(0, 33, 2)),  # 0-16, jaw
    *((33, 33), (34, 41), (35, 40), (36, 39), (37, 38)),  # 17-21, left brow
    *((42, 50), (43, 49), (44, 48), (45, 47), (46, 46)),  # 22-26, right brow
    *_one(*range(51, 60)),  # 27-35, nose
    *_one(60, 61, 63, 64, 65, 67),  # 36-41, left eye
    *_one(68, 69, 71, 72, 73, 75),  # 42-47, right eye
    *_one(*range(76, 96)),  # 48-67, lips
)

#: Points of each scheme whose mean is one of faces.FIVE_POINTS, in that order.
FIVE_OF = {
    "wflw98": (range(60, 68), range(68, 76), (54,), (76,), (82,)),
    "ibug68": (range(36, 42), range(42, 48), (30,), (48,), (54,)),
}


def landmarks(
    image: Tensor,
    faces: Faces,
    *,
    model: str = DEFAULT,
    scheme: str | None = None,
    commercial_only: bool = False,
    host: Host | None = None,
) -> Faces:
    """The same faces with landmarks.

    Args:
        image: (B, H, W, C) in [0, 1], C 1, 3 or 4, any rotation of the faces.
        faces: faces of these pictures, with their five points.
        model: a landmark network of the zoo.
        scheme: numbering wanted; None is that of the network. "ibug68" can be had of 98 points.
        commercial_only: refuse a network whose licence does not clearly allow commercial use.

    Returns:
        Faces with `landmarks` and `scheme` set, all else as it was.

    Raises:
        ValueError: `faces` are of other pictures, no such model, or a scheme it cannot give.
    """
    image = check(image)
    check_same_pictures(image, faces)
    card = choose(model)
    zoo.check_allowed(card, commercial_only)
    view = VIEWS[card.architecture]
    wanted = scheme or view.scheme
    if wanted not in (view.scheme, "ibug68"):
        raise ValueError(
            f"{card.title} gives {view.scheme} points, not {wanted!r}; "
            f"choose {view.scheme} or ibug68"
        )
    if not len(faces):
        return faces
    host = host or Host()
    network = host.load(card.name)
    matrices = view.matrices(faces, card.crop)
    crops = torch.cat(
        [
            _rgb(geometry.cut(image[face.frame], matrix, card.crop)).cpu()
            for face, matrix in zip(faces, matrices, strict=True)
        ]
    )
    found = in_passes(
        crops, lambda part: view.points(run(network, part, card.pixels).float(), card.crop), host
    )
    points = geometry.transform(geometry.invert(matrices), found)
    if wanted != view.scheme:
        points = to_ibug68(points)
    return faces.with_faces(
        replace(face, landmarks=own, scheme=wanted) for face, own in zip(faces, points, strict=True)
    )


def choose(model: str) -> zoo.ModelCard:
    """The card of a landmark network. Raises ValueError naming those there are."""
    known = [card.name for card in zoo.CARDS.values() if card.architecture in VIEWS]
    if model not in known:
        raise ValueError(f"unknown landmark model {model!r}; choose one of {', '.join(known)}")
    return zoo.CARDS[model]


def to_ibug68(points: Tensor) -> Tensor:
    """iBUG's 68 points (..., 68, 2) from WFLW's 98 (..., 98, 2); see WFLW_OF_IBUG."""
    if points.shape[-2:] != (98, 2):
        raise ValueError(f"points have shape {tuple(points.shape)}; expected (..., 98, 2)")
    first, second = torch.tensor(WFLW_OF_IBUG, device=points.device).unbind(1)
    return (points[..., first, :] + points[..., second, :]) / 2


def five_points(points: Tensor, scheme: str) -> Tensor:
    """The five points (..., 5, 2) of faces.FIVE_POINTS from landmarks (..., K, 2).

    An eye is the mean of its outline, which does not move with the gaze.
    """
    if scheme not in FIVE_OF:
        raise ValueError(f"no five points of scheme {scheme!r}; known: {', '.join(FIVE_OF)}")
    return torch.stack([points[..., list(group), :].mean(-2) for group in FIVE_OF[scheme]], -2)


def _rgb(crop: Tensor) -> Tensor:
    """(1, 3, S, S) of a crop with 1, 3 or 4 channels."""
    return crop.expand(-1, 3, -1, -1) if crop.shape[1] == 1 else crop[:, :3]
