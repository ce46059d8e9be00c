"""Embedders: whom "auto" takes, what each is shown, and what its cosines mean."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kintsugi.models import onnx_network, zoo
from kintsugi.models.onnx_network import OnnxNetwork, RuntimeMissingError
from kintsugi.models.weights_file import WeightsError
from kintsugi.stages import embedders, geometry
from kintsugi.stages.embedders import EMBEDDERS, choose, embed, probability, similarity, view
from kintsugi.stages.host import Host

every_embedder = pytest.mark.parametrize("name", EMBEDDERS)


class Means(nn.Module):
    """Answers with the mean of each channel, and keeps what it was fed."""

    def __init__(self):
        super().__init__()
        self.fed = []

    def forward(self, image):
        self.fed.append(image)
        return image.mean((2, 3)) + torch.tensor([0.0, 0.0, 3.0])


class Fixed(Host):
    """A Host with one network, whatever is asked for."""

    def __init__(self):
        self.device, self.library, self.network = torch.device("cpu"), None, Means()

    def load(self, name):
        return self.network


@pytest.fixture
def on_disk(monkeypatch):
    """Sets which cards "auto" finds."""

    def put(*names: str) -> None:
        found = [zoo.CARDS[name] for name in names]
        monkeypatch.setattr(zoo, "available", lambda *args, **options: found)

    return put


def test_the_table_is_the_zoos():
    assert set(EMBEDDERS) == {c.name for c in zoo.CARDS.values() if c.kind == "embedder"}


def test_auto_takes_the_best_that_is_there(on_disk):
    on_disk("kintsugi-identity", "facenet-vggface2", "arcface-ir-se50")
    assert choose("auto").name == "arcface-ir-se50"
    assert choose("auto", commercial_only=True).name == "kintsugi-identity"
    on_disk()
    with pytest.raises(zoo.HubError, match="reinstall"):
        choose("auto")


def test_auto_passes_over_what_cannot_run(on_disk, monkeypatch):
    on_disk("kintsugi-identity", "sface")
    monkeypatch.setattr(embedders, "installed", lambda: True)
    assert choose("auto").name == "sface"
    monkeypatch.setattr(embedders, "installed", lambda: False)
    assert choose("auto").name == "kintsugi-identity"


def test_wrong_choices_are_named():
    with pytest.raises(ValueError, match="gfpgan-1.4.*adaface-ir101"):
        choose("gfpgan-1.4")
    with pytest.raises(ValueError, match="MS1MV2"):
        choose("arcface-ir-se50", commercial_only=True)
    with pytest.raises(ValueError, match="256 x 128"):
        embed(torch.zeros(1, 128, 256, 3), model="sface")
    with pytest.raises(ValueError, match="nobody"):
        probability(torch.zeros(1), "nobody")


@pytest.mark.parametrize("size", [100, 256, 512, 1024])
def test_the_points_of_a_face_fall_on_the_embedders_template(size):
    """A bright spot on each point of an FFHQ crop appears where ArcFace's template wants it."""
    card = zoo.CARDS["kintsugi-identity"]
    place = geometry.grid(geometry.Region(0, 0, size, size))
    wanted = geometry.template("arcface112").points(112)
    for point, target in zip(geometry.template("ffhq").points(size), wanted, strict=True):
        spot = torch.exp(-(place - point).square().sum(-1) / (2 * (0.02 * size) ** 2))
        seen = view(spot.expand(1, 3, size, size), card)[0, 0].double()
        coordinates = geometry.grid(geometry.Region(0, 0, 112, 112)).double()
        found = (coordinates * seen[..., None]).sum((0, 1)) / seen.sum()
        # The two templates differ by up to 2.2 px after the best similarity.
        assert (found - target).norm() < 2.5


def test_all_sizes_show_the_same():
    card = zoo.CARDS["kintsugi-identity"]
    place = geometry.grid(geometry.Region(0, 0, 1024, 1024)) / 1024
    waves = torch.stack([torch.sin(9 * place.sum(-1)), torch.cos(7 * place[..., 0])])
    large = (torch.cat([waves, waves[:1] * waves[1:]]) / 2 + 0.5)[None]
    small = nn.functional.interpolate(large, size=(256, 256), mode="area")
    assert (view(large, card) - view(small, card)).abs().max() < 0.01


def test_fine_patterns_become_grey_instead_of_coarse():
    checks = (torch.arange(1024)[:, None] + torch.arange(1024)) % 2
    seen = view(checks.float().expand(1, 3, 1024, 1024), zoo.CARDS["kintsugi-identity"])
    assert (seen - 0.5).abs().max() < 0.02


def test_facenet_sees_the_box_with_a_margin():
    card, size = zoo.CARDS["facenet-vggface2"], 512
    box = torch.zeros(1, 3, size, size)
    x0, y0, x1, y1 = (round(edge) for edge in embedders.FACE_BOX)
    box[..., y0:y1, x0:x1] = 1
    seen = view(box, card)[0, 0] > 0.5
    assert seen.shape == (160, 160)
    rows, columns = (seen.any(dim).nonzero()[:, 0] for dim in (1, 0))
    for span in (rows, columns):
        assert abs(int(span[0]) - 7) <= 1 and abs(int(span[-1]) - 152) <= 1


