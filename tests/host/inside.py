"""Checks of `nodes/host.py` and `nodes/folders.py` that no workflow shows.

Run in the server's own Python, with ComfyUI beside it, by `test_host.py`:

    python tests/host/inside.py CHECKOUT

prints a JSON object: the name of each check and its traceback, empty where it passed.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import traceback
from pathlib import Path

import launch

ROOT = Path(__file__).resolve().parent.parent.parent


def load_pack():
    """The pack under another name, as ComfyUI imports it."""
    spec = importlib.util.spec_from_file_location(
        "pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    pack = importlib.util.module_from_spec(spec)
    sys.modules["pack"] = pack
    spec.loader.exec_module(pack)
    return importlib.import_module("pack.nodes.host"), importlib.import_module("pack.nodes.folders")


def folders_are_added_to_what_others_registered(host, folders):
    import folder_paths

    folder_paths.folder_names_and_paths["facerestore_models"] = (["/elsewhere"], {".pth"})
    folders.register_folders()
    folders.register_folders()
    paths, extensions = folder_paths.folder_names_and_paths["facerestore_models"]
    assert paths[0] == "/elsewhere" and len(paths) == 2, paths
    assert extensions == {".pth"}
    assert set(folders.model_folders()) == set(folders.CATEGORIES)
    assert folders.model_folders()["facerestore_models"] == paths


def networks_live_under_the_memory_manager_and_are_read_once(host, folders):
    import torch
    from comfy import model_management

    folders.register_folders()
    first = host.ComfyHost().load("kintsugi-restorer")
    assert host.ComfyHost().load("kintsugi-restorer") is first, "read twice"
    assert [patcher.model for patcher in model_management.loaded_models()] == [first]
    assert next(first.parameters()).dtype == torch.float32
    assert not first.training
    model_management.unload_all_models()
    assert model_management.loaded_models() == []
    assert host.ComfyHost().load("kintsugi-restorer") is first, "read again after unloading"


def the_oldest_network_is_given_back(host, folders):
    host._patchers.clear()
    kept, host.KEPT = host.KEPT, 1
    host.ComfyHost().load("kintsugi-restorer")
    second = host.ComfyHost().load("kintsugi-detector")
    assert [patcher.model for patcher in host._patchers.values()] == [second]
    host.KEPT = kept


def progress_reaches_the_bar_and_the_stop_button_gets_through(host, folders):
    import comfy.utils
    from comfy import model_management

    seen = []

    def hook(value, total, preview, node_id=None):
        seen.append((value, total))
        model_management.throw_exception_if_processing_interrupted()

    comfy.utils.set_progress_bar_global_hook(hook)
    bar = host.ComfyHost()
    bar.progress(1, 4)
    bar.progress(2, 4)
    bar.progress(0, 0)
    assert seen == [(1, 4), (2, 4), (0, 1)], seen
    model_management.interrupt_current_processing()
    try:
        bar.progress(3, 4)
    except model_management.InterruptProcessingException:
        return
    raise AssertionError("the interrupt was swallowed")


def dtypes_are_those_that_card_and_core_agree_on(host, folders):
    import torch
    from comfy import model_management

    half = torch.rand(1, 8, 8, 3).half()
    asked = getattr(model_management, "intermediate_dtype", lambda: torch.float32)()
    assert host.to_intermediate(half).dtype == asked
    assert host.to_intermediate(half.float(), torch.float64).dtype == torch.float64
    model_management.intermediate_dtype = lambda: torch.float16
    assert host.to_intermediate(half.float()).dtype == torch.float16
    card = host.zoo.card("codeformer")
    for answer, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        model_management.should_use_bf16 = lambda device=None, answer=answer: answer
        assert host.safe_dtype(card, torch.device("cpu")) == dtype


def faces_of_a_restore_without_any_are_refused(host, folders):
    import torch

    folders.register_folders()
    nodes = importlib.import_module("pack.nodes")
    crops = torch.rand(1, 64, 64, 3)
    unknown = nodes.Restore.execute(crops, "kintsugi-restorer", 0.5, 1.0, 0, 0, False).args[2]
    settings = {"embedder": "auto", "threshold": 0.5, "action": "report"}
    for run in (
        lambda: nodes.IdentityGuard.execute(
            crops, crops, unknown, commercial_only=False, **settings
        ),
        lambda: nodes.Blend.check_lazy_status(1.0, faces=unknown),
        lambda: nodes.Blend.execute(crops, 1.0, faces=unknown, crops=crops),
        lambda: nodes.DegradationEstimate.execute(crops, unknown, 0.7),
        lambda: nodes.Restore.execute(crops, "auto", 0.5, 1.0, 0, 0, False, faces=unknown),
    ):
        try:
            run()
        except ValueError as error:
            assert "wire the faces of Align Faces" in str(error), error
        else:
            raise AssertionError("faces of nobody were taken")


def a_single_picture_is_a_batch_of_one(host, folders):
    import torch

    folders.register_folders()
    nodes = importlib.import_module("pack.nodes")
    faces = importlib.import_module("pack.stages.faces")
    picture, mask = torch.rand(80, 90, 3), torch.zeros(80, 90)
    box, points = [20, 20, 60, 60], [[30, 35], [50, 35], [40, 45], [32, 52], [48, 52]]
    given = faces.Faces((faces.Face(0, 0, box, 0.9, points),), 1, 80, 90)
    with torch.inference_mode():
        found = nodes.FaceDetect.execute(
            *(picture, "auto", 0.5, 0, 0, 0, "largest", "", "pass through"), mask=mask
        )
        assert found.args[0].frames == 1
        points = importlib.import_module("pack.nodes.landmark_align").OF_THE_DETECTOR
        crops, aligned, _ = nodes.LandmarkAlign.execute(
            picture, given, 64, points, 0.0, "ffhq"
        ).args
        model = "kintsugi-restorer"
        restored = nodes.Restore.execute(crops[0], model, 0.5, 1.0, 0, 0, False, faces=aligned)
        assert restored.args[0].shape == (1, 64, 64, 3)
        looked = nodes.DegradationEstimate.execute(crops[0], aligned, 0.7)
        assert looked.args[3].shape == (1, 64, 64, 3)
        after = restored.args[0][0]
        settings = {"embedder": "auto", "threshold": 0.5, "action": "report"}
        guarded = nodes.IdentityGuard.execute(
            crops[0], after, aligned, commercial_only=False, **settings
        )
        assert guarded.args[0].shape == (1, 64, 64, 3)
        blended = nodes.Blend.execute(picture, 1.0, faces=aligned, crops=after, feather=0.3)
        assert blended.args[0].shape == (1, 80, 90, 3)


def keywords_of_newer_cores_are_dropped(host, folders):
    api = importlib.import_module("pack.nodes._api")
    schema = api.Schema(node_id="X", search_aliases=["a"], keyword_of_the_future=1, inputs=[])
    assert schema.node_id == "X"
    assert not hasattr(schema, "keyword_of_the_future")


def downloads_are_told_to_the_page_that_waits(host, folders):
    import types

    downloads = importlib.import_module("pack.nodes.downloads")
    sent, ticks = [], []
    server = types.SimpleNamespace(
        last_node_id="12:5", client_id="me", send_sync=lambda *message: sent.append(message)
    )
    kept, downloads.PromptServer.instance = (
        getattr(downloads.PromptServer, "instance", None),
        server,
    )
    follow = downloads.Download(host.zoo.card("gfpgan-1.4"), lambda *done: ticks.append(done))
    for done in (0, 10, 20, 100):
        follow(done, 100)
    downloads.PromptServer.instance = kept
    assert ticks == [(0, 100), (10, 100), (20, 100), (100, 100)]
    assert [message["done"] for _, message, _ in sent] == [0, 100], "often enough, not each time"
    event, message, client = sent[-1]
    assert (event, client, message["node"]) == ("kintsugi.download", "me", "12:5")
    assert message["title"] == "GFPGAN v1.4" and message["total"] == 100


def a_full_disk_costs_the_preview_and_not_the_run(host, folders):
    import folder_paths
    import torch

    ui = importlib.import_module("pack.nodes.ui")
    pair = ui.Pair("face 0", torch.rand(8, 8, 3), torch.rand(8, 8, 3))
    kept = folder_paths.get_temp_directory()
    folder_paths.set_temp_directory(str(Path(__file__) / "no" / "folder"))
    (message,) = ui.compare([pair], "done")["kintsugi_compare"]
    folder_paths.set_temp_directory(kept)
    assert message["pairs"][0]["before"]["error"], message
    assert message["report"] == "done"


def only_so_many_previews_are_sent(host, folders):
    import tempfile

    import folder_paths
    import torch

    ui = importlib.import_module("pack.nodes.ui")
    kept = folder_paths.get_temp_directory()
    with tempfile.TemporaryDirectory() as folder:
        folder_paths.set_temp_directory(folder)
        crops = torch.rand(40, 16, 16, 3)
        pairs = ui.crop_pairs(crops, crops, None)
        (message,) = ui.compare(pairs, total=40)["kintsugi_compare"]
        folder_paths.set_temp_directory(kept)
        assert len(list(Path(folder).iterdir())) == 2 * ui.PAIRS
    assert len(message["pairs"]) == ui.PAIRS and message["left_out"] == 40 - ui.PAIRS
    assert message["pairs"][0]["before"]["filename"].endswith(".jpg")


def records_of_a_list_of_pictures_stand_side_by_side(host, folders):
    from types import SimpleNamespace

    import torch

    metadata = importlib.import_module("pack.nodes.metadata")
    stages = importlib.import_module("pack.stages.faces")
    record = importlib.import_module("pack.stages.provenance").Provenance(filled=True)
    box = torch.tensor([2.0, 2.0, 6.0, 6.0])
    face = stages.Face(0, 0, box, 0.9, torch.zeros(5, 2), provenance=record)
    mended, nobody = stages.Faces((face,), 1, 8, 8), stages.Faces((), 1, 8, 8)
    info = {}
    node = SimpleNamespace(hidden=SimpleNamespace(extra_pnginfo=info, unique_id="7"))
    metadata.keep(node, nobody)
    assert info == {}, "nothing is said of a picture that nothing was done to"
    metadata.keep(node, mended)
    assert len(info["kintsugi"]["7"]["faces"]) == 1
    for number, faces in enumerate((nobody, mended), 2):
        metadata.keep(node, faces)
        assert len(info["kintsugi"]["7"]) == number
    assert [len(one["faces"]) for one in info["kintsugi"]["7"]] == [1, 0, 1]


def what_a_setting_makes_useless_is_not_asked_for(host, folders):
    blend = importlib.import_module("pack.nodes.blend").Blend
    faces = importlib.import_module("pack.stages.faces").Faces((), 1, 8, 8)
    wired = {"faces": None, "crops": None, "mask": None, "damage": None}
    assert blend.check_lazy_status(opacity=0, **wired) == []
    assert blend.check_lazy_status(opacity=1, **wired) == ["faces", "mask", "damage"]
    assert blend.check_lazy_status(opacity=1, faces=faces, crops=None, mask=1) == []
    guard = importlib.import_module("pack.nodes.identity_guard").IdentityGuard
    wired = {"candidate_1": None, "candidate_3": None}
    assert guard.check_lazy_status(action="report", **wired) == []
    assert guard.check_lazy_status(action="back off", **wired) == ["candidate_1", "candidate_3"]
    assert guard.check_lazy_status(action="pick", candidate_1=1) == []


CHECKS = (
    faces_of_a_restore_without_any_are_refused,
    records_of_a_list_of_pictures_stand_side_by_side,
    what_a_setting_makes_useless_is_not_asked_for,
    folders_are_added_to_what_others_registered,
    networks_live_under_the_memory_manager_and_are_read_once,
    the_oldest_network_is_given_back,
    progress_reaches_the_bar_and_the_stop_button_gets_through,
    dtypes_are_those_that_card_and_core_agree_on,
    keywords_of_newer_cores_are_dropped,
    downloads_are_told_to_the_page_that_waits,
    a_full_disk_costs_the_preview_and_not_the_run,
    only_so_many_previews_are_sent,
    a_single_picture_is_a_batch_of_one,
)


def main(checkout: str) -> None:
    """Run every check in ComfyUI's surroundings, imported in the order of its main.py."""
    declared = launch.declare_operators() if launch.torchvision_is_broken() else None
    sys.path.insert(0, checkout)
    sys.argv = ["main.py", "--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import utils.extra_config  # noqa: F401

    results = {}
    host, folders = load_pack()
    for check in CHECKS:
        try:
            check(host, folders)
            results[check.__name__] = ""
        except Exception:
            results[check.__name__] = traceback.format_exc()
    del declared
    sys.stdout.write("\n" + json.dumps(results) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
