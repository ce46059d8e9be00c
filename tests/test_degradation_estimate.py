"""What estimate says of faces, of other pictures, and of input it cannot take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from faces_for_tests import place
from torch import Tensor

from kintsugi.stages import degradation_estimate
from kintsugi.stages.degradation_estimate import (
    KINDS,
    LIMITS,
    SEVERE,
    THRESHOLDS,
    UNITS,
    Degradation,
    Finding,
    estimate,
    severity,
)
from kintsugi.stages.host import Host
from kintsugi.stages.landmark_align import align

WEIGHTS = Path(__file__).parent.parent / "models/weights/kintsugi-degradation.safetensors"


@pytest.fixture(scope="module")
def host() -> Host:
    if not WEIGHTS.exists():
        pytest.skip(f"{WEIGHTS.name} is not in this checkout")
    return Host()


@pytest.fixture(scope="module")
def face() -> Tensor:
    """A photograph that comes with scikit-image (public domain), cut as FFHQ crops are, 256 px."""
    data = pytest.importorskip(
        "skimage.data", reason="scikit-image, of the extra [test], is missing"
    )
    picture = torch.from_numpy(data.astronaut()).float() / 255  # the face lies around (224, 110)
    crop = picture[0:256, 96:352].permute(2, 0, 1)[None]
    return crop.permute(0, 2, 3, 1).contiguous()


def finding(kind: str, **values) -> Finding:
    plain = {"strength": 1.0, "probability": 0.0, "severity": 0.0}
    return Finding(kind, **(plain | values))


def degradation(**probabilities: float) -> Degradation:
    findings = tuple(
        finding(kind, probability=probabilities.get(kind, 0.0), severity=0.1 * index)
        for index, kind in enumerate(KINDS)
    )
    return Degradation(findings, 0.0, torch.zeros(32, 32), torch.zeros(256, 256), 1.0)


def test_every_kind_has_a_unit_a_threshold_and_a_severity():
    for table in (UNITS, THRESHOLDS, SEVERE):
        assert tuple(table) == KINDS
    assert all(0.5 <= least < 1 for least in THRESHOLDS.values())


def test_found_lists_what_is_present_worst_first(monkeypatch):
    monkeypatch.setitem(THRESHOLDS, "grey", 0.7)
    looked = degradation(blur=0.999, noise=0.999, grey=0.6)
    assert [f.kind for f in looked.found()] == ["noise", "blur"]
    assert [f.kind for f in looked.found(0.6)] == ["grey", "noise", "blur"]


def test_kinds_out_of_order_are_refused():
    with pytest.raises(ValueError, match="in order"):
        Degradation((finding("noise"),), 0.0, torch.zeros(1, 1), torch.zeros(1, 1), 1.0)
    with pytest.raises(ValueError, match="'rust'; known: blur"):
        degradation().finding("rust")


@pytest.mark.parametrize("kind", KINDS)
def test_severity_grows_with_damage(kind):
    mild, worst, weight = SEVERE[kind]
    steps = [severity(kind, mild + (worst - mild) * share, 256) for share in (0, 0.3, 0.7, 1)]
    assert steps == sorted(steps)
    assert steps[0] == 0
    assert steps[-1] == pytest.approx(weight)


def test_severity_of_a_length_goes_by_the_size_of_the_crop():
    assert severity("blur", 4.0, 512) == pytest.approx(severity("blur", 2.0, 256))
    assert severity("noise", 10.0, 512) == severity("noise", 10.0, 256)


@pytest.mark.parametrize("side", [256, 512])
def test_noise_is_measured_in_its_unit(host, face, side):
    crop = face.permute(0, 3, 1, 2)
    crop = torch.nn.functional.interpolate(crop, (side, side), mode="bilinear")
    torch.manual_seed(3)
    noisy = (crop * 0.9 + 0.05 + torch.randn_like(crop) * 12 / 255).permute(0, 2, 3, 1)
    found = estimate(noisy, host=host)[0].finding("noise")
    assert found.present
    assert found.strength == pytest.approx(12, abs=3)
    assert 0 < found.severity < 1


@pytest.mark.parametrize("sigma", [40, 60])
def test_noise_louder_than_any_measured_is_not_told_as_less(host, face, sigma):
    generator = torch.Generator().manual_seed(5)
    noisy = (face + torch.randn(face.shape, generator=generator) * sigma / 255).clamp(0, 1)
    noise = estimate(noisy, host=host)[0].finding("noise")
    assert noise.present and noise.strength > 0.6 * sigma


@pytest.mark.parametrize("side", [256, 512])
def test_blocks_of_a_mosaic_are_measured_in_pixels_of_the_crop(host, face, side):
    crop = face.permute(0, 3, 1, 2)
    crop = torch.nn.functional.interpolate(crop, (side, side), mode="bilinear")
    coarse = torch.nn.functional.avg_pool2d(crop, 8)
    mosaic = coarse.repeat_interleave(8, 2).repeat_interleave(8, 3).permute(0, 2, 3, 1)
    found = estimate(mosaic, host=host)[0].finding("pixelation")
    assert found.present
    assert found.strength == pytest.approx(8, rel=0.15)


def test_the_direction_of_motion_is_that_of_the_trail(host, face):
    kernel = torch.eye(13)[None, None] / 13  # down and to the right
    crop = face.permute(3, 0, 1, 2)
    trail = torch.nn.functional.conv2d(crop, kernel, padding=6).permute(1, 2, 3, 0)
    found = estimate(trail, host=host)[0].finding("motion")
    assert found.present
    assert found.angle == pytest.approx(45, abs=15)


def test_lengths_grow_with_crops_beyond_the_measured_sizes(host, face):
    """A 768 px enlargement is measured at 512 px: its scale is half as large again there."""
    crop = face.permute(0, 3, 1, 2)
    scales = [
        estimate(
            torch.nn.functional.interpolate(crop, (side, side), mode="bicubic")
            .clamp(0, 1)
            .permute(0, 2, 3, 1),
            host=host,
        )[0]
        .finding("resolution")
        .strength
        for side in (512, 1024)
    ]
    assert scales[1] == pytest.approx(2 * scales[0], rel=0.35)


def test_maps_and_numbers_are_in_range(host, face):
    looked = estimate(torch.cat([face, torch.rand(1, 256, 256, 3)]), host=host)
    assert len(looked) == 2
    for one in looked:
        assert one.where.shape == (32, 32)
        assert one.missing.shape == (256, 256)
        assert one.where.dtype == one.missing.dtype == torch.float32
        assert 0 <= one.severity <= 1 and 0 <= one.face <= 1
        assert tuple(f.kind for f in one.findings) == KINDS
        assert all(np.isfinite([f.strength, f.probability, f.severity]).all() for f in one.findings)
        assert all(low <= one.finding(k).strength <= high for k, (low, high) in LIMITS.items())
        assert one.finding("noise").angle is None
        assert 0 <= one.finding("motion").angle < 180


def test_the_finest_scratch_of_a_large_crop_is_drawn_in_its_own_pixels(host, face):
    cv2 = pytest.importorskip("cv2", reason="OpenCV, of the extra [test], is missing")
    crop = torch.nn.functional.interpolate(face.permute(0, 3, 1, 2), (512, 512), mode="bicubic")
    picture = (crop.clamp(0, 1)[0].permute(1, 2, 0).contiguous() * 255).byte().numpy()
    covered = np.zeros((512, 512), np.uint8)
    for ends in (((150, 40), (330, 500)), ((380, 60), (210, 470))):
        cv2.line(picture, *ends, (245, 245, 245), 1)
        cv2.line(covered, *ends, 255, 1)
    one = estimate(torch.from_numpy(picture)[None] / 255, host=host)[0]
    assert one.missing.shape == (512, 512)
    found, covered = one.missing.numpy() > 0.5, covered > 0
    assert (found & covered).sum() > 0.9 * covered.sum()
    assert found.sum() < 3 * covered.sum(), "in cells of 2 px it would be as much as four times"


def test_what_is_missing_is_looked_at_twice(host, face):
    """And only that: the mask of a picture without a finding is that of one look."""
    spoilt, plain = face.clone(), torch.full_like(face, 0.4)
    spoilt[:, 120:123, 60:200] = 1.0
    crops = torch.cat([plain, spoilt, plain])
    network = host.load(degradation_estimate.MODEL)
    image = crops.permute(0, 3, 1, 2).contiguous()
    with torch.inference_mode():
        first, again = network(image).missing[:, 0], network.again(image)[:, 0]
    looked = estimate(crops, host=host)
    assert [one.finding("missing").present for one in looked] == [False, True, False]
    for index in (0, 2):
        torch.testing.assert_close(looked[index].missing, first[index].sigmoid())
    mean = ((first[1] + again[1]) / 2).sigmoid()
    torch.testing.assert_close(looked[1].missing, mean)
    share = float((mean > 0.5).float().mean())
    assert looked[1].finding("missing").strength == pytest.approx(share)
    assert (first[1].sigmoid() - mean).abs().max() > 0.05


def test_same_crop_same_answer(host, face):
    one, other = (estimate(face, host=host)[0] for _ in range(2))
    assert [f.probability for f in one.findings] == [f.probability for f in other.findings]
    assert torch.equal(one.missing, other.missing)


@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
def test_a_plain_colour_is_no_face(host, level):
    assert estimate(torch.full((1, 256, 256, 3), level), host=host)[0].face < 0.5


def test_noise_alone_is_no_face(host):
    torch.manual_seed(0)
    assert estimate(torch.rand(1, 256, 256, 3), host=host)[0].face < 0.5


def test_grey_and_transparent_crops_are_measured(host, face):
    alpha = torch.cat([face, torch.zeros(1, 256, 256, 1)], 3)
    plain, clear = estimate(face, host=host)[0], estimate(alpha, host=host)[0]
    assert [f.strength for f in plain.findings] == [f.strength for f in clear.findings]
    assert estimate(face.mean(3, keepdim=True), host=host)[0].finding("grey").present


def test_small_crops_are_enlarged(host, face):
    small = torch.nn.functional.interpolate(face.permute(0, 3, 1, 2), (32, 32), mode="area")
    looked = estimate(small.permute(0, 2, 3, 1), host=host)[0]
    assert looked.finding("resolution").strength < 4


def test_no_crops_no_answers():
    assert estimate(torch.zeros(0, 512, 512, 3)) == []


@pytest.mark.parametrize(
    ("crops", "said"),
    [
        (torch.zeros(1, 64, 48, 3), "expected squares"),
        (torch.full((1, 64, 64, 3), torch.nan), "NaN"),
        (torch.zeros(1, 8, 8, 3), "too small"),
        (torch.zeros(1, 64, 64, 2), "1, 3 or 4 channels"),
        (torch.zeros(1, 64, 64, 3, dtype=torch.uint8), "expected float"),
    ],
)
def test_bad_input_is_named(crops, said):
    with pytest.raises(ValueError, match=said):
        estimate(crops)


def test_the_network_is_the_built_in_one():
    assert degradation_estimate.MODEL == "kintsugi-degradation"


def test_crops_with_a_margin_are_measured_by_the_face_in_them(host, face):
    spoilt = face.clone()
    spoilt[:, 120:123, 60:200] = 1.0
    around = F.pad(spoilt.permute(0, 3, 1, 2), (128,) * 4, "reflect").permute(0, 2, 3, 1)
    crops, faces = align(around, place(512, 512, [(255.5, 255.5, 256, 0)]), size=512, margin=0.5)
    (plain,) = estimate(spoilt, host=host)
    (framed,) = estimate(crops, faces=faces, host=host)
    for one, other in zip(plain.findings, framed.findings, strict=True):
        assert one.strength == pytest.approx(other.strength, rel=1e-3, abs=1e-4)
        assert one.probability == pytest.approx(other.probability, abs=1e-3)
    assert plain.missing.round().sum() > 200
    inner = F.interpolate(plain.missing[None, None], (128, 128), mode="area")[0, 0]
    assert torch.allclose(framed.missing[64:192, 64:192], inner, atol=1e-3)
    assert framed.missing.sum() == framed.missing[64:192, 64:192].sum()
