import assert from "node:assert/strict";
import test from "node:test";
import { byExecutionId, everyNode, remembered, sameCause } from "../../js/results.mjs";

function graph(...nodes) {
  return { nodes, getNodeById: (id) => nodes.find((node) => node.id === id) };
}

const inner = { id: 5 };
const outer = { id: 12, subgraph: graph(inner, { id: 6 }) };
const root = graph({ id: 1 }, outer);

test("a path of ids leads into subgraphs", () => {
  assert.equal(byExecutionId(root, "12:5"), inner);
  assert.equal(byExecutionId(root, 12), outer);
  assert.equal(byExecutionId(root, "9:5"), undefined);
  assert.equal(byExecutionId(root, ""), undefined);
  assert.equal(byExecutionId(undefined, "1"), undefined);
});

test("every node is met with its path, and a subgraph in itself ends", () => {
  assert.deepEqual([...everyNode(root)].map(([path]) => path), ["1", "12", "12:5", "12:6"]);
  const loop = { id: 1 };
  loop.subgraph = graph(loop);
  assert.ok([...everyNode(loop.subgraph)].length < 100);
  assert.deepEqual([...everyNode(undefined)], []);
});

const LOAD = { class_type: "LoadImage", inputs: { image: "a.png" } };

function prompt(confidence, chosen = "", load = LOAD) {
  const inputs = { image: ["1", 0], confidence, chosen };
  return { 1: load, 3: { class_type: "KintsugiFaceDetect", inputs } };
}

test("a result counts as long as nothing that leads to it has changed", () => {
  const then = prompt(0.5);
  assert.ok(sameCause(then, prompt(0.5), "3"));
  assert.ok(sameCause(then, prompt(0.5, "{}"), "3"), "the choice may change");
  assert.ok(!sameCause(then, prompt(0.6), "3"));
  const other = { ...LOAD, inputs: { image: "b.png" } };
  assert.ok(!sameCause(then, prompt(0.5, "", other), "3"));
  assert.ok(!sameCause(then, { 1: LOAD }, "3"));
  assert.ok(!sameCause(undefined, undefined, "3"));
  const loop = { 1: { class_type: "X", inputs: { a: ["1", 0] } } };
  assert.ok(!sameCause(loop, loop, "1"), "a graph in a circle ends");
});

test("nodes that many ways lead back to are compared once", () => {
  const chain = { 0: LOAD };
  for (let node = 1; node < 60; node++) {
    const inputs = { model: [String(node - 1), 0], clip: [String(node - 1), 1] };
    chain[node] = { class_type: "LoraLoader", inputs };
  }
  assert.ok(sameCause(chain, structuredClone(chain), "59"));
  const other = { ...chain, 0: { ...LOAD, inputs: { image: "b.png" } } };
  assert.ok(!sameCause(chain, other, "59"));
});

function run(order, workflow, outputs, asked = prompt(0.5)) {
  const extra = { extra_pnginfo: { workflow: { id: workflow } } };
  return { prompt: [order, "id", asked, extra], outputs };
}

test("the newest result of this workflow as it is now is remembered", () => {
  const history = {
    b: run(2, "w", { 3: { kintsugi_faces: ["new"] } }),
    a: run(1, "w", { 3: { kintsugi_faces: ["old"] } }),
    c: run(3, "other", { 3: { kintsugi_faces: ["foreign"] } }),
    d: run(4, "w", { 3: { images: [] } }),
    f: run(5, "w", { 3: { kintsugi_faces: ["differently"] } }, prompt(0.9)),
    e: null,
  };
  const found = remembered(history, "w", prompt(0.5), ["kintsugi_faces"]);
  assert.deepEqual([...found], [["3", { kintsugi_faces: ["new"] }]]);
  assert.equal(remembered(history, undefined, prompt(0.5), ["kintsugi_faces"]).size, 0);
  assert.equal(remembered(undefined, "w", prompt(0.5), ["kintsugi_faces"]).size, 0);
});
