"use strict";
// A flame graph on a canvas. Only what is seen is drawn: rows in view, frames wider than half a pixel, and of narrower
// ones at most one to a pixel. The canvas is as large as its window; a spacer behind it makes the scroll bar.

const ROW = 19;
const LETTER = 6.7;

class FlameGraph {
  /** `onSelect(node)` is told of the frame under keyboard or mouse; `onZoom(node)` of the frame zoomed to, -1 for all. */
  constructor(host, { label, onSelect = () => {}, onZoom = () => {} }) {
    this.onSelect = onSelect;
    this.onZoom = onZoom;
    this.canvas = make("canvas", {});
    this.spacer = make("div", { class: "flame-spacer" });
    this.window = make(
      "div",
      {
        class: "flame",
        tabindex: "0",
        role: "application",
        "aria-roledescription": "flame graph",
        "aria-label": `Flame graph of ${label}. Arrow keys move between frames, Enter zooms, Escape zooms out.`,
      },
      this.canvas,
      this.spacer,
    );
    host.append(this.window);
    this.window.flameGraph = this;
    this.rootsBelow = false;
    this.selected = -1;
    this.zoomed = -1;
    this.matches = null;
    this.draw = oncePerFrame(() => this.paint());
    this.listen();
  }

  /** `{tree, total, self, fill, text, tip}`: weights a node; a colour name, a label and the lines of a tooltip a node. */
  show(model) {
    this.model = model;
    const { start, width } = model.tree.layOut(model.total);
    this.start = start;
    this.width = width;
    this.zoomed = -1;
    this.selected = -1;
    this.from = 0;
    this.to = width;
    this.resize();
  }

  resize() {
    const rows = Math.max(this.model.tree.depth, 1);
    this.height = Math.max(Math.min(rows * ROW + 4, Math.round(innerHeight * 0.7), 640), 64);
    this.window.style.height = `${this.height}px`;
    this.spacer.style.height = `${Math.max(rows * ROW + 4 - this.height, 0)}px`;
    this.scrollToRoots();
    this.draw();
  }

  scrollToRoots() {
    this.window.scrollTop = this.rootsBelow ? this.window.scrollHeight : 0;
  }

  flip(rootsBelow) {
    this.rootsBelow = rootsBelow;
    this.scrollToRoots();
    this.draw();
  }

  /** Frames whose function matches (1 a function, or null) stand out; the others fade. */
  highlight(matches) {
    this.matches = matches;
    this.draw();
  }

