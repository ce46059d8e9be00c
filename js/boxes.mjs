// Boxes as shares of a picture: [x0, y0, x1, y1], 0 to 1 from its top-left corner.

// Overlap from which a stored box and a face are the same one; stages/chosen.py has the same.
export const SAME = 0.3;

// Intersection over union of two boxes; 0 if one has no area.
export function overlap(a, b) {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (width <= 0 || height <= 0) return 0;
  return (width * height) / (area(a) + area(b) - width * height);
}

export function area(box) {
  return Math.max(0, box[2] - box[0]) * Math.max(0, box[3] - box[1]);
}

// Which boxes mean which: pairs of indices [a, b], the best fits first, each index at most once.
export function matches(as, bs) {
  const fits = [];
  as.forEach((a, i) =>
    bs.forEach((b, j) => {
      const fit = overlap(a, b);
      if (fit >= SAME) fits.push([fit, i, j]);
    }),
  );
  fits.sort((x, y) => y[0] - x[0] || x[1] - y[1] || x[2] - y[2]);
  const usedA = new Set();
  const usedB = new Set();
  const pairs = [];
  for (const [, i, j] of fits) {
    if (usedA.has(i) || usedB.has(j)) continue;
    usedA.add(i);
    usedB.add(j);
    pairs.push([i, j]);
  }
  return pairs;
}

// The box between two corners in any order, cut to the picture.
export function between(a, b) {
  const clip = (value) => Math.min(1, Math.max(0, value));
  const [x0, x1] = [a[0], b[0]].map(clip).sort((p, q) => p - q);
  const [y0, y1] = [a[1], b[1]].map(clip).sort((p, q) => p - q);
  return [x0, y0, x1, y1];
}

// A box moved, or with `grow` its lower right corner moved, and kept inside the picture.
export function nudge(box, dx, dy, grow) {
  if (grow) {
    return between([box[0], box[1]], [
      Math.max(box[0] + 0.01, box[2] + dx),
      Math.max(box[1] + 0.01, box[3] + dy),
    ]);
  }
  const x = Math.min(1 - box[2], Math.max(-box[0], dx));
  const y = Math.min(1 - box[3], Math.max(-box[1], dy));
  return [box[0] + x, box[1] + y, box[2] + x, box[3] + y];
}

// The index of the box that a point means: the smallest that holds it, else the nearest one whose
// edge is at most `slack` = [x, y] away; -1 for none.
export function hit(boxes, point, slack = [0, 0]) {
  let best = -1;
  let least = Infinity;
  for (const [outside, reach] of [[0, [0, 0]], [1, slack]]) {
    boxes.forEach((box, index) => {
      const dx = Math.max(box[0] - point[0], 0, point[0] - box[2]);
      const dy = Math.max(box[1] - point[1], 0, point[1] - box[3]);
      if (dx > reach[0] || dy > reach[1]) return;
      const cost = outside ? dx + dy : area(box);
      if (cost < least) [least, best] = [cost, index];
    });
    if (best >= 0) return best;
  }
  return best;
}

// Where a picture of `width` by `height` lies when it is shown whole and centred in `place`.
// place: {left, top, width, height}, as getBoundingClientRect gives it.
export function fit(place, width, height) {
  const scale = Math.min(place.width / width, place.height / height) || 0;
  const size = [width * scale, height * scale];
  return {
    left: place.left + (place.width - size[0]) / 2,
    top: place.top + (place.height - size[1]) / 2,
    width: size[0],
    height: size[1],
    scale,
  };
}

// A point of the page as a share of the picture in `rect`; may lie outside 0 to 1.
export function toShare(rect, x, y) {
  return [(x - rect.left) / (rect.width || 1), (y - rect.top) / (rect.height || 1)];
}
