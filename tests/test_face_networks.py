"""Detectors, landmark networks, parsers and embedders: folding, loading, decoding, parity.

Each network is held against itself with real batch norms put back, under the published names. Where
the golden vectors lie beside the checkout (../shared/parity) it is held against those as well.
"""

from __future__ import annotations

import copy
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kintsugi.models import (
    adaface,
    anchors,
    arcface,
    awing_fan,
    bisenet,
    facenet,
    mobilefacenet,
    parsenet,
    retinaface,
    yunet,
)
from kintsugi.models.batch_norm import fold_batch_norms, preceding
from kintsugi.models.loader import UnknownArchitectureError, build, recognise

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


def following(layer: str) -> str:
    """The inverse of `preceding`."""
    path, _, leaf = layer.rpartition(".")
    leaf = str(int(leaf) + 1) if leaf.isdigit() else leaf.replace("conv", "bn")
    return f"{path}.{leaf}" if path else leaf


def awing_norm(layer: str) -> str | None:
    if layer == "conv1.conv":
        return "bn1"
    return layer.replace("conv_last", "bn_end") if layer.startswith("conv_last") else None


def yunet_norm(layer: str) -> str | None:
    if layer == "model0.conv1":
        return "model0.bn1"
    last = layer.startswith("head.") and layer.endswith("conv2.conv2")
    return layer.removesuffix("conv2") + "bn" if layer.endswith(".conv2") and not last else None


def parsenet_norm(layer: str) -> str | None:
    inner = ".conv1.conv2d" in layer or ".conv2.conv2d" in layer
    return layer.removesuffix("conv2d") + "norm.norm" if inner else None


def mobile_norm(layout: mobilefacenet.Layout) -> Callable[[str], str]:
    return lambda layer: layout.norm if layer == layout.linear else following(layer)


@dataclass(frozen=True)
class Case:
    """A network small enough for a test, and the batch norms its published file has."""

    architecture: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    norm_of: Callable[[str], str | None]
    biased: Callable[[str], bool] = lambda layer: False
    eps: float = 1e-5
    without_affine: tuple[str, ...] = ()


def embeddings(layout: mobilefacenet.Layout) -> Callable[[], nn.Module]:
    return lambda: mobilefacenet.MobileFaceNet(layout, 16)


SHALLOW = (2, 2, 2, 2)
LAST = "output_layer.3".__eq__

CASES = {
    "retinaface-mobilenet": Case(
        "retinaface",
        lambda: retinaface.RetinaFace(retinaface.MobileNet(8), 64),
        (2, 3, 70, 101),
        lambda layer: None if "conv1x1" in layer else following(layer),
    ),
    "retinaface-resnet50": Case(
        "retinaface",
        lambda: retinaface.RetinaFace(retinaface.ResNet50(), 256),
        (1, 3, 64, 96),
        lambda layer: None if "conv1x1" in layer else following(layer),
    ),
    "yunet": Case("yunet", yunet.YuNet, (2, 3, 70, 101), yunet_norm, lambda layer: True),
    "bisenet": Case("bisenet", bisenet.BiSeNet, (1, 3, 64, 96), following),
    "parsenet": Case(
        "parsenet",
        lambda: parsenet.ParseNet([32, 48], 2, [32, 16], 19),
        (2, 3, 32, 48),
        parsenet_norm,
    ),
    "awing-fan": Case(
        "awing_fan",
        lambda: awing_fan.AWingFAN(stacks=2, maps=99, width=64),
        (2, 3, 64, 128),
        awing_norm,
        lambda layer: True,
    ),
    "arcface": Case(
        "arcface_ir_se50",
        lambda: arcface.ArcFace(SHALLOW, excite=True),
        (2, 3, 112, 112),
        following,
        LAST,
    ),
    "adaface": Case(
        "adaface",
        lambda: adaface.AdaFace(SHALLOW, excite=False),
        (2, 3, 112, 112),
        following,
        LAST,
        without_affine=("output_layer.4",),
    ),
    "facenet": Case(
        "facenet",
        facenet.InceptionResnetV1,
        (1, 3, 96, 96),
        lambda layer: (
            {"last_linear": "last_bn"}.get(layer, layer.removesuffix("conv") + "bn")
            if layer.endswith((".conv", "linear"))
            else None
        ),
        eps=facenet.EPS,
    ),
    "mobilefacenet-insightface": Case(
        "mobilefacenet_insightface",
        embeddings(mobilefacenet.INSIGHTFACE),
        (2, 3, 112, 112),
        mobile_norm(mobilefacenet.INSIGHTFACE),
    ),
    "mobilefacenet-xiaoccer": Case(
        "mobilefacenet_xiaoccer",
        embeddings(mobilefacenet.XIAOCCER),
        (2, 3, 112, 96),
        mobile_norm(mobilefacenet.XIAOCCER),
    ),
    "mobilefacenet-landmark68": Case(
        "mobilefacenet_landmark68",
        embeddings(mobilefacenet.LANDMARK68),
        (2, 3, 112, 112),
        mobile_norm(mobilefacenet.LANDMARK68),
    ),
}


