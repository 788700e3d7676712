// The explorer put together, and its two homes: the page of export_html, and the widget of JupyterLab.
//
// One state, one `set`: whatever changes goes through it, and in the next animation frame those parts
// are drawn that watch what changed. Names that come from a data set reach the page as text only.

import { clamp, largest, openData, readView, writeView } from "./data.mjs";
import { forgetBoxes, groupColour, h, pictures, press } from "./draw.mjs";
import { curvesPanel } from "./curves.mjs";
import { layouts } from "./layouts.mjs";
import { ALL, mapPanel, pan, zoom } from "./map.mjs";
import { galleryPanel, header, play, timeline } from "./panels.mjs";
import { samplePanel } from "./sample.mjs";

const MOST_UNDONE = 100;
const keysOf = (maps) =>
  "Keys: Space plays; ← → Home End move in time; Ctrl+Z undoes and Ctrl+Shift+Z redoes a selection; " +
  "Shift and arrows move the zoomed map. Single letters, which can be switched off: N and P go through " +
  `the list; A adds the sample to the selection or takes it out; 1 to ${maps} choose the map, R the run; ` +
  "+ - 0 zoom; / searches. On the map: click chooses, Shift and click selects, drag draws a lasso, Shift " +
  "and drag adds; Ctrl and the wheel, or two fingers, zoom; Alt or the right button and drag, or Move, move.";

/**
 * Build the explorer in `root`.
 *
 * `host`: `ask` asks Python for views, `changed(changes)` is told of every change that was not made by
 * Python, `address` is true where the view is kept in the page's address.
 */
function explore(root, meta, bytes, host) {
  const data = openData(meta, bytes),
    chosen = new Uint8Array(data.samples),
    watchers = [];
  const last = data.rows - 1,
    hardest = largest(data.order, data.runs[0].row(last), 1)[0] ?? 0;
  const state = {
    row: last,
    run: 0,
    layout: layouts(data)[0],
    sort: "hardest",
    scope: "all",
    curve: "loss",
    colour: "group",
    focus: hardest,
    selection: [],
    hidden: new Set(),
    playing: false,
    zoom: ALL,
    hover: null,
    said: "",
    keys: true,
    hand: false,
  };
  const app = { root, data, state, host, chosen, ink: {}, past: [], future: [], list: [] };
  let waiting = 0,
    changed = new Set();
  app.watch = (keys, draw) => watchers.push({ keys, draw });
  app.set = (changes, quiet = false) => {
    if ("row" in changes) changes.row = clamp(Math.round(changes.row) || 0, 0, last);
    if ("layout" in changes) changes.zoom ??= ALL;
    if ("selection" in changes) changes.selection = marked(app, changes.selection);
    Object.assign(state, changes);
    for (const key of Object.keys(changes)) changed.add(key);
    if (!quiet) host.changed?.(changes);
    waiting ||= requestAnimationFrame(() => {
      const now = changed;
      [waiting, changed] = [0, new Set()];
      for (const { keys, draw } of watchers)
        if (now.has("all") || keys.some((key) => now.has(key))) draw(now);
    });
  };
  app.select = (selection, more = {}, quiet = false) => {
    app.past = [...app.past, state.selection].slice(-MOST_UNDONE);
    app.future = [];
    app.set({ said: "", ...more, selection }, quiet);
  };
  app.undo = () => step(app, app.past, app.future);
  app.redo = () => step(app, app.future, app.past);
  /** Choose a sample; or, with `more`, add it to the selection or take it out. */
  app.pick = (i, more) => {
    if (!more) return app.set({ focus: i, said: "" });
    const others = state.selection.filter((other) => other !== i);
    app.select(chosen[i] ? others : [...others, i], { focus: i });
  };
  app.choice = (name, label, options) => choice(app, name, label, options);
  app.colour = (group) => groupColour(meta.colours, root.dataset.look, group);
  app.images = pictures(data, app.colour);
  build(app);
  return app;
}

