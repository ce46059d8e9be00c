// Kintsugi in the page: hangs the views on the pack's nodes and hands them what the server sends.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { CompareView } from "./compare_view.mjs?v=0.1.0";
import { FacesView } from "./faces_view.mjs?v=0.1.0";
import { ModelsView } from "./models_view.mjs?v=0.1.0";
import { byExecutionId, everyNode, remembered } from "./results.mjs?v=0.1.0";
import { addView, showAgain } from "./view.mjs?v=0.1.0";
import { speaker } from "./words.mjs?v=0.1.0";

// Which nodes show a comparison, and the menu of models of each node.
const COMPARES = new Set([
  "KintsugiDegradationEstimate",
  "KintsugiRestore",
  "KintsugiIdentityGuard",
  "KintsugiBlend",
]);
const MENUS = {
  KintsugiFaceDetect: "detector",
  KintsugiLandmarkAlign: "landmarks",
  KintsugiRestore: "model",
  KintsugiIdentityGuard: "embedder",
};
const KEYS = ["kintsugi_faces", "kintsugi_compare"];
const VIEWS = [...KEYS, "kintsugi_models"];

// Runs asked for after a reload: enough for the last few, whose workflows come along.
const HISTORY = 16;

const views = new WeakMap(); // node -> {faces, compare, models}

const t = speaker(() => app.extensionManager?.setting?.get?.("Comfy.Locale"));

function urlOf(query) {
  return api.apiURL(`/view?${query}`);
}

function widgetOf(node, name) {
  return node.widgets?.find((widget) => widget.name === name);
}

// Call `after` once `object[name]` was called; the object's own property alone is set.
function following(object, name, after) {
  const before = object[name];
  object[name] = function (...values) {
    const result = before?.apply(this, values);
    after.apply(this, values);
    return result;
  };
}

const run = { id: "", told: new Set() }; // the run that goes on, and the nodes it spoke of

let asked = null;

// One question at a time serves all nodes.
function fetchModels() {
  asked ??= api
    .fetchApi("/kintsugi/models")
    .then((answer) => {
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      return answer.json();
    })
    .finally(() => setTimeout(() => (asked = null), 1000));
  return asked;
}

function addFaces(node) {
  const stored = widgetOf(node, "chosen");
  if (!stored) return null;
  const view = new FacesView({
    urlOf,
    t,
    read: () => (typeof stored.value === "string" ? stored.value : ""),
    write: (text) => {
      stored.value = text;
      stored.callback?.(text);
      app.canvas?.setDirty?.(true, true);
    },
  });
  // The picture shows the choice; its text stays in the workflow and in the prompt.
  stored.hidden = true;
  stored.options.hidden = true;
  stored.computeSize = () => [0, -4]; // older pages leave room for a hidden one
  addView(app, node, "kintsugi_faces", t("facesTitle"), view);
  return view;
}

function addModels(node) {
  const combo = widgetOf(node, MENUS[node.comfyClass]);
  if (!combo) return null;
  const values = () => {
    const list = combo.options?.values;
    return (typeof list === "function" ? list(combo, node) : list) ?? [];
  };
  const view = new ModelsView({
    fetchModels,
    t,
    menu: {
      values,
      get: () => combo.value,
      set: (name) => {
        combo.value = name;
        combo.callback?.(name);
        app.canvas?.setDirty?.(true, true);
      },
    },
    commercialOnly: () => widgetOf(node, "commercial_only")?.value === true,
  });
  for (const name of [combo.name, "commercial_only"]) {
    const widget = widgetOf(node, name);
    if (widget) following(widget, "callback", () => view.refresh());
  }
  addView(app, node, "kintsugi_models", t("modelsTitle"), view);
  void view.update();
  return view;
}

function addCompare(node) {
  const view = new CompareView({ urlOf, t });
  addView(app, node, "kintsugi_compare", t("compareTitle"), view);
  return view;
}

function deliver(node, output) {
  const shown = node && views.get(node);
  shown?.faces?.setOutput(output);
  shown?.compare?.setOutput(output);
}

