"""Blend takes neither tones nor hues from where the original has a hole."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from damage_for_tests import degradation
from faces_for_tests import place, smooth_picture

from kintsugi.stages.blend import blend
from kintsugi.stages.landmark_align import align


@pytest.mark.parametrize("colour", ["match", "covariance"])
@pytest.mark.parametrize("known", [True, False])
def test_what_was_filled_keeps_its_tones_and_the_face_its_own(colour, known):
    whole = smooth_picture(300, 300) * 0.2 + torch.tensor([0.5, 0.4, 0.35])
    faces = place(300, 300, [(150, 150, 180, 0)])
    clean, aligned = align(whole, faces, size=256)
    # A red sticker over the left eye and the cheek, which the restored crop no longer has.
    rows, columns = slice(100, 190), slice(60, 130)
    spoilt = clean.clone()
    spoilt[:, rows, columns] = torch.tensor([0.9, 0.05, 0.05])
    picture, _ = blend(whole, spoilt, aligned, colour="none", grain=0, sharpness="as is")
    told = degradation(0.5, missing=0.1, hole=(rows, columns)) if known else degradation()
    aligned = replace(aligned, faces=tuple(replace(f, degradation=told) for f in aligned))
    result, mask = blend(picture, clean, aligned, colour=colour, grain=0)
    inside = mask[0] > 0.95
    off = (result - whole)[0][inside].abs().mean()
    assert (off < 0.005) if known else (off > 0.02)
