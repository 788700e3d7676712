// The front end of the memorization explorer: an anywidget in JupyterLab, and the script of the
// page that export_html writes. No framework, no network. docs/explorer.md says how to read it.
//
// One state, one `set`: whatever changes goes through it, and each panel draws itself from the
// state in the next animation frame. Names that come from a data set reach the page as text only.

const MARK = { many: "circle", medium: "square", few: "triangle", all: "circle" };
const SIZE = { many: 0.95, medium: 1, few: 1.5, all: 1 }; // rare marks must not drown
const DASH = { many: [], medium: [7, 3], few: [2, 3], all: [] };
const LIGHTER = { many: "#58A9E0", all: "#C9D1D9" }; // in the dark look; the others stay
const SORTS = {
  hardest: "Hardest now", easiest: "Easiest now", falling: "Fastest falling", wandering: "Most up and down",
};
const MOST_CURVES = 150, SHOWN = 48, SHEET = 32;
const MARGIN = { left: 54, right: 14, top: 14, bottom: 44 };

// --- small helpers ----------------------------------------------------------------------------

/** An element with properties and children; strings become text, never markup. */
function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const many = (count) => count.toLocaleString("en");
const round = (value, digits) => value.toFixed(digits);

function rgb(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

/** Fit a canvas to its box in device pixels; returns its context, scaled to CSS pixels. */
function fit(canvas) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const width = Math.max(1, canvas.clientWidth), height = Math.max(1, canvas.clientHeight);
  const [w, hgt] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== hgt) Object.assign(canvas, { width: w, height: hgt });
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  Object.assign(context, { font: "11px system-ui, sans-serif", lineWidth: 1, globalAlpha: 1 });
  context.setLineDash([]);
  return { context, width, height, ratio };
}

// --- data -------------------------------------------------------------------------------------

/** Every float16 as a number, by its 16 bits. */
const HALF = Float32Array.from({ length: 65536 }, (_, bits) => {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
});

/** The arrays of a payload, and what is computed from them once. */
function openData(meta, bytes) {
  if (bytes.byteOffset % 8) bytes = bytes.slice();
  const raw = (name) => {
    const [offset, length] = meta.arrays[name];
    return bytes.subarray(offset, offset + length);
  };
  const array = (name, Kind) => {
    const part = raw(name);
    return new Kind(part.buffer, part.byteOffset, part.length / Kind.BYTES_PER_ELEMENT);
  };
  const data = { meta, raw, samples: meta.samples, rows: meta.epochs.length, classes: meta.classes };
  data.labels = array("labels", Uint16Array);
  data.index = meta.arrays.index ? array("index", Int32Array) : null;
  data.projection = meta.projection ? array("projection", Float32Array) : null;
  data.runs = meta.runs.map((about, number) => openRun(about, array(`loss${number}`, Uint16Array), data));
  data.group = (i) => data.classes[data.labels[i]].group;
  data.name = (i) => (meta.labelled ? data.classes[data.labels[i]].name : "sample");
  const bySize = data.classes.map((_, c) => c).sort((a, b) => rankSize(b) - rankSize(a) || a - b);
  function rankSize(c) {
    return data.classes[c].size;
  }
  data.bySize = bySize;
  data.place = new Uint16Array(data.classes.length); // of a class, by size
  bySize.forEach((c, place) => (data.place[c] = place));
  data.groups = Object.keys(MARK).filter((name) => data.classes.some((c) => c.group === name));
  data.order = Uint32Array.from({ length: data.samples }, (_, i) => i); // the few are drawn last
  const rank = Uint8Array.from(data.labels, (label) => data.groups.indexOf(data.classes[label].group));
  data.rank = rank;
  data.order.sort((a, b) => rank[a] - rank[b] || a - b);
  return data;
}

/** A run's losses and scores; a score compares a loss with the mean of all at that epoch. */
function openRun(about, bits, { samples, rows }) {
  const mean = new Float64Array(rows), far = new Float64Array(rows);
  for (let t = 0; t < rows; t++) {
    let sum = 0, low = Infinity, high = -Infinity;
    for (let at = t * samples, end = at + samples; at < end; at++) {
      const value = HALF[bits[at]];
      sum += value;
      if (value < low) low = value;
      if (value > high) high = value;
    }
    mean[t] = sum / samples;
    far[t] = Math.max(high - mean[t], mean[t] - low);
  }
  const loss = (t, i) => HALF[bits[t * samples + i]];
  const toScore = (t, value) => (far[t] > 0 ? (1 + (value - mean[t]) / far[t]) / 2 : 0.5);
  return { ...about, bits, mean, far, loss, toScore, score: (t, i) => toScore(t, loss(t, i)) };
}

/** What each order ranks the samples by, largest first. */
function sortKey(data, run, sort, t) {
  if (sort === "hardest") return (i) => run.loss(t, i);
  if (sort === "easiest") return (i) => -run.loss(t, i);
  if (sort === "falling") return (i) => run.loss(0, i) - run.loss(t, i);
  run.wandering ??= Float32Array.from({ length: data.samples }, (_, i) => {
    let path = 0;
    for (let s = 1; s < data.rows; s++) path += Math.abs(run.loss(s, i) - run.loss(s - 1, i));
    return path - Math.abs(run.loss(data.rows - 1, i) - run.loss(0, i));
  });
  return (i) => run.wandering[i];
}

/** The `count` samples of `pool` with the largest keys, largest first. */
function largest(pool, key, count) {
  const keys = Float32Array.from(pool, key);
  const sorted = keys.slice().sort();
  const least = sorted[Math.max(0, sorted.length - count)];
  const found = [];
  for (let at = 0; at < keys.length; at++) if (keys[at] >= least) found.push(at);
  found.sort((a, b) => keys[b] - keys[a] || pool[a] - pool[b]);
  return found.slice(0, count).map((at) => pool[at]);
}

/** Strength and probability that a score means in a run, as text. */
function boostWords({ steer, strength: [atZero, atOne] }, score) {
  const w = { own: score, mean: 0.5, inverted: 1 - score }[steer];
  if (steer === "other") return ["another sample's", "another sample's"];
  const ends = (at) => [...new Set(atZero.map((low, end) => round(low + (atOne[end] - low) * at, 1)))].join(" to ");
  return w === undefined ? [`none (BCL-I: ${ends(score)})`, `0 (BCL-I: ${round(score, 2)})`] : [ends(w), round(w, 2)];
}

/** Thumbnails and views, decoded when first looked at. */
function pictures(data) {
  const kept = new Map();
  const decode = (name) => {
    if (!kept.has(name)) {
      const entry = { bitmap: null };
      const blob = new Blob([data.raw(name)], { type: "image/webp" });
      entry.ready = createImageBitmap(blob).then((bitmap) => (entry.bitmap = bitmap));
      kept.set(name, entry);
    }
    return kept.get(name);
  };
  const paint = (canvas, i) => {
    const side = data.meta.side;
    canvas.dataset.sample = i;
    if (!side) return paintChip(canvas, data, i);
    const entry = decode(`sheet${Math.floor(i / SHEET ** 2)}`);
    const draw = (bitmap) => {
      if (Number(canvas.dataset.sample) !== i) return; // it shows another sample by now
      Object.assign(canvas, { width: side, height: side });
      const at = i % SHEET ** 2;
      canvas.getContext("2d").drawImage(
        bitmap, (at % SHEET) * side, Math.floor(at / SHEET) * side, side, side, 0, 0, side, side);
    };
    if (entry.bitmap) draw(entry.bitmap);
    else entry.ready.then(draw);
  };
  return { paint, decode };
}

