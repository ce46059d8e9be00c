"""Other backgrounds behind the faces that kintsugi-degradation learns from."""

import numpy as np
import pytest

from kintsugi.training import backgrounds
from kintsugi.training.backgrounds import behind, flag, square, star

SIDE = 96


def noise(seed: int, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize("sort", range(3))
def test_the_face_stays_and_what_is_behind_it_changes(sort, monkeypatch):
    monkeypatch.setattr(backgrounds, "SORTS", np.eye(3)[sort])
    face = noise(0)
    moved = behind(face, noise(1), [noise(2, 200)], np.random.default_rng(3))
    middle = slice(SIDE // 4, 3 * SIDE // 4)
    assert np.array_equal(moved[middle, middle], face[middle, middle])
    assert np.array_equal(moved[-8:], face[-8:])  # shoulders
    corners = np.concatenate([moved[:8, :8], moved[:8, -8:]])
    assert (corners != np.concatenate([face[:8, :8], face[:8, -8:]])).mean() > 0.9


def test_the_same_chance_draws_the_same_background():
    first, again, other = (
        behind(noise(0), noise(1), [noise(2)], np.random.default_rng(seed)) for seed in (5, 5, 6)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_face_without_colour_gets_a_background_without():
    face = np.repeat(noise(0)[..., :1], 3, axis=2)
    for seed in range(6):
        moved = behind(face, noise(1), [noise(2)], np.random.default_rng(seed))
        assert np.ptp(moved.astype(int), axis=2).max() <= 1


def test_a_square_has_the_side_asked_for_whatever_the_picture():
    for shape in ((40, 300), (300, 40), (97, 97)):
        picture = np.zeros((*shape, 3), np.uint8)
        assert square(picture, SIDE, np.random.default_rng(0)).shape == (SIDE, SIDE, 3)


def test_a_flag_hangs_at_the_sides_and_leaves_the_middle():
    scene = np.full((SIDE, SIDE, 3), 128, np.uint8)
    for seed in range(8):
        drawn = flag(scene, np.random.default_rng(seed))
        changed = (drawn != scene).any(axis=2)
        assert changed.any()
        assert not changed[:, SIDE * 2 // 5 + 1 : SIDE * 3 // 5 - 1].any()


def test_a_star_has_five_points_of_the_radius_asked_for():
    lengths = np.hypot(*star(10.0, 0.3).T)
    assert np.allclose(lengths[::2], 10) and np.allclose(lengths[1::2], 3.82)
