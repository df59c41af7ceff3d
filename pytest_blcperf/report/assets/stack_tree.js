"use strict";
// Stacks as a tree in typed arrays, and what flame graphs do with it: sum up, lay out, filter, turn round.
//
// Nodes come level by level, within a level by parent, among siblings by function (functions are sorted by name). So
// one pass backwards sums the tree up, one pass forwards lays it out, and a level is a run of indices with rising x.

class StackTree {
  /** `parent` and `func` are Int32Arrays; a root's parent is -1. */
  constructor(parent, func) {
    this.parent = parent;
    this.func = func;
    this.size = parent.length;
    this.levels = StackTree.levelStarts(parent);
  }

  static fromData(data) {
    return new StackTree(fromDifferences(data.parent), Int32Array.from(data.function));
  }

  /** Where each level begins, and at last the number of nodes. */
  static levelStarts(parent) {
    const starts = [0];
    let levelStart = 0;
    for (let node = 0; node < parent.length; node++) {
      if (parent[node] >= levelStart) {
        levelStart = node;
        starts.push(node);
      }
    }
    if (parent.length) starts.push(parent.length);
    return Int32Array.from(starts);
  }

  get depth() {
    return this.levels.length - 1;
  }

  depthOf(node) {
    let depth = 0;
    while (this.levels[depth + 1] <= node) depth++;
    return depth;
  }

  /** Each node's weight with everything it calls, from the weights that end in it. */
  sumUp(self) {
    const total = Float64Array.from(self);
    for (let node = this.size - 1; node >= 0; node--) {
      if (this.parent[node] >= 0) total[this.parent[node]] += total[node];
    }
    return total;
  }

  /** Where each node begins when siblings stand side by side, in the unit of `total`; and the width of all roots. */
  layOut(total) {
    const start = new Float64Array(this.size);
    const next = new Float64Array(this.size);
    let roots = 0;
    for (let node = 0; node < this.size; node++) {
      const parent = this.parent[node];
      if (parent < 0) {
        start[node] = roots;
        roots += total[node];
      } else {
        start[node] = next[parent];
        next[parent] += total[node];
      }
      next[node] = start[node];
    }
    return { start, width: roots };
  }

  /** Weight of each function, itself and with what it calls, counted once a stack however often it recurs. */
  perFunction(self, count) {
    const own = new Float64Array(count);
    const all = new Float64Array(count);
    const total = this.sumUp(self);
    const outer = this.outermost();
    for (let node = 0; node < this.size; node++) {
      own[this.func[node]] += self[node];
      if (outer[node]) all[this.func[node]] += total[node];
    }
    return { own, all };
  }

  /** 1 where no caller of a node is the same function. */
  outermost() {
    if (this.outer) return this.outer;
    this.outer = new Uint8Array(this.size).fill(1);
    for (let node = 0; node < this.size; node++) {
      for (let above = this.parent[node]; above >= 0; above = this.parent[above]) {
        if (this.func[above] === this.func[node]) {
          this.outer[node] = 0;
          break;
        }
      }
    }
    return this.outer;
  }

  /** Weight in nodes that match, or are called by one that does: no weight counts twice. */
  weightOf(matches, total) {
    const covered = new Uint8Array(this.size);
    let sum = 0;
    for (let node = 0; node < this.size; node++) {
      const above = this.parent[node] >= 0 && covered[this.parent[node]];
      if (above) covered[node] = 1;
      else if (matches[this.func[node]]) {
        covered[node] = 1;
        sum += total[node];
      }
    }
    return sum;
  }

  /** This tree without the functions that are not kept: `{tree, columns}`; their weight goes to the nearest caller kept. */
  without(kept, columns) {
    const builder = new TreeBuilder();
    const moved = new Int32Array(this.size);
    for (let node = 0; node < this.size; node++) {
      const above = this.parent[node] < 0 ? -1 : moved[this.parent[node]];
      moved[node] = kept[this.func[node]] ? builder.child(above, this.func[node]) : above;
    }
    return builder.finish(moved, columns);
  }

  /**
   * The tree of the callers, leaves first: `{tree, columns}`.
   *
   * A branch below a twenty-thousandth of the whole ends where it is: unlike callees, callers hardly share their paths,
   * and a hundred thousand stacks would become millions of frames that nobody can see.
   */
  reversed(columns) {
    const weight = new Float64Array(this.size);
    for (const column of columns) for (let node = 0; node < this.size; node++) weight[node] += column[node];
    const least = weight.reduce((sum, one) => sum + one, 0) / 20_000;
    const builder = new TreeBuilder();
    const moved = new Int32Array(this.size).fill(-1);
    const above = Int32Array.from({ length: this.size }, (_, node) => node);
    let active = above.filter((node) => weight[node] > 0);
    while (active.length) {
      const sums = new Map();
      for (const leaf of active) {
        const place = builder.child(moved[leaf], this.func[above[leaf]]);
        moved[leaf] = place;
        above[leaf] = this.parent[above[leaf]];
        sums.set(place, (sums.get(place) ?? 0) + weight[leaf]);
      }
      active = active.filter((leaf) => above[leaf] >= 0 && sums.get(moved[leaf]) >= least);
    }
    return builder.finish(moved, columns);
  }