def _randomise(norm: nn.Module) -> None:
    if norm.affine:
        nn.init.normal_(norm.weight, 1.0, 0.1)
        nn.init.normal_(norm.bias, 0.0, 0.1)
    nn.init.normal_(norm.running_mean, 0.0, 0.1)
    nn.init.uniform_(norm.running_var, 0.5, 1.5)


def published(case: Case) -> tuple[dict[str, torch.Tensor], nn.Module]:
    """A state dict as published, with batch norms, and the network that computes with them."""
    torch.manual_seed(0)
    network = case.make().eval().requires_grad_(False)
    reference = copy.deepcopy(network)
    for layer in reference.modules():
        if isinstance(layer, nn.BatchNorm2d):
            _randomise(layer)
    state = reference.state_dict()
    for name, layer in list(reference.named_modules()):
        inner = isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.bias is not None
        norm = case.norm_of(name) if inner else None
        if norm is None:
            continue
        kind = nn.BatchNorm2d if isinstance(layer, nn.Conv2d) else nn.BatchNorm1d
        width = len(layer.weight)
        added = kind(width, eps=case.eps, affine=norm not in case.without_affine).eval()
        _randomise(added.requires_grad_(False))
        state |= {f"{norm}.{leaf}": value for leaf, value in added.state_dict().items()}
        if not case.biased(name):
            layer.bias = None
            del state[f"{name}.bias"]
        path, _, leaf = name.rpartition(".")
        setattr(reference.get_submodule(path), leaf, nn.Sequential(layer, added))
    return state, reference


def run(network: nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
    with torch.inference_mode():
        out = network(image)
    return list(out) if isinstance(out, tuple) else [out]


@pytest.fixture(scope="module", params=CASES, ids=list(CASES))
def case(request):
    entry = CASES[request.param]
    state, reference = published(entry)
    torch.manual_seed(1)
    return entry, state, reference, torch.rand(entry.shape) * 2 - 1


def test_a_published_state_dict_gives_the_network_it_came_from(case):
    entry, state, reference, image = case
    network = build({"state_dict": {f"module.{key}": value for key, value in state.items()}})
    assert recognise(state).name == entry.architecture
    assert not network.training
    assert not any(value.is_meta or value.requires_grad for value in network.parameters())
    for got, want in zip(run(network, image), run(reference, image), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))


def test_memory_layout_does_not_matter(case):
    _, state, _, image = case
    network = build(state)
    want = run(network, image)
    last = network.to(memory_format=torch.channels_last)
    for got, value in zip(
        run(last, image.to(memory_format=torch.channels_last)), want, strict=True
    ):
        torch.testing.assert_close(got, value, rtol=1e-4, atol=1e-4 * float(value.abs().max()))


