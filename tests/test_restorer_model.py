"""The built-in restorer: its shapes, its control, its file, and the damages it is trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from kintsugi.models.loader import build
from kintsugi.models.restorer import Restorer, without_grid

WEIGHTS = Path(__file__).parent.parent / "models/weights/kintsugi-restorer.safetensors"

degradations = pytest.importorskip(
    "kintsugi.training.degradations", reason="OpenCV, of the extra [test], is missing"
)


def portrait(side: int = 256) -> np.ndarray:
    """A smooth colourful picture with an edge, (S, S, 3) uint8."""
    y, x = np.mgrid[0:side, 0:side] / side
    disc = 80.0 * (np.hypot(x - 0.5, y - 0.55) < 0.3)
    planes = [60 + 60 * x + disc, 70 + 40 * y + disc, 90 + 30 * x * y + disc * 0.8]
    return np.rint(np.stack(planes, 2)).astype(np.uint8)


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    if not WEIGHTS.exists():
        pytest.skip(f"{WEIGHTS.name} is not in this checkout")
    return build(load_file(WEIGHTS))


def to_network(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1


def test_sizes_are_read_off_the_shapes():
    torch.manual_seed(0)
    small = Restorer(widths=(16, 24, 32, 40), blocks=(1, 2, 1, 1)).eval()
    again = build(small.state_dict())
    image = torch.rand(2, 3, 64, 64) * 2 - 1
    torch.testing.assert_close(again(image, 0.3), small(image, 0.3))


def test_half_precision_files_run_in_single():
    state = {name: value.half() for name, value in Restorer().state_dict().items()}
    assert {p.dtype for p in build(state).parameters()} == {torch.float32}


def test_the_file_is_small(trained):
    assert WEIGHTS.stat().st_size <= 4_000_000


def test_fidelity_changes_the_result_and_may_differ_within_a_batch(trained):
    damaged, _ = degradations.degrade(portrait(), np.random.default_rng(0), "medium")
    image = to_network(damaged)
    with torch.inference_mode():
        faithful, free = trained(image, fidelity=1.0), trained(image, fidelity=0.0)
        both = trained(image.expand(2, -1, -1, -1), fidelity=torch.tensor([1.0, 0.0]))
    # More than one grey level somewhere.
    assert (faithful - free).abs().max() > 1 / 127.5
    torch.testing.assert_close(both, torch.cat([faithful, free]), atol=1e-4, rtol=0)


def test_noise_is_removed_and_a_clean_face_is_left_alone(trained):
    data = pytest.importorskip(
        "skimage.data", reason="scikit-image, of the extra [test], is missing"
    )
    clean = np.ascontiguousarray(data.astronaut()[0:256, 96:352])  # nearly the FFHQ template
    noise = np.random.default_rng(1).normal(0, 12, clean.shape)
    noisy = np.clip(clean + noise, 0, 255).astype(np.uint8)
    with torch.inference_mode():
        before = (to_network(noisy) - to_network(clean)).square().mean()
        after = (trained(to_network(noisy), 1.0) - to_network(clean)).square().mean()
        change = (trained(to_network(clean), 1.0) - to_network(clean)).square().mean()
    assert after < before / 3
    # 35 dB.
    assert change / 4 < 10**-3.5


@pytest.mark.parametrize("strength", ["light", "medium", "heavy"])
def test_damage_is_reproducible_and_recorded(strength):
    clean = portrait()
    for seed in range(12):
        one, record = degradations.degrade(clean, np.random.default_rng(seed), strength)
        two, _ = degradations.degrade(clean, np.random.default_rng(seed), strength)
        assert one.shape == clean.shape and one.dtype == np.uint8
        np.testing.assert_array_equal(one, two)
        assert (one == clean).all() == (not record.steps)
        summary = record.summary()
        assert record.hole_mask.any() <= bool(record.of("holes", "scratches"))
        assert 1 / 8.6 <= summary["resolution"] <= 1
        assert 20 <= summary["jpeg_quality"] <= 100
        assert 0 <= summary["hole_share"] < 0.3


def test_clean_is_untouched_and_bad_input_is_named():
    clean = portrait(64)
    same, record = degradations.degrade(clean, np.random.default_rng(0), "clean")
    np.testing.assert_array_equal(same, clean)
    assert not record.steps and not record.hole_mask.any()
    with pytest.raises(ValueError, match="brutal"):
        degradations.degrade(clean, np.random.default_rng(0), "brutal")
    with pytest.raises(ValueError, match="float32"):
        degradations.degrade(clean.astype(np.float32), np.random.default_rng(0))
    with pytest.raises(ValueError, match="square"):
        degradations.degrade(clean[:40], np.random.default_rng(0))


def test_holes_lie_where_the_mask_says():
    clean = np.full((256, 256, 3), 120, np.uint8)
    record = degradations.Record(np.zeros((256, 256), bool))
    from kintsugi.training.print_damage import holes

    torn = holes(clean, np.random.default_rng(3), 0.05, record)
    changed = (torn != clean).any(2)
    assert 0.01 < record.summary()["hole_share"] < 0.12
    assert not (record.hole_mask & ~changed).any()
    assert (changed & ~record.hole_mask).mean() < 0.02


def test_a_pattern_of_the_cells_is_left_out_and_nothing_else():
    ramp = torch.linspace(-0.1, 0.1, 256).expand(1, 3, 256, 256)
    detail = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 0.05
    cell = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * 0.05
    pattern = (cell - cell.mean((2, 3), keepdim=True)).tile(64, 64)
    inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    left = without_grid(ramp + pattern) - ramp
    assert left[inner].abs().max() < 0.05 * pattern.abs().max()
    kept = without_grid(ramp + detail) - ramp
    assert (kept - detail).std() < 0.15 * detail.std()
