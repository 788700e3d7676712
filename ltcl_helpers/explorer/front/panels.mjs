// The panels around the map: header with search and CSV, time, and the list of samples.

import {
  ORDERS,
  clamp,
  csvName,
  csvText,
  many,
  ordersOf,
  ranked,
  round,
  search,
  writeView,
} from "./data.mjs";
import { h, heading, panel, press, reading } from "./draw.mjs";

const SHOWN = 48;

// --- header, search, CSV ------------------------------------------------------------------------
export function header(app) {
  const { data, state, set } = app,
    { meta } = data;
  const facts = [meta.data, `${many(data.samples)} samples`];
  if (meta.labelled) facts.push(`${data.classes.length} classes`);
  const last = data.epochs.at(-1);
  facts.push(data.rows === 1 ? `epoch ${last}` : `epochs ${data.epochs[0]} to ${last}`);
  const versus = () => h("span", { className: "ltcl-versus", textContent: " beside " });
  const title = h("h1", {}, ...data.runs.flatMap((run, at) => [at ? versus() : null, run.label]));
  const about = h(
    "div",
    { className: "ltcl-title" },
    title,
    h("p", { textContent: facts.filter(Boolean).join(" · ") }),
    introduction(meta),
  );

  const clear = press("Clear", () => app.select([]), { title: "Take all samples out of the selection" });
  const undo = press("↶", app.undo, { title: "Undo (Ctrl+Z)", "aria-label": "Undo" });
  const redo = press("↷", app.redo, { title: "Redo (Ctrl+Shift+Z)", "aria-label": "Redo" });
  const csv = press("", () => downloadCsv(app), { className: "ltcl-csv", title: inPandas(data) });
  app.watch(["selection"], () => {
    const count = state.selection.length;
    csv.textContent = count ? `Save CSV (${many(count)})` : "Save CSV";
    csv.disabled = clear.disabled = !count;
    undo.disabled = !app.past.length;
    redo.disabled = !app.future.length;
  });
  const link = app.host.address ? press("Copy link", () => copyLink(app)) : null;
  return h(
    "header",
    {},
    about,
    h("div", { className: "ltcl-tools" }, ...searchBox(app), undo, redo, clear, csv, link),
  );
}

/** What this page is, in a sentence, and where its runs come from. */
function introduction(meta) {
  const docs = meta.docs
    ? h("a", { href: meta.docs, rel: "noreferrer" }, "docs/explorer.md")
    : "docs/explorer.md";
  const about = h("details", {}, h("summary", { textContent: "About these runs" }));
  for (const run of meta.runs) {
    const facts = Object.entries(run.origin).map(([name, value]) => `${name} ${value}`);
    const words = facts.join(" · ") || "losses of another loop";
    about.append(h("p", {}, h("strong", { textContent: run.label }), `: ${words}`));
  }
  about.append(h("p", { textContent: `Page made with ltcl-helpers ${meta.kit}.` }));
  return h(
    "div",
    { className: "ltcl-intro" },
    "How each training sample was learnt, epoch by epoch: click a mark to choose it, Shift or a lasso ",
    "to select. Each panel explains itself; more in ",
    docs,
    ". ",
    about,
  );
}

function searchBox(app) {
  const { data, set } = app,
    { labelled } = data.meta,
    id = `ltcl-names-${Math.random().toString(36).slice(2)}`;
  const names = labelled ? data.classes.map((c) => h("option", { value: c.name })) : [];
  const example = labelled ? `${data.classes[data.bySize[0]].name}, ${data.groups.at(-1)}, ` : "";
  const find = () => {
    const { found, unknown } = search(data, input.value);
    const terms = unknown.map((term) => `“${term}”`).join(", ");
    const said = terms && `nothing found for ${terms}`;
    if (found.length) app.select(found, { focus: found[0], said });
    else set({ said });
  };
  const input = (app.search = h("input", {
    type: "search",
    placeholder: `Search: ${example}12, 40-60`,
    className: "ltcl-search",
    list: id,
    "aria-label": "Search by class or sample number",
    onkeydown: (event) => event.key === "Enter" && find(),
  }));
  return [input, h("datalist", { id }, ...names)];
}

const inPandas = (data) => `pandas.read_csv("${csvName(data)}")`;

function downloadCsv({ data, state, set }) {
  const text = csvText(data, state.selection, state.row);
  const href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  h("a", { href, download: csvName(data) }).click();
  setTimeout(() => URL.revokeObjectURL(href), 1000);
  set({ said: `saved; to read it: ${inPandas(data)}` });
}

/** A link where there is one; of a file only its name and the view, for whoever has the file, too. */
function copyLink(app) {
  const { hash, left } = writeView(app.data, app.state),
    isFile = location.protocol === "file:";
  history.replaceState(null, "", hash);
  const text = isFile ? location.pathname.split("/").at(-1) + hash : location.href;
  const what = isFile ? "file name and view copied: send the file along" : "link copied";
  const without = left ? `, without ${left}: they are too many for a link, save them as CSV` : "";
  const copied = navigator.clipboard?.writeText(text) ?? Promise.reject();
  const failed = `the view is in the page's address${without}`;
  copied.then(
    () => app.set({ said: `${what}${without}` }),
    () => app.set({ said: failed }),
  );
}

