"""What is said about a face reads well and is true; what is drawn shows where."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from damage_for_tests import degradation
from faces_for_tests import place, smooth_picture
from skimage.color import rgb2lab

from kintsugi.stages import findings_text, heat_map
from kintsugi.stages.degradation_estimate import KINDS
from kintsugi.stages.rebuild import found_holes
from kintsugi.stages.strategy import Stock, plan


def test_findings_are_told_worst_first_with_their_units():
    told = findings_text.describe(degradation(0.6, motion=9.04, jpeg=31.2, resolution=4.0))
    assert told == ("motion blur 9 px at 30°, JPEG quality 31, 4 px per real pixel; severity 0.60")
    assert findings_text.describe(degradation()) == "nothing found; severity 0.00"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ({"blur": 2.34}, "blur 2.3 px"),
        ({"pixelation": 12.4}, "mosaic of 12 px blocks"),
        ({"noise": 11.6}, "noise 12 of 255"),
        ({"noise": 11.6, "shot": 0.9}, "shot noise 12 of 255"),
        ({"noise": 8.0, "grain": 2.52}, "film grain 8 of 255, 2.5 px wide"),
        ({"noise": 8.0, "grain": 9.0, "resolution": 3.0}, "film grain 8 of 255, 3 px wide"),
        ({"noise": 8.0, "grain": 3.1, "resolution": 3.0}, "noise 8 of 255, 3 px per real pixel"),
        ({"missing": 0.123}, "12% of the crop missing"),
        ({"missing": 0.004}, "under 1% of the crop missing"),
        ({"fading": 0.4}, "contrast faded by 40%"),
        ({"cast": 0.25}, "colour cast of 25%"),
        ({"grey": 0.97}, "no colour;"),
        ({"grey": 0.6}, "60% of the colour lost"),
        ({"underexposure": 1.5}, "too dark by 1.5 stops"),
        ({"overexposure": 1.02}, "too bright by 1 stop;"),
    ],
)
def test_every_kind_has_its_words(damage, words):
    assert words in findings_text.describe(degradation(0.3, **damage))


def test_no_kind_is_without_words():
    assert set(findings_text.WORDS) == set(KINDS)


def test_a_doubtful_face_is_told_as_such():
    assert "hardly a face (confidence 0.12)" in findings_text.describe(degradation(0.5, face=0.12))


def test_a_report_names_faces_pictures_and_the_worst():
    found = [degradation(), degradation(0.7, blur=6.0)]
    plans = [plan(one, 512, Stock()) for one in found]
    faces = place(100, 200, [(50, 50, 40, 0, 0), (150, 50, 40, 0, 1)], frames=2)
    names = findings_text.names(faces, faces.frames)
    lines = findings_text.report(names, found, plans).splitlines()
    assert lines[0] == "2 faces, worst severity 0.70 (picture 1, face 1)"
    assert lines[1] == "picture 0, face 0: nothing found; severity 0.00: fine: skipped"
    assert lines[2].startswith("picture 1, face 1: blur 6 px; severity 0.70: heavy damage")
    assert lines[2].endswith("(Kintsugi restorer, fidelity 1)")
    assert findings_text.report([], [], []) == "no face"
    assert findings_text.names(faces)[1] == "face 1"


def test_a_long_report_is_cut_for_the_node():
    short = "\n".join(f"face {index}" for index in range(8))
    assert findings_text.shortened(short) == short
    long = findings_text.shortened("\n".join(f"face {index}" for index in range(20)))
    assert long.splitlines()[-1] == "... and 12 more" and len(long.splitlines()) == 9


def test_more_damage_is_always_brighter_and_steps_look_even():
    ramp = torch.linspace(0, 1, 101).view(1, 1, 1, 101)
    lightness = rgb2lab(heat_map.colours(ramp)[0].permute(1, 2, 0).numpy())[0, :, 0]
    steps = lightness[1:] - lightness[:-1]
    assert steps.min() > 0.3 and steps.max() < 3 * steps.mean()


def test_the_map_shows_where_and_outlines_what_is_missing():
    crops = smooth_picture(256, 256)
    where = torch.zeros(32, 32)
    where[:16] = 1.0
    hole = (slice(160, 200), slice(60, 120))
    found = degradation(0.5, where=where, hole=hole, missing=0.04)
    (drawn,) = heat_map.heat_map(crops, [found])
    assert drawn.shape == (256, 256, 3) and 0 <= float(drawn.min()) <= float(drawn.max()) <= 1
    colourful = (drawn.amax(-1) - drawn.amin(-1))[:140]
    assert colourful[:100].mean() > 0.2 and drawn[136:150].std(-1).max() < 0.01
    blue = torch.tensor(heat_map.OUTLINE) / 255
    outline = ((drawn - blue).abs().amax(-1) < 0.01).nonzero()
    assert outline.amin(0).tolist() == [158, 58] and outline.amax(0).tolist() == [201, 121]
    # Uncertain specks in the mask of a face without that finding are no damage.
    (unsure,) = heat_map.heat_map(crops, [degradation(0.5, where=where, hole=hole)])
    assert ((unsure - blue).abs().amax(-1) > 0.01).all()


def test_lost_colour_alone_is_no_damage_on_the_map():
    crops = smooth_picture(64, 64)
    everywhere = torch.ones(32, 32)
    grey = degradation(0.3, where=everywhere, grey=1.0)
    (drawn,) = heat_map.heat_map(crops, [grey])
    assert drawn[:60].std(-1).max() < 1e-3
    (both,) = heat_map.heat_map(crops, [degradation(0.6, where=everywhere, grey=1.0, blur=5.0)])
    (blurred,) = heat_map.heat_map(crops, [degradation(0.6, where=everywhere, blur=5.0)])
    assert both[:60].std(-1).mean() > 0.05 and both[:60].mean() < blurred[:60].mean()


def test_findings_of_crops_of_several_sizes_are_drawn_together():
    """Where something is missing stands in 256 or in 512 px; see Degradation.missing."""
    hole = (slice(100, 140), slice(60, 120))
    coarse = degradation(0.5, hole=hole, missing=0.04)
    fine = replace(coarse, missing=coarse.missing.repeat_interleave(2, 0).repeat_interleave(2, 1))
    crops = smooth_picture(128, 128).expand(2, -1, -1, -1)
    one, other = heat_map.heat_map(crops, [coarse, fine])
    torch.testing.assert_close(one, other, atol=0.5 / 255, rtol=0)
    holes = found_holes([coarse, fine, None], torch.zeros(3, 3, 128, 128))
    assert torch.equal(holes[0], holes[1]) and holes[0].any() and not holes[2].any()


@pytest.mark.parametrize("channels", [1, 4])
def test_any_crop_can_be_drawn_on(channels):
    crops = smooth_picture(64, 64, channels)
    drawn = heat_map.heat_map(crops, [degradation(0.2)], opacity=0.0)
    assert drawn.shape == (1, 64, 64, 3)
    assert heat_map.heat_map(crops[:0], []).shape == (0, 64, 64, 3)
