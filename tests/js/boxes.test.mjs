import assert from "node:assert/strict";
import test from "node:test";
import { between, fit, hit, matches, nudge, overlap, toShare } from "../../js/boxes.mjs";

test("overlap is intersection over union", () => {
  assert.equal(overlap([0, 0, 1, 1], [0, 0, 1, 1]), 1);
  assert.equal(overlap([0, 0, 1, 1], [0.5, 0, 1.5, 1]), 1 / 3);
  assert.equal(overlap([0, 0, 1, 1], [1, 0, 2, 1]), 0);
  assert.equal(overlap([0, 0, 0, 0], [0, 0, 0, 0]), 0);
});

test("each box means at most one face, the best fit first", () => {
  const faces = [[0, 0, 0.2, 0.2], [0.02, 0, 0.22, 0.2], [0.8, 0.8, 0.9, 0.9]];
  assert.deepEqual(matches(faces, [[0.02, 0, 0.22, 0.2]]), [[1, 0]]);
  assert.deepEqual(matches(faces, [[0.01, 0, 0.21, 0.2], [0.02, 0, 0.22, 0.2]]), [[1, 1], [0, 0]]);
  assert.deepEqual(matches(faces, [[0.4, 0.4, 0.5, 0.5]]), []);
});

test("a box drawn in any direction has its corners in order and inside", () => {
  assert.deepEqual(between([0.8, 0.9], [0.2, 0.1]), [0.2, 0.1, 0.8, 0.9]);
  assert.deepEqual(between([-1, 0.5], [0.5, 3]), [0, 0.5, 0.5, 1]);
});

test("a nudged box stays in the picture and keeps its size", () => {
  const close = (box, wanted) =>
    box.forEach((value, index) => assert.ok(Math.abs(value - wanted[index]) < 1e-12, `${box}`));
  close(nudge([0.4, 0.4, 0.6, 0.6], 0.1, -0.1, false), [0.5, 0.3, 0.7, 0.5]);
  close(nudge([0.9, 0, 1, 0.1], 0.5, -0.5, false), [0.9, 0, 1, 0.1]);
  close(nudge([0.4, 0.4, 0.6, 0.6], 0.1, 0.1, true), [0.4, 0.4, 0.7, 0.7]);
  close(nudge([0.4, 0.4, 0.6, 0.6], -1, -1, true), [0.4, 0.4, 0.41, 0.41]);
});

test("a point means the smallest box around it, or one close by", () => {
  const boxes = [[0, 0, 1, 1], [0.4, 0.4, 0.5, 0.5], [0.42, 0.42, 0.6, 0.6]];
  assert.equal(hit(boxes, [0.45, 0.45]), 1);
  assert.equal(hit(boxes, [0.55, 0.55]), 2);
  assert.equal(hit(boxes.slice(1), [0.1, 0.1]), -1);
  assert.equal(hit(boxes.slice(1), [0.39, 0.45], [0.02, 0.02]), 0);
  assert.equal(hit([], [0.5, 0.5], [1, 1]), -1);
});

test("a picture is fitted whole and centred", () => {
  const place = { left: 10, top: 20, width: 300, height: 200 };
  assert.deepEqual(fit(place, 600, 200), { left: 10, top: 70, width: 300, height: 100, scale: 0.5 });
  assert.deepEqual(fit(place, 200, 400), { left: 110, top: 20, width: 100, height: 200, scale: 0.5 });
  assert.equal(fit({ left: 0, top: 0, width: 0, height: 0 }, 10, 10).scale, 0);
  assert.deepEqual(toShare({ left: 10, top: 70, width: 300, height: 100 }, 160, 170), [0.5, 1]);
});
