"use strict";
// The comparison page: one benchmark at a time, its functions with their sources, and its differential flame graph.

const comparison = {
  sections: [...document.querySelectorAll("section.benchmark")],
  rows: [...document.querySelectorAll("tr[data-benchmark]")],

  start() {
    for (const row of this.rows) {
      row.addEventListener("click", (event) => {
        event.preventDefault();
        this.open(Number(row.dataset.benchmark));
        byId(`b${row.dataset.benchmark}`).scrollIntoView({ block: "start" });
      });
    }
    for (const section of this.sections) this.prepare(section);
    addEventListener("hashchange", () => this.follow());
    document.addEventListener("keydown", (event) => this.key(event));
    this.follow();
  },

  /** Shows what the address names; without it, the first benchmark. */
  follow() {
    const numbered = /^#b(\d+)$/.exec(location.hash);
    const wanted = deepLink.read();
    const named = this.sections.find((section) => section.dataset.name === wanted.get("benchmark"));
    const number = numbered ? Number(numbered[1]) : named ? Number(named.dataset.number) : 0;
    if (!this.sections.length) return;
    this.open(Math.min(number, this.sections.length - 1), wanted.get("function"));
    if (numbered || named) this.sections[this.current].scrollIntoView({ block: "start" });
  },

  /** Shows one benchmark's section, and one of its functions if that is named. */
  open(number, name = null) {
    this.current = number;
    for (const section of this.sections) section.classList.toggle("current", Number(section.dataset.number) === number);
    for (const row of this.rows) {
      row.setAttribute("aria-current", String(Number(row.dataset.benchmark) === number));
    }
    const section = this.sections[number];
    deepLink.write({ benchmark: section.dataset.name, function: name });
    this.draw(section).then(() => {
      const row = name && [...section.querySelectorAll("tr[data-function]")].find((one) => one.dataset.function === name);
      if (row) this.expand(section, row, true);
      else if (name) this.point(section, name);
    });
  },

  prepare(section) {
    for (const row of section.querySelectorAll("tr[data-function]")) {
      row.addEventListener("click", (event) => {
        if (getSelection().isCollapsed) this.expand(section, row);
        event.stopPropagation();
      });
    }
    section.querySelector(".all-rows")?.addEventListener("click", (event) => {
      const all = section.querySelector(".functions").classList.toggle("all");
      event.target.setAttribute("aria-expanded", String(all));
    });
  },

  /** Opens or closes a function's row, and shows its frames in the flame graph. */
  expand(section, row, open = !row.nextElementSibling.classList.contains("open")) {
    for (const other of section.querySelectorAll("tr[data-function]")) {
      const shown = other === row && open;
      if (shown && row.classList.contains("quiet-row")) section.querySelector(".functions").classList.add("all");
      other.nextElementSibling.classList.toggle("open", shown);
      other.querySelector(".expand").setAttribute("aria-expanded", String(shown));
    }
    deepLink.write({ function: open ? row.dataset.function : null });
    this.point(section, open ? row.dataset.function : null);
  },

  point(section, name) {
    const panel = section.querySelector(".flame-panel")?.flamePanel;
    if (!panel) return;
    const { functions } = panel.model;
    const func = functions.name.findIndex((one, place) => `${functions.files[functions.file[place]]}::${one}` === name);
    panel.point(func);
  },

  /** Draws the section's flame graph when it is first seen. */
  async draw(section) {
    const host = section.querySelector(".flame-panel");
    if (!host || host.dataset.drawn) return;
    host.dataset.drawn = "true";
    try {
      new FlamePanel(host, differentialModel(host.dataset.label, await readBlock(host.dataset.graph)));
    } catch (error) {
      showFailure(host, error);
    }
  },

  key(event) {
    if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") {
      this.sections[this.current]?.querySelector("input[type=search]")?.focus();
      event.preventDefault();
    }
  },
};

comparison.start();
