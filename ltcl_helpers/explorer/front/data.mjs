// What the explorer shows, computed: losses, scores, orders, the page's address and the CSV file.
//
// Nothing here knows a browser, so that `node --test` can hold it against numbers written by Python.

export const GROUPS = ["many", "medium", "few", "all"];
const ROUNDING = 4 * 2 ** -52; // as in methods/memory.py: by so much may a mean of equal losses miss them
const MOST_ADDRESS = 20_000; // characters of a selection in an address; browsers and mails cut longer ones
const NEIGHBOURS = 10;

export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const THOUSANDS = new Intl.NumberFormat("en");
export const many = (count) => THOUSANDS.format(count);
export const round = (value, digits) => value.toFixed(digits);
export const signed = (value, digits) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;
export const short = (value, digits = 5) => String(Number(value.toPrecision(digits)));

// --- losses and scores ------------------------------------------------------------------------
/** Every float16 as a number, by its 16 bits. */
const HALF = Float32Array.from({ length: 65536 }, (_, bits) => {
  const sign = bits & 0x8000 ? -1 : 1,
    exponent = (bits >> 10) & 31,
    fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
});

/** The arrays of a payload, and what is computed from them once. */
export function openData(meta, bytes) {
  if (bytes.byteOffset % 8) bytes = bytes.slice();
  const raw = (name) => {
    const [start, length] = meta.arrays[name];
    return bytes.subarray(start, start + length);
  };
  const array = (name, Kind) => {
    if (!meta.arrays[name]) return null;
    const part = raw(name);
    return new Kind(part.buffer, part.byteOffset, part.length / Kind.BYTES_PER_ELEMENT);
  };
  const { samples, classes, epochs } = meta,
    labels = array("labels", Uint16Array);
  const runs = meta.runs.map((about, n) => {
    const losses = array(`loss${n}`, about.type === "float32" ? Float32Array : Uint16Array);
    const run = openRun(about, losses, samples, epochs.length);
    run.projected = array(`projection${n}`, Float32Array);
    run.neighbours = array(`neighbours${n}`, Int32Array);
    return run;
  });
  const bySize = classes.map((_, c) => c).sort((a, b) => classes[b].size - classes[a].size || a - b);
  const place = new Uint16Array(classes.length); // of a class, the largest first
  bySize.forEach((c, at) => (place[c] = at));
  const groups = GROUPS.filter((name) => classes.some((c) => c.group === name && c.size));
  const ofClass = classes.map((c) => groups.indexOf(c.group));
  const rank = Uint8Array.from(labels, (label) => ofClass[label]);
  return {
    meta,
    raw,
    samples,
    rows: epochs.length,
    epochs,
    classes,
    labels,
    runs,
    bySize,
    place,
    groups,
    rank,
    order: inGroups(rank, groups.length),
    index: array("index", Int32Array),
    memorization: array("memorization", Float32Array), // by leaving out, where it was measured
    group: (i) => groups[rank[i]],
    name: (i) => (meta.labelled ? classes[labels[i]].name : "sample"),
  };
}

/** All samples, the many classes' first: what is drawn last lies on top, and that is few. */
function inGroups(rank, groups) {
  const order = new Uint32Array(rank.length);
  let at = 0;
  for (let group = 0; group < groups; group++) {
    for (let i = 0; i < rank.length; i++) if (rank[i] === group) order[at++] = i;
  }
  return order;
}

/**
 * A run's losses and scores.
 *
 * A score compares a loss with the mean of all losses seen by that epoch. A loss of NaN means that the
 * sample was not seen yet; its score is 0.5, as in Python, and its height on the map NaN.
 */
