// The line below a model menu: what the chosen model is, whether it must be fetched and may be used
// commercially; a list of all; a download as it goes; a failed one with what to do.

import { button, h, show } from "./dom.mjs?v=0.1.0";
import { badge, linked, megabytes, rows, share } from "./models.mjs?v=0.1.0";

export class ModelsView {
  // fetchModels: () -> promise of GET /kintsugi/models. menu: {values(), get(), set(name)}.
  // commercialOnly: () -> boolean. t: words.
  constructor({ fetchModels, menu, commercialOnly, t }) {
    Object.assign(this, { fetchModels, menu, commercialOnly, t });
    this.answer = null;
    this.failed = "";
    this.progress = null;
    this.silent = false;
    this.build();
    this.refresh();
  }

  build() {
    const { t } = this;
    this.dot = h("span", { class: "kintsugi-dot" });
    this.words = h("span", { class: "kintsugi-about" });
    this.licence = h("span", { class: "kintsugi-badge" });
    this.opener = button("≡", t("allModels"), () => this.open(), { "aria-haspopup": "listbox" });
    const bar = h("div", { class: "kintsugi-bar" }, this.dot, this.words, this.licence, this.opener);
    this.fill = h("span", { class: "kintsugi-fill" });
    this.meter = h(
      "span",
      { class: "kintsugi-meter", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" },
      this.fill,
    );
    this.arrived = h("span", { class: "kintsugi-score" });
    this.loading = h("div", { class: "kintsugi-measured" }, this.meter, this.arrived);
    this.trouble = h("div", { class: "kintsugi-trouble", role: "alert" });
    this.list = h("div", {
      class: "kintsugi kintsugi-list",
      popover: "auto",
      role: "listbox",
      "aria-label": t("allModels"),
      onkeydown: (event) => this.key(event),
      onpointerdown: (event) => event.stopPropagation(),
      onwheel: (event) => event.stopPropagation(),
    });
    this.element = h("div", { class: "kintsugi kintsugi-models" }, bar, this.loading, this.trouble, this.list);
  }

  leastHeight() {
    return 24 + (this.progress ? 20 : 0) + (this.failed ? 64 : 0);
  }

  // Ask the server what lies on its disk.
  async update() {
    try {
      this.answer = await this.fetchModels();
      this.silent = false;
    } catch {
      this.silent = true;
    }
    this.refresh();
  }

  get rows() {
    return rows(this.answer, this.menu.values(), this.commercialOnly());
  }

  // What a model's file is, in words: "on disk", "fetched on first use, 349 MB".
  stateOf(model) {
    const size = megabytes(model.size);
    return this.t(`state ${model.state}`, { size, file: model.file, folder: model.folder ?? "" });
  }

  refresh() {
    const { t } = this;
    const row = this.rows.find(({ name }) => name === this.menu.get());
    const model = row?.model;
    this.element.dataset.state = model?.state ?? "";
    show(this.dot, Boolean(model) || this.silent);
    let about = model ? this.stateOf(model) : "";
    if (model && row.auto) about = `${model.title}: ${about}`;
    if (row?.refused) about = t("refusedLicence");
    if (this.silent) about = t("noServer");
    else if (this.answer && !model) about = t(row?.auto ? "noAuto" : "noModel");
    this.words.textContent = about;
    this.words.title = model ? `${model.title}: ${about}${model.note ? `; ${model.note}` : ""}` : about;
    show(this.licence, Boolean(model));
    if (model) {
      this.licence.dataset.level = row.refused ? "bad" : badge(model);
      this.licence.textContent = t(`commercial ${model.commercial}`);
      this.licence.title = `${t("licence")}: ${model.licence}. ${model.reason}`;
    }
    show(this.loading, Boolean(this.progress));
    if (this.progress) this.drawProgress();
    show(this.trouble, Boolean(this.failed));
    if (this.list.matches(":popover-open")) this.fillList();
  }

  drawProgress() {
    const { done, total, title } = this.progress;
    const part = share(done, total);
    const percent = part === null ? null : Math.round(100 * part);
    this.meter.classList.toggle("kintsugi-unknown", part === null);
    this.fill.style.width = part === null ? "" : `${percent}%`;
    if (percent === null) this.meter.removeAttribute("aria-valuenow");
    else this.meter.setAttribute("aria-valuenow", String(percent));
    this.meter.setAttribute("aria-label", this.t("fetching", { title }));
    const of = total > 0 ? ` / ${megabytes(total)}` : "";
    this.arrived.textContent = `${title} ${megabytes(done)}${of}`;
  }

  // A message of the server: {title, done, total} in bytes.
  setProgress({ title, done, total }) {
    const first = !this.progress;
    this.failed = "";
    this.progress = { title, done, total };
    this.refresh();
    if (first) this.changedHeight?.();
  }

  // The node has ended, with the message of an error or well.
  setEnded(error = "") {
    const before = this.leastHeight();
    const fetched = Boolean(this.progress);
    this.progress = null;
    this.failed = error;
    this.trouble.replaceChildren(
      ...linked(error).map(({ text, href }) =>
        href ? h("a", { href, target: "_blank", rel: "noreferrer" }, text) : text,
      ),
    );
    this.refresh();
    if (fetched || error) void this.update();
    if (before !== this.leastHeight()) this.changedHeight?.();
  }

  open() {
    this.fillList();
    const at = this.element.getBoundingClientRect();
    this.list.showPopover();
    const width = Math.min(460, globalThis.innerWidth - 16);
    const left = Math.max(8, Math.min(at.left, globalThis.innerWidth - width - 8));
    const below = globalThis.innerHeight - at.bottom - 12;
    const height = Math.min(420, Math.max(160, below));
    const top = Math.max(8, Math.min(at.bottom + 4, globalThis.innerHeight - height - 8));
    Object.assign(this.list.style, {
      left: `${left}px`,
      top: `${top}px`,
      width: `${width}px`,
      maxHeight: `${height}px`,
    });
    this.options[this.at]?.focus({ preventScroll: true });
    void this.update();
  }

  get options() {
    return [...this.list.querySelectorAll("[role=option]")];
  }

  fillList() {
    const { t } = this;
    const names = this.menu.values();
    const focused = this.options.indexOf(document.activeElement);
    this.at = focused >= 0 ? focused : Math.max(0, names.indexOf(this.menu.get()));
    const options = this.rows.map(({ name, model, refused, auto }, index) => {
      const title = auto ? t("auto", { title: model?.title ?? "" }) : (model?.title ?? name);
      return h(
        "div",
        {
          role: "option",
          class: "kintsugi-option",
          tabindex: index === this.at ? "0" : "-1",
          "aria-selected": String(name === this.menu.get()),
          "aria-disabled": refused ? "true" : null,
          "data-state": model?.state ?? "",
          onclick: () => this.pick(name, refused),
        },
        h("span", { class: "kintsugi-dot" }),
        h("strong", {}, title),
        model
          ? h("span", { class: "kintsugi-badge", "data-level": badge(model) }, t(`commercial ${model.commercial}`))
          : null,
        h("small", {}, model ? `${this.stateOf(model)} · ${model.licence}` : t(auto ? "noAuto" : "noModel")),
        refused ? h("small", {}, model.reason) : null,
      );
    });
    this.list.replaceChildren(...options);
    if (focused >= 0) options[this.at]?.focus({ preventScroll: true });
  }

  pick(name, refused) {
    if (refused) return;
    this.menu.set(name);
    this.list.hidePopover();
    this.refresh();
  }

  key(event) {
    const options = this.options;
    const at = options.indexOf(document.activeElement);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) options[(at + step + options.length) % options.length]?.focus();
    else if (event.key === "Home") options[0]?.focus();
    else if (event.key === "End") options.at(-1)?.focus();
    else if (event.key === "Enter" || event.key === " ") options[at]?.click();
    else if (event.key === "Escape") this.list.hidePopover();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