/** In place of an image that is not at hand: the mark of its group. */
function paintChip(canvas, data, i) {
  Object.assign(canvas, { width: 32, height: 32 });
  const context = canvas.getContext("2d");
  context.fillStyle = colourOf(data, data.group(i), canvas.closest("[data-look]")?.dataset.look);
  tracePath(context, MARK[data.group(i)], 16, 16, 9);
  context.fill();
}

function colourOf(data, group, look) {
  return (look === "dark" && LIGHTER[group]) || data.meta.colours[group];
}

function tracePath(context, shape, x, y, r) {
  context.beginPath();
  if (shape === "square") context.rect(x - r * 0.88, y - r * 0.88, r * 1.76, r * 1.76);
  else if (shape === "triangle") {
    context.moveTo(x, y - r * 1.15);
    context.lineTo(x + r * 1.1, y + r * 0.85);
    context.lineTo(x - r * 1.1, y + r * 0.85);
    context.closePath();
  } else context.arc(x, y, r, 0, 2 * Math.PI);
}

// --- the explorer -----------------------------------------------------------------------------

/**
 * Build the explorer in `root`.
 *
 * `host`: `live` asks Python for views, `selected(list)` is told of every selection, `address`
 * is true where the view is kept in the page's address.
 */
function explore(root, meta, bytes, host) {
  const data = openData(meta, bytes), images = pictures(data), panels = [];
  const state = {
    row: data.rows - 1, run: 0, layout: "size", sort: "hardest", scope: "all", curve: "loss",
    focus: null, selection: [], hidden: new Set(), playing: false, zoom: [0, 0, 1], hover: null, said: "",
  };
  state.layout = layouts(data)[0].id;
  state.focus = meta.views?.samples[0] ?? largest(data.order, sortKey(data, data.runs[0], "hardest", state.row), 1)[0];
  const chosen = new Uint8Array(data.samples);
  let waiting = false;
  const app = { root, data, state, images, host, chosen, set, panels, colour, ink: {} };

  function set(changes, quiet = false) {
    if ("row" in changes) changes.row = clamp(Math.round(changes.row) || 0, 0, data.rows - 1);
    if ("selection" in changes) {
      for (const i of state.selection) chosen[i] = 0;
      changes.selection = changes.selection.filter((i) => i >= 0 && i < data.samples && !chosen[i] && (chosen[i] = 1));
      if (!("focus" in changes)) changes.focus = changes.selection[0] ?? state.focus;
    }
    Object.assign(state, changes);
    if ("selection" in changes && !quiet) host.selected?.(state.selection);
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  }
  function draw() {
    waiting = false;
    for (const panel of panels) panel(state);
  }
  function colour(group) {
    return colourOf(data, group, root.dataset.look);
  }

  root.classList.add("ltcl");
  root.tabIndex = -1;
  root.setAttribute("data-lm-suppress-shortcuts", "true"); // the keys are ours, not JupyterLab's
  root.append(h("div", { className: "ltcl-page" },
    header(app),
    h("div", { className: `ltcl-grid${data.runs.length > 1 ? " two" : ""}` },
      mapPanel(app), timeline(app), curvesPanel(app),
      h("div", { className: "ltcl-side" }, samplePanel(app), galleryPanel(app))),
    footer(app)));
  const stopLook = followLook(root, () => {
    const style = getComputedStyle(root);
    for (const name of ["paper", "ink", "soft", "line", "accent"]) app.ink[name] = style.getPropertyValue(`--${name}`).trim();
    set({});
  });
  const keys = (event) => onKey(app, event);
  (host.address ? document : root).addEventListener("keydown", keys);
  const sized = new ResizeObserver(() => set({}));
  sized.observe(root);
  if (host.address) keepAddress(app);
  set({});
  app.close = () => {
    set({ playing: false });
    stopLook();
    sized.disconnect();
    (host.address ? document : root).removeEventListener("keydown", keys);
  };
  return app;
}

/** The maps that these data allow. */
function layouts(data) {
  const found = [];
  if (data.meta.labelled) found.push({ id: "size", label: "Class size" });
  found.push({ id: "fall", label: "Fall so far" });
  if (data.runs.length > 1) found.push({ id: "both", label: "Both runs" });
  if (data.projection) found.push({ id: "features", label: "Features" });
  return found;
}

/** Dark or light as JupyterLab is, or as the system asks for. */
function followLook(root, changed) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const look = () => {
    const lab = document.body.dataset.jpThemeLight;
    root.dataset.look = (lab === undefined ? system.matches : lab === "false") ? "dark" : "light";
    changed();
  };
  const watch = new MutationObserver(look);
  watch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  system.addEventListener("change", look);
  look();
  return () => {
    watch.disconnect();
    system.removeEventListener("change", look);
  };
}

/** A row of buttons of which one is pressed. */
function choice(app, name, label, options) {
  const buttons = options.map(({ id, label: text }) => h("button", {
    type: "button", textContent: text, onclick: () => app.set({ [name]: id, ...(name === "layout" ? { zoom: [0, 0, 1] } : {}) }),
  }));
  app.panels.push((state) => buttons.forEach((button, at) => button.setAttribute("aria-pressed", state[name] === options[at].id)));
  const group = h("div", { className: "ltcl-choice", role: "group" }, ...buttons);
  group.setAttribute("aria-label", label);
  return group;
}

function readingLine(text) {
  return h("p", { className: "ltcl-reading", textContent: text });
}

// --- header and footer ------------------------------------------------------------------------

function header(app) {
  const { data, state, set } = app, { meta } = data;
  const input = h("input", {
    type: "search", placeholder: meta.labelled ? "Search: star, few, 12, 40-60" : "Search: 12, 40-60",
    list: "", className: "ltcl-search", onkeydown: (event) => event.key === "Enter" && search(app, input.value),
  });
  input.setAttribute("aria-label", "Search by class or sample number");
  const names = h("datalist", { id: `ltcl-names-${Math.random().toString(36).slice(2)}` },
    ...(meta.labelled ? data.classes.map((c) => h("option", { value: c.name })) : []));
  input.setAttribute("list", names.id);
  const csv = h("button", { type: "button", onclick: () => downloadCsv(app) });
  const clear = h("button", { type: "button", textContent: "Clear", onclick: () => set({ selection: [], focus: null, said: "" }) });
  const share = host(app) && h("button", { type: "button", textContent: "Copy link", onclick: () => copyLink(app) });
  const help = h("button", { type: "button", textContent: "Keys", onclick: () => dialog.showModal() });
  const dialog = keyDialog();
  app.search = input;
  app.help = dialog;
  app.panels.push(() => {
    csv.textContent = state.selection.length ? `Save CSV (${many(state.selection.length)})` : "Save CSV";
    csv.disabled = clear.disabled = !state.selection.length;
  });
  const facts = [`${many(data.samples)} samples`];
  if (meta.labelled) facts.push(`${data.classes.length} classes`);
  facts.push(data.rows === 1 ? `epoch ${meta.epochs[0]}` : `epochs ${meta.epochs[0]} to ${meta.epochs.at(-1)}`);
  if (meta.data) facts.unshift(meta.data);
  const title = h("h1", {}, ...data.runs.flatMap((run, at) => [
    at ? h("span", { className: "ltcl-versus", textContent: " beside " }) : null, h("span", { textContent: run.label })]));
  return h("header", {}, h("div", { className: "ltcl-title" }, title, h("p", { textContent: facts.join(" · ") })),
    h("div", { className: "ltcl-tools" }, input, names, clear, csv, share || null, help), dialog);
}

