"""Restore: the right pixels to the network and back, whole batches, honest failure."""

from __future__ import annotations

import pytest
import torch
from faces_for_tests import grainy_picture, place, smooth_picture
from torch import nn

from kintsugi.models import zoo
from kintsugi.stages import passes, pixels
from kintsugi.stages.host import Host
from kintsugi.stages.restore import RestoreError, restore


class Fake(nn.Module):
    """Stands in for a network: records what it is fed, answers with `answer`."""

    def __init__(self, answer=lambda x: x):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.answer, self.fed, self.controls = answer, [], []

    def forward(self, image, **controls):
        self.fed.append(image.clone())
        self.controls.append(controls)
        return self.answer(image)

    def fresh_noise(self, count, generator):
        return [torch.randn(count, 1, 4, 4, generator=generator)]


class FakeHost(Host):
    def __init__(self, network):
        super().__init__()
        self.network, self.freed, self.steps = network, 0, []

    def load(self, name):
        return self.network

    def progress(self, done, total):
        self.steps.append((done, total))

    def free_memory(self):
        self.freed += 1


def crops(count: int = 2, size: int = 512) -> torch.Tensor:
    return torch.cat([grainy_picture(size, size, seed=seed) for seed in range(count)])


@pytest.mark.parametrize("size", [128, 512, 900])
@pytest.mark.parametrize("model", ["gfpgan-1.4", "codeformer", "pmrf"])
def test_a_network_that_changes_nothing_gives_the_crops_back(size, model):
    given = crops(2, size)
    host = FakeHost(Fake())
    result = restore(given, model=model, host=host)
    assert (result.crops - given).abs().max() < 2e-3
    assert result.models == (model, model)
    fed = host.network.fed[0]
    low = -1 if zoo.CARDS[model].pixels == "-1..1" else 0
    assert fed.shape == (2, 3, 512, 512)
    assert low <= float(fed.min()) < low + 0.5 and 0.5 < float(fed.max()) <= 1


def test_detail_beyond_the_network_s_size_survives_unless_the_network_smooths():
    given = crops(1, 1024)
    same = restore(given, model="codeformer", host=FakeHost(Fake()))
    assert (same.crops - given).std() < 0.002
    clean = torch.nn.functional.interpolate(
        smooth_picture(1024, 1024).permute(0, 3, 1, 2), size=(512, 512), mode="area"
    )
    smooth = restore(given, model="codeformer", host=FakeHost(Fake(lambda x: clean * 2 - 1)))
    grain = (given - smooth_picture(1024, 1024)).std()
    assert (smooth.crops - smooth_picture(1024, 1024)).std() < 0.3 * grain


def test_fidelity_reaches_the_models_that_know_it_and_anchors_the_others():
    given = crops(1, 512)
    host = FakeHost(Fake())
    restore(given, model="codeformer", fidelity=0.8, host=host)
    assert host.network.controls == [{"fidelity": 0.8}]
    darker = Fake(lambda x: x - 0.2)
    means = [
        float(restore(given, model="restoreformer", fidelity=f, host=FakeHost(darker)).crops.mean())
        for f in (0.0, 0.5, 0.75, 1.0)
    ]
    before = float(given.mean())
    assert means[0] == means[1] < means[2] < means[3]
    assert means[3] == pytest.approx(before, abs=2e-3)
    assert means[0] == pytest.approx(before - 0.1, abs=5e-3)


def test_the_seed_gives_every_face_the_same_noise_whatever_the_batch():
    host = FakeHost(Fake())
    restore(crops(3, 64), model="gfpgan-1.4", seed=5, host=host)
    restore(crops(1, 64), model="gfpgan-1.4", seed=5, host=host)
    restore(crops(1, 64), model="gfpgan-1.4", seed=6, host=host)
    three, one, other = (call["noise"][0] for call in host.network.controls)
    assert torch.equal(three[0], three[2]) and torch.equal(three[:1], one)
    assert not torch.equal(one, other)


def test_an_inpainter_fills_what_is_missing_and_nothing_else():
    given = crops(2, 128)
    missing = torch.zeros(2, 64, 64)
    missing[0, 20:30, 20:30] = 1
    host = FakeHost(Fake(lambda x: torch.zeros_like(x)))
    result = restore(given, model="codeformer-inpainting", missing=missing, host=host)
    hole = torch.zeros(2, 128, 128, dtype=torch.bool)
    hole[0, 40:60, 40:60] = True
    assert torch.equal(result.crops[~hole], given[~hole])
    assert (result.crops[hole] - 0.5).abs().max() < 0.06
    assert host.network.fed[0][0, :, 190:210, 190:210].min() > 0.9  # the network sees white there
    with pytest.raises(ValueError, match="give a mask"):
        restore(given, model="codeformer-inpainting", host=host)
    with pytest.raises(ValueError, match="3 masks"):
        restore(given, model="codeformer-inpainting", missing=torch.zeros(3, 8, 8), host=host)
    with pytest.raises(ValueError, match="missing has values that are NaN"):
        bad = torch.full((8, 8), float("nan"))
        restore(given, model="codeformer-inpainting", missing=bad, host=host)


