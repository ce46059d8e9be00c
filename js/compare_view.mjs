// Before and after under a slider, face by face, with what was measured.

import { button, h, show } from "./dom.mjs?v=0.1.0";
import { readPairs } from "./payload.mjs?v=0.1.0";

const STEPS = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2 };
const PAN = 40; // pixels an arrow key moves a zoomed picture

// Where a meter's value lies between -1 and 1 as a share of its length; below 0 is all the same.
export function meterShare(similarity) {
  return Math.min(1, Math.max(0, similarity));
}

// A split moved by `by`, in percent.
export function moved(split, by) {
  return Math.min(100, Math.max(0, split + by));
}

export class CompareView {
  // urlOf: viewQuery -> address. t: words.
  constructor({ urlOf, t }) {
    Object.assign(this, { urlOf, t });
    this.result = { state: "none", pairs: [], leftOut: 0, report: "" };
    this.index = 0;
    this.split = 50;
    this.zoomed = false;
    this.veiled = false;
    this.pan = [0, 0];
    this.broken = false;
    this.build();
    this.refresh();
  }

  build() {
    const { t } = this;
    const lost = (event) => {
      if (event.target.getAttribute("src")) this.broken = true;
      this.tell();
    };
    const image = (name) =>
      h("img", {
        alt: t(name),
        draggable: "false",
        class: `kintsugi-${name}`,
        onerror: lost,
        onload: () => this.place(),
      });
    this.before = image("before");
    this.after = image("after");
    this.veil = image("overlay");
    this.handle = h("div", {
      class: "kintsugi-handle",
      role: "slider",
      tabindex: "0",
      "aria-label": t("slider"),
      "aria-valuemin": "0",
      "aria-valuemax": "100",
      onkeydown: (event) => this.key(event),
    });
    this.stage = h(
      "div",
      {
        class: "kintsugi-stage kintsugi-compare",
        onpointerdown: (event) => this.down(event),
        onpointermove: (event) => this.move(event),
        onpointerup: (event) => this.up(event),
        onpointercancel: () => this.up(),
        ondblclick: (event) => this.zoom(event),
      },
      this.before,
      this.after,
      this.veil,
      this.handle,
    );
    this.title = h("span", { class: "kintsugi-count" });
    this.back = button("‹", t("previousFace"), () => this.turn(-1));
    this.on = button("›", t("nextFace"), () => this.turn(1));
    this.full = button("100 %", t("zoom"), () => this.zoom(), { "aria-pressed": "false" });
    this.gold = button(t("invented"), t("inventedLong"), () => this.unveil(), {
      "aria-pressed": "false",
      class: "kintsugi-gold",
    });
    this.bar = h("div", { class: "kintsugi-bar" }, this.title, this.back, this.on, this.gold, this.full);
    this.verdict = h("span", { class: "kintsugi-verdict" });
    this.fill = h("span", { class: "kintsugi-fill" });
    this.tick = h("span", { class: "kintsugi-tick" });
    this.meter = h(
      "span",
      { class: "kintsugi-meter", role: "meter", "aria-valuemin": "-1", "aria-valuemax": "1" },
      this.fill,
      this.tick,
    );
    this.score = h("span", { class: "kintsugi-score" });
    this.measured = h("div", { class: "kintsugi-measured" }, this.meter, this.score, this.verdict);
    this.chips = h("ul", { class: "kintsugi-chips", "aria-label": t("findings") });
    this.line = h("div", { class: "kintsugi-line", role: "status", "aria-live": "polite" });
    this.element = h(
      "div",
      { class: "kintsugi" },
      this.bar,
      this.stage,
      this.measured,
      this.chips,
      this.line,
    );
    new ResizeObserver(() => this.place()).observe(this.stage);
  }

  leastHeight() {
    if (!this.result.pairs.length) return 32;
    const { chips, similarity, verdict } = this.pair;
    return 240 + (chips.length ? 24 : 0) + (similarity !== null || verdict ? 34 : 0);
  }

  grows() {
    return this.result.pairs.length > 0;
  }

  get empty() {
    return this.result.state === "none";
  }

  get pair() {
    return this.result.pairs[this.index];
  }

  // Show what a run sent.
  setOutput(output) {
    const result = readPairs(output);
    if (result.state === "none") return;
    this.result = result;
    this.index = Math.min(this.index, Math.max(0, result.pairs.length - 1));
    this.refresh();
    this.changedHeight?.();
  }

  turn(by) {
    const count = this.result.pairs.length;
    this.index = (this.index + by + count) % count;
    this.pan = [0, 0];
    this.refresh();
    this.changedHeight?.();
  }

  refresh() {
    const { pair } = this;
    this.broken = false;
    show(this.bar, Boolean(pair));
    show(this.stage, Boolean(pair));
    show(this.measured, Boolean(pair && (pair.similarity !== null || pair.verdict)));
    show(this.chips, Boolean(pair?.chips.length));
    if (pair) {
      const count = this.result.pairs.length;
      this.title.textContent = count > 1 ? `${pair.title} · ${this.index + 1}/${count}` : pair.title;
      show(this.back, count > 1);
      show(this.on, count > 1);
      show(this.gold, Boolean(pair.overlay));
      show(this.handle, Boolean(pair.after));
      this.load(this.before, pair.before);
      this.load(this.after, pair.after);
      this.load(this.veil, pair.overlay);
      this.measure(pair);
      this.chips.replaceChildren(...pair.chips.map((chip) => h("li", {}, chip)));
    }
    this.place();
    this.tell();
  }

