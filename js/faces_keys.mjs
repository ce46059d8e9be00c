// The keys of FaceDetect's picture. Each function says whether the key was meant for it.

import { nudge } from "./boxes.mjs?v=0.1.0";
import { takeAll, takeNone } from "./choice.mjs?v=0.1.0";

const STEP = 0.01; // shares of the picture that a key press moves a box by
const NEW = [0.4, 0.4, 0.6, 0.6]; // box that D begins with

// Arrows walk from face to face, others take, leave and erase.
export function walkKey(view, { key }) {
  const count = view.found.length + view.also.length;
  const pages = view.result.pictures.length;
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[key];
  const go = (index) => view.mark(index)?.focus({ preventScroll: true });
  if (step && count) go((view.focus + step + count) % count);
  else if (key === "Home") go(0);
  else if (key === "End") go(count - 1);
  else if (key === " " || key === "Enter") view.press(count ? view.focus : -1);
  else if (key === "Delete" || key === "Backspace") {
    if (view.focus >= view.found.length) view.eraseDrawn(view.focus - view.found.length);
  } else if (key === "a") view.store(takeAll);
  else if (key === "n") view.store(takeNone);
  else if (key === "d") {
    view.sketch(NEW);
    view.line.textContent = view.t("drawing");
  } else if (key === "PageDown" && pages > 1) view.turn(1);
  else if (key === "PageUp" && pages > 1) view.turn(-1);
  else return false;
  return true;
}

// While a box is drawn: arrows move it and, with shift, size it.
export function drawKey(view, { key, shiftKey }) {
  const ways = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
  const way = ways[key];
  if (way) view.sketch(nudge(view.pencil, way[0] * STEP, way[1] * STEP, shiftKey));
  else if (key === "Enter" || key === " ") {
    const box = view.pencil;
    view.drop();
    view.add(box);
  } else if (key === "Escape") {
    view.drop();
    view.tell();
  } else return key !== "Tab";
  return true;
}
