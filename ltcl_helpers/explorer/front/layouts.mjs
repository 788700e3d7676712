// Where each sample lies on a map: its places along x and y, and how they are read.
//
// Nothing here knows a browser: `node --test` holds the places against numbers written by Python.

import { curveFacts } from "./data.mjs";

const HARD = "easy  ←  memorization score  →  hard";

export const MAPS = {
  size: {
    label: "Class size",
    allowed: ({ meta }) => meta.labelled,
    read: () =>
      "one mark a sample, one column a class, large classes left. High is hard: a score near 1 is a " +
      "loss far above the mean of this epoch. The bar is the class mean.",
  },
  fall: {
    label: "Fall so far",
    allowed: () => true,
    read: () =>
      "right, the momentum loss fell far since the first one shown; high, it is still above the mean.",
  },
  data: {
    label: "Data map",
    allowed: ({ rows }) => rows > 1,
    read: () =>
      "mean score over all epochs shown, against how much it varied (standard deviation). High and " +
      "left is hard all along, low and left easy all along, right changed its place (after Swayamdipta " +
      "et al. 2020).",
  },
  both: {
    label: "Both runs",
    allowed: ({ runs }) => runs.length > 1,
    read: ({ runs }) =>
      `left to right the score in ${runs[0].label}, upwards in ${runs[1].label}. On the ` +
      "diagonal both runs find a sample equally hard.",
  },
  truth: {
    label: "Truth",
    allowed: ({ memorization }) => memorization,
    read: () =>
      "to the right, a sample's loss rises more when training leaves it out (memorization); upwards the " +
      "score after this epoch. Where the score measures memorization, marks rise from left to right.",
  },
  features: {
    label: "Features",
    allowed: ({ runs }) => runs.some((run) => run.projected),
    read: (data, run) => {
      const { label, projection } = projectedOf(data, run);
      return (
        `near each other, alike to the final encoder of ${label} (two dimensions of many, ` +
        `${projection}). Large marks have high scores at this epoch in ${run.label}.`
      );
    },
  },
};

/** The run whose features are shown: the map's own, or the other one where it has none. */
const projectedOf = (data, run) => (run.projected ? run : data.runs.find((other) => other.projected));

/** The maps that these data allow. */
export const layouts = (data) => Object.keys(MAPS).filter((id) => MAPS[id].allowed(data));

/** A layout: the values of all samples along x and y, the ranges shown, and titles of the axes. */
export function placing(data, state) {
  const run = data.runs[state.run],
    t = state.row,
    scores = { range: [0, 1], title: HARD };
  if (state.layout === "both") {
    const [x, y] = data.runs.map((other) => ({
      ...scores,
      values: other.heights(t),
      title: `score, ${other.label}`,
    }));
    return { x, y };
  }
  if (state.layout === "features") {
    const shown = projectedOf(data, run);
    const [x, y] = [0, 1].map((axis) => columnOf(shown, axis));
    return { x: { ...x, title: `features of the final encoder of ${shown.label}, ${shown.projection}` }, y };
  }
  if (state.layout === "data") {
    const { mean, sd } = curveFacts(data, run);
    run.reach ??= extent(sd);
    const x = {
      values: sd,
      range: [0, run.reach[1]],
      title: "how much the score varied (standard deviation)",
    };
    const title = "easy  ←  mean score over all epochs  →  hard";
    return { x, y: { values: mean, range: [0, 1], title } };
  }
  if (state.layout === "fall") {
    const { first, falls } = curveFacts(data, run),
      loss = run.row(t);
    const values = first.map((value, i) => value - loss[i]);
    const title = "risen  ←  fall of the momentum loss so far  →  fallen far";
    return { x: { values, range: falls, title }, y: { ...scores, values: run.heights(t) } };
  }
  if (state.layout === "truth") {
    data.span ??= extent(data.memorization);
    const title = "memorization: rise of the loss when left out of training";
    const x = { values: data.memorization, range: data.span, title };
    return { x, y: { ...scores, values: run.heights(t) } };
  }
  data.column ??= Float32Array.from(data.labels, (label, i) => {
    const spread = ((Math.imul(i + 1, 2654435761) >>> 8) % 4096) / 4096; // the same in every view
    return (data.place[label] + 0.1 + 0.8 * spread) / data.classes.length;
  });
  return { x: { values: data.column, range: [0, 1] }, y: { ...scores, values: run.heights(t) } };
}

function columnOf(run, axis) {
  run.columns ??= [];
  run.columns[axis] ??= Float32Array.from({ length: run.samples }, (_, i) => run.projected[2 * i + axis]);
  const [low, high] = extent(run.columns[axis]),
    room = 0.03 * (high - low);
  return { values: run.columns[axis], range: [low - room, high + room] };
}

function extent(values) {
  let low = Infinity,
    high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low > high ? [0, 1] : [low, high];
}
