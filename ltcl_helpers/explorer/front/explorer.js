// The front end of the memorization explorer: an anywidget in JupyterLab, and the script of the
// page that export_html writes. No framework, no network. docs/explorer.md says how to read it.
//
// One state, one `set`: whatever changes goes through it, and each panel draws itself from the
// state in the next animation frame. Names that come from a data set reach the page as text only.

const MARK = { many: "circle", medium: "square", few: "triangle", all: "circle" };
const SIZE = { many: 0.95, medium: 1, few: 1.5, all: 1 }; // rare marks must not drown
const DASH = { many: [], medium: [7, 3], few: [2, 3], all: [] };
const LIGHTER = { many: "#58A9E0", all: "#C9D1D9" }; // in the dark look; the others stay
const SORTS = { hardest: "Hardest now", easiest: "Easiest now", falling: "Fastest falling", wandering: "Most up and down" };
const MOST_CURVES = 150, SHOWN = 48, SHEET = 32;
const MARGIN = { left: 54, right: 14, top: 14, bottom: 44 };
const ALL = [0, 0, 1]; // the zoom that shows all: left and lower end in units, and scale
const KEYS = "Keys: Space plays; ← → Home End move in time; N and P go through the list; A adds the sample to the "
  + "selection or takes it out; 1 2 3 4 choose the map, R the run; + - 0 zoom; / searches; Esc clears. On the map: click "
  + "a sample, with Shift more than one; drag a lasso; Ctrl and the wheel zoom.";

// --- small helpers ----------------------------------------------------------------------------
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const many = (count) => count.toLocaleString("en");
const round = (value, digits) => value.toFixed(digits);
const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const more = (event) => event.shiftKey || event.ctrlKey || event.metaKey;
const reading = (text = "") => h("p", { className: "ltcl-reading", textContent: text });

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

const press = (text, onclick, more = {}) => h("button", { type: "button", textContent: text, onclick, ...more });

/** Fit a canvas to its box in device pixels and clear it; its context works in CSS pixels. */
function fit(canvas) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const width = Math.max(1, canvas.clientWidth), height = Math.max(1, canvas.clientHeight);
  const size = { width: Math.round(width * ratio), height: Math.round(height * ratio) };
  if (canvas.width !== size.width || canvas.height !== size.height) Object.assign(canvas, size);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.setLineDash([]);
  Object.assign(context, { font: "11px system-ui, sans-serif", lineWidth: 1, globalAlpha: 1 });
  return { context, width, height, ratio };
}

function line(context, points) {
  context.beginPath();
  for (let at = 0; at < points.length; at += 2) context.lineTo(points[at], points[at + 1]);
  context.stroke();
}

function tracePath(context, shape, x, y, r) {
  context.beginPath();
  if (shape === "square") context.rect(x - r * 0.88, y - r * 0.88, r * 1.76, r * 1.76);
  else if (shape === "circle") context.arc(x, y, r, 0, 2 * Math.PI);
  else for (const [dx, dy] of [[0, -1.15], [1.1, 0.85], [-1.1, 0.85]]) context.lineTo(x + r * dx, y + r * dy);
  context.closePath();
}

function fitText(context, text, room) {
  for (let end = text.length; end > 0; end--) {
    const shown = end < text.length ? `${text.slice(0, end)}…` : text;
    if (context.measureText(shown).width <= room) return shown;
  }
  return "…";
}

// --- data -------------------------------------------------------------------------------------
/** Every float16 as a number, by its 16 bits. */
const HALF = Float32Array.from({ length: 65536 }, (_, bits) => {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
});

/** The arrays of a payload, and what is computed from them once. */
function openData(meta, bytes) {
  if (bytes.byteOffset % 8) bytes = bytes.slice();
  const raw = (name) => bytes.subarray(meta.arrays[name][0], meta.arrays[name][0] + meta.arrays[name][1]);
  const array = (name, Kind) => {
    if (!meta.arrays[name]) return null;
    const part = raw(name);
    return new Kind(part.buffer, part.byteOffset, part.length / Kind.BYTES_PER_ELEMENT);
  };
  const { samples, classes } = meta, rows = meta.epochs.length, labels = array("labels", Uint16Array);
  const runs = meta.runs.map((about, n) => openRun(about, array(`loss${n}`, Uint16Array), samples, rows));
  const bySize = classes.map((_, c) => c).sort((a, b) => classes[b].size - classes[a].size || a - b);
  const place = new Uint16Array(classes.length); // of a class, the largest first
  bySize.forEach((c, at) => (place[c] = at));
  const groups = Object.keys(MARK).filter((name) => classes.some((c) => c.group === name));
  const rank = Uint8Array.from(labels, (label) => groups.indexOf(classes[label].group));
  const order = Uint32Array.from(labels, (_, i) => i).sort((a, b) => rank[a] - rank[b] || a - b); // few on top
  return {
    meta, raw, samples, rows, classes, labels, runs, bySize, place, groups, rank, order,
    index: array("index", Int32Array), projection: array("projection", Float32Array),
    group: (i) => classes[labels[i]].group, name: (i) => (meta.labelled ? classes[labels[i]].name : "sample"),
  };
}

/**
 * A run's losses and scores; a score compares a loss with the mean of all that were seen by that epoch.
 *
 * A loss of NaN means that the sample was not seen yet: its score is 0.5, as in Python.
 */
function openRun(about, bits, samples, rows) {
  const mean = new Float64Array(rows), far = new Float64Array(rows);
  for (let t = 0; t < rows; t++) {
    const row = bits.subarray(t * samples, (t + 1) * samples);
    let sum = 0, seen = 0;
    for (const bit of row) {
      const loss = HALF[bit];
      if (!Number.isNaN(loss)) (sum += loss), seen++;
    }
    mean[t] = sum / (seen || 1);
    for (const bit of row) {
      const offset = Math.abs(HALF[bit] - mean[t]);
      if (offset > far[t]) far[t] = offset; // never true of NaN
    }
  }
  const loss = (t, i) => HALF[bits[t * samples + i]];
  const toScore = (t, value) => (far[t] > 0 ? (1 + (value - mean[t]) / far[t]) / 2 : 0.5 + 0 * value);
  const curve = toScore; // NaN stays NaN: a gap
  const score = (t, i) => {
    const found = toScore(t, loss(t, i));
    return Number.isNaN(found) ? 0.5 : found;
  };
  return { ...about, loss, curve, score, seen: (t, i) => !Number.isNaN(loss(t, i)) };
}

