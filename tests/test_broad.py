"""Broad tones: what a restorer may change of them, and what it may not."""

from __future__ import annotations

import torch
from damage_for_tests import degradation
from faces_for_tests import smooth_picture

from kintsugi.stages.broad import kept

BEFORE = smooth_picture(256, 256)[0].permute(2, 0, 1) * 0.6 + 0.2
SPOT = (slice(None), slice(96, 128), slice(128, 160))


def spotted(change) -> torch.Tensor:
    after = BEFORE.clone()
    after[SPOT] += torch.tensor(change).view(-1, 1, 1)
    return after


def test_a_highlight_is_not_taken_for_a_hole():
    off = (kept(BEFORE, spotted([-0.2, -0.2, -0.2]), degradation()) - BEFORE).abs()
    assert off[SPOT].mean() < 0.05 and off.mean() < 0.003


def test_colours_in_one_place_are_not_guessed():
    after = spotted([-0.1, 0.0, 0.1])
    off = (kept(BEFORE, after, degradation()) - BEFORE)[SPOT].mean((1, 2)).abs()
    assert off.max() < 0.03


def test_what_changes_everywhere_stays_changed():
    after = (BEFORE - 0.2) * torch.tensor([1.3, 1.2, 1.1]).view(3, 1, 1) + 0.15
    assert (kept(BEFORE, after, degradation()) - after).abs().mean() < 0.003


def test_detail_and_little_changes_of_light_stay():
    lines = torch.zeros(256)
    lines[::4] = 0.1
    for after in (BEFORE + lines - lines.mean(), spotted([0.02, 0.02, 0.02])):
        assert (kept(BEFORE, after, degradation()) - after).abs().mean() < 0.002


def test_what_was_missing_may_become_anything():
    after = spotted([-0.2, -0.2, -0.2])
    holed = degradation(missing=0.02, hole=SPOT[1:])
    holes = torch.zeros(1, 256, 256)
    holes[SPOT] = 1
    for result in (kept(BEFORE, after, holed), kept(BEFORE, after, degradation(), holes)):
        assert (result - after)[SPOT].abs().mean() < 0.01


def test_nothing_is_held_to_tones_that_the_damage_blurred():
    after = spotted([-0.2, -0.2, -0.2])
    fine, coarse = (kept(BEFORE, after, degradation(resolution=px)) for px in (2.0, 60.0))
    assert (coarse - after)[SPOT].abs().mean() < 0.7 * (fine - after)[SPOT].abs().mean()


def test_no_tone_goes_beyond_what_it_was_and_what_came_of_it():
    after = (BEFORE - 0.5) * 1.4 + 0.5
    after[SPOT] = BEFORE[SPOT] + 0.02 * (after - BEFORE)[SPOT].sign()
    low, high = torch.minimum(BEFORE, after)[SPOT], torch.maximum(BEFORE, after)[SPOT]
    result = kept(BEFORE, after, degradation())[SPOT]
    inner = (slice(None), slice(8, -8), slice(8, -8))
    assert ((result > low - 0.005) & (result < high + 0.005))[inner].all()


def test_coarse_noise_is_no_tone_to_keep():
    torch.manual_seed(2)
    grains = torch.nn.functional.interpolate(torch.randn(1, 3, 32, 32), (256, 256))[0]
    before = BEFORE + 25 / 255 * grains
    told, untold = (
        (kept(before, BEFORE, found) - BEFORE).abs().mean()
        for found in (degradation(noise=25.0, grain=8.0), degradation())
    )
    assert told < 0.1 * untold


def test_crops_of_any_size_come_back_at_that_size():
    for size in (7, 16, 100):
        crop = smooth_picture(size, size)[0].permute(2, 0, 1)
        assert torch.allclose(kept(crop, crop, degradation()), crop, atol=1e-5)