export function openRun(about, losses, samples, rows) {
  const half = !(losses instanceof Float32Array);
  const loss = half ? (t, i) => HALF[losses[t * samples + i]] : (t, i) => losses[t * samples + i];
  const row = keepLast(3, (t) => {
    const part = losses.subarray(t * samples, (t + 1) * samples);
    if (!half) return part;
    const found = new Float32Array(samples);
    for (let i = 0; i < samples; i++) found[i] = HALF[part[i]];
    return found;
  });
  const mean = new Float64Array(rows),
    far = new Float64Array(rows),
    seenBy = new Uint32Array(rows);
  for (let t = 0; t < rows; t++) [mean[t], far[t], seenBy[t]] = spread(row(t));
  const toScore = (t, value) => (far[t] > 0 ? (1 + (value - mean[t]) / far[t]) / 2 : 0.5 + 0 * value);
  const heights = keepLast(3, (t) => {
    const found = new Float32Array(samples),
      values = row(t);
    for (let i = 0; i < samples; i++) found[i] = toScore(t, values[i]);
    return found;
  });
  const seen = (t, i) => !Number.isNaN(loss(t, i));
  const score = (t, i) => (seen(t, i) ? toScore(t, loss(t, i)) : 0.5);
  return { ...about, samples, rows, loss, row, heights, toScore, seen, score, seenBy };
}

/** Mean, largest distance from it (0 where all are equal), and count of the losses seen. */
function spread(values) {
  const start = values.find((value) => value === value) ?? 0;
  let sum = 0,
    seen = 0,
    most = 0,
    far = 0;
  for (const value of values) {
    if (value !== value) continue;
    sum += value - start; // so that equal losses have exactly their value as the mean
    seen++;
  }
  const mean = start + sum / (seen || 1);
  for (const value of values) {
    const distance = Math.abs(value - mean),
      size = Math.abs(value);
    if (distance > far) far = distance; // never true of NaN
    if (size > most) most = size;
  }
  return [mean, far > ROUNDING * most ? far : 0, seen];
}

/** Values in so many equal steps from 0, and their range, without the farthest 2 % at each end. */
export function inSteps(values, count) {
  const sorted = Float32Array.from(values).sort(),
    at = (part) => sorted[Math.round(part * (sorted.length - 1))];
  const [low, high] = [at(0.02), at(0.98)],
    wide = high - low || 1;
  const steps = Uint8Array.from(values, (v) => clamp(Math.floor(((v - low) / wide) * count), 0, count - 1));
  return { steps, low, high };
}

/** The same function, its last few results kept. */
function keepLast(count, compute) {
  const kept = new Map();
  return (key) => {
    if (!kept.has(key)) {
      if (kept.size >= count) kept.delete(kept.keys().next().value);
      kept.set(key, compute(key));
    }
    return kept.get(key);
  };
}

// --- orders: one number a sample, as explorer/orders.py has them --------------------------------
/** What each sample's curve says once and for all; computed when it is first asked for, row by row. */
export function curveFacts(data, run) {
  if (run.facts) return run.facts;
  const made = () => new Float32Array(data.samples).fill(NaN);
  const facts = (run.facts = { first: made(), wandering: made(), learnt: made(), mean: made(), sd: made() });
  const { samples } = data,
    before = made(),
    path = new Float64Array(samples),
    sum = new Float64Array(samples),
    squares = new Float64Array(samples),
    count = new Uint32Array(samples);
  let low = Infinity,
    high = -Infinity;
  for (let t = 0; t < data.rows; t++) {
    const row = run.row(t),
      medians = data.groups.map((group) => run.bands[group][t][1]);
    for (let i = 0; i < samples; i++) {
      const loss = row[i];
      if (!(loss < medians[data.rank[i]])) facts.learnt[i] = NaN;
      else if (facts.learnt[i] !== facts.learnt[i]) facts.learnt[i] = data.epochs[t];
      if (loss !== loss) continue;
      if (count[i]) path[i] += Math.abs(loss - before[i]);
      else facts.first[i] = loss;
      const score = run.toScore(t, loss),
        fallen = facts.first[i] - loss;
      sum[i] += score;
      squares[i] += score * score;
      before[i] = loss;
      count[i]++;
      if (fallen < low) low = fallen;
      if (fallen > high) high = fallen;
    }
  }
  for (let i = 0; i < samples; i++) {
    if (!count[i]) continue;
    facts.wandering[i] = path[i] - Math.abs(before[i] - facts.first[i]);
    facts.mean[i] = sum[i] / count[i];
    facts.sd[i] = Math.sqrt(Math.max(0, squares[i] / count[i] - (sum[i] / count[i]) ** 2));
  }
  facts.falls = [low, high];
  return facts;
}

