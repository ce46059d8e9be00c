"""Strategy: each kind of damage gets what suits it, with what is on disk, and says why."""

from __future__ import annotations

from dataclasses import replace

import pytest
from damage_for_tests import degradation

from kintsugi.models import zoo
from kintsugi.stages import strategy
from kintsugi.stages.degradation_estimate import KINDS
from kintsugi.stages.strategy import BUILT_IN_MODEL, Stock, plan, stock

OFFLINE = Stock()
FULL = Stock("gfpgan-1.4", "codeformer-inpainting", "codeformer-colorization")


def test_a_face_that_is_fine_is_left_alone():
    told = plan(degradation(0.0), 512, FULL)
    assert not told.works and told.reason == "fine: skipped"
    # A bound on the damage, not on findings: the faintest finding changes nothing.
    assert plan(degradation(0.01, noise=2.0), 512, FULL).models == ()


def test_a_fine_old_photograph_is_no_damage():
    told = plan(degradation(0.3, grey=1.0), 512, FULL)
    assert told.models == () and "fine but for the lost colour: skipped" in told.reason
    both = degradation(0.6, grey=1.0, jpeg=20.0)
    assert strategy.figure(both, "damage", 512) == pytest.approx(both.finding("jpeg").severity)
    assert plan(both, 512, FULL).model


def test_light_damage_is_cleaned_by_the_built_in_restorer_even_beside_a_generator():
    told = plan(degradation(0.15, jpeg=60.0), 512, FULL)
    assert (told.models, told.fidelity) == ((BUILT_IN_MODEL,), 1.0)
    assert "nothing invented" in told.reason


@pytest.mark.parametrize(
    "damage",
    [
        {"resolution": 8.0},
        {"pixelation": 20.0},
        {"blur": 6.0},
        {"motion": 20.0},
        {"noise": 25.0, "jpeg": 15.0, "resolution": 4.0},
    ],
    ids=lambda damage: "+".join(damage),
)
def test_lost_detail_asks_for_generation(damage):
    told = plan(degradation(0.5, **damage), 512, FULL)
    assert told.model == "gfpgan-1.4" and "eneration" in told.reason
    alone = plan(degradation(0.5, **damage), 512, OFFLINE)
    assert (alone.model, alone.fidelity) == (BUILT_IN_MODEL, strategy.STAND_IN)
    assert "no generative model is on disk" in alone.reason


def test_the_less_is_left_of_the_person_the_closer_it_stays_to_that():
    tiny, soft = (plan(degradation(0.5, resolution=r), 512, FULL) for r in (8.0, 4.0))
    assert tiny.fidelity > soft.fidelity and "keep fidelity high" in tiny.reason


def test_lengths_count_in_shares_of_the_crop():
    for size in (128, 256, 1024):
        small = plan(degradation(0.5, resolution=8.0 * size / 512), size, FULL)
        assert small == plan(degradation(0.5, resolution=8.0), 512, FULL)
    # Quality and grey levels are the same in crops of any size.
    jpeg = plan(degradation(0.3, jpeg=20.0), 128, FULL)
    assert jpeg == plan(degradation(0.3, jpeg=20.0), 1024, FULL)


def test_what_is_hardly_a_face_is_never_made_up():
    told = plan(degradation(0.9, resolution=12.0, face=0.2), 512, FULL)
    assert told.model == BUILT_IN_MODEL and "not surely a face" in told.reason


def test_missing_parts_are_filled_first_if_there_is_a_way():
    holes = degradation(0.5, missing=0.1)
    with_model, without = plan(holes, 512, FULL), plan(holes, 512, OFFLINE)
    assert with_model.models[0] == "codeformer-inpainting"
    assert "filled first by CodeFormer, inpainting" in with_model.reason
    assert not with_model.fill and without.fill and without.inpainter == ""
    assert "no inpainting model is on disk" in without.reason
    assert not plan(degradation(0.01, missing=0.1), 512, OFFLINE).works, "fine is left alone"


def test_grey_is_kept_unless_colour_is_asked_for():
    old = degradation(0.3, grey=1.0)
    kept = plan(old, 512, FULL)
    assert kept.colorizer == "" and "kept" in kept.reason and kept.toned
    asked = plan(old, 512, FULL, colourise=True)
    assert asked.models[-1] == "codeformer-colorization" and "coloured by" in asked.reason
    assert not asked.toned
    none = plan(old, 512, OFFLINE, colourise=True)
    assert "not coloured" in none.reason and none.toned
    assert not plan(degradation(0.3, grey=0.4), 512, FULL).toned
    assert plan(degradation(0.3, jpeg=30.0), 512, FULL, colourise=True).colorizer == ""
    # A fine face that is merely grey is coloured and otherwise left alone.
    assert asked.models == ("codeformer-colorization",)


def test_strong_noise_is_taken_away_before_generation():
    noisy = degradation(0.6, noise=30.0, resolution=8.0)
    assert plan(noisy, 512, FULL).models == (BUILT_IN_MODEL, "gfpgan-1.4")
    assert plan(noisy, 512, OFFLINE).models == (BUILT_IN_MODEL,)
    assert "grain" not in plan(noisy, 512, FULL).reason, "Blend measures what is to come back"


@pytest.fixture
def on_disk(tmp_path):
    """A library, and a way to put a file that looks like a card's into it."""

    def put(name: str) -> zoo.Library:
        card = zoo.CARDS[name]
        with (tmp_path / card.file).open("wb") as file:
            file.truncate(card.size or 1000)
        return zoo.Library({"facerestore_models": [tmp_path]})

    return put


def test_only_what_is_on_disk_and_allowed_is_chosen(on_disk, tmp_path):
    assert stock(zoo.Library({"facerestore_models": [tmp_path]})) == Stock()
    on_disk("gfpgan-1.4")
    on_disk("codeformer-inpainting")
    library = on_disk("codeformer-colorization")
    assert stock(library) == FULL
    filtered = stock(library, commercial_only=True)
    assert filtered == Stock(commercial_only=True)
    told = plan(degradation(0.8, resolution=9.0), 512, filtered)
    assert told.model == BUILT_IN_MODEL and "may be used commercially" in told.reason


def test_the_table_is_sound():
    assert strategy.CHOICES[-1].when == ()
    bounds = [bound for row in (*strategy.CHOICES, *strategy.ASIDES) for bound in row.when]
    assert {bound.what for bound in bounds} <= {*KINDS, "damage", "dots", "face"}
    assert all(bound.low < bound.high for bound in bounds)
    for row in strategy.CHOICES:
        assert 0 <= row.fidelity <= 1 and 0 < row.strength <= 1 and row.reason
        assert row.action in (strategy.LEAVE, strategy.BUILT_IN, strategy.GENERATE)


def test_what_is_mixed_with_its_original_is_not_filled_for_good():
    told = plan(degradation(0.6, missing=0.05), 512, OFFLINE)
    assert told.fill and told.fills
    assert not replace(told, strength=0.5).fills
    assert not plan(degradation(0.6, blur=6.0), 512, OFFLINE).fills
