"use strict";
// The trend page: filter what is shown, and point at one run in all charts at once.

const trend = {
  start() {
    document.querySelector(".trend-filter").hidden = false;
    byId("filter").addEventListener("input", () => this.filter());
    byId("only-changed").addEventListener("change", () => this.filter());
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || event.target.matches("input") || event.ctrlKey || event.metaKey || event.altKey) return;
      byId("filter").focus();
      event.preventDefault();
    });
    for (const chart of document.querySelectorAll("svg.trend")) {
      chart.addEventListener("pointermove", (event) => this.point(chart, event));
      chart.addEventListener("pointerleave", () => {
        tooltip.hide();
        this.mark(null);
      });
    }
    const wanted = deepLink.read();
    byId("filter").value = wanted.get("filter") ?? "";
    byId("only-changed").checked = wanted.has("changed");
    if (wanted.has("filter") || wanted.has("changed")) this.filter();
  },

  filter() {
    const text = byId("filter").value.trim().toLowerCase();
    const changed = byId("only-changed").checked;
    const fits = (one) => one.dataset.search.toLowerCase().includes(text) && (!changed || "changed" in one.dataset);
    let count = 0;
    for (const section of document.querySelectorAll(".trend-section")) {
      const own = fits(section);
      const figures = [...section.querySelectorAll("figure")];
      for (const figure of figures) figure.hidden = !(own && !changed) && !fits(figure);
      section.hidden = !own && figures.every((figure) => figure.hidden);
      if (!section.hidden) count++;
    }
    byId("found").textContent = text || changed ? `${count} benchmark${count === 1 ? "" : "s"}` : "";
    deepLink.write({ filter: text || null, changed: changed ? "1" : null });
  },

  /** The run nearest to the pointer, in words and in every chart. */
  point(chart, event) {
    const dots = [...chart.querySelectorAll("g[data-run]")];
    const near = (dot) => {
      const box = dot.getBoundingClientRect();
      return Math.abs(box.x + box.width / 2 - event.clientX);
    };
    const dot = dots.reduce((best, one) => (best && near(best) <= near(one) ? best : one), null);
    if (!dot) return;
    tooltip.show([dot.querySelector("title").textContent], event.clientX, event.clientY);
    this.mark(dot.dataset.run);
  },

  mark(run) {
    for (const one of document.querySelectorAll("g[data-run].marked")) one.classList.remove("marked");
    if (run === null) return;
    for (const one of document.querySelectorAll(`g[data-run="${Number(run)}"]`)) one.classList.add("marked");
  },
};

trend.start();
