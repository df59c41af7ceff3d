"use strict";
// When and where a capture was seen working: threads with their kernel time, functions as a heatmap, and the range of
// time, the threads and the mode that everything else on the page follows.

const HEAT_ROWS = 16;
const THREAD_ROWS = 24;
const HEAT_STEPS = 5;

class Timeline {
  /** `onChange(weights)` gets the weight of every node in what is chosen. */
  constructor(host, data, tree, onChange) {
    this.data = data;
    this.tree = tree;
    this.onChange = onChange;
    this.cell = fromDifferences(data.cell);
    this.cells = Math.max(Math.ceil(data.duration_ns / data.cell_ns), (this.cell.at(-1) ?? 0) + 1);
    this.weight = Float64Array.from(data.weight, (weight) => weight * data.weight_unit);
    this.range = [0, this.cells];
    this.mode = "all";
    this.off = new Set();
    this.order = this.byWeight();
    host.replaceChildren(this.controls());
    host.hidden = false;
    host.timeline = this;
    host.append(make("h3", {}, "Threads"));
    const brush = (from, to) => this.brush(from, to);
    this.threads = new TimeChart(host, {
      label: "Threads over time: processor time outside and inside the kernel",
      row: 24,
      onBrush: brush,
      drawRow: (pen, row, y, width, chart) => this.drawThread(pen, row, y, width, chart),
      tip: (row, cell) => this.threadTip(row, cell),
    });
    host.append(make("ul", { class: "key" },
      make("li", {}, make("i", { class: "swatch python" }), "outside the kernel"),
      make("li", {}, make("i", { class: "swatch kernel" }), "in the kernel")));
    host.append(make("h3", {}, "Functions over time"));
    this.heat = new TimeChart(host, {
      label: "Heatmap of functions over time, in self time",
      row: 19,
      onBrush: brush,
      drawRow: (pen, row, y, width, chart) => this.drawHeat(pen, row, y, width, chart),
      tip: (row, cell) => this.heatTip(row, cell),
    });
    this.threads.show(this.threadRows(), this.cells, data.cell_ns);
    this.change();
  }

  // ---- controls

  controls() {
    const seconds = (this.cells * this.data.cell_ns) / 1e9;
    const field = (name, label, value) => (this[name] = make("input", {
      type: "number", min: "0", max: String(seconds), step: "any", value: String(value), "aria-label": label,
      onchange: () => this.typed(),
    }));
    this.whole = make("button", { type: "button", disabled: true, onclick: () => this.brush(0, this.cells) }, "Whole window");
    const modes = make("select", {
      "aria-label": "Kernel or user time",
      onchange: (event) => {
        this.mode = event.target.value;
        this.change();
      },
    }, ...[["all", "kernel and user"], ["user", "user only"], ["kernel", "kernel only"]]
      .map(([value, name]) => make("option", { value }, name)));
    return make("div", { class: "toolbar", role: "group", "aria-label": "What is looked at" },
      make("label", { class: "choice" }, "From ", field("from", "From, seconds", 0), " s"),
      make("label", { class: "choice" }, "to ", field("to", "To, seconds", Number(seconds.toFixed(3))), " s"),
      this.whole,
      make("label", { class: "choice" }, "Time ", modes),
      (this.said = make("output", { class: "found" })));
  }

  typed() {
    const cells = [this.from, this.to].map((field) => Math.round((Number(field.value) * 1e9) / this.data.cell_ns));
    if (cells.some(Number.isNaN)) return;
    this.brush(Math.max(0, Math.min(cells[0], this.cells - 1)), Math.min(Math.max(cells[1], cells[0] + 1), this.cells));
  }

  brush(from, to) {
    this.range = [from, to];
    const second = (cell) => Number(((cell * this.data.cell_ns) / 1e9).toFixed(3));
    this.from.value = second(from);
    this.to.value = second(to);
    const all = from === 0 && to === this.cells;
    this.whole.disabled = all;
    for (const chart of [this.threads, this.heat]) chart.mark(all ? null : this.range);
    deepLink.write({ from: all ? null : second(from), to: all ? null : second(to) });
    this.change();
    announce(all ? "The whole window" : `${second(from)} to ${second(to)} seconds`);
  }

