"""Geometry: fits, inverses, and warps that neither shift, alias nor touch what they need not."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from faces_for_tests import place, smooth_picture

from kintsugi.stages import geometry


def rotation(degrees: float, scale: float, shift=(0.0, 0.0)) -> torch.Tensor:
    turn = math.radians(degrees)
    cos, sin = scale * math.cos(turn), scale * math.sin(turn)
    return torch.tensor([[cos, -sin, shift[0]], [sin, cos, shift[1]]])


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return -10 * math.log10(float((a - b).square().mean()) + 1e-12)


@pytest.mark.parametrize("degrees", [0, 30, 90, 180, 271])
@pytest.mark.parametrize("scale", [0.1, 1.0, 7.3])
def test_similarity_recovers_the_transform_it_was_given(degrees, scale):
    wanted = rotation(degrees, scale, (12.5, -3.0))
    points = torch.tensor([[0.0, 0.0], [40.0, 3.0], [20.0, 30.0], [5.0, 50.0], [36.0, 48.0]])
    found = geometry.similarity(points[None], geometry.transform(wanted, points))[0]
    assert torch.allclose(found, wanted, atol=1e-3)


def test_similarity_never_mirrors_a_face():
    points = geometry.template("ffhq").points(512)
    mirrored = points * torch.tensor([-1.0, 1.0])
    assert torch.linalg.det(geometry.similarity(points[None], mirrored)[0, :, :2]) > 0


def test_similarity_names_points_that_coincide():
    with pytest.raises(ValueError, match="coincide"):
        geometry.similarity(torch.ones(1, 5, 2), geometry.template("ffhq").points(512))


@pytest.mark.parametrize("name", geometry.TEMPLATES)
def test_templates_scale_pixel_areas_and_margin_shrinks_around_the_centre(name):
    template = geometry.template(name)
    once, twice = template.points(template.size), template.points(2 * template.size)
    assert torch.allclose(twice, (once + 0.5) * 2 - 0.5)
    assert torch.allclose(once.float(), torch.tensor(template.five_points))
    centre = (template.size - 1) / 2
    assert torch.allclose(template.points(template.size, 0.5) - centre, (once - centre) / 2)


def test_unknown_template_names_the_known_ones():
    with pytest.raises(ValueError, match="ffhq, arcface112"):
        geometry.template("gpen")


def test_invert_and_compose_are_inverses():
    matrix = rotation(33, 2.4, (7, 9))
    identity = geometry.compose(geometry.invert(matrix), matrix)
    assert torch.allclose(identity, torch.eye(2, 3), atol=1e-5)


def test_resized_matrix_shows_the_same_view():
    matrix = rotation(10, 1.7, (4, 5))
    corner = geometry.transform(geometry.invert(matrix), torch.tensor([[-0.5, -0.5]]))
    other = geometry.transform(geometry.resized(matrix, 512, 128), corner)
    assert torch.allclose(other, torch.tensor([[-0.5, -0.5]]), atol=1e-4)


@pytest.mark.parametrize("side", [60, 200, 512, 1400])
@pytest.mark.parametrize("degrees", [0, 25, 90, 200])
def test_align_then_inverse_is_the_identity(side, degrees):
    picture = smooth_picture(1600, 1600)[0]
    faces = place(1600, 1600, [(803.3, 790.8, side, degrees)])
    points = geometry.template("ffhq").points(512)
    matrix = geometry.similarity(faces[0].points[None], points)[0]
    there_and_back = geometry.transform(
        geometry.invert(matrix), geometry.transform(matrix, faces[0].points)
    )
    assert (there_and_back - faces[0].points).abs().max() < 0.05
    region = geometry.footprint(matrix, 512, 1600, 1600)
    back = geometry.put(geometry.cut(picture, matrix, 512), matrix, region)[0].permute(1, 2, 0)
    at = geometry.transform(matrix, geometry.grid(region).flatten(0, 1))
    inside = ((at > 8) & (at < 503)).all(-1).view(region.height, region.width)
    assert psnr(back[inside], picture[region.slices()][inside]) > 45


@pytest.mark.parametrize("side", [100, 512, 2048])
def test_cut_puts_a_ramp_where_the_matrix_says(side):
    """A picture whose value is its own x coordinate shows any sub-pixel shift."""
    size = 2400
    ramp = (torch.arange(size) / size).expand(size, size)[..., None]
    matrix = geometry.similarity(
        place(size, size, [(1199.5, 1199.5, side, 0)])[0].points[None],
        geometry.template("ffhq").points(512),
    )[0]
    crop = geometry.cut(ramp, matrix, 512)[0, 0]
    wanted = geometry.transform(
        geometry.invert(matrix), torch.stack([torch.arange(512.0)] * 2, -1)
    )[:, 0]
    error = (crop[256] * size - wanted)[8:-8].abs().max()
    assert error / max(side / 512, 1) < 0.05


def test_a_large_face_does_not_alias():
    """Stripes finer than the crop can show must become grey, not moire."""
    size = 2048
    stripes = (torch.arange(size) % 3 == 0).float().expand(size, size)[..., None]
    matrix = geometry.similarity(
        place(size, size, [(1023.5, 1023.5, size, 5)])[0].points[None],
        geometry.template("ffhq").points(512),
    )[0]
    crop = geometry.cut(stripes, matrix, 512)[0, 0, 50:-50, 50:-50]
    assert crop.std() < 0.05
    assert abs(float(crop.mean()) - 1 / 3) < 0.01


def test_cut_beyond_the_picture_mirrors_and_far_outside_is_grey():
    picture = smooth_picture(200, 200)[0]
    matrix = rotation(0, 1.0, (100, 100))  # crop's middle is the picture's top-left corner
    crop = geometry.cut(picture, matrix, 200)[0]
    assert torch.allclose(crop[:, 100:, 99], crop[:, 100:, 100], atol=0.05)
    far = geometry.cut(picture, rotation(0, 1.0, (5000, 0)), 64)
    assert torch.equal(far, torch.full((1, 3, 64, 64), 0.5))


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (2, 3)])
def test_tiny_pictures_are_cut_without_trouble(shape):
    crop = geometry.cut(torch.full((*shape, 3), 0.25), rotation(20, 3.0, (30, 30)), 64)
    assert torch.allclose(crop, torch.full_like(crop, 0.25), atol=1e-3)


def test_footprint_is_clipped_and_may_be_empty():
    inside = geometry.footprint(rotation(0, 1.0, (-10, -20)), 50, 100, 100)
    assert (inside.left, inside.top, inside.right, inside.bottom) == (9, 19, 61, 71)
    clipped = geometry.footprint(rotation(0, 1.0, (20, 20)), 50, 100, 100)
    assert (clipped.left, clipped.top) == (0, 0)
    assert geometry.footprint(rotation(0, 1.0, (500, 0)), 50, 100, 100).empty


@pytest.mark.parametrize("count", [1, 3])
def test_sampling_in_bands_is_sampling_at_once(count):
    """A height that the bands do not divide, seen through a turned grid that leaves the picture."""
    picture = torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    grid = F.affine_grid(
        torch.tensor([[[0.9, 0.3, 0.4], [-0.3, 0.9, 0.1]]]), [1, 1, 37, 41], align_corners=False
    ).expand(count, -1, -1, -1)
    wanted = F.grid_sample(
        picture, grid[:1], mode="bicubic", padding_mode="reflection", align_corners=False
    )
    got = geometry.resample(picture, grid, "bicubic", "reflection")
    assert got.shape == (count, 3, 37, 41)
    assert all(torch.equal(each, wanted[0]) for each in got)


def test_cutting_inside_the_picture_is_what_cutting_at_its_border_would_be():
    """Inside, where nothing is mirrored, a cheaper way is taken."""
    picture = smooth_picture(300, 300)[0]
    matrix = rotation(17, 1.3, (-60, -30))
    inside = geometry.cut(picture, matrix, 128)
    part = geometry.footprint(matrix, 128, 300, 300, grow=3)
    local = matrix.clone()
    local[:, 2] -= matrix[:, :2] @ part.shift()
    mirrored = geometry.warp(geometry.planes(picture[part.slices()]), local, 128, 128)
    assert torch.allclose(inside, mirrored, atol=1e-6)
