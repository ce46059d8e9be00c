import assert from "node:assert/strict";
import test from "node:test";
import { says } from "../../js/faces_says.mjs";

const WORDS = (name, values) => [name, ...Object.values(values ?? {})].join(":");
const FACE = { box: [0, 0, 1, 1] };

function line(more, now = { faces: [FACE], leftOut: 0, error: "" }) {
  return says(WORDS, { result: { state: "ok", leftOut: 0 }, now, ...more });
}

test("what is most wrong is said first", () => {
  const all = { broken: true, problem: "unreadable", differs: true };
  assert.equal(line({ ...all, result: { state: "other" } }), "otherVersion");
  assert.equal(line(all, { faces: [], error: "full" }), "notSaved:full");
  assert.equal(line(all), "gone");
  assert.equal(line({ problem: "unreadable", differs: true }), "badChoice");
  assert.equal(line({ differs: true }), "runToApply");
  assert.equal(line({}), "hint");
  assert.equal(line({}, { faces: [] }), "noFace");
});

test("before the first run it says whether faces are picked", () => {
  assert.equal(says(WORDS, { result: { state: "none" } }), "runToSee");
  assert.equal(says(WORDS, { result: { state: "none" }, chosen: true }), "runToSeeChoice");
});

test("what is not shown is counted", () => {
  const result = { state: "ok", leftOut: 3 };
  assert.equal(line({ result }, { faces: [FACE], leftOut: 7 }), "hint moreFaces:7 morePictures:3");
});
