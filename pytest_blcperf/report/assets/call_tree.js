"use strict";
// Calls as a tree that opens where it is clicked: from the roots, from the leaves, or around one function.

const CHILDREN = 60;

class CallTree {
  constructor(host, { functions, unit }) {
    Object.assign(this, { functions, unit });
    this.way = "down";
    this.func = -1;
    this.about = make("p", { class: "legend" });
    this.list = make("div", { class: "tree", role: "tree", "aria-label": "Call tree" });
    this.choice = make("select", { "aria-label": "Which way the tree goes", onchange: (event) => this.go(event.target.value) },
      ...[["down", "from the roots: what is called"], ["up", "from the leaves: who calls"],
        ["callers", "callers of the function"], ["callees", "what the function calls"]]
        .map(([value, name]) => make("option", { value }, name)));
    host.replaceChildren(make("div", { class: "toolbar" }, make("label", { class: "choice" }, "Tree ", this.choice)),
      this.about, this.list);
    host.callTree = this;
    this.list.addEventListener("keydown", (event) => this.key(event));
  }

  /** The tree and the weights that end in its nodes. */
  show(tree, self, whole) {
    Object.assign(this, { tree, self, whole: whole || 1 });
    this.fill();
  }

  go(way) {
    this.way = way;
    this.choice.value = way;
    this.fill();
  }

  /** Shows the callers of a function, or what it calls. */
  around(func, way = "callers") {
    this.func = func;
    this.go(way);
  }

  /** Draws the tree, if it can be seen or `anyway`. */
  fill(anyway = false) {
    if (!this.tree || (!this.list.offsetParent && !anyway)) {
      this.stale = true;
      return;
    }
    this.stale = false;
    const focused = this.way === "callers" || this.way === "callees";
    const name = this.func < 0 ? "" : this.functions.name[this.func];
    this.about.replaceChildren(focused ? (name ? make("bdi", {}, name) : "Choose a function in the table or the flame graph.") : "");
    if (focused && this.func < 0) return this.list.replaceChildren();
    this.shown = this.turned();
    this.total = this.shown.tree.sumUp(this.shown.columns[0]);
    return this.list.replaceChildren(...this.branches(this.nodesOf(-1), 1));
  }

  turned() {
    const { tree, self, func } = this;
    if (this.way === "down") return { tree, columns: [self] };
    if (this.way === "up") return tree.reversed([self]);
    return this.way === "callers" ? tree.callersOf(func, self) : tree.calleesOf(func, self);
  }

  /** The children of a node (-1: the roots), heaviest first. */
  nodesOf(parent) {
    const { tree } = this.shown;
    const depth = parent < 0 ? 0 : tree.depthOf(parent) + 1;
    const found = [];
    if (depth < tree.depth) {
      for (let node = tree.levels[depth]; node < tree.levels[depth + 1]; node++) {
        if (tree.parent[node] === parent && this.total[node] > 0) found.push(node);
      }
    }
    return found.sort((a, b) => this.total[b] - this.total[a]);
  }

  branches(nodes, level) {
    const shown = nodes.slice(0, CHILDREN).map((node, place) => this.branch(node, level, place === 0 && nodes.length === 1));
    const hidden = nodes.length - CHILDREN;
    return hidden > 0 ? [...shown, make("p", { class: "legend" }, `and ${hidden} more`)] : shown;
  }

  branch(node, level, open) {
    const { functions } = this;
    const func = this.shown.tree.func[node];
    const part = this.total[node] / this.whole;
    const below = this.nodesOf(node);
    const bar = make("i", { class: "tree-bar" });
    bar.style.width = `${Math.min(part, 1) * 70}px`;
    const row = make("div", { class: "tree-row" }, make("span", { class: "tree-share" }, formatShare(part)),
      make("span", { class: "tree-bars" }, bar),
      make("span", { class: "tree-mark", "aria-hidden": "true" }, below.length ? "▸" : ""),
      make("span", { class: "tree-name" }, make("i", { class: `swatch ${functions.kinds[functions.kind[func]]}` }),
        make("bdi", {}, functions.name[func]), make("span", { class: "muted" }, ` ${functions.files[functions.file[func]]}`)));
    const item = make("div", { role: "treeitem", "aria-level": String(level), tabindex: "-1", class: "tree-item" }, row);
    if (level === 1 && !this.list.querySelector("[tabindex='0']")) item.setAttribute("tabindex", "0");
    if (below.length) item.setAttribute("aria-expanded", "false");
    item.style.setProperty("--level", level - 1);
    item.toggle = (on) => this.toggle(item, below, level, on);
    row.addEventListener("click", () => item.toggle());
    // A chain without a choice opens by itself, as deep as it goes.
    if (open && below.length && level < 60) item.toggle(true);
    return item;
  }

  toggle(item, below, level, on = item.getAttribute("aria-expanded") !== "true") {
    if (!below.length) return;
    item.setAttribute("aria-expanded", String(on));
    item.querySelector(".tree-mark").textContent = on ? "▾" : "▸";
    item.querySelector(":scope > [role=group]")?.remove();
    if (on) item.append(make("div", { role: "group" }, ...this.branches(below, level + 1)));
  }

  key(event) {
    const item = event.target.closest(".tree-item");
    if (!item) return;
    const items = [...this.list.querySelectorAll(".tree-item")];
    const place = items.indexOf(item);
    const open = item.getAttribute("aria-expanded") === "true";
    let next = null;
    if (event.key === "ArrowDown") next = items[place + 1];
    else if (event.key === "ArrowUp") next = items[place - 1];
    else if (event.key === "ArrowRight") open ? (next = items[place + 1]) : item.toggle(true);
    else if (event.key === "ArrowLeft") open ? item.toggle(false) : (next = item.parentElement.closest(".tree-item"));
    else if (event.key === "Enter" || event.key === " ") item.toggle();
    else return;
    event.preventDefault();
    if (!next) return;
    item.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  }
}
