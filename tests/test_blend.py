"""Blend: bit for bit outside the mask, nothing lost inside it, neighbours at peace."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from faces_for_tests import grainy_picture, place, smooth_picture

from kintsugi.stages.blend import blend
from kintsugi.stages.colour import match
from kintsugi.stages.landmark_align import align, footprint

PLACEMENTS = [(150, 140, 180, 10), (330, 300, 90, -40), (420, 160, 260, 180)]


def scene(dtype=torch.float32, channels: int = 3, placements=PLACEMENTS, frames: int = 1):
    picture = grainy_picture(480, 560, channels).to(dtype).expand(frames, -1, -1, -1).contiguous()
    crops, faces = align(picture, place(480, 560, placements, frames), size=256)
    return picture, crops, faces


def repaint(crops: torch.Tensor) -> torch.Tensor:
    return (crops * 0.6 + 0.3 * torch.linspace(0, 1, crops.shape[2])[:, None]).clamp(0, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_outside_the_mask_every_bit_is_the_input(dtype, channels):
    picture, crops, faces = scene(dtype, channels)
    result, mask = blend(picture, repaint(crops), faces)
    assert result.dtype == dtype
    assert result.shape == picture.shape
    outside = mask == 0
    assert 0.3 < outside.float().mean() < 0.95
    assert torch.equal(result[outside], picture[outside])
    assert not torch.equal(result, picture)
    if channels == 4:
        assert torch.equal(result[..., 3], picture[..., 3])


@pytest.mark.parametrize("levels", [255, 65535])
def test_integer_sources_survive_the_way_through_float(levels):
    source = (grainy_picture(300, 300) * levels).round()
    picture = (source / levels).float()
    crops, faces = align(picture, place(300, 300, [(150, 150, 120, 0)]), size=256)
    result, mask = blend(picture, repaint(crops), faces)
    back = (result * levels).round()
    assert torch.equal(back[mask == 0], source[mask == 0])


def test_the_input_is_not_written_to():
    picture, crops, faces = scene()
    before = picture.clone()
    blend(picture, repaint(crops), faces)
    assert torch.equal(picture, before)


@pytest.mark.parametrize("side", [100, 400, 800, 1400])
@pytest.mark.parametrize("colour", ["match", "none"])
def test_doing_nothing_changes_nothing(side, colour):
    """Grain included: what the crop cannot carry is put back."""
    picture = grainy_picture(1500, 1500)
    crops, faces = align(picture, place(1500, 1500, [(750, 745, side, 12)]))
    result, mask = blend(picture, crops, faces, colour=colour)
    assert mask.max() == 1
    assert (result - picture).abs().max() < 1e-5


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_crop_that_came_another_way_unchanged_changes_nothing(dtype, channels):
    """Rounded to the type that ComfyUI passes on, and no longer where it was cut."""
    picture, crops, faces = scene(dtype, channels)
    result, _ = blend(picture, crops.to(dtype, copy=True), faces)
    assert torch.equal(result, picture)


def test_a_crop_that_nobody_changed_leaves_the_upscaled_picture_alone():
    picture, crops, faces = scene()
    larger = grainy_picture(960, 1120, 3, seed=5)
    result, mask = blend(picture, crops.clone(), faces, upscaled=larger)
    assert torch.equal(result, larger) and mask.max() == 1
    changed = crops.clone()
    changed[1] = repaint(crops[1:2])[0]
    result, _ = blend(picture, changed, faces, upscaled=larger)
    where = (result != larger).any(-1)[0]
    x, y, side = (2 * value for value in PLACEMENTS[1][:3])
    assert where[y - 10 : y + 10, x - 10 : x + 10].all()
    where[y - side : y + side, x - side : x + side] = False
    assert not where.any(), "the other two faces are as they came"


def test_a_crop_that_nobody_changed_does_not_bring_damage_back():
    truth = smooth_picture(300, 300)
    damage = torch.zeros(300, 300)
    damage[:, 148:152] = 1
    picture = truth.clone()
    picture[0, damage > 0] = 1.0
    crops, faces = align(picture, place(300, 300, [(150, 150, 200, 0)]), size=256)
    result, mask = blend(picture, crops, faces, damage=damage)
    at = damage > 0
    assert (result - truth)[0, at].abs().mean() < 0.1 * (picture - truth)[0, at].abs().mean()
    assert mask[0, at].min() == 1
    grey = picture[..., :1]
    crops, faces = align(grey, place(300, 300, [(150, 150, 200, 0)]), size=256)
    larger = F.interpolate(truth.permute(0, 3, 1, 2), scale_factor=2.0).permute(0, 2, 3, 1)
    result, _ = blend(grey, crops, faces, upscaled=larger)
    assert torch.equal(result, larger)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_unchanged_crop_keeps_every_value_of_any_picture(dtype):
    picture = (grainy_picture(200, 200) * 1.4 - 0.2).to(dtype)
    crops, faces = align(picture, place(200, 200, [(100, 100, 120, 0)]), size=128)
    result, _ = blend(picture, crops, faces)
    assert torch.equal(result, picture)


def test_a_denoised_small_face_does_not_get_its_noise_back():
    picture = grainy_picture(400, 400)
    clean = smooth_picture(400, 400)
    faces = place(400, 400, [(200, 200, 200, 0)])
    crops, aligned = align(clean, faces)
    result, mask = blend(picture, crops, aligned, grain=0)
    middle = mask > 0.99
    assert (result - clean)[middle].std() < 0.25 * (picture - clean)[middle].std()


def test_neighbours_do_not_fight():
    """Where two faces overlap the result lies between the two repaints, without an edge."""
    picture = smooth_picture(300, 400)
    crops, faces = align(picture, place(300, 400, [(160, 150, 160, 0), (240, 150, 160, 0)]))
    result, mask = blend(picture, (crops + 0.1).clamp(0, 1), faces, colour="none")
    shift = (result - picture)[0, 150, 140:260].mean(-1)
    assert float(shift.min()) > 0.08
    assert float(shift.max()) < 0.11


def test_order_of_overlapping_faces_does_not_matter():
    picture = grainy_picture(300, 400)
    placements = [(160, 150, 160, 0), (240, 150, 160, 0)]
    crops, faces = align(picture, place(300, 400, placements))
    forward, _ = blend(picture, repaint(crops), faces)
    crops, faces = align(picture, place(300, 400, placements[::-1]))
    backward, _ = blend(picture, repaint(crops), faces)
    assert torch.allclose(forward, backward, atol=1e-5)


def test_frames_keep_their_own_faces_and_their_number():
    picture, crops, faces = scene(placements=[(150, 140, 180, 0, 2)], frames=3)
    result, mask = blend(picture, repaint(crops), faces)
    assert result.shape == picture.shape
    assert torch.equal(result[:2], picture[:2])
    assert mask[:2].max() == 0 and mask[2].max() == 1


def test_the_feather_is_proportional_to_the_face():
    widths = []
    for side in (60, 600):
        picture = torch.zeros(1, 900, 900, 3)
        crops, faces = align(picture, place(900, 900, [(450, 450, side, 0)]))
        _, mask = blend(picture, crops, faces)
        row = mask[0, 450]
        widths.append(float(((row > 0.02) & (row < 0.98)).sum()) / side)
    assert widths[0] == pytest.approx(widths[1], rel=0.15)


def test_the_mask_ends_softly_inside_the_crop():
    picture, crops, faces = scene()
    _, mask = blend(picture, crops, faces)
    covered = footprint(faces)
    assert torch.equal(mask[covered == 0], torch.zeros_like(mask[covered == 0]))
    step = max(float(mask.diff(dim=d).abs().max()) for d in (1, 2))
    assert step < 0.2


def test_a_face_half_outside_the_picture():
    picture = grainy_picture(300, 300)
    crops, faces = align(picture, place(300, 300, [(0, 150, 200, 0), (310, 310, 180, 30)]))
    result, mask = blend(picture, repaint(crops), faces)
    assert torch.equal(result[mask == 0], picture[mask == 0])
    assert mask[0, 150, 0] > 0.9  # no feather towards the picture's own border


def test_crops_resized_by_another_node_are_understood():
    picture, crops, faces = scene()
    larger = torch.nn.functional.interpolate(
        repaint(crops).permute(0, 3, 1, 2), size=(512, 512), mode="bicubic"
    ).permute(0, 2, 3, 1)
    one, _ = blend(picture, repaint(crops), faces)
    other, _ = blend(picture, larger.clamp(0, 1), faces)
    assert (one - other).abs().mean() < 2e-3


def test_no_face_and_no_opacity_return_the_picture():
    picture, crops, faces = scene()
    for result, mask in (
        blend(picture, crops, faces, opacity=0),
        blend(picture, crops[:0], faces.with_faces(())),
    ):
        assert torch.equal(result, picture)
        assert mask.shape == picture.shape[:3] and mask.max() == 0


def test_a_mask_and_opacity_each_take_their_share():
    picture, crops, faces = scene()
    half = torch.full((480, 560), 0.5)
    options = {"colour": "none", "grain": 0.0, "sharpness": "as is"}
    full, shown = blend(picture, repaint(crops), faces, **options)
    for given, share in (({"mask": half}, 0.5), ({"mask": half, "opacity": 0.5}, 0.25)):
        result, mask = blend(picture, repaint(crops), faces, **options, **given)
        assert torch.allclose(result - picture, share * (full - picture), atol=1e-5)
        assert torch.allclose(mask, share * shown, atol=1e-5)


def test_it_is_said_why_nothing_happened():
    picture, crops, faces = scene()
    for options, why in (({"opacity": 0}, "opacity 0"), ({}, "no face")):
        notes = []
        shown = faces if options else faces.with_faces([])
        blend(picture, crops[: len(shown)], shown, notes=notes, **options)
        assert notes == [f"{why}: nothing was changed"]


def test_damage_without_a_face_is_filled_and_told():
    picture, crops, faces = scene()
    none = faces.with_faces(())
    damage = torch.zeros(480, 560)
    damage[100:104] = 1
    for holes, told in ((damage, "the damage was filled"), (damage * 0, "nothing was changed")):
        notes = []
        result, mask = blend(picture, crops[:0], none, damage=holes, notes=notes)
        assert notes == [f"no face: {told}"]
        assert torch.equal(result[mask == 0], picture[mask == 0])
        assert bool(mask.any()) == bool(holes.any()) != torch.equal(result, picture)
    empty, mask = blend(picture[:0], crops[:0], replace(none, frames=0), damage=damage)
    assert empty.shape[0] == mask.shape[0] == 0


def test_frames_with_a_face_in_the_same_place_do_not_mix():
    picture, crops, faces = scene(placements=[(200, 200, 200, 0), (200, 200, 200, 0, 1)], frames=2)
    changed = torch.cat([repaint(crops[:1]), crops[1:] * 0.3])
    both, _ = blend(picture, changed, faces, colour="none")
    for frame in range(2):
        own = replace(faces, faces=(replace(faces[frame], frame=0),), frames=1)
        single, _ = blend(picture[:1], changed[frame : frame + 1], own, colour="none", seed=frame)
        assert torch.equal(both[frame], single[0])


def test_same_input_same_bits():
    picture, crops, faces = scene()
    assert torch.equal(*(blend(picture, repaint(crops), faces)[0] for _ in range(2)))


def test_errors_say_what_and_why():
    picture, crops, faces = scene()
    with pytest.raises(ValueError, match="2 crops for 3 faces"):
        blend(picture, crops[:2], faces)
    with pytest.raises(ValueError, match="480"):
        blend(picture[:, :100], crops, faces)
    with pytest.raises(ValueError, match="feather is 1.5"):
        blend(picture, crops, faces, feather=1.5)
    with pytest.raises(ValueError, match="match, none"):
        blend(picture, crops, faces, colour="wavelet!")
    with pytest.raises(ValueError, match="NaN"):
        blend(picture * math.nan, crops, faces)


def test_match_gives_back_the_tones():
    before = grainy_picture(128, 128).permute(0, 3, 1, 2)
    tinted = (before * torch.tensor([0.8, 1.0, 1.1])[:, None, None] * 0.9).clamp(0, 1)
    after = match(tinted, before)
    drift = (after.mean((2, 3)) - before.mean((2, 3))).abs().max()
    assert drift < 0.01 < (tinted.mean((2, 3)) - before.mean((2, 3))).abs().max()


def test_grey_crops_go_into_a_picture_in_colour():
    picture, crops, faces = scene()
    grey = crops.mean(-1, keepdim=True)
    options = {"colour": "none", "tone": "free", "grain": 0}
    result, _ = blend(picture, grey, faces, **options)
    wanted, _ = blend(picture, grey.expand_as(crops).contiguous(), faces, **options)
    assert torch.equal(result, wanted)


def test_grey_pictures_of_one_channel_and_of_three_come_out_alike():
    picture, crops, faces = scene()
    soft = F.avg_pool2d(crops.permute(0, 3, 1, 2), 5, 1, 2).permute(0, 2, 3, 1)
    # So little is changed that it counts how much.
    grey, crops = (each.mean(-1, keepdim=True) for each in (picture, crops.lerp(soft, 0.3)))
    one, _ = blend(grey, crops, faces, grain=0)
    three, _ = blend(grey.expand_as(picture).contiguous(), crops, faces, grain=0)
    assert not torch.equal(one, grey)
    assert torch.allclose(one.expand_as(three), three, atol=1e-3)