  /** The tree of the callers of a function, itself the root; each of its outermost calls counts with all it calls. */
  callersOf(func, self) {
    const total = this.sumUp(self);
    const outer = this.outermost();
    const builder = new TreeBuilder();
    const moved = new Int32Array(this.size).fill(-1);
    for (let node = 0; node < this.size; node++) {
      if (this.func[node] !== func || !outer[node] || !total[node]) continue;
      let place = -1;
      for (let above = node; above >= 0; above = this.parent[above]) place = builder.child(place, this.func[above]);
      moved[node] = place;
    }
    return builder.finish(moved, [total]);
  }

  /** The tree of what a function calls, itself the root. */
  calleesOf(func, self) {
    const outer = this.outermost();
    const builder = new TreeBuilder();
    const moved = new Int32Array(this.size).fill(-1);
    for (let node = 0; node < this.size; node++) {
      const above = this.parent[node] < 0 ? -1 : moved[this.parent[node]];
      if (above >= 0) moved[node] = builder.child(above, this.func[node]);
      else if (this.func[node] === func && outer[node]) moved[node] = builder.child(-1, func);
    }
    return builder.finish(moved, [self]);
  }
}

/** Makes a tree path by path, in any order; an open hash table, because a Map of a million keys takes a second. */
class TreeBuilder {
  constructor() {
    this.count = 0;
    this.parent = new Int32Array(1 << 12);
    this.func = new Int32Array(1 << 12);
    this.slots = new Int32Array(1 << 13).fill(-1);
  }

  /** Twice the room for nodes, four times as many slots as nodes at most half full. */
  grow() {
    for (const name of ["parent", "func"]) {
      const longer = new Int32Array(this.count * 2);
      longer.set(this[name]);
      this[name] = longer;
    }
    this.slots = new Int32Array(this.count * 4).fill(-1);
    for (let node = 0; node < this.count; node++) this.slots[this.find(this.parent[node], this.func[node])] = node;
  }

  /** The slot of a child, or the free one where it belongs. */
  find(parent, func) {
    const mask = this.slots.length - 1;
    // Both numbers mixed well (the finish of MurmurHash3): they are small and rise together.
    let hash = Math.imul(parent + 1, 0x9e3779b1) + Math.imul(func, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    let slot = (hash ^ (hash >>> 16)) & mask;
    for (;;) {
      const node = this.slots[slot];
      if (node < 0 || (this.parent[node] === parent && this.func[node] === func)) return slot;
      slot = (slot + 1) & mask;
    }
  }

  /** The node of a function under a node (-1: a root), made when it is new. */
  child(parent, func) {
    let slot = this.find(parent, func);
    if (this.slots[slot] >= 0) return this.slots[slot];
    if (this.count === this.parent.length) {
      this.grow();
      slot = this.find(parent, func);
    }
    const node = this.count++;
    this.parent[node] = parent;
    this.func[node] = func;
    this.slots[slot] = node;
    return node;
  }

  /** The tree in order, and columns of weights moved to it: node n's weight goes to `moved[n]` (-1: nowhere). */
  finish(moved, columns) {
    const order = this.order();
    const place = new Int32Array(order.length);
    order.forEach((node, at) => (place[node] = at));
    const parent = new Int32Array(order.length);
    const func = new Int32Array(order.length);
    order.forEach((node, at) => {
      parent[at] = this.parent[node] < 0 ? -1 : place[this.parent[node]];
      func[at] = this.func[node];
    });
    const weights = columns.map((column) => {
      const sums = new Float64Array(order.length);
      for (let node = 0; node < moved.length; node++) if (moved[node] >= 0) sums[place[moved[node]]] += column[node];
      return sums;
    });
    return { tree: new StackTree(parent, func), columns: weights };
  }

  /** Nodes by level, parent and function, without a comparison sort: child lists filled from the last function on. */
  order() {
    const { count } = this;
    const first = new Int32Array(count + 1).fill(-1);
    const next = new Int32Array(count);
    for (const node of this.byFunction()) {
      const list = this.parent[node] + 1;
      next[node] = first[list];
      first[list] = node;
    }
    const order = new Int32Array(count);
    let filled = 0;
    for (let node = first[0]; node >= 0; node = next[node]) order[filled++] = node;
    for (let at = 0; at < filled; at++) {
      for (let node = first[order[at] + 1]; node >= 0; node = next[node]) order[filled++] = node;
    }
    return order;
  }

  /** Nodes by function, last function first (a counting sort). */
  byFunction() {
    let most = 0;
    for (let node = 0; node < this.count; node++) most = Math.max(most, this.func[node]);
    const ends = new Int32Array(most + 2);
    for (let node = 0; node < this.count; node++) ends[this.func[node] + 1]++;
    for (let func = 0; func <= most; func++) ends[func + 1] += ends[func];
    const sorted = new Int32Array(this.count);
    for (let node = 0; node < this.count; node++) sorted[ends[this.func[node]]++] = node;
    return sorted.reverse();
  }
}
