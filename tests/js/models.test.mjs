import assert from "node:assert/strict";
import test from "node:test";
import { badge, linked, megabytes, rows, share } from "../../js/models.mjs";

const ANSWER = {
  models: [
    { name: "own", state: "built in", commercial: "yes" },
    { name: "big", state: "on disk", commercial: "no" },
    { name: "find", state: "built in", commercial: "yes" },
    { name: "known", state: "built in", commercial: "yes" },
    { name: "knows more", state: "on disk", commercial: "no" },
  ],
  auto: { any: ["big", "knows more"], commercial: ["own", "known"] },
};

test("sizes are those of the command line's table", () => {
  assert.deepEqual([348632874, 1789735, 0, null].map(megabytes), ["349 MB", "1.8 MB", "0 MB", "?"]);
});

test("auto is what it stands for, with and without the licence filter", () => {
  const names = ["auto", "own", "big"];
  assert.equal(rows(ANSWER, names, false)[0].model.name, "big");
  assert.equal(rows(ANSWER, names, true)[0].model.name, "own");
  const embedders = ["auto", "known", "knows more"];
  assert.equal(rows(ANSWER, embedders, false)[0].model.name, "knows more");
  assert.equal(rows(ANSWER, embedders, true)[0].model.name, "known");
  assert.equal(rows(ANSWER, ["auto", "find"], false)[0].model.name, "find");
  assert.equal(rows({ models: ANSWER.models }, ["auto", "big"], false)[0].model.name, "big");
  assert.equal(rows(ANSWER, ["auto", "no such"], false)[0].model, undefined);
  assert.equal(rows(null, names, false)[0].model, undefined);
});

test("commercial use only refuses what is not cleared", () => {
  const refused = rows(ANSWER, ["own", "big"], true).map((row) => row.refused);
  assert.deepEqual(refused, [false, true]);
  assert.deepEqual([badge(ANSWER.models[0]), badge(ANSWER.models[1]), badge({})], ["good", "bad", "warn"]);
});

test("a download's share is known when its size is", () => {
  assert.deepEqual([share(5, 10), share(20, 10), share(5, 0), share(NaN, 10)], [0.5, 1, null, null]);
});

test("addresses in a message become links", () => {
  const pieces = linked("Get https://a.b/c.pth (or from https://d.e/f). Put it there");
  assert.deepEqual(pieces.map(({ href }) => href), ["", "https://a.b/c.pth", "", "https://d.e/f", ""]);
  assert.equal(pieces.map(({ text }) => text).join(""), "Get https://a.b/c.pth (or from https://d.e/f). Put it there");
  assert.deepEqual(linked(""), []);
});
