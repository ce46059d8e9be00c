"""The figures and the classical estimators of the degradation benchmark, on hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="OpenCV, of the extra [test], is missing")

from kintsugi.benchmarks import estimators  # noqa: E402
from kintsugi.benchmarks.degradation_figures import auc, calibration, ece, error  # noqa: E402
from kintsugi.stages.degradation_estimate import KINDS  # noqa: E402


def texture(side: int = 256) -> np.ndarray:
    """Smoothed noise with edges, (S, S, 3) uint8."""
    rng = np.random.default_rng(0)
    light = cv2.GaussianBlur(rng.uniform(0, 255, (side, side, 3)).astype(np.float32), (0, 0), 1.2)
    light[:, side // 2 :] += 60
    return np.clip(light, 0, 255).astype(np.uint8)


def test_area_under_the_curve():
    present = np.array([0, 0, 1, 1])
    assert auc(np.array([0.1, 0.2, 0.3, 0.4]), present) == 1
    assert auc(np.array([0.4, 0.3, 0.2, 0.1]), present) == 0
    assert auc(np.array([0.5, 0.5, 0.5, 0.5]), present) == 0.5
    assert np.isnan(auc(np.array([0.5]), np.array([1])))


def test_calibration_error():
    probability = np.array([0.25] * 4 + [0.75] * 4)
    present = np.array([1, 0, 0, 0, 1, 1, 1, 0])
    assert ece(probability, present) == pytest.approx(0)
    assert ece(probability, 1 - present) == pytest.approx(0.5)
    assert [count for *_, count in calibration(probability, present)] == [4, 4]


def test_errors_are_relative_for_lengths_and_short_motion_is_not_judged():
    assert error("noise", np.array([12.0]), np.array([10.0])) == pytest.approx(2)
    assert error("resolution", np.array([5.0]), np.array([4.0])) == pytest.approx(0.25)
    found, true = np.array([9.0, 12.0]), np.array([4.0, 10.0])
    assert error("motion", found, true) == pytest.approx(0.2)


def test_there_is_a_classical_estimator_for_every_kind():
    assert tuple(estimators.ESTIMATORS) == tuple(estimators.NAMES) == KINDS


def test_wavelet_noise_is_the_deviation():
    rng = np.random.default_rng(1)
    noisy = np.full((256, 256, 3), 128.0) + rng.normal(0, 9, (256, 256, 1))
    found = np.exp(estimators.wavelet_noise(np.rint(noisy).astype(np.uint8)))
    assert found == pytest.approx(9, rel=0.08)


def test_blur_lowers_the_laplacian_and_the_cut_off():
    sharp = np.random.default_rng(3).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    soft = cv2.GaussianBlur(sharp, (0, 0), 1)
    assert estimators.laplacian(soft) < estimators.laplacian(sharp)
    assert estimators.cut_off(soft) < estimators.cut_off(sharp)


def test_coding_leaves_blocks():
    sharp = texture()
    coded = cv2.imdecode(cv2.imencode(".jpg", sharp, [cv2.IMWRITE_JPEG_QUALITY, 10])[1], 1)
    assert estimators.blockiness(coded) > estimators.blockiness(sharp) + 0.1


def test_motion_is_where_the_picture_changes_least():
    rng = np.random.default_rng(2)
    noise = rng.uniform(0, 255, (256, 256)).astype(np.float32)
    trail = cv2.filter2D(noise, -1, np.eye(15, dtype=np.float32) / 15)
    picture = np.repeat(trail[..., None], 3, 2).astype(np.uint8)
    assert estimators.motion_angle(picture) == pytest.approx(45, abs=8)
