"""Blend's finish: bounds, joins, tones, grain, sharpness, larger pictures, old photographs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from damage_for_tests import degradation
from faces_for_tests import grainy_picture, place, smooth_picture

from kintsugi.models import zoo
from kintsugi.stages import (
    artefacts,
    colour,
    detail,
    geometry,
    grain,
    masks,
    placing,
    seams,
    sharpness,
)
from kintsugi.stages.blend import blend
from kintsugi.stages.degradation_estimate import KINDS, Degradation, Finding
from kintsugi.stages.fill import fill, missing
from kintsugi.stages.host import Host
from kintsugi.stages.landmark_align import align


def planes(picture: torch.Tensor) -> torch.Tensor:
    return picture.permute(0, 3, 1, 2)


def aligned(picture: torch.Tensor, side: float = 180, size: int = 256, degrees: float = 8):
    height, width = picture.shape[1:3]
    return align(picture, place(height, width, [(width / 2, height / 2, side, degrees)]), size=size)


def softened(crops: torch.Tensor) -> torch.Tensor:
    """What a restorer does to grain."""
    padded = F.pad(planes(crops), (4, 4, 4, 4), mode="replicate")
    return F.avg_pool2d(padded, 9, 1).permute(0, 2, 3, 1)


def energies(*pictures: torch.Tensor) -> torch.Tensor:
    greys = torch.cat([detail.grey(picture) for picture in pictures])
    soft = detail.soften(detail.soften(greys))
    return sharpness.octaves(soft, detail.halved((greys - soft).square()))


def rings(side: int) -> torch.Tensor:
    """A ramp of the kind `masks.ramp` makes."""
    at = (torch.arange(side) + 0.5) / side * 2 - 1
    return ((0.9 - (at[:, None] ** 2 + at**2).sqrt()) / 0.4).clamp(0, 1)[None, None]


@pytest.mark.parametrize("join", seams.JOINS)
def test_every_join_gives_all_of_a_change_inside_and_none_outside(join):
    ramp = rings(64)
    change = planes(grainy_picture(128, 128)) - 0.5
    joined = seams.JOINS[join](change, ramp)
    inside = F.interpolate(ramp, 128, mode="bilinear")[0, 0]
    # Blend never writes there; what the coarse bands spread is a step of 8 bits.
    assert joined[..., inside == 0].abs().max() < 4e-3
    middle = slice(56, 72)
    drift = (joined - change)[..., middle, middle]
    if join == "gradient":
        drift = drift - drift.mean((2, 3), keepdim=True)
    assert drift.abs().max() < (0.06 if join == "gradient" else 1e-5)
    assert torch.equal(seams.JOINS[join](change * 0, ramp), change * 0)


def test_bands_fade_tones_widely_and_detail_at_once():
    ramp = torch.linspace(0, 1, 128).expand(128, -1)[None, None]
    tone = torch.ones(1, 1, 128, 128)
    stripes = tone * (1 - 2 * (torch.arange(128)[:, None] % 2))

    def width(change):
        share = (seams.multi_band(change, ramp) * change)[0, 0].mean(0)
        return int(((share > 0.05) & (share < 0.95)).sum())

    assert width(tone) > 2.5 * width(stripes) > 0


def test_gradients_leave_no_edge_where_the_light_differs(monkeypatch):
    """A face that came back half a tone brighter: its rim must not show."""
    picture = smooth_picture(300, 300)
    crops, faces = aligned(picture)
    brighter = (crops * 0.8 + 0.2).clamp(0, 1)
    plain, _ = blend(picture, crops, faces, feather=0.05, colour="none")
    options = {"feather": 0.05, "colour": "none", "sharpness": "as is", "grain": 0}
    notes: list[str] = []
    feathered, mask = blend(picture, brighter, faces, join="feather", notes=notes, **options)
    rim = (mask > 0) & (mask < 1)

    def steep(result):
        change = (result - plain).mean(-1)
        return float((change.diff(dim=1)[:, :, 1:].abs() * rim[:, 1:, 1:]).max())

    graded, _ = blend(picture, brighter, faces, join="gradient", **options)
    assert any("rim" in line for line in notes), "an edge that shows is mended or told"
    monkeypatch.setattr(artefacts, "too_steep", lambda ratio: False)
    raw, _ = blend(picture, brighter, faces, join="feather", **options)
    assert steep(feathered) <= 1.1 * steep(graded) < 0.4 * steep(raw)


def test_a_hull_follows_the_landmarks_and_reaches_the_forehead():
    faces = place(400, 400, [(200, 200, 300, 0)])
    picture = smooth_picture(400, 400)
    _, faces = align(picture, faces, size=256)
    corner = torch.tensor([[120.0, 190.0], [280.0, 190.0], [200.0, 300.0], [200.0, 160.0]])
    marks = corner.repeat(17, 1)
    face = replace(faces[0], landmarks=marks, scheme="ibug68")
    ramp = masks.ramp(face, face.crop.matrix, 256, 0.1, "hull")[0, 0]

    def at(x, y):
        return float(ramp[round((y - 50) / 300 * 128), round((x - 50) / 300 * 128)])

    assert at(200, 230) == 1 and at(200, 130) > 0
    assert at(120, 290) == 0 and at(200, 330) == 0


def test_corners_of_a_convex_hull():
    points = torch.tensor([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0], [2.0, 2.0], [4.0, 2.0]])
    corners = masks.convex_hull(points)
    assert {tuple(corner.tolist()) for corner in corners} == {(0, 0), (4, 0), (4, 4), (0, 4)}


def test_a_parsed_mask_is_what_both_crops_agree_on(monkeypatch):
    """A hat the restorer made up, and a hand only the original has, stay out."""

    class Seen:
        def mask(self, *names):
            both = torch.ones(2, 256, 256)
            both[0, :, :100] = 0
            both[1, 160:] = 0
            return both

    monkeypatch.setattr(masks.parsing, "parse", lambda *crops, **rest: Seen())
    monkeypatch.setattr(masks, "choose_parser", lambda *_: "bisenet")
    picture = grainy_picture(300, 300)
    crops, faces = aligned(picture, degrees=0)
    result, mask = blend(picture, crops * 0.5, faces, shape="parsed", colour="none")
    assert mask[0, 140, 170] > 0.9
    assert mask[0, 150, 60:125].max() == 0
    assert mask[0, 180:, :].max() == 0
    assert torch.equal(result[mask == 0], picture[mask == 0])


def test_without_a_parser_the_oval_is_used_and_said():
    picture = grainy_picture(200, 200)
    crops, faces = aligned(picture, side=120)
    notes: list[str] = []
    _, mask = blend(picture, crops, faces, shape="parsed", notes=notes)
    assert any("no parser" in line for line in notes) and mask.max() == 1


def test_models_without_a_clear_licence_are_refused_where_that_is_asked(monkeypatch):
    picture = grainy_picture(200, 200)
    crops, faces = aligned(picture, side=120)
    options = {"shape": "parsed", "commercial_only": True}
    with pytest.raises(ValueError, match="BiSeNet.*not cleared.*choose another model"):
        blend(picture, softened(crops), faces, parser="bisenet", **options)
    with pytest.raises(ValueError, match="98 points is not cleared"):
        align(picture, faces, landmarks="awing-fan-98", commercial_only=True)
    monkeypatch.setattr(zoo, "_on_disk", lambda card, *_: card.kind == "parser")
    assert masks.choose_parser("auto", Host()) == "bisenet"
    assert masks.choose_parser("auto", Host(), commercial_only=True) is None


def test_a_users_mask_bounds_every_change_also_at_another_size():
    picture = grainy_picture(300, 300)
    crops, faces = aligned(picture)
    small = torch.zeros(1, 150, 150)
    small[:, :, 75:] = 1
    result, mask = blend(picture, crops * 0.5, faces, mask=small)
    assert mask[0, :, :149].max() == 0 and mask[0, 150, 170] == 1
    assert torch.equal(result[mask == 0], picture[mask == 0])
    with pytest.raises(ValueError, match="150 x 100"):
        blend(picture, crops, faces, mask=torch.eye(150)[:100])
    with pytest.raises(ValueError, match="3 masks for 1"):
        blend(picture, crops, faces, mask=torch.ones(3, 300, 300))
    everywhere, _ = blend(picture, crops * 0.5, faces)
    of_one_value, _ = blend(picture, crops * 0.5, faces, mask=torch.ones(64, 32))
    assert torch.equal(of_one_value, everywhere)


def test_a_soft_mask_shows_the_grain_that_less_opacity_shows():
    noise = torch.randn(1, 400, 400, 3, generator=torch.Generator().manual_seed(4)) * 0.012
    picture = smooth_picture(400, 400) * 0.1 + 0.45 + noise
    crops, faces = aligned(picture, side=260)
    added = []
    for options in ({"opacity": 0.5}, {"mask": torch.full((400, 400), 0.5)}):
        with_grain, without = (
            blend(picture, softened(crops), faces, grain=amount, sharpness="as is", **options)[0]
            for amount in (1, 0)
        )
        added.append(float((with_grain - without).std()))
    assert added[0] > 0.002 and added[1] == pytest.approx(added[0], rel=0.1)


@pytest.mark.parametrize("factor", [2.0, 1.37, 0.6])
def test_faces_go_into_a_larger_picture_at_the_right_half_pixel(factor):
    picture = smooth_picture(300, 320)
    crops, faces = aligned(picture)
    size = (round(300 * factor), round(320 * factor))
    larger = F.interpolate(planes(picture), size, mode="bicubic", antialias=factor < 1)
    larger = larger.clamp(0, 1).permute(0, 2, 3, 1).contiguous()
    result, mask = blend(picture, crops, faces, upscaled=larger, colour="none")
    assert result.shape == larger.shape and mask.shape == larger.shape[:3]
    # A shift by half a pixel changes this picture by ten times as much.
    assert (result - larger).abs().mean() < 3e-4
    assert torch.equal(result[mask == 0], larger[mask == 0])


def test_a_larger_picture_of_another_aspect_is_refused():
    picture = smooth_picture(300, 320)
    crops, faces = aligned(picture)
    with pytest.raises(ValueError, match="640 x 500"):
        blend(picture, crops, faces, upscaled=torch.zeros(1, 500, 640, 3))


def test_lost_grain_comes_back_with_its_spectrum_and_colour():
    generator = torch.Generator().manual_seed(4)
    noise = torch.randn(1, 400, 400, 3, generator=generator) * 0.012
    noise = noise + torch.randn(1, 400, 400, 1, generator=generator) * 0.008
    noise[:, :, 1:] = (noise[:, :, 1:] + 0.6 * noise[:, :, :-1]) / 1.17
    picture = smooth_picture(400, 400) * 0.1 + 0.45 + noise
    crops, faces = aligned(picture, side=260)
    clean = softened(crops)
    bare, mask = blend(picture, clean, faces, grain=0, sharpness="as is")
    result, _ = blend(picture, clean, faces, seed=3, sharpness="as is")
    inside, outside = mask[0] > 0.95, mask[0] == 0
    was, now = grain.spectrum(picture[0], outside), grain.spectrum(result[0], inside)
    flat = grain.spectrum(bare[0], inside)
    power, kept, wiped = (x.diagonal(dim1=1, dim2=2).mean(1)[2:9] for x in (was, now, flat))
    assert (wiped < 0.7 * power).any()
    assert ((kept / power).sqrt() - 1).abs().mean() < 0.1
    assert float(kept.sum() / power.sum()) ** 0.5 == pytest.approx(1, abs=0.1)
    again, _ = blend(picture, clean, faces, seed=3, sharpness="as is")
    other, _ = blend(picture, clean, faces, seed=4, sharpness="as is")
    assert torch.equal(result, again) and not torch.equal(result, other)


@pytest.mark.parametrize("side", [120, 250])
@pytest.mark.parametrize("kept", [0.0, 0.6])
@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_grain_is_as_strong_in_the_face_as_around_it(side, kept, coarse, channels):
    """Also in a small face whose shape is louder than its grain, some of which a restorer left."""
    noise = torch.randn(1, 3, 420, 420, generator=torch.Generator().manual_seed(9))
    noise = noise[:, :channels].expand(-1, 3, -1, -1)
    noise = detail.soften(noise) if coarse else noise
    noise = (noise / noise.std() * 3.5 / 255).permute(0, 2, 3, 1)
    shape = smooth_picture(420, 420) * 0.3 + 0.35
    results = []
    for picture, strength in ((shape + noise, 1.0), (shape, 0.0)):
        crops, faces = aligned(picture, side=side)
        clean = softened(crops).lerp(crops, kept)
        results.append(blend(picture, clean, faces, grain=strength, sharpness="as is")[0])
    _, mask = blend(shape, shape.new_ones(1, 64, 64, 3), faces)
    grains = (results[0] - results[1])[mask > 0.95]
    assert float(grains.std() / noise.std()) == pytest.approx(1, abs=0.12)


def test_damage_is_not_grain():
    picture = (smooth_picture(300, 300) * 0.2 + 0.4) + torch.randn(
        1, 300, 300, 3, generator=torch.Generator().manual_seed(1)
    ) * 0.08
    crops, faces = aligned(picture.clamp(0, 1))
    clean = softened(crops)
    bare, _ = blend(picture, clean, faces, grain=0)
    assert torch.equal(blend(picture, clean, faces, grain=1)[0], bare)
    assert not torch.equal(blend(picture, clean, faces, grain=2)[0], bare)


@pytest.mark.parametrize("side", [1, 3, 4, 6, 8])
def test_crops_of_a_few_pixels_are_blended_too(side):
    picture = smooth_picture(300, 300) * 0.5 + 0.2
    crops, faces = aligned(picture)
    few = F.interpolate(crops.permute(0, 3, 1, 2), (side, side), mode="area").permute(0, 2, 3, 1)
    result, mask = blend(picture, few * torch.tensor([0.9, 1.0, 1.05]), faces)
    assert bool(torch.isfinite(result).all()) and torch.equal(result[mask == 0], picture[mask == 0])


def test_of_noise_that_is_more_than_grain_some_comes_back():
    noise = torch.randn(1, 420, 420, 3, generator=torch.Generator().manual_seed(2)) * 10 / 255
    picture = smooth_picture(420, 420) * 0.2 + 0.4 + noise
    crops, faces = aligned(picture, side=300)
    bare, mask = blend(picture, softened(crops), faces, grain=0)
    some, _ = blend(picture, softened(crops), faces, grain=1)
    back = float((some - bare)[mask > 0.95].std()) * 255
    assert 1 < back < 5


def test_sharpness_is_the_steepness_of_edges_not_their_number():
    def edges(period: int, blurred: int) -> torch.Tensor:
        x = torch.arange(256)
        row = ((x // period) % 2).float() * 0.6 + 0.2
        picture = row.expand(1, 3, 256, 256)
        for _ in range(blurred):
            picture = F.avg_pool2d(F.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, 1)
        return picture

    everywhere = torch.ones(128, 128, dtype=torch.bool)
    sharp, many, soft = (
        sharpness.measure(energies(edges(*kind))[0], everywhere)
        for kind in ((32, 1), (16, 1), (32, 4))
    )
    assert sharp == pytest.approx(many, rel=0.25)
    assert soft < 0.7 * sharp


def test_a_face_sharper_than_its_picture_is_softened_and_one_softer_sharpened():
    blurred = planes(grainy_picture(256, 256))
    for _ in range(6):
        blurred = F.avg_pool2d(F.pad(blurred, (1, 1, 1, 1), mode="replicate"), 3, 1)
    steps = planes(smooth_picture(256, 256)).mul(8).round().div(8)
    ramp = rings(128)
    assert sharpness.gain(energies(blurred, steps), ramp, "match", 0.1) < 0.9
    mild = F.avg_pool2d(F.pad(steps, (1, 1, 1, 1), mode="replicate"), 3, 1)
    mild = F.avg_pool2d(F.pad(mild, (1, 1, 1, 1), mode="replicate"), 3, 1)
    found = energies(steps, mild)
    assert sharpness.gain(found, ramp, "match", 0.1) > 1.1
    assert sharpness.gain(found, ramp, "as is", 0.1) == 1
    assert sharpness.gain(found, ramp, "match", 0.0) == 1


def test_a_face_found_soft_is_not_softened_to_its_surroundings():
    """What is around it has the same blur, which the restorer has just taken away."""
    picture = planes(grainy_picture(400, 400))
    for _ in range(6):
        picture = F.avg_pool2d(F.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, 1)
    picture = picture.permute(0, 2, 3, 1)
    crops, faces = aligned(picture, side=200)
    sharp = (crops * 8).round() / 8
    told: list[str] = []
    blend(picture, sharp, faces, notes=told)
    assert any("softened" in line for line in told)
    scale = float(geometry.scale_of(faces[0].crop.matrix))
    for strength, kept in ((1.0, True), (0.4, False)):
        found = degradation(0.5, blur=strength * scale)
        soft = faces.with_faces([replace(faces[0], degradation=found)])
        told.clear()
        blend(picture, sharp, soft, notes=told)
        assert any("softened" in line for line in told) != kept


@pytest.mark.parametrize("method", ["match", "covariance", "wavelet"])
def test_every_colour_method_gives_back_the_tones(method):
    before = planes(grainy_picture(128, 128))
    mixed = torch.einsum("oc,nchw->nohw", torch.eye(3) * 0.7 + 0.1, before) * 0.9 + 0.05
    after = colour.match(mixed, before, method)
    drift = (after.mean((2, 3)) - before.mean((2, 3))).abs().max()
    assert drift < 0.012 < (mixed.mean((2, 3)) - before.mean((2, 3))).abs().max()
    assert torch.equal(colour.match(before, before, method), before)


def test_covariance_undoes_a_mix_of_colours_that_single_channels_cannot():
    generator = torch.Generator().manual_seed(0)
    before = torch.rand(1, 3, 32, 32, generator=generator) * 0.4 + 0.3
    mixed = torch.einsum("oc,nchw->nohw", torch.eye(3) * 0.6 + 0.13, before)

    def spread(picture):
        flat = picture.flatten(2)[0]
        return torch.cov(flat)

    off = [
        float((spread(colour.match(mixed, before, m)) - spread(before)).norm())
        for m in ("match", "covariance")
    ]
    assert off[1] < 0.7 * off[0]


def test_tones_of_one_person_do_not_flicker():
    before = planes(grainy_picture(64, 64))
    small = colour.thumbnail(before)
    tones = [colour.fit("match", small * (0.8 + 0.05 * (-1) ** frame), small) for frame in range(9)]
    wild = [float((tone.target - tone.centre)[0]) for tone in tones]
    calm = [float((t.target - t.centre)[0]) for t in colour.steady(tones, list(range(9)))]
    swing = [max(values) - min(values) for values in (wild, calm)]
    assert swing[1] < 0.25 * swing[0]
    assert colour.steady([None, tones[0]], [0, 1])[0] is None


def test_what_is_lighter_than_all_of_a_sepia_picture_changes_in_grey():
    y = torch.linspace(0.2, 0.6, 32 * 32).view(1, 1, 32, 32)
    curve = colour.tone_curve(torch.cat([y**0.8, 0.95 * y, y**1.4], 1))
    assert curve.low < 0.25 and curve.high > 0.5
    scratch = torch.full((1, 3, 4, 4), 0.95)
    grey = colour.on_curve(scratch, scratch - 0.2, curve)
    assert torch.allclose(grey, torch.full_like(grey, -0.2), atol=1e-5)
    inside = colour.on_curve(scratch * 0.25, scratch * 0.35, curve)[0, :, 0, 0]
    assert float(inside[0]) > 1.2 * float(inside[2])


@pytest.mark.parametrize("sepia", [False, True])
def test_pictures_of_one_tone_keep_it(sepia):
    grey = smooth_picture(300, 300).mean(-1, keepdim=True).expand(-1, -1, -1, 3)
    picture = (grey * torch.tensor([1.0, 0.85, 0.6]) if sepia else grey).contiguous()
    crops, faces = aligned(picture)
    tinted = (crops * torch.tensor([0.8, 0.9, 1.0]) + 0.1).clamp(0, 1)
    result, mask = blend(picture, tinted, faces)
    inside = result[mask > 0.5]
    ratio = torch.tensor([1.0, 0.85, 0.6]) if sepia else torch.ones(3)
    off = inside / ratio - (inside / ratio).mean(1, keepdim=True)
    assert off.abs().max() < 0.03
    neutral, mask = blend(picture, tinted, faces, tone="neutral")
    inside = neutral[mask == 1]
    assert (inside - inside.mean(1, keepdim=True)).abs().max() < 0.02
    free, _ = blend(picture, tinted, faces, tone="free", colour="none")
    assert (free - result).abs().max() > 0.05


def test_a_pattern_of_the_decoder_is_taken_out_and_texture_is_not():
    before = planes(grainy_picture(128, 128))
    sign = 1 - 2 * (torch.arange(128) % 2)
    patterned = before + 0.03 * sign * sign[:, None]
    mended, found = artefacts.unpattern(before, patterned)
    assert found and (mended - before).abs().mean() < 0.006
    assert artefacts.unpattern(before, before)[0] is before
    sharper = before + 0.5 * (before - F.avg_pool2d(before, 3, 1, 1))
    assert artefacts.unpattern(before, sharper)[1] is False


def test_lips_that_changed_their_hue_get_it_back_and_it_is_said():
    picture = torch.full((1, 300, 300, 3), 0.55) + grainy_picture(300, 300) * 0.1
    picture = picture * torch.tensor([1.0, 0.85, 0.75])
    crops, faces = aligned(picture, degrees=0)
    mouth = slice(180, 192), slice(108, 148)
    crops[0][mouth] *= torch.tensor([1.0, 0.6, 0.6])
    shifted = crops.clone()
    shifted[0][mouth] = crops[0][mouth].flip(-1)
    # The picture itself has the red lips.
    picture, _ = blend(picture, crops, faces, colour="none", sharpness="as is", grain=0)
    notes: list[str] = []
    result, _ = blend(picture, shifted, faces, notes=notes)
    assert any("lips" in line for line in notes)
    crop = align(result, faces, size=256)[0][0][mouth].mean((0, 1))
    assert crop[0] > crop[2]


def test_scratches_are_filled_and_nothing_else_changes():
    picture = smooth_picture(200, 240) * 0.5 + 0.25
    picture = (
        picture + torch.randn(picture.shape, generator=torch.Generator().manual_seed(0)) * 0.01
    )
    scratched, holes = picture[0].clone(), torch.zeros(200, 240)
    holes[20:180, 100:104] = 1
    scratched[holes > 0.5] = 1
    filled = fill(scratched, holes)
    assert torch.equal(filled[holes == 0], scratched[holes == 0])
    hole = holes > 0.5
    assert (filled - picture[0])[hole].abs().mean() < 0.025
    assert 0.5 < float(filled[hole].diff(dim=0).std() / picture[0][hole].diff(dim=0).std()) < 1.5
    with pytest.raises(ValueError, match="resize the mask"):
        fill(scratched, holes[:100])
    assert torch.equal(fill(scratched, holes * 0), scratched)


def degraded(**severities: float) -> Degradation:
    findings = tuple(
        Finding(kind, 1.0, 1.0 if kind in severities else 0.0, severities.get(kind, 0.0))
        for kind in KINDS
    )
    holes = torch.zeros(256, 256)
    holes[120:136, 60:200] = 1
    worst = max(severities.values(), default=0.0)
    return Degradation(findings, worst, torch.zeros(32, 32), holes, 1.0)


def test_holes_that_were_found_become_a_mask_of_the_picture_and_are_filled():
    picture = grainy_picture(300, 300)
    crops, faces = aligned(picture, degrees=0)
    faces = faces.with_faces([replace(faces[0], degradation=degraded(missing=0.5))])
    holes = missing(faces)
    assert holes.shape == (1, 300, 300)
    assert holes[0, 150, 150] == 1 and holes[0, 170, 150] == 0 and holes[0, 150, 70] == 0
    result, mask = blend(picture, crops[:0], faces.with_faces([]), damage=holes)
    assert torch.equal(mask, holes)
    assert torch.equal(result[mask == 0], picture[mask == 0])
    assert not torch.equal(result, picture)
    assert missing(faces.with_faces([replace(faces[0], degradation=degraded())])).max() == 0


def test_real_detail_of_a_large_face_is_kept_where_the_findings_say_so():
    picture = grainy_picture(700, 700)
    crops, faces = aligned(picture, side=600, size=256)
    clean = softened(crops)
    found = {
        name: faces.with_faces([replace(faces[0], degradation=degradation)])
        for name, degradation in (("fine", degraded()), ("noisy", degraded(noise=1.0)))
    }
    options = {"grain": 0, "sharpness": "as is"}
    fine, mask = blend(picture, clean, found["fine"], **options)
    noisy, _ = blend(picture, clean, found["noisy"], **options)
    middle = mask[0] > 0.99

    def fineness(result):
        return float(result[0].diff(dim=1)[:, :, :1][middle[:, 1:]].std())

    assert fineness(fine) > 0.9 * fineness(picture)
    assert fineness(noisy) < 0.8 * fineness(picture)


def test_what_a_crop_holds_lands_where_it_was_cut():
    picture = smooth_picture(500, 500)
    crops, faces = aligned(picture, side=400, size=128, degrees=20)
    matrix = faces[0].crop.matrix
    region = placing.geometry.footprint(matrix, 128, 500, 500)
    laid = placing.lay(planes(crops), matrix, 128, region)
    rows, columns = region.slices()
    middle = (slice(None), slice(150, 350), slice(150, 350))
    assert (laid - planes(picture)[0][:, rows, columns])[middle].abs().max() < 0.015


def test_settings_out_of_their_menus_are_named():
    picture = grainy_picture(100, 100)
    crops, faces = aligned(picture, side=60, size=64)
    for name, value in (
        ("join", "glue"),
        ("shape", "square"),
        ("sharpness", "max"),
        ("tone", "pink"),
        ("grain", 3.0),
        ("parts", ("beard",)),
    ):
        with pytest.raises(ValueError, match=name):
            blend(picture, crops, faces, **{name: value})