  // ---- what is chosen

  /** Sums up what is chosen, and tells the rest of the page. */
  change() {
    const { node, thread } = this.data;
    const [from, to] = this.range;
    const weights = new Float64Array(this.tree.size);
    let whole = 0;
    for (let row = 0; row < this.cell.length; row++) {
      if (this.cell[row] < from || this.cell[row] >= to || !this.counts(thread[row])) continue;
      weights[node[row]] += this.weight[row];
      whole += this.weight[row];
    }
    this.said.textContent = formatWeight(whole, this.data.unit);
    this.heat.show(this.heatRows(weights), this.cells, this.data.cell_ns);
    this.onChange(weights);
  }

  /** Whether a thread (with the kernel's bit) is chosen. */
  counts(owner) {
    if (this.off.has(owner >> 1)) return false;
    return this.mode === "all" || (owner & 1 ? this.mode === "kernel" : this.mode === "user");
  }

  /** Threads by their weight, heaviest first. */
  byWeight() {
    const sums = new Float64Array(this.data.threads.length);
    this.data.thread.forEach((owner, row) => (sums[owner >> 1] += this.weight[row]));
    return [...sums.keys()].filter((thread) => sums[thread] > 0).sort((a, b) => sums[b] - sums[a]);
  }

  // ---- threads

  threadRows() {
    const shown = this.order.slice(0, THREAD_ROWS);
    const rows = new Map(shown.map((thread) => [thread, {
      name: this.data.threads[thread],
      user: new Float64Array(this.cells),
      kernel: new Float64Array(this.cells),
      control: this.threadBox(thread),
    }]));
    this.data.thread.forEach((owner, row) => {
      const found = rows.get(owner >> 1);
      if (found) found[owner & 1 ? "kernel" : "user"][this.cell[row]] += this.weight[row];
    });
    return [...rows.values()];
  }

  threadBox(thread) {
    return make("label", {}, make("input", {
      type: "checkbox",
      checked: true,
      onchange: (event) => {
        if (event.target.checked) this.off.delete(thread);
        else this.off.add(thread);
        this.change();
      },
    }), make("bdi", {}, this.data.threads[thread]));
  }

  /** What fills a cell: its length for times, the highest cell of all threads for counts. */
  get full() {
    if (this.data.unit === "ns") return this.data.cell_ns;
    return (this.most ??= Math.max(1, ...this.threads.rows.map((row) =>
      row.user.reduce((most, user, cell) => Math.max(most, user + row.kernel[cell]), 0))));
  }

  drawThread(pen, row, y, width, chart) {
    const high = chart.row - 3;
    pen.fillStyle = chart.colour("raised");
    pen.fillRect(0, y + 1, width, high);
    eachPixel(width, this.cells, 2, (x, from, to, wide) => {
      const user = meanOf(row.user, from, to) / this.full;
      const kernel = meanOf(row.kernel, from, to) / this.full;
      const scale = user + kernel > 1 ? 1 / (user + kernel) : 1;
      const [low, top] = [kernel * scale * high, user * scale * high];
      pen.fillStyle = chart.colour("kernel");
      pen.fillRect(x, y + 1 + high - low, wide, low);
      pen.fillStyle = chart.colour("python");
      pen.fillRect(x, y + 1 + high - low - top, wide, top);
    });
  }

  threadTip(row, cell) {
    const { user, kernel } = row;
    const spread = Math.max(1, Math.round(this.cells / 200));
    const [from, to] = [Math.max(0, cell - spread), Math.min(this.cells, cell + spread + 1)];
    return [row.name, this.when(from, to),
      `outside the kernel ${formatShare(meanOf(user, from, to) / this.full)}, in it ${formatShare(meanOf(kernel, from, to) / this.full)}`];
  }