  /** Zooms to a node, or out with -1; the change is shown in steps unless the reader asked for less motion. */
  zoom(node) {
    this.zoomed = node;
    const from = node < 0 ? 0 : this.start[node];
    const to = node < 0 ? this.width : from + this.model.total[node];
    this.onZoom(node);
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
      this.from = from;
      this.to = to;
      this.draw();
    } else this.glide(from, to);
  }

  glide(from, to) {
    const begin = performance.now();
    const old = [this.from, this.to];
    const target = (this.target = {});
    const step = (now) => {
      if (this.target !== target) return;
      const part = Math.min((now - begin) / 160, 1);
      const eased = 1 - (1 - part) ** 3;
      this.from = old[0] + (from - old[0]) * eased;
      this.to = old[1] + (to - old[1]) * eased;
      this.paint();
      if (part < 1) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  select(node, tell = true) {
    if (node === this.selected) return;
    this.selected = node;
    if (tell) this.onSelect(node);
    this.draw();
  }

  // ---- places

  /** Top of a level's row, in pixels of the canvas. */
  top(depth) {
    const rows = Math.max(this.model.tree.depth * ROW + 4, this.height);
    const y = this.rootsBelow ? rows - (depth + 1) * ROW - 2 : depth * ROW + 2;
    return y - this.window.scrollTop;
  }

  get scale() {
    return this.window.clientWidth / Math.max(this.to - this.from, Number.MIN_VALUE);
  }

  /** The frame at a point of the canvas, -1 for none. */
  at(x, y) {
    const { tree } = this.model;
    for (let depth = 0; depth < tree.depth; depth++) {
      const top = this.top(depth);
      if (y >= top && y < top + ROW) return this.within(depth, this.from + x / this.scale);
    }
    return -1;
  }

  within(depth, place) {
    const { tree, total } = this.model;
    const node = this.firstFrom(depth, place);
    return node < tree.levels[depth + 1] && this.start[node] <= place && place < this.start[node] + total[node] ? node : -1;
  }

  /** The first node of a level that ends right of a place. */
  firstFrom(depth, place) {
    const { tree, total } = this.model;
    let low = tree.levels[depth];
    let high = tree.levels[depth + 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.start[middle] + total[middle] <= place) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Where a node is drawn in the window, for tests and tooltips. */
  boxOf(node) {
    const area = this.canvas.getBoundingClientRect();
    const x = Math.max((this.start[node] - this.from) * this.scale, 0);
    const end = Math.min((this.start[node] + this.model.total[node] - this.from) * this.scale, area.width);
    return { x: area.left + x, y: area.top + this.top(this.model.tree.depthOf(node)), width: end - x, height: ROW };
  }

  // ---- drawing

  paint() {
    if (!this.model) return;
    const ratio = devicePixelRatio || 1;
    const width = this.window.clientWidth;
    if (!width) return;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(this.height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(this.height * ratio);
      this.canvas.style.width = `${width}px`;
      this.canvas.style.height = `${this.height}px`;
    }
    const pen = this.canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, this.height);
    pen.font = '11px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace';
    pen.textBaseline = "middle";
    pen.direction = "ltr";
    this.palette = {};
    for (let depth = 0; depth < this.model.tree.depth; depth++) {
      const top = this.top(depth);
      if (top > -ROW && top < this.height) this.paintRow(pen, depth, top, width);
    }
    this.painted = performance.now();
  }

  paintRow(pen, depth, top, width) {
    const { tree, total, text } = this.model;
    const scale = this.scale;
    const end = tree.levels[depth + 1];
    let filled = -1;
    for (let node = this.firstFrom(depth, this.from); node < end; node++) {
      const left = (this.start[node] - this.from) * scale;
      if (left >= width) break;
      const wide = total[node] * scale;
      if (wide < 0.5) {
        const pixel = Math.floor(left);
        if (pixel === filled || wide === 0) continue;
        filled = pixel;
        this.paintFrame(pen, node, pixel, top, 1);
        continue;
      }
      const x = Math.max(left, 0);
      const seen = Math.min(left + wide, width) - x;
      this.paintFrame(pen, node, x, top, seen > 3 ? seen - 1 : seen);
      if (seen > 28) this.paintText(pen, text(node), node, x + 4, top + ROW / 2, seen - 8);
    }
  }

  colour(name) {
    return (this.palette[name] ??= cssColour(name));
  }

  paintFrame(pen, node, x, top, width) {
    const { tree, fill } = this.model;
    const faded = (this.matches && !this.matches[tree.func[node]]) || this.isAbove(node);
    pen.globalAlpha = faded ? 0.28 : 1;
    pen.fillStyle = this.colour(fill(node));
    pen.fillRect(x, top, width, ROW - 1);
    pen.globalAlpha = 1;
    const strength = this.model.strength ? this.model.strength(node) : 1;
    if (strength < 1) {
      pen.globalAlpha = (1 - strength) * 0.75;
      pen.fillStyle = this.colour("surface");
      pen.fillRect(x, top, width, ROW - 1);
      pen.globalAlpha = 1;
    }
    if (node === this.selected) {
      pen.strokeStyle = this.colour("text");
      pen.lineWidth = 2;
      pen.strokeRect(x + 1, top + 1, Math.max(width - 2, 1), ROW - 3);
    }
  }

  /** Whether a node calls the one zoomed to: drawn over the full width, so faded. */
  isAbove(node) {
    if (this.zoomed < 0 || node === this.zoomed) return false;
    return node < this.zoomed && this.start[node] <= this.from && this.model.total[node] > this.model.total[this.zoomed] &&
      this.start[node] + this.model.total[node] >= this.to;
  }

  paintText(pen, text, node, x, y, room) {
    const letters = Math.floor(room / LETTER);
    if (letters < 2) return;
    pen.fillStyle = this.colour(`on-${this.model.fill(node).replace(/-\d$/, "")}`);
    if (this.matches && !this.matches[this.model.tree.func[node]]) pen.globalAlpha = 0.45;
    pen.fillText(text.length <= letters ? text : `${text.slice(0, letters - 1)}…`, x, y, room);
    pen.globalAlpha = 1;
  }

  // ---- mouse and keyboard

  listen() {
    const point = (event) => {
      const area = this.canvas.getBoundingClientRect();
      return this.at(event.clientX - area.left, event.clientY - area.top);
    };
    this.canvas.addEventListener("mousemove", (event) => {
      const node = point(event);
      this.canvas.style.cursor = node < 0 ? "default" : "pointer";
      this.select(node, node >= 0);
      if (node < 0) tooltip.hide();
      else tooltip.show(this.model.tip(node), event.clientX, event.clientY);
    });
    this.canvas.addEventListener("mouseleave", () => {
      tooltip.hide();
      this.select(-1, false);
    });
    this.canvas.addEventListener("click", (event) => {
      const node = point(event);
      this.zoom(node === this.zoomed ? -1 : node);
    });
    this.window.addEventListener("scroll", () => this.draw());
    this.window.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.model && this.draw()).observe(this.window);
    theme.listeners.push(() => this.draw());
  }

  key(event) {
    const { tree } = this.model;
    if (event.ctrlKey || event.metaKey || event.altKey || !tree.size) return;
    const towardsRoots = this.rootsBelow ? "ArrowDown" : "ArrowUp";
    const towardsLeaves = this.rootsBelow ? "ArrowUp" : "ArrowDown";
    const now = this.selected < 0 ? Math.max(this.zoomed, 0) : this.selected;
    let next = null;
    if (event.key === "Escape") this.zoom(-1);
    else if (event.key === "Enter" || event.key === " ") this.zoom(now === this.zoomed ? -1 : now);
    else if (this.selected < 0 && event.key.startsWith("Arrow")) next = now;
    else if (event.key === towardsRoots) next = tree.parent[now];
    else if (event.key === towardsLeaves) next = this.widestChild(now);
    else if (event.key === "ArrowLeft") next = this.neighbour(now, -1);
    else if (event.key === "ArrowRight") next = this.neighbour(now, 1);
    else if (event.key === "Home") next = 0;
    else return;
    event.preventDefault();
    if (next === null || next < 0) return;
    this.select(next);
    this.reveal(next);
    announce(this.model.tip(next).join(", "));
  }

  widestChild(node) {
    const { tree, total } = this.model;
    const depth = tree.depthOf(node) + 1;
    if (depth >= tree.depth) return -1;
    let widest = -1;
    for (let child = this.firstFrom(depth, this.start[node]); child < tree.levels[depth + 1]; child++) {
      if (tree.parent[child] > node) break;
      if (tree.parent[child] === node && (widest < 0 || total[child] > total[widest])) widest = child;
    }
    return widest;
  }

  /** The next frame of the same level that is wide enough to be seen. */
  neighbour(node, step) {
    const { tree, total } = this.model;
    const depth = tree.depthOf(node);
    for (let other = node + step; other >= tree.levels[depth] && other < tree.levels[depth + 1]; other += step) {
      if (total[other] * this.scale >= 0.5) return other;
    }
    return -1;
  }

  reveal(node) {
    const top = this.top(this.model.tree.depthOf(node));
    if (top < 0) this.window.scrollTop += top - 4;
    else if (top + ROW > this.height) this.window.scrollTop += top + ROW - this.height + 4;
  }
}
