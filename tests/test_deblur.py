"""Deblur: the trail measured, motion and lens blur taken back, flat parts left alone."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from damage_for_tests import degradation

from kintsugi import samples
from kintsugi.stages import deblur, detail
from kintsugi.stages.deblur import Trail


@lru_cache(maxsize=1)
def face() -> torch.Tensor:
    """(3, 256, 256)."""
    crop = samples.portraits()["collins"].crop((97, 0, 353, 256))
    return torch.from_numpy(np.array(crop)).float().permute(2, 0, 1) / 255


def moved(crop: torch.Tensor, length: float, angle: float) -> torch.Tensor:
    """A crop that moved: each frequency weakened as a straight trail weakens it."""
    size = crop.shape[-1]
    wide = torch.nn.functional.pad(crop[None], (size // 4,) * 4, mode="reflect")
    down, across = np.meshgrid(
        np.fft.fftfreq(wide.shape[-1]), np.fft.rfftfreq(wide.shape[-1]), indexing="ij"
    )
    turned = math.radians(angle)
    passed = np.sinc(length * (across * math.cos(turned) + down * math.sin(turned)))
    waves = torch.fft.rfft2(wide) * torch.from_numpy(passed).float()
    edge = size // 4
    return torch.fft.irfft2(waves, s=wide.shape[-2:])[0, :, edge:-edge, edge:-edge].clamp(0, 1)


def psnr(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(-10 * (one - other).square().mean().log10())


@pytest.mark.parametrize(("size", "angle"), ((100, 40.0), (100, 135.0), (257, 0.0), (600, 40.0)))
def test_a_trail_is_measured_and_taken_back_at_any_size(size, angle):
    clean = detail.scale(face()[None], size)[0].clamp(0, 1)
    length = 14 * size / 256
    crop = moved(clean, length, angle)
    # What the estimator says is a tenth and some degrees off.
    told = degradation(0.5, motion=1.1 * length, angle=(angle + 6) % 180)
    found = deblur.trail(crop, told)
    assert found.length == pytest.approx(length, rel=0.06)
    assert abs((found.angle - angle + 90) % 180 - 90) < 3
    assert psnr(deblur.deblur(crop, found), clean) > psnr(crop, clean) + 2


def test_what_moved_over_the_border_does_not_ring_into_the_crop():
    whole = np.array(samples.portraits()["collins"])
    whole = torch.from_numpy(whole).float().permute(2, 0, 1) / 255
    cut = (slice(None), slice(20, 276), slice(97, 353))
    clean, crop = whole[cut], moved(whole, 20.0, 45.0)[cut]
    clear = deblur.deblur(crop, Trail(20.0, 45.0))
    inside = torch.zeros(256, 256, dtype=torch.bool)
    inside[40:-40, 40:-40] = True
    for where, gain in ((inside, 4.5), (~inside, 0.0)):
        assert psnr(clear[:, where], clean[:, where]) > psnr(crop[:, where], clean[:, where]) + gain


def test_half_of_a_trail_is_not_taken_for_the_whole():
    """Trails of faces that were enlarged are told short, and half of one resembles it."""
    crop = detail.scale(moved(face(), 16, 50)[None], 400)[0].clamp(0, 1)
    found = deblur.trail(crop, degradation(0.5, motion=0.58 * 25, angle=46.0))
    assert found.length == pytest.approx(25, rel=0.06)


def test_a_trail_is_measured_under_noise_that_nobody_told_of():
    noise = torch.randn(3, 256, 256, generator=torch.Generator().manual_seed(0)) * 3 / 255
    crop = moved(face(), 16, 50) + noise
    found = deblur.trail(crop.clamp(0, 1), degradation(0.5, motion=14.0, angle=46.0))
    assert found.length == pytest.approx(16, rel=0.06)
    assert found.noise > 2 / 255, "it was heard, and less is divided for it"


def test_a_blur_that_is_but_the_trail_told_once_more_does_not_hide_it():
    told = degradation(0.5, motion=14.0, angle=46.0, blur=3.0)
    found = deblur.trail(moved(face(), 16, 50), told)
    assert found.length == pytest.approx(16, rel=0.06) and found.sigma == 0


def test_of_an_enlarged_face_only_what_its_picture_has_tells_of_a_trail():
    noise = torch.randn(3, 96, 96, generator=torch.Generator().manual_seed(1)) * 2 / 255
    small = moved(detail.scale(face()[None], 96)[0], 8, 50) + noise
    crop, told = detail.scale(small[None], 512)[0], degradation(0.5, motion=36.0, angle=46.0)
    assert deblur.trail(crop, told) is None
    found = deblur.trail(crop, told, native=96)
    assert found.length == pytest.approx(8 * 512 / 96, rel=0.08)


def test_no_trail_is_seen_where_nothing_moved():
    assert deblur.trail(face(), degradation(0.3, blur=2.0)) is None, "none was told"
    assert deblur.trail(face(), degradation(0.5, motion=14.0)) is None
    assert deblur.trail(torch.full((3, 64, 64), 0.5), degradation(0.5, motion=14.0)) is None


@pytest.mark.parametrize("native", (3.0, 30.0))
def test_a_face_of_a_few_pixels_cannot_show_a_trail(native):
    crop = moved(face(), 14, 50)
    assert deblur.trail(crop, degradation(0.5, motion=14.0, angle=50.0), native) is None


@pytest.mark.parametrize("size", (16, 257, 600))
def test_flat_crops_stay_flat(size):
    flat = torch.full((3, size, size), 0.3)
    for trail in (Trail(9.0, 20.0), Trail(0.0, 0.0, 3.0), Trail(500.0, 0.0, 200.0, 0.1)):
        assert torch.allclose(deblur.deblur(flat, trail), flat, atol=1e-5)


def test_grey_stays_grey_and_within_the_range():
    grey = moved(face(), 12, 30).mean(0, keepdim=True).expand(3, -1, -1)
    clear = deblur.deblur(grey, Trail(12.0, 30.0))
    assert torch.allclose(clear[0], clear[2], atol=1e-5)
    assert float(clear.min()) >= 0 and float(clear.max()) <= 1


def test_the_more_noise_the_less_is_divided():
    crop = moved(face(), 12, 30)
    change = [
        float((deblur.deblur(crop, Trail(12.0, 30.0, noise=noise)) - crop).square().mean())
        for noise in (0.0, 0.01, 0.05)
    ]
    assert change[0] > change[1] > change[2]


def test_a_lens_blur_is_divided_out_where_it_is_the_worst_and_little_noise_is():
    assert deblur.lens(degradation()) is None
    assert deblur.lens(degradation(0.5, motion=9.0, blur=3.0)) is None
    assert deblur.lens(degradation(0.5, blur=3.0, noise=20.0)) is None
    assert 2 < deblur.lens(degradation(0.5, blur=3.0, noise=2.0)).sigma < 3
    both = degradation(0.5, jpeg=40.0, blur=3.0)
    alike = tuple(replace(one, severity=0.3) if one.severity else one for one in both.findings)
    assert deblur.lens(replace(both, findings=alike)) is not None, "two may be the worst"


def test_detail_is_divided_out_as_far_as_the_restorer_bears_it_out():
    flat = torch.full((3, 128, 128), 0.4)
    wave = 0.1 * torch.sin(torch.arange(128) * 2 * torch.pi * 0.4).expand(3, 128, 128)
    weak, strong = flat + 0.3 * wave, flat + wave
    borne_out = deblur.shared(flat, weak, strong, strong)
    assert torch.allclose(borne_out, flat + 0.86 * wave, atol=0.01), "four fifths of the way"
    across = flat + wave.transpose(1, 2)
    other = deblur.shared(flat, weak, across, across)
    assert torch.equal(other, weak), "nothing alike: the restorer's"
    lighter = deblur.shared(flat, weak, weak + 0.3, weak + 0.3)
    assert torch.allclose(lighter, weak, atol=1e-5), "tones stay"
