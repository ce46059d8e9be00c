"""The widgets in the real page, driven as a person would, in both renderers.

The page that comes with the checkout is one; a newer one, with and without Nodes 2.0, is driven
where `page.NEWER_PAGE` is. Screenshots lie in `page.SHOTS`.
"""

from __future__ import annotations

import json
import re

import pytest
from comfy_server import PACK, ComfyServer, why_not
from page import NEWER_PAGE, Page, browser, example, why_no_page
from pictures import group, no_face

PAGES = ("own-litegraph", "newer-litegraph", "newer-nodes2")
FACES = "KintsugiFaceDetect"


@pytest.fixture(scope="module")
def chromium():
    """A headless browser."""
    reason = why_not() or why_no_page()
    if reason:
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def newer_server(tmp_path_factory):
    """A server that serves the newer page."""
    if not (NEWER_PAGE / "index.html").is_file():
        pytest.skip(f"no newer page at {NEWER_PAGE}; set KINTSUGI_FRONTEND")
    comfy = ComfyServer(tmp_path_factory.mktemp("newer"), "--front-end-root", NEWER_PAGE)
    comfy.start()
    yield comfy
    comfy.stop()


@pytest.fixture(scope="module", params=PAGES)
def page(request, chromium):
    """A loaded page with the example's pictures on its server."""
    kind = "server" if request.param.startswith("own") else "newer_server"
    server = request.getfixturevalue(kind)
    group().save(server.base / "input" / "group.png")
    no_face().save(server.base / "input" / "no_face.png")
    context = chromium.new_context(viewport={"width": 1700, "height": 1000}, has_touch=True)
    opened = Page(context.new_page(), server, request.param.endswith("nodes2"), request.param)
    opened.open()
    yield opened
    context.close()


@pytest.fixture(autouse=True)
def silence(page):
    """Our files print neither errors nor warnings, whatever the test does."""
    page.complaints.clear()
    yield
    assert page.complaints == []


def faces(page):
    """The faces drawn on FaceDetect."""
    return page.tab.locator(".kintsugi-face")


def checked(page) -> list[str]:
    """Which of them are taken."""
    return faces(page).evaluate_all(
        "marks => marks.map((mark) => mark.getAttribute('aria-checked'))"
    )


def line(page, part: str = ".kintsugi-faces") -> str:
    """The line below a widget's picture."""
    return page.tab.locator(f"{part} .kintsugi-line").first.inner_text()


def compare_of(page, kind: str):
    """The comparison on the node of a class, marked so that it can be found again."""
    page.tab.evaluate(
        """(kind) => {
          const node = app.graph.nodes.find((node) => node.comfyClass === kind);
          const widget = node.widgets.find((widget) => widget.name === "kintsugi_compare");
          widget.element.dataset.test = kind;
        }""",
        kind,
    )
    return page.tab.locator(f"[data-test={kind}]")


def test_a_person_picks_faces_runs_compares_and_reloads(page):
    page.load(example("restore_photo", "group.png"))
    page.look_at(FACES)
    assert page.until(lambda: "Run the workflow" in line(page))
    assert page.run() == ""
    page.look_at(FACES)
    assert page.until(lambda: checked(page), ["true"] * 3)
    page.shot("1_found")

    page.tab.mouse.click(*page.middle("[data-index='1'] rect"))
    assert page.until(lambda: checked(page), ["true", "false", "true"])
    choice = json.loads(page.value(FACES, "chosen"))
    assert list(choice) == ["0"] and len(choice["0"]["without"]) == 1
    page.tab.mouse.move(5, 500)
    assert page.until(lambda: "Run to apply" in line(page))

    assert page.run() == ""
    page.look_at(FACES)
    assert page.until(lambda: checked(page), ["true", "false", "true"])
    assert page.until(lambda: "Run to apply" not in line(page))
    page.shot("2_chosen")

    page.look_at("KintsugiRestore")
    restored = compare_of(page, "KintsugiRestore")
    assert page.until(lambda: restored.locator(".kintsugi-count").inner_text().endswith("1/2"))
    assert page.until(lambda: "restored" in restored.locator(".kintsugi-line").inner_text())
    handle = restored.locator(".kintsugi-handle")
    stage = restored.locator(".kintsugi-stage").bounding_box()
    page.tab.mouse.move(stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2)
    page.tab.mouse.down()
    page.tab.mouse.move(stage["x"] + stage["width"] / 5, stage["y"] + stage["height"] / 2, steps=4)
    page.tab.mouse.up()
    assert page.until(lambda: abs(int(handle.get_attribute("aria-valuenow")) - 20) <= 2)
    page.tab.keyboard.press("ArrowRight")
    assert page.until(lambda: abs(int(handle.get_attribute("aria-valuenow")) - 22) <= 2)
    page.shot("3_slider")
    page.tab.keyboard.press("PageDown")
    assert page.until(lambda: restored.locator(".kintsugi-count").inner_text().endswith("2/2"))
    page.tab.keyboard.press("z")
    after = restored.locator(".kintsugi-after")
    assert page.until(lambda: after.evaluate("image => image.naturalWidth > 0"))
    assert page.until(lambda: after.evaluate("image => image.clientWidth === image.naturalWidth"))
    page.shot("4_zoomed")

    page.reload()
    page.tab.wait_for_selector(".kintsugi-face", state="attached")
    page.look_at(FACES)
    assert json.loads(page.value(FACES, "chosen")) == choice
    assert page.until(lambda: checked(page), ["true", "false", "true"])
    picture = page.tab.locator(".kintsugi-faces img")
    assert page.until(lambda: picture.evaluate("image => image.naturalWidth > 0"))
    page.shot("5_reloaded")