function build(app) {
  const { root, data, set } = app;
  root.classList.add("ltcl");
  root.tabIndex = -1;
  root.setAttribute("data-lm-suppress-shortcuts", "true"); // the keys are ours, not JupyterLab's
  const grid = h(
    "div",
    { className: `ltcl-grid${data.runs.length > 1 ? " two" : ""}` },
    mapPanel(app),
    timeline(app),
    curvesPanel(app),
    h("div", { className: "ltcl-side" }, samplePanel(app), galleryPanel(app)),
  );
  root.append(h("div", { className: "ltcl-page" }, header(app), grid, footer(app)));
  const stopLook = followLook(root, () => {
    const style = getComputedStyle(root);
    for (const name of ["ink", "soft", "line", "accent", "panel"]) {
      app.ink[name] = style.getPropertyValue(`--${name}`).trim();
    }
    set({ look: root.dataset.look, all: true }, true);
  });
  const keys = (event) => onKey(app, event),
    heard = app.host.address ? document : root;
  heard.addEventListener("keydown", keys);
  const sized = new ResizeObserver(() => {
    forgetBoxes();
    set({ size: {} }, true);
  });
  sized.observe(root);
  if (app.host.address) keepAddress(app);
  app.close = () => {
    set({ playing: false }, true);
    stopLook();
    sized.disconnect();
    heard.removeEventListener("keydown", keys);
  };
}

function footer(app) {
  const { meta } = app.data,
    notes = [...meta.notes, keysOf(layouts(app.data).length)],
    box = h("input", { type: "checkbox", onchange: () => app.set({ keys: box.checked }) });
  app.watch(["keys"], () => (box.checked = app.state.keys));
  return h(
    "footer",
    {},
    h("p", {}, h("strong", { textContent: meta.aboutLabels })),
    h("ul", {}, ...notes.map((note) => h("li", { textContent: note }))),
    h("label", { className: "ltcl-keys" }, box, " Single-letter keys"),
  );
}

/** The samples of a list, each once, marked as selected; those before are no longer. */
function marked({ data, state, chosen }, list) {
  for (const i of state.selection) chosen[i] = 0;
  return Array.from(list).filter((i) => i >= 0 && i < data.samples && !chosen[i] && (chosen[i] = 1));
}

/** Take back, or take again, the last change of the selection. */
function step(app, from, to) {
  if (!from.length) return;
  to.push(app.state.selection);
  app.set({ selection: from.pop(), said: "" });
}

/** A row of buttons of which one is pressed. */
function choice(app, name, label, options) {
  const buttons = options.map(({ id, label: text }) => press(text, () => app.set({ [name]: id })));
  app.watch([name], () =>
    buttons.forEach((button, at) => button.setAttribute("aria-pressed", app.state[name] === options[at].id)),
  );
  return h("div", { className: "ltcl-choice", role: "group", "aria-label": label }, ...buttons);
}

/** Dark or light as JupyterLab is, or as the system asks for; light on paper. */
function followLook(root, changed) {
  const system = matchMedia("(prefers-color-scheme: dark)"),
    paper = matchMedia("print"),
    look = () => {
      const lab = document.body.dataset.jpThemeLight,
        dark = lab === undefined ? system.matches : lab === "false";
      root.dataset.look = dark && !paper.matches ? "dark" : "light";
      changed();
    };
  const watch = new MutationObserver(look);
  watch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  system.addEventListener("change", look);
  paper.addEventListener("change", look);
  look();
  return () => {
    watch.disconnect();
    system.removeEventListener("change", look);
    paper.removeEventListener("change", look);
  };
}

// --- keys ---------------------------------------------------------------------------------------
function onKey(app, event) {
  const { state, set, data } = app,
    on = (what) => event.target.closest?.(what),
    { key } = event;
  if (on("input:not([type=range], [type=checkbox]), select, textarea") || event.altKey) return;
  const modified = event.ctrlKey || event.metaKey;
  const does = modified
    ? undoKeys(app, event)
    : (event.shiftKey && panKeys(app)[key]) || timeKeys(app, on)[key] || (state.keys && letterKeys(app)[key]);
  if (!does) return;
  does();
  event.preventDefault();
  event.stopPropagation();
}

function undoKeys(app, { key, shiftKey }) {
  if (key.toLowerCase() === "z") return shiftKey ? app.redo : app.undo;
  return key.toLowerCase() === "y" ? app.redo : null;
}

function panKeys(app) {
  const far = 60,
    zoomed = app.state.zoom[2] > 1;
  if (!zoomed) return {};
  return {
    ArrowLeft: () => pan(app, far, 0),
    ArrowRight: () => pan(app, -far, 0),
    ArrowUp: () => pan(app, 0, far),
    ArrowDown: () => pan(app, 0, -far),
  };
}

function timeKeys(app, on) {
  const { state, set, data } = app,
    to = (row) => () => set({ row, playing: false });
  return {
    " ": on("button, summary, input, a") ? null : () => play(app),
    ArrowRight: to(state.row + 1),
    ArrowLeft: to(state.row - 1),
    Home: to(0),
    End: to(data.rows - 1),
    Escape: () => set({ playing: false, said: "" }),
  };
}

