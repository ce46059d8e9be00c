"""Cuts: Blend uses the crops that LandmarkAlign made only where cutting again gives the same."""

from __future__ import annotations

import gc
import pickle
from dataclasses import replace

import pytest
import torch
from faces_for_tests import grainy_picture, place

from kintsugi.stages import geometry
from kintsugi.stages.blend import blend
from kintsugi.stages.landmark_align import align

PLACEMENTS = [(150, 140, 180, 10), (420, 250, 300, 180), (20, 400, 200, 30)]


def scene(channels: int = 3, dtype=torch.float32):
    picture = grainy_picture(480, 560, channels).to(dtype)
    return picture, *align(picture, place(480, 560, PLACEMENTS), size=256)


def forgetful(faces):
    return faces.with_faces(replace(face, crop=replace(face.crop, cut=None)) for face in faces)


def again(picture, faces):
    return [f.crop.cut.again(picture[0], f.crop.matrix, f.crop.size) for f in faces]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_blend_gives_the_same_bits_with_and_without(channels, dtype):
    picture, crops, faces = scene(channels, dtype)
    for made in (crops, (crops * 0.7 + 0.2 * crops.flip(2)).clamp(0, 1)):
        one, other = (blend(picture, made, each) for each in (faces, forgetful(faces)))
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def test_what_is_found_again_is_what_cutting_gives():
    picture, crops, faces = scene()
    for found, face in zip(again(picture, faces), faces, strict=True):
        cut = geometry.cut(picture[0], face.crop.matrix, face.crop.size)[0].permute(1, 2, 0)
        assert torch.equal(found, cut)


def test_another_picture_is_cut_again():
    picture, crops, faces = scene()
    for other in (picture.flip(2), picture + 1e-3, picture.roll(1, 1)):
        assert again(other, faces) == [None] * 3
    touched = picture.clone()
    touched[0, 140, 150] += 0.01
    known = [found is not None for found in again(touched, faces)]
    assert known == [False, True, True]


def test_of_a_picture_with_alpha_the_colours_count():
    picture, crops, faces = scene(4)
    clear = picture.clone()
    clear[..., 3] = 0.25
    assert all(found is not None for found in again(clear, faces))
    touched = picture.clone()
    touched[0, 140, 150, 2] += 0.01
    assert [found is not None for found in again(touched, faces)] == [False, True, True]


def test_crops_that_a_node_wrote_into_are_no_originals():
    picture, crops, faces = scene()
    wanted, _ = blend(picture, (crops * 0.5).clamp(0, 1), faces)
    crops *= 0.5
    assert torch.equal(blend(picture, crops, faces)[0], wanted)
    assert not torch.equal(wanted, picture)


def test_crops_are_not_kept_alive():
    picture, crops, faces = scene()
    changed = crops * 0.5
    kept, _ = blend(picture, changed, faces)
    del crops
    gc.collect()
    assert again(picture, faces) == [None] * 3
    assert torch.equal(blend(picture, changed, faces)[0], kept)


def test_faces_can_be_pickled():
    _, _, faces = scene()
    assert pickle.loads(pickle.dumps(faces))[0].crop.cut is None