def test_embeddings_are_unit_vectors_of_every_crop(on_disk):
    host = Fixed()
    crops = torch.rand(11, 96, 96, 3, generator=torch.manual_seed(0))
    vectors = embed(crops, model="arcface-ir-se50", host=host)
    assert vectors.shape == (11, 3) and vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(11))
    one_by_one = torch.cat([embed(c[None], model="arcface-ir-se50", host=host) for c in crops])
    torch.testing.assert_close(vectors, one_by_one)
    assert host.network.fed[0].shape[1:] == (3, 112, 112)
    assert all(float(fed.min()) >= -1 and float(fed.max()) <= 1 for fed in host.network.fed)


def test_grey_and_transparent_crops_count_by_their_colour():
    crops = torch.rand(2, 64, 64, 1)
    alpha = torch.cat([crops.expand(-1, -1, -1, 3), torch.rand(2, 64, 64, 1)], -1)
    grey, colour = (embed(c, model="arcface-ir-se50", host=Fixed()) for c in (crops, alpha))
    torch.testing.assert_close(grey, colour)


@every_embedder
def test_no_crops_are_no_embeddings(name):
    assert embed(torch.zeros(0, 64, 64, 3), model=name).shape == (0, EMBEDDERS[name].values)


@every_embedder
def test_probabilities_rise_from_strangers_to_the_same_face(name):
    cosines = torch.linspace(-1, 1, 201)
    chances = probability(cosines, name)
    assert (chances.diff() >= 0).all() and chances[100] < 0.02 and chances[-1] > 0.98
    for wanted in (0.1, 0.5, 0.9):
        found = embedders.similarity_at(wanted, name)
        assert float(probability(torch.tensor(found), name)) == pytest.approx(wanted, abs=1e-5)
    curve = EMBEDDERS[name]
    assert curve.calibrated in ("measured", "published", "borrowed") and curve.source


def test_a_published_point_gives_the_posterior_of_its_two_bells():
    """Strangers around 0, the same person around twice the threshold, 97.5 % right at it."""
    threshold, quantile = 0.3, 1.96
    centre, slope = embedders._published(threshold, quantile)
    bells = [torch.distributions.Normal(m, threshold / quantile) for m in (0.0, 2 * threshold)]
    assert float(bells[0].cdf(torch.tensor(threshold))) == pytest.approx(0.975, abs=1e-3)
    x = torch.linspace(-0.5, 1, 31)
    strangers, same = (bell.log_prob(x).exp() for bell in bells)
    torch.testing.assert_close(torch.sigmoid(slope * (x - centre)), same / (same + strangers))


def test_similarity_goes_row_by_row():
    a = nn.functional.normalize(torch.rand(4, 8), dim=1)
    torch.testing.assert_close(similarity(a, a), torch.ones(4))
    torch.testing.assert_close(similarity(a, a[:1]), a @ a[0])


def graph(path: Path, batch: int | str) -> Path:
    """An ONNX file that answers with the mean of each channel."""
    onnx = pytest.importorskip("onnx", reason="onnx is missing")
    pytest.importorskip("onnxruntime", reason="onnxruntime, of the extra [onnx], is missing")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("GlobalAveragePool", ["data"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["fc1"]),
    ]
    inputs = [helper.make_tensor_value_info("data", kind, [batch, 3, 112, 112])]
    outputs = [helper.make_tensor_value_info("fc1", kind, [batch, 3])]
    made = helper.make_graph(nodes, "means", inputs, outputs)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("batch", [1, "n"])
def test_onnx_embedders_run_from_their_file(tmp_path, monkeypatch, batch):
    path = graph(tmp_path / "sface.onnx", batch)
    monkeypatch.setattr(zoo, "locate", lambda name, **options: path)
    crops = torch.tensor([[0.2, 0.4, 0.8], [0.9, 0.1, 0.1]])[:, None, None].expand(-1, 64, 64, 3)
    vectors = embed(crops, model="sface")
    torch.testing.assert_close(vectors, nn.functional.normalize(crops[:, 0, 0], dim=1))
    # Red comes first, 0 to 255.
    corner = lambda self, image: torch.cat([image[:, :, 0, 0], image[:, :1, 0, 0]], 1)  # noqa: E731
    monkeypatch.setattr(OnnxNetwork, "__call__", corner)
    fed = embed(crops[:1], model="sface")[0]
    expected = nn.functional.normalize(torch.tensor([51.0, 102.0, 204.0, 51.0]), dim=0)
    torch.testing.assert_close(fed, expected)


def test_without_onnxruntime_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RuntimeMissingError, match="pip install onnxruntime.*choose another"):
        OnnxNetwork(tmp_path / "sface.onnx")
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n == "onnxruntime" else real(n)
    )
    assert not onnx_network.installed()


def test_a_broken_graph_is_named(tmp_path):
    pytest.importorskip("onnxruntime", reason="onnxruntime, of the extra [onnx], is missing")
    path = tmp_path / "sface.onnx"
    path.write_bytes(np.arange(64, dtype=np.uint8).tobytes())
    with pytest.raises(WeightsError, match="sface.onnx"):
        OnnxNetwork(path)
