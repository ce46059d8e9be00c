"""What the identity network is trained on and measured with: the view, the faces, the curve."""

from __future__ import annotations

import numpy as np
import pytest
import torch

for package in ("cv2", "onnx", "onnxruntime"):
    pytest.importorskip(package, reason=f"{package}, used by training alone, is missing")

from kintsugi.benchmarks import identity as benchmark  # noqa: E402
from kintsugi.models import zoo  # noqa: E402
from kintsugi.stages import embedders  # noqa: E402
from kintsugi.training import identity_views as views  # noqa: E402


class Still:
    """A generator that never moves anything; `choice` picks the resampling."""

    def __init__(self, choice: int):
        self.choice = choice

    def integers(self, high: int) -> int:
        return self.choice

    def normal(self, mean, deviation, shape=None):
        return np.zeros(shape) if shape else 0.0


def smooth(seed: int) -> np.ndarray:
    """A (256, 256, 3) picture of soft blobs."""
    cells = np.random.default_rng(seed).uniform(0, 255, (9, 9, 3)).astype(np.float32)
    return np.rint(views.cv2.resize(cells, (256, 256))).astype(np.uint8)


@pytest.mark.parametrize("resampling", range(3))
def test_training_and_the_stage_show_the_same_view(resampling):
    pairs = object.__new__(views.Pairs)
    place = embedders.placement(zoo.CARDS["kintsugi-identity"])
    pairs.theta = place.numpy().astype(np.float64)
    picture = smooth(3)
    shown = pairs.view(picture, Still(resampling), 1.0).astype(np.float32)
    wanted = views.seen(picture[None])[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(shown - wanted).mean() < 1 and np.abs(shown - wanted).max() < 6


def test_blends_lie_between_their_faces():
    one, other = smooth(1), smooth(2)
    for seed in range(4):
        mixed = views.blend(one, other, np.random.default_rng(seed)).astype(int)
        assert (mixed >= np.minimum(one, other) - 1).all()
        assert (mixed <= np.maximum(one, other).astype(int) + 1).all()
        assert (mixed != one).any() and (mixed != other).any()


def test_area_and_accepts_of_known_pairs():
    same, other = torch.tensor([0.9, 0.5, 0.3]), torch.tensor([0.4, 0.2, 0.1, 0.3])
    # Of the twelve comparisons one is lost and one is a tie.
    assert benchmark.auc(same, other) == pytest.approx((12 - 1 - 0.5) / 12)
    assert benchmark.tar(same, other, 0.0) == pytest.approx(2 / 3)


def test_the_curve_is_the_posterior_of_two_bells():
    generator = torch.Generator().manual_seed(0)
    same = 0.6 + 0.15 * torch.randn(4000, generator=generator)
    other = 0.15 * torch.randn(20000, generator=generator)
    centre, slope = benchmark.fit(same, other)
    assert centre == pytest.approx(0.3, abs=0.01)
    assert slope == pytest.approx(0.6 / 0.15**2, rel=0.08)
