import assert from "node:assert/strict";
import test from "node:test";
import { meterShare, moved } from "../../js/compare_view.mjs";

test("a similarity fills the meter from nothing to all", () => {
  assert.deepEqual([-0.4, 0, 0.3, 1, 2].map(meterShare), [0, 0, 0.3, 1, 1]);
});

test("the slider stays on the picture", () => {
  assert.deepEqual([moved(50, 2), moved(99, 10), moved(1, -10)], [52, 100, 0]);
});
