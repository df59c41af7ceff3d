"use strict";
// What every page uses. Names enter the page as text nodes only; nothing from a profile is ever parsed as HTML.

const byId = (id) => document.getElementById(id);

/** An element with attributes (a function is a listener: `onclick`) and children (strings become text). */
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** The data block of that id: JSON, or JSON deflated and in base64. */
async function readBlock(id) {
  const block = byId(id);
  if (!("packed" in block.dataset)) return JSON.parse(block.textContent);
  if (typeof DecompressionStream === "undefined") {
    throw new Error("this browser cannot unpack the data: it needs Chrome 80, Firefox 113 or Safari 16.4, or newer");
  }
  const text = atob(block.textContent);
  const bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place++) bytes[place] = text.charCodeAt(place);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

/** The running sums of differences, as 32-bit integers. */
function fromDifferences(differences) {
  const column = new Int32Array(differences.length);
  let sum = 0;
  for (let place = 0; place < column.length; place++) column[place] = sum += differences[place];
  return column;
}

/** Three significant digits and the fitting unit, as in the other reports: `1.23 ms`. */
function formatTime(ns) {
  let value = ns;
  let unit = 0;
  const units = ["ns", "µs", "ms", "s"];
  while (Math.abs(value) >= 999.5 && unit < 3) {
    value /= 1000;
    unit++;
  }
  return value === 0 ? "0 ns" : `${threeDigits(value)} ${units[unit]}`;
}

function threeDigits(value) {
  const size = Math.abs(value);
  return value.toFixed(size < 9.995 ? 2 : size < 99.95 ? 1 : 0);
}

/** A weight in the unit of its event: a time, or a number with a thousands separator. */
function formatWeight(value, unit) {
  return unit === "ns" ? formatTime(value) : `${Math.round(value).toLocaleString("en")} ${unit}`;
}

function formatShare(part) {
  return part === 0 ? "0 %" : `${(part * 100).toFixed(part < 0.00095 ? 3 : part < 0.0995 ? 2 : 1)} %`;
}

function formatChange(before, after) {
  if (!before) return after ? "new" : "–";
  const change = (after / before - 1) * 100;
  return `${change > 0 ? "+" : ""}${change.toFixed(1)} %`;
}

/** Says something to screen readers. */
function announce(text) {
  byId("announcer").textContent = text;
}

const tooltip = {
  /** Shows lines near a point of the window; the first is the title. */
  show(lines, x, y) {
    const box = byId("tooltip");
    box.replaceChildren(...lines.map((line, place) => make(place ? "div" : "b", {}, line)));
    box.hidden = false;
    const { width, height } = box.getBoundingClientRect();
    box.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - width - 8))}px`;
    box.style.top = `${y + height + 24 > innerHeight ? Math.max(4, y - height - 12) : y + 16}px`;
  },
  hide() {
    byId("tooltip").hidden = true;
  },
};

/** A colour of the style sheet as it is now; asked of an element, because `light-dark()` resolves only there. */
function cssColour(name) {
  const probe = byId("announcer");
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

/** Light, dark, or as the system has it. `onChange` listeners redraw what is not styled by CSS. */
const theme = {
  listeners: [],
  names: ["auto", "light", "dark"],
  set(name) {
    if (name === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    const button = byId("theme");
    button.textContent = `Theme: ${name}`;
    button.setAttribute("aria-label", `Colours: ${name === "auto" ? "as the system" : name}`);
    for (const listener of this.listeners) listener();
  },
  start() {
    const button = byId("theme");
    button.hidden = false;
    button.addEventListener("click", () => {
      const now = document.documentElement.dataset.theme || "auto";
      this.set(this.names[(this.names.indexOf(now) + 1) % 3]);
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.set(
      document.documentElement.dataset.theme || "auto"));
  },
};

/** What the page shows, kept in the address: `#benchmark=…&function=…`, so that a link leads to it. */
const deepLink = {
  read() {
    return new URLSearchParams(location.hash.slice(1));
  },
  /** Changes some of the values; null removes one. */
  write(changes) {
    const values = this.read();
    for (const [name, value] of Object.entries(changes)) {
      if (value === null) values.delete(name);
      else values.set(name, value);
    }
    history.replaceState(null, "", `#${values}`);
  },
};

/** Calls once a frame at most, with the newest arguments. */
function oncePerFrame(call) {
  let waiting = null;
  return (...latest) => {
    if (waiting === null) requestAnimationFrame(() => {
      const given = waiting;
      waiting = null;
      call(...given);
    });
    waiting = latest;
  };
}

/** What goes wrong is said on the page, not only in the console. */
function showFailure(host, error) {
  host.replaceChildren(make("p", { class: "failure", role: "alert" }, `This cannot be shown: ${error.message}`));
}

document.documentElement.classList.add("scripted");
theme.start();
