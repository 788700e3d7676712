// The front end's numbers against those that Python wrote: `node --test`, called by test_front.py.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import {
  ORDERS,
  boostWords,
  csvText,
  coloursOf,
  curveFacts,
  inSteps,
  largest,
  learntIn,
  openData,
  packNumbers,
  ranked,
  readView,
  search,
  unpackNumbers,
  writeView,
} from "../../ltcl_helpers/explorer/front/data.mjs";
import { MAPS, layouts, placing } from "../../ltcl_helpers/explorer/front/layouts.mjs";

const folder = process.env.LTCL_FRONT;
const expected = JSON.parse(readFileSync(`${folder}/expected.json`, "utf8"));
const opened = expected.cases.map((one, at) => {
  const data = openData(one.meta, new Uint8Array(readFileSync(`${folder}/${at}.bin`)));
  return { ...one, data };
});

/** Equal up to rounding; null stands for NaN, which JSON does not know. */
function close(found, wanted, tolerance, what) {
  assert.equal(found.length, wanted.length, what);
  for (let at = 0; at < wanted.length; at++) {
    if (wanted[at] === null)
      assert.ok(Number.isNaN(found[at]), `${what}, sample ${at}: ${found[at]} is not NaN`);
    else
      assert.ok(
        Math.abs(found[at] - wanted[at]) <= tolerance,
        `${what}, ${at}: ${found[at]}, not ${wanted[at]}`,
      );
  }
}

for (const { name, data, runs } of opened) {
  test(`losses, scores and curves of ${name}`, () => {
    runs.forEach((wanted, number) => {
      const run = data.runs[number];
      wanted.scores.forEach((row, t) => {
        close(Array.from(run.row(t)), wanted.losses[t], 0, "losses");
        close(
          row.map((_, i) => run.score(t, i)),
          row,
          2e-6,
          `scores after row ${t}`,
        );
        assert.equal(run.seenBy[t], wanted.losses[t].filter((loss) => loss !== null).length);
      });
      const facts = curveFacts(data, run);
      close(facts.learnt, wanted.learnt, 0, "learnt");
      close(
        wanted.learnt.map((_, i) => learntIn(data, run, i)),
        wanted.learnt,
        0,
        "learnt, one by one",
      );
      close(facts.mean, wanted.mean, 2e-6, "mean score");
      close(facts.sd, wanted.sd, 2e-5, "variability");
    });
  });

  test(`orders of ${name}`, () => {
    for (const [sort, { row, focus, key, first }] of Object.entries(expected.orders[name])) {
      const found = ORDERS[sort].key(data, data.runs[0], row, focus);
      close(found, key, 2e-6, sort);
      const state = { scope: "all", selection: [], hidden: new Set(), sort, run: 0, row, focus };
      const shown = ranked(data, state, first.length);
      close(
        shown.map((i) => found[i]),
        first.map((i) => key[i]),
        2e-6,
        `first of ${sort}`,
      );
    }
  });
}

test("on every map a sample lies where Python's numbers put it", () => {
  const { name, data, runs } = opened[0],
    { row, key } = expected.orders[name].falling;
  const seen = runs.map(({ scores, losses }) =>
    scores[row].map((score, i) => (losses[row][i] === null ? null : score)),
  );
  const column = (axis) => Array.from(data.labels, (_, i) => data.runs[0].projected[2 * i + axis]);
  const wanted = {
    size: [null, seen[0]],
    fall: [key, seen[0]],
    data: [runs[0].sd, runs[0].mean],
    both: seen,
    truth: [opened[0].memorization, seen[0]],
    features: [column(0), column(1)],
  };
  assert.deepEqual(layouts(data), Object.keys(wanted));
  for (const [layout, places] of Object.entries(wanted)) {
    const axes = Object.values(placing(data, { run: 0, row, layout }));
    axes.forEach(({ values, range: [low, high] }, axis) => {
      if (places[axis]) close(Array.from(values), places[axis], 2e-5, `${layout}, axis ${axis}`);
      for (const value of values) assert.ok(!(value < low || value > high), `${layout}: ${value} is seen`);
    });
  }
  const { x } = placing(data, { run: 0, row, layout: "size" });
  data.labels.forEach((label, i) =>
    assert.equal(Math.floor(x.values[i] * data.classes.length), data.place[label]),
  );
});

test("a map of features names the run whose encoder made them", () => {
  const { data } = opened[0],
    [first, second] = data.runs;
  const bare = { ...second, projected: null, projection: undefined };
  const read = MAPS.features.read({ ...data, runs: [first, bare] }, bare);
  assert.ok(read.includes(`final encoder of ${first.label} (two dimensions of many, PCA)`));
});