/** What each order ranks the samples by, largest first. */
function sortKey(data, run, sort, t) {
  if (sort === "hardest") return (i) => run.loss(t, i);
  if (sort === "easiest") return (i) => -run.loss(t, i);
  const seen = (i) => {
    const found = [];
    for (let s = 0; s < data.rows; s++) if (run.seen(s, i)) found.push(run.loss(s, i));
    return found;
  };
  run.first ??= Float32Array.from(data.labels, (_, i) => seen(i)[0] ?? NaN); // the first loss, when it came
  if (sort === "falling") return (i) => run.first[i] - run.loss(t, i);
  run.wandering ??= Float32Array.from(data.labels, (_, i) => {
    const losses = seen(i);
    let path = 0;
    for (let s = 1; s < losses.length; s++) path += Math.abs(losses[s] - losses[s - 1]);
    return path - Math.abs(losses.at(-1) - losses[0]);
  });
  return (i) => run.wandering[i];
}

/** The `count` samples of `pool` with the largest keys, largest first; none whose key is NaN. */
function largest(pool, key, count) {
  const all = Float32Array.from(pool, key), sorted = all.filter((value) => !Number.isNaN(value)).sort(), found = [];
  const least = sorted[Math.max(0, sorted.length - count)];
  for (let at = 0; at < all.length; at++) if (all[at] >= least) found.push(at);
  found.sort((a, b) => all[b] - all[a] || pool[a] - pool[b]);
  return found.slice(0, count).map((at) => pool[at]);
}

/** Strength and probability that a score means in a run, as text. */
function boostWords({ steer, scale, strength: [atZero, atOne] }, score) {
  const unscaled = { own: score, mean: 0.5, inverted: 1 - score }[steer];
  const w = unscaled === undefined ? undefined : Math.min(1, scale * unscaled);
  if (steer === "other") return ["another sample's", "another sample's"];
  if (steer === "aim") return ["by another aim", "by another aim"];
  if (steer === "class") return ["by class size", "by class size"];
  const ends = (at) => [...new Set(atZero.map((low, end) => round(low + (atOne[end] - low) * at, 1)))].join(" to ");
  return w === undefined ? [`none (BCL-I: ${ends(score)})`, `0 (BCL-I: ${round(score, 2)})`] : [ends(w), round(w, 2)];
}

/** Thumbnails and views, decoded when first looked at; without images the mark of the group. */
function pictures(data, colour) {
  const kept = new Map(), side = data.meta.side;
  const decode = (name) => {
    if (!kept.has(name)) kept.set(name, createImageBitmap(new Blob([data.raw(name)], { type: "image/webp" })));
    return kept.get(name);
  };
  const paint = async (canvas, i) => {
    canvas.dataset.sample = i;
    const bitmap = side && (await decode(`sheet${Math.floor(i / SHEET ** 2)}`));
    if (Number(canvas.dataset.sample) !== i) return; // it shows another sample by now
    Object.assign(canvas, { width: side ?? 32, height: side ?? 32 });
    const context = canvas.getContext("2d"), at = i % SHEET ** 2;
    if (side) return context.drawImage(bitmap, -(at % SHEET) * side, -Math.floor(at / SHEET) * side);
    context.fillStyle = colour(data.group(i));
    tracePath(context, MARK[data.group(i)], 16, 16, 9);
    context.fill();
  };
  return { paint, decode };
}

// --- the explorer -----------------------------------------------------------------------------
/**
 * Build the explorer in `root`.
 *
 * `host`: `ask` asks Python for views, `selected(list)` is told of every selection, `address` is
 * true where the view is kept in the page's address.
 */
function explore(root, meta, bytes, host) {
  const data = openData(meta, bytes), panels = [], chosen = new Uint8Array(data.samples);
  const state = {
    row: data.rows - 1, run: 0, layout: layouts(data)[0].id, sort: "hardest", scope: "all", curve: "loss", focus: null,
    selection: [], hidden: new Set(), playing: false, zoom: ALL, hover: null, said: "",
  };
  state.focus = meta.views?.samples[0] ?? largest(data.order, sortKey(data, data.runs[0], "hardest", state.row), 1)[0];
  let waiting = 0;
  function set(changes, quiet = false) {
    if ("row" in changes) changes.row = clamp(Math.round(changes.row) || 0, 0, data.rows - 1);
    if ("layout" in changes) changes.zoom ??= ALL;
    if ("selection" in changes) {
      for (const i of state.selection) chosen[i] = 0;
      changes.selection = changes.selection.filter((i) => i >= 0 && i < data.samples && !chosen[i] && (chosen[i] = 1));
      if (!("focus" in changes)) changes.focus = changes.selection[0] ?? state.focus;
    }
    Object.assign(state, changes);
    if ("selection" in changes && !quiet) host.selected?.(state.selection);
    waiting ||= requestAnimationFrame(() => ((waiting = 0), panels.forEach((draw) => draw())));
  }
  const colour = (group) => (root.dataset.look === "dark" && LIGHTER[group]) || meta.colours[group];
  const app = { root, data, state, host, chosen, set, panels, colour, ink: {}, images: pictures(data, colour) };
  root.classList.add("ltcl");
  root.tabIndex = -1;
  root.setAttribute("data-lm-suppress-shortcuts", "true"); // the keys are ours, not JupyterLab's
  root.append(h("div", { className: "ltcl-page" }, header(app),
    h("div", { className: `ltcl-grid${data.runs.length > 1 ? " two" : ""}` }, mapPanel(app), timeline(app),
      curvesPanel(app), h("div", { className: "ltcl-side" }, samplePanel(app), galleryPanel(app))),
    h("footer", {}, h("p", {}, h("strong", { textContent: meta.aboutLabels })), h("ul", {},
      ...[...meta.notes, KEYS].map((note) => h("li", { textContent: note }))))));
  const stopLook = followLook(root, () => {
    for (const name of ["ink", "soft", "line", "accent"]) app.ink[name] = getComputedStyle(root).getPropertyValue(`--${name}`).trim();
    set({});
  });
  const keys = (event) => onKey(app, event), heard = host.address ? document : root;
  heard.addEventListener("keydown", keys);
  const sized = new ResizeObserver(() => set({}));
  sized.observe(root);
  if (host.address) keepAddress(app);
  app.close = () => (set({ playing: false }), stopLook(), sized.disconnect(), heard.removeEventListener("keydown", keys));
  return app;
}

