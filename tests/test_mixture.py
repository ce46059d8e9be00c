"""The damages kintsugi-degradation learns from: labels that say what can still be measured."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cv2", reason="OpenCV, of the extra [test], is missing")

from kintsugi.stages.degradation_estimate import KINDS  # noqa: E402
from kintsugi.training import mixture  # noqa: E402
from kintsugi.training.damage_record import Record  # noqa: E402
from kintsugi.training.mixture import GAP, RANGES, SORTS, choose, damage, draw  # noqa: E402
from kintsugi.training.print_damage import scratches  # noqa: E402


def portrait(side: int = 256) -> np.ndarray:
    """A colourful picture with edges and texture, (S, S, 3) uint8."""
    y, x = np.mgrid[0:side, 0:side] / side
    disc = 60.0 * (np.hypot(x - 0.5, y - 0.55) < 0.3)
    wave = 12 * np.sin(40 * x) * np.cos(37 * y)
    planes = [70 + 60 * x + disc + wave, 60 + 40 * y + disc, 80 + 30 * x * y + disc * 0.6 - wave]
    return np.rint(np.stack(planes, 2)).astype(np.uint8)


def test_clean_is_at_most_aligned_anew():
    """Some clean faces are turned and back, as an aligner does, which is no damage."""
    face, same = portrait(), 0
    for seed in range(20):
        sample = damage(face, [], np.random.default_rng(seed))
        assert set(sample.present.values()) == {0.0}
        assert np.abs(sample.picture.astype(float) - face).mean() < 3
        same += np.array_equal(sample.picture, face)
    assert 10 <= same < 20


@pytest.mark.parametrize("kind", KINDS)
def test_one_damage_is_labelled_alone_and_changes_the_picture(kind):
    face = portrait()
    sample = damage(face, [kind], np.random.default_rng(4))
    assert [k for k, v in sample.present.items() if v != 0] == [kind]
    assert np.isfinite(sample.strength[kind])
    assert (sample.picture != face).any()
    assert sample.mask.any() == (kind == "missing")


def test_same_generator_same_bits():
    one, other = (damage(portrait(), list(KINDS[:6]), np.random.default_rng(8)) for _ in range(2))
    np.testing.assert_array_equal(one.picture, other.picture)
    assert one.strength["noise"] == other.strength["noise"]


def test_training_leaves_a_gap_that_the_benchmark_fills():
    rng = np.random.default_rng(1)
    low, high, _ = RANGES["fading"]
    for unseen in (False, True):
        shares = [(draw("fading", 1.0, rng, unseen) - low) / (high - low) for _ in range(200)]
        inside = [GAP[0] <= share <= GAP[1] for share in shares]
        assert all(inside) if unseen else not any(inside)


def test_noise_that_a_mosaic_averaged_away_is_not_counted(monkeypatch):
    monkeypatch.setattr(mixture, "_window", lambda side, rng: (0, 0, side, side))
    monkeypatch.setitem(RANGES, "noise", (6.0, 6.01, True))
    monkeypatch.setitem(RANGES, "pixelation", (16.0, 16.01, True))
    for seed in range(6):
        sample = damage(portrait(), ["noise", "pixelation"], np.random.default_rng(seed))
        assert sample.strength["noise"] < 6
        if sample.strength["noise"] < 2:
            assert np.isnan(sample.present["noise"])
            break
    else:
        pytest.fail("no seed of six averaged the noise away")


def test_a_blur_that_a_stronger_loss_hides_is_unknown(monkeypatch):
    monkeypatch.setitem(RANGES, "blur", (0.8, 0.81, True))
    monkeypatch.setitem(RANGES, "resolution", (9.0, 9.1, True))
    sample = damage(portrait(), ["blur", "resolution"], np.random.default_rng(0))
    assert np.isnan(sample.present["blur"])
    assert sample.present["resolution"] == 1


def test_a_scratch_that_was_blurred_out_of_sight_is_unknown(monkeypatch):
    """Half of what is missing comes before the lens: a line of one pixel does not survive that."""

    def scratch(picture, share, rng, record, sort):
        picture = picture.copy()
        picture[100] = 250
        record.hole_mask[100] = True
        return picture, "scratches"

    monkeypatch.setattr(mixture, "_spoil", scratch)
    monkeypatch.setitem(RANGES, "blur", (4.0, 4.01, True))
    found = [
        damage(portrait(), ["missing", "blur"], np.random.default_rng(seed)) for seed in range(12)
    ]
    before = [sample for sample in found if not sample.mask.any()]
    after = [sample for sample in found if sample.mask.any()]
    assert before and after
    assert all(np.isnan(sample.present["missing"]) for sample in before)
    assert all(sample.present["missing"] == 1 and sample.mask[100].all() for sample in after)


def test_what_looks_like_what_it_covers_is_unknown(monkeypatch):
    def hole(picture, share, rng, record, sort):
        record.hole_mask[50:90, 50:90] = True
        return picture.copy(), "holes"

    monkeypatch.setattr(mixture, "_spoil", hole)
    sample = damage(portrait(), ["missing"], np.random.default_rng(0))
    assert np.isnan(sample.present["missing"])


def test_half_transparent_scratches_are_missing_too():
    masks = []
    for covered in (0.6, mixture.COVERED):
        record = Record(np.zeros((256, 256), bool))
        scratches(portrait(), np.random.default_rng(3), 8, record, covered)
        masks.append(record.hole_mask)
    assert not (masks[0] & ~masks[1]).any()
    assert masks[1].sum() > 1.1 * masks[0].sum()


def test_black_and_white_photographs_count_as_grey():
    grey = portrait().mean(2, keepdims=True).round().astype(np.uint8).repeat(3, 2)
    assert damage(grey, [], np.random.default_rng(0)).present["grey"] == 1


def test_enlarged_faces_lack_resolution():
    sample = damage(portrait(512), [], np.random.default_rng(0), least=2.0)
    assert sample.present["resolution"] == 1
    assert sample.strength["resolution"] == pytest.approx(2.0, rel=0.01)


def test_mixtures_do_not_contradict_themselves():
    rng = np.random.default_rng(2)
    for _ in range(300):
        kinds = choose(rng, "mixed")
        assert len(kinds) > 1
        assert not {"underexposure", "overexposure"} <= set(kinds)
        assert not {"grey", "cast"} <= set(kinds)


@pytest.mark.parametrize("sort", SORTS)
def test_what_is_missing_may_be_asked_for(sort):
    clean = portrait()
    sample = damage(clean, ["missing"], np.random.default_rng(1), sort=sort)
    assert sample.spoilt == sort and sample.mask.any()
    change = np.abs(sample.picture.astype(int) - clean).max(2)
    assert change[~sample.mask].max() <= 128 and np.median(change[~sample.mask]) == 0