const host = (app) => app.host.address;

function keyDialog() {
  const rows = [["Space", "play or pause"], ["← →", "one epoch back or on"], ["Home End", "first or last epoch"],
    ["N P", "next or previous sample of the list"], ["A", "add the sample to the selection, or take it out"],
    ["1 2 3 4", "the maps"], ["R", "the other run"], ["+ - 0", "zoom in, out, all"], ["/", "search"],
    ["Esc", "clear the selection"]];
  const dialog = h("dialog", { className: "ltcl-dialog" }, h("h2", { textContent: "Keys" }),
    h("dl", {}, ...rows.flatMap(([key, does]) => [h("dt", { textContent: key }), h("dd", { textContent: does })])),
    h("p", { textContent: "On the map: click one sample, with Shift more; drag to draw a lasso; Ctrl and wheel zoom." }),
    h("form", { method: "dialog" }, h("button", { textContent: "Close" })));
  return dialog;
}

/** Select by class name, group or sample number; several at once, between commas. */
function search(app, text) {
  const { data, set } = app, found = [], unknown = [];
  const samplesOf = (test) => { for (let i = 0; i < data.samples; i++) if (test(data.classes[data.labels[i]])) found.push(i); };
  for (const term of text.split(",").map((part) => part.trim()).filter(Boolean)) {
    const before = found.length, range = /^#?(\d+)(?:\s*-\s*(\d+))?$/.exec(term), low = term.toLowerCase();
    if (range) {
      const last = Math.min(Number(range[2] ?? range[1]), data.samples - 1);
      for (let i = Number(range[1]); i <= last; i++) found.push(i);
    } else if (data.meta.labelled) {
      const exact = data.classes.some((c) => c.name.toLowerCase() === low);
      if (data.groups.includes(low) && !exact) samplesOf((c) => c.group === low);
      else samplesOf((c) => (exact ? c.name.toLowerCase() === low : c.name.toLowerCase().includes(low)));
    }
    if (found.length === before) unknown.push(term);
  }
  const said = unknown.length ? `nothing found for ${unknown.map((t) => `“${t}”`).join(", ")}` : "";
  set(found.length ? { selection: found, focus: found[0], said } : { said });
}

