"""What pip, the Comfy Registry and a bare checkout see must agree."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

tomllib = pytest.importorskip("tomllib", reason="tomllib is part of Python since 3.11")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_requirements_mirror_the_dependencies():
    listed = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    assert listed == PROJECT["project"]["dependencies"]


def test_registry_metadata_is_complete():
    comfy = PROJECT["tool"]["comfy"]
    assert {"PublisherId", "DisplayName", "requires-comfyui"} <= comfy.keys()
    assert "web" not in comfy, "WEB_DIRECTORY serves js/ already; both would load it twice"
    assert (ROOT / PROJECT["project"]["license"]["file"]).read_text(encoding="utf-8").count(
        "Apache License"
    )


def test_the_pack_imports_without_comfyui():
    script = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('pack', r'{ROOT / '__init__.py'}',\n"
        f"    submodule_search_locations=[r'{ROOT}'])\n"
        "pack = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(pack)\n"
        "assert callable(pack.comfy_entrypoint)\n"
        "assert not hasattr(pack, 'NODE_CLASS_MAPPINGS')\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_others_share_is_as_it_was_after_every_import():
    """Peers patch torch.load for the whole process and put folders in front of everybody's."""
    script = (
        "import sys, torch\n"
        f"sys.path.insert(0, r'{ROOT / 'tests'}')\n"
        "import conftest, importlib, pkgutil\n"
        "shared = torch.load, list(sys.path), torch.get_default_dtype()\n"
        "for name in ('models', 'stages'):\n"
        "    package = importlib.import_module(f'kintsugi.{name}')\n"
        "    for module in pkgutil.iter_modules(package.__path__):\n"
        "        importlib.import_module(f'kintsugi.{name}.{module.name}')\n"
        "now = torch.load, list(sys.path), torch.get_default_dtype()\n"
        "assert now == shared\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_served_folder_exists():
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    served = [
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "WEB_DIRECTORY"
    ]
    assert [(ROOT / folder).is_dir() for folder in served] == [True]


FOREIGN_AT_RUN_TIME = {"cv2", "torchvision", "onnxruntime", "basicsr", "facexlib"}
SOMEBODY_ELSES = {"kintsugi", "nodes", "models", "stages", "utils"}
HOST_ONLY = {"comfy", "comfy_api", "comfy_execution", "folder_paths", "server", "execution"}
FLOORS = {"models": set(), "stages": {"models"}, "nodes": {"stages", "models"}}


def imports(path: Path):
    """(level, dotted name) of every import in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or ""


def test_every_dependency_is_used_and_none_is_missing():
    files = [path for floor in (".", *FLOORS) for path in (ROOT / floor).glob("*.py")]
    used = {name.partition(".")[0] for path in files for level, name in imports(path) if not level}
    names = {"pillow": "PIL", "huggingface-hub": "huggingface_hub"}
    listed = [line.partition(">")[0] for line in PROJECT["project"]["dependencies"]]
    listed = {names.get(name, name) for name in listed}
    optional = {"certifi", "onnxruntime", "skimage", "matplotlib"}  # the pack does without them
    own = {"aiohttp", "kintsugi", *HOST_ONLY}
    assert listed - used == set()
    assert used - listed - optional - own - sys.stdlib_module_names == set()


@pytest.mark.parametrize("floor", FLOORS)
def test_floors_import_only_what_lies_below(floor):
    wrong = []
    for path in sorted((ROOT / floor).rglob("*.py")):
        depth = len(path.relative_to(ROOT).parts) - 1
        for level, name in imports(path):
            top = name.split(".")[0]
            foreign = level == 0 and (
                top in FOREIGN_AT_RUN_TIME
                or top in SOMEBODY_ELSES
                or (floor != "nodes" and top in HOST_ONLY)
            )
            upward = level > depth and top in FLOORS and top not in FLOORS[floor]
            if foreign or upward:
                wrong.append(f"{path.relative_to(ROOT)} imports {'.' * level}{name}")
    assert wrong == []
