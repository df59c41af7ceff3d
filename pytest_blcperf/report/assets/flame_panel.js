"use strict";
// A flame graph with its controls: search, zoom out, flame or icicle, callers first, kinds of frames, shading, widths.

const KIND_NAMES = { python: "Python", native: "Native", kernel: "Kernel", jit: "JIT" };

class FlamePanel {
  /**
   * `model`: `{label, functions, tree, columns, widths, fill, tip}`.
   * `columns`: arrays of the weights that end in each node. `widths`: `[name, (…totals at a node) => width]` to choose
   * from. `fill(func)`: a colour name. `tip(func, ownWeights, allWeights, wholes)`: the lines of a tooltip.
   */
  constructor(host, model) {
    this.model = model;
    this.lower = model.functions.name.map((name, func) =>
      `${name}\n${model.functions.files[model.functions.file[func]]}`.toLowerCase());
    this.state = { reversed: false, hidden: new Set(), width: 0, shade: "total", search: "" };
    host.replaceChildren(this.toolbar());
    this.graph = new FlameGraph(host, {
      label: model.label,
      onSelect: (node) => this.describe(node),
      onZoom: (node) => this.zoomedTo(node),
    });
    this.status = make("p", { class: "flame-status" });
    host.append(this.status);
    host.flamePanel = this;
    this.listeners = [];
    this.rebuild();
  }

  // ---- controls

  toolbar() {
    this.searchBox = make("input", {
      type: "search",
      placeholder: "Search functions",
      "aria-label": "Search functions in the flame graph; text, or a regular expression between slashes",
      spellcheck: "false",
      oninput: (event) => this.search(event.target.value),
      onkeydown: (event) => {
        if (event.key === "Escape") this.search("", true);
      },
    });
    this.found = make("output", { class: "found" });
    this.zoomOut = make("button", { type: "button", onclick: () => this.graph.zoom(-1), disabled: true }, "Zoom out");
    return make(
      "div",
      { class: "toolbar", role: "toolbar", "aria-label": "Flame graph controls" },
      this.searchBox,
      this.found,
      this.zoomOut,
      this.toggle("Flames", "roots at the bottom", (on) => this.graph.flip(on)),
      this.toggle("Callers first", "reverse: leaves are the roots, their callers below", (on) => {
        this.state.reversed = on;
        this.rebuild();
      }),
      this.toggle("Self time", "only frames with self time of their own keep their full colour", (on) => {
        this.state.shade = on ? "self" : "total";
        this.graph.draw();
      }),
      ...this.widthControl(),
      ...this.kindControls(),
    );
  }

  toggle(name, title, change) {
    return make("button", {
      type: "button",
      "aria-pressed": "false",
      title,
      onclick: (event) => {
        const on = event.target.getAttribute("aria-pressed") !== "true";
        event.target.setAttribute("aria-pressed", String(on));
        change(on);
      },
    }, name);
  }

  widthControl() {
    if (this.model.widths.length < 2) return [];
    const choice = make("select", {
      "aria-label": "What the width of a frame shows",
      onchange: (event) => {
        this.state.width = event.target.selectedIndex;
        this.show();
      },
    }, ...this.model.widths.map(([name]) => make("option", {}, name)));
    return [make("label", { class: "choice" }, "Width ", choice)];
  }

  /** A box for each kind of frame that occurs, where there is more than one. */
  kindControls() {
    const { functions } = this.model;
    const there = functions.kinds.map((_, kind) => functions.kind.includes(kind));
    if (there.filter(Boolean).length < 2) return [];
    const boxes = functions.kinds.flatMap((name, kind) => there[kind] ? [make("label", { class: "choice" },
      make("input", {
        type: "checkbox",
        checked: true,
        "data-kind": name,
        onchange: (event) => {
          if (event.target.checked) this.state.hidden.delete(kind);
          else this.state.hidden.add(kind);
          this.rebuild();
        },
      }), ` ${KIND_NAMES[name]}`)] : []);
    return [make("fieldset", { class: "kinds" }, make("legend", { class: "unseen" }, "Frames shown"), ...boxes)];
  }

