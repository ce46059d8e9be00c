"""The built-in identity network: its sizes, its folded norms, its file, and whom it tells apart."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from kintsugi.models.identity import IdentityNet, folded
from kintsugi.models.loader import build
from kintsugi.stages.embedders import embed, probability

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "models/weights/kintsugi-identity.safetensors"
FACES = ROOT.parent / "shared/faces"

trained = pytest.mark.skipif(
    not WEIGHTS.exists(), reason=f"{WEIGHTS.name} is not in this checkout"
)


def random_network(**sizes) -> IdentityNet:
    """With batch norms whose statistics are not those of a fresh one."""
    torch.manual_seed(0)
    network = IdentityNet(norm=True, **sizes)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.normal_(module.bias)
    return network.eval()


def test_norms_are_folded_and_sizes_are_read_off_the_shapes():
    network = random_network(stem=8, widths=(8, 16, 24), blocks=(1, 0, 2), values=32)
    again = build(folded(network.state_dict()))
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in again.modules())
    image = torch.rand(2, 3, 112, 112) * 2 - 1
    with torch.inference_mode():
        torch.testing.assert_close(again(image), network(image), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(again(image).norm(dim=1), torch.ones(2))


def test_half_precision_files_run_in_single():
    state = {name: value.half() for name, value in folded(random_network().state_dict()).items()}
    assert {p.dtype for p in build(state).parameters()} == {torch.float32}


@trained
def test_the_file_is_small():
    assert WEIGHTS.stat().st_size <= 4_000_000


@trained
def test_a_face_keeps_its_identity_in_noise_and_another_size():
    data = pytest.importorskip(
        "skimage.data", reason="scikit-image, of the extra [test], is missing"
    )
    picture = np.ascontiguousarray(data.astronaut()[0:256, 96:352])  # nearly the FFHQ template
    crop = torch.from_numpy(picture)[None].float() / 255
    noisy = (crop + 0.05 * torch.randn(crop.shape, generator=torch.manual_seed(0))).clamp(0, 1)
    large = torch.nn.functional.interpolate(crop.permute(0, 3, 1, 2), size=(512, 512), mode="area")
    crops = (crop, noisy, large.permute(0, 2, 3, 1))
    one, two, three = (embed(part, model="kintsugi-identity")[0] for part in crops)
    assert probability(one @ two, "kintsugi-identity") > 0.95
    assert probability(one @ three, "kintsugi-identity") > 0.99
    upside_down = embed(crop.flip(1), model="kintsugi-identity")[0]
    assert one @ upside_down < one @ two - 0.2


@trained
@pytest.mark.skipif(not FACES.exists(), reason="the data folder ../shared/faces is not there")
def test_people_are_told_apart():
    cv2 = pytest.importorskip("cv2", reason="OpenCV, of the extra [test], is missing")
    with (FACES / "test-identity/pairs.csv").open(newline="") as file:
        pairs = [row for row in csv.DictReader(file) if row["same"] == "1"][:16]
    first, second = (
        torch.from_numpy(np.stack([cv2.imread(str(FACES / row[key]))[..., ::-1] for row in pairs]))
        for key in ("file1", "file2")
    )
    one, two = (embed(part.float() / 255, model="kintsugi-identity") for part in (first, second))
    chances = probability(one @ two.T, "kintsugi-identity")
    strangers = chances[~torch.eye(16, dtype=torch.bool)]
    assert (chances.diagonal() > 0.5).float().mean() >= 0.85
    assert (strangers < 0.5).float().mean() >= 0.95