// --- time ---------------------------------------------------------------------------------------
export function timeline(app) {
  const { data, state, set } = app,
    { epochs } = data,
    last = data.rows - 1;
  const slider = h("input", {
    type: "range",
    min: 0,
    max: last,
    step: 1,
    "aria-label": "Epoch",
    oninput: () => set({ row: Number(slider.value), playing: false }),
  });
  const button = press("", () => play(app), { className: "ltcl-play", disabled: !last });
  // The slider says the epoch to a screen reader; this text would be read out at every frame.
  const epoch = h("span", { className: "ltcl-epoch", "aria-hidden": "true" });
  const status = h("span", { className: "ltcl-status", role: "status" });
  app.watch(["row"], () => {
    slider.value = state.row;
    slider.setAttribute("aria-valuetext", `after epoch ${epochs[state.row]}`);
    epoch.textContent = `Epoch ${epochs[state.row]} of ${epochs[last]}`;
  });
  app.watch(["playing"], () => {
    button.textContent = state.playing ? "❚❚" : "▶";
    button.setAttribute("aria-label", state.playing ? "Pause" : "Play");
  });
  app.watch(["selection", "said"], () => {
    const count = state.selection.length,
      selected = count ? `${many(count)} selected` : "nothing selected";
    const text = [selected, state.said].filter(Boolean).join("; ");
    if (status.textContent !== text) status.textContent = text;
  });
  return h("div", { className: "ltcl-time" }, button, slider, epoch, status);
}

/** Go through the epochs in about eight seconds; or stop. */
export function play({ data, state, set }) {
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

// --- the list -----------------------------------------------------------------------------------
export function galleryPanel(app) {
  const { data, state, set } = app,
    held = new Set(data.meta.views?.samples);
  const tiles = Array.from({ length: Math.min(SHOWN, data.samples) }, () => tile(app));
  let late = 0,
    rest = 0; // until when the list stands still, so that it takes a tenth of the time at most
  const rank = () => {
    const start = performance.now();
    app.list = ranked(data, state, SHOWN);
    tiles.forEach((one, at) => fillTile(app, one, app.list[at], held));
    rest = performance.now() + Math.max(150, 9 * (performance.now() - start));
  };
  app.watch(["row", "run", "sort", "scope", "hidden", "selection", "focus", "look"], (changed) => {
    const ranks =
      ["row", "run", "sort", "scope", "hidden"].some((key) => changed.has(key)) ||
      (state.scope === "selection" && changed.has("selection")) ||
      (state.sort === "near" && changed.has("focus")) ||
      changed.has("look");
    if (!ranks) return tiles.forEach((one) => markTile(app, one));
    clearTimeout(late); // ranking all samples in every frame of a scrub would make it stutter
    if (performance.now() > rest) rank();
    else late = setTimeout(rank, 160);
  });
  const sort = h(
    "select",
    { "aria-label": "Order", onchange: () => set({ sort: sort.value }) },
    ...ordersOf(data).map((value) => h("option", { value, textContent: ORDERS[value].label })),
  );
  app.watch(["sort"], () => (sort.value = state.sort));
  const count = h("input", {
    type: "number",
    min: 1,
    max: data.samples,
    value: 10,
    className: "ltcl-count",
    "aria-label": "How many of the list",
  });
  const take = () => {
    const wanted = clamp(Math.round(Number(count.value)) || 0, 1, data.samples);
    app.select(ranked(data, state, wanted));
  };
  const bar = [
    heading("List"),
    sort,
    app.choice("scope", "Of", [
      { id: "all", label: "All" },
      { id: "selection", label: "Selection" },
    ]),
    press("Select first", take),
    count,
  ];
  return panel(
    "d",
    bar,
    h("div", { className: "ltcl-tiles" }, ...tiles.map(({ button }) => button)),
    reading(
      "How to read: the first of the order, at this epoch, in the map's run; below each its number and " +
        "its value. Up and down: the way beyond the net change, over all epochs. Learnt: from that epoch " +
        "on the loss stays below the group's median; who never does has no place.",
    ),
  );
}

function tile(app) {
  const canvas = h("canvas"),
    name = h("span"),
    value = h("span", { className: "ltcl-value" });
  const sample = () => Number(button.dataset.sample),
    { set } = app;
  const button = h(
    "button",
    {
      type: "button",
      className: "ltcl-tile",
      onclick: (event) => app.pick(sample(), event.shiftKey || event.ctrlKey || event.metaKey),
      onpointerenter: () => set({ hover: sample() }),
      onpointerleave: () => set({ hover: null }),
    },
    canvas,
    name,
    value,
  );
  return { button, canvas, name, value };
}

function fillTile(app, { button, canvas, name, value }, i, held) {
  const { data, state } = app,
    run = data.runs[state.run];
  button.hidden = i === undefined;
  if (button.hidden) return;
  app.images.paint(canvas, i);
  button.dataset.sample = i;
  const shown = ORDERS[state.sort].value(data, run, state.row, i, state.focus);
  const group = data.group(i) === "all" ? "" : `, ${data.group(i)}`;
  name.textContent = data.meta.labelled ? data.name(i) : "";
  value.textContent = `${i} · ${shown}`;
  const score = `score ${round(run.score(state.row, i), 2)}`;
  button.title = `${data.name(i)} ${i}, ${score}`;
  const label = `${data.name(i)} ${i} · ${shown}; ${score}${group}; ${ORDERS[state.sort].label}`;
  button.setAttribute("aria-label", label);
  button.classList.toggle("held", held.has(i));
  button.style.setProperty("--group", app.colour(data.group(i)));
  markTile(app, { button });
}

function markTile({ chosen, state }, { button }) {
  const i = Number(button.dataset.sample);
  button.setAttribute("aria-pressed", chosen[i] === 1);
  button.classList.toggle("focus", i === state.focus);
}