  // ---- what is shown

  /** Other weights on the same tree: a brushed range of time, or other threads. */
  update(columns) {
    this.model.columns = columns;
    this.rebuild();
  }

  rebuild() {
    const { functions, tree, columns } = this.model;
    let shown = { tree, columns };
    if (this.state.hidden.size) {
      const kept = Uint8Array.from(functions.kind, (kind) => (this.state.hidden.has(kind) ? 0 : 1));
      shown = tree.without(kept, columns);
    }
    if (this.state.reversed) shown = shown.tree.reversed(shown.columns);
    this.tree = shown.tree;
    this.own = shown.columns;
    this.all = shown.columns.map((column) => this.tree.sumUp(column));
    this.wholes = shown.columns.map((column) => column.reduce((sum, weight) => sum + weight, 0));
    this.show();
  }

  show() {
    const width = this.model.widths[this.state.width][1];
    const { tree, all } = this;
    const total = new Float64Array(tree.size);
    for (let node = 0; node < tree.size; node++) total[node] = width(...all.map((column) => column[node]));
    const { functions } = this.model;
    this.graph.show({
      tree,
      total,
      fill: (node) => this.model.fill(tree.func[node]),
      text: (node) => functions.name[tree.func[node]],
      tip: (node) => this.tip(node),
      strength: (node) => this.strength(node),
    });
    this.search(this.searchBox.value);
    this.status.textContent = tree.size ? this.hint() : "No samples here.";
  }

  hint() {
    return "Click a frame to zoom; arrow keys, Enter and Escape work too.";
  }

  strength(node) {
    if (this.state.shade === "total") return 1;
    const own = this.own.reduce((sum, column) => sum + column[node], 0);
    const all = this.all.reduce((sum, column) => sum + column[node], 0);
    return all ? 0.1 + 0.9 * Math.sqrt(own / all) : 1;
  }

  tip(node) {
    const func = this.tree.func[node];
    return this.model.tip(func, this.own.map((c) => c[node]), this.all.map((c) => c[node]), this.wholes);
  }

  describe(node) {
    this.status.textContent = node < 0 ? this.hint() : this.tip(node).join(" · ");
  }

  zoomedTo(node) {
    this.zoomOut.disabled = node < 0;
    for (const listener of this.listeners) listener(node < 0 ? -1 : this.tree.func[node]);
  }

  // ---- search

  /** Highlights the functions whose name or file contains the text, and says what they weigh together. */
  search(text, clear = false) {
    if (clear) this.searchBox.value = "";
    const test = this.tester(text.trim());
    if (!test) {
      this.found.textContent = text.trim() ? "not a regular expression" : "";
      this.graph.highlight(null);
      return;
    }
    const matches = Uint8Array.from(this.lower, (name) => (test(name) ? 1 : 0));
    this.mark(matches);
  }

  tester(text) {
    if (!text) return null;
    const between = /^\/(.+)\/$/.exec(text);
    if (!between) {
      const wanted = text.toLowerCase();
      return (name) => name.includes(wanted);
    }
    try {
      const pattern = new RegExp(between[1], "i");
      return (name) => pattern.test(name);
    } catch {
      return null;
    }
  }

  mark(matches) {
    const weights = this.all.map((column) => this.tree.weightOf(matches, column));
    const count = matches.reduce((sum, match) => sum + match, 0);
    const shares = weights.map((weight, place) => (this.wholes[place] ? formatShare(weight / this.wholes[place]) : "–"));
    this.found.textContent = `${count.toLocaleString("en")} function${count === 1 ? "" : "s"}, ${shares.join(" → ")}`;
    this.graph.highlight(matches);
  }

  /** Highlights one function; -1 takes the highlight away. */
  point(func) {
    if (func < 0) return this.search(this.searchBox.value);
    const matches = new Uint8Array(this.lower.length);
    matches[func] = 1;
    return this.mark(matches);
  }
}