def test_the_template_browser_opens_a_workflow_that_runs(page):
    page.tab.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    dialog = page.tab.locator("[role=dialog]").first
    dialog.get_by_text(PACK, exact=True).first.click()
    page.shot("0_templates")
    dialog.get_by_text(re.compile("^restore.photo$")).first.click()
    dialog.wait_for(state="hidden")
    page.tab.wait_for_function(
        "app.graph.nodes.some((node) => node.comfyClass === 'KintsugiFaceDetect')"
    )
    page.tab.evaluate(
        """() => {
          const node = app.graph.nodes.find((n) => n.comfyClass === "LoadImage");
          node.widgets.find((w) => w.name === "image").value = "group.png";
        }"""
    )
    assert page.run() == ""
    page.tab.wait_for_selector(".kintsugi-face", state="attached")
    assert page.until(faces(page).count, 3)


def test_the_prompt_carries_the_choice_and_none_of_the_widgets(page):
    page.load(example("restore_photo", "group.png"))
    (sent,) = [node for node in page.prompt().values() if node["class_type"] == FACES]
    assert sent["inputs"]["chosen"] == ""
    assert not [name for name in sent["inputs"] if name.startswith("kintsugi")]
    (saved,) = [node for node in page.workflow()["nodes"] if node["type"] == FACES]
    assert saved["widgets_values"][-1] == "" and None not in saved["widgets_values"]


def test_faces_are_picked_from_the_keyboard(page):
    page.load(example("restore_photo", "group.png"))
    assert page.run() == ""
    page.look_at(FACES)
    page.tab.locator("[data-index='0']").focus()
    assert page.until(lambda: "face 0" in line(page))
    page.tab.keyboard.press("ArrowRight")
    page.tab.keyboard.press(" ")
    assert page.until(lambda: checked(page), ["true", "false", "true"])
    page.tab.keyboard.press("n")
    assert page.until(lambda: checked(page), ["false"] * 3)
    page.tab.keyboard.press("End")
    page.tab.keyboard.press("Enter")
    assert page.until(lambda: checked(page), ["false", "false", "true"])
    page.tab.keyboard.press("a")
    assert page.value(FACES, "chosen") == ""
    page.tab.keyboard.press("d")
    for key in ("ArrowUp", "Shift+ArrowRight", "Enter"):
        page.tab.keyboard.press(key)
    (box,) = json.loads(page.value(FACES, "chosen"))["0"]["also"]
    assert box == pytest.approx([0.4, 0.39, 0.61, 0.59])
    page.tab.keyboard.press("End")
    page.tab.keyboard.press("Delete")
    assert page.value(FACES, "chosen") == ""
    kinds = page.tab.evaluate("() => app.graph.nodes.map((node) => node.comfyClass)")
    assert FACES in kinds, "Delete must not reach the node"