function downloadCsv(app) {
  const { data, state } = app, quote = (text) => `"${String(text).replaceAll('"', '""')}"`;
  const head = ["sample", ...(data.index ? ["position"] : []), ...(data.meta.labelled ? ["class", "class size", "group"] : [])];
  for (const run of data.runs) {
    head.push(`score after epoch ${data.meta.epochs[state.row]}, ${run.label}`);
    head.push(...data.meta.epochs.map((epoch) => `momentum loss ${epoch}, ${run.label}`));
  }
  const lines = state.selection.map((i) => {
    const c = data.classes[data.labels[i]];
    const row = [i, ...(data.index ? [data.index[i]] : []), ...(data.meta.labelled ? [quote(c.name), c.size, c.group] : [])];
    for (const run of data.runs) {
      row.push(round(run.score(state.row, i), 6));
      for (let t = 0; t < data.rows; t++) row.push(Number(run.loss(t, i).toPrecision(6)));
    }
    return row.join(",");
  });
  const blob = new Blob([[head.map(quote).join(","), ...lines, ""].join("\n")], { type: "text/csv" });
  const link = h("a", { href: URL.createObjectURL(blob), download: "samples.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function footer(app) {
  const { meta } = app.data;
  return h("footer", {}, h("p", {}, h("strong", { textContent: meta.aboutLabels })),
    h("ul", {}, ...meta.notes.map((note) => h("li", { textContent: note }))));
}

// --- the map ----------------------------------------------------------------------------------

/** Where a layout puts a sample, in units of 0 to 1 from the lower left corner. */
function placing(data, state) {
  const run = data.runs[state.run], t = state.row, score = (i) => run.score(t, i);
  if (state.layout === "both") return { x: (i) => data.runs[0].score(t, i), y: (i) => data.runs[1].score(t, i) };
  if (state.layout === "features") {
    const [x, y] = (data.unitProjection ??= [0, 1].map((axis) => unit(data, (i) => data.projection[2 * i + axis])));
    return { x: (i) => 0.03 + 0.94 * x[i], y: (i) => 0.03 + 0.94 * y[i] };
  }
  if (state.layout === "fall") {
    run.widest ??= largestFall(data, run);
    return { x: (i) => (run.loss(0, i) - run.loss(t, i) - run.widest[0]) / (run.widest[1] - run.widest[0] || 1), y: score };
  }
  data.column ??= Float32Array.from({ length: data.samples }, (_, i) => {
    const spread = ((Math.imul(i + 1, 2654435761) >>> 8) % 4096) / 4096; // the same in every view
    return (data.place[data.labels[i]] + 0.1 + 0.8 * spread) / data.classes.length;
  });
  return { x: (i) => data.column[i], y: score };
}

function unit(data, value) {
  const found = Float32Array.from({ length: data.samples }, (_, i) => value(i));
  let low = Infinity, high = -Infinity;
  for (const v of found) (low = Math.min(low, v)), (high = Math.max(high, v));
  return found.map((v) => (v - low) / (high - low || 1));
}

function largestFall(data, run) {
  let low = 0, high = 0;
  for (let t = 1; t < data.rows; t++) {
    for (let i = 0; i < data.samples; i++) {
      const fall = run.loss(0, i) - run.loss(t, i);
      if (fall < low) low = fall;
      if (fall > high) high = fall;
    }
  }
  return [low, high];
}

const READ_MAP = {
  size: "How to read: one mark a sample, one column a class, large classes left. High is hard: a score near 1 is a loss far above the mean of this epoch. The bar is the class mean.",
  fall: "How to read: right, the momentum loss fell far since the first epoch shown; high, it is still above the mean.",
  both: "How to read: left to right the score in the first run, upwards in the second. On the diagonal both runs find a sample equally hard.",
  features: "How to read: near each other, alike to the final encoder (two dimensions of many). Large marks have high scores at this epoch.",
};

function mapPanel(app) {
  const { data, state, set, images } = app;
  const base = h("canvas", { className: "ltcl-base" });
  const top = h("canvas", { className: "ltcl-top", tabIndex: 0 });
  top.setAttribute("role", "img");
  const hoverImage = h("canvas"), hoverText = h("div");
  const tip = h("div", { className: "ltcl-tip", hidden: true }, hoverImage, hoverText);
  const box = h("div", { className: "ltcl-map" }, base, top, tip,
    h("div", { className: "ltcl-zoom" }, ...[["+", 1.5, "Zoom in"], ["−", 1 / 1.5, "Zoom out"], ["⤢", 0, "Show all"]].map(([sign, by, name]) => {
      const button = h("button", { type: "button", textContent: sign, title: name, onclick: () => zoom(app, by) });
      button.setAttribute("aria-label", name);
      return button;
    })));
  const view = { x: new Float32Array(data.samples), y: new Float32Array(data.samples), lasso: null };
  app.view = view;
  const reading = readingLine("");
  app.panels.push(() => {
    drawPoints(app, base, view);
    drawOver(app, top, view);
    reading.textContent = READ_MAP[state.layout] + (data.meta.projection && state.layout === "features" ? ` ${data.meta.projection}.` : "");
    top.setAttribute("aria-label", `Map of ${data.samples} samples after epoch ${data.meta.epochs[state.row]}, ${state.selection.length} selected`);
    showTip();
  });
  function showTip() {
    const i = state.hover;
    tip.hidden = i === null;
    if (i === null) return;
    images.paint(hoverImage, i);
    const label = data.meta.labelled ? `${data.name(i)} (${data.group(i)})` : "sample";
    hoverText.replaceChildren(h("b", { textContent: `${label} · ${i}` }), h("br"),
      `score ${round(data.runs[state.run].score(state.row, i), 2)}`);
    const right = view.x[i] > box.clientWidth - 190;
    tip.style.transform = `translate(${view.x[i] + (right ? -12 : 12)}px, ${clamp(view.y[i] - 30, 0, box.clientHeight - 76)}px) translateX(${right ? "-100%" : "0"})`;
  }
  watchPointer(app, top, view);
  const groups = h("div", { className: "ltcl-legend", role: "group" }, ...data.groups.map((group) => legendButton(app, group)));
  groups.setAttribute("aria-label", "Show or hide groups");
  return h("section", { className: "ltcl-panel ltcl-a" }, h("div", { className: "ltcl-bar" }, h("h2", { textContent: "Map" }),
    choice(app, "layout", "Map", layouts(data)),
    data.runs.length > 1 ? choice(app, "run", "Run on the map", data.runs.map((run, id) => ({ id, label: run.label }))) : null,
    data.meta.labelled ? groups : null), box, reading);
}

function legendButton(app, group) {
  const { data, state, set } = app, swatch = h("canvas");
  const count = data.classes.filter((c) => c.group === group).reduce((sum, c) => sum + c.size, 0);
  const button = h("button", { type: "button", title: `${many(count)} samples of the ${group} classes`, onclick: () => {
    const hidden = new Set(state.hidden);
    if (!hidden.delete(group)) hidden.add(group);
    set({ hidden });
  } }, swatch, group);
  app.panels.push(() => {
    button.setAttribute("aria-pressed", !state.hidden.has(group));
    const { context } = fit(swatch);
    context.strokeStyle = context.fillStyle = app.colour(group);
    context.lineWidth = 2;
    context.setLineDash(DASH[group]);
    context.beginPath();
    context.moveTo(0, 7);
    context.lineTo(28, 7);
    context.stroke();
    tracePath(context, MARK[group], 14, 7, 4.5);
    context.fill();
  });
  return button;
}

/** How much of a mark covers each pixel of a small square, 0 to 255. */
const stamps = new Map();
function stamp(shape, radius) {
  const key = `${shape}/${radius.toFixed(2)}`;
  if (!stamps.has(key)) {
    const size = 2 * Math.ceil(radius * 1.2) + 1, canvas = h("canvas", { width: size, height: size });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    tracePath(context, shape, size / 2, size / 2, radius);
    context.fill();
    const pixels = context.getImageData(0, 0, size, size).data;
    stamps.set(key, { size, alpha: Uint8Array.from({ length: size * size }, (_, at) => pixels[4 * at + 3]) });
  }
  return stamps.get(key);
}

/** All marks, blended by hand into one picture: fast without a graphics card, too. */
function drawPoints(app, canvas, view) {
  const { data, state, chosen } = app, { context, width, height, ratio } = fit(canvas);
  const { x, y } = placing(data, state), [zx, zy, scale] = state.zoom;
  const inner = { w: width - MARGIN.left - MARGIN.right, h: height - MARGIN.top - MARGIN.bottom };
  Object.assign(view, inner);
  const image = (view.image?.width === canvas.width && view.image?.height === canvas.height
    ? view.image : (view.image = context.createImageData(canvas.width, canvas.height)));
  image.data.fill(0);
  const radius = (data.samples > 30000 ? 1.1 : data.samples > 5000 ? 2.1 : 3) * ratio * Math.min(1.6, Math.sqrt(scale));
  const run = data.runs[state.run], bySize = state.layout === "features", someChosen = state.selection.length > 0;
  const colours = data.groups.map((group) => rgb(app.colour(group)));
  const marks = data.groups.map((group) => [0.6, 1, 1.7].map((part) => stamp(MARK[group], radius * part * SIZE[group])));
  const shown = data.groups.map((group) => !state.hidden.has(group));
  const faint = data.groups.map((group) => (group === "few" ? 140 : 75));
  for (const i of data.order) {
    const group = data.rank[i];
    const px = MARGIN.left + (x(i) - zx) * scale * inner.w, py = MARGIN.top + (1 - (y(i) - zy) * scale) * inner.h;
    const inside = shown[group] && px >= MARGIN.left - 4 && px <= width - MARGIN.right + 4 && py >= MARGIN.top - 4 && py <= height - MARGIN.bottom + 4;
    view.x[i] = inside ? px : NaN; // NaN: neither hovered nor lassoed
    view.y[i] = py;
    if (!inside) continue;
    const score = bySize ? run.score(state.row, i) : 0.5;
    const mark = marks[group][bySize ? (score < 0.5 ? 0 : score < 0.65 ? 1 : 2) : 1];
    blend(image, mark, Math.round(px * ratio), Math.round(py * ratio), colours[group], someChosen && !chosen[i] ? faint[group] : 200);
  }
  context.putImageData(image, 0, 0);
}

function blend(image, { size, alpha }, cx, cy, [r, g, b], opacity) {
  const { data, width, height } = image, half = size >> 1;
  for (let dy = 0; dy < size; dy++) {
    const py = cy - half + dy;
    if (py < 0 || py >= height) continue;
    for (let dx = 0; dx < size; dx++) {
      const px = cx - half + dx, cover = alpha[dy * size + dx];
      if (!cover || px < 0 || px >= width) continue;
      const a = (cover * opacity) >> 8, at = 4 * (py * width + px), under = data[at + 3];
      const keep = (under * (255 - a)) / 255, all = a + keep;
      data[at] = (r * a + data[at] * keep) / all;
      data[at + 1] = (g * a + data[at + 1] * keep) / all;
      data[at + 2] = (b * a + data[at + 2] * keep) / all;
      data[at + 3] = all;
    }
  }
}

/** Axes, the selected samples' rings and the lasso, over the marks. */
function drawOver(app, canvas, view) {
  const { data, state, ink } = app, { context, width, height } = fit(canvas);
  const right = width - MARGIN.right, bottom = height - MARGIN.bottom, [zx, zy, scale] = state.zoom;
  const toX = (u) => MARGIN.left + (u - zx) * scale * view.w, toY = (u) => MARGIN.top + (1 - (u - zy) * scale) * view.h;
  context.fillStyle = ink.soft;
  context.strokeStyle = ink.line;
  context.strokeRect(MARGIN.left - 4.5, MARGIN.top - 4.5, right - MARGIN.left + 9, bottom - MARGIN.top + 9);
  if (state.layout !== "features") {
    context.textAlign = "right";
    for (let u = 0; u <= 1.001; u += scale > 2.5 ? 0.1 : 0.25) {
      const y = toY(u);
      if (y < MARGIN.top - 4 || y > bottom + 4) continue;
      context.fillText(round(u, scale > 2.5 ? 1 : 2), MARGIN.left - 9, y + 4);
      context.globalAlpha = 0.6;
      line(context, [MARGIN.left - 4, y, right + 4, y]);
      context.globalAlpha = 1;
    }
    context.save();
    context.translate(11, MARGIN.top + view.h / 2);
    context.rotate(-Math.PI / 2);
    context.textAlign = "center";
    context.fillText(state.layout === "both" ? `score, ${data.runs[1].label}` : "easy  ←  memorization score  →  hard", 0, 0);
    context.restore();
  }
  context.textAlign = "center";
  const under = { fall: "risen  ←  fall of the momentum loss so far  →  fallen far", both: `score, ${data.runs[0].label}`, features: `features of the final encoder, ${data.meta.projection}` };
  if (state.layout === "size") drawClasses(app, context, toX, toY, bottom, right);
  else context.fillText(under[state.layout], MARGIN.left + view.w / 2, bottom + 24);
  if (state.layout === "both") {
    context.setLineDash([4, 4]);
    context.strokeStyle = ink.soft;
    context.save();
    context.rect(MARGIN.left - 4, MARGIN.top - 4, view.w + 8, view.h + 8);
    context.clip();
    line(context, [toX(0), toY(0), toX(1), toY(1)]);
    context.restore();
    context.setLineDash([]);
  }
  context.strokeStyle = ink.ink;
  context.lineWidth = 1.5;
  for (const i of state.selection.slice(0, 3000)) ring(context, view, i, 6);
  context.strokeStyle = ink.accent;
  context.lineWidth = 2.5;
  if (state.focus !== null) ring(context, view, state.focus, 9);
  if (state.hover !== null) ring(context, view, state.hover, 7);
  if (view.lasso) {
    context.setLineDash([5, 4]);
    line(context, view.lasso.flat());
    context.setLineDash([]);
  }
}

function line(context, points) {
  context.beginPath();
  for (let at = 0; at < points.length; at += 2) context.lineTo(points[at], points[at + 1]);
  context.stroke();
}

function ring(context, view, i, radius) {
  if (Number.isNaN(view.x[i])) return;
  context.beginPath();
  context.arc(view.x[i], view.y[i], radius, 0, 2 * Math.PI);
  context.stroke();
}

function drawClasses(app, context, toX, toY, bottom, right) {
  const { data, state, ink } = app, count = data.classes.length, wide = toX(1 / count) - toX(0);
  const sums = new Float64Array(count), run = data.runs[state.run];
  for (let i = 0; i < data.samples; i++) sums[data.labels[i]] += run.score(state.row, i);
  const step = Math.max(1, Math.ceil(42 / wide)), room = 2 * step * wide - 8; // two rows of names
  data.bySize.forEach((c, place) => {
    const x = toX((place + 0.5) / count), { name, size } = data.classes[c], mean = toY(sums[c] / size);
    if (x < MARGIN.left || x > right) return;
    if (wide > 4 && size && mean > MARGIN.top && mean < bottom) {
      context.strokeStyle = ink.ink;
      context.lineWidth = 2.5;
      line(context, [x - wide * 0.42, mean, x + wide * 0.42, mean]);
      context.lineWidth = 1;
    }
    if (place % step) return;
    const text = fitText(context, name, room - context.measureText(` ${many(size)}`).width), y = bottom + 19 + 14 * ((place / step) % 2);
    const long = context.measureText(`${text} ${many(size)}`).width, left = clamp(x - long / 2, 2, right + MARGIN.right - long - 1);
    context.textAlign = "left";
    context.fillStyle = ink.ink;
    context.fillText(text, left, y);
    context.fillStyle = ink.soft;
    context.fillText(many(size), left + context.measureText(`${text} `).width, y);
  });
}

function fitText(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  let end = text.length;
  while (end > 1 && context.measureText(`${text.slice(0, end)}…`).width > room) end--;
  return `${text.slice(0, end)}…`;
}

function zoom(app, by, at = null) {
  const { state, view, set } = app, [zx, zy, scale] = state.zoom;
  if (!by) return set({ zoom: [0, 0, 1] });
  const next = clamp(scale * by, 1, 40);
  const u = at ?? (state.focus !== null && !Number.isNaN(view.x[state.focus]) ? [view.x[state.focus], view.y[state.focus]] : [MARGIN.left + view.w / 2, MARGIN.top + view.h / 2]);
  const fx = (u[0] - MARGIN.left) / view.w, fy = 1 - (u[1] - MARGIN.top) / view.h;
  const bound = (start, part) => clamp(start + part / scale - part / next, 0, 1 - 1 / next);
  set({ zoom: [bound(zx, fx), bound(zy, fy), next] });
}

/** The sample drawn at a place of the map, the nearest within a finger's width; or null. */
function nearest(view, x, y) {
  let found = null, least = 14 ** 2;
  for (let i = 0; i < view.x.length; i++) {
    const distance = (view.x[i] - x) ** 2 + (view.y[i] - y) ** 2;
    if (distance <= least) (found = i), (least = distance);
  }
  return found;
}

function watchPointer(app, canvas, view) {
  const { state, set } = app, place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  let down = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    down = place(event);
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = place(event);
    if (down && (view.lasso || Math.hypot(x - down[0], y - down[1]) > 6)) {
      (view.lasso ??= [down]).push([x, y]);
      return set({ hover: null });
    }
    const hover = nearest(view, x, y);
    if (hover !== state.hover) set({ hover });
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!down) return;
    const more = event.shiftKey || event.ctrlKey || event.metaKey, found = view.lasso ? inside(view) : [nearest(view, ...down)];
    const clicked = !view.lasso;
    down = view.lasso = null;
    if (clicked && found[0] === null) return set(more ? {} : { selection: [], focus: null });
    if (clicked && more) toggle(app, found[0]);
    else set({ selection: more ? [...state.selection, ...found] : found, said: "" });
  });
  canvas.addEventListener("pointercancel", () => (down = view.lasso = null));
  canvas.addEventListener("pointerleave", () => set({ hover: null }));
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoom(app, event.deltaY < 0 ? 1.2 : 1 / 1.2, place(event));
  }, { passive: false });
}

