import assert from "node:assert/strict";
import test from "node:test";
import { LANGUAGES } from "../../js/languages.mjs";
import { ENGLISH, speaker, tableOf } from "../../js/words.mjs";

function values(text) {
  return [...text.matchAll(/\{(\w+)\}/g)].map((found) => found[1]).sort();
}

test("the languages are those of the locales", () => {
  assert.deepEqual(Object.keys(LANGUAGES).sort(), ["de", "es", "fr", "ja", "ko", "ru", "zh"]);
});

for (const [language, table] of Object.entries(LANGUAGES)) {
  test(`${language} says everything English says, with the same values`, () => {
    assert.deepEqual(Object.keys(table).sort(), Object.keys(ENGLISH).sort());
    for (const [name, text] of Object.entries(ENGLISH)) {
      assert.deepEqual(values(table[name]), values(text), `${language} ${name}`);
    }
  });
}

test("values are put in and unknown words come back as they are", () => {
  const t = speaker(() => "en");
  assert.equal(t("countOf", { taken: 2, shown: 5 }), "2 of 5 faces");
  assert.equal(t("commercial yes"), "commercial use");
  assert.equal(t("no such word"), "no such word");
});

test("a locale finds its language", () => {
  assert.deepEqual(tableOf("de-AT"), LANGUAGES.de);
  assert.deepEqual(tableOf("zh-TW"), LANGUAGES.zh);
  assert.equal(tableOf(undefined), ENGLISH);
  assert.equal(tableOf("xx"), ENGLISH);
});