def test_a_pick_is_taken_back_and_the_node_still_listens(page):
    page.load(example("restore_photo", "group.png"))
    assert page.run() == ""
    page.look_at(FACES)
    assert page.until(lambda: checked(page), ["true"] * 3)
    page.tab.mouse.click(*page.middle("[data-index='1'] rect"))
    assert page.until(lambda: checked(page), ["true", "false", "true"])
    page.tab.mouse.click(1650, 950)
    page.tab.wait_for_timeout(300)
    page.tab.keyboard.press("Control+z")
    assert page.until(lambda: page.value(FACES, "chosen"), "")
    assert page.until(lambda: checked(page), ["true"] * 3)
    page.tab.mouse.click(*page.middle("[data-index='2'] rect"))
    assert page.until(lambda: checked(page), ["true", "true", "false"])
    assert page.until(lambda: page.value(FACES, "chosen") != "")


def test_faces_are_picked_and_the_slider_moved_by_touch(page):
    page.load(example("restore_photo", "group.png"))
    assert page.run() == ""
    page.look_at(FACES)
    page.tab.touchscreen.tap(*page.middle("[data-index='1'] rect"))
    assert page.until(lambda: checked(page), ["true", "false", "true"])
    page.look_at("KintsugiRestore")
    restored = compare_of(page, "KintsugiRestore")
    stage = restored.locator(".kintsugi-stage").bounding_box()
    page.tab.touchscreen.tap(stage["x"] + 0.75 * stage["width"], stage["y"] + 0.5 * stage["height"])
    handle = restored.locator(".kintsugi-handle")
    assert page.until(lambda: abs(int(handle.get_attribute("aria-valuenow")) - 75) <= 2)


def test_a_missed_face_is_drawn(page):
    page.load(example("restore_photo", "no_face.png"))
    assert page.run() == ""
    page.look_at(FACES)
    assert page.until(lambda: "No face was found" in line(page))
    place = page.picture()
    corner = place["left"] + 0.3 * place["width"], place["top"] + 0.3 * place["height"]
    page.tab.mouse.move(*corner)
    page.tab.mouse.down()
    far = corner[0] + 0.3 * place["width"], corner[1] + 0.4 * place["height"]
    page.tab.mouse.move(*far, steps=5)
    page.shot("6_drawing")
    page.tab.mouse.up()
    (box,) = json.loads(page.value(FACES, "chosen"))["0"]["also"]
    assert box == pytest.approx([0.3, 0.3, 0.6, 0.7], abs=0.02)
    assert page.run() == ""
    page.look_at(FACES)
    assert page.until(lambda: checked(page), ["true"])
    assert page.until(lambda: "Run to apply" not in line(page))
    page.shot("7_drawn")
    page.tab.mouse.click(*page.middle(".kintsugi-drawn rect"))
    assert page.value(FACES, "chosen") == ""