def test_a_missing_an_extra_and_a_misshapen_key_are_named(case):
    _, state, _, _ = case
    keys = [key for key in state if not key.endswith("num_batches_tracked")]
    norms = [key for key in keys if key.endswith("running_var")]
    for key in (keys[0], keys[1], keys[-1], keys[len(keys) // 2], norms[0], norms[-1]):
        name = key.replace(".", r"\.")
        rest = {k: v for k, v in state.items() if k != key}
        with pytest.raises((RuntimeError, UnknownArchitectureError), match=name):
            build(rest)
        longer = torch.cat((state[key], state[key][:1]))
        with pytest.raises(RuntimeError, match=name):
            build(state | {key: longer})
    with pytest.raises(RuntimeError, match=r"stray\.weight"):
        build(state | {"stray.weight": torch.zeros(3)})


def test_files_without_counters_load(case):
    _, state, _, _ = case
    network = build({k: v for k, v in state.items() if not k.endswith("num_batches_tracked")})
    assert not any(value.is_meta for value in network.state_dict().values())


def test_the_classifier_of_facenet_is_dropped():
    state, _ = published(CASES["facenet"])
    head = {"logits.weight": torch.zeros(8631, 512), "logits.bias": torch.zeros(8631)}
    assert "logits.weight" not in build(state | head).state_dict()


def test_detectors_run_in_bfloat16():
    for name in ("retinaface-mobilenet", "yunet"):
        state, _ = published(CASES[name])
        network = build(state)
        image = torch.rand(1, 3, 96, 64)
        want = network.detect(image)
        got = network.to(torch.bfloat16).detect(image.bfloat16())
        assert got.boxes.dtype == got.scores.dtype == torch.float32
        torch.testing.assert_close(got.scores, want.scores, rtol=0, atol=0.05)


# Folding


def test_names_of_layers_and_norms_go_both_ways():
    for norm in ("a.1", "layer1.0.bn2", "cp.arm16.bn_atten", "bn1", "x.4"):
        assert following(preceding(norm)) == norm


def test_folding_is_exact():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, eps=1e-3)).eval()
    _randomise(net[1])
    with torch.no_grad():
        net[1].running_var[0] = 1e-4
    state = fold_batch_norms(net.state_dict(), eps=1e-3, biased=lambda layer: True)
    assert sorted(state) == ["0.bias", "0.weight"]
    image = torch.randn(1, 3, 8, 8)
    got = nn.functional.conv2d(image, state["0.weight"], state["0.bias"])
    torch.testing.assert_close(got, net(image).detach(), rtol=1e-5, atol=1e-5)


def test_folding_names_what_is_wrong():
    net = nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4))
    state = net.state_dict()
    for key in ("0.weight", "1.bias", "1.running_mean"):
        with pytest.raises(RuntimeError, match=key):
            fold_batch_norms({k: v for k, v in state.items() if k != key})
    with pytest.raises(RuntimeError, match="1.weight of shape"):
        fold_batch_norms(state | {"1.weight": torch.ones(3)})
    with pytest.raises(RuntimeError, match="0.bias, which no such network has"):
        fold_batch_norms(state | {"0.bias": torch.ones(4)})
    assert fold_batch_norms(state, lambda norm: None).keys() == state.keys()


# Anchors and decoding


def test_anchors_go_map_by_map_row_by_row_size_by_size():
    got = anchors.anchors([(1, 2), (1, 1)], (8, 16), ((4, 6), (10,)))
    want = [[4, 4, 4], [4, 4, 6], [12, 4, 4], [12, 4, 6], [8, 8, 10]]
    assert got.tolist() == want


def test_offsets_become_pixels():
    anchor = torch.tensor([[40.0, 24.0, 16.0]])
    boxes = torch.tensor([[[1.0, -0.5, np.log(2) / 0.2, 0.0]]])
    points = torch.tensor([[[0.0, 0.0, 10.0, 0.0, 0.0, -5.0, 1.0, 1.0, 2.5, 2.5]]])
    corners, landmarks = anchors.decode_offsets(anchor, boxes, points)
    # Centre (41.6, 23.2), 32 wide and 16 high; points in tenths of the anchor's side of 16.
    torch.testing.assert_close(corners[0, 0], torch.tensor([25.6, 15.2, 57.6, 31.2]))
    want = [[40, 24], [56, 24], [40, 16], [41.6, 25.6], [44, 28]]
    torch.testing.assert_close(landmarks[0, 0], torch.tensor(want))