function toggle(app, i) {
  const { state, set, chosen } = app;
  set({ selection: chosen[i] ? state.selection.filter((other) => other !== i) : [...state.selection, i], focus: i });
}

/** Samples inside the lasso, by counting how often a ray crosses its sides. */
function inside({ x, y, lasso }) {
  const found = [], xs = lasso.map((p) => p[0]), ys = lasso.map((p) => p[1]);
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  for (let i = 0; i < x.length; i++) {
    if (!(x[i] >= left && x[i] <= right && y[i] >= top && y[i] <= bottom)) continue;
    let within = false;
    for (let a = 0, b = xs.length - 1; a < xs.length; b = a++) {
      if (ys[a] > y[i] !== ys[b] > y[i] && x[i] < ((xs[b] - xs[a]) * (y[i] - ys[a])) / (ys[b] - ys[a]) + xs[a]) within = !within;
    }
    if (within) found.push(i);
  }
  return found;
}

// --- time -------------------------------------------------------------------------------------

function timeline(app) {
  const { data, state, set } = app, { epochs } = data.meta, last = data.rows - 1;
  const slider = h("input", { type: "range", min: 0, max: last, step: 1, oninput: () => set({ row: Number(slider.value), playing: false }) });
  slider.setAttribute("aria-label", "Epoch");
  const button = h("button", { type: "button", className: "ltcl-play", disabled: !last, onclick: () => play(app) });
  const epoch = h("output", { className: "ltcl-epoch" }), status = h("span", { className: "ltcl-status", role: "status" });
  app.panels.push(() => {
    slider.value = state.row;
    slider.setAttribute("aria-valuetext", `epoch ${epochs[state.row]}`);
    button.textContent = state.playing ? "❚❚" : "▶";
    button.setAttribute("aria-label", state.playing ? "Pause" : "Play");
    epoch.textContent = `Epoch ${epochs[state.row]} of ${epochs[last]}`;
    const count = state.selection.length;
    status.textContent = [count ? `${many(count)} selected` : "nothing selected", state.said].filter(Boolean).join("; ");
  });
  return h("div", { className: "ltcl-time" }, button, slider, epoch, status);
}

