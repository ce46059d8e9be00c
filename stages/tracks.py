"""Tracks: the same face through the frames of a video, and its points without a detector's jitter.

A track goes from one frame to the next and no further: nothing is made up for a frame without the
face, and what stands in the same place after a cut is somebody else.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from .colour import luma
from .faces import Faces
from .nms import overlap

#: Least overlap of the boxes of one face in two frames.
_OVERLAP = 0.4

#: Side of the thumbnails of frames, and mean difference in [0, 1] above which there is a cut.
_THUMBNAIL, _CUT = 32, 0.08

#: Deviations of the window over which points are averaged.
_WINDOW = 3.0


def tracked(image: Tensor, faces: Faces) -> Faces:
    """The faces with one id for each track; ids are those of the first faces of the tracks.

    Args:
        image: (B, H, W, C) in [0, 1], the frames in order. faces: of these frames.
    """
    groups: dict[int, list[int]] = defaultdict(list)
    for index, face in enumerate(faces):
        groups[face.frame].append(index)
    ids = [face.id for face in faces]
    thumbnails = {frame: _thumbnail(image[frame]) for frame in groups}
    for frame, here in sorted(groups.items()):
        before = groups.get(frame - 1)
        if not before or _cut(thumbnails[frame - 1], thumbnails[frame]):
            continue
        boxes = (torch.stack([faces[index].box for index in each]) for each in (before, here))
        shared = overlap(*boxes)
        while float(shared.max()) >= _OVERLAP:
            old, new = divmod(int(shared.argmax()), len(here))
            ids[here[new]] = ids[before[old]]
            shared[old], shared[:, new] = 0, 0
    return faces.with_faces(replace(face, id=own) for face, own in zip(faces, ids, strict=True))


def smoothed(faces: Faces, deviation: float) -> Faces:
    """The faces with their points and landmarks averaged over the frames of their tracks.

    A line is fitted through each coordinate with the weights of a Gaussian around each frame, so
    that a face that moves evenly is neither held back nor cut short at the ends of its track
    (Cleveland 1979, locally weighted regression).

    Args:
        faces: with ids from `tracked`. deviation: of the Gaussian, frames, above 0.
    """
    tracks: dict[int, list[int]] = defaultdict(list)
    for index, face in enumerate(faces):
        tracks[face.id].append(index)
    calm = list(faces)
    for members in tracks.values():
        weights = _weights(torch.tensor([faces[index].frame for index in members]), deviation)
        for name in ("points", "landmarks"):
            values = [getattr(faces[index], name) for index in members]
            if any(value is None or value.shape != values[0].shape for value in values):
                continue
            averaged = torch.einsum("nm,mkc->nkc", weights, torch.stack(values).double())
            for index, value in zip(members, averaged.to(values[0].dtype), strict=True):
                calm[index] = replace(calm[index], **{name: value})
    return faces.with_faces(calm)


def _weights(frames: Tensor, deviation: float) -> Tensor:
    """(N, N): row n gives the value at frame n of the line through all values."""
    away = (frames[None] - frames[:, None]).double()
    weight = torch.exp(-0.5 * (away / deviation) ** 2) * (away.abs() <= _WINDOW * deviation)
    sums = [(weight * away**power).sum(1, keepdim=True) for power in range(3)]
    spread = sums[0] * sums[2] - sums[1] ** 2
    line = weight * (sums[2] - sums[1] * away) / spread.clamp(min=1e-12)
    return torch.where(spread > 1e-9, line, (away == 0).double())


def _thumbnail(frame: Tensor) -> Tensor:
    """(1, 1, 32, 32) of (H, W, C), its grey."""
    planes = frame[..., :3].permute(2, 0, 1)[None].float()
    small = F.interpolate(planes, (_THUMBNAIL, _THUMBNAIL), mode="area")
    return small if small.shape[1] == 1 else luma(small)


def _cut(before: Tensor, after: Tensor) -> bool:
    return float((after - before).abs().mean()) > _CUT