function letterKeys(app) {
  const { state, set, data } = app,
    at = app.list.indexOf(state.focus);
  const go = (by) => () =>
    app.list.length && set({ focus: app.list[clamp(at + by, 0, app.list.length - 1)] });
  const maps = layouts(data).map((layout, number) => [number + 1, () => set({ layout })]);
  return {
    n: go(1),
    p: go(-1),
    a: () => state.focus !== null && app.pick(state.focus, true),
    r: () => set({ run: (state.run + 1) % data.runs.length }),
    "/": () => app.search.focus(),
    "+": () => zoom(app, 1.5),
    "-": () => zoom(app, 1 / 1.5),
    0: () => zoom(app, 0),
    ...Object.fromEntries(maps),
  };
}

// --- the page -----------------------------------------------------------------------------------
/** Keep what is shown in the page's address, and show what an address says. */
function keepAddress(app) {
  const read = () => {
    const { selection, ...rest } = readView(app.data, location.hash, layouts(app.data));
    app.set(rest);
    if (selection) app.select(selection, "focus" in rest ? {} : { focus: selection[0] ?? app.state.focus });
  };
  let later = 0;
  const kept = [
    "row",
    "run",
    "layout",
    "sort",
    "scope",
    "curve",
    "colour",
    "focus",
    "selection",
    "hidden",
    "zoom",
    "keys",
  ];
  app.watch(kept, () => {
    clearTimeout(later);
    later = setTimeout(() => history.replaceState(null, "", writeView(app.data, app.state).hash), 250);
  });
  addEventListener("hashchange", read);
  read();
  app.past = [];
}

/** The page of export_html: all data are in it. */
function openPage(page) {
  const text = atob(page.getElementById("data").textContent),
    bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  page.getElementById("data").remove();
  const meta = JSON.parse(page.getElementById("meta").textContent);
  explore(page.getElementById("explorer"), meta, bytes, { address: true });
}

// --- the widget ---------------------------------------------------------------------------------
/** What Python and the page tell each other, by the names of its traits. */
const TRAITS = {
  selection: { key: "selection", fromPython: (app, selection) => app.select(selection, {}, true) },
  focus: { key: "focus", fromPython: (app, focus) => app.set({ focus }, true) },
  sort: { key: "sort", fromPython: (app, sort) => app.set({ sort }, true) },
  epoch: {
    key: "row",
    toPython: (app, row) => app.data.epochs[row],
    fromPython: (app, epoch) => app.set({ row: app.data.epochs.indexOf(epoch), playing: false }, true),
  },
};

function render({ model, el }) {
  const view = model.get("_data"),
    root = document.createElement("div");
  el.append(root);
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const changed = (changes) => {
    const told = Object.entries(TRAITS).filter(([, { key }]) => key in changes);
    for (const [name, { key, toPython }] of told) {
      model.set(name, toPython ? toPython(app, app.state[key]) : app.state[key]);
    }
    if (told.length) model.save_changes();
  };
  const app = explore(root, model.get("_meta"), bytes, { ask: (question) => model.send(question), changed });
  const listeners = Object.entries(TRAITS).map(([name, { fromPython }]) => {
    const heard = () => same(app, name, model.get(name)) || fromPython(app, model.get(name));
    model.on(`change:${name}`, heard);
    heard();
    return () => model.off(`change:${name}`, heard);
  });
  const got = (message, buffers) => app.gotViews?.(message, buffers);
  model.on("msg:custom", got);
  app.past = [];
  requestAnimationFrame(() => hidePicture(el)); // by then it is in the notebook
  return () => {
    listeners.forEach((stop) => stop());
    model.off("msg:custom", got);
    app.close();
  };
}

/** Put away the picture that Python showed before the widget, for notebooks that are only read. */
function hidePicture(el) {
  const output = el.closest(".jp-OutputArea-child"),
    before = output?.previousElementSibling;
  if (before?.querySelector(".jp-RenderedImage")) before.hidden = true;
  if (before?.hidden) before.style.display = "none";
}

/** Whether the page shows a trait's value already. */
function same(app, name, value) {
  const { key, toPython } = TRAITS[name],
    now = toPython ? toPython(app, app.state[key]) : app.state[key];
  return JSON.stringify(now) === JSON.stringify(value);
}

export default { render };