/** Go through the epochs in eight seconds at most, one by one; or stop. */
function play(app) {
  const { data, state, set } = app, wait = clamp(8000 / data.rows, 60, 250);
  if (state.playing) return set({ playing: false });
  set({ playing: true, row: state.row === data.rows - 1 ? 0 : state.row });
  let then = performance.now();
  requestAnimationFrame(function tick(now) {
    if (!state.playing) return;
    if (now - then >= wait) {
      then = now;
      set({ row: state.row + 1, playing: state.row + 1 < data.rows - 1 });
    }
    requestAnimationFrame(tick);
  });
}

// --- curves -----------------------------------------------------------------------------------

function curvesPanel(app) {
  const { data, state, set } = app;
  const drawings = data.runs.map((run) => {
    const canvas = h("canvas", { className: "ltcl-curves" });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Curves of the selected samples, ${run.label}`);
    const scrub = (event) => {
      if (event.type === "pointermove" && !event.buttons) return;
      const box = canvas.getBoundingClientRect();
      set({ row: ((event.clientX - box.left - 40) / (box.width - 52)) * (data.rows - 1), playing: false });
    };
    canvas.addEventListener("pointerdown", scrub);
    canvas.addEventListener("pointermove", scrub);
    return { run, canvas };
  });
  const reading = readingLine("");
  app.panels.push(() => {
    const shown = state.selection.filter((_, at) => at % Math.ceil(state.selection.length / MOST_CURVES) === 0);
    const range = curveRange(app, shown);
    for (const { run, canvas } of drawings) drawCurves(app, canvas, run, shown, range);
    const part = shown.length < state.selection.length ? ` ${shown.length} of the ${many(state.selection.length)} selected are drawn.` : "";
    reading.textContent = `How to read: a line is a selected sample, the bold one is the chosen one; a band holds the middle half of its group, with the median. Drag to move in time.${part}`;
  });
  return h("section", { className: "ltcl-panel ltcl-c" }, h("div", { className: "ltcl-bar" }, h("h2", { textContent: "Curves" }),
    choice(app, "curve", "Curves of", [{ id: "loss", label: "Momentum loss" }, { id: "score", label: "Score" }])),
  h("div", { className: "ltcl-pair" }, ...drawings.map(({ run, canvas }) => h("figure", {}, data.runs.length > 1 ? h("figcaption", { textContent: run.label }) : null, canvas))), reading);
}

/** The same vertical range for both runs: all bands and all curves drawn. */
function curveRange({ data, state }, shown) {
  if (state.curve === "score") return [0, 1];
  let low = Infinity, high = -Infinity;
  const take = (value) => ((low = Math.min(low, value)), (high = Math.max(high, value)));
  for (const run of data.runs) {
    for (const band of Object.values(run.bands)) band.forEach(([q1, , q3]) => (take(q1), take(q3)));
    for (const i of state.focus === null ? shown : [...shown, state.focus]) for (let t = 0; t < data.rows; t++) take(run.loss(t, i));
  }
  const room = (high - low) * 0.04 || 1;
  return [low - room, high + room];
}

function drawCurves(app, canvas, run, shown, [low, high]) {
  const { data, state, ink } = app, { context, width, height } = fit(canvas), last = Math.max(1, data.rows - 1);
  const toX = (t) => 40 + (t / last) * (width - 52), toY = (v) => 8 + (1 - (v - low) / (high - low)) * (height - 36);
  const value = state.curve === "score" ? run.toScore : (_, v) => v;
  const path = (at) => {
    context.beginPath();
    for (let t = 0; t < data.rows; t++) context.lineTo(toX(t), toY(value(t, at(t))));
    if (data.rows === 1) context.arc(toX(0), toY(value(0, at(0))), 3, 0, 7);
  };
  context.strokeStyle = ink.line;
  context.fillStyle = ink.soft;
  context.textAlign = "right";
  const step = [0.05, 0.1, 0.25, 0.5, 1, 2, 5].find((size) => (high - low) / size <= 6) ?? 10 ** Math.ceil(Math.log10((high - low) / 6));
  for (let v = Math.ceil(low / step) * step; v <= high + 1e-9; v += step) {
    line(context, [40, toY(v), width - 12, toY(v)]);
    context.fillText(Number(v.toFixed(2)), 34, toY(v) + 4);
  }
  for (const [group, band] of Object.entries(run.bands)) {
    if (state.hidden.has(group)) continue;
    context.fillStyle = context.strokeStyle = app.colour(group);
    path((t) => band[t][2]);
    for (let t = data.rows - 1; t >= 0; t--) context.lineTo(toX(t), toY(value(t, band[t][0])));
    context.globalAlpha = shown.length ? 0.13 : 0.2;
    context.fill();
    context.globalAlpha = shown.length ? 0.6 : 1;
    context.lineWidth = 2;
    context.setLineDash(DASH[group]);
    path((t) => band[t][1]);
    context.stroke();
    context.setLineDash([]);
  }
  context.lineWidth = 1.2;
  context.globalAlpha = clamp(12 / Math.sqrt(shown.length || 1) / 4, 0.25, 0.9);
  for (const i of shown) {
    context.strokeStyle = app.colour(data.group(i));
    path((t) => run.loss(t, i));
    context.stroke();
  }
  context.globalAlpha = 1;
  for (const [i, colour] of [[state.hover, ink.accent], [state.focus, ink.ink]]) {
    if (i === null) continue;
    context.strokeStyle = colour;
    context.lineWidth = 2.5;
    path((t) => run.loss(t, i));
    context.stroke();
  }
  context.lineWidth = 1;
  context.strokeStyle = context.fillStyle = ink.accent;
  line(context, [toX(state.row), 8, toX(state.row), height - 28]);
  context.textAlign = state.row > last * 0.9 ? "right" : "center";
  context.fillText(`epoch ${data.meta.epochs[state.row]}`, state.row > last * 0.9 ? width - 2 : Math.max(52, toX(state.row)), height - 10);
}

// --- one sample -------------------------------------------------------------------------------

function samplePanel(app) {
  const { data, state, images } = app, { meta } = data;
  const picture = h("canvas", { className: "ltcl-picture" }), title = h("h3"), facts = h("p", { className: "ltcl-facts" });
  const head = h("tr"), rows = ["Momentum loss", "Score", "Place, hardest first", "Strength (0 to 30)", "Probability"].map((name) => h("tr", {}, h("th", { textContent: name, scope: "row" })));
  const table = h("table", {}, h("thead", {}, head), h("tbody", {}, ...rows));
  head.append(h("td"), ...data.runs.map((run) => h("th", { textContent: run.label, scope: "col" })));
  for (const row of rows) row.append(...data.runs.map(() => h("td")));
  const strips = data.runs.map(() => h("canvas", { className: "ltcl-strip" }));
  const captions = data.runs.map(() => h("figcaption"));
  const views = h("div", {}, ...strips.map((strip, at) => h("figure", {}, captions[at], strip)));
  const card = h("div", { hidden: true }, h("div", { className: "ltcl-who" }, picture, h("div", {}, title, facts)), table, views);
  const none = h("p", { className: "ltcl-none", textContent: "Click a mark on the map, search, or press N to go through the list below." });
  app.panels.push(() => {
    const i = state.focus, t = state.row;
    card.hidden = i === null;
    none.hidden = !card.hidden;
    if (i === null) return;
    if (picture.dataset.sample !== String(i) || !meta.side) images.paint(picture, i);
    const c = data.classes[data.labels[i]];
    title.textContent = meta.labelled ? c.name : `sample ${i}`;
    facts.textContent = [`sample ${i}`, data.index && `position ${data.index[i]} of the data`, meta.labelled && `class of ${many(c.size)}, ${c.group}`].filter(Boolean).join(" · ");
    data.runs.forEach((run, number) => {
      const loss = run.loss(t, i), score = run.score(t, i), [strength, chance] = boostWords(run, score);
      let place = 1;
      for (let other = 0; other < data.samples; other++) if (run.loss(t, other) > loss) place++;
      const cells = [Number(loss.toPrecision(5)), round(score, 3), `${many(place)} of ${many(data.samples)}`, strength, chance];
      cells.forEach((text, at) => (rows[at].cells[number + 1].textContent = text));
    });
    showViews(app, strips, captions);
  });
  return h("section", { className: "ltcl-panel ltcl-b" }, h("div", { className: "ltcl-bar" }, h("h2", { textContent: "Chosen sample" })), none, card,
    readingLine("How to read: the score after this epoch; strength and probability are what it means for the views of the next one."));
}

/** The strips of views: asked from Python where it listens, else those the page holds. */
function showViews(app, strips, captions) {
  const { data, state, host } = app, { meta } = data, i = state.focus, t = state.row;
  const show = (number, used, picture, top, epoch) => {
    const run = data.runs[number], at = run.steer === "none" ? "no boost" : `steered by ${round(used, 2)}`;
    captions[number].textContent = `${run.label}, views after epoch ${epoch}, ${at} (${run.note})`;
    const canvas = strips[number], side = meta.side;
    canvas.hidden = false;
    picture.then((bitmap) => {
      if (state.focus !== i) return;
      Object.assign(canvas, { width: bitmap.width, height: side });
      canvas.getContext("2d").drawImage(bitmap, 0, top * side, bitmap.width, side, 0, 0, bitmap.width, side);
    });
  };
  const nothing = (text) => captions.forEach((caption, number) => {
    strips[number].hidden = true;
    caption.textContent = number ? "" : text;
  });
  if (meta.live) {
    const key = `${i}/${t}`;
    if (app.views?.key === key) return;
    clearTimeout(app.asking);
    app.views = { key };
    app.asking = setTimeout(() => host.ask({ sample: i, row: t }), 120);
    app.gotViews = (reply, buffers) => {
      if (reply.sample !== state.focus || reply.row !== state.row) return;
      buffers.forEach((buffer, number) => show(number, reply.used[number], createImageBitmap(new Blob([buffer], { type: "image/webp" })), 0, meta.epochs[reply.row]));
    };
  } else if (!meta.views) nothing(meta.side ? "No views: these losses come without a run." : "No views: the images are not at hand.");
  else {
    const at = meta.views.samples.indexOf(i);
    if (at < 0) return nothing(`This page holds views of ${meta.views.samples.length} samples, dotted in the list; in JupyterLab any sample's are drawn.`);
    const nearestRow = meta.views.rows.reduce((best, row) => (Math.abs(row - t) < Math.abs(best - t) ? row : best));
    const block = meta.views.rows.indexOf(nearestRow);
    data.runs.forEach((_, number) => {
      const entry = app.images.decode(`views${number}`);
      show(number, meta.views.used[number][block][at], entry.ready, block * meta.views.samples.length + at, meta.epochs[nearestRow]);
    });
  }
}

// --- the list ---------------------------------------------------------------------------------

function galleryPanel(app) {
  const { data, state, images } = app, held = new Set(data.meta.views?.samples);
  const tiles = Array.from({ length: Math.min(SHOWN, data.samples) }, () => {
    const canvas = h("canvas"), text = h("span");
    const button = h("button", { type: "button", className: "ltcl-tile", onclick: (event) => {
      const i = Number(button.dataset.sample);
      if (event.shiftKey || event.ctrlKey || event.metaKey) toggle(app, i);
      else app.set({ selection: [i], focus: i });
    }, onpointerenter: () => app.set({ hover: Number(button.dataset.sample) }), onpointerleave: () => app.set({ hover: null }) }, canvas, text);
    return { button, canvas, text };
  });
  const all = h("button", { type: "button", textContent: "Select these", onclick: () => app.set({ selection: [...app.list] }) });
  let late = 0;
  const draw = () => {
    const run = data.runs[state.run], pool = state.scope === "selection" && state.selection.length ? state.selection : data.order;
    const shown = state.hidden.size ? pool.filter((i) => !state.hidden.has(data.group(i))) : pool;
    app.list = largest(shown, sortKey(data, run, state.sort, state.row), SHOWN);
    tiles.forEach(({ button, canvas, text }, at) => {
      const i = app.list[at];
      button.hidden = i === undefined;
      if (i === undefined) return;
      if (canvas.dataset.sample !== String(i) || !data.meta.side) images.paint(canvas, i);
      button.dataset.sample = i;
      text.textContent = data.meta.labelled ? data.name(i) : i;
      button.title = `${data.name(i)} ${i}, score ${round(run.score(state.row, i), 2)}`;
      button.setAttribute("aria-pressed", app.chosen[i] === 1);
      button.classList.toggle("focus", i === state.focus);
      button.classList.toggle("held", held.has(i));
      button.style.setProperty("--group", app.colour(data.group(i)));
    });
  };
  app.panels.push(() => {
    clearTimeout(late);
    if (performance.now() - (draw.then ?? -1e9) > 150) (draw(), (draw.then = performance.now()));
    else late = setTimeout(() => (draw(), (draw.then = performance.now())), 160);
  });
  const sort = h("select", { onchange: () => app.set({ sort: sort.value }) }, ...Object.entries(SORTS).map(([id, name]) => h("option", { value: id, textContent: name })));
  sort.setAttribute("aria-label", "Order");
  app.panels.push(() => (sort.value = state.sort));
  return h("section", { className: "ltcl-panel ltcl-d" }, h("div", { className: "ltcl-bar" }, h("h2", { textContent: "List" }), sort,
    choice(app, "scope", "Of", [{ id: "all", label: "All" }, { id: "selection", label: "Selection" }]), all),
  h("div", { className: "ltcl-tiles" }, ...tiles.map(({ button }) => button)),
  readingLine("How to read: the first of the order come first, at this epoch and in the map's run; up and down is the way beyond the net change, over all epochs. The edge has the group's colour."));
}

// --- keys, address, and the two homes -----------------------------------------------------------

function onKey(app, event) {
  const { state, set, data } = app, typing = event.target.closest?.("input:not([type=range]), select, textarea");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || app.help.open) return;
  const onButton = event.target.closest?.("button"), at = app.list?.indexOf(state.focus) ?? -1;
  const go = (step) => app.list?.length && set({ focus: app.list[clamp(at + step, 0, app.list.length - 1)] });
  const views = layouts(data);
  const does = {
    " ": onButton ? null : () => play(app), ArrowRight: () => set({ row: state.row + 1, playing: false }),
    ArrowLeft: () => set({ row: state.row - 1, playing: false }), Home: () => set({ row: 0 }), End: () => set({ row: data.rows - 1 }),
    n: () => go(1), p: () => go(-1), a: () => state.focus !== null && toggle(app, state.focus),
    r: () => set({ run: (state.run + 1) % data.runs.length }), "/": () => app.search.focus(), "?": () => app.help.showModal(),
    "+": () => zoom(app, 1.5), "-": () => zoom(app, 1 / 1.5), 0: () => zoom(app, 0),
    Escape: () => set({ selection: [], focus: null, said: "" }),
    ...Object.fromEntries(views.map(({ id }, number) => [number + 1, () => set({ layout: id, zoom: [0, 0, 1] })])),
  }[event.key];
  if (!does) return;
  does();
  event.preventDefault();
  event.stopPropagation();
}