  // ---- functions

  /** The functions with most self time in what is chosen, each with its time in every cell of the whole window. */
  heatRows(weights) {
    const { functions } = this.data;
    const { own, all } = this.tree.perFunction(weights, functions.name.length);
    const by = this.data.self_time ? own : all;
    const top = [...by.keys()].filter((func) => by[func] > 0).sort((a, b) => by[b] - by[a]).slice(0, HEAT_ROWS);
    const rows = new Map(top.map((func) => [func, { name: functions.name[func], func, cells: new Float64Array(this.cells) }]));
    const { node, thread } = this.data;
    for (let row = 0; row < this.cell.length; row++) {
      if (!this.counts(thread[row])) continue;
      const found = rows.get(this.tree.func[node[row]]);
      if (found) found.cells[this.cell[row]] += this.weight[row];
    }
    const found = [...rows.values()];
    const bin = Math.max(1, Math.round((this.cells * this.heatPixels) / (this.heat.area.clientWidth || 900)));
    this.hottest = Math.max(...found.map((row) => highest(row.cells, bin)), 1e-9);
    return found;
  }

  /** How wide a spot of the heatmap is: some forty rows of all functions in each, or it would show single samples. */
  get heatPixels() {
    return Math.max(4, Math.min(24, (40 * (this.heat.area.clientWidth || 900)) / this.cell.length));
  }

  drawHeat(pen, row, y, width, chart) {
    pen.fillStyle = chart.colour("heat-0");
    pen.fillRect(0, y + 1, width, chart.row - 2);
    eachPixel(width, this.cells, this.heatPixels, (x, from, to, wide) => {
      // The square root: what one burst dwarfs is still seen.
      const level = Math.sqrt(Math.min(meanOf(row.cells, from, to) / this.hottest, 1)) * (HEAT_STEPS - 1);
      if (level <= 0) return;
      // Between two steps of the scale the darker one is laid over the lighter one, as opaque as the rest says.
      const step = Math.min(Math.floor(level), HEAT_STEPS - 2);
      pen.fillStyle = chart.colour(`heat-${step}`);
      pen.fillRect(x, y + 1, wide, chart.row - 2);
      pen.globalAlpha = level - step;
      pen.fillStyle = chart.colour(`heat-${step + 1}`);
      pen.fillRect(x, y + 1, wide, chart.row - 2);
      pen.globalAlpha = 1;
    });
  }

  heatTip(row, cell) {
    const spread = Math.max(1, Math.round(this.cells / 400));
    const [from, to] = [Math.max(0, cell - spread), Math.min(this.cells, cell + spread + 1)];
    const sum = meanOf(row.cells, from, to) * (to - from);
    return [row.name, this.when(from, to), `${formatWeight(sum, this.data.unit)} of self time`];
  }

  when(from, to) {
    const second = (cell) => ((cell * this.data.cell_ns) / 1e9).toFixed(2);
    return `${second(from)} to ${second(to)} s`;
  }
}

/** Calls `draw(x, from, to, width)` for every few pixels of a width, with the cells that lie under them. */
function eachPixel(width, cells, least, draw) {
  const wide = Math.max(least, width / cells);
  for (let x = 0; x < width; x += wide) {
    const from = Math.min(Math.floor((x / width) * cells), cells - 1);
    draw(x, from, Math.min(Math.max(Math.floor(((x + wide) / width) * cells), from + 1), cells), wide + 0.3);
  }
}

function meanOf(column, from, to) {
  let sum = 0;
  for (let cell = from; cell < to; cell++) sum += column[cell];
  return sum / (to - from);
}

/** The highest mean over so many cells in a row. */
function highest(column, bin) {
  let most = 0;
  for (let cell = 0; cell < column.length; cell += bin) most = Math.max(most, meanOf(column, cell, Math.min(cell + bin, column.length)));
  return most;
}