@pytest.mark.parametrize("size", [(64, 64), (65, 127), (101, 70), (97, 66), (200, 335)])
@pytest.mark.parametrize("name", ["retinaface-mobilenet", "yunet"])
def test_every_size_has_as_many_anchors_as_outputs(name, size):
    torch.manual_seed(0)
    found = CASES[name].make().eval().detect(torch.zeros(1, 3, *size))
    assert found.boxes.shape[:2] == found.scores.shape == found.points.shape[:2]
    assert found.points.shape[2:] == (5, 2)


def test_retinaface_decodes_the_probability_of_the_second_class():
    grids = 2 * (8 * 12 + 4 * 6 + 2 * 3)
    outputs = torch.zeros(1, grids, 4), torch.zeros(1, grids, 2), torch.zeros(1, grids, 10)
    outputs[1][0, 5, 1] = 0.75
    found = retinaface.decode(outputs, 64, 96)
    assert found.scores[0].argmax() == 5 and found.scores[0, 5] == 0.75
    # Anchor 5 is the larger of the third cell of the first row: centre (20, 4), side 32.
    assert found.boxes[0, 5].tolist() == [4, -12, 36, 20]


def test_yunet_scores_are_the_mean_of_probability_and_overlap():
    count = 3 * 64 + 2 * 16 + 2 * 4 + 3 * 1
    outputs = torch.zeros(1, count, 14), torch.zeros(1, count, 2), torch.zeros(1, count, 1)
    outputs[1][0, :3, 1] = torch.tensor([0.81, 0.5, 0.5])
    outputs[2][0, :3, 0] = torch.tensor([0.25, 2.0, -1.0])
    scores = yunet.decode(outputs, 64, 64).scores[0, :3]
    torch.testing.assert_close(scores, torch.tensor([0.45, 0.5**0.5, 0.0]))


def test_yunet_is_kornias():
    kornia_yunet = pytest.importorskip("kornia.models.yunet", reason="this kornia has no YuNet")
    from kornia.contrib import face_detection

    torch.manual_seed(0)
    theirs = kornia_yunet.YuNet("test", pretrained=False).eval()
    for layer in theirs.modules():
        if isinstance(layer, nn.BatchNorm2d):
            _randomise(layer)
    ours = build(theirs.state_dict())
    image = torch.rand(1, 3, 150, 203) * 255
    with torch.no_grad():
        raw = theirs(image)
        found = ours.detect(image)
    for got, key in zip(run(ours, image), ("loc", "conf", "iou"), strict=True):
        torch.testing.assert_close(got, raw[key], rtol=1e-4, atol=1e-4)
    sizes = [list(sides) for sides in yunet.ANCHOR_SIZES]
    priors = face_detection.PriorBox(sizes, list(yunet.STRIDES), False, image_size=(150, 203))()
    want = face_detection._decode(raw["loc"][0], priors, [0.1, 0.2])
    want = want * torch.tensor([203.0, 150.0]).repeat(7)
    torch.testing.assert_close(found.boxes[0], want[:, :4], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found.points[0].flatten(1), want[:, 4:], rtol=1e-4, atol=1e-3)


# Heat maps


