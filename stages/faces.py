"""The wire format: what travels from stage to stage beside the pictures.

Convention: pixels, (x, y), the centre of the top-left pixel is (0, 0), boxes are half-open in
continuous coordinates, "left" is the viewer's left on an upright face. Every tensor is float32
on the CPU and is never written to after construction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .cuts import Cut
    from .degradation_estimate import Degradation
    from .provenance import Provenance

#: Order of the five points: eye, eye, nose tip, mouth corner, mouth corner; left before right.
FIVE_POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")

#: Number of landmarks of each scheme a face may carry.
SCHEMES = {"ibug68": 68, "wflw98": 98, "facemesh478": 478}


#: Coordinates beyond this, px, lie near no picture and no longer fit into whole numbers.
_FARTHEST = 1e9


def _tensor(value, shape: tuple[int, ...], name: str) -> Tensor:
    tensor = torch.as_tensor(value, dtype=torch.float32).detach().cpu()
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}; expected {shape}")
    wrong = tensor[~(tensor.abs() <= _FARTHEST)]
    if len(wrong):
        raise ValueError(
            f"{name}: {float(wrong[0])} is no place in or near a picture; look at what made these "
            "faces"
        )
    return tensor


@dataclass(frozen=True, eq=False)
class Crop:
    """How a face was cut out: `matrix` (2, 3) maps picture pixels to crop pixels, `size` is the
    side of the square crop, `template` names the landmark template it was fitted to, `cut` knows
    where the pixels are as long as they live. Raises ValueError for a matrix that has no way back
    and for a side that is no whole number of pixels."""

    matrix: Tensor
    size: int
    template: str
    cut: Cut | None = None

    def __post_init__(self):
        object.__setattr__(self, "matrix", _tensor(self.matrix, (2, 3), "Crop.matrix"))
        (a, b, _), (c, d, _) = self.matrix.tolist()
        if a * d == b * c:
            raise ValueError(f"Crop.matrix {self.matrix.tolist()} has no inverse; align again")
        if self.size != int(self.size) or self.size < 1:
            raise ValueError(f"Crop.size is {self.size}; expected a side in whole pixels")

    @property
    def native(self) -> float:
        """Side of what the crop shows, in pixels of the picture."""
        (a, b, _), (c, d, _) = self.matrix.tolist()
        return self.size / abs(a * d - b * c) ** 0.5


@dataclass(frozen=True, eq=False)
class Face:
    """One face of one picture.

    id: stable inside a batch (a track in video). frame: index of its picture in the batch.
    box: (x0, y0, x1, y1). score: detector confidence in [0, 1]. points: (5, 2), see FIVE_POINTS.
    landmarks: (K, 2) in the numbering of `scheme`. pose: yaw, pitch, roll in degrees.
    provenance: what was done to it so far, for reports and the picture's metadata.

    Raises ValueError for tensors of other shapes and figures that are not finite.
    """

    id: int
    frame: int
    box: Tensor
    score: float
    points: Tensor
    landmarks: Tensor | None = None
    scheme: str | None = None
    pose: tuple[float, float, float] | None = None
    crop: Crop | None = None
    degradation: Degradation | None = None
    identity: Tensor | None = None
    provenance: Provenance | None = None

    def __post_init__(self):
        if not math.isfinite(self.score):
            raise ValueError(f"the score of face {self.id} is {self.score}; expected 0 to 1")
        box = _tensor(self.box, (4,), f"the box of face {self.id}")
        points = _tensor(self.points, (5, 2), f"the points of face {self.id}")
        object.__setattr__(self, "box", box)
        object.__setattr__(self, "points", points)
        if (self.landmarks is None) != (self.scheme is None):
            raise ValueError("Face.landmarks and Face.scheme are set together or not at all")
        if self.landmarks is not None:
            if self.scheme not in SCHEMES:
                raise ValueError(f"unknown scheme {self.scheme!r}; known: {', '.join(SCHEMES)}")
            shape, name = (SCHEMES[self.scheme], 2), f"the landmarks of face {self.id}"
            object.__setattr__(self, "landmarks", _tensor(self.landmarks, shape, name))

    @property
    def width(self) -> float:
        """Width of the box in pixels."""
        return float(self.box[2] - self.box[0])

    @property
    def height(self) -> float:
        """Height of the box in pixels."""
        return float(self.box[3] - self.box[1])


@dataclass(frozen=True, eq=False)
class Faces:
    """All faces of a batch of `frames` pictures of `height` by `width` pixels. Empty is normal."""

    faces: tuple[Face, ...]
    frames: int
    height: int
    width: int

    def __post_init__(self):
        object.__setattr__(self, "faces", tuple(self.faces))
        for face in self.faces:
            if not 0 <= face.frame < self.frames:
                raise ValueError(f"face {face.id} is in frame {face.frame} of {self.frames}")

    def __len__(self) -> int:
        return len(self.faces)

    def __iter__(self):
        return iter(self.faces)

    def __getitem__(self, index: int) -> Face:
        return self.faces[index]

    def with_faces(self, faces) -> Faces:
        """The same batch of pictures with other faces."""
        return replace(self, faces=tuple(faces))

    def matrices(self) -> Tensor:
        """(N, 2, 3) crop matrices. Raises ValueError if a face has not been aligned."""
        missing = [face.id for face in self.faces if face.crop is None]
        if missing:
            raise ValueError(f"faces {missing} have no crop; run LandmarkAlign first")
        if not self.faces:
            return torch.zeros(0, 2, 3)
        return torch.stack([face.crop.matrix for face in self.faces])
