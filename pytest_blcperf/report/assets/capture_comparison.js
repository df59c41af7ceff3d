"use strict";
// The comparison page of captures: its differential flame graph, and functions of the table pointed out in it.

const captureComparison = {
  async start() {
    this.rows = [...document.querySelectorAll("tr[data-function]")];
    for (const row of this.rows) {
      row.addEventListener("click", () => {
        if (getSelection().isCollapsed) this.choose(row.dataset.function);
      });
    }
    const all = document.querySelector(".all-rows");
    all?.addEventListener("click", () => {
      all.setAttribute("aria-expanded", String(document.querySelector(".functions").classList.toggle("all")));
    });
    const host = document.querySelector(".flame-panel");
    if (!host) return;
    try {
      this.panel = new FlamePanel(host, differentialModel(host.dataset.label, await readBlock(host.dataset.graph)));
    } catch (error) {
      showFailure(host, error);
      return;
    }
    const wanted = deepLink.read().get("function");
    if (wanted) this.choose(wanted);
  },

  /** Shows a function's frames, or no longer when they are shown already. */
  choose(name) {
    const shown = this.shown === name ? null : name;
    this.shown = shown;
    deepLink.write({ function: shown });
    for (const row of this.rows) {
      row.querySelector("button.expand").setAttribute("aria-pressed", String(row.dataset.function === shown));
    }
    if (!this.panel) return;
    const { functions } = this.panel.model;
    const names = functions.name.map((one, place) => `${functions.files[functions.file[place]]}::${one}`);
    this.panel.point(names.indexOf(shown));
  },
};

captureComparison.start();
