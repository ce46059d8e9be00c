"""Restorers: loading, batches, dtypes and refusals in miniature; golden vectors at full size.

Every width is read off the shapes, so each network is built small here from random weights under
the published names. Where the golden vectors lie (KINTSUGI_PARITY, or ../shared/parity beside the
checkout) the quick ones are met; KINTSUGI_PARITY_ALL=1 meets all of them, which takes minutes.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kintsugi.benchmarks.random_weights import random_weights
from kintsugi.models import (
    codeformer,
    elir,
    gfpgan,
    gpen,
    hdit,
    hifacegan,
    pmrf,
    restoreformer,
    swinir,
)
from kintsugi.models.loader import UnknownArchitectureError, build, recognise

ROOT = Path(__file__).resolve().parent.parent
PARITY = Path(os.environ.get("KINTSUGI_PARITY", ROOT.parent / "shared" / "parity"))
QUICK = {"gpen_bfr_512"}
VECTORS = (
    "codeformer",
    "codeformer_inpainting",
    "codeformer_colorization",
    "gfpgan_v1_clean",
    "restoreformer",
    "restoreformer_pp",
    "hifacegan",
    "hifacegan_ngf48",
    "gpen_bfr_512",
    "elir_bfr",
    "pmrf",
)


@dataclass(frozen=True)
class Case:
    """A small network, the side of its input, and what the published file has beside it."""

    architecture: str
    make: Callable[[], nn.Module]
    side: int
    keywords: dict = field(default_factory=dict)
    dropped: tuple[str, ...] = ()


def _restoreformer(attends: set[int], heads: int) -> Callable[[], nn.Module]:
    return lambda: restoreformer.RestoreFormer(
        widths=[32, 32, 64],
        blocks=2,
        latent=32,
        codes=16,
        length=32,
        heads=heads,
        attends=attends,
    )


def _pmrf() -> nn.Module:
    flow = hdit.HDiT(
        widths=[32, 64],
        hidden=[48, 96],
        heads=[2, 4],
        down=[1],
        up=[1],
        middle=1,
        frequencies=2,
        condition=16,
        condition_hidden=24,
        mapping=1,
        augmentation=3,
        patch=4,
    )
    return pmrf.PMRF(swinir.SwinIR(12, 2, 24, [2, 2], 8), flow)


CASES = {
    "gfpgan": Case(
        "gfpgan",
        lambda: gfpgan.GFPGAN([8, 8, 6, 4], [12, 12, 12, 8], [6, 6, 4], 16),
        32,
        dropped=("toRGB.0.weight", "stylegan_decoder.style_mlp.1.weight"),
    ),
    "gpen": Case("gpen", lambda: gpen.GPEN([8, 8, 6, 4], 16, 2), 32),
    "restoreformer": Case("restoreformer", _restoreformer({2}, 8), 64),
    "restoreformer++": Case("restoreformer", _restoreformer({1, 2}, 4), 64),
    "hifacegan": Case(
        "hifacegan", lambda: hifacegan.HiFaceGAN(4), 64, dropped=("to_rgbs.0.weight",)
    ),
    "elir": Case(
        "elir",
        lambda: elir.ELIR(8, 4, 6, 1, elir.Flow(4, [32, 32, 64], 1, 16, 24)),
        64,
        {"steps": 2},
    ),
    "pmrf": Case("pmrf", _pmrf, 64, {"steps": 2}, dropped=("fid.inception.weight",)),
}


def published(case: Case) -> dict[str, torch.Tensor]:
    """Random weights under the published names and in the published shapes."""
    like = {}
    for key, value in case.make().state_dict().items():
        kernel = key.endswith("conv.weight") and key.replace("modulated_", "").count(".conv.")
        like[key] = value[None] if kernel and case.architecture in ("gfpgan", "gpen") else value
    return random_weights(like)


@pytest.fixture(params=CASES, ids=list(CASES))
def case(request):
    torch.manual_seed(0)
    entry = CASES[request.param]
    return entry, published(entry), torch.rand(2, 3, entry.side, entry.side)


def run(network: nn.Module, image: torch.Tensor, **keywords) -> torch.Tensor:
    with torch.inference_mode():
        return network(image, **keywords)


def test_a_published_state_dict_gives_a_network_in_eval_mode(case):
    entry, state, image = case
    extra = {key: torch.zeros(2, 2) for key in entry.dropped}
    assert recognise(state | extra).name == entry.architecture
    network = build({"params_ema": {f"module.{k}": v for k, v in (state | extra).items()}})
    assert not network.training
    tensors = [*network.parameters(), *network.buffers()]
    assert not any(value.is_meta or value.requires_grad for value in tensors)
    before = image.clone()
    out = run(network, image, **entry.keywords)
    assert out.shape == image.shape and out.isfinite().all() and out.std() > 0
    assert torch.equal(image, before)


def test_a_batch_is_its_faces_one_by_one(case):
    entry, state, image = case
    network = build(state)
    alone = torch.cat([run(network, face[None], **entry.keywords) for face in image])
    together = run(network, image, **entry.keywords)
    error = (together - alone).abs() / alone.abs().max()
    # HiFaceGAN normalises maps of 2 x 2 at this size, which magnifies rounding here and there.
    spread = entry.architecture == "hifacegan"
    assert (error < 1e-3).float().mean() > (0.99 if spread else 0.99999)
    assert error.max() < (0.05 if spread else 1e-4)


def test_memory_layout_does_not_matter(case):
    entry, state, image = case
    network = build(state)
    want = run(network, image, **entry.keywords)
    last = torch.channels_last
    got = run(network.to(memory_format=last), image.to(memory_format=last), **entry.keywords)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))


def test_bfloat16_stays_bfloat16(case):
    entry, state, image = case
    network = build(state).to(torch.bfloat16)
    out = run(network, image.bfloat16(), **entry.keywords)
    assert out.dtype == torch.bfloat16 and out.isfinite().all()


def test_loading_shares_the_memory_of_what_is_not_folded(case):
    entry, state, _ = case
    network = build(state)
    held = {value.data_ptr() for value in network.parameters()}
    shared = [key for key, value in state.items() if value.data_ptr() in held]
    # Every kernel of GPEN is equalised: only constants and modulation biases stay as they are.
    assert len(shared) > len(state) // (4 if entry.architecture == "gpen" else 3)


def test_a_missing_an_extra_and_a_misshapen_key_are_named(case):
    _, state, _ = case
    keys = [key for key in state if not key.endswith(("num_batches_tracked", ".attn_mask"))]
    for key in keys[:: max(1, len(keys) // 12)]:
        name = key.replace(".", r"\.")
        with pytest.raises((RuntimeError, UnknownArchitectureError), match=name):
            build({k: v for k, v in state.items() if k != key})
    for key in ("stray.weight", "encoder.stray.bias"):
        with pytest.raises(RuntimeError, match=key.replace(".", r"\.")):
            build(state | {key: torch.zeros(3)})
    ends = [key for key in keys if key.endswith("bias")] or keys
    for key in ends[1 :: max(1, len(ends) // 6)]:
        longer = torch.cat((state[key], state[key][:1]))
        with pytest.raises(RuntimeError):
            build(state | {key: longer})


def test_sizes_a_network_cannot_take_are_refused(case):
    entry, state, _ = case
    network = build(state)
    with pytest.raises(ValueError, match="33 x 40|got 33"):
        run(network, torch.zeros(1, 3, 40, 33), **entry.keywords)


@pytest.mark.parametrize("name", ["elir", "pmrf"])
def test_flows_are_deterministic_and_take_noise(name):
    torch.manual_seed(0)
    entry = CASES[name]
    network, image = build(published(entry)), torch.rand(2, 3, 64, 64)
    shape = (2, 4, 8, 8) if name == "elir" else image.shape
    noise = torch.randn(shape)
    plain = run(network, image, steps=2)
    assert torch.equal(plain, run(network, image, steps=2))
    torch.testing.assert_close(run(network, image, noise=torch.zeros(shape), steps=2), plain)
    assert not torch.allclose(run(network, image, noise=noise, steps=2), plain, atol=1e-4)
    assert not torch.allclose(run(network, image, steps=3), plain, atol=1e-6)
    drawn = [network.fresh_noise(3, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert drawn[0].shape == ((3, 4, 64, 64) if name == "elir" else (3, 3, 512, 512))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    with pytest.raises(ValueError, match="noise must be"):
        run(network, image, noise=noise[:1], steps=2)
    with pytest.raises(ValueError, match="at least 1 step"):
        run(network, image, steps=0)


def test_gfpgan_noise_is_stored_or_drawn_from_a_seed():
    torch.manual_seed(0)
    network, image = build(published(CASES["gfpgan"])), torch.rand(2, 3, 32, 32)
    stored = run(network, image)
    assert torch.equal(stored, run(network, image))
    draws = [network.fresh_noise(2, torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert [len(d) for d in draws] == [7, 7, 7]
    first, again, other = (run(network, image, noise=noise) for noise in draws)
    assert torch.equal(first, again)
    assert not torch.allclose(first, stored, atol=1e-4)
    assert not torch.allclose(first, other, atol=1e-4)


def test_hifacegan_accepts_both_spellings_of_its_middle():
    state = published(CASES["hifacegan"])
    ported = {key.replace("G_middle", "g_middle"): value for key, value in state.items()}
    assert ported.keys() != state.keys()
    image = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(run(build(ported), image), run(build(state), image))


def test_restoreformer_checkpoints_lose_what_training_left():
    state = {f"vqvae.{k}": v for k, v in published(CASES["restoreformer++"]).items()}
    extra = {f"loss.discriminator.{i}.weight": torch.zeros(1) for i in range(len(state))}
    network = build({"state_dict": state | extra, "epoch": 3})
    assert isinstance(network, restoreformer.RestoreFormer)
    assert network.encoder.mid.attn_1.heads == 4
    assert build(published(CASES["restoreformer"])).encoder.mid.attn_1.heads == 8


@pytest.fixture
def small_codeformer(monkeypatch):
    """CodeFormer of a 64 px pyramid; the published widths are constants, not shapes."""
    monkeypatch.setattr(codeformer, "WIDTHS", {64: 32, 32: 32, 16: 64})

    def make(codes: int, sizes: tuple[int, ...]) -> nn.Module:
        torch.manual_seed(0)
        network = codeformer.CodeFormer(
            codes=codes,
            latent=32,
            width=64,
            hidden=96,
            layers=2,
            tokens=256,
            sizes=sizes,
            adain=True,
            fidelity=0.5,
        )
        state = published(Case("codeformer", lambda: network, 64))
        return build({"params_ema": state})

    return make


def test_codeformer_fidelity_is_a_number_or_one_per_face(small_codeformer):
    network = small_codeformer(64, (32, 64))
    image = torch.rand(3, 3, 64, 64) * 2 - 1
    alone = [run(network, image, fidelity=w)[i : i + 1] for i, w in enumerate((0, 0.5, 1.0))]
    together = run(network, image, fidelity=torch.tensor([0, 0.5, 1.0]))
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)
    low, high = (run(network, image[:1], fidelity=w) for w in (0, 1))
    assert not torch.allclose(low, high, atol=1e-3)
    with pytest.raises(ValueError, match="takes 64 x 64 faces, got 32 x 64"):
        run(network, image[..., :32])


def test_codeformer_variants_follow_from_codebook_and_scales(small_codeformer):
    for codes, sizes, adain, fidelity in (
        (512, (32, 64), False, 1.0),
        (1024, (32, 64), True, 0.0),
    ):
        network = small_codeformer(codes, sizes)
        assert (network.adain, network.fidelity) == (adain, fidelity)
        assert network.sizes == (64, 32)


def test_the_full_codeformer_loads_by_its_published_names():
    with torch.device("meta"):
        network = codeformer.CodeFormer(
            codes=1024,
            latent=256,
            width=512,
            hidden=1024,
            layers=9,
            tokens=256,
            sizes=(32, 64, 128, 256),
            adain=True,
            fidelity=0.5,
        )
    state = {key: torch.empty(value.shape) for key, value in network.state_dict().items()}
    built = build({"params_ema": state})
    assert built.fidelity == 0.5 and built.adain
    assert built.generator.taps == {16: 6, 32: 9, 64: 12, 128: 15, 256: 18, 512: 21}
    assert built.encoder.taps == {512: 2, 256: 5, 128: 8, 64: 11, 32: 14, 16: 18}
    del state["ft_layers.3.linear2.bias"]
    with pytest.raises(RuntimeError, match=r"ft_layers\.3\.linear2\.bias"):
        build(state)


@pytest.mark.parametrize("name", VECTORS)
def test_the_golden_vector_is_met(name):
    file = PARITY / f"{name}.npz"
    if not file.is_file():
        pytest.skip(f"no golden vector: {file.name} is not in the parity folder")
    if name not in QUICK and not os.environ.get("KINTSUGI_PARITY_ALL"):
        pytest.skip("slow: set KINTSUGI_PARITY_ALL=1")
    spec = importlib.util.spec_from_file_location("parity_check", PARITY / "check.py")
    check = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check)
    stored, vectors = np.load(file), check.vectors
    meta = json.loads(str(stored["manifest"]))
    keys = [(key, tuple(shape), dtype) for key, shape, dtype in meta["keys"]]
    keep = {key: stored[f"keep/{key}"] for key in meta.get("keep", ())}
    network = build(vectors.state_dict(keys, meta["seed"], keep, meta.get("post")))
    image = vectors.image(meta.get("input_name", name), meta["input_shape"], meta["seed"])
    image = check.RANGES[meta.get("input_map", "x")](image)
    noise = meta.get("extra_inputs", {}).get("noise")
    noise = vectors.image(noise[0], noise[1], meta["seed"]) if noise else None
    with torch.inference_mode():
        for key, value in check.outputs(name, network, image, noise).items():
            _, share = check.agree(check.subsample(value).numpy(), stored[key])
            assert share > 0.99, f"{key}: {share:.4f} within a thousandth"
