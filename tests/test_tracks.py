"""Tracks: who is the same from frame to frame, and points that do not tremble."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from faces_for_tests import grainy_picture, place

from kintsugi.stages import colour, tracks
from kintsugi.stages.blend import blend
from kintsugi.stages.faces import Faces
from kintsugi.stages.landmark_align import align

HEIGHT, WIDTH = 240, 320


def film(*frames: list[tuple], cut: int = 0) -> tuple[torch.Tensor, Faces]:
    """Frames of one scene, of another from `cut` on, with faces at these placements."""
    scene, other = grainy_picture(HEIGHT, WIDTH), 1 - grainy_picture(HEIGHT, WIDTH, seed=3)
    pictures = [scene if not cut or index < cut else other for index in range(len(frames))]
    found = []
    for frame, placements in enumerate(frames):
        for face in place(HEIGHT, WIDTH, placements):
            found.append(replace(face, id=len(found), frame=frame))
    return torch.cat(pictures), Faces(tuple(found), len(frames), HEIGHT, WIDTH)


def ids(image: torch.Tensor, faces: Faces) -> list[list[int]]:
    """By frame."""
    found = tracks.tracked(image, faces)
    return [[face.id for face in found if face.frame == frame] for frame in range(faces.frames)]


def test_a_person_keeps_one_id_and_two_never_share_it():
    left, right = (80, 120, 90, 0), (230, 120, 90, 0)
    moved = [(x + 6, y, side, turn) for x, y, side, turn in (right, left)]
    assert ids(*film([left, right], moved, [left])) == [[0, 1], [1, 0], [0]]


def test_a_frame_without_the_face_ends_its_track_and_stays_without_it():
    face = (160, 120, 90, 0)
    image, faces = film([face], [], [face], [face])
    assert ids(image, faces) == [[0], [], [1], [1]]
    crops, aligned = align(image, faces, size=64, smoothing=3)
    assert len(crops) == 3 and [one.frame for one in aligned] == [0, 2, 3]


def test_after_a_cut_everybody_is_new():
    face = (160, 120, 90, 0)
    assert ids(*film([face], [face], [face], [face], cut=2)) == [[0], [0], [2], [2]]


@pytest.mark.parametrize("size", [90, 40])
def test_points_tremble_less_and_neither_lag_nor_shrink(size):
    frames = 30
    image, faces = film(*([(80 + 4 * frame, 120, size, 0)] for frame in range(frames)))
    exact = torch.stack([face.points for face in faces])
    noise = torch.randn(exact.shape, generator=torch.Generator().manual_seed(0))
    shaken = faces.with_faces(
        replace(face, points=points)
        for face, points in zip(faces, exact + 0.5 * noise, strict=True)
    )
    _, aligned = align(image, shaken, size=64, smoothing=2)
    left = torch.stack([face.points for face in aligned]) - exact
    assert float(left.std()) < 0.55 * 0.5
    assert float(left[[0, -1]].mean()) == pytest.approx(0, abs=0.35), "at the ends too"
    _, exactly = align(image, faces, size=64, smoothing=2)
    for face, points in zip(exactly, exact, strict=True):
        assert torch.allclose(face.points, points, atol=1e-3), "an even way is as it was"


def test_pictures_without_smoothing_are_each_for_itself():
    face = (160, 120, 90, 0)
    image, faces = film([face], [face])
    crops, aligned = align(image, faces, size=64)
    assert [one.id for one in aligned] == [0, 1]
    assert torch.equal(aligned[1].points, faces[1].points)
    assert torch.equal(crops[0], crops[1])
    with pytest.raises(ValueError, match="smoothing is 11; choose 0 to 10"):
        align(image, faces, smoothing=11)


def test_the_tones_of_one_person_are_averaged_over_the_frames_and_only_theirs(monkeypatch):
    left, right = (80, 120, 100, 0), (240, 120, 100, 0)
    image, faces = film(*([left, right] for _ in range(8)))
    crops, aligned = align(image, faces, size=128, smoothing=2)
    for index, face in enumerate(aligned):
        if face.id == 0:  # a restorer that answers brighter and darker by turns
            crops[index] *= 0.9 + 0.05 * (-1) ** face.frame
    averaged, steady = [], colour.steady

    def watched(tones, frames):
        averaged.append((frames, sum(tone is not None for tone in tones)))
        return steady(tones, frames)

    monkeypatch.setattr(colour, "steady", watched)
    result, _ = blend(image, crops, aligned, grain=0, sharpness="as is")
    every = list(range(8))
    assert averaged == [(every, 8), (every, 0)], "each by their own frames"
    assert torch.equal(result[:, :, 180:], image[:, :, 180:]), "who stands beside has no part in it"
    apart = aligned.with_faces(replace(face, id=index) for index, face in enumerate(aligned))
    blend(image, crops, apart)
    assert len(averaged) == 2