function root() {
  return app.rootGraph ?? app.graph;
}

// After a reload the page has forgotten the results; the server still knows those of this workflow.
async function recall() {
  const waiting = [...everyNode(root())].filter(([, node]) => {
    const shown = views.get(node);
    return shown?.faces?.empty || shown?.compare?.empty;
  });
  if (!waiting.length) return;
  try {
    const [answer, prompt] = await Promise.all([
      api.fetchApi(`/history?max_items=${HISTORY}`),
      app.graphToPrompt(),
    ]);
    const results = remembered(await answer.json(), root()?.id, prompt.output, KEYS);
    for (const [id, node] of waiting) deliver(node, results.get(id));
  } catch {
    // Without the server or with a graph that cannot run yet there is nothing to show: the views
    // say themselves what to do.
  }
}

// A run tells nothing of nodes whose result it found in its cache; the history has theirs too.
async function catchUp(id) {
  const waiting = [...everyNode(root())].filter(([, node]) => {
    const shown = views.get(node);
    return (shown?.faces || shown?.compare) && !run.told.has(node);
  });
  if (!id || !waiting.length) return;
  try {
    const entry = (await (await api.fetchApi(`/history/${id}`)).json())[id];
    if (entry?.prompt?.[3]?.extra_pnginfo?.workflow?.id !== root()?.id) return;
    for (const [path, node] of waiting) deliver(node, entry.outputs?.[path]);
  } catch {
    // The server is gone, which the page says itself.
  }
}

function modelsAt(id) {
  return views.get(byExecutionId(root(), id))?.models;
}

app.registerExtension({
  name: "Kintsugi.Faces",

  setup() {
    const style = document.createElement("link");
    style.rel = "stylesheet";
    style.href = new URL("./kintsugi.css", import.meta.url).href;
    document.head.append(style);
    api.addEventListener("kintsugi.download", ({ detail }) => {
      modelsAt(detail?.node)?.setProgress(detail);
    });
    api.addEventListener("executing", ({ detail }) => {
      // Whatever runs now, a download before it is over.
      const id = typeof detail === "object" ? detail?.node : detail; // none: the run is over
      const now = byExecutionId(root(), id);
      for (const [, node] of everyNode(root())) {
        const models = views.get(node)?.models;
        if (models?.progress && node !== now) models.setEnded();
      }
      if ((id ?? null) === null) {
        void catchUp(run.id);
        run.id = "";
      }
    });
    api.addEventListener("execution_error", ({ detail }) => {
      modelsAt(detail?.node_id)?.setEnded(String(detail?.exception_message ?? ""));
    });
    api.addEventListener("execution_start", ({ detail }) => {
      run.id = detail?.prompt_id ?? "";
      run.told.clear();
      for (const [, node] of everyNode(root())) {
        const models = views.get(node)?.models;
        if (models?.failed) models.setEnded();
      }
    });
  },

  nodeCreated(node) {
    if (!MENUS[node.comfyClass] && !COMPARES.has(node.comfyClass)) return;
    const shown = { models: addModels(node) };
    if (node.comfyClass === "KintsugiFaceDetect") shown.faces = addFaces(node);
    if (COMPARES.has(node.comfyClass)) shown.compare = addCompare(node);
    views.set(node, shown);
    following(node, "onExecuted", (output) => {
      run.told.add(node);
      deliver(node, output);
    });
    following(node, "onConfigure", () => {
      shown.faces?.refresh();
      shown.models?.refresh();
    });
  },

  afterConfigureGraph() {
    setTimeout(() => showAgain(app.canvas?.graph?.nodes ?? [], VIEWS)); // once the page has drawn
    void recall();
  },

  onNodeOutputsUpdated(outputs) {
    for (const [id, node] of everyNode(root())) {
      const inside = node.graph?.id && node.graph !== root() ? `${node.graph.id}:${node.id}` : id;
      const output = outputs?.[inside] ?? outputs?.[id];
      if (output) deliver(node, output);
    }
  },
});