/** Keep what is shown in the page's address, and show what an address says. */
function keepAddress(app) {
  const { state, set, data } = app, kept = ["layout", "run", "sort", "scope", "curve"];
  const write = () => {
    const parts = new URLSearchParams({ epoch: data.meta.epochs[state.row] });
    for (const name of kept) parts.set(name, state[name]);
    if (state.focus !== null) parts.set("sample", state.focus);
    if (state.selection.length && state.selection.length <= 500) parts.set("selection", ranges(state.selection));
    if (state.zoom[2] > 1) parts.set("zoom", state.zoom.map((v) => round(v, 3)));
    return `#${parts}`;
  };
  const read = () => {
    const parts = new URLSearchParams(location.hash.slice(1)), next = {}, row = data.meta.epochs.indexOf(Number(parts.get("epoch")));
    if (row >= 0) next.row = row;
    const allowed = { layout: layouts(data).map(({ id }) => id), sort: Object.keys(SORTS), scope: ["all", "selection"], curve: ["loss", "score"] };
    for (const [name, values] of Object.entries(allowed)) if (values.includes(parts.get(name))) next[name] = parts.get(name);
    if (data.runs[parts.get("run")]) next.run = Number(parts.get("run"));
    if (parts.has("selection")) next.selection = parts.get("selection").split(".").flatMap(unrange);
    if (/^\d+$/.test(parts.get("sample") ?? "")) next.focus = Math.min(Number(parts.get("sample")), data.samples - 1);
    const zoomed = (parts.get("zoom") ?? "").split(",").map(Number);
    if (zoomed.length === 3 && zoomed.every(Number.isFinite)) next.zoom = [clamp(zoomed[0], 0, 1), clamp(zoomed[1], 0, 1), clamp(zoomed[2], 1, 40)];
    set(next);
  };
  app.address = write;
  let later = 0;
  app.panels.push(() => {
    clearTimeout(later);
    later = setTimeout(() => history.replaceState(null, "", write()), 250);
  });
  addEventListener("hashchange", read);
  read();
}