def test_a_crowd_of_two_hundred_stays_usable(page):
    page.load(example("restore_photo", "group.png"))
    crowd = [
        {
            "number": n,
            "box": [n % 20 / 20, n // 20 / 10, n % 20 / 20 + 0.03, n // 20 / 10 + 0.06],
            "points": [],
            "size": 40,
            "score": 0.9,
            "kept": True,
            "drawn": False,
        }
        for n in range(200)
    ]
    picture = {"file": None, "width": 8000, "height": 4000, "faces": crowd, "faces_left_out": 7}
    page.tab.evaluate(
        """(output) => app.graph.nodes.find((n) => n.comfyClass === "KintsugiFaceDetect")
             .onExecuted(output)""",
        {"kintsugi_faces": [{"version": 1, "pictures": [picture] * 2, "left_out": 3}]},
    )
    page.look_at(FACES)
    assert page.until(faces(page).count, 200)
    assert page.until(lambda: "7 more" in line(page) and "3 more pictures" in line(page))
    page.tab.mouse.click(*page.middle("[data-index='137'] rect"))
    assert page.until(
        lambda: [n for n, taken in enumerate(checked(page)) if taken == "false"], [137]
    )
    page.tab.get_by_label("Next picture").first.click()
    assert page.until(lambda: checked(page).count("false"), 0)
    page.shot("8_crowd")


def test_a_result_of_another_version_says_what_to_do(page):
    page.load(example("restore_photo", "group.png"))
    page.tab.evaluate(
        """() => {
          for (const node of app.graph.nodes) {
            node.onExecuted?.({ kintsugi_faces: [{ version: 0 }], kintsugi_compare: "older" });
          }
        }"""
    )
    page.look_at(FACES)
    assert page.until(lambda: "another version" in line(page))
    page.look_at("KintsugiRestore")
    restored = compare_of(page, "KintsugiRestore")
    assert page.until(lambda: "another version" in restored.locator(".kintsugi-line").inner_text())


def test_the_models_are_listed_and_licences_refused(page):
    page.load(example("restore_photo", "group.png"))
    page.look_at("KintsugiRestore")
    page.tab.evaluate(
        """() => {
          const node = app.graph.nodes.find((n) => n.comfyClass === "KintsugiRestore");
          node.widgets.find((w) => w.name === "kintsugi_models").element.dataset.test = "models";
        }"""
    )
    models = page.tab.locator("[data-test=models]")
    about = models.locator(".kintsugi-about").first
    assert page.until(lambda: "comes with the pack" in about.inner_text())
    models.get_by_label("All models").first.click()
    options = models.locator("[role=option]")
    assert page.until(lambda: options.count() > 5)
    texts = options.all_inner_texts()
    (gfpgan,) = [text for text in texts if "GFPGAN v1.4" in text]
    assert "fetched on first use, 349 MB" in gfpgan and "licence unclear" in gfpgan
    page.shot("9_models")
    options.filter(has_text="GFPGAN v1.4").click()
    assert page.value("KintsugiRestore", "model") == "gfpgan-1.4"
    assert page.until(lambda: "349 MB" in about.inner_text())
    page.tab.evaluate(
        """() => {
          const node = app.graph.nodes.find((n) => n.comfyClass === "KintsugiRestore");
          const widget = node.widgets.find((w) => w.name === "commercial_only");
          widget.value = true;
          widget.callback?.(true);
        }"""
    )
    assert page.until(lambda: "not cleared for commercial use" in about.inner_text())
    models.get_by_label("All models").first.click()
    refused = models.locator("[role=option][aria-disabled=true]")
    assert "GFPGAN v1.4" in "".join(refused.all_inner_texts())
    assert "Kintsugi restorer" not in "".join(refused.all_inner_texts())
    page.shot("10_commercial")
    page.tab.keyboard.press("Escape")


def test_a_download_shows_its_progress_and_a_failed_one_the_remedy(page):
    page.load(example("restore_photo", "group.png"))
    page.tab.evaluate(
        """() => {
          const node = app.graph.nodes.find((n) => n.comfyClass === "KintsugiRestore");
          node.widgets.find((w) => w.name === "kintsugi_models").element.dataset.test = "models";
          node.widgets.find((w) => w.name === "model").value = "gfpgan-1.4";
          const detail = { node: String(node.id), title: "GFPGAN v1.4", done: 87e6, total: 348e6 };
          app.api.dispatchEvent(new CustomEvent("kintsugi.download", { detail }));
        }"""
    )
    page.look_at("KintsugiRestore")
    models = page.tab.locator("[data-test=models]")
    bar = models.locator("[role=progressbar]")
    assert page.until(lambda: bar.get_attribute("aria-valuenow"), "25")
    assert page.until(lambda: "87 MB / 348 MB" in models.inner_text())
    page.shot("11_download")
    assert "HF_HUB_OFFLINE" in page.run()
    page.tab.keyboard.press("Escape")
    trouble = models.locator("[role=alert]")
    trouble.wait_for(state="visible")
    assert page.until(lambda: "HF_HUB_OFFLINE is set" in trouble.inner_text())
    assert page.until(lambda: "put it into" in trouble.inner_text())
    assert trouble.locator("a").first.get_attribute("href").startswith("https://")
    bar.wait_for(state="hidden")
    page.shot("12_failed")


def test_it_works_inside_a_subgraph(page):
    page.load(example("restore_photo", "group.png"))
    page.tab.evaluate(
        """() => {
          const node = app.graph.nodes.find((n) => n.comfyClass === "KintsugiFaceDetect");
          app.graph.convertToSubgraph(new Set([node]));
        }"""
    )
    assert page.run() == ""
    page.tab.wait_for_function(
        """() => {
          const outer = app.graph.nodes.find((node) => node.subgraph);
          const inner = outer.subgraph.nodes.find((n) => n.comfyClass === "KintsugiFaceDetect");
          const view = inner.widgets.find((w) => w.name === "kintsugi_faces").element;
          return view.querySelectorAll(".kintsugi-face").length === 3;
        }"""
    )


def test_a_result_from_the_cache_replaces_that_of_another_picture(page):
    workflow = example("restore_photo", "group.png")
    page.load(workflow)
    assert page.run() == ""
    page.tab.wait_for_function("document.querySelectorAll('.kintsugi-face').length === 3")
    change = """(name) => {
      const node = app.graph.nodes.find((n) => n.comfyClass === "LoadImage");
      node.widgets.find((w) => w.name === "image").value = name;
    }"""
    page.tab.evaluate(change, "no_face.png")
    assert page.run() == ""
    page.tab.wait_for_function("document.querySelectorAll('.kintsugi-face').length === 0")
    page.tab.evaluate(change, "group.png")
    assert page.run() == ""
    page.tab.wait_for_function("document.querySelectorAll('.kintsugi-face').length === 3")


def test_a_lost_preview_and_a_silent_server_say_so(page):
    models = f"{page.address}/api/kintsugi/models"
    page.tab.route(models, lambda route: route.abort())
    page.tab.wait_for_timeout(1500)  # answers are shared for a second
    page.load(example("restore_photo", "group.png"))
    face = {"box": [0.2, 0.2, 0.5, 0.6], "points": [], "score": 0.9, "kept": True}
    picture = {"file": {"filename": "no.jpg"}, "width": 400, "height": 400, "faces": [face]}
    page.tab.evaluate(
        """(output) => app.graph.nodes.find((n) => n.comfyClass === "KintsugiFaceDetect")
             .onExecuted(output)""",
        {"kintsugi_faces": [{"version": 1, "pictures": [picture], "left_out": 0}]},
    )
    page.tab.wait_for_function(
        """() => document.querySelector(".kintsugi-faces .kintsugi-line").textContent
             .includes("no longer on the server")"""
    )
    page.look_at(FACES)
    about = page.tab.locator(".kintsugi-about").first
    assert page.until(lambda: "does not answer" in about.inner_text())
    page.tab.mouse.click(*page.middle("[data-index='0'] rect"))
    assert page.until(lambda: checked(page), ["false"])
    page.shot("13_gone")
    page.tab.unroute(models)
    # The browser itself reports what the test broke; it names the files, not ours.
    page.complaints[:] = [text for text in page.complaints if "Failed to load" not in text]


def test_it_works_in_app_mode(page):
    if not page.vue:
        pytest.skip("app mode is driven where it is drawn: in a newer page with Nodes 2.0")
    workflow = example("restore_photo", "group.png")
    ids = {node["type"]: node["id"] for node in workflow["nodes"]}
    inputs = [[ids["LoadImage"], "image"], [ids[FACES], "kintsugi_faces"]]
    inputs += [[ids["KintsugiRestore"], name] for name in ("model", "kintsugi_compare")]
    data = {"inputs": inputs, "outputs": [ids["SaveImage"]]}
    workflow["extra"] = {**workflow.get("extra", {}), "linearMode": True, "linearData": data}
    page.load(workflow)
    assert page.run() == ""
    page.tab.wait_for_timeout(2000)
    tour = page.tab.get_by_role("button", name="Skip")
    if tour.count():
        tour.first.click()
        tour.first.wait_for(state="hidden")
    page.shot("14_app")
    page.tab.locator(".kintsugi-marks").wait_for(state="visible")
    page.tab.mouse.click(*page.middle("[data-index='2'] rect"))
    assert page.until(lambda: checked(page), ["true", "true", "false"])
    assert "without" in page.value(FACES, "chosen")
    assert page.run() == ""
    page.tab.wait_for_function(
        """() => [...document.querySelectorAll(".kintsugi-count")]
             .some((count) => count.textContent.endsWith("1/2"))"""
    )
    page.shot("15_app_chosen")


def test_the_guard_shows_the_likeness_and_what_was_invented(page):
    page.load(example("several_references", "group.png"))
    assert page.run() == ""
    page.look_at("KintsugiIdentityGuard")
    guarded = compare_of(page, "KintsugiIdentityGuard")
    meter = guarded.locator("[role=meter]")
    meter.wait_for(state="visible")
    assert -1 <= float(meter.get_attribute("aria-valuenow")) <= 1
    assert "at least" in meter.get_attribute("aria-valuetext")
    assert guarded.locator(".kintsugi-verdict").inner_text()
    veil = guarded.locator(".kintsugi-overlay")
    assert not veil.is_visible()
    page.shot("16_guard")
    guarded.get_by_label("Show in gold").click()
    veil.wait_for(state="visible")
    assert veil.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    page.shot("17_gold")
