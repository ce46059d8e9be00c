"""Reading files nobody should trust, and building exactly the networks they hold."""

from __future__ import annotations

import builtins
import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import retinaface, saved
from safetensors.torch import save_file

from kintsugi.models import loader, zoo
from kintsugi.models.loader import UnknownArchitectureError, WeightsError, build, load_file

VECTORS = Path(__file__).resolve().parents[2] / "shared" / "parity"

STATE = retinaface()
ZIP = saved(STATE)
OLD = saved(STATE, zipped=False)
SOME_KEY = "module.ssh1.conv3X3.0.weight"


def write(tmp_path: Path, body: bytes, name: str = "weights.pth") -> Path:
    path = tmp_path / name
    path.write_bytes(body)
    return path


@pytest.mark.parametrize(
    "form, name",
    [
        ("zip", "weights.pth"),
        ("zip", "weights.ckpt"),
        ("old", "weights.pth"),
        ("old", "weights.pth.tar"),
        ("safetensors", "weights.safetensors"),
        ("safetensors", "weights.pth"),
    ],
)
def test_every_format_gives_the_same_network_whatever_the_name(tmp_path, form, name):
    path = tmp_path / name
    if form == "safetensors":
        save_file(STATE, path)
    else:
        path.write_bytes(ZIP if form == "zip" else OLD)
    network = build(load_file(path))
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    assert not any(t.is_meta for t in (*network.parameters(), *network.buffers()))
    image = torch.linspace(-100, 100, 3 * 64 * 64).view(1, 3, 64, 64)
    for mine, other in zip(network(image), build(STATE)(image), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("form", ["zip", "safetensors"])
def test_mapped_weights_never_reach_the_file_and_outlive_it(tmp_path, form):
    path = tmp_path / "weights"
    if form == "zip":
        path.write_bytes(ZIP)
    else:
        save_file(STATE, path)
    before = path.read_bytes()
    loaded = load_file(path)
    loaded[SOME_KEY].fill_(7.0)
    assert path.read_bytes() == before
    if os.name == "posix":
        path.unlink()
    for key, value in STATE.items():
        assert key == SOME_KEY or torch.equal(loaded[key], value)


@pytest.mark.parametrize("body", [ZIP, OLD], ids=["zip", "old"])
def test_a_pickle_that_calls_itself_safetensors_is_not_opened(tmp_path, body):
    with pytest.raises(WeightsError, match="rename it to .pth"):
        load_file(write(tmp_path, body, "weights.safetensors"))


class Bomb:
    """Pickles to a call, as malicious checkpoints do."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("function", [os.system, builtins.exec, os.mkdir])
def test_code_in_a_pickle_is_refused_and_never_run(tmp_path, zipped, function):
    proof = tmp_path / "it-ran"
    code = {os.system: f"mkdir {proof}", os.mkdir: str(proof)}.get(
        function, f"import os; os.mkdir({str(proof)!r})"
    )
    path = write(tmp_path, saved({"params": STATE, "x": Bomb(function, code)}, zipped=zipped))
    with pytest.raises(WeightsError, match="run code.*it was not run") as caught:
        load_file(path)
    assert str(path) in str(caught.value)
    assert not proof.exists()


@pytest.mark.parametrize("tenth", range(10))
@pytest.mark.parametrize("form", ["zip", "old", "safetensors"])
def test_a_file_cut_anywhere_is_named(tmp_path, form, tenth):
    path = tmp_path / "weights.pth"
    save_file(STATE, path)
    body = {"zip": ZIP, "old": OLD}.get(form) or path.read_bytes()
    path.write_bytes(body[: len(body) * tenth // 10])
    with pytest.raises(WeightsError, match="fetch it again") as caught:
        load_file(path)
    assert str(path) in str(caught.value)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("change", ["cut", "byte"])
@pytest.mark.parametrize("form", ["zip", "old"])
def test_small_files_broken_at_any_place_are_named(tmp_path, form, change):
    """What broken bytes make the readers of pickles raise is nearly anything."""
    whole = saved({"weight": torch.arange(4.0), "step": 3}, zipped=form == "zip")
    refused = 0
    for place in range(1, len(whole), 7):
        broken = whole[:place]
        if change == "byte":
            broken += bytes([whole[place] ^ 0xA5]) + whole[place + 1 :]
        try:
            load_file(write(tmp_path, broken))
        except WeightsError:
            refused += 1
    assert refused > (10 if change == "byte" else 0.9 * len(whole) / 7)


@pytest.mark.parametrize(
    "body, seen",
    [
        (b"", "0 bytes"),
        (b"<!DOCTYPE html><html>Sign in", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"GIF89a and so on, long enough", "neither safetensors nor"),
    ],
)
def test_what_is_no_checkpoint_is_called_by_its_name(tmp_path, body, seen):
    with pytest.raises(WeightsError, match=seen):
        load_file(write(tmp_path, body))


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(WeightsError, match="cannot be read"):
        load_file(tmp_path / "nothing.pth")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_file(tmp_path)


def archive(entries: dict[str, bytes], compression=zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, body in entries.items():
            file.writestr(name, body)
    return buffer.getvalue()


def test_a_zip_bomb_is_refused_unread(tmp_path):
    bomb = archive({"archive/data.pkl": bytes(50 << 20)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match="claims to hold 52428800"):
        load_file(write(tmp_path, bomb))


def test_a_zip_whose_directory_lies_about_sizes(tmp_path):
    body = bytearray(archive({"archive/data.pkl": b"x" * 100}))
    at = body.rindex(b"PK\x01\x02")
    struct.pack_into("<II", body, at + 20, 3 << 30, 3 << 30)
    with pytest.raises(WeightsError):
        load_file(write(tmp_path, bytes(body)))


def test_an_archive_that_is_no_checkpoint(tmp_path):
    with pytest.raises(WeightsError, match="not one of torch.save"):
        load_file(write(tmp_path, archive({"readme.txt": b"hello"})))


def test_a_tensor_larger_than_its_file(tmp_path):
    huge = torch.zeros(1).expand(1 << 20, 1 << 20)
    with pytest.raises(WeightsError, match="claim params.w is"):
        load_file(write(tmp_path, saved({"params": {"w": huge}})))


def test_dicts_that_hold_themselves_end(tmp_path):
    loop = {"w": torch.zeros(1).expand(1 << 20, 1 << 20)}
    loop["again"] = [loop]
    with pytest.raises(WeightsError, match="claim w is"):
        load_file(write(tmp_path, saved(loop)))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_what_a_refused_pickle_asked_for_is_told(tmp_path):
    with pytest.raises(WeightsError, match="Unsupported operand 149"):
        load_file(write(tmp_path, pickle.dumps(["no checkpoint"], protocol=4)))


def safetensors(header: bytes | dict, body: bytes = bytes(16), length: int | None = None) -> bytes:
    text = json.dumps(header).encode() if isinstance(header, dict) else header
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def entry(start: int, end: int, shape=(2,)) -> dict:
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(safetensors({"a": entry(0, 8)}, bytes(8), 1 << 62), id="endless header"),
        pytest.param(safetensors({"a": entry(0, 8)}, bytes(8), 9999), id="header past the end"),
        pytest.param(safetensors({"a": entry(0, 800)}), id="tensor past the end"),
        pytest.param(safetensors({"a": entry(0, 8, (1 << 40,))}, bytes(8)), id="shape past bytes"),
        pytest.param(
            safetensors({"a": entry(0, 8, (1 << 33, 1 << 33))}, bytes(8)), id="shape overflows"
        ),
        pytest.param(safetensors({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12)), id="overlap"),
        pytest.param(safetensors({"a": entry(8, 16)}), id="hole"),
        pytest.param(safetensors({"a": entry(0, 8)}, bytes(99)), id="bytes left over"),
        pytest.param(safetensors({"a": entry(8, 0)}, bytes(8)), id="end before start"),
        pytest.param(safetensors(b'{"a": '), id="broken JSON"),
        pytest.param(safetensors(b'{"a": [1]}'), id="not a tensor"),
    ],
)
def test_a_safetensors_header_that_lies(tmp_path, body):
    with pytest.raises(WeightsError, match="header that is wrong") as caught:
        load_file(write(tmp_path, body, "weights.safetensors"))
    assert "weights.safetensors" in str(caught.value)


def test_a_missing_key_is_named():
    state = dict(STATE)
    del state[SOME_KEY]
    with pytest.raises(RuntimeError, match=SOME_KEY.removeprefix("module.")):
        build(state)


def test_an_extra_key_is_named():
    with pytest.raises(RuntimeError, match="surprise.weight"):
        build({**STATE, "module.surprise.weight": torch.zeros(1)})


def test_a_misshapen_key_is_named_with_both_shapes():
    wrong = {**STATE, "module.LandmarkHead.1.conv1x1.weight": torch.zeros(20, 63, 1, 1)}
    with pytest.raises(RuntimeError, match=r"LandmarkHead.1.conv1x1.weight \(20, 63, 1, 1\)"):
        build(wrong)


def test_many_faults_are_counted_and_not_listed():
    surplus = {f"module.extra.{number}": torch.zeros(1) for number in range(500)}
    with pytest.raises(RuntimeError, match="and 496 more") as caught:
        build({**STATE, **surplus})
    assert len(str(caught.value)) < 400


def test_an_unknown_file_says_its_keys_and_what_was_tried():
    with pytest.raises(UnknownArchitectureError, match="this file's 1 keys") as caught:
        build({"encoder.layer.7.weight": torch.zeros(3)})
    said = str(caught.value)
    assert "encoder.layer.7.weight" in said
    assert all(architecture.name in said for architecture in loader.ARCHITECTURES)


def test_keys_that_are_no_names_are_passed_over():
    with pytest.raises(UnknownArchitectureError, match="this file's 1 keys"):
        build({1: torch.zeros(3), "a": torch.zeros(3)})


@pytest.mark.parametrize("checkpoint", [[torch.zeros(1)], torch.zeros(1), 3])
def test_what_is_no_state_dict_is_said(checkpoint):
    with pytest.raises(UnknownArchitectureError, match="expected tensors by name"):
        build(checkpoint)


#: Card to golden vector and the layout its file is published in: outer key, prefix, keys beside.
PUBLISHED = {
    "gfpgan-1.4": ("gfpgan_v1_clean", "params_ema", "", {}),
    "gfpgan-1.3": ("gfpgan_v1_clean", "params_ema", "", {}),
    "codeformer": ("codeformer", "params_ema", "", {}),
    "codeformer-inpainting": ("codeformer_inpainting", "params_ema", "", {}),
    "codeformer-colorization": ("codeformer_colorization", "params_ema", "", {}),
    "restoreformer": ("restoreformer", "params", "", {}),
    "restoreformer++": (
        "restoreformer_pp",
        "state_dict",
        "vqvae.",
        {"loss.discriminator.main.0.weight": (64, 3, 4, 4)},
    ),
    "gpen-512": ("gpen_bfr_512", None, "", {}),
    "hifacegan": ("hifacegan_ngf48", None, "", {}),
    "pmrf": ("pmrf", None, "", {}),
    "elir": ("elir_bfr", None, "", {}),
    "retinaface-resnet50": ("retinaface_resnet50", None, "module.", {}),
    "retinaface-mobilenet0.25": ("retinaface_mobile0.25", None, "module.", {}),
    "yunet": ("yunet", None, "", {}),
    "awing-fan-98": ("awing_fan_98", "state_dict", "", {}),
    "mobilefacenet-68": ("mobilefacenet_landmark68", "state_dict", "", {}),
    "bisenet": ("bisenet", None, "", {}),
    "parsenet": ("parsenet", None, "", {}),
    "adaface-ir101": ("adaface_ir101", None, "model.net.", {}),
    "adaface-ir50": ("adaface_ir50", None, "model.net.", {}),
    "arcface-ir-se50": ("arcface_ir_se50", None, "", {}),
    "facenet-vggface2": ("facenet_vggface2", None, "", {"logits.weight": (8631, 512)}),
}


def test_every_card_with_a_network_has_a_published_layout():
    needed = {n for n, card in zoo.CARDS.items() if not card.builtin}
    assert set(PUBLISHED) == {n for n in needed if zoo.CARDS[n].architecture != "onnx"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_layout_of_every_card_is_recognised(name):
    vector, outer, prefix, beside = PUBLISHED[name]
    if not VECTORS.is_dir():
        pytest.skip(f"needs the keys of the golden vectors in {VECTORS}")
    stored = np.load(VECTORS / f"{vector}.npz")
    rows = json.loads(str(stored["manifest"]))["keys"]
    state = {
        prefix + key.removeprefix(prefix): torch.zeros(shape, dtype=getattr(torch, dtype))
        for key, shape, dtype in rows
    }
    state.update({key: torch.zeros(shape) for key, shape in beside.items()})
    checkpoint = {outer: state} if outer else state
    assert loader.recognise(checkpoint).name == zoo.CARDS[name].architecture
