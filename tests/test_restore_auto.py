"""Restore with the model "auto": each face by its damage, all of one model together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from damage_for_tests import degradation
from faces_for_tests import grainy_picture, place
from torch import nn

from kintsugi import samples
from kintsugi.stages import deblur, degradation_estimate, detail, strategy
from kintsugi.stages.host import Host
from kintsugi.stages.restore import restore
from kintsugi.stages.strategy import BUILT_IN_MODEL, Stock

FULL = Stock("restoreformer", "codeformer-inpainting", "codeformer-colorization")

FINE = degradation()
LIGHT = degradation(0.15, jpeg=60.0)
TINY = degradation(0.5, resolution=8.0)
NOISY = degradation(0.6, noise=30.0, resolution=8.0)


class Darker(nn.Module):
    """Stands in for a network: takes `step` off, in the range -1..1; notes what it is fed."""

    def __init__(self, step: float):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.step, self.fed = step, []

    def forward(self, image, **controls):
        self.fed.append((image.clone(), controls))
        return image - 2 * self.step


class ManyModels(Host):
    """Loads a stand-in under every name, and remembers in which order."""

    def __init__(self, **steps: float):
        super().__init__()
        self.networks = {name.replace("_", "-"): Darker(step) for name, step in steps.items()}
        self.loaded = []

    def load(self, name):
        self.loaded.append(name)
        return self.networks[name]


@pytest.fixture
def look(monkeypatch):
    """Sets what the estimator will say of the crops, face by face, and what is on disk."""

    def say(*degradations, stock=FULL):
        rest = list(degradations)

        def estimate(crops, faces=None, host=None):
            assert len(rest) >= len(crops), "more faces were looked at than there are"
            return [rest.pop(0) for _ in crops]

        monkeypatch.setattr(degradation_estimate, "estimate", estimate)
        monkeypatch.setattr(strategy, "stock", lambda library, commercial_only: stock)

    return say


def crops(count: int, size: int = 128) -> torch.Tensor:
    return torch.cat([grainy_picture(size, size, seed=seed) * 0.6 + 0.3 for seed in range(count)])


def darkening(given, result) -> list[float]:
    """By how much each face became darker."""
    return (given - result.crops).mean((1, 2, 3)).tolist()


def test_each_face_gets_what_it_needs_in_its_place(look):
    look(TINY, FINE, LIGHT, FINE, TINY)
    given = crops(5)
    host = ManyModels(kintsugi_restorer=0.1, restoreformer=0.2)
    result = restore(given, host=host, fidelity=0.3)
    assert result.models == ("restoreformer", "", BUILT_IN_MODEL, "", "restoreformer")
    assert darkening(given, result) == pytest.approx([0.2, 0, 0.1, 0, 0.2], abs=5e-3)
    assert torch.equal(result.crops[[1, 3]], given[[1, 3]]), "left alone means bit for bit"
    assert host.loaded == [BUILT_IN_MODEL, "restoreformer"], "faces of one model go together"
    assert [len(fed) for fed, _ in host.networks["restoreformer"].fed] == [2]


def test_values_outside_the_range_survive_where_a_face_is_left_alone(look):
    look(FINE)
    given = crops(1) * 1.5 - 0.2
    assert torch.equal(restore(given, host=ManyModels()).crops, given)


def test_the_report_says_for_each_face_what_and_why(look):
    look(TINY, FINE, LIGHT)
    result = restore(crops(3), host=ManyModels(kintsugi_restorer=0.1, restoreformer=0.2))
    summary, *lines = result.report.splitlines()
    assert summary == (
        "3 faces: 1 left as it is, 1 restored with RestoreFormer, 1 restored with Kintsugi restorer"
    )
    assert result.summary == summary
    assert lines[0].startswith("face 0: 8 px per real pixel; severity 0.50: ")
    assert "RestoreFormer, fidelity 0.8" in lines[0]
    assert lines[1] == "face 1: nothing found; severity 0.00: fine: skipped"
    assert len(result.reasons) == len(result.plans) == len(result.degradations) == 3


def test_findings_that_the_faces_carry_are_not_measured_again(look):
    look(LIGHT)  # for the one face without
    faces = place(200, 400, [(100, 100, 80, 0), (200, 100, 80, 0), (300, 100, 80, 0)])
    known = [FINE, None, TINY]
    faces = faces.with_faces(
        replace(face, id=face.id + 7, degradation=one)
        for face, one in zip(faces, known, strict=True)
    )
    host = ManyModels(kintsugi_restorer=0.1, restoreformer=0.2)
    result = restore(crops(3), faces=faces, host=host)
    assert result.models == ("", BUILT_IN_MODEL, "restoreformer")
    assert result.degradations == (FINE, LIGHT, TINY)
    assert result.report.splitlines()[3].startswith("face 9: ")
    with pytest.raises(ValueError, match="2 crops for 3 faces"):
        restore(crops(2), faces=faces, host=host)


def test_a_named_model_looks_at_nothing(look):
    look()
    given = crops(2)
    faces = place(200, 400, [(100, 100, 80, 0), (200, 100, 80, 0)])
    host = ManyModels(restoreformer=0.2)
    result = restore(given, model="restoreformer", faces=faces, host=host)
    assert darkening(given, result) == pytest.approx([0.2, 0.2], abs=5e-3)
    assert result.report == "2 faces restored with RestoreFormer"
    assert result.degradations == (None, None)
    assert [plan.model for plan in result.plans] == ["restoreformer"] * 2


def test_noise_goes_first_and_only_from_the_faces_that_have_it(look):
    look(NOISY, TINY)
    given = crops(2)
    host = ManyModels(kintsugi_restorer=0.1, restoreformer=0.1)
    result = restore(given, host=host, fidelity=0.0)
    assert host.loaded == [BUILT_IN_MODEL, "restoreformer"]
    assert darkening(given, result) == pytest.approx([0.2, 0.1], abs=5e-3)
    assert host.networks[BUILT_IN_MODEL].fed[0][1] == {"fidelity": 1.0}
    assert result.plans[0].denoiser == BUILT_IN_MODEL


@pytest.mark.parametrize(
    ("wish", "fidelity"), [(0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (0.75, 1.0), (1.0, 1.0)]
)
def test_the_wish_leans_from_what_the_table_says(look, wish, fidelity):
    look(LIGHT)
    host = ManyModels(kintsugi_restorer=0.1)
    result = restore(crops(1), fidelity=wish, host=host)
    assert host.networks[BUILT_IN_MODEL].fed[0][1] == {"fidelity": pytest.approx(fidelity)}
    assert result.plans[0].fidelity == pytest.approx(fidelity) and result.fidelity == wish


def test_strength_mixes_what_was_restored_and_zero_does_not_even_look(look):
    look(TINY, FINE)
    given = crops(2)
    host = ManyModels(restoreformer=0.2)
    result = restore(given, strength=0.5, fidelity=0.0, host=host)
    assert darkening(given, result) == pytest.approx([0.1, 0], abs=5e-3)
    assert torch.equal(result.crops[1], given[1]) and result.summary.endswith(", strength 0.5")
    look()
    assert restore(given, strength=0.0, host=host).crops is given
    assert restore(given[:0], host=host).report == "no faces: nothing restored"


def test_holes_are_filled_before_the_rest_is_restored(look):
    hole = (slice(64, 128), slice(64, 128))  # of 256: the pixels 32..64 of 128
    look(degradation(0.3, missing=0.06, hole=hole, blur=4.0), TINY)
    given = crops(2)
    host = ManyModels(codeformer_inpainting=0.5, restoreformer=0.1)
    result = restore(given, host=host, fidelity=0.0)
    change = (given - result.crops).mean(-1)
    inside = torch.zeros(128, 128, dtype=torch.bool)
    inside[34:62, 34:62] = True
    around = torch.ones(128, 128, dtype=torch.bool)
    around[28:68, 28:68] = False
    assert float(change[0][around].mean()) == pytest.approx(0.1, abs=0.01)
    assert float(change[1].mean()) == pytest.approx(0.1, abs=0.01)
    fed = host.networks["codeformer-inpainting"].fed[0][0]
    assert len(fed) == 1 and fed[0, :, 140:240, 140:240].min() > 0.9
    # White less 0.5 is filled in, then 0.1 darker.
    assert float(result.crops[0][inside].mean()) == pytest.approx(0.4, abs=0.05)


def test_a_mask_of_the_users_is_filled_even_in_a_fine_face(look):
    look(FINE, FINE)
    given = crops(2)
    mask = torch.zeros(2, 128, 128)
    mask[1, 10:20, 30:40] = 1
    host = ManyModels(codeformer_inpainting=0.5)
    result = restore(given, missing=mask, host=host)
    assert torch.equal(result.crops[0], given[0])
    assert torch.equal(result.crops[1][mask[1] == 0], given[1][mask[1] == 0])
    assert (result.crops[1][mask[1] == 1] - 0.5).abs().max() < 0.06
    assert result.models == ("", "codeformer-inpainting")
    assert "filled where masked" in result.reasons[1]


def test_without_an_inpainter_holes_are_filled_from_their_rim(look):
    hole = (slice(64, 80), slice(64, 128))
    look(degradation(0.3, missing=0.01, hole=hole, jpeg=40.0), FINE, stock=Stock())
    given = crops(2)
    holes = torch.zeros(2, 128, 128)
    holes[0, 32:40, 32:64] = 1
    torn = torch.where(holes[..., None] > 0, 1.0, given)
    mask = torch.zeros(2, 128, 128)
    mask[1, 10:20, 30:40] = 1
    result = restore(torn, missing=mask, host=ManyModels(kintsugi_restorer=0.0))
    before, after = (
        (part[0] - given[0]).abs()[32:40, 32:64].mean() for part in (torn, result.crops)
    )
    assert float(after) < 0.3 * float(before)
    assert result.models == (BUILT_IN_MODEL, "") and [plan.fill for plan in result.plans] == [1, 1]
    # What the user masks is filled in a fine face too, and nothing else of it changes.
    kept = mask[1] == 0
    assert torch.equal(result.crops[1][kept], torn[1][kept])
    assert not torch.equal(result.crops[1][~kept], torn[1][~kept])
    assert result.summary.endswith("1 filled from what is around its holes")


def test_grey_faces_are_coloured_on_request_alone(look):
    grey = degradation(0.0, grey=1.0)
    given = crops(1)
    look(grey)
    assert torch.equal(restore(given, host=ManyModels()).crops, given)
    look(grey)
    host = ManyModels(codeformer_colorization=0.1)
    assert restore(given, colourise=True, host=host).models == ("codeformer-colorization",)
    fed = host.networks["codeformer-colorization"].fed[0][0]
    assert torch.equal(fed[:, 0], fed[:, 2])


class Painter(Darker):
    """Stands in for a restorer that sees colours where there are none: red ever more to the right,
    and all a little darker."""

    def forward(self, image, **controls):
        image = super().forward(image, **controls)
        across = torch.linspace(0, 0.4, image.shape[-1])
        return torch.cat([image[:, :1] + across, image[:, 1:2], image[:, 2:] - across], 1)


@pytest.mark.parametrize("tint", [(1.0, 1.0, 1.0), (1.0, 0.85, 0.6)], ids=["grey", "sepia"])
def test_what_is_grey_or_brown_stays_so_in_the_restored_crop(look, tint):
    given = crops(1, 256).mean(-1, keepdim=True) * torch.tensor(tint)
    host = ManyModels()
    host.networks["restoreformer"] = Painter(0.1)
    look(degradation(0.5, resolution=8.0, grey=1.0))
    kept = restore(given, host=host).crops
    ratio = kept / torch.tensor(tint)
    assert float((ratio.amax(-1) - ratio.amin(-1)).max()) < 0.05, "one tone, as it had"
    assert float((given - kept).mean()) > 0.03, "and restored all the same"
    look(degradation(0.5, resolution=8.0))
    painted = restore(given, host=host).crops / torch.tensor(tint)
    assert float((painted.amax(-1) - painted.amin(-1)).max()) > 0.12
    # Colour that was asked for stays.
    look(degradation(0.5, resolution=8.0, grey=1.0))
    host.networks["codeformer-colorization"] = Painter(0.0)
    asked = restore(given, host=host, colourise=True).crops
    assert float((asked[..., 0] - asked[..., 2])[..., -20:].mean()) > 0.1


@pytest.mark.parametrize("model", ["", "restoreformer"])
def test_a_hole_in_a_grey_face_is_filled_in_grey(look, model):
    grey = crops(1, 256).mean(-1, keepdim=True).expand(-1, -1, -1, 3).contiguous()
    mask = torch.zeros(256, 256)
    mask[100:140, 90:150] = 1
    host = ManyModels(restoreformer=0.0)
    host.networks["codeformer-inpainting"] = Painter(0.1)
    look(degradation(0.5 if model else 0.05, grey=1.0, **({"resolution": 8.0} if model else {})))
    result = restore(grey, missing=mask, host=host)
    assert result.plans[0].model == model and result.plans[0].inpainter
    spread = result.crops.amax(-1) - result.crops.amin(-1)
    assert float(spread.max()) < 0.02
    assert float((result.crops - grey)[0, 100:140, 90:150].abs().mean()) > 0.1


def test_a_face_of_faded_colours_keeps_those_it_has_left(look):
    # Brown with one side bluish, as hand-coloured prints are: no single tone.
    given = crops(1, 256).mean(-1, keepdim=True) * torch.tensor([1.0, 0.85, 0.6])
    given[:, :, 128:] *= torch.tensor([0.8, 1.0, 1.4])
    host = ManyModels()
    host.networks["restoreformer"] = Painter(0.0)
    look(degradation(0.5, resolution=8.0, grey=1.0))
    kept = restore(given, host=host).crops
    left, right = (slice(None), slice(40, 216), slice(20, 100)), (..., slice(156, 236), slice(None))
    for side in (left, right):
        before, after = given[side].mean((0, 1, 2)), kept[side].mean((0, 1, 2))
        # Of the same hue: it is the brightness alone that the painter's red and blue have moved.
        assert torch.allclose(before - before.mean(), after - after.mean(), atol=0.02)


def moved(crops: torch.Tensor, length: int) -> torch.Tensor:
    """Crops (N, S, S, 3) that moved along their diagonal, down to the right."""
    steps = [crops.roll((step, step), (1, 2)) for step in range(-(length // 2), length // 2 + 1)]
    return torch.stack(steps).mean(0)


def test_motion_is_taken_back_where_the_crop_shows_it(look):
    face = samples.portraits()["collins"].crop((97, 0, 353, 256))
    clean = torch.from_numpy(np.array(face)).float()[None] / 255
    crops = moved(clean, 9)  # a trail of 9 diagonals: 12.7 px at 45 degrees
    told = degradation(0.5, motion=11.5, angle=38.0)
    look(told, stock=Stock())
    host = ManyModels(kintsugi_restorer=0.0)
    result = restore(crops, host=host)
    (plan,) = result.plans
    assert plan.trail.length == pytest.approx(9 * 2**0.5, rel=0.08)
    assert plan.trail.angle == pytest.approx(45, abs=4)
    assert "taken back" in plan.reason and "taken back" in result.report
    inner = (slice(None), slice(32, -32), slice(32, -32))

    def error(found):
        return float((found[inner] - clean[inner]).square().mean())

    assert error(result.crops) < error(crops) / 2
    look(told, stock=Stock())
    untouched = restore(clean, host=ManyModels(kintsugi_restorer=0.0))
    assert untouched.plans[0].trail is None, "no trail is in this one's spectrum"
    assert torch.allclose(untouched.crops, clean, atol=1e-5)


def test_lens_blur_is_divided_out_where_it_is_the_worst(look, monkeypatch):
    face = samples.portraits()["collins"].crop((97, 0, 353, 256))
    clean = torch.from_numpy(np.array(face)).float()[None] / 255
    crops = detail.blur(clean.permute(0, 3, 1, 2), 13, 2.0).permute(0, 2, 3, 1)

    def error(found):
        return float((found - clean)[:, 32:-32, 32:-32].square().mean())

    look(degradation(0.5, blur=2.0, resolution=2.0), stock=Stock())
    result = restore(crops, host=ManyModels(kintsugi_restorer=0.0))
    assert "divided out of the blur" in result.plans[0].reason
    assert torch.allclose(result.crops, crops, atol=1e-5), "a restorer that adds nothing rules"
    look(degradation(0.5, blur=2.0, resolution=2.0), stock=Stock())
    partly = torch.lerp(crops, clean, 0.2)
    planes = partly.permute(0, 3, 1, 2)
    with monkeypatch.context() as patch:
        patch.setattr("kintsugi.stages.steps.rebuild", lambda *_, **__: planes)
        result = restore(crops, host=ManyModels(kintsugi_restorer=0.0))
    assert error(result.crops) < 0.95 * error(partly), "both go the same way"
    for other in ({"resolution": 8.0, "blur": 2.0}, {"blur": 2.0, "noise": 20.0}):
        look(degradation(0.5, **other), stock=Stock())
        result = restore(crops, host=ManyModels(kintsugi_restorer=0.0))
        assert result.plans[0].lens is None
        assert result.plans[0].noise or torch.allclose(result.crops, crops, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "resolution", "looks"), ((256, 0.1, 2), (256, 0.5, 1), (512, 0.1, 1))
)
def test_only_what_is_surely_blurred_is_seen_divided(look, monkeypatch, size, resolution, looks):
    """Pixels of an enlarged picture would be sharpened, and a larger face reduced once more."""
    told = degradation(0.5, blur=3.0)
    findings = tuple(
        replace(one, probability=resolution if one.kind == "resolution" else one.probability)
        for one in told.findings
    )
    look(replace(told, findings=findings), stock=Stock())
    given, seen = crops(1, size), []

    def rebuild(pictures, *_, **__):
        seen.append(pictures.clone())
        return pictures

    monkeypatch.setattr("kintsugi.stages.steps.rebuild", rebuild)
    assert restore(given, host=ManyModels()).plans[0].lens is not None
    assert len(seen) == looks and torch.equal(seen[0], given.permute(0, 3, 1, 2))
    assert all(not torch.equal(seen[0], other) for other in seen[1:])


def test_a_mosaic_is_smoothed_where_it_lies_and_nowhere_else(look):
    face = samples.portraits()["collins"].crop((97, 0, 353, 256))
    clean = torch.from_numpy(np.array(face)).float()[None] / 255
    blocks = F.avg_pool2d(clean.permute(0, 3, 1, 2), 8)
    blocks = F.interpolate(blocks, scale_factor=8.0).permute(0, 2, 3, 1)
    crops = torch.where((torch.arange(256) >= 128)[:, None, None], blocks, clean)
    look(degradation(0.5, pixelation=8.0), stock=Stock())
    result = restore(crops, host=ManyModels(kintsugi_restorer=0.0))
    assert "mosaic" in result.plans[0].reason

    def error(found, rows):
        return float((found[:, rows] - clean[:, rows]).square().mean())

    below, above = slice(144, 248), slice(8, 112)
    assert error(result.crops, below) < 0.85 * error(crops, below)
    assert error(result.crops, above) < 0.1 * error(crops, below)


def test_a_long_run_can_be_stopped_between_two_faces(look):
    class Impatient(ManyModels):
        def progress(self, done, total):
            assert total == 3
            raise KeyboardInterrupt

    moved = degradation(0.5, motion=12.0, hole=(slice(9, 30), slice(9, 30)), missing=0.03)
    look(moved, moved, moved, stock=Stock())
    host = Impatient(kintsugi_restorer=0.0)
    with pytest.raises(KeyboardInterrupt):
        restore(crops(3), host=host)
    assert not host.loaded, "stopped before any network was asked for"


def test_damage_is_undone_where_no_hole_smears_into_it(look, monkeypatch):
    hole = (slice(100, 140), slice(60, 200))
    look(degradation(0.8, motion=9.0, missing=0.1, hole=hole))
    host = ManyModels(restoreformer=0.0, codeformer_inpainting=0.2)
    seen = []
    monkeypatch.setattr(deblur, "trail", lambda crop, *_: seen.append(crop.clone()))
    given = crops(1, 256)
    restore(given, host=host)
    inside = seen[0][:, 110:130, 80:180]
    assert torch.allclose(inside, torch.tensor(0.8), atol=1e-5), "white to the inpainter, less 0.2"
    assert torch.equal(seen[0][:, :60], given[0].permute(2, 0, 1)[:, :60])


def test_what_was_divided_comes_in_before_colour_does(look, monkeypatch):
    look(degradation(0.5, blur=3.0, grey=0.9), stock=Stock(colorizer="codeformer-colorization"))
    host = ManyModels(kintsugi_restorer=0.0, codeformer_colorization=0.0)
    loaded = []

    def shared(*crops):
        loaded.append(list(host.loaded))
        return crops[1]

    monkeypatch.setattr(deblur, "shared", shared)
    restore(crops(1), colourise=True, host=host)
    assert [set(names) for names in loaded] == [{"kintsugi-restorer"}]
    assert host.loaded[-1] == "codeformer-colorization"


def test_a_fine_face_with_a_masked_hole_is_filled_and_nothing_else(look):
    look(degradation(0.05, pixelation=5.0), stock=Stock())
    mask = torch.zeros(128, 128)
    mask[40:50, 40:90] = 1
    given = crops(1)
    result = restore(given, missing=mask, host=ManyModels())
    assert result.plans[0].fill and not result.plans[0].mosaic
    assert torch.equal(result.crops[:, mask == 0], given[:, mask == 0])