function ranges(list) {
  const parts = [];
  for (const i of [...list].sort((a, b) => a - b)) {
    if (parts.at(-1)?.[1] === i - 1) parts.at(-1)[1] = i;
    else parts.push([i, i]);
  }
  return parts.map(([a, b]) => (a === b ? a : `${a}-${b}`)).join(".");
}

function unrange(text) {
  const [first, last = first] = text.split("-").map(Number);
  return Number.isInteger(first) && last - first < 1000 ? Array.from({ length: Math.max(0, last - first + 1) }, (_, at) => first + at) : [];
}

function copyLink(app) {
  history.replaceState(null, "", app.address());
  const done = () => app.set({ said: "link copied" });
  navigator.clipboard?.writeText(location.href).then(done, () => app.set({ said: "the page's address is the link" }));
  if (!navigator.clipboard) app.set({ said: "the page's address is the link" });
}

/** The page of export_html: all data are in it. */
function openPage(page) {
  const text = atob(page.getElementById("data").textContent), bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  page.getElementById("data").remove();
  explore(page.getElementById("explorer"), JSON.parse(page.getElementById("meta").textContent), bytes, { address: true });
}

/** The widget of JupyterLab. */
function render({ model, el }) {
  const view = model.get("_data"), root = document.createElement("div");
  el.append(root);
  const app = explore(root, model.get("_meta"), new Uint8Array(view.buffer, view.byteOffset, view.byteLength), {
    ask: (question) => model.send(question),
    selected: (list) => {
      model.set("selection", list);
      model.save_changes();
    },
  });
  const fromPython = () => app.set({ selection: model.get("selection") }, true);
  const got = (message, buffers) => app.gotViews?.(message, buffers);
  model.on("change:selection", fromPython);
  model.on("msg:custom", got);
  fromPython();
  return () => {
    model.off("change:selection", fromPython);
    model.off("msg:custom", got);
    app.close();
  };
}

export default { render };
