import assert from "node:assert/strict";
import test from "node:test";
import { readFaces, readPairs, viewQuery } from "../../js/payload.mjs";

const FILE = { filename: "kintsugi_1.jpg", subfolder: "", type: "temp" };

function faces(pictures, more = {}) {
  return { kintsugi_faces: [{ version: 1, pictures, left_out: 0, ...more }] };
}

test("faces are read as sent", () => {
  const face = { number: 0, box: [0, 0, 1, 1], points: [[0.5, 0.5]], size: 90, score: 0.9, kept: false };
  const { state, pictures } = readFaces(faces([{ file: FILE, width: 4, height: 3, faces: [face] }]));
  assert.equal(state, "ok");
  assert.equal(pictures[0].query, "filename=kintsugi_1.jpg&subfolder=&type=temp");
  assert.deepEqual(pictures[0].faces, [{ ...face, drawn: false }]);
});

test("a node that sent nothing is not one of another version", () => {
  assert.equal(readFaces({}).state, "none");
  assert.equal(readFaces(null).state, "none");
  assert.equal(readPairs({ images: [] }).state, "none");
});

test("another version is told apart", () => {
  for (const value of [[], [null], "x", [{ version: 2, pictures: [] }], [{ version: 1 }]]) {
    assert.equal(readFaces({ kintsugi_faces: value }).state, "other", JSON.stringify(value));
    assert.equal(readPairs({ kintsugi_compare: value }).state, "other");
  }
});

test("what is broken inside is passed over", () => {
  const broken = [null, {}, { box: [0, 0, 1] }, { box: [0, 0, 1, "1"] }];
  const read = readFaces(
    faces([null, { width: 0, height: 5 }, { file: 3, width: 4, height: 3, faces: broken }], { left_out: -3 }),
  );
  assert.equal(read.pictures.length, 1);
  assert.deepEqual([read.pictures[0].faces, read.pictures[0].query, read.leftOut], [[], "", 0]);
});

test("comparisons are read, missing parts are empty", () => {
  const pair = {
    title: "face 0",
    before: FILE,
    after: { error: "no space left" },
    overlay: null,
    chips: ["JPEG quality 31", 4],
    similarity: 0.7,
    threshold: null,
    verdict: "same person",
    level: "excellent",
  };
  const { pairs, report } = readPairs({
    kintsugi_compare: [{ version: 1, pairs: [pair, null], left_out: 2, report: "done" }],
  });
  assert.equal(report, "done");
  assert.equal(pairs.length, 1);
  assert.deepEqual(
    [pairs[0].after, pairs[0].overlay, pairs[0].error, pairs[0].chips, pairs[0].level],
    ["", "", "no space left", ["JPEG quality 31"], ""],
  );
  assert.equal(pairs[0].similarity, 0.7);
});

test("file names cannot break out of the address", () => {
  assert.equal(viewQuery({ filename: "a&b=c d.png" }), "filename=a%26b%3Dc+d.png&subfolder=&type=temp");
  assert.equal(viewQuery({ filename: "" }), "");
});

test("comparisons of a list of pictures are joined", () => {
  const once = (title, left_out) => ({ version: 1, pairs: [{ title }], report: title, left_out });
  const read = readPairs({ kintsugi_compare: [once("a", 2), once("b", 0), once("", 1)] });
  assert.deepEqual(read.pairs.map((pair) => pair.title), ["a", "b", ""]);
  assert.deepEqual([read.state, read.report, read.leftOut], ["ok", "a; b", 3]);
  const other = [once("a", 0), { version: 2, pairs: [] }];
  assert.equal(readPairs({ kintsugi_compare: other }).state, "other");
});
