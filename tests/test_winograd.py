"""Minimal filtering against the ordinary convolution."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F

from kintsugi.models import winograd

#: Of the largest value; float32 keeps 1e-7, summing a few thousand products loses a digit.
TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def _no_gradients():
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def maps(n, inner, outer, height, width, bias=True):
    """A channels-last map, a kernel and a bias of the usual sizes."""
    x = torch.randn(n, inner, height, width).to(memory_format=torch.channels_last)
    weight = torch.randn(outer, inner, 3, 3) / (9 * inner) ** 0.5
    return x, weight, torch.randn(outer) if bias else None


def close(got, want):
    """The greatest difference is within TOLERANCE of the largest value."""
    return float((got - want).abs().max()) <= TOLERANCE * float(want.abs().max())


@pytest.mark.parametrize("seed", range(60))
def test_tiles_give_the_convolution_of_any_shape(seed):
    chance = random.Random(seed)
    inner, outer, across = (chance.randint(1, 40) for _ in range(3))
    height, bias, last = 4 * chance.randint(1, 9), chance.random() < 0.5, chance.random() < 0.5
    x, weight, bias = maps(chance.choice([1, 2, 4]), inner, outer, height, 4 * across, bias)
    if last:
        weight = weight.to(memory_format=torch.channels_last)
    got = winograd.filter_tiles(x, weight, bias)
    want = F.conv2d(x.double(), weight.double(), bias if bias is None else bias.double(), padding=1)
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert close(got, want)


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize(
    ("inner", "outer", "side"), [(256, 128, 64), (256, 256, 32), (64, 512, 64)]
)
def test_wide_maps_are_filtered_in_tiles(monkeypatch, n, inner, outer, side):
    x, weight, bias = maps(n, inner, outer, side, side)
    before = x.clone()
    want = F.conv2d(x, weight, bias, padding=1)
    assert winograd.pays(x, weight)
    monkeypatch.setattr(winograd.F, "conv2d", None)
    assert close(winograd.conv3x3(x, weight, bias), want)
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    ("change", "sizes"),
    [
        ("half precision", (1, 128, 256, 32, 32)),
        ("double precision", (1, 128, 256, 32, 32)),
        ("channels first", (1, 128, 256, 32, 32)),
        ("meta", (1, 128, 256, 32, 32)),
        ("odd height", (1, 128, 256, 33, 32)),
        ("odd width", (1, 128, 256, 32, 34)),
        ("narrow", (1, 128, 128, 64, 64)),
        ("slim", (1, 32, 1024, 64, 64)),
        ("small", (1, 512, 512, 16, 16)),
    ],
)
def test_what_does_not_pay_is_convolved_as_ever(monkeypatch, change, sizes):
    x, weight, bias = maps(*sizes)
    dtype = {"half precision": torch.bfloat16, "double precision": torch.float64}.get(change)
    device = "meta" if change == "meta" else None
    x, weight, bias = (value.to(device=device, dtype=dtype) for value in (x, weight, bias))
    if change == "channels first":
        x = x.contiguous()
    monkeypatch.setattr(winograd, "filter_tiles", None)
    got = winograd.conv3x3(x, weight, bias)
    want = F.conv2d(x, weight, bias, padding=1)
    assert got.dtype == want.dtype and got.shape == want.shape
    assert got.is_meta or torch.equal(got, want)


def test_gradients_flow_through_the_ordinary_convolution():
    conv = winograd.Conv3x3(128, 256)
    x = torch.randn(1, 128, 32, 32).to(memory_format=torch.channels_last)
    with torch.enable_grad():
        assert not winograd.pays(x, conv.weight)
        conv(x).sum().backward()
    assert conv.weight.grad.abs().sum() > 0


def test_the_module_is_a_convolution_by_its_names():
    conv = winograd.Conv3x3(8, 4, bias=False)
    like = torch.nn.Conv2d(8, 4, 3, padding=1, bias=False)
    like.load_state_dict(conv.state_dict())
    x = torch.randn(2, 8, 5, 7)
    assert torch.equal(conv(x), like(x))
