"""What counts as invented: nothing that the original has, everything that it has not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from faces_for_tests import grainy_picture, place

from kintsugi.models import zoo
from kintsugi.stages import geometry, octaves, parsing
from kintsugi.stages import invented as module
from kintsugi.stages.faces import Crop
from kintsugi.stages.invented import FINEST, invented, on_pictures, parser_on_disk, summary

SIZE = 256


def noise(seed: int, amount: float = 0.1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, SIZE, SIZE, 1, generator=generator).expand(-1, -1, -1, 3) * amount


def rough(seed: int) -> torch.Tensor:
    """(1, S, S, 3) with detail of all sizes, but for a smooth forehead and chin."""
    detail = torch.zeros(1, 3, SIZE, SIZE)
    for side in (16, 32, 64, 128, 256):
        small = noise(seed + side, 0.05)[:, :side, :side].permute(0, 3, 1, 2)
        detail = detail + F.interpolate(small, size=(SIZE, SIZE), mode="bicubic")
    height = (torch.arange(SIZE) + 0.5)[:, None] / SIZE
    smooth = octaves.region("face", SIZE) * ((height < 0.4) | (height > 0.81))
    return (0.5 + detail * (1 - 0.98 * smooth)).permute(0, 2, 3, 1).clamp(0, 1)


def soft(crops: torch.Tensor, factor: int) -> torch.Tensor:
    planes = crops.permute(0, 3, 1, 2)
    small = F.interpolate(planes, scale_factor=1 / factor, mode="bicubic", antialias=True)
    return F.interpolate(small, size=(SIZE, SIZE), mode="bicubic").permute(0, 2, 3, 1).clamp(0, 1)


def test_an_untouched_crop_has_nothing_invented():
    crops = torch.cat([rough(0), grainy_picture(SIZE, SIZE)])
    found = invented(crops, crops)
    assert not found.mask.any() and set(found.whole) == {0.0}
    assert found.summaries[0] == f"hardly any detail above {FINEST} px is invented"


def test_sharpening_is_no_invention_and_another_picture_is():
    crops = rough(0)
    sharper = (0.5 + (crops - 0.5) * 1.6).clamp(0, 1)
    assert max(invented(crops, sharper).shares[0].values()) < 0.1
    assert min(invented(crops, rough(1000)).shares[0].values()) > 0.7


def test_noise_that_was_taken_away_is_no_invention():
    clean = soft(rough(0), 4)
    noisy = (clean + noise(5, 0.06)).clamp(0, 1)
    share = max(invented(noisy, clean).shares[0].values())
    assert share < 0.25
    assert share < max(invented(soft(rough(1000), 4), clean).shares[0].values()) / 2


def test_detail_beyond_the_original_is_invented_and_coarser_is_not():
    sharp = rough(0)
    found = invented(soft(sharp, 8), sharp)
    eyes = found.octaves[0]["eyes"]
    assert eyes[4] > 0.9 and eyes[8] > 0.9, "octaves that eightfold shrinking takes away"
    assert eyes[64] < 0.1
    assert 0.3 < found.mask.mean() <= 1


@pytest.mark.parametrize(("factor", "wave"), [(1, 4), (2, 8), (4, 16), (8, 32)])
def test_the_resolution_of_the_original_is_measured(factor, wave):
    sharp = rough(0)
    before = sharp if factor == 1 else soft(sharp, factor)
    found = invented(before, sharp)
    assert found.resolution == (wave,) and found.resolution_after == (4,)


def test_only_what_was_changed_is_named():
    crops, other = rough(0), rough(1000)
    mouth = octaves.region("mouth", SIZE)[None, ..., None]
    found = invented(crops, crops + mouth * (other - crops))
    shares = found.shares[0]
    assert max(shares, key=shares.get) == "mouth" and shares["mouth"] > 0.5
    assert shares["eyes"] < 0.05 and shares["hair"] < 0.05
    assert "of the mouth detail above 4 px is invented" in found.summaries[0]
    assert summary({"eyes": 0.624, "mouth": 0.1}, 4) == (
        "62% of the eye detail above 4 px is invented"
    )


@pytest.mark.parametrize("size", [64, 100, 300, 700])
def test_crops_of_any_size_and_channels(size):
    crops = F.interpolate(rough(0).permute(0, 3, 1, 2), size=(size, size)).permute(0, 2, 3, 1)
    found = invented(crops[..., :1], crops.flip(1))
    assert found.mask.shape == (1, size, size)
    assert torch.isfinite(found.mask).all() and 0 <= found.mask.min() <= found.mask.max() <= 1


def test_no_crops_and_batches_that_do_not_match():
    assert invented(rough(0)[:0], rough(0)[:0]).mask.shape == (0, SIZE, SIZE)
    with pytest.raises(ValueError, match="1 crops before and 2 after"):
        invented(rough(0), torch.cat([rough(0)] * 2))


def test_masks_land_on_their_faces():
    faces = place(200, 300, [(80, 100, 120, 20), (220, 100, 60, 0)])
    template = geometry.template("ffhq").points(SIZE)
    matrices = geometry.similarity(torch.stack([face.points for face in faces]), template)
    aligned = faces.with_faces(
        replace(face, crop=Crop(matrix, SIZE, "ffhq"))
        for face, matrix in zip(faces, matrices, strict=True)
    )
    masks = torch.stack([torch.ones(64, 64), torch.zeros(64, 64)])
    laid = on_pictures(masks, aligned)
    assert laid.shape == (1, 200, 300)
    assert laid[0, 100, 80] == 1 and not laid[0, :, 180:].any() and not laid[0, :5].any()
    assert float(laid.sum()) == pytest.approx(120 * 120, rel=0.05)
    with pytest.raises(ValueError, match="1 masks for 2 faces"):
        on_pictures(masks[:1], aligned)


def test_octaves_come_apart_and_together():
    planes = torch.rand(2, 3, 128, 128)
    parts = octaves.split(planes)
    assert len(parts) == len(octaves.wavelengths(128)) + 1
    assert octaves.wavelengths(128) == (8, 16, 32, 64)
    torch.testing.assert_close(octaves.join(parts), planes, atol=1e-5, rtol=0)


def test_a_head_without_hair_is_judged_by_the_rest(monkeypatch):
    labels = torch.full((1, SIZE, SIZE), parsing.CLASSES.index("skin"), dtype=torch.uint8)
    labels[:, 100:130, 80:110] = parsing.CLASSES.index("left eye")
    monkeypatch.setattr(module, "parse", lambda *_, **__: parsing.Parsing(labels))
    before = soft(rough(0), 8)
    after = before.clone()
    after[:, 100:130, 80:110] = rough(1)[:, 100:130, 80:110]
    (shares,) = invented(before, after, parser="bisenet").shares
    assert shares["hair"] == 0 and shares["mouth"] == 0
    assert shares["eyes"] > 0.5 > shares["skin"]


def test_a_parser_passes_the_licence_filter_or_is_not_asked(monkeypatch):
    monkeypatch.setattr(zoo, "_on_disk", lambda card, *_: card.kind == "parser")
    assert zoo.card(parser_on_disk()).commercial != "yes"
    assert parser_on_disk(commercial_only=True) is None, "neither parser is clearly allowed"
