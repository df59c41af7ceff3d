"use strict";
// Rows over one axis of time on a canvas: a heatmap of functions, or the work of threads. A range can be brushed.

const AXIS = 20;

class TimeChart {
  /**
   * `label` names it; `row` is the height of a row; `onBrush(from, to)` is told of a range in cells, or of (0, cells);
   * `drawRow(pen, row, y, x, width)` draws one row; `tip(row, cell)` gives the lines of a tooltip.
   */
  constructor(host, options) {
    Object.assign(this, options);
    this.rows = [];
    this.names = make("ol", { class: "chart-names" });
    this.canvas = make("canvas", {
      tabindex: "0",
      role: "application",
      "aria-roledescription": "timeline",
      "aria-label": `${this.label}. Left and Right move, with Shift they mark a range, Escape clears it.`,
    });
    this.area = make("div", { class: "chart-area" }, this.canvas);
    host.append(make("div", { class: "chart" }, this.names, this.area));
    this.canvas.timeChart = this;
    this.range = null;
    this.cursor = 0;
    this.draw = oncePerFrame(() => this.paint());
    this.listen();
  }

  /** `rows`: anything with a `name`; `cells` of `cellNs` each. */
  show(rows, cells, cellNs) {
    this.rows = rows;
    this.cells = cells;
    this.cellNs = cellNs;
    this.names.replaceChildren(...rows.map((row) => this.nameOf(row)));
    for (const name of this.names.children) name.style.height = name.style.lineHeight = `${this.row}px`;
    this.draw();
  }

  nameOf(row) {
    return make("li", { title: row.name }, row.control ?? make("bdi", {}, row.name));
  }

  mark(range) {
    this.range = range;
    this.draw();
  }

  // ---- drawing

  paint() {
    const ratio = devicePixelRatio || 1;
    const width = this.area.clientWidth;
    const height = this.rows.length * this.row + AXIS;
    if (!width) return;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    this.colours = {};
    this.rows.forEach((row, place) => this.drawRow(pen, row, place * this.row, width, this));
    this.paintAxis(pen, width, height);
    this.paintRange(pen, width, height - AXIS);
    this.painted = performance.now();
  }

  colour(name) {
    return (this.colours[name] ??= cssColour(name));
  }

  paintAxis(pen, width, height) {
    const seconds = (this.cells * this.cellNs) / 1e9;
    const step = niceStep(seconds / Math.max(width / 90, 1));
    pen.font = "11px system-ui, sans-serif";
    pen.fillStyle = this.colour("muted");
    pen.strokeStyle = this.colour("line");
    for (let second = 0; second <= seconds + step / 100; second += step) {
      const x = Math.min((second / seconds) * width, width - 0.5);
      pen.beginPath();
      pen.moveTo(x, height - AXIS);
      pen.lineTo(x, height - AXIS + 4);
      pen.stroke();
      pen.textAlign = x < 12 ? "left" : x > width - 24 ? "right" : "center";
      pen.fillText(`${Number(second.toPrecision(6))} s`, x, height - 4);
    }
  }

  paintRange(pen, width, height) {
    if (!this.range) return;
    const [from, to] = this.range.map((cell) => (cell / this.cells) * width);
    pen.fillStyle = this.colour("surface");
    pen.globalAlpha = 0.65;
    pen.fillRect(0, 0, from, height);
    pen.fillRect(to, 0, width - to, height);
    pen.globalAlpha = 1;
    pen.strokeStyle = this.colour("accent");
    pen.lineWidth = 1.5;
    pen.strokeRect(from + 0.75, 0.75, Math.max(to - from - 1.5, 1), height - 1.5);
    pen.lineWidth = 1;
  }

  // ---- mouse and keyboard

  cellAt(event) {
    const area = this.canvas.getBoundingClientRect();
    const part = (event.clientX - area.left) / area.width;
    return Math.max(0, Math.min(this.cells - 1, Math.floor(part * this.cells)));
  }

  listen() {
    this.canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.start = this.cellAt(event);
      this.startX = event.clientX;
      this.canvas.setPointerCapture(event.pointerId);
      tooltip.hide();
    });
    this.canvas.addEventListener("pointermove", (event) => this.moved(event));
    this.canvas.addEventListener("pointerup", (event) => {
      if (this.start === undefined) return;
      const dragged = Math.abs(event.clientX - this.startX) > 3;
      const [from, to] = [this.start, this.cellAt(event)].sort((a, b) => a - b);
      this.start = undefined;
      this.onBrush(...(dragged ? [from, to + 1] : [0, this.cells]));
    });
    this.canvas.addEventListener("pointerleave", () => tooltip.hide());
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.rows.length && this.draw()).observe(this.area);
    theme.listeners.push(() => this.rows.length && this.draw());
  }

  moved(event) {
    const cell = this.cellAt(event);
    if (this.start !== undefined) {
      const [from, to] = [this.start, cell].sort((a, b) => a - b);
      return this.mark([from, to + 1]);
    }
    const row = this.rows[Math.floor((event.clientY - this.canvas.getBoundingClientRect().top) / this.row)];
    if (!row) return tooltip.hide();
    return tooltip.show(this.tip(row, cell), event.clientX, event.clientY);
  }

  key(event) {
    const step = Math.max(1, Math.round(this.cells / 100));
    if (event.key === "Escape") return this.onBrush(0, this.cells);
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return undefined;
    event.preventDefault();
    const [from, to] = this.range ?? [this.cursor, this.cursor];
    const move = event.key === "ArrowRight" ? step : -step;
    if (event.shiftKey) return this.onBrush(from, Math.max(from + step, Math.min(this.cells, to + move)));
    const length = Math.max(to - from, step);
    this.cursor = Math.max(0, Math.min(this.cells - length, from + move));
    return this.onBrush(this.cursor, this.cursor + length);
  }
}

/** 1, 2 or 5 times a power of ten, at least `least`. */
function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1e-6)));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= least * 0.999);
}
