"""LandmarkAlign: cut every face out, upright and at one size, by its five points."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from . import cuts, geometry, memory, tracks
from . import landmarks as networks
from .batch import check, check_same_pictures
from .faces import Crop, Faces
from .host import Host

SIZES = (64, 4096)

#: Largest `smoothing`, frames.
SMOOTHEST = 10


def align(
    image: Tensor,
    faces: Faces,
    *,
    size: int = 512,
    template: str = "ffhq",
    margin: float = 0.0,
    landmarks: str | None = None,
    smoothing: float = 0.0,
    commercial_only: bool = False,
    host: Host | None = None,
) -> tuple[Tensor, Faces]:
    """Square crops in which the five points lie where the template has them.

    Args:
        image: (B, H, W, C) in [0, 1], C 1, 3 or 4; alpha is left behind, grey becomes RGB.
        faces: faces of these pictures, from FaceDetect.
        size: side of the crops in pixels, 64 to 4096.
        template: "ffhq" (what restorers are trained on) or another key of geometry.TEMPLATES.
        margin: share of the side added around the template's view on each side, 0 to 1.
        landmarks: a landmark network of the zoo; the faces get its landmarks, and five points
            taken from them instead of the detector's. None asks none.
        smoothing: for the frames of a video: deviation in frames, at most 10, of the window over
            which the points of a face are averaged; the same face then has the same id in all
            frames that follow each other. 0 takes each picture by itself.
        commercial_only: refuse a network whose licence does not clearly allow commercial use.
        host: where networks run, and who is told how far it has come; the CPU without it.

    Returns:
        crops (N, size, size, 3) float32 in [0, 1] on the CPU, in the order of `faces`, N may be 0;
        and the faces, each with its Crop.

    Raises:
        ValueError: `faces` are of other pictures, a setting is out of range, or a licence refused.

    Convention: Crop.matrix maps picture pixels to crop pixels, pixel centres at whole numbers.
    """
    image = check(image)
    if not SIZES[0] <= size <= SIZES[1]:
        raise ValueError(f"size is {size}; choose {SIZES[0]} to {SIZES[1]} pixels")
    if not 0 <= margin <= 1:
        raise ValueError(f"margin is {margin}; choose 0 to 1 of the crop's side")
    if not 0 <= smoothing <= SMOOTHEST:
        raise ValueError(f"smoothing is {smoothing}; choose 0 to {SMOOTHEST} frames")
    check_same_pictures(image, faces)
    points = geometry.template(template).points(size, margin)
    if landmarks:
        faces = networks.landmarks(
            image, faces, model=landmarks, commercial_only=commercial_only, host=host
        )
        faces = faces.with_faces(
            replace(face, points=networks.five_points(face.landmarks, face.scheme))
            for face in faces
        )
    if smoothing:
        faces = tracks.smoothed(tracks.tracked(image, faces), smoothing)
    if not len(faces):
        return torch.zeros(0, size, size, 3), faces
    matrices = geometry.similarity(torch.stack([face.points for face in faces]), points)
    crops = cut_all(image, [face.frame for face in faces], matrices, size, host)
    aligned = []
    for index, (face, matrix) in enumerate(zip(faces, matrices, strict=True)):
        cut = cuts.note(crops, index, image[face.frame], matrix)
        aligned.append(replace(face, crop=Crop(matrix, size, template, cut)))
    return crops, faces.with_faces(aligned)


def cut_all(
    image: Tensor, frames: list[int], matrices: Tensor, size: int, host: Host | None = None
) -> Tensor:
    """Crops (N, size, size, 3) at matrices (N, 2, 3) of the pictures with these indices."""
    crops = torch.empty(len(frames), size, size, 3)
    for index, (frame, matrix) in enumerate(zip(frames, matrices, strict=True)):
        crop = geometry.cut(image[frame][..., :3], matrix, size)[0].permute(1, 2, 0)
        crops[index] = crop.cpu()
        if host:
            host.progress(index + 1, len(frames))
    return crops


def footprint(faces: Faces) -> Tensor:
    """Where the crops lie: (frames, H, W) float32 mask, 1 inside, 0 outside, edges antialiased."""
    mask = memory.zeros(faces.frames, faces.height, faces.width, device=torch.device("cpu"))
    for face, matrix in zip(faces, faces.matrices(), strict=True):
        region = geometry.footprint(matrix, face.crop.size, faces.height, faces.width)
        if region.empty:
            continue
        at = geometry.transform(matrix, geometry.grid(region).flatten(0, 1))
        edge = torch.minimum(at + 0.5, face.crop.size - 0.5 - at).amin(-1)
        covered = (edge / geometry.scale_of(matrix).float() + 0.5).clamp(0, 1)
        covered = covered.view(region.height, region.width)
        part = mask[face.frame][region.slices()]
        torch.maximum(part, covered, out=part)
    return mask