test("the colours of memorization are even steps, and its ends do not stretch them", () => {
  const values = Float32Array.from({ length: 101 }, (_, at) => (at === 100 ? 1e6 : at - 50));
  const { steps, low, high } = inSteps(values, 4);
  assert.deepEqual([low, high], [-48, 48]);
  assert.deepEqual([steps[0], steps[26], steps[50], steps[97], steps[100]], [0, 1, 2, 3, 3]);
  assert.deepEqual(new Set(inSteps(new Float32Array(5), 4).steps), new Set([0])); // all are equal
  assert.deepEqual(coloursOf(opened[0].data), ["group", "memorization"]);
  assert.deepEqual(coloursOf(opened[1].data), ["group"]);
});

test("a class's whole name is found first, whatever it is", () => {
  const classes = ["2", "red, ripe", "red"].map((name) => ({ name, group: "all" }));
  const data = { classes, labels: [0, 1, 2, 0], samples: 4, groups: ["all"], meta: { labelled: true } };
  assert.deepEqual(search(data, "2").found, [0, 3]);
  assert.deepEqual(search(data, "#2").found, [2]);
  assert.deepEqual(search(data, "Red, Ripe").found, [1]);
  assert.deepEqual(search(data, "red, 1").found, [2, 1]);
  assert.deepEqual(search(data, "re").found, [1, 2]);
});

test("a strength is that of the epoch in which it was used", () => {
  const { data, runs } = opened[0];
  const used = data.meta.used;
  assert.deepEqual(used.slice(0, 2), [
    [1, -1],
    [2, 0],
  ]);
  const [strength, probability] = boostWords(data, data.runs[1], 1, 3);
  const score = runs[1].scores[0][3];
  assert.equal(strength, (10 + 20 * score).toFixed(1));
  assert.equal(probability, score.toFixed(2));
  assert.deepEqual(boostWords(data, data.runs[1], 0, 3), ["10.0", "0.00"]); // in epoch 1 all scores are 0
});

test("the largest are found among many and among few, ties by number, NaN never", () => {
  const keys = Float32Array.from([1, NaN, 3, 3, NaN, 2]);
  for (const count of [3, 600])
    assert.deepEqual(largest([5, 4, 3, 2, 1, 0], keys, count).slice(0, 3), [2, 3, 5]);
  assert.equal(largest([0, 1, 2, 3, 4, 5], keys, 6).length, 4);
});

test("an address says the view again, and nothing makes it fail", () => {
  const { data } = opened[0];
  const state = {
    row: 2,
    run: 1,
    layout: "fall",
    sort: "learnt",
    scope: "all",
    curve: "score",
    colour: "memorization",
    focus: 4,
    keys: false,
    selection: [7, 8, 9, 2],
    hidden: new Set(["few"]),
    zoom: [0.1, 0.2, 4],
  };
  const { hash, left } = writeView(data, state);
  assert.equal(left, "");
  const { row, run, layout, sort, curve, colour, focus, selection, hidden, zoom, keys } = readView(
    data,
    hash,
    ["fall"],
  );
  assert.deepEqual(
    { row, run, layout, sort, curve, colour, focus, selection, hidden, zoom, keys },
    {
      row: 2,
      run: 1,
      layout: "fall",
      sort: "learnt",
      curve: "score",
      colour: "memorization",
      focus: 4,
      selection: [7, 8, 9, 2],
      hidden: new Set(["few"]),
      zoom: [0.1, 0.2, 4],
      keys: false,
    },
  );
  for (const odd of [
    "#run=length",
    "#run=-1&epoch=x",
    "#selection=5-2.x.-1.1e9",
    "#zoom=a",
    "#hidden=<b>",
    "#%",
  ]) {
    const found = readView(data, odd, ["size"]);
    assert.ok(!("run" in found) && !("row" in found) && !found.selection?.length);
  }
  const many = Array.from({ length: 20000 }, (_, at) => 2 * at);
  assert.match(writeView(data, { ...state, selection: many }).left, /20,000 selected/);
  assert.deepEqual(unpackNumbers(packNumbers([3, 4, 5, 9, 1]), 100), [3, 4, 5, 9, 1]);
  assert.deepEqual(unpackNumbers("1-99999999", 4), [1, 2, 3]); // as far as there are samples
});

test("no field of the CSV file is a formula", () => {
  const { data } = opened[0];
  const lines = csvText(data, [0, 1, 2, 3, 4, 5], 1).split("\n");
  assert.ok(lines.some((line) => line.includes(`"'=1+1"`)));
  for (const field of lines.join(",").split(",")) assert.doesNotMatch(field, /^"?[=+@\t]/);
  assert.ok(lines[0].includes(`"memorization (leave-out)"`) && lines[0].includes("momentum loss 2, ") && lines.length === 8);
});
