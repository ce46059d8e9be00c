import numpy as np
import pytest
import torch

from kintsugi import samples
from kintsugi.stages import symmetry
from kintsugi.stages.fill import fill


@pytest.fixture(scope="module")
def even():
    """A face (3, 256, 256) that is its own mirror image."""
    face = samples.portraits()["collins"].crop((97, 0, 353, 256))
    crop = torch.from_numpy(np.array(face)).float().permute(2, 0, 1) / 255
    return (crop + crop.flip(-1)) / 2


def ellipse(middle, axes):
    at = torch.arange(256) + 0.5
    x, y = (at - middle[0]) / axes[0], (at[:, None] - middle[1]) / axes[1]
    return (x**2 + y**2 < 1).float()


def plainly(crop, holes):
    spoilt = torch.where(holes > 0.5, 0.9, crop)
    return fill(spoilt.permute(1, 2, 0), holes).permute(2, 0, 1)


EYE = ellipse((98, 120), (24, 17))


@pytest.mark.parametrize("moved", [0, 9, -14])
def test_a_hole_over_an_eye_takes_the_other_eye(even, moved):
    crop, hole = even.roll(moved, -1), EYE.roll(moved, -1)
    plain = plainly(crop, hole)
    found = symmetry.complete(plain, hole)
    inside = hole > 0.5

    def error(picture):
        return float((picture - crop)[:, inside].square().mean())

    assert error(found) < error(plain) / 4
    assert torch.equal(found[:, ~inside], plain[:, ~inside])


def test_light_from_one_side_is_kept(even):
    lit = even * torch.linspace(1.1, 0.6, 256)
    plain = plainly(lit, EYE)
    found = symmetry.complete(plain, EYE)
    inside = EYE > 0.5
    change = (found - lit)[:, inside].mean()
    assert abs(float(change)) < 0.03


def test_scratches_are_left_as_they_were_filled(even):
    scratch = torch.zeros(256, 256)
    scratch[40:220, 97:100] = 1
    plain = plainly(even, scratch)
    assert torch.equal(symmetry.complete(plain, scratch), plain)


def test_what_is_not_symmetric_is_left_alone(even):
    noise = torch.rand(1, 3, 32, 16, generator=torch.Generator().manual_seed(0))
    other = even.clone()
    other[..., 128:] = torch.nn.functional.interpolate(noise, (256, 128), mode="bicubic")[0]
    plain = plainly(other.clamp(0, 1), EYE)
    assert torch.equal(symmetry.complete(plain, EYE), plain)


def test_an_eye_that_both_sides_lack_is_left_alone(even):
    holes = torch.maximum(EYE, EYE.flip(-1))
    plain = plainly(even, holes)
    assert torch.allclose(symmetry.complete(plain, holes), plain, atol=1e-6)


@pytest.mark.parametrize("side", [16, 64, 100, 257])
def test_crops_of_any_size(even, side):
    crop = torch.nn.functional.interpolate(even[None], (side, side), mode="area")[0]
    hole = torch.nn.functional.interpolate(EYE[None, None], (side, side), mode="nearest-exact")
    found = symmetry.complete(crop, hole[0, 0])
    assert found.shape == crop.shape and bool(torch.isfinite(found).all())


def test_a_crop_that_is_all_hole_is_left_alone(even):
    assert torch.equal(symmetry.complete(even, torch.ones(256, 256)), even)
    assert torch.equal(symmetry.complete(even, torch.zeros(256, 256)), even)