/** The epoch in which one sample was learnt, NaN for never: all samples' take longer. */
export function learntIn(data, run, i) {
  const medians = run.bands[data.group(i)];
  let t = data.rows - 1;
  while (t >= 0 && run.loss(t, i) < medians[t][1]) t--;
  return t < data.rows - 1 ? data.epochs[t + 1] : NaN;
}

const byRow = (data, compute) => Float32Array.from({ length: data.samples }, (_, i) => compute(i));
const difference = (data, t, i) =>
  data.runs[1].toScore(t, data.runs[1].loss(t, i)) - data.runs[0].toScore(t, data.runs[0].loss(t, i));
const fall = (data, run, t, i) => curveFacts(data, run).first[i] - run.loss(t, i);
const neighbour = (data, run, i, focus) => {
  if (focus === null) return NaN;
  if (i === focus) return 0;
  const place = run.neighbours.subarray(focus * NEIGHBOURS, (focus + 1) * NEIGHBOURS).indexOf(i);
  return place < 0 ? NaN : place + 1;
};

/** Each order: what ranks the samples (NaN: no place in it), and the value that a tile shows. */
export const ORDERS = {
  hardest: {
    label: "Hardest now",
    key: (data, run, t) => run.row(t),
    value: (data, run, t, i) => round(run.score(t, i), 2),
  },
  easiest: {
    label: "Easiest now",
    key: (data, run, t) => run.row(t).map((loss) => -loss),
    value: (data, run, t, i) => round(run.score(t, i), 2),
  },
  falling: {
    label: "Fastest falling",
    key: (data, run, t) => byRow(data, (i) => fall(data, run, t, i)),
    value: (data, run, t, i) => signed(-fall(data, run, t, i), 2),
  },
  wandering: {
    label: "Most up and down",
    key: (data, run) => curveFacts(data, run).wandering,
    value: (data, run, t, i) => short(curveFacts(data, run).wandering[i]),
  },
  learnt: {
    label: "Learnt last",
    key: (data, run) => curveFacts(data, run).learnt,
    value: (data, run, t, i) => `ep. ${curveFacts(data, run).learnt[i]}`,
  },
  difference: {
    label: "Runs differ most",
    allowed: (data) => data.runs.length > 1,
    key: (data, run, t) => byRow(data, (i) => Math.abs(difference(data, t, i))),
    value: (data, run, t, i) => signed(difference(data, t, i), 2),
  },
  near: {
    label: "Nearest to the chosen",
    allowed: (data) => data.runs.every((run) => run.neighbours),
    key: (data, run, t, focus) => byRow(data, (i) => -neighbour(data, run, i, focus)),
    value: (data, run, t, i, focus) => `no. ${neighbour(data, run, i, focus)}`,
  },
};

export const ordersOf = (data) => Object.keys(ORDERS).filter((id) => ORDERS[id].allowed?.(data) ?? true);

/** The `count` samples of `pool` with the largest keys, largest first; none whose key is NaN. */
export function largest(pool, keys, count) {
  const before = (a, b) => keys[a] > keys[b] || (keys[a] === keys[b] && a < b);
  if (count > 500) {
    const all = Array.from(pool).filter((i) => keys[i] === keys[i]);
    return all.sort((a, b) => keys[b] - keys[a] || a - b).slice(0, count);
  }
  const best = [];
  for (const i of pool) {
    if (keys[i] !== keys[i]) continue;
    if (best.length === count && !before(i, best[count - 1])) continue;
    let at = best.length;
    while (at > 0 && before(i, best[at - 1])) at--;
    best.splice(at, 0, i);
    if (best.length > count) best.pop();
  }
  return best;
}

/** The first samples of an order, among those shown. */
export function ranked(data, state, count) {
  const pool = state.scope === "selection" && state.selection.length ? state.selection : data.order;
  const shown = state.hidden.size ? pool.filter((i) => !state.hidden.has(data.group(i))) : pool;
  return largest(shown, ORDERS[state.sort].key(data, data.runs[state.run], state.row, state.focus), count);
}