def test_a_colorizer_sees_grey():
    host = FakeHost(Fake())
    restore(crops(1, 64), model="codeformer-colorization", host=host)
    fed = host.network.fed[0]
    assert torch.equal(fed[:, 0], fed[:, 1]) and torch.equal(fed[:, 0], fed[:, 2])


def test_strength_mixes_and_zero_runs_nothing():
    given = crops(2, 512)
    host = FakeHost(Fake(lambda x: torch.ones_like(x)))
    untouched = restore(given, model="codeformer", strength=0, host=host)
    assert untouched.crops is given and not host.network.fed
    assert untouched.models == ("", "") and "strength 0" in untouched.report
    half = restore(given, model="codeformer", strength=0.5, host=host)
    full = restore(given, model="codeformer", strength=1, host=host)
    assert torch.allclose(half.crops, (given + full.crops) / 2, atol=1e-5)


def test_no_crops_is_a_normal_result():
    result = restore(torch.zeros(0, 512, 512, 3), model="codeformer", host=FakeHost(Fake()))
    assert result.crops.shape[0] == 0 and "no faces" in result.report


def test_many_crops_go_in_passes_and_report_progress():
    host = FakeHost(Fake())
    restore(crops(3, 64).repeat(4, 1, 1, 1), model="codeformer", host=host)
    assert [len(fed) for fed in host.network.fed] == [passes.BATCH, 12 - passes.BATCH]
    assert host.steps[-1] == (12, 12)


def test_out_of_memory_halves_the_batch_and_gives_up_at_one_face():
    def hungry(limit):
        def answer(x):
            if len(x) > limit:
                raise torch.OutOfMemoryError("not enough")
            return x

        return answer

    host = FakeHost(Fake(hungry(1)))
    result = restore(crops(5, 64), model="codeformer", host=host)
    assert result.crops.shape[0] == 5 and host.freed == 2
    with pytest.raises(torch.OutOfMemoryError):
        restore(crops(2, 64), model="codeformer", host=FakeHost(Fake(hungry(0))))


def test_out_of_memory_is_known_by_the_name_that_older_torch_has(monkeypatch):
    error = torch.cuda.OutOfMemoryError
    monkeypatch.delattr(torch, "OutOfMemoryError")

    def hungry(x):
        if len(x) > 2:
            raise error("not enough")
        return x

    host = FakeHost(Fake(hungry))
    assert len(restore(crops(5, 64), model="codeformer", host=host).crops) == 5 and host.freed


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_alpha_crops_become_rgb(channels):
    given = grainy_picture(64, 64, channels)
    result = restore(given, model="codeformer", host=FakeHost(Fake()))
    assert result.crops.shape == (1, 64, 64, 3)
    assert (result.crops - given[..., :3].expand(-1, -1, -1, 3)).abs().mean() < 2e-3


def test_a_failing_network_stops_the_run_and_is_named():
    def broken(x):
        raise RuntimeError("shape mismatch at layer 3")

    with pytest.raises(RestoreError, match="CodeFormer.*layer 3"):
        restore(crops(1, 64), model="codeformer", host=FakeHost(Fake(broken)))
    with pytest.raises(RestoreError, match="not numbers"):
        restore(crops(1, 64), model="codeformer", host=FakeHost(Fake(lambda x: x * torch.nan)))


def test_bad_settings_say_what_and_what_else():
    given = crops(1, 64)
    with pytest.raises(ValueError, match="fidelity is 2"):
        restore(given, fidelity=2)
    with pytest.raises(ValueError, match="gfpgan-1.4"):
        restore(given, model="gfpgan-9")
    with pytest.raises(ValueError, match="commercial use"):
        restore(given, model="codeformer", commercial_only=True)
    with pytest.raises(ValueError, match="64 x 32"):
        restore(given[:, :32], model="codeformer")
    with pytest.raises(ValueError, match="NaN"):
        restore(given * torch.nan, model="codeformer")


@pytest.mark.parametrize("name", pixels._FEEDS)
def test_what_is_fed_can_be_read_back(name):
    pictures = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(pixels.read(pixels.feed(pictures, name), name), pictures, atol=1e-6)


def test_crops_of_other_faces_are_refused_before_anything_is_restored():
    network, one = Fake(), place(64, 64, [(32, 32, 50, 0)])
    for model in ("auto", "gfpgan-1.4"):
        with pytest.raises(ValueError, match="2 crops for 1 faces; wire those of one Align Faces"):
            restore(crops(2, 64), model=model, faces=one, host=FakeHost(network))
    assert not network.fed
