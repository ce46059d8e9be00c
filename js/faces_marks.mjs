// The drawn faces: an SVG group each, in pixels of the picture, sized for the screen.

import { svg } from "./dom.mjs?v=0.1.0";

const TEXT = 11; // pixels on the screen
const NUMBERED = 11; // side on the screen from which a face carries its number
const POINTED = 22; // its points
const TOLD = 66; // its size and confidence

// A face as a checkbox: its frame, points and label, which `layOut` fills.
//
// picture: {width, height}. box, points: shares of it.
export function faceMark(picture, { index, box, taken, points, kind, label, focused }) {
  const dots = points.map(([x, y]) =>
    svg("circle", { class: "kintsugi-point", cx: x * picture.width, cy: y * picture.height, r: 1 }),
  );
  const frame = svg("rect");
  place(frame, box, picture);
  return svg(
    "g",
    {
      role: "checkbox",
      "aria-checked": String(taken),
      "aria-label": label,
      class: `kintsugi-face kintsugi-${kind}`,
      tabindex: focused ? "0" : "-1",
      "data-index": index,
    },
    frame,
    ...dots,
    svg("text", { class: "kintsugi-tag", x: box[0] * picture.width }),
  );
}

// Put a rectangle where a box is.
export function place(rect, box, { width, height }) {
  rect.setAttribute("x", box[0] * width);
  rect.setAttribute("y", box[1] * height);
  rect.setAttribute("width", (box[2] - box[0]) * width);
  rect.setAttribute("height", (box[3] - box[1]) * height);
}

// Sizes that must not grow with the picture: text, points, and which labels there is room for.
//
// found: the faces in the order of their marks; marks beyond them are drawn by hand. scale: pixels
// of the screen per pixel of the picture.
export function layOut(marks, found, scale) {
  const size = TEXT / scale;
  marks.style.setProperty("--kintsugi-text", `${size}px`);
  for (const mark of marks.querySelectorAll(".kintsugi-face")) {
    const face = found[Number(mark.dataset.index)];
    const frame = mark.querySelector("rect");
    const [top, side] = [frame.y.baseVal.value, frame.width.baseVal.value * scale];
    const number = face ? String(face.number) : "+";
    const told = face && side >= TOLD;
    const rest = told ? ` · ${face.size} px · ${Math.round(face.score * 100)} %` : "";
    const text = mark.querySelector("text");
    text.textContent = side >= NUMBERED ? number + rest : "";
    const above = top - size * 0.35;
    text.setAttribute("y", above > size ? above : top + size * 1.1);
    for (const point of mark.querySelectorAll("circle")) {
      point.setAttribute("r", (side >= POINTED ? 1.8 : 0) / scale);
    }
  }
}
