"""Samples that the trainings of kintsugi-degradation share: what is stored comes back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("cv2", reason="OpenCV, of the extra [test], is missing")

from kintsugi.models.damage_signs import LEVELS, SIZE  # noqa: E402
from kintsugi.models.degradation import Degradation  # noqa: E402
from kintsugi.stages.degradation_estimate import KINDS  # noqa: E402
from kintsugi.training import degradation_samples  # noqa: E402
from kintsugi.training.degradation_data import Damaged, labels  # noqa: E402
from kintsugi.training.degradation_features import Features, looked_at  # noqa: E402
from kintsugi.training.degradation_samples import Samples, drawn, store  # noqa: E402
from kintsugi.training.mixture import damage  # noqa: E402


class Smooth:
    """Faces enough to be damaged."""

    def take(self, side, sharp, rng):
        y, x = np.mgrid[0:side, 0:side] / side
        planes = [90 + 80 * x, 70 + 90 * y, 110 + 40 * np.sin(9 * x * y)]
        return np.rint(np.stack(planes, 2)).astype(np.uint8), 1.0


@pytest.fixture
def samples(monkeypatch, tmp_path) -> Samples:
    monkeypatch.setattr(degradation_samples, "FILE", 3)
    store(drawn(smooth(), 6, 1), tmp_path, 1)
    return Samples(tmp_path)


def smooth() -> Damaged:
    return Damaged(Smooth(), [], {"clean": 0.3, "single": 0.3, "mixed": 0.4})


def test_every_sample_has_its_figures_and_maps(samples):
    assert len(samples) == 6
    assert samples.few["signs"].shape == (6, LEVELS, SIZE)
    assert samples.few["present"].shape == (6, len(KINDS))
    for index in range(6):
        view, mask, where = samples.maps(index)
        assert view.shape == (3, 256, 256) and view.dtype == torch.uint8
        assert mask.shape == (256, 256) and bool(samples.few["missing"][index]) == bool(mask.any())
        assert where.shape == (32, 32) and where.min() >= 0 and where.max() <= 1
    assert sum(len(view) for view in samples.views()) == 6


def test_features_are_those_of_the_same_samples(samples, tmp_path):
    torch.manual_seed(0)
    network = Degradation().eval()
    folder = tmp_path / "features"
    folder.mkdir()
    store(looked_at(drawn(smooth(), 6, 1), network), folder, 1)
    stored = Features([folder])
    assert len(stored) == 6 and stored.few.keys() == samples.few.keys()
    for name, values in samples.few.items():
        torch.testing.assert_close(stored.few[name], values, equal_nan=True)
    views = torch.cat(samples.views()).float() / 127.5 - 1
    with torch.no_grad():
        features = network.picture(views)[0]
    assert features.std() > 0.3
    assert (stored.seen - features).abs().mean() < 0.02, "the views stored are rounded to bytes"


def test_clean_faces_are_marked(samples):
    clean = samples.few["clean"]
    assert clean.any() and not clean.all()
    damaged = (samples.few["present"] == 1).any(1)
    assert not (clean & damaged).any()


def test_the_mask_of_a_sample_is_stored_in_bits():
    face = Smooth().take(256, True, None)[0]
    sample = damage(face, ["missing"], np.random.default_rng(2))
    present, *_, mask, _, clean = labels(sample, "single")
    assert np.array_equal(np.unpackbits(mask.numpy()).reshape(256, 256), sample.mask)
    assert present[KINDS.index("missing")] == 1 and not clean


def test_a_folder_without_samples_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="run degradation_samples first"):
        Samples(tmp_path)
    with pytest.raises(FileNotFoundError, match="run degradation_features first"):
        Features([tmp_path])