/** Dark or light as JupyterLab is, or as the system asks for. */
function followLook(root, changed) {
  const system = matchMedia("(prefers-color-scheme: dark)"), look = () => {
    const lab = document.body.dataset.jpThemeLight;
    root.dataset.look = (lab === undefined ? system.matches : lab === "false") ? "dark" : "light";
    changed();
  };
  const watch = new MutationObserver(look);
  watch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  system.addEventListener("change", look);
  look();
  return () => (watch.disconnect(), system.removeEventListener("change", look));
}

/** A row of buttons of which one is pressed. */
function choice(app, name, label, options) {
  const buttons = options.map(({ id, label: text }) => press(text, () => app.set({ [name]: id })));
  app.panels.push(() => buttons.forEach((button, at) => button.setAttribute("aria-pressed", app.state[name] === options[at].id)));
  return h("div", { className: "ltcl-choice", role: "group", "aria-label": label }, ...buttons);
}

const panel = (name, bar, ...content) => h("section", { className: `ltcl-panel ltcl-${name}` }, h("div", { className: "ltcl-bar" }, ...bar), ...content);
const heading = (text) => h("h2", { textContent: text });

// --- header, search, CSV ----------------------------------------------------------------------
function header(app) {
  const { data, state, set } = app, { meta } = data;
  const id = `ltcl-names-${Math.random().toString(36).slice(2)}`;
  const names = h("datalist", { id }, ...(meta.labelled ? data.classes.map((c) => h("option", { value: c.name })) : []));
  const input = (app.search = h("input", {
    type: "search", placeholder: `Search: ${meta.labelled ? `${data.classes[data.bySize[0]].name}, few, ` : ""}12, 40-60`, className: "ltcl-search",
    list: id, "aria-label": "Search by class or sample number",
    onkeydown: (event) => event.key === "Enter" && search(app, input.value),
  }));
  const csv = press("", () => downloadCsv(app));
  const clear = press("Clear", () => set({ selection: [], focus: null, said: "" }));
  app.panels.push(() => {
    csv.textContent = state.selection.length ? `Save CSV (${many(state.selection.length)})` : "Save CSV";
    csv.disabled = clear.disabled = !state.selection.length;
  });
  const facts = [meta.data, `${many(data.samples)} samples`, meta.labelled && `${data.classes.length} classes`,
    data.rows === 1 ? `epoch ${meta.epochs[0]}` : `epochs ${meta.epochs[0]} to ${meta.epochs.at(-1)}`];
  const title = h("h1", {}, ...data.runs.flatMap((run, at) => [
    at ? h("span", { className: "ltcl-versus", textContent: " beside " }) : null, run.label]));
  return h("header", {}, h("div", { className: "ltcl-title" }, title, h("p", { textContent: facts.filter(Boolean).join(" · ") })),
    h("div", { className: "ltcl-tools" }, input, names, clear, csv, app.host.address ? press("Copy link", () => copyLink(app)) : null));
}

/** Select by class name, group or sample number; several at once, between commas. */
function search(app, text) {
  const { data, set } = app, found = [], unknown = [];
  const take = (test) => data.labels.forEach((label, i) => test(data.classes[label]) && found.push(i));
  for (const term of text.split(",").map((part) => part.trim()).filter(Boolean)) {
    const before = found.length, range = /^#?(\d+)(?:\s*-\s*(\d+))?$/.exec(term), low = term.toLowerCase();
    const exact = (c) => c.name.toLowerCase() === low;
    if (range) {
      const last = Math.min(Number(range[2] ?? range[1]), data.samples - 1);
      for (let i = Number(range[1]); i <= last; i++) found.push(i);
    } else if (data.meta.labelled) {
      if (data.classes.some(exact)) take(exact);
      else if (data.groups.includes(low)) take((c) => c.group === low);
      else take((c) => c.name.toLowerCase().includes(low));
    }
    if (found.length === before) unknown.push(`“${term}”`);
  }
  const said = unknown.length ? `nothing found for ${unknown.join(", ")}` : "";
  set(found.length ? { selection: found, focus: found[0], said } : { said });
}

