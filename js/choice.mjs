// Which faces are picked: the text of the widget `chosen`, as stages/chosen.py reads it.
//
// A choice maps the number of a picture to {only, without, also}: lists of boxes, `only` null where
// the picture is not limited to some. Functions return a new choice and leave the old one alone.

import { matches, overlap, SAME } from "./boxes.mjs?v=0.1.0";

const ALL = Object.freeze({ only: null, without: [], also: [] });

function isBox(box) {
  return Array.isArray(box) && box.length === 4 && box.every(Number.isFinite);
}

function boxes(value) {
  return Array.isArray(value) ? value.filter(isBox) : [];
}

// The choice of a text; what cannot be read counts as nothing picked and is said in `problem`.
export function parse(text) {
  const choice = new Map();
  if (typeof text !== "string" || !text.trim()) return { choice, problem: "" };
  try {
    const entries = JSON.parse(text);
    if (entries === null || typeof entries !== "object" || Array.isArray(entries)) throw 0;
    for (const [name, entry] of Object.entries(entries)) {
      if (!/^\d{1,9}$/.test(name) || entry === null || typeof entry !== "object") throw 0;
      choice.set(Number(name), {
        only: "only" in entry ? boxes(entry.only) : null,
        without: boxes(entry.without),
        also: boxes(entry.also),
      });
    }
    return { choice, problem: "" };
  } catch {
    return { choice: new Map(), problem: "unreadable" };
  }
}

function short(list) {
  return list.map((box) => box.map((value) => Math.round(value * 1e4) / 1e4));
}

// The text of a choice: empty when every face of every picture is taken.
export function write(choice) {
  const entries = {};
  for (const [number, { only, without, also }] of [...choice].sort((a, b) => a[0] - b[0])) {
    const entry = {};
    if (only !== null) entry.only = short(only);
    if (without.length) entry.without = short(without);
    if (also.length) entry.also = short(also);
    if (Object.keys(entry).length) entries[number] = entry;
  }
  return Object.keys(entries).length ? JSON.stringify(entries) : "";
}

export function of(choice, picture) {
  return choice.get(picture) ?? ALL;
}

function changed(choice, picture, change) {
  return new Map(choice).set(picture, { ...of(choice, picture), ...change });
}

// Whether each face of a picture is taken. faces: their boxes.
export function kept(choice, picture, faces) {
  const { only, without, also } = of(choice, picture);
  const named = new Set(matches(faces, only ?? without).map(([face]) => face));
  return faces.map((box, index) => {
    const drawn = also.some((other) => overlap(box, other) >= SAME);
    return drawn || named.has(index) === (only !== null);
  });
}

// Take face `index` of a picture, or leave it out if it is taken.
export function toggle(choice, picture, faces, index) {
  const state = of(choice, picture);
  const key = state.only !== null ? "only" : "without";
  const list = state[key];
  const taken = kept(choice, picture, faces)[index];
  const pair = matches(faces, list).find(([face]) => face === index);
  const also = taken
    ? state.also.filter((box) => overlap(box, faces[index]) < SAME)
    : state.also;
  const named = pair !== undefined;
  const wanted = (key === "only") !== taken;
  let next = list;
  if (named && !wanted) next = list.filter((_, place) => place !== pair[1]);
  if (!named && wanted) next = [...list, faces[index]];
  return changed(choice, picture, { [key]: next, also });
}

// Every face of a picture, drawn ones included.
export function takeAll(choice, picture) {
  return changed(choice, picture, { only: null, without: [] });
}

// No face of a picture, drawn ones neither.
export function takeNone(choice, picture) {
  return changed(choice, picture, { only: [], without: [], also: [] });
}

// A box the detector missed; over a face that is there already that face is taken instead.
export function draw(choice, picture, faces, box) {
  const fits = faces.map((face) => overlap(face, box));
  const best = fits.indexOf(Math.max(...fits, 0));
  if (faces.length && fits[best] >= SAME) {
    return kept(choice, picture, faces)[best] ? choice : toggle(choice, picture, faces, best);
  }
  const { also } = of(choice, picture);
  const others = also.filter((other) => overlap(other, box) < SAME);
  return changed(choice, picture, { also: [...others, box] });
}

// Take a drawn box away.
export function erase(choice, picture, index) {
  const { also } = of(choice, picture);
  return changed(choice, picture, { also: also.filter((_, place) => place !== index) });
}
