"""Screen: the dots of a print are found where there are some, and only there, and taken out."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from damage_for_tests import degradation

from kintsugi import samples
from kintsugi.stages import identity_guard, screen
from kintsugi.stages.colour import luma
from kintsugi.stages.degradation_estimate import estimate
from kintsugi.stages.detail import scale
from kintsugi.stages.face_detect import detect
from kintsugi.stages.faces import Faces
from kintsugi.stages.findings_text import describe
from kintsugi.stages.landmark_align import align
from kintsugi.stages.restore import restore
from kintsugi.stages.strategy import Stock, plan


@pytest.fixture(scope="module")
def portrait() -> tuple[torch.Tensor, Faces]:
    """(1, 3, 512, 512), a face in grey, and the face."""
    picture = torch.from_numpy(np.array(samples.portraits()["hopper"]))[None] / 255
    crops, faces = align(picture, detect(picture, count=1), size=512)
    return luma(crops.permute(0, 3, 1, 2)).expand(-1, 3, -1, -1).contiguous(), faces


def print_of(grey: torch.Tensor, period: float, degrees: float, depth: float = 1.0):
    """(1, 3, S, S) printed in dots `period` px apart, of which `depth` shows."""
    side, fine = grey.shape[-1], 3
    at = (torch.arange(fine * side) + 0.5) / fine * (2 * math.pi / period)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    across, down = at * cos + at[:, None] * sin, at[:, None] * cos - at * sin
    threshold = (across.cos() + down.cos()) / 4 + 0.5
    large = F.interpolate(grey[:, :1], scale_factor=fine, mode="bicubic")
    dots = F.avg_pool2d((large > threshold).float(), fine)
    return grey.lerp(dots.expand_as(grey), depth)


def psnr(one: torch.Tensor, other: torch.Tensor) -> float:
    return -10 * math.log10(float((one - other).square().mean()))


@pytest.mark.parametrize("side", (256, 512))
@pytest.mark.parametrize(("period", "degrees"), ((3.0, 45), (4.3, 30), (6.5, 62), (9.0, 45)))
def test_dots_are_found_and_taken_out(portrait, side, period, degrees):
    grey = scale(portrait[0], side).clamp(0, 1)
    printed = print_of(grey, period, degrees)
    (found,) = screen.find(printed)
    assert found and found.dots == pytest.approx(side / period, rel=0.06)
    plain = screen.remove(printed[0], found)
    assert plain.shape == grey[0].shape and screen.find(plain[None]) == [None]
    assert psnr(plain, grey[0]) > psnr(printed[0], grey[0]) + 6


def test_an_upright_screen_is_its_ground_tone_and_no_mosaic(portrait):
    side, period = 512, 8.0
    printed = print_of(portrait[0], period, 4, depth=0.6)
    (found,) = screen.find(printed)
    assert found and found.dots == pytest.approx(side / period, rel=0.06)


def test_dots_that_hardly_show_cost_little_detail(portrait):
    grey = portrait[0]
    printed = print_of(grey, 5.0, 45, depth=0.05)
    (found,) = screen.find(printed)
    assert found
    blurred = F.avg_pool2d(F.pad(printed, (2,) * 4, mode="replicate"), 5, 1)
    kept = psnr(screen.remove(printed[0], found), grey[0])
    assert kept > psnr(printed, grey) and kept > psnr(blurred, grey) + 4


def enlarged(grey: torch.Tensor) -> torch.Tensor:
    return scale(scale(grey, 120), grey.shape[-1]).clamp(0, 1)


def mosaic(grey: torch.Tensor) -> torch.Tensor:
    return F.interpolate(F.avg_pool2d(grey, 8), scale_factor=8)


def noisy(grey: torch.Tensor) -> torch.Tensor:
    return grey + 0.1 * torch.randn(grey.shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("change", (torch.clone, enlarged, mosaic, noisy, torch.zeros_like))
def test_where_no_print_is_there_are_no_dots(portrait, change):
    crop = change(portrait[0])
    assert screen.find(torch.cat([crop, crop.flip(-1)])) == [None, None]


@pytest.mark.parametrize("side", (16, 95, 97, 300))
def test_crops_of_any_size_are_looked_at(portrait, side):
    assert screen.find(scale(portrait[0], side)) == [None]


def test_damage_is_measured_without_the_dots(portrait):
    grey = portrait[0]
    crops = torch.cat([grey, print_of(grey, 7.0, 45)]).permute(0, 2, 3, 1)
    clean, printed = estimate(crops)
    assert clean.screen is None and not clean.printed and printed.screen
    assert printed.severity >= printed.printed > 0
    kinds = {finding.kind for finding in printed.found()}
    assert not kinds & {"pixelation", "motion"}, "what the dots look like"
    assert f"dots of print, {printed.screen.dots:.0f} a side" in describe(printed)
    (alone,) = estimate(crops[1:, ..., :1])
    assert alone.screen and alone.screen.dots == pytest.approx(printed.screen.dots, rel=0.01)


def test_auto_takes_the_dots_out_first(portrait):
    grey, faces = portrait
    printed = print_of(grey, 7.0, 45)
    result = restore(printed.permute(0, 2, 3, 1), faces=faces)
    assert "the dots of its print taken out first" in result.reasons[0]
    assert result.plans[0].screen
    named = restore(printed.permute(0, 2, 3, 1), model="kintsugi-restorer", fidelity=1.0)
    auto, alone = (luma(one.crops.permute(0, 3, 1, 2)) for one in (result, named))
    assert psnr(auto, grey[:, :1]) > psnr(alone, grey[:, :1]) + 3


def test_a_fine_face_in_fine_print_is_left_alone():
    tiny = replace(degradation(), screen=screen.Screen((180.0, 180.0), (180.0, -180.0)))
    assert tiny.printed == 0
    told = plan(tiny, 512, Stock())
    assert not told.works and told.screen is None


def test_dots_are_nobodys_likeness(portrait):
    grey, faces = portrait
    printed = print_of(grey, 7.0, 45)
    (found,) = estimate(printed.permute(0, 2, 3, 1))
    known = faces.with_faces(replace(face, degradation=found) for face in faces)
    pictures = (each.permute(0, 2, 3, 1) for each in (printed, grey))
    result = identity_guard.guard(*pictures, faces=known)
    assert float(result.probability_before) > 0.5 and float(result.returned) == 0
