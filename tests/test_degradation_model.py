"""kintsugi-degradation and its front end: shapes, sizes, and signs that mean what they say."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.damage_signs import COMB, LEVELS, LIGHTS, SIZE, THUMBNAIL, DamageSigns, halve
from kintsugi.models.degradation import KINDS, SCALES, Degradation, to_network, to_units
from kintsugi.models.degradation_picture import RANKS, Picture, _ranks, _spread
from kintsugi.models.loader import build
from kintsugi.stages import degradation_estimate

WEIGHTS = Path(__file__).parent.parent / "models/weights/kintsugi-degradation.safetensors"


@pytest.fixture(scope="module")
def signs() -> DamageSigns:
    return DamageSigns()


def picture(side: int = 256) -> Tensor:
    """Smooth, (1, 3, S, S) in [0, 1]."""
    y, x = torch.meshgrid(*2 * [torch.linspace(0, 3, side)], indexing="ij")
    return torch.stack([x.sin(), (x * y).cos(), y.sin()])[None] / 4 + 0.5


def test_network_and_stage_name_the_same_kinds():
    assert tuple(SCALES) == degradation_estimate.KINDS
    assert len(degradation_estimate.KINDS) == KINDS


def test_units_come_back():
    strength = torch.rand(4, KINDS) * 30 + 0.1
    torch.testing.assert_close(to_units(to_network(strength)), strength)


@pytest.mark.parametrize("side", [256, 300, 384, 512])
def test_signs_have_one_size_whatever_the_side(signs, side):
    found = signs(torch.rand(2, 3, side, side))
    assert found.shape == (2, LEVELS, SIZE)
    assert found.isfinite().all()


def test_the_half_is_measured_as_a_picture_of_its_own(signs):
    image = torch.rand(1, 3, 512, 512)
    (one, other), (half, _) = signs(image)[0], signs(halve(image))[0]
    spectra, colours = 6 * 32 * 17, 6 * 14 + 3 * LIGHTS + 3 * THUMBNAIL**2
    before = SIZE - spectra - colours
    assert torch.equal(other[before:-spectra], one[before:-spectra]), "measured once"
    for part in (slice(before), slice(-spectra, None)):
        torch.testing.assert_close(other[part], half[part], atol=1e-3, rtol=1e-3)
        assert (other[part] - one[part]).abs().mean() > 0.1


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_signs_of_a_plane_are_numbers(signs, level):
    assert signs(torch.full((1, 3, 256, 256), level)).isfinite().all()


def test_blocks_stand_out_at_their_phase(signs):
    """Steps at every eighth column raise the phases on either side of them and no other."""
    light = 120 + torch.arange(256).div(8, rounding_mode="floor").remainder(2) * 8.0
    phases = signs._combs(light.expand(1, 256, 256), 1)[0, :8]
    assert set(phases.topk(2).indices.tolist()) == {7, 0}


@pytest.mark.parametrize("side", [256, 304])
def test_combs_are_the_spectrum_of_what_rises_above_its_surroundings(signs, side):
    light = torch.rand(1, side, side) * 255
    bend = light[:, :, 2:] + light[:, :, :-2] - 2 * light[:, :, 1:-1]
    profile = F.pad(bend.abs().clamp(max=24).mean(1), (1, 1), "replicate").add(0.05).log()
    ripple = profile - F.avg_pool1d(F.pad(profile, (8, 8), "replicate"), 17, 1)
    comb = F.adaptive_max_pool1d(torch.fft.rfft(ripple).abs() / side, COMB)
    found = signs._combs(light, 1)[:, : 8 + COMB]
    torch.testing.assert_close(found[:, :8], 3 * ripple.view(1, -1, 8).mean(1), atol=1e-4, rtol=0)
    torch.testing.assert_close(found[:, 8:], (comb + 1e-3).log(), atol=1e-3, rtol=0)


def test_motion_has_a_direction(signs):
    """Mirroring a diagonal swaps the halves of the spectrum, so 45 and 135 degrees differ."""
    noise = torch.rand(1, 1, 256, 256) * 255
    kernel = torch.eye(9)[None, None] / 9
    trail = F.conv2d(noise, kernel, padding=4)
    one, other = signs._spectra([trail[0]]), signs._spectra([trail[0].flip(-1)])
    assert (one - other).abs().mean() > 0.3


def test_a_cast_shifts_the_thumbnail(signs):
    """Less blue moves every logarithm of blue beside green, and no other colour."""
    image = picture() * 0.5 + 0.4
    tinted = image * torch.tensor([1.0, 1.0, 0.8]).view(1, 3, 1, 1)
    one, other = (signs._colours(255 * seen)[-1].view(3, -1) for seen in (image, tinted))
    change = (other - one).mean(1)
    assert change[:2].abs().max() < 1e-4
    assert change[2] == pytest.approx(2 * math.log(0.8), rel=0.1)


def test_halving_is_averaging():
    pictures = torch.rand(2, 3, 12, 12)
    torch.testing.assert_close(halve(pictures), F.avg_pool2d(pictures, 2))


def test_the_rule_of_the_mask_reads_the_pixels_where_they_lie():
    """With nothing drawn but that red speaks for it, the mask is the red of the picture."""
    torch.manual_seed(0)
    drawer = Picture(16, 16, 16)
    with torch.no_grad():
        drawer.missing.weight.zero_()
        drawer.missing.bias.zero_()
        drawer.missing.bias[16] = 1.0
    view = torch.rand(2, 3, 256, 256) * 2 - 1
    features, missing, where = drawer(view)
    torch.testing.assert_close(missing, view[:, :1])
    assert features.shape == (2, drawer.size)
    assert where.shape == (2, 1, 32, 32)


def test_the_rule_draws_on_the_pixels_of_a_larger_picture():
    torch.manual_seed(0)
    drawer = Picture(16, 16, 16)
    with torch.no_grad():
        drawer.missing.weight.zero_()
        drawer.missing.bias.zero_()
        drawer.missing.bias[:16] = torch.arange(16.0)  # the places of a cell
        drawer.missing.bias[16] = 0.5
        drawer.missing.bias[19] = 0.25  # of the square
    image = torch.rand(2, 3, 512, 512)
    _, missing, _ = drawer(F.avg_pool2d(image, 2) * 2 - 1, image)
    pixels = image * 2 - 1
    places = torch.arange(16.0).view(4, 4).repeat_interleave(2, 0).repeat_interleave(2, 1)
    expected = places.repeat(64, 64) + 0.5 * pixels[:, :1]
    expected = expected + 0.25 * pixels.square().sum(1, keepdim=True)
    torch.testing.assert_close(missing, expected)


def test_where_nothing_may_be_missing_the_mask_is_merely_enlarged():
    torch.manual_seed(0)
    drawer = Picture(16, 16, 16)
    with torch.no_grad():
        drawer.missing.weight.zero_()
        drawer.missing.bias.zero_()
        drawer.missing.bias[:16] = -2.0
        drawer.missing.bias[16] = 2.0
    view = torch.stack([torch.full((3, 256, 256), value) for value in (-1.0, 1.0)])
    image = torch.full((2, 3, 512, 512), 0.75)  # red of 0.5
    _, missing, _ = drawer(view, image)
    assert (missing[0] == -4).all(), "read in the view, where red is -1"
    assert (missing[1] == -1).all(), "read in the picture, where red is 0.5"


def test_inference_and_then_training_say_the_same():
    """Copies that inference takes a shorter way for, and tables kept from one for the other."""
    torch.manual_seed(0)
    _spread.cache_clear()
    drawer, view = Picture(16, 16, 16), torch.rand(2, 3, 256, 256) * 2 - 1
    with torch.inference_mode():
        quick = drawer(view)
    slow = drawer(view)
    for found, wanted in zip(quick, slow, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    sum(part.mean() for part in slow).backward()
    assert all(weight.grad is not None for weight in drawer.parameters())


def test_the_head_is_told_how_sure_the_mask_is():
    missing = torch.full((1, 256, 256), -9.0)
    missing[0, 21, 3:35:4] = 4.0  # one pixel in each of eight cells
    ranks = _ranks(missing)[0]
    expected = [4.0 if rank < 8 else -9.0 for rank in RANKS]
    assert ranks[: len(RANKS)].tolist() == pytest.approx(expected)
    assert ranks[-1] == pytest.approx(math.log(8 / 64**2), abs=0.3)


def test_files_of_halves_and_bytes_run_in_single(tmp_path):
    pytest.importorskip("cv2", reason="training needs OpenCV")
    from kintsugi.training.degradation_calibration import in_bytes

    torch.manual_seed(0)
    network = Degradation(code=16, width=24).eval()
    kept = ("signs.", "mean", "deviation", "slope", "shift", "edge")
    state = {
        name: (value if name.startswith(kept) else value.half()).contiguous()
        for name, value in network.state_dict().items()
    }
    narrow, step = in_bytes(network.condense.weight.detach())
    assert (narrow * step - network.condense.weight).abs().max() <= step.max() / 2 + 1e-7
    state |= {"condense.weight": narrow, "condense.step": step}
    save_file(state, tmp_path / "small.safetensors")
    again = build(load_file(tmp_path / "small.safetensors"))
    assert {value.dtype for value in again.state_dict().values()} == {torch.float32}
    image = picture()
    found, wanted = again(image), network(image)
    torch.testing.assert_close(found.present, wanted.present, atol=2e-2, rtol=2e-2)
    assert found.missing.shape == (1, 1, 256, 256)
    assert found.where.shape == (1, 1, 32, 32)


def test_one_picture_of_a_batch_does_not_change_another():
    torch.manual_seed(0)
    network = Degradation(code=16, width=24).eval()
    batch = torch.cat([picture(), torch.rand(1, 3, 256, 256)])
    alone = network(batch[:1])
    torch.testing.assert_close(network(batch).strength[:1], alone.strength, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("side", [256, 400, 512])
def test_a_second_look_lies_on_the_same_pixels(side):
    """With nothing drawn but that red speaks for it, a second look is the red of the first."""
    torch.manual_seed(0)
    network = Degradation(code=16, width=24).eval()
    with torch.no_grad():
        network.picture.missing.weight.zero_()
        network.picture.missing.bias.zero_()
        network.picture.missing.bias[16] = 1.0
        network.edge.fill_(0.5)
        first, again = network(picture(side)).missing, network.again(picture(side))
    assert first.shape == again.shape
    assert first.std() > 0.1
    out = 4 if side == 512 else 2
    torch.testing.assert_close(again[..., :-out, out:], first[..., :-out, out:])
    assert (again - first).abs().max() < 0.1, "what moved out is what lies beside it"


def test_a_second_look_has_other_cells():
    torch.manual_seed(0)
    network = Degradation(code=16, width=24).eval()
    with torch.no_grad():
        network.picture.missing.weight.zero_()
        network.picture.missing.bias.zero_()
        network.picture.missing.bias[:16] = torch.arange(16.0)  # the places of a cell
        again = network.again(picture())
    # Row r of the picture lies in row r + 2 of the second look, column c in 255 - c + 2.
    assert again[0, 0, 0, 100] == 4 * 2 + (255 - 100 + 2) % 4
    assert again[0, 0, 7, 33] == 4 * (7 + 2 - 8) + (255 - 33 + 2) % 4


def test_shipped_file_is_small():
    if not WEIGHTS.exists():
        pytest.skip(f"{WEIGHTS.name} is not in this checkout")
    assert WEIGHTS.stat().st_size <= 2_000_000