function downloadCsv(app) {
  const { data, state } = app, { epochs, labelled } = data.meta, quote = (text) => `"${String(text).replaceAll('"', '""')}"`;
  const head = ["sample", ...(data.index ? ["position"] : []), ...(labelled ? ["class", "class size", "group"] : [])];
  for (const { label } of data.runs) {
    head.push(`score after epoch ${epochs[state.row]}, ${label}`, ...epochs.map((epoch) => `momentum loss ${epoch}, ${label}`));
  }
  const lines = state.selection.map((i) => {
    const c = data.classes[data.labels[i]], row = [i, ...(data.index ? [data.index[i]] : [])];
    if (labelled) row.push(quote(c.name), c.size, c.group);
    for (const run of data.runs) {
      row.push(round(run.score(state.row, i), 6), ...epochs.map((_, t) => (run.seen(t, i) ? Number(run.loss(t, i).toPrecision(6)) : "")));
    }
    return row.join(",");
  });
  const text = [head.map(quote).join(","), ...lines, ""].join("\n");
  const link = h("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: "samples.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// --- the map ----------------------------------------------------------------------------------
const MAPS = {
  size: { label: "Class size", read: "one mark a sample, one column a class, large classes left. High is hard: a score near 1 is a loss far above the mean of this epoch. The bar is the class mean." },
  fall: { label: "Fall so far", read: "right, the momentum loss fell far since the first epoch shown; high, it is still above the mean.",
    under: () => "risen  ←  fall of the momentum loss so far  →  fallen far" },
  both: { label: "Both runs", read: "left to right the score in the first run, upwards in the second. On the diagonal both runs find a sample equally hard.",
    under: (data) => `score, ${data.runs[0].label}` },
  features: { label: "Features", read: "near each other, alike to the final encoder (two dimensions of many). Large marks have high scores at this epoch.",
    under: (data) => `features of the final encoder, ${data.meta.projection}` },
};

/** The maps that these data allow. */
function layouts({ meta, runs }) {
  const allowed = { size: meta.labelled, fall: true, both: runs.length > 1, features: meta.projection };
  return Object.keys(MAPS).filter((id) => allowed[id]).map((id) => ({ id, label: MAPS[id].label }));
}

/** Where a layout puts a sample, in units of 0 to 1 from the lower left corner. */
function placing(data, state) {
  const run = data.runs[state.run], t = state.row, score = (i) => run.score(t, i);
  const unit = (value, [low, high]) => (value - low) / (high - low || 1);
  if (state.layout === "both") return [(i) => data.runs[0].score(t, i), (i) => data.runs[1].score(t, i)];
  if (state.layout === "features") {
    data.reach ??= [0, 1].map((axis) => extent(data, 1, (_, i) => data.projection[2 * i + axis]));
    return [0, 1].map((axis) => (i) => 0.03 + 0.94 * unit(data.projection[2 * i + axis], data.reach[axis]));
  }
  if (state.layout === "fall") {
    sortKey(data, run, "falling", t); // makes run.first
    const fall = (s, i) => run.first[i] - run.loss(s, i);
    run.reach ??= extent(data, data.rows, fall);
    return [(i) => unit(fall(t, i), run.reach), score];
  }
  data.column ??= Float32Array.from(data.labels, (label, i) => {
    const spread = ((Math.imul(i + 1, 2654435761) >>> 8) % 4096) / 4096; // the same in every view
    return (data.place[label] + 0.1 + 0.8 * spread) / data.classes.length;
  });
  return [(i) => data.column[i], score];
}

function extent(data, rows, value) {
  let low = Infinity, high = -Infinity;
  for (let t = 0; t < rows; t++) {
    for (let i = 0; i < data.samples; i++) {
      const found = value(t, i);
      if (found < low) low = found;
      if (found > high) high = found;
    }
  }
  return [low, high];
}

function mapPanel(app) {
  const { data, state, images } = app, { meta } = data;
  const base = h("canvas"), top = h("canvas", { className: "ltcl-top", tabIndex: 0, role: "img" });
  const picture = h("canvas"), text = h("div"), tip = h("div", { className: "ltcl-tip", hidden: true }, picture, text);
  const zooms = [["+", 1.5, "Zoom in"], ["−", 1 / 1.5, "Zoom out"], ["⤢", 0, "Show all"]].map(([sign, by, name]) =>
    press(sign, () => zoom(app, by), { title: name, "aria-label": name }));
  const box = h("div", { className: "ltcl-map" }, base, top, tip, h("div", { className: "ltcl-zoom" }, ...zooms));
  const view = (app.view = { x: new Float32Array(data.samples), y: new Float32Array(data.samples), lasso: null });
  const read = reading();
  app.panels.push(() => {
    drawPoints(app, base, view);
    drawOver(app, top, view);
    read.textContent = `How to read: ${MAPS[state.layout].read}`;
    top.setAttribute("aria-label", `Map of ${data.samples} samples after epoch ${meta.epochs[state.row]}, ${state.selection.length} selected`);
    const i = state.hover;
    tip.hidden = i === null || Number.isNaN(view.x[i]);
    if (tip.hidden) return;
    images.paint(picture, i);
    const name = meta.labelled ? `${data.name(i)} (${data.group(i)})` : "sample";
    text.replaceChildren(h("b", { textContent: `${name} · ${i}` }), h("br"), `score ${round(data.runs[state.run].score(state.row, i), 2)}`);
    const left = view.x[i] > box.clientWidth / 2; // of the mark, so that it stays inside
    tip.style.transform = `translate(${view.x[i] + (left ? -12 : 12)}px, ${clamp(view.y[i] - 30, 0, box.clientHeight - 76)}px) translateX(${left ? "-100%" : "0"})`;
  });
  watchPointer(app, top, view);
  return panel("a", [heading("Map"), choice(app, "layout", "Map", layouts(data)),
    data.runs.length > 1 ? choice(app, "run", "Run on the map", data.runs.map(({ label }, id) => ({ id, label }))) : null,
    meta.labelled ? h("div", { className: "ltcl-legend", role: "group", "aria-label": "Show or hide groups" },
      ...data.groups.map((group) => legendButton(app, group))) : null], box, read);
}

function legendButton(app, group) {
  const { data, state, set } = app, swatch = h("canvas");
  const turn = () => set({ hidden: new Set(data.groups.filter((other) => state.hidden.has(other) !== (other === group))) });
  const button = h("button", { type: "button", title: `Show or hide the ${group} classes`, onclick: turn }, swatch, group);
  app.panels.push(() => {
    button.setAttribute("aria-pressed", !state.hidden.has(group));
    const { context } = fit(swatch);
    context.strokeStyle = context.fillStyle = app.colour(group);
    context.lineWidth = 2;
    context.setLineDash(DASH[group]);
    line(context, [0, 7, 28, 7]);
    tracePath(context, MARK[group], 14, 7, 4.5);
    context.fill();
  });
  return button;
}

/** How much of a mark covers each pixel of a small square, 0 to 255. */
const stamps = new Map();
function stamp(shape, radius) {
  const key = `${shape}/${radius.toFixed(2)}`, size = 2 * Math.ceil(radius * 1.2) + 1;
  if (!stamps.has(key)) {
    const context = h("canvas", { width: size, height: size }).getContext("2d", { willReadFrequently: true });
    tracePath(context, shape, size / 2, size / 2, radius);
    context.fill();
    stamps.set(key, { size, alpha: context.getImageData(0, 0, size, size).data.filter((_, at) => at % 4 === 3) });
  }
  return stamps.get(key);
}

/** All marks, blended by hand into one picture: fast without a graphics card, too. */
function drawPoints(app, canvas, view) {
  const { data, state, chosen } = app, { context, width, height, ratio } = fit(canvas);
  const [x, y] = placing(data, state), [zx, zy, scale] = state.zoom, right = width - MARGIN.right, bottom = height - MARGIN.bottom;
  Object.assign(view, { w: right - MARGIN.left, h: bottom - MARGIN.top });
  if (view.image?.width !== canvas.width || view.image.height !== canvas.height) view.image = context.createImageData(canvas.width, canvas.height);
  view.image.data.fill(0);
  const radius = (data.samples > 30000 ? 1.1 : data.samples > 5000 ? 2.1 : 3) * ratio * Math.min(1.6, Math.sqrt(scale));
  const run = data.runs[state.run], byScore = state.layout === "features", some = state.selection.length > 0;
  const kinds = data.groups.map((group) => ({
    shown: !state.hidden.has(group), colour: rgb(app.colour(group)), faint: group === "few" ? 140 : 75,
    marks: [0.6, 1, 1.7].map((part) => stamp(MARK[group], radius * part * SIZE[group])),
  }));
  for (const i of data.order) {
    const { shown, colour, faint, marks } = kinds[data.rank[i]];
    const px = MARGIN.left + (x(i) - zx) * scale * view.w, py = MARGIN.top + (1 - (y(i) - zy) * scale) * view.h;
    const inside = shown && px >= MARGIN.left - 4 && px <= right + 4 && py >= MARGIN.top - 4 && py <= bottom + 4;
    view.x[i] = inside ? px : NaN; // NaN: neither hovered nor lassoed
    view.y[i] = py;
    if (!inside) continue;
    const score = byScore ? run.score(state.row, i) : 0.5, mark = marks[score < 0.5 ? 0 : score < 0.65 ? 1 : 2];
    blend(view.image, mark, Math.round(px * ratio), Math.round(py * ratio), colour, some && !chosen[i] ? faint : 200);
  }
  context.putImageData(view.image, 0, 0);
}

function blend({ data, width, height }, { size, alpha }, cx, cy, [r, g, b], opacity) {
  const half = size >> 1, left = Math.max(0, half - cx), right = Math.min(size, width + half - cx);
  for (let dy = Math.max(0, half - cy); dy < Math.min(size, height + half - cy); dy++) {
    for (let dx = left; dx < right; dx++) {
      const a = (alpha[dy * size + dx] * opacity) >> 8, at = 4 * ((cy - half + dy) * width + cx - half + dx);
      const keep = (data[at + 3] * (255 - a)) / 255, all = a + keep;
      if (!a) continue;
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
  context.strokeRect(MARGIN.left - 4.5, MARGIN.top - 4.5, view.w + 9, view.h + 9);
  const ticks = state.layout === "features" ? [] : Array.from({ length: 11 }, (_, n) => n / 10).filter((_, n) => scale > 2.5 || n % 2 === 0);
  for (const u of ticks.filter((u) => toY(u) > MARGIN.top - 4 && toY(u) < bottom + 4)) {
    context.textAlign = "right";
    context.fillText(round(u, 1), MARGIN.left - 9, toY(u) + 4);
    line(context, [MARGIN.left - 4, toY(u), right + 4, toY(u)]);
  }
  context.textAlign = "center";
  if (ticks.length) {
    context.save();
    context.translate(14, MARGIN.top + view.h / 2);
    context.rotate(-Math.PI / 2);
    context.fillText(state.layout === "both" ? `score, ${data.runs[1].label}` : "easy  ←  memorization score  →  hard", 0, 0);
    context.restore();
  }
  if (state.layout === "size") drawClasses(app, context, toX, toY, bottom, right);
  else context.fillText(MAPS[state.layout].under(data), MARGIN.left + view.w / 2, bottom + 24);
  context.save();
  context.beginPath();
  context.rect(MARGIN.left - 4, MARGIN.top - 4, view.w + 8, view.h + 8);
  context.clip();
  context.setLineDash([5, 4]);
  context.strokeStyle = ink.soft;
  if (state.layout === "both") line(context, [toX(0), toY(0), toX(1), toY(1)]);
  context.strokeStyle = ink.accent;
  if (view.lasso) line(context, view.lasso.flat());
  context.restore();
  const ring = (i, colour, radius, thick) => {
    if (i === null || Number.isNaN(view.x[i])) return;
    Object.assign(context, { strokeStyle: colour, lineWidth: thick });
    tracePath(context, "circle", view.x[i], view.y[i], radius);
    context.stroke();
  };
  for (const i of state.selection.slice(0, 3000)) ring(i, ink.ink, 6, 1.5);
  ring(state.focus, ink.accent, 9, 2.5);
  ring(state.hover, ink.accent, 7, 2);
}

/** Under the map the classes' names and sizes, in two rows; in it their mean scores. */
function drawClasses(app, context, toX, toY, bottom, right) {
  const { data, state, ink } = app, count = data.classes.length, wide = toX(1 / count) - toX(0), run = data.runs[state.run];
  const sums = new Float64Array(count), step = Math.max(1, Math.ceil(42 / wide)), room = 2 * step * wide - 8;
  for (let i = 0; i < data.samples; i++) sums[data.labels[i]] += run.score(state.row, i);
  data.bySize.forEach((c, place) => {
    const x = toX((place + 0.5) / count), { name, size } = data.classes[c], mean = toY(sums[c] / size), number = ` ${many(size)}`;
    if (x < MARGIN.left || x > right) return;
    Object.assign(context, { strokeStyle: ink.ink, fillStyle: ink.ink, lineWidth: 2.5, textAlign: "left" });
    if (wide > 4 && mean > MARGIN.top && mean < bottom) line(context, [x - wide * 0.42, mean, x + wide * 0.42, mean]);
    if (place % step) return;
    const text = fitText(context, name, room - context.measureText(number).width), y = bottom + 19 + 14 * ((place / step) % 2);
    const part = context.measureText(text).width, long = context.measureText(text + number).width;
    const left = clamp(x - long / 2, 2, right + MARGIN.right - long - 1);
    context.fillText(text, left, y);
    context.fillStyle = ink.soft;
    context.fillText(number, left + part, y);
  });
}

/** Zoom by a factor (0: show all) about a place of the map, or about the chosen sample. */
function zoom(app, by, at = null) {
  const { state, view, set } = app, [zx, zy, scale] = state.zoom, next = clamp(scale * by, 1, 40), i = state.focus;
  if (!by) return set({ zoom: ALL });
  const seen = i !== null && !Number.isNaN(view.x[i]);
  const [x, y] = at ?? (seen ? [view.x[i], view.y[i]] : [MARGIN.left + view.w / 2, MARGIN.top + view.h / 2]);
  const start = (from, part) => clamp(from + part / scale - part / next, 0, 1 - 1 / next);
  set({ zoom: [start(zx, (x - MARGIN.left) / view.w), start(zy, 1 - (y - MARGIN.top) / view.h), next] });
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

/** Hover, click, lasso and wheel. */
function watchPointer(app, canvas, view) {
  const { state, set } = app, place = ({ offsetX, offsetY }) => [offsetX, offsetY];
  let down = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (!event.button) (down = place(event)), canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = place(event);
    if (down && (view.lasso || Math.hypot(x - down[0], y - down[1]) > 6)) (view.lasso ??= [down]).push([x, y]);
    const hover = view.lasso ? null : nearest(view, x, y);
    if (view.lasso || hover !== state.hover) set({ hover });
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!down) return;
    const hit = view.lasso ? null : nearest(view, ...down), found = view.lasso ? inside(view) : [hit];
    const missed = !view.lasso && hit === null;
    down = view.lasso = null;
    if (missed) set(more(event) ? {} : { selection: [], focus: null });
    else if (hit !== null) pick(app, hit, event);
    else set({ selection: more(event) ? [...state.selection, ...found] : found, said: "" });
  });
  canvas.addEventListener("pointercancel", () => (down = view.lasso = null));
  canvas.addEventListener("pointerleave", () => set({ hover: null }));
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoom(app, event.deltaY < 0 ? 1.2 : 1 / 1.2, place(event));
  }, { passive: false });
}