  load(image, query) {
    if (!query) image.removeAttribute("src");
    else if (image.getAttribute("src") !== this.urlOf(query)) {
      image.setAttribute("src", this.urlOf(query));
    }
    show(image, Boolean(query) && (image !== this.veil || this.veiled));
  }

  measure({ similarity, threshold, verdict, level }) {
    const { t } = this;
    this.measured.dataset.level = level;
    show(this.meter, similarity !== null);
    show(this.score, similarity !== null);
    this.verdict.textContent = this.verdict.title = verdict;
    if (similarity === null) return;
    this.fill.style.width = `${100 * meterShare(similarity)}%`;
    show(this.tick, threshold !== null);
    if (threshold !== null) this.tick.style.left = `${100 * meterShare(threshold)}%`;
    this.score.textContent = similarity.toFixed(2);
    this.meter.setAttribute("aria-valuenow", similarity);
    this.meter.setAttribute("aria-label", t("similarity"));
    const held = threshold === null ? "" : ` ${t("threshold", { value: threshold.toFixed(2) })}`;
    this.meter.setAttribute("aria-valuetext", `${similarity.toFixed(2)}${held}`);
    this.meter.title = `${t("similarity")} ${similarity.toFixed(2)}${held}`;
  }

  // The split and the zoom, in styles.
  place() {
    const { stage, split } = this;
    stage.classList.toggle("kintsugi-zoomed", this.zoomed);
    this.full.setAttribute("aria-pressed", String(this.zoomed));
    this.gold.setAttribute("aria-pressed", String(this.veiled));
    stage.style.setProperty("--kintsugi-split", `${split}%`);
    this.handle.setAttribute("aria-valuenow", String(Math.round(split)));
    this.handle.setAttribute("aria-valuetext", this.t("splitAt", { percent: Math.round(split) }));
    // All three pictures take the size of the one after, or an upscaled result would not lie on it.
    const natural = this.pair?.after ? this.after : this.before;
    const [width, height] = [natural.naturalWidth || 512, natural.naturalHeight || 512];
    stage.style.setProperty("--kintsugi-width", `${width}px`);
    stage.style.setProperty("--kintsugi-height", `${height}px`);
    const room = [Math.max(0, width - stage.clientWidth) / 2, Math.max(0, height - stage.clientHeight) / 2];
    this.pan = this.pan.map((value, axis) => Math.min(room[axis], Math.max(-room[axis], value)));
    stage.style.setProperty("--kintsugi-x", `${this.pan[0]}px`);
    stage.style.setProperty("--kintsugi-y", `${this.pan[1]}px`);
  }

  tell() {
    const { t, pair, result } = this;
    let say = result.report;
    if (result.state === "other") say = t("otherVersion");
    else if (result.state === "none") say = t("runToCompare");
    else if (!pair) say = result.report || t("nothingToCompare");
    else if (pair.error) say = t("notSaved", { error: pair.error });
    else if (this.broken) say = t("gone");
    if (pair && result.leftOut) say += ` ${t("moreFaces", { count: result.leftOut })}`;
    this.line.textContent = say;
    this.line.title = say;
    show(this.line, Boolean(say));
  }

  zoom(event) {
    event?.preventDefault?.();
    this.zoomed = !this.zoomed;
    this.place();
  }

  unveil() {
    this.veiled = !this.veiled;
    show(this.veil, this.veiled && Boolean(this.pair?.overlay));
    this.place();
  }

  // Page pixels to the element's own: the canvas scales what it shows.
  scale() {
    return this.stage.getBoundingClientRect().width / (this.stage.clientWidth || 1) || 1;
  }

  down(event) {
    if (event.button !== 0 || !this.pair) return;
    event.stopPropagation();
    event.preventDefault();
    this.handle.focus({ preventScroll: true });
    this.stage.setPointerCapture(event.pointerId);
    const grip = event.target === this.handle;
    this.drag = { pans: this.zoomed && !grip, x: event.clientX, y: event.clientY, pan: this.pan };
    if (!this.drag.pans) this.slideTo(event);
  }

  move(event) {
    if (!this.drag) return;
    event.stopPropagation();
    if (!this.drag.pans) this.slideTo(event);
    else {
      const scale = this.scale();
      const by = [event.clientX - this.drag.x, event.clientY - this.drag.y];
      this.pan = this.drag.pan.map((value, axis) => value + by[axis] / scale);
      this.place();
    }
  }

  up(event) {
    event?.stopPropagation();
    this.drag = null;
  }

  slideTo(event) {
    const rect = this.stage.getBoundingClientRect();
    this.split = moved(0, (100 * (event.clientX - rect.left)) / (rect.width || 1));
    this.place();
  }

  key(event) {
    if (!this.pair || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = STEPS[event.key];
    if (step && event.shiftKey && this.zoomed) {
      const axis = event.key === "ArrowLeft" || event.key === "ArrowRight" ? 0 : 1;
      const way = event.key === "ArrowLeft" || event.key === "ArrowUp" ? 1 : -1;
      this.pan = this.pan.map((value, index) => value + (index === axis ? way * PAN : 0));
    } else if (step) this.split = moved(this.split, step * (event.shiftKey ? 5 : 1));
    else if (event.key === "Home") this.split = 0;
    else if (event.key === "End") this.split = 100;
    else if (event.key === "PageDown" && this.result.pairs.length > 1) this.turn(1);
    else if (event.key === "PageUp" && this.result.pairs.length > 1) this.turn(-1);
    else if (event.key === "z") this.zoomed = !this.zoomed;
    else if (event.key === "i" && this.pair.overlay) this.unveil();
    else return;
    event.preventDefault();
    event.stopPropagation();
    this.place();
  }
}