def _peaks(centres: torch.Tensor, sigma: float = 1.5, side: int = 64) -> torch.Tensor:
    """Gaussian peaks of height 1 at `centres` (K, 2), in cells."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    distance = (x - centres[:, 0, None, None]) ** 2 + (y - centres[:, 1, None, None]) ** 2
    return torch.exp(-distance / (2 * sigma**2))[None]


def test_peaks_are_found_to_a_hundredth_of_a_cell():
    centres = torch.tensor([[20.0, 30.0], [20.3, 29.6], [5.45, 60.1], [0.0, 0.0], [63.0, 63.0]])
    for sigma in (1.0, 1.5, 2.5):
        found = awing_fan.decode(_peaks(centres, sigma)[:, :3])
        want = (centres[:3] + 0.5) * 4 - 0.5
        torch.testing.assert_close(found[0], want, rtol=0, atol=0.04)
    corners = awing_fan.decode(_peaks(centres)[:, 3:])[0]
    # At the border one neighbour is missing: the point stays within half a cell of the peak.
    torch.testing.assert_close(corners, torch.tensor([[1.5, 1.5], [253.5, 253.5]]), rtol=0, atol=2)


def test_quarter_steps_are_those_of_the_authors():
    centres = torch.tensor([[20.0, 30.0], [20.3, 29.6], [40.8, 12.1]])
    found = awing_fan.decode(_peaks(centres), refine="quarter")[0]
    cells = (found + 0.5) / 4 - 0.5
    torch.testing.assert_close(cells, torch.tensor([[20, 30], [20.25, 29.75], [40.75, 12.25]]))
    with pytest.raises(ValueError, match="refine is 'nearest'"):
        awing_fan.decode(_peaks(centres), refine="nearest")


def test_flat_and_negative_maps_decode_to_finite_points():
    for heat in (torch.zeros(1, 2, 16, 16), -torch.ones(1, 2, 16, 16)):
        for refine in ("quarter", "parabola"):
            assert awing_fan.decode(heat, refine=refine).isfinite().all()


# Published weights and vectors


def _module(path: Path):
    spec = importlib.util.spec_from_file_location(f"parity_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PARITY = (
    "retinaface_resnet50",
    "retinaface_mobile0.25",
    "yunet",
    "bisenet",
    "parsenet",
    "awing_fan_98",
    "arcface_ir_se50",
    "adaface_ir50",
    "facenet_vggface2",
    "mobilefacenet_insightface",
    "mobilefacenet_xiaoccer",
    "mobilefacenet_landmark68",
)

#: Names of the stored outputs, in the order the networks return them.
OUTPUTS = {
    "retinaface_resnet50": ("loc", "conf", "landm"),
    "retinaface_mobile0.25": ("loc", "conf", "landm"),
    "yunet": ("loc", "conf", "iou"),
    "bisenet": ("out",),
    "parsenet": ("mask", "img"),
    "awing_fan_98": ("heat",),
    "mobilefacenet_landmark68": ("landmarks",),
}


@pytest.mark.parametrize("name", PARITY)
def test_the_golden_vector_is_met(name):
    folder = SHARED / "parity"
    if not (folder / f"{name}.npz").is_file():
        pytest.skip(f"no golden vector: ../shared/parity/{name}.npz is not there")
    vectors = _module(folder / "vectors.py")
    stored = np.load(folder / f"{name}.npz")
    meta = json.loads(str(stored["manifest"]))
    keys = [(key, tuple(shape), dtype) for key, shape, dtype in meta["keys"]]
    network = build(vectors.state_dict(keys, meta["seed"], {}, meta.get("post")))
    image = vectors.image(meta.get("input_name", name), meta["input_shape"], meta["seed"])
    image = (image + 1) * 127.5 if meta.get("input_map") == "(x+1)*127.5" else image
    if name == "parsenet":
        with torch.inference_mode():
            got = network(image, picture=True)
    else:
        got = run(network, image)
    for key, value in zip(OUTPUTS.get(name, ("emb",)), got, strict=True):
        if value.dim() == 4 and value.shape[-1] >= 64:
            value = value[..., 3::8, 5::8]
        elif value.dim() == 3:
            value = value[:, ::7]
        want = torch.from_numpy(stored[key])
        torch.testing.assert_close(value, want, rtol=0, atol=1e-4 * float(want.abs().max()))


def test_real_weights_find_the_astronaut():
    file = SHARED / "faces" / "teachers" / "retinaface_mobilenet0.25_Final.pth"
    if not file.is_file():
        pytest.skip("no published weights: ../shared/faces/teachers is not there")
    data = pytest.importorskip("skimage.data", reason="scikit-image has the photograph")
    network = build(torch.load(file, map_location="cpu", weights_only=True))
    photo = torch.from_numpy(data.astronaut().copy()).float().flip(-1)
    image = (photo - torch.tensor(retinaface.MEAN_BGR)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        found = network.detect(image)
    best = found.scores[0].argmax()
    assert found.scores[0, best] > 0.99
    torch.testing.assert_close(
        found.boxes[0, best], torch.tensor([177.0, 57.0, 270.0, 176.0]), rtol=0, atol=4
    )
    left, right, nose, mouth_left, mouth_right = found.points[0, best]
    assert left[0] < nose[0] < right[0] and mouth_left[0] < mouth_right[0]
    assert left[1] < nose[1] < mouth_left[1]
