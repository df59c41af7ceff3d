"use strict";
// The run page: one benchmark or capture at a time; the chosen range, threads and mode decide what all views show.

const run = {
  views: ["flame", "top", "tree"],

  async start() {
    this.choice = byId("subject");
    if (!this.choice?.options.length) return;
    document.querySelector(".tabs").hidden = false;
    this.choice.parentElement.hidden = this.choice.options.length < 2;
    this.choice.addEventListener("change", () => this.open(this.choice.selectedIndex));
    for (const name of this.views) byId(`tab-${name}`).addEventListener("click", () => this.show(name));
    document.querySelector(".tabs").addEventListener("keydown", (event) => this.tabKey(event));
    for (const row of document.querySelectorAll("tr[data-subject]")) {
      row.addEventListener("click", () => this.openNamed(row.dataset.subject));
    }
    for (const link of document.querySelectorAll("[data-evidence]")) {
      link.addEventListener("click", (event) => {
        event.preventDefault();
        this.choose(this.functionNamed(link.dataset.evidence), "flame");
        byId("view-flame").scrollIntoView({ block: "center" });
      });
    }
    document.addEventListener("keydown", (event) => this.key(event));
    addEventListener("hashchange", () => this.follow());
    addEventListener("beforeprint", () => this.calls.fill(true));
    await this.follow();
  },

  /** Shows what the address names. */
  async follow() {
    const wanted = deepLink.read();
    const named = [...this.choice.options].findIndex((option) => option.value === wanted.get("subject"));
    await this.open(Math.max(named, 0));
    this.show(this.views.includes(wanted.get("view")) ? wanted.get("view") : "flame");
    if (this.timeline && wanted.has("from")) {
      this.timeline.from.value = wanted.get("from");
      this.timeline.to.value = wanted.get("to");
      this.timeline.typed();
    }
    const func = this.functionNamed(wanted.get("function"));
    if (func >= 0) this.choose(func, wanted.get("view") || "flame");
  },

  async openNamed(name) {
    const found = [...this.choice.options].findIndex((option) => option.value === name);
    if (found >= 0) await this.open(found);
    byId("profile").scrollIntoView({ block: "start" });
  },

  async open(place) {
    const option = this.choice.options[place];
    this.choice.selectedIndex = place;
    for (const row of document.querySelectorAll("tr[data-subject]")) {
      row.setAttribute("aria-current", String(row.dataset.subject === option.value));
    }
    if (this.opened === option.value) return;
    this.opened = option.value;
    if (this.choice.options.length > 1) deepLink.write({ subject: option.value, function: null });
    const host = document.querySelector(".flame-panel");
    try {
      if (!option.dataset.block) throw new Error("its data would have made this page too large; look at it alone");
      this.draw(host, option.value, await readBlock(option.dataset.block));
    } catch (error) {
      showFailure(host, error);
      throw error;
    }
  },

  draw(host, name, data) {
    this.data = data;
    this.tree = StackTree.fromData(data.tree);
    const { functions, unit } = data;
    const nothing = new Float64Array(this.tree.size);
    this.panel = null;
    this.table = new FunctionTable(byId("view-top"), {
      functions, unit, selfTime: data.self_time, onChoose: (func) => this.choose(func, "tree"),
    });
    this.calls = new CallTree(byId("view-tree"), { functions, unit });
    byId("timeline").hidden = true;
    this.timeline = null;
    this.weights = nothing;
    if (data.cell) {
      this.timeline = new Timeline(byId("timeline"), data, this.tree, (weights) => this.update(weights));
    } else {
      fromDifferences(data.node).forEach((node, at) => (nothing[node] = data.weight[at]));
    }
    this.panel = new FlamePanel(host, this.model(name));
    this.panel.listeners.push((func) => deepLink.write({ function: func < 0 ? null : this.keyOf(func) }));
    this.showFunctions();
    for (const one of byId("kinds-key").children) {
      one.hidden = !functions.kind.includes(functions.kinds.indexOf(one.firstChild.classList[1]));
    }
  },

  model(name) {
    const { functions, unit } = this.data;
    return {
      label: name,
      functions,
      tree: this.tree,
      columns: [this.weights],
      widths: [["weight", (weight) => weight]],
      // Files of one kind differ a little, so that neighbours can be told apart.
      fill: (func) => functions.kinds[functions.kind[func]] + ["", "-2", "-3"][functions.file[func] % 3],
      tip: (func, own, all, wholes) => [
        functions.name[func],
        functions.files[functions.file[func]] + (functions.line[func] ? `:${functions.line[func]}` : ""),
        `${formatWeight(all[0], unit)} (${formatShare(all[0] / (wholes[0] || 1))}), self ${formatWeight(own[0], unit)}`,
      ],
    };
  },

  /** Other weights: everything follows. */
  update(weights) {
    this.weights = weights;
    if (!this.panel) return;
    this.panel.update([weights]);
    this.showFunctions();
  },

  /** Table and call tree show what the flame graph does. */
  showFunctions() {
    const { weights } = this;
    const whole = weights.reduce((sum, weight) => sum + weight, 0);
    this.table.show(this.tree.perFunction(weights, this.data.functions.name.length), whole);
    this.calls.show(this.tree, weights, whole);
  },

  // ---- functions

  keyOf(func) {
    const { functions } = this.data;
    return `${functions.files[functions.file[func]]}::${functions.name[func]}`;
  },

  functionNamed(key) {
    if (!key) return -1;
    return this.data.functions.name.findIndex((_, func) => this.keyOf(func) === key);
  },

  /** Points at one function in the flame graph and in the call tree. */
  choose(func, view) {
    if (func < 0) return;
    deepLink.write({ function: this.keyOf(func) });
    this.panel.point(func);
    this.show(view);
    this.calls.around(func);
  },

  // ---- views

  show(name) {
    for (const view of this.views) {
      const chosen = view === name;
      byId(`view-${view}`).classList.toggle("chosen", chosen);
      byId(`tab-${view}`).setAttribute("aria-selected", String(chosen));
      byId(`tab-${view}`).tabIndex = chosen ? 0 : -1;
    }
    deepLink.write({ view: name === "flame" ? null : name });
    if (name === "tree" && this.calls?.stale) this.calls.fill();
  },

  tabKey(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const now = this.views.findIndex((view) => byId(`tab-${view}`).getAttribute("aria-selected") === "true");
    const next = this.views[(now + step + this.views.length) % this.views.length];
    this.show(next);
    byId(`tab-${next}`).focus();
  },

  key(event) {
    if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") {
      document.querySelector("[role=tabpanel].chosen input[type=search]")?.focus();
      event.preventDefault();
    }
  },
};

run.start();