/** Select one sample; with Shift add it, or take it out. */
function pick({ state, set, chosen }, i, event) {
  const others = state.selection.filter((other) => other !== i);
  set({ selection: !more(event) ? [i] : chosen[i] ? others : [...others, i], focus: i, said: "" });
}

/** Samples inside the lasso, by counting how often a ray crosses its sides. */
function inside({ x, y, lasso }) {
  const found = [], xs = lasso.map((p) => p[0]), ys = lasso.map((p) => p[1]);
  for (let i = 0; i < x.length; i++) {
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
  const slider = h("input", { type: "range", min: 0, max: last, step: 1, "aria-label": "Epoch",
    oninput: () => set({ row: Number(slider.value), playing: false }) });
  const button = press("", () => play(app), { className: "ltcl-play", disabled: !last });
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

/** Go through the epochs in about eight seconds; or stop. */
function play({ data, state, set }) {
  if (state.playing) return set({ playing: false });
  const wait = clamp(8000 / data.rows, 60, 250);
  let then = performance.now();
  set({ playing: true, row: state.row === data.rows - 1 ? 0 : state.row });
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
  const { data, state, set } = app, read = reading();
  const figures = data.runs.map((run) => {
    const scrub = (event) => {
      if (event.type === "pointermove" && !event.buttons) return;
      const box = canvas.getBoundingClientRect();
      set({ row: ((event.clientX - box.left - 40) / (box.width - 52)) * (data.rows - 1), playing: false });
    };
    const canvas = h("canvas", { className: "ltcl-curves", role: "img", onpointerdown: scrub, onpointermove: scrub,
      "aria-label": `Curves of the selected samples, ${run.label}` });
    return { run, canvas, caption: data.runs.length > 1 ? h("figcaption", { textContent: run.label }) : null };
  });
  app.panels.push(() => {
    const total = state.selection.length, shown = state.selection.filter((_, at) => at % Math.ceil(total / MOST_CURVES) === 0);
    const range = curveRange(app, shown);
    for (const { run, canvas } of figures) drawCurves(app, canvas, run, shown, range);
    read.textContent = "How to read: a line is a selected sample, the bold one is the chosen one; a band holds the middle half of its group, "
      + `with the median. Drag to move in time.${shown.length < total ? ` ${shown.length} of the ${many(total)} selected are drawn.` : ""}`;
  });
  return panel("c", [heading("Curves"), choice(app, "curve", "Curves of", [{ id: "loss", label: "Momentum loss" }, { id: "score", label: "Score" }])],
    h("div", { className: "ltcl-pair" }, ...figures.map(({ canvas, caption }) => h("figure", {}, caption, canvas))), read);
}

/** The same vertical range for both runs: all bands and all curves drawn. */
function curveRange({ data, state }, shown) {
  if (state.curve === "score") return [0, 1];
  let low = Infinity, high = -Infinity;
  const take = (value) => {
    if (value === null || Number.isNaN(value)) return; // not seen yet
    low = Math.min(low, value);
    high = Math.max(high, value);
  };
  for (const run of data.runs) {
    for (const band of Object.values(run.bands)) band.flat().forEach(take);
    for (const i of state.focus === null ? shown : [...shown, state.focus]) for (let t = 0; t < data.rows; t++) take(run.loss(t, i));
  }
  const room = (high - low) * 0.04 || 1;
  return [low - room, high + room];
}

function drawCurves(app, canvas, run, shown, [low, high]) {
  const { data, state, ink } = app, { context, width, height } = fit(canvas), last = Math.max(1, data.rows - 1);
  const toX = (t) => 40 + (t / last) * (width - 52), toY = (v) => 8 + (1 - (v - low) / (high - low)) * (height - 36);
  const value = state.curve === "score" ? run.curve : (_, v) => v;
  const path = (at) => { // a line wherever there are values, a gap elsewhere
    context.beginPath();
    let before = false;
    for (let t = 0; t < data.rows; t++) {
      const y = toY(value(t, at(t) ?? NaN)), there = !Number.isNaN(y);
      if (there && before) context.lineTo(toX(t), y);
      else if (there) context.moveTo(toX(t), y);
      before = there;
    }
    if (data.rows === 1) context.arc(toX(0), toY(value(0, at(0))), 3, 0, 7);
  };
  const stroke = (at, colour, thick) => {
    Object.assign(context, { strokeStyle: colour, lineWidth: thick });
    path(at);
    context.stroke();
  };
  Object.assign(context, { strokeStyle: ink.line, fillStyle: ink.soft, textAlign: "right" });
  const step = [0.05, 0.1, 0.25, 0.5, 1, 2, 5].find((size) => (high - low) / size <= 6) ?? 10 ** Math.ceil(Math.log10((high - low) / 6));
  for (let v = Math.ceil(low / step) * step; v <= high + 1e-9; v += step) {
    line(context, [40, toY(v), width - 12, toY(v)]);
    context.fillText(Number(v.toFixed(2)), 34, toY(v) + 4);
  }
  for (const [group, band] of Object.entries(run.bands)) {
    if (state.hidden.has(group)) continue;
    context.fillStyle = app.colour(group);
    path((t) => band[t][2]);
    for (let t = data.rows - 1; t >= 0; t--) if (band[t][0] !== null) context.lineTo(toX(t), toY(value(t, band[t][0])));
    context.globalAlpha = shown.length ? 0.13 : 0.2;
    context.fill();
    context.globalAlpha = shown.length ? 0.6 : 1;
    context.setLineDash(DASH[group]);
    stroke((t) => band[t][1], app.colour(group), 2);
    context.setLineDash([]);
  }
  context.globalAlpha = clamp(3 / Math.sqrt(shown.length || 1), 0.25, 0.9);
  for (const i of shown) stroke((t) => run.loss(t, i), app.colour(data.group(i)), 1.2);
  context.globalAlpha = 1;
  for (const [i, colour] of [[state.hover, ink.accent], [state.focus, ink.ink]]) if (i !== null) stroke((t) => run.loss(t, i), colour, 2.5);
  Object.assign(context, { lineWidth: 1, strokeStyle: ink.accent, fillStyle: ink.accent });
  line(context, [toX(state.row), 8, toX(state.row), height - 28]);
  const late = state.row > last * 0.9;
  context.textAlign = late ? "right" : "center";
  context.fillText(`epoch ${data.meta.epochs[state.row]}`, late ? width - 2 : Math.max(58, toX(state.row)), height - 10);
}

// --- one sample -------------------------------------------------------------------------------
function samplePanel(app) {
  const { data, state, images } = app, { meta } = data;
  const picture = h("canvas", { className: "ltcl-picture" }), title = h("h3"), facts = h("p", { className: "ltcl-facts" });
  const rows = ["Momentum loss", "Score", "Place, hardest first", "Strength (0 to 30)", "Probability"].map((name) =>
    h("tr", {}, h("th", { textContent: name, scope: "row" }), ...data.runs.map(() => h("td"))));
  const head = h("tr", {}, h("td"), ...data.runs.map((run) => h("th", { textContent: run.label, scope: "col" })));
  const table = h("table", {}, h("thead", {}, head), h("tbody", {}, ...rows));
  const strips = data.runs.map(() => h("canvas", { className: "ltcl-strip" })), captions = data.runs.map(() => h("figcaption"));
  const card = h("div", { hidden: true }, h("div", { className: "ltcl-who" }, picture, h("div", {}, title, facts)), table,
    ...strips.map((strip, at) => h("figure", {}, captions[at], strip)));
  const none = h("p", { className: "ltcl-none", textContent: "Click a mark on the map, search, or press N to go through the list." });
  app.panels.push(() => {
    const i = state.focus, t = state.row;
    card.hidden = i === null;
    none.hidden = !card.hidden;
    if (i === null) return;
    images.paint(picture, i);
    const c = data.classes[data.labels[i]];
    title.textContent = meta.labelled ? c.name : `sample ${i}`;
    facts.textContent = [`sample ${i}`, data.index && `position ${data.index[i]} of the data`,
      meta.labelled && `class of ${many(c.size)}, ${c.group}`].filter(Boolean).join(" · ");
    data.runs.forEach((run, number) => {
      const loss = run.loss(t, i), score = run.score(t, i), seen = run.seen(t, i);
      let place = 1, all = 0;
      for (let other = 0; other < data.samples; other++) {
        if (run.seen(t, other)) all++;
        if (run.loss(t, other) > loss) place++;
      }
      const cells = [seen ? Number(loss.toPrecision(5)) : "not seen yet", round(score, 3),
        seen ? `${many(place)} of ${many(all)}` : "not seen yet", ...boostWords(run, score)];
      cells.forEach((text, at) => (rows[at].cells[number + 1].textContent = text));
    });
    showViews(app, strips, captions);
  });
  return panel("b", [heading("Chosen sample")], none, card,
    reading("How to read: the score after this epoch; strength and probability are what it means for the views of the next one."));
}

/** The strips of views: asked from Python where it listens, else those the page holds. */
function showViews(app, strips, captions) {
  const { data, state, host, images } = app, { meta } = data, i = state.focus, t = state.row;
  const show = async (number, used, picture, line, row) => {
    const run = data.runs[number], by = run.steer === "none" ? "no boost" : `steered by ${round(used, 2)}`;
    captions[number].textContent = `${run.label}, views after epoch ${meta.epochs[row]}, ${by} (${run.note})`;
    strips[number].hidden = false;
    const bitmap = await picture;
    if (state.focus !== i) return;
    Object.assign(strips[number], { width: bitmap.width, height: meta.side });
    strips[number].getContext("2d").drawImage(bitmap, 0, -line * meta.side);
  };
  const nothing = (text) => captions.forEach((caption, at) => ((caption.textContent = at ? "" : text), (strips[at].hidden = true)));
  if (meta.live) {
    if (app.asked === `${i}/${t}`) return;
    app.asked = `${i}/${t}`;
    clearTimeout(app.asking);
    app.asking = setTimeout(() => host.ask({ sample: i, row: t }), 120);
    app.gotViews = ({ sample, row, used }, buffers) => {
      if (sample !== state.focus || row !== state.row) return;
      buffers.forEach((part, number) => show(number, used[number], createImageBitmap(new Blob([part], { type: "image/webp" })), 0, row));
    };
  } else if (!meta.views) nothing(meta.side ? "No views: these losses come without a run." : "No views: the images are not at hand.");
  else {
    const { samples, rows, used } = meta.views, at = samples.indexOf(i);
    if (at < 0) return nothing(`This page holds views of ${samples.length} samples, dotted in the list; in JupyterLab any sample's are drawn.`);
    const block = rows.indexOf(rows.reduce((best, row) => (Math.abs(row - t) < Math.abs(best - t) ? row : best)));
    data.runs.forEach((_, number) => show(number, used[number][block][at], images.decode(`views${number}`), block * samples.length + at, rows[block]));
  }
}

// --- the list ---------------------------------------------------------------------------------
function galleryPanel(app) {
  const { data, state, images, set } = app, { meta } = data, held = new Set(meta.views?.samples);
  const tiles = Array.from({ length: Math.min(SHOWN, data.samples) }, () => {
    const canvas = h("canvas"), text = h("span"), sample = () => Number(button.dataset.sample);
    const button = h("button", { type: "button", className: "ltcl-tile", onclick: (event) => pick(app, sample(), event),
      onpointerenter: () => set({ hover: sample() }), onpointerleave: () => set({ hover: null }) }, canvas, text);
    return { button, canvas, text };
  });
  const fill = ({ button, canvas, text }, i) => {
    button.hidden = i === undefined;
    if (button.hidden) return;
    images.paint(canvas, i);
    button.dataset.sample = i;
    text.textContent = meta.labelled ? data.name(i) : i;
    button.title = `${data.name(i)} ${i}, score ${round(data.runs[state.run].score(state.row, i), 2)}`;
    button.setAttribute("aria-pressed", app.chosen[i] === 1);
    button.classList.toggle("focus", i === state.focus);
    button.classList.toggle("held", held.has(i));
    button.style.setProperty("--group", app.colour(data.group(i)));
  };
  let late = 0, then = -Infinity;
  const draw = () => {
    then = performance.now();
    const pool = state.scope === "selection" && state.selection.length ? state.selection : data.order;
    const shown = state.hidden.size ? pool.filter((i) => !state.hidden.has(data.group(i))) : pool;
    app.list = Array.from(largest(shown, sortKey(data, data.runs[state.run], state.sort, state.row), SHOWN));
    tiles.forEach((tile, at) => fill(tile, app.list[at]));
  };
  const sort = h("select", { "aria-label": "Order", onchange: () => set({ sort: sort.value }) },
    ...Object.entries(SORTS).map(([id, name]) => h("option", { value: id, textContent: name })));
  app.panels.push(() => { // sorting all samples in every frame of a scrub would make it stutter
    sort.value = state.sort;
    clearTimeout(late);
    if (performance.now() - then > 150) draw();
    else late = setTimeout(draw, 160);
  });
  return panel("d", [heading("List"), sort, choice(app, "scope", "Of", [{ id: "all", label: "All" }, { id: "selection", label: "Selection" }]),
    press("Select these", () => set({ selection: [...app.list] }))], h("div", { className: "ltcl-tiles" }, ...tiles.map(({ button }) => button)),
  reading("How to read: the first of the order come first, at this epoch, in the map's run. Up and down is the way beyond the net change, over all epochs. The edge has the group's colour."));
}

// --- keys, address, and the two homes -----------------------------------------------------------
function onKey(app, event) {
  const { state, set, data } = app, on = (what) => event.target.closest?.(what);
  if (on("input:not([type=range]), select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  const at = app.list?.indexOf(state.focus) ?? -1;
  const go = (step) => app.list?.length && set({ focus: app.list[clamp(at + step, 0, app.list.length - 1)] });
  const does = {
    " ": on("button") ? null : () => play(app), ArrowRight: () => set({ row: state.row + 1, playing: false }),
    ArrowLeft: () => set({ row: state.row - 1, playing: false }), Home: () => set({ row: 0 }), End: () => set({ row: data.rows - 1 }),
    n: () => go(1), p: () => go(-1), a: () => state.focus !== null && pick(app, state.focus, { shiftKey: true }),
    r: () => set({ run: (state.run + 1) % data.runs.length }), "/": () => app.search.focus(),
    "+": () => zoom(app, 1.5), "-": () => zoom(app, 1 / 1.5), 0: () => zoom(app, 0),
    Escape: () => set({ selection: [], focus: null, said: "" }),
    ...Object.fromEntries(layouts(data).map(({ id }, number) => [number + 1, () => set({ layout: id })])),
  }[event.key];
  if (!does) return;
  does();
  event.preventDefault();
  event.stopPropagation();
}

/** Keep what is shown in the page's address, and show what an address says. */
function keepAddress(app) {
  const { state, set, data } = app, { epochs } = data.meta;
  const allowed = { layout: layouts(data).map(({ id }) => id), sort: Object.keys(SORTS), scope: ["all", "selection"], curve: ["loss", "score"] };
  app.address = () => {
    const parts = new URLSearchParams({ epoch: epochs[state.row], run: state.run });
    for (const name of Object.keys(allowed)) parts.set(name, state[name]);
    if (state.focus !== null) parts.set("sample", state.focus);
    if (state.selection.length && state.selection.length <= 500) parts.set("selection", state.selection.join("."));
    if (state.zoom[2] > 1) parts.set("zoom", state.zoom.map((v) => round(v, 3)));
    return `#${parts}`;
  };
  const read = () => {
    const parts = new URLSearchParams(location.hash.slice(1)), next = {}, row = epochs.indexOf(Number(parts.get("epoch")));
    if (row >= 0) next.row = row;
    for (const [name, values] of Object.entries(allowed)) if (values.includes(parts.get(name))) next[name] = parts.get(name);
    if (data.runs[parts.get("run")]) next.run = Number(parts.get("run"));
    if (parts.has("selection")) next.selection = parts.get("selection").split(".").map(Number).filter(Number.isInteger);
    if (/^\d+$/.test(parts.get("sample") ?? "")) next.focus = Math.min(Number(parts.get("sample")), data.samples - 1);
    const [zx, zy, scale] = (parts.get("zoom") ?? "").split(",").map(Number);
    if (scale >= 1 && scale <= 40) next.zoom = [clamp(zx || 0, 0, 1), clamp(zy || 0, 0, 1), scale];
    set(next);
  };
  let later = 0;
  app.panels.push(() => {
    clearTimeout(later);
    later = setTimeout(() => history.replaceState(null, "", app.address()), 250);
  });
  addEventListener("hashchange", read);
  read();
}

function copyLink(app) {
  history.replaceState(null, "", app.address());
  const copied = navigator.clipboard?.writeText(location.href) ?? Promise.reject();
  copied.then(() => app.set({ said: "link copied" }), () => app.set({ said: "the page's address is the link" }));
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
    selected: (list) => (model.set("selection", list), model.save_changes()),
  });
  const fromPython = () => app.set({ selection: model.get("selection") }, true);
  const got = (message, buffers) => app.gotViews?.(message, buffers);
  model.on("change:selection", fromPython);
  model.on("msg:custom", got);
  fromPython();
  return () => (model.off("change:selection", fromPython), model.off("msg:custom", got), app.close());
}

export default { render };
