// What a node sent after a run, checked: nothing in here is trusted to be as nodes/ui.py writes it,
// because a workflow may show the result of an older or newer version.

const VERSION = 1;

function isNumber(value, low = -Infinity, high = Infinity) {
  return typeof value === "number" && value >= low && value <= high;
}

function numbers(value, length) {
  return Array.isArray(value) && value.length === length && value.every((v) => isNumber(v));
}

function text(value) {
  return typeof value === "string" ? value : "";
}

function message(output, key) {
  if (!output || !(key in output)) return { state: "none" };
  // More than one where ComfyUI ran the node once for each picture of a list.
  const values = Array.isArray(output[key]) ? output[key] : [];
  const known = values.every((value) => value && typeof value === "object" && value.version === VERSION);
  if (!values.length || !known) return { state: "other" };
  return { state: "ok", value: values[0], values };
}

// The address parameters of a file on the server: "" if it is none.
export function viewQuery(file) {
  if (!file || typeof file.filename !== "string" || !file.filename) return "";
  const query = new URLSearchParams({
    filename: file.filename,
    subfolder: text(file.subfolder),
    type: text(file.type) || "temp",
  });
  return query.toString();
}

function face(entry, index) {
  if (!entry || !numbers(entry.box, 4)) return null;
  const points = Array.isArray(entry.points) ? entry.points.filter((p) => numbers(p, 2)) : [];
  return {
    number: isNumber(entry.number, 0) ? entry.number : index,
    box: entry.box,
    points,
    size: isNumber(entry.size, 0) ? Math.round(entry.size) : 0,
    score: isNumber(entry.score, 0, 1) ? entry.score : 0,
    kept: entry.kept !== false,
    drawn: entry.drawn === true,
  };
}

// FaceDetect's output. state: "ok", "none" (it sent nothing) or "other" (another version).
export function readFaces(output) {
  const { state, value } = message(output, "kintsugi_faces");
  if (state !== "ok" || !Array.isArray(value.pictures)) {
    return { state: state === "ok" ? "other" : state, pictures: [], leftOut: 0 };
  }
  const pictures = value.pictures
    .filter((p) => p && isNumber(p.width, 1) && isNumber(p.height, 1))
    .map((p) => ({
      query: viewQuery(p.file),
      error: text(p.file?.error),
      width: p.width,
      height: p.height,
      faces: (Array.isArray(p.faces) ? p.faces : []).map(face).filter(Boolean),
      leftOut: isNumber(p.faces_left_out, 0) ? p.faces_left_out : 0,
    }));
  return { state, pictures, leftOut: isNumber(value.left_out, 0) ? value.left_out : 0 };
}

function pair(entry) {
  if (!entry || typeof entry !== "object") return null;
  const level = ["good", "warn", "bad"].includes(entry.level) ? entry.level : "";
  return {
    title: text(entry.title),
    before: viewQuery(entry.before),
    after: viewQuery(entry.after),
    overlay: viewQuery(entry.overlay),
    error: text(entry.before?.error) || text(entry.after?.error),
    chips: (Array.isArray(entry.chips) ? entry.chips : []).map(text).filter(Boolean),
    similarity: isNumber(entry.similarity, -1, 1) ? entry.similarity : null,
    threshold: isNumber(entry.threshold, -1, 1) ? entry.threshold : null,
    verdict: text(entry.verdict),
    level,
  };
}

// The output of a node that changes faces; states as above.
export function readPairs(output) {
  const { state, values } = message(output, "kintsugi_compare");
  if (state !== "ok" || !values.every((value) => Array.isArray(value.pairs))) {
    return { state: state === "ok" ? "other" : state, pairs: [], leftOut: 0, report: "" };
  }
  const left = values.map((value) => (isNumber(value.left_out, 0) ? value.left_out : 0));
  return {
    state,
    pairs: values.flatMap((value) => value.pairs.map(pair).filter(Boolean)),
    leftOut: left.reduce((sum, one) => sum + one, 0),
    report: values.map((value) => text(value.report)).filter(Boolean).join("; "),
  };
}
