"use strict";
// What a differential flame graph is drawn from: both sides' weights on one tree, coloured by verdict.

const TONES = ["unjudged", "unsure", "regressed", "improved", "follows"];

/** The panel's model of two sides: column 0 is the base, column 1 the head, both ns of CPU time per iteration or second. */
function differentialModel(label, data) {
  const tree = StackTree.fromData(data.tree);
  const nodes = fromDifferences(data.node);
  const columns = [data.base, data.head].map((weights) => {
    const column = new Float64Array(tree.size);
    nodes.forEach((node, place) => (column[node] = weights[place]));
    return column;
  });
  const { functions, tones, remarks } = data;
  return {
    label: `${label}, both sides`,
    functions,
    tree,
    columns,
    widths: [
      ["mean of both", (base, head) => (base + head) / 2],
      ["head", (_, head) => head],
      ["base", (base) => base],
    ],
    fill: (func) => TONES[tones[func]],
    tip: (func, own, all, wholes) => [
      functions.name[func],
      functions.files[functions.file[func]] + (functions.line[func] ? `:${functions.line[func]}` : ""),
      `here ${formatTime(all[0])} → ${formatTime(all[1])} ${data.per} (${formatChange(all[0], all[1])})`,
      `self ${formatTime(own[0])} → ${formatTime(own[1])}, ${formatShare(all[1] / (wholes[1] || 1))} of the head`,
      remarks[func] || (TONES[tones[func]] === "unjudged" ? "not judged: too small" : ""),
    ].filter(Boolean),
  };
}