// --- boosts -------------------------------------------------------------------------------------
/** What steered a sample's views in the epoch that belongs to a row: a score; null where unknown. */
export function steered(data, run, t, i) {
  const used = data.meta.used[t];
  if (!used) return null;
  const [, row] = used; // the shown row whose scores were used; -1 in epoch 1, when all are 0
  if (run.steer === "other" || run.steer === "aim") return row < 0 ? 0 : null;
  if (row < 0) return 0;
  const own = run.score(row, i),
    rare = data.classes[data.labels[i]].rarity ?? 0;
  const unscaled = { none: own, own, mean: 0.5, inverted: 1 - own, class: rare }[run.steer];
  return Math.min(1, run.scale * unscaled);
}

/** Strength and probability of a sample's views in the epoch of a row, as text. */
export function boostWords(data, run, t, i) {
  if (!data.meta.used[t]) return [data.meta.over, data.meta.over];
  const by = steered(data, run, t, i);
  if (by === null) {
    const whose = run.steer === "aim" ? "by another aim" : "another sample's";
    return [whose, whose];
  }
  const [atZero, atOne] = run.strength;
  const ends = atZero.map((low, end) => round(low + (atOne[end] - low) * by, 1));
  const strength = [...new Set(ends)].join(" to ");
  if (run.steer !== "none") return [strength, round(by, 2)];
  return [`none (BCL-I: ${strength})`, `0 (BCL-I: ${round(by, 2)})`];
}

// --- search -------------------------------------------------------------------------------------
/** Samples by class name, group or number, several terms between commas; and the terms not found.
 *  A class's whole name comes first, whatever it is; "#2" is always sample 2. */
export function search(data, text) {
  const found = [],
    unknown = [];
  const take = (test) => {
    const wanted = data.classes.map(test);
    for (let i = 0; i < data.samples; i++) if (wanted[data.labels[i]]) found.push(i);
  };
  const isClass = (name) => data.meta.labelled && data.classes.some((c) => c.name.toLowerCase() === name);
  const whole = text.trim();
  const parts = isClass(whole.toLowerCase()) ? [whole] : text.split(",").map((part) => part.trim());
  for (const term of parts.filter(Boolean)) {
    const before = found.length,
      range = /^#?(\d+)(?:\s*-\s*(\d+))?$/.exec(term),
      low = term.toLowerCase();
    if (isClass(low)) {
      take((c) => c.name.toLowerCase() === low);
    } else if (range) {
      const last = Math.min(Number(range[2] ?? range[1]), data.samples - 1);
      for (let i = Number(range[1]); i <= last; i++) found.push(i);
    } else if (data.meta.labelled) {
      if (data.groups.includes(low)) take((c) => c.group === low);
      else take((c) => c.name.toLowerCase().includes(low));
    }
    if (found.length === before) unknown.push(term);
  }
  return { found, unknown };
}

// --- the address --------------------------------------------------------------------------------
/** Sample numbers as text: 40-44.7 is 40, 41, 42, 43, 44, 7. */
export function packNumbers(list) {
  const parts = [];
  for (let at = 0; at < list.length;) {
    let end = at;
    while (list[end + 1] === list[end] + 1) end++;
    parts.push(end > at ? `${list[at]}-${list[end]}` : list[at]);
    at = end + 1;
  }
  return parts.join(".");
}

export function unpackNumbers(text, samples) {
  const found = [];
  for (const part of text.split(".")) {
    const match = /^(\d{1,9})(?:-(\d{1,9}))?$/.exec(part);
    if (!match) continue;
    const last = Math.min(Number(match[2] ?? match[1]), samples - 1);
    for (let i = Number(match[1]); i <= last; i++) found.push(i);
  }
  return found;
}

const CHOICES = { scope: ["all", "selection"], curve: ["loss", "score"] };
export const coloursOf = (data) => (data.memorization ? ["group", "memorization"] : ["group"]);

