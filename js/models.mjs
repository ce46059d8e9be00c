// What the model menu says of each model; GET /kintsugi/models (nodes/routes.py) is where from.

// A size for people: "349 MB", "1.8 MB", "?" where nobody published it.
export function megabytes(bytes) {
  if (typeof bytes !== "number" || !(bytes >= 0)) return "?";
  const size = bytes / 1e6;
  return `${size >= 10 ? Math.round(size) : Math.round(size * 10) / 10} MB`;
}

const BADGES = { yes: "good", no: "bad", unclear: "warn" };

// Whether a licence may be used commercially, as a colour.
export function badge(model) {
  return BADGES[model?.commercial] ?? "warn";
}

// The models of a menu in its order, "auto" as the model it stands for.
//
// answer: what the server said. values: the menu's names.
// commercialOnly: models that may not certainly be used commercially are marked `refused`.
export function rows(answer, values, commercialOnly) {
  const known = new Map((answer?.models ?? []).map((model) => [model.name, model]));
  return values.map((name) => {
    const stands = name === "auto" ? autoName(answer, values, commercialOnly) : name;
    const model = known.get(stands);
    const refused = Boolean(commercialOnly && model && model.commercial !== "yes");
    return { name, model, refused, auto: name === "auto" };
  });
}

// The model that "auto" stands for in a menu: what the server says, the pack's own, or the first on
// disk.
function autoName(answer, values, commercialOnly) {
  const best = answer?.auto?.[commercialOnly ? "commercial" : "any"] ?? [];
  const said = best.find((name) => values.includes(name));
  if (said) return said;
  const menu = (answer?.models ?? []).filter((model) => values.includes(model.name));
  const there = (state) => menu.find((model) => model.state === state)?.name;
  return there("built in") ?? there("on disk");
}

// How far a download is, 0 to 1, null where its size is not known.
export function share(done, total) {
  if (!(total > 0) || !(done >= 0)) return null;
  return Math.min(1, done / total);
}

// The addresses in a message, for links: pieces {text, href}.
export function linked(message) {
  const pieces = [];
  let from = 0;
  for (const found of message.matchAll(/https?:\/\/[^\s<>"')]+/g)) {
    const href = found[0].replace(/[.,;:]+$/, "");
    if (found.index > from) pieces.push({ text: message.slice(from, found.index), href: "" });
    pieces.push({ text: href, href });
    from = found.index + href.length;
  }
  if (from < message.length) pieces.push({ text: message.slice(from), href: "" });
  return pieces;
}
