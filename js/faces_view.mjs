// FaceDetect's picture: its faces drawn, picked by click, missed ones drawn by hand.

import { between, fit, hit, overlap, SAME, toShare } from "./boxes.mjs?v=0.1.0";
import * as choices from "./choice.mjs?v=0.1.0";
import { button, h, show, svg } from "./dom.mjs?v=0.1.0";
import { drawKey, walkKey } from "./faces_keys.mjs?v=0.1.0";
import { faceMark, layOut, place } from "./faces_marks.mjs?v=0.1.0";
import { says } from "./faces_says.mjs?v=0.1.0";
import { readFaces } from "./payload.mjs?v=0.1.0";

const DRAG = 5; // pixels a pointer may tremble within a click
const LEAST = 0.004; // shares of the picture below which a drawn box is a slip

export class FacesView {
  // urlOf: viewQuery -> address. read, write: the text of the widget `chosen`. t: words.
  constructor({ urlOf, read, write, t }) {
    Object.assign(this, { urlOf, read, write, t });
    this.result = { state: "none", pictures: [], leftOut: 0 };
    this.picture = 0;
    this.focus = 0; // face with the tab stop
    this.pencil = null; // box being drawn
    this.broken = false;
    this.build();
    this.refresh();
  }

  build() {
    const { t } = this;
    this.image = h("img", { alt: "", draggable: "false", onerror: () => this.lost() });
    this.marks = svg("svg", {
      class: "kintsugi-marks",
      role: "group",
      tabindex: "-1",
      onpointerdown: (event) => this.down(event),
      onpointermove: (event) => this.move(event),
      onpointerup: (event) => this.up(event),
      onpointercancel: () => this.drop(),
      onpointerleave: () => this.tell(),
      onclick: (event) => this.pressed(event),
      onkeydown: (event) => this.key(event),
      onfocusin: (event) => this.focused(event),
    });
    this.stage = h("div", { class: "kintsugi-stage kintsugi-pick" }, this.image, this.marks);
    this.all = button(t("all"), t("takeAll"), () => this.store(choices.takeAll));
    this.none = button(t("none"), t("takeNone"), () => this.store(choices.takeNone));
    this.back = button("‹", t("previousPicture"), () => this.turn(-1));
    this.on = button("›", t("nextPicture"), () => this.turn(1));
    this.page = h("span", { class: "kintsugi-page" });
    this.count = h("span", { class: "kintsugi-count" });
    this.bar = h(
      "div",
      { class: "kintsugi-bar" },
      this.count,
      this.back,
      this.page,
      this.on,
      this.all,
      this.none,
    );
    this.line = h("div", { class: "kintsugi-line", role: "status", "aria-live": "polite" });
    this.element = h("div", { class: "kintsugi kintsugi-faces" }, this.bar, this.stage, this.line);
    new ResizeObserver(() => this.layout()).observe(this.stage);
  }

  leastHeight() {
    return this.result.pictures.length ? 240 : 36;
  }

  grows() {
    return this.result.pictures.length > 0;
  }

  get empty() {
    return this.result.state === "none";
  }

  // Show what a run sent.
  setOutput(output) {
    const result = readFaces(output);
    if (result.state === "none") return;
    this.result = result;
    this.picture = Math.min(this.picture, Math.max(0, result.pictures.length - 1));
    this.broken = false;
    this.refresh();
    this.changedHeight?.();
  }

  get now() {
    return this.result.pictures[this.picture];
  }

  get found() {
    return this.now ? this.now.faces.filter((face) => !face.drawn) : [];
  }

  get boxes() {
    return this.found.map((face) => face.box);
  }

  store(change, ...more) {
    if (!this.now) return;
    const { choice } = choices.parse(this.read());
    this.write(choices.write(change(choice, this.picture, ...more)));
    this.refresh();
  }

  turn(by) {
    const count = this.result.pictures.length;
    this.picture = (this.picture + by + count) % count;
    this.focus = 0;
    this.broken = false;
    this.refresh();
  }

  lost() {
    if (!this.image.getAttribute("src")) return;
    this.broken = true;
    this.tell();
  }

  // Draw everything anew; the faces of a picture change seldom, and 400 boxes are quick.
  refresh() {
    const { t, now } = this;
    const { choice, problem } = choices.parse(this.read());
    this.problem = problem;
    show(this.stage, Boolean(now));
    show(this.bar, Boolean(now));
    for (const part of [this.back, this.page, this.on]) {
      show(part, this.result.pictures.length > 1);
    }
    if (!now) {
      this.marks.replaceChildren();
      this.image.removeAttribute("src");
      this.tell();
      return;
    }
    this.kept = choices.kept(choice, this.picture, this.boxes);
    this.also = choices
      .of(choice, this.picture)
      .also.filter((box) => !this.boxes.some((face) => overlap(face, box) >= SAME));
    const address = this.urlOf(now.query);
    if (!now.query) this.image.removeAttribute("src"); // could not be saved: no other stays
    else if (this.image.getAttribute("src") !== address) this.image.setAttribute("src", address);
    const shown = this.found.length + this.also.length;
    const taken = this.kept.filter(Boolean).length + this.also.length;
    this.count.textContent = t("countOf", { taken, shown });
    this.page.textContent = `${this.picture + 1}/${this.result.pictures.length}`;
    this.marks.setAttribute("viewBox", `0 0 ${now.width} ${now.height}`);
    this.marks.setAttribute("aria-label", t("facesOf", { shown, page: this.picture + 1 }));
    this.marks.setAttribute("tabindex", shown ? "-1" : "0");
    const focused = this.marks.contains(document.activeElement);
    this.focus = Math.min(this.focus, Math.max(0, shown - 1));
    this.marks.replaceChildren(...this.drawing());
    if (focused) this.mark(this.focus)?.focus({ preventScroll: true });
    this.layout();
    this.tell();
  }