/** What is shown, as the part of an address after #, and what of it had no room. */
export function writeView(data, state) {
  const parts = new URLSearchParams({ epoch: data.epochs[state.row], run: state.run });
  for (const name of ["layout", "sort", "scope", "curve"]) parts.set(name, state[name]);
  if (state.colour === "memorization") parts.set("colour", state.colour);
  if (state.focus !== null) parts.set("sample", state.focus);
  if (state.hidden.size) parts.set("hidden", [...state.hidden].join("."));
  if (state.zoom[2] > 1) parts.set("zoom", state.zoom.map((v) => round(v, 3)).join("_"));
  if (!state.keys) parts.set("keys", "off");
  const selection = packNumbers(state.selection);
  if (selection && selection.length <= MOST_ADDRESS) parts.set("selection", selection);
  const left = selection.length > MOST_ADDRESS ? `the ${many(state.selection.length)} selected samples` : "";
  return { hash: `#${parts}`, left };
}

/** The changes of state that an address asks for; whatever makes no sense is left out. */
export function readView(data, hash, layouts) {
  const parts = new URLSearchParams(hash.replace(/^#/, "")),
    next = {};
  const number = (name) => (/^\d{1,9}$/.test(parts.get(name) ?? "") ? Number(parts.get(name)) : NaN);
  const allowed = { ...CHOICES, layout: layouts, sort: ordersOf(data), colour: coloursOf(data) };
  const row = data.epochs.indexOf(number("epoch"));
  if (row >= 0) next.row = row;
  for (const [name, values] of Object.entries(allowed)) {
    if (values.includes(parts.get(name))) next[name] = parts.get(name);
  }
  if (number("run") < data.runs.length) next.run = number("run");
  if (parts.has("selection")) next.selection = unpackNumbers(parts.get("selection"), data.samples);
  if (number("sample") >= 0) next.focus = Math.min(number("sample"), data.samples - 1);
  if (parts.has("hidden")) {
    next.hidden = new Set(
      parts
        .get("hidden")
        .split(".")
        .filter((group) => data.groups.includes(group)),
    );
  }
  const [zx, zy, scale] = (parts.get("zoom") ?? "").split("_").map(Number);
  if (scale >= 1 && scale <= 40) next.zoom = [clamp(zx || 0, 0, 1), clamp(zy || 0, 0, 1), scale];
  if (parts.get("keys") === "off") next.keys = false;
  return next;
}

// --- CSV ----------------------------------------------------------------------------------------
/** A field that no spreadsheet takes for a formula. */
function quote(text) {
  const harmless = /^[=+\-@\t\r]/.test(text) ? `'${text}` : String(text);
  return `"${harmless.replaceAll('"', '""')}"`;
}

/** The selected samples with their curves, a line each. */
export function csvText(data, selection, t) {
  const { labelled } = data.meta,
    head = ["sample"];
  if (data.index) head.push("position");
  if (labelled) head.push("class", "class size", "group");
  if (data.memorization) head.push("memorization (leave-out)");
  for (const { label } of data.runs) {
    head.push(`score after epoch ${data.epochs[t]}, ${label}`, `learnt in epoch, ${label}`);
    head.push(...data.epochs.map((epoch) => `momentum loss ${epoch}, ${label}`));
  }
  const number = (value, digits) => (value === value ? Number(value.toPrecision(digits)) : ""); // NaN: empty
  const lines = selection.map((i) => {
    const c = data.classes[data.labels[i]],
      row = [i];
    if (data.index) row.push(data.index[i]);
    if (labelled) row.push(quote(c.name), c.size, c.group);
    if (data.memorization) row.push(number(data.memorization[i], 6));
    for (const run of data.runs) {
      row.push(round(run.score(t, i), 6), number(learntIn(data, run, i), 9));
      row.push(...data.epochs.map((_, s) => number(run.loss(s, i), run.type === "float32" ? 9 : 6)));
    }
    return row.join(",");
  });
  return [head.map(quote).join(","), ...lines, ""].join("\n");
}

/** A file's name after the runs: "simclr-beside-bcl-i.csv". */
export function csvName(data) {
  const words = data.runs
    .map(({ label }) => label)
    .join(" beside ")
    .toLowerCase();
  const name = words
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "")
    .slice(0, 60);
  return `${name || "samples"}.csv`;
}
