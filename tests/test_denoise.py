"""Denoise: strong noise is taken down before a restorer, of any colour and grain."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from damage_for_tests import degradation
from faces_for_tests import place, smooth_picture

from kintsugi import samples
from kintsugi.stages import denoise
from kintsugi.stages.colour import luma
from kintsugi.stages.denoise import Noise
from kintsugi.stages.restore import restore


def picture(size: int = 256) -> torch.Tensor:
    """(3, size, size), hills with an edge through them."""
    coarse = smooth_picture(128, 128).permute(0, 3, 1, 2)
    hills = F.interpolate(coarse, (size, size), mode="bicubic")[0]
    hills[:, :, size // 2 :] *= 0.5
    return hills.clamp(0, 1)


def noisy(clean: torch.Tensor, deviation: float, channels: int = 3, grain: int = 1):
    generator = torch.Generator().manual_seed(0)
    side = clean.shape[-1]
    noise = torch.randn(1, channels, side // grain, side // grain, generator=generator)
    noise = F.interpolate(noise, (side, side), mode="nearest")[0]
    return (clean + deviation / 255 * noise).clamp(0, 1)


def psnr(one: torch.Tensor, other: torch.Tensor) -> float:
    return -10 * math.log10(float((one - other).square().mean()))


@pytest.mark.parametrize("channels", (1, 3))
@pytest.mark.parametrize(("deviation", "grain"), ((8, 1), (25, 1), (45, 1), (25, 2)))
def test_noise_is_taken_down(channels, deviation, grain):
    clean = picture()
    crop = noisy(clean, deviation, channels, grain)
    quiet = denoise.denoise(crop, Noise(deviation / 255, grain))
    assert quiet.shape == crop.shape and 0 <= float(quiet.min()) <= float(quiet.max()) <= 1
    gain = psnr(quiet, clean) - psnr(crop, clean)
    # Weak noise that the colours have too is the restorer's.
    assert gain > (4 if deviation > 10 else 2 if channels == 1 else 0)


def test_weak_noise_in_brightness_is_left_to_the_restorer_where_the_colours_have_as_much():
    clean = picture()

    def moved(channels: int, deviation: float) -> float:
        """How much brightness changes, in shares of the noise in it."""
        crop = noisy(clean, deviation, channels)
        quiet = denoise.denoise(crop, Noise(deviation / 255))
        change = luma((quiet - crop)[None]).std()
        return float(change / luma((crop - clean)[None]).std())

    assert moved(1, 6) > 0.3 > 0.05 > moved(3, 6)
    steps = [moved(3, deviation) for deviation in (8, 10, 12, 14, 16, 20)]
    assert steps == sorted(steps) and steps[-1] > 0.5, "more with more noise"
    assert max(b - a for a, b in zip(steps, steps[1:], strict=False)) < 0.4, "and by degrees"


def test_an_edge_stays():
    clean = picture()
    quiet = denoise.denoise(noisy(clean, 15), Noise(15 / 255))
    step = clean[:, 60:200, 131] - clean[:, 60:200, 124]
    kept = quiet[:, 60:200, 131] - quiet[:, 60:200, 124]
    assert float(kept.mean() / step.mean()) > 0.9


def test_colours_without_noise_are_left_alone():
    crop = noisy(0.5 * picture() + 0.25, 20, channels=1)
    quiet = denoise.denoise(crop, Noise(20 / 255))
    colour = [one[0] - one[2] for one in (crop, quiet)]
    assert torch.allclose(*colour, atol=1e-5)


@pytest.mark.parametrize("side", (16, 17, 64, 100, 512))
@pytest.mark.parametrize("grain", (1.0, 5.0, 32.0))
def test_crops_and_grains_of_any_size_do(side, grain):
    quiet = denoise.denoise(noisy(picture(side), 25), Noise(25 / 255, grain))
    assert quiet.shape == (3, side, side) and bool(torch.isfinite(quiet).all())


def test_what_is_told_decides():
    assert denoise.told(degradation(0.3, blur=3.0)) is None
    assert denoise.told(degradation(0.3, noise=4.0)) is None
    assert denoise.told(degradation(0.5, noise=25.5)) == Noise(0.1)
    assert denoise.told(degradation(0.5, noise=25.5, grain=3.0)) == Noise(0.1, 3.0)


def test_auto_takes_noise_down_first():
    face = samples.portraits()["collins"].crop((97, 0, 353, 256))
    clean = torch.from_numpy(np.array(face)).permute(2, 0, 1) / 255
    crops = noisy(clean, 40).permute(1, 2, 0)[None]
    faces = place(300, 300, [(150, 150, 256, 0)])
    found = degradation(0.7, noise=40.0)
    faces = faces.with_faces(replace(face, degradation=found) for face in faces)
    auto = restore(crops, faces=faces)
    assert "noise taken down first" in auto.reasons[0]
    alone = restore(crops, model="kintsugi-restorer", fidelity=1.0)
    with_it, without = (psnr(one.crops[0].permute(2, 0, 1), clean) for one in (auto, alone))
    assert with_it > without + 1.5
