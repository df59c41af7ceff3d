"use strict";
// The functions of what is chosen as a table that can be sorted and filtered.

const TABLE_ROWS = 200;

class FunctionTable {
  /** `onChoose(func)` is told of a function that was clicked. */
  constructor(host, { functions, unit, selfTime, onChoose }) {
    Object.assign(this, { functions, unit, selfTime, onChoose });
    this.sort = { by: selfTime ? "own" : "all", down: true };
    this.filter = "";
    this.body = make("tbody");
    this.note = make("p", { class: "legend" });
    host.replaceChildren(
      make("div", { class: "toolbar" }, make("input", {
        type: "search",
        placeholder: "Filter functions",
        "aria-label": "Filter the table of functions",
        oninput: (event) => {
          this.filter = event.target.value.toLowerCase();
          this.fill();
        },
      })),
      make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of functions" },
        make("table", { class: "top-table" }, make("thead", {}, this.head()), this.body)),
      this.note,
    );
    host.functionTable = this;
  }

  head() {
    const column = (by, name, kind = "") => {
      const cell = make("th", { scope: "col", class: kind }, make("button", {
        type: "button", class: "sort", onclick: () => this.sortBy(by),
      }, name));
      cell.dataset.by = by;
      return cell;
    };
    this.columns = [column("own", "Self", "number"), column("all", "Total", "number"), column("name", "Function"),
      column("place", "Where"), column("kind", "Kind")];
    return make("tr", {}, ...this.columns);
  }

  sortBy(by) {
    const text = by === "name" || by === "place" || by === "kind";
    this.sort = this.sort.by === by ? { by, down: !this.sort.down } : { by, down: !text };
    this.fill();
  }

  /** Weights a function, in itself and with what it calls, and the weight of all. */
  show({ own, all }, whole) {
    const { functions } = this;
    this.whole = whole || 1;
    this.rows = [...own.keys()].filter((func) => all[func] > 0).map((func) => ({
      func,
      own: own[func],
      all: all[func],
      name: functions.name[func],
      place: functions.files[functions.file[func]] + (functions.line[func] ? `:${functions.line[func]}` : ""),
      kind: functions.kinds[functions.kind[func]],
    }));
    this.fill();
  }

  fill() {
    const { by, down } = this.sort;
    const order = (a, b) => (typeof a[by] === "string" ? a[by].localeCompare(b[by]) : a[by] - b[by]) * (down ? -1 : 1);
    const found = this.rows.filter((row) => `${row.name}\n${row.place}`.toLowerCase().includes(this.filter)).sort(order);
    this.body.replaceChildren(...found.slice(0, TABLE_ROWS).map((row) => this.row(row)));
    for (const column of this.columns) {
      column.setAttribute("aria-sort", column.dataset.by !== by ? "none" : down ? "descending" : "ascending");
    }
    const hidden = found.length - TABLE_ROWS;
    this.note.textContent = `${found.length.toLocaleString("en")} functions${hidden > 0 ? `, the first ${TABLE_ROWS} are shown` : ""}. Click one to see its callers and what it calls.`;
  }

  row(row) {
    const amount = (value) => make("td", { class: "number" }, formatShare(value / this.whole),
      make("span", { class: "sub" }, formatWeight(value, this.unit)));
    return make("tr", {},
      this.selfTime ? amount(row.own) : make("td", { class: "number" }, "n/a"),
      amount(row.all),
      make("th", { scope: "row" }, make("button", { type: "button", class: "expand", onclick: () => this.onChoose(row.func) },
        make("bdi", {}, row.name))),
      make("td", {}, make("bdi", {}, row.place)),
      make("td", {}, make("i", { class: `swatch ${row.kind}` }), KIND_NAMES[row.kind]));
  }
}
