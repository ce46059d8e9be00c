import assert from "node:assert/strict";
import test from "node:test";
import * as choices from "../../js/choice.mjs";

const FACES = [[0.1, 0.1, 0.2, 0.2], [0.4, 0.4, 0.6, 0.6], [0.8, 0.1, 0.9, 0.3]];
const NOTHING = new Map();

function kept(choice, picture = 0) {
  return choices.kept(choice, picture, FACES).map(Number).join("");
}

test("nothing picked takes every face and is an empty text", () => {
  assert.equal(kept(NOTHING), "111");
  assert.equal(choices.write(NOTHING), "");
  assert.deepEqual(choices.parse(""), { choice: new Map(), problem: "" });
});

test("a click leaves a face out, a second one takes it back", () => {
  const once = choices.toggle(NOTHING, 0, FACES, 1);
  assert.equal(kept(once), "101");
  assert.equal(choices.write(once), '{"0":{"without":[[0.4,0.4,0.6,0.6]]}}');
  const twice = choices.toggle(once, 0, FACES, 1);
  assert.equal(kept(twice), "111");
  assert.equal(choices.write(twice), "");
});

test("none and a click take that face alone", () => {
  const none = choices.takeNone(NOTHING, 0);
  assert.equal(kept(none), "000");
  const one = choices.toggle(none, 0, FACES, 2);
  assert.equal(kept(one), "001");
  assert.equal(choices.write(one), '{"0":{"only":[[0.8,0.1,0.9,0.3]]}}');
  assert.equal(kept(choices.toggle(one, 0, FACES, 2)), "000");
  assert.equal(kept(choices.takeAll(one, 0)), "111");
});

test("pictures are chosen one by one", () => {
  const choice = choices.takeNone(choices.toggle(NOTHING, 0, FACES, 0), 3);
  assert.equal(kept(choice, 0), "011");
  assert.equal(kept(choice, 1), "111");
  assert.equal(kept(choice, 3), "000");
});

test("a choice finds its faces where the detector moved them a little", () => {
  const { choice } = choices.parse('{"0": {"only": [[0.11, 0.1, 0.21, 0.21]]}}');
  assert.equal(kept(choice), "100");
  assert.equal(choices.write(choices.toggle(choice, 0, FACES, 0)), '{"0":{"only":[]}}');
});

test("a box drawn beside the faces is added, and can be erased", () => {
  const drawn = choices.draw(NOTHING, 0, FACES, [0.3, 0.8, 0.4, 0.9]);
  assert.equal(choices.write(drawn), '{"0":{"also":[[0.3,0.8,0.4,0.9]]}}');
  assert.equal(kept(drawn), "111");
  assert.equal(choices.write(choices.erase(drawn, 0, 0)), "");
});

test("a box drawn over a face takes that face instead", () => {
  const without = choices.toggle(NOTHING, 0, FACES, 1);
  const back = choices.draw(without, 0, FACES, [0.41, 0.41, 0.6, 0.6]);
  assert.equal(choices.write(back), "");
  assert.equal(choices.write(choices.draw(NOTHING, 0, FACES, FACES[0])), "");
});

test("a box drawn twice is there once", () => {
  const once = choices.draw(NOTHING, 0, [], [0.3, 0.8, 0.4, 0.9]);
  const twice = choices.draw(once, 0, [], [0.31, 0.8, 0.41, 0.9]);
  assert.equal(choices.of(twice, 0).also.length, 1);
});

test("a stored box on a face the detector now finds counts as that face", () => {
  const { choice } = choices.parse('{"0": {"only": [], "also": [[0.4, 0.4, 0.6, 0.6]]}}');
  assert.equal(kept(choice), "010");
  assert.equal(choices.write(choices.toggle(choice, 0, FACES, 1)), '{"0":{"only":[]}}');
});

test("text survives reading and writing", () => {
  const text = '{"0":{"only":[[0.1,0.1,0.2,0.2]],"also":[[0.5,0.5,0.6,0.6]]},"12":{"without":[[0,0,1,1]]}}';
  assert.equal(choices.write(choices.parse(text).choice), text);
});

test("what cannot be read says so and takes every face", () => {
  for (const text of ["{", "[]", "3", "null", '{"x": {}}', '{"0": null}']) {
    const { choice, problem } = choices.parse(text);
    assert.equal(problem, "unreadable", text);
    assert.equal(choice.size, 0);
  }
  const { choice } = choices.parse('{"0": {"without": [[1, 2], "x", [0, 0, null, 1], [0.1, 0.1, 0.2, 0.2]]}}');
  assert.equal(kept(choice), "011");
});
