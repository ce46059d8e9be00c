"""The page's helpers, run by Node without a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TESTS = sorted((ROOT / "tests" / "js").glob("*.test.mjs"))
SCRIPTS = sorted(path for path in (ROOT / "js").iterdir() if path.suffix in (".js", ".mjs"))


@pytest.fixture(scope="module")
def node():
    """Node 20 or newer, whose test runner the helpers' tests are written for."""
    found = shutil.which("node")
    if not found:
        pytest.skip("no node in PATH; the page's helpers are tested with Node 20 or newer")
    version = subprocess.run([found, "--version"], capture_output=True, text=True).stdout.strip()
    if int(re.match(r"v(\d+)", version)[1]) < 20:
        pytest.skip(f"node is {version}; the page's helpers are tested with Node 20 or newer")
    return found


def imports(path: Path) -> list[str]:
    """What a script imports."""
    return re.findall(r'from "([^"]+)"', path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name.split(".")[0])
def test_helpers(node, path):
    done = subprocess.run([node, "--test", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert re.search(r"^# pass [1-9]", done.stdout, re.MULTILINE), done.stdout[-2000:]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_read_without_a_mistake(node, path):
    done = subprocess.run([node, "--check", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_page_loads_one_script_and_helpers_ask_for_nothing_of_the_page():
    """Every .js is an entry point; the rest runs outside the page too and imports only itself."""
    assert [path.name for path in SCRIPTS if path.suffix == ".js"] == ["kintsugi.js"]
    for path in SCRIPTS:
        for target in imports(path):
            page = path.suffix == ".js" and target in (
                "../../scripts/app.js",
                "../../scripts/api.js",
            )
            assert page or (ROOT / "js" / target.partition("?")[0]).is_file(), (path.name, target)


def test_an_update_reaches_a_browser_that_keeps_old_helpers():
    """ComfyUI asks browsers to check .js files anew, not .mjs: their address names the version."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.+)"', project, re.MULTILINE)[1]
    stale = [
        (path.name, target)
        for path in SCRIPTS
        for target in imports(path)
        if target.startswith("./") and target.partition("?")[2] != f"v={version}"
    ]
    assert not stale, f"write ?v={version} behind these imports"


def test_scripts_leave_the_page_as_they_found_it():
    """No prototype is patched, nothing is evaluated and no listener outlives a widget."""
    for path in SCRIPTS:
        text = path.read_text(encoding="utf-8")
        for wrong in (".prototype", "eval(", "innerHTML", "document.addEventListener"):
            assert wrong not in text, (path.name, wrong)