  drawing() {
    const faces = this.found.map((face, index) =>
      this.markOf(index, face.box, this.kept[index], face, "found"),
    );
    const drawn = this.also.map((box, index) => {
      const seen = this.now.faces.find((face) => face.drawn && overlap(face.box, box) >= SAME);
      return this.markOf(this.found.length + index, box, true, seen, "drawn");
    });
    this.outline = svg("rect", { class: "kintsugi-pencil", visibility: "hidden" });
    return [...faces, ...drawn, this.outline];
  }

  markOf(index, box, taken, face, kind) {
    const points = face?.points ?? [];
    const [label, focused] = [this.label(index), index === this.focus];
    return faceMark(this.now, { index, box, taken, points, kind, label, focused });
  }

  mark(index) {
    return this.marks.querySelector(`[data-index="${index}"]`);
  }

  // A face in words: number, size, confidence, taken or not.
  label(index) {
    const { t } = this;
    const face = this.found[index];
    if (!face) return t("drawnLabel", { number: index - this.found.length });
    const values = { number: face.number, size: face.size, percent: Math.round(face.score * 100) };
    return `${t("faceLabel", values)}, ${t(this.kept[index] ? "taken" : "leftOut")}`;
  }

  // Sizes that must not grow with the picture: text, points, and which labels there is room for.
  layout() {
    const { now } = this;
    if (!now) return;
    const { clientWidth: width, clientHeight: height } = this.stage;
    const { scale } = fit({ left: 0, top: 0, width, height }, now.width, now.height);
    if (!scale) return;
    layOut(this.marks, this.found, scale);
  }

  // One line below the picture: the face under the pointer, else how things stand.
  tell(index = -1) {
    const { t, now } = this;
    const differs = Boolean(now) && this.differs();
    const standing = { ...this, now, differs, chosen: Boolean(this.read()) };
    const say = index >= 0 ? this.label(index) : says(t, standing);
    if (this.line.textContent !== say) this.line.textContent = this.line.title = say;
  }

  // Whether the choice is another than the one the last run was made with.
  differs() {
    const drawn = this.now.faces.filter((face) => face.drawn);
    if (drawn.length !== this.also.length) return true;
    return this.found.some((face, index) => face.kept !== this.kept[index]);
  }

  rect() {
    return fit(this.marks.getBoundingClientRect(), this.now.width, this.now.height);
  }

  at(event) {
    return toShare(this.rect(), event.clientX, event.clientY);
  }

  under(event) {
    const rect = this.rect();
    const slack = [8 / rect.width, 8 / rect.height];
    return hit([...this.boxes, ...this.also], this.at(event), slack);
  }

  down(event) {
    if (event.button !== 0 || !this.now) return;
    event.stopPropagation();
    this.marks.setPointerCapture(event.pointerId);
    this.start = { x: event.clientX, y: event.clientY, at: this.at(event), dragged: false };
  }

  move(event) {
    if (!this.now) return;
    if (!this.start) {
      this.tell(this.under(event));
      return;
    }
    event.stopPropagation();
    const far = Math.hypot(event.clientX - this.start.x, event.clientY - this.start.y);
    if (far > DRAG) this.start.dragged = true;
    if (this.start.dragged) this.sketch(between(this.start.at, this.at(event)));
  }

  up(event) {
    if (!this.start) return;
    event.stopPropagation();
    const { dragged, at } = this.start;
    this.handled = true; // the click that follows
    this.drop();
    if (dragged) this.add(between(at, this.at(event)));
    else this.press(this.under(event));
  }

  // A click that no pointer made: a screen reader's.
  pressed(event) {
    event.stopPropagation();
    const mark = event.target.closest?.("[data-index]");
    if (!this.handled && mark) this.press(Number(mark.dataset.index));
    this.handled = false;
  }

  drop() {
    this.start = null;
    this.pencil = null;
    this.outline?.setAttribute("visibility", "hidden");
  }

  press(index) {
    if (index < 0) return;
    this.focus = index;
    if (index < this.found.length) this.store(choices.toggle, this.boxes, index);
    else this.eraseDrawn(index - this.found.length);
    this.tell(index < this.found.length ? index : -1);
  }

  eraseDrawn(index) {
    const { choice } = choices.parse(this.read());
    const number = choices
      .of(choice, this.picture)
      .also.findIndex((box) => box.every((value, axis) => value === this.also[index][axis]));
    if (number >= 0) this.store(choices.erase, number);
  }

  add(box) {
    const slip = box[2] - box[0] < LEAST || box[3] - box[1] < LEAST;
    if (!slip) this.store(choices.draw, this.boxes, box);
  }

  sketch(box) {
    this.pencil = box;
    place(this.outline, box, this.now);
    this.outline.setAttribute("visibility", "visible");
  }

  focused(event) {
    const mark = event.target.closest?.("[data-index]");
    if (!mark) return;
    this.focus = Number(mark.dataset.index);
    for (const other of this.marks.querySelectorAll("[data-index]")) {
      other.setAttribute("tabindex", other === mark ? "0" : "-1");
    }
    this.tell(this.focus);
  }

  key(event) {
    if (!this.now || event.ctrlKey || event.metaKey || event.altKey) return;
    if (this.pencil ? drawKey(this, event) : walkKey(this, event)) {
      event.preventDefault();
      event.stopPropagation();
    }
  }
}
