// The map in four layers: marks; axes; what moves in time with them, class means and the selection's
// rings; and what moves with the pointer. Only what changed is drawn again.

import { clamp, coloursOf, many, round, short } from "./data.mjs";
import {
  MARK,
  SIZE,
  blend,
  fit,
  fitText,
  h,
  heading,
  line,
  niceTicks,
  panel,
  press,
  ramp,
  reading,
  rgb,
  say,
  stamp,
  tinted,
  tracePath,
} from "./draw.mjs";
import { MAPS, layouts, placing } from "./layouts.mjs";
import { legendButton, memorized, scale } from "./legend.mjs";

const MARGIN = { left: 58, right: 14, top: 14, bottom: 46 };
export const ALL = [0, 0, 1]; // the zoom that shows all: left and lower end in units, and scale
const MOST_RINGS = 3000;
const AT_ONCE = 200_000; // above so many samples a mark is one pixel

// --- the panel ----------------------------------------------------------------------------------
export function mapPanel(app) {
  const { data, state } = app,
    { meta } = data;
  const marks = h("canvas"),
    axes = h("canvas"),
    over = h("canvas"),
    read = reading();
  const top = h("canvas", { className: "ltcl-top", tabIndex: 0, role: "img" });
  const view = (app.view = {
    x: new Float32Array(data.samples),
    y: new Float32Array(data.samples),
    lasso: null,
  });
  const hand = press("Move", () => app.set({ hand: !state.hand }), {
    title: "Move the zoomed map by dragging",
  });
  hand.setAttribute("aria-label", "Move the map by dragging");
  const zooms = [
    ["+", 1.5, "Zoom in"],
    ["−", 1 / 1.5, "Zoom out"],
    ["⤢", 0, "Show all"],
  ].map(([sign, by, name]) => press(sign, () => zoom(app, by), { title: name, "aria-label": name }));
  const box = h("div", { className: "ltcl-map" }, marks, axes, over, top, tooltip(app, view));
  // Below the map: its upper right corner is where the hardest samples of the smallest class are.
  const under = h(
    "div",
    { className: "ltcl-under" },
    read,
    h("div", { className: "ltcl-zoom" }, hand, ...zooms),
  );

  const places = ["row", "run", "layout", "zoom", "hidden", "selection", "look", "size"];
  app.watch([...places, "colour"], () => drawPoints(app, marks, view));
  app.watch(["run", "layout", "zoom", "look", "size"], () => drawAxes(app, axes, view));
  app.watch(places, () => drawOver(app, over, view));
  app.watch([...places, "hover", "focus", "lasso"], () => drawPointer(app, top, view));
  app.watch(["zoom", "hand"], () => {
    hand.setAttribute("aria-pressed", state.hand);
    top.classList.toggle("hand", state.hand);
    top.classList.toggle("zoomed", state.zoom[2] > 1);
  });
  app.watch(["row", "run", "layout", "selection", "colour"], () => {
    const run = data.runs[state.run],
      missing = data.samples - run.seenBy[state.row];
    const late = missing ? ` ${many(missing)} samples were not seen yet and are not on the map.` : "";
    const inked = state.colour === "memorization" ? " The colour is memorization, by the scale above." : "";
    say(read, `How to read: ${MAPS[state.layout].read(data, run)}${inked}${late}`);
    const selected = `${many(state.selection.length)} selected`;
    top.setAttribute(
      "aria-label",
      `Map of ${many(data.samples)} samples, ${MAPS[state.layout].label}, after epoch ` +
        `${data.epochs[state.row]}, ${selected}. The list holds the same samples for the keyboard.`,
    );
  });
  watchPointer(app, top, view);
  const maps = layouts(data).map((id) => ({ id, label: MAPS[id].label }));
  const runs = data.runs.map(({ label }, id) => ({ id, label }));
  const named = data.groups.length > 1;
  const colours = coloursOf(data).map((id) => ({ id, label: `By ${id}` }));
  return panel(
    "a",
    [
      heading("Map"),
      app.choice("layout", "Map", maps),
      runs.length > 1 ? app.choice("run", "Run of map and list", runs) : null,
      ...(colours.length > 1 ? [app.choice("colour", "Colour of marks", colours), scale(app)] : []),
      named
        ? h(
            "div",
            { className: "ltcl-legend", role: "group", "aria-label": "Show or hide groups" },
            ...data.groups.map((group) => legendButton(app, group)),
          )
        : null,
    ],
    box,
    under,
  );
}

/** What the mark under the pointer is. */
function tooltip(app, view) {
  const { data, state } = app,
    picture = h("canvas"),
    text = h("div");
  const tip = h("div", { className: "ltcl-tip", hidden: true }, picture, text);
  app.watch(["hover", "row", "run", "layout", "zoom", "hidden"], () => {
    const i = state.hover;
    tip.hidden = i === null || Number.isNaN(view.x[i]);
    if (tip.hidden) return;
    app.images.paint(picture, i);
    const name = data.meta.labelled ? `${data.name(i)} (${data.group(i)})` : "sample";
    const score = round(data.runs[state.run].score(state.row, i), 2),
      truth = data.memorization ? `, memorization ${short(data.memorization[i], 3)}` : "";
    text.replaceChildren(h("b", { textContent: `${name} · ${i}` }), h("br"), `score ${score}${truth}`);
    const left = view.x[i] > view.wide / 2; // of the mark, so that it stays inside
    const x = view.x[i] + (left ? -12 : 12),
      y = clamp(view.y[i] - 30, 0, view.high - 76);
    tip.style.transform = `translate(${x}px, ${y}px) translateX(${left ? "-100%" : "0"})`;
  });
  return tip;
}

// --- drawing ------------------------------------------------------------------------------------
/** All marks, blended by hand into one picture: fast without a graphics card, too. */
function drawPoints(app, canvas, view) {
  const { data, state, chosen } = app,
    { context, width, height, ratio } = fit(canvas);
  const { x, y } = placing(data, state),
    [zx, zy, scale] = state.zoom;
  const right = width - MARGIN.right,
    bottom = height - MARGIN.bottom;
  Object.assign(view, {
    wide: width,
    high: height,
    w: right - MARGIN.left,
    h: bottom - MARGIN.top,
    axes: { x, y },
  });
  const size = { width: canvas.width, height: canvas.height };
  if (view.image?.width !== size.width || view.image.height !== size.height) {
    view.image = context.createImageData(size.width, size.height);
    view.pixels = new Uint32Array(view.image.data.buffer);
  }
  const [r, g, b] = rgb(app.ink.panel);
  view.pixels.fill(((255 << 24) | (b << 16) | (g << 8) | r) >>> 0);

  const base = data.samples > AT_ONCE ? 0.55 : data.samples > 30000 ? 1.1 : data.samples > 5000 ? 2.1 : 3;
  const radius = base * ratio * Math.min(1.6, Math.sqrt(scale)),
    some = state.selection.length > 0;
  const steps = state.colour === "memorization" ? memorized(data).steps : null;
  const kinds = data.groups.map((group) => {
    const stamps = [0.6, 1, 1.7].map((part) => stamp(MARK[group], radius * part * SIZE[group])),
      colours = steps ? ramp(app.root.dataset.look) : [rgb(app.colour(group))],
      tints = (colour, opacity) => stamps.map((mark) => tinted(mark, size.width, colour, opacity)),
      inked = (opacity) => colours.map((colour) => tints(colour, opacity));
    return { shown: !state.hidden.has(group), bold: inked(220), faint: inked(group === "few" ? 140 : 75) };
  });
  const scores = state.layout === "features" ? data.runs[state.run].heights(state.row) : null;
  const [xs, ys] = [x.values, y.values],
    wx = x.range[1] - x.range[0] || 1,
    wy = y.range[1] - y.range[0] || 1;
  const ax = (scale * view.w) / wx,
    bx = MARGIN.left - (x.range[0] / wx + zx) * scale * view.w;
  const ay = (-scale * view.h) / wy,
    by = MARGIN.top + view.h * (1 + (y.range[0] / wy + zy) * scale);
  const [left, top] = [MARGIN.left - 4, MARGIN.top - 4];
  for (const i of data.order) {
    const kind = kinds[data.rank[i]],
      px = bx + ax * xs[i],
      py = by + ay * ys[i];
    const inside = kind.shown && px >= left && px <= right + 4 && py >= top && py <= bottom + 4;
    view.x[i] = inside ? px : NaN; // NaN: neither hovered nor lassoed
    view.y[i] = py;
    if (!inside) continue;
    const score = scores ? scores[i] : 0.5,
      inked = some && !chosen[i] ? kind.faint : kind.bold,
      mark = inked[steps ? steps[i] : 0][score < 0.5 ? 0 : score < 0.65 ? 1 : 2];
    blend(view.pixels, size.width, size.height, mark, Math.round(px * ratio), Math.round(py * ratio));
  }
  context.putImageData(view.image, 0, 0);
}

/** Where a unit of the map is drawn, under the present zoom. */
function toPixels(state, view) {
  const [zx, zy, scale] = state.zoom;
  return [
    (u) => MARGIN.left + (u - zx) * scale * view.w,
    (u) => MARGIN.top + (1 - (u - zy) * scale) * view.h,
  ];
}

/** Ticks of an axis that are seen, as places in units and texts. */
function ticksOf({ range: [low, high] }, start, scale, count) {
  const width = high - low || 1,
    seen = [low + start * width, low + (start + 1 / scale) * width];
  return niceTicks(...seen, count).map(({ value, text }) => ({ unit: (value - low) / width, text }));
}

/** Axes with their titles and ticks, over the marks. */
function drawAxes(app, canvas, view) {
  const { data, state, ink } = app,
    { context, width, height } = fit(canvas),
    [zx, zy, scale] = state.zoom;
  const right = width - MARGIN.right,
    bottom = height - MARGIN.bottom,
    [toX, toY] = toPixels(state, view);
  const { x, y } = view.axes;
  context.fillStyle = ink.soft;
  context.strokeStyle = ink.line;
  context.strokeRect(MARGIN.left - 4.5, MARGIN.top - 4.5, view.w + 9, view.h + 9);
  context.textAlign = "right";
  if (y.title) {
    for (const { unit, text } of ticksOf(y, zy, scale, 6)) {
      context.fillText(text, MARGIN.left - 9, toY(unit) + 4);
      line(context, [MARGIN.left - 4, toY(unit), right + 4, toY(unit)]);
    }
    context.save();
    context.textAlign = "center";
    context.translate(14, MARGIN.top + view.h / 2);
    context.rotate(-Math.PI / 2);
    context.fillText(y.title, 0, 0);
    context.restore();
  }
  context.textAlign = "center";
  if (x.title) context.fillText(fitText(context, x.title, view.w), MARGIN.left + view.w / 2, height - 8);
  for (const { unit, text } of y.title && x.title ? ticksOf(x, zx, scale, 6) : []) {
    context.fillText(text, toX(unit), bottom + 19);
    line(context, [toX(unit), bottom + 4, toX(unit), bottom + 8]);
  }
  if (state.layout === "size") drawClassNames(app, context, toX, bottom, right);
  if (state.layout === "both") {
    context.save();
    context.beginPath();
    context.rect(MARGIN.left - 4, MARGIN.top - 4, view.w + 8, view.h + 8);
    context.clip();
    context.setLineDash([5, 4]);
    context.strokeStyle = ink.soft;
    line(context, [toX(0), toY(0), toX(1), toY(1)]);
    context.restore();
  }
}

/** What moves in time with the marks: the classes' mean scores, and rings of the selected samples. */
function drawOver(app, canvas, view) {
  const { state, ink } = app,
    { context, width, height } = fit(canvas);
  if (state.layout === "size")
    drawClassMeans(app, context, view, width - MARGIN.right, height - MARGIN.bottom);
  for (const i of state.selection.slice(0, MOST_RINGS)) ring(context, view, i, ink.ink, 6, 1.5);
}

function ring(context, view, i, colour, radius, thick) {
  if (i === null || Number.isNaN(view.x[i])) return;
  Object.assign(context, { strokeStyle: colour, lineWidth: thick });
  tracePath(context, "circle", view.x[i], view.y[i], radius);
  context.stroke();
}

/** What moves with the pointer: rings of the chosen sample and of the one under it, and the lasso. */
function drawPointer(app, canvas, view) {
  const { state, ink } = app,
    { context } = fit(canvas);
  ring(context, view, state.focus, ink.accent, 9, 2.5);
  ring(context, view, state.hover, ink.accent, 7, 2);
  if (!view.lasso) return;
  context.setLineDash([5, 4]);
  Object.assign(context, { strokeStyle: ink.accent, lineWidth: 1 });
  line(context, view.lasso.flat());
}

/** The mean score of each class, a bar. */
function drawClassMeans(app, context, view, right, bottom) {
  const { data, state, ink } = app,
    count = data.classes.length,
    [toX, toY] = toPixels(state, view);
  const sums = new Float64Array(count),
    seen = new Uint32Array(count),
    heights = data.runs[state.run].heights(state.row);
  for (let i = 0; i < data.samples; i++) {
    if (heights[i] !== heights[i]) continue;
    sums[data.labels[i]] += heights[i];
    seen[data.labels[i]]++;
  }
  const half = 0.42 * (toX(1 / count) - toX(0));
  if (half < 1.7) return;
  Object.assign(context, { strokeStyle: ink.ink, lineWidth: 2.5 });
  data.bySize.forEach((c, place) => {
    const x = toX((place + 0.5) / count),
      mean = toY(sums[c] / seen[c]);
    if (state.hidden.has(data.classes[c].group)) return;
    const inside = x > MARGIN.left && x < right && mean > MARGIN.top && mean < bottom;
    if (inside) line(context, [x - half, mean, x + half, mean]);
  });
}

/** Under the map the classes' names and sizes, in two rows. */
function drawClassNames(app, context, toX, bottom, right) {
  const { data, ink } = app,
    count = data.classes.length,
    wide = toX(1 / count) - toX(0);
  const step = Math.max(1, Math.ceil(42 / wide)),
    room = 2 * step * wide - 8;
  context.textAlign = "left";
  for (let place = 0; place < count; place += step) {
    const x = toX((place + 0.5) / count),
      { name, size } = data.classes[data.bySize[place]],
      number = ` ${many(size)}`;
    if (x < MARGIN.left || x > right) continue;
    const text = fitText(context, name, room - context.measureText(number).width);
    const part = context.measureText(text).width,
      long = context.measureText(text + number).width;
    const left = clamp(x - long / 2, 2, right + MARGIN.right - long - 1),
      y = bottom + 19 + 14 * ((place / step) % 2);
    context.fillStyle = ink.ink;
    context.fillText(text, left, y);
    context.fillStyle = ink.soft;
    context.fillText(number, left + part, y);
  }
}

// --- zoom, hover, click, lasso ------------------------------------------------------------------
/** Zoom by a factor (0: show all) about a place of the map, or about the chosen sample. */
export function zoom(app, by, at = null) {
  const { state, view, set } = app,
    [zx, zy, scale] = state.zoom,
    next = clamp(scale * by, 1, 40),
    i = state.focus;
  if (!by) return set({ zoom: ALL });
  const seen = i !== null && !Number.isNaN(view.x[i]);
  const middle = [MARGIN.left + view.w / 2, MARGIN.top + view.h / 2];
  const [x, y] = at ?? (seen ? [view.x[i], view.y[i]] : middle);
  const start = (from, part) => clamp(from + part / scale - part / next, 0, 1 - 1 / next);
  set({ zoom: [start(zx, (x - MARGIN.left) / view.w), start(zy, 1 - (y - MARGIN.top) / view.h), next] });
}

/** Move the zoomed map by so many pixels. */
export function pan({ state, view, set }, dx, dy) {
  const [zx, zy, scale] = state.zoom,
    most = 1 - 1 / scale;
  set({ zoom: [clamp(zx - dx / view.w / scale, 0, most), clamp(zy + dy / view.h / scale, 0, most), scale] });
}

/** The sample drawn at a place of the map, the nearest within a finger's width; or null. */
function nearest(view, x, y) {
  let found = null,
    least = 14 ** 2;
  for (let i = 0; i < view.x.length; i++) {
    const dx = view.x[i] - x,
      dy = view.y[i] - y,
      distance = dx * dx + dy * dy;
    if (distance <= least) ((found = i), (least = distance));
  }
  return found;
}

/** A click chooses, with Shift it selects; a drag draws a lasso, or moves the map; two fingers pinch. */
function watchPointer(app, canvas, view) {
  const { state, set } = app,
    place = ({ offsetX, offsetY }) => [offsetX, offsetY],
    fingers = new Map();
  let down = null,
    moves = false,
    pinched = null;
  const stop = () => ((down = view.lasso = null), set({ lasso: {} }));
  canvas.addEventListener("pointerdown", (event) => {
    fingers.set(event.pointerId, place(event));
    canvas.setPointerCapture(event.pointerId);
    moves = state.hand || event.button > 0 || event.altKey;
    down = fingers.size === 1 ? place(event) : null;
    if (fingers.size === 2) (stop(), (pinched = pair(fingers)));
  });
  canvas.addEventListener("contextmenu", (event) => state.zoom[2] > 1 && event.preventDefault());
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = place(event);
    if (fingers.has(event.pointerId)) fingers.set(event.pointerId, [x, y]);
    if (fingers.size === 2 && pinched) return (pinched = pinch(app, pinched, pair(fingers)));
    if (down && moves) return (pan(app, x - down[0], y - down[1]), (down = [x, y]));
    if (down && (view.lasso || Math.hypot(x - down[0], y - down[1]) > 6))
      (view.lasso ??= [down]).push([x, y]);
    const hover = view.lasso ? null : nearest(view, x, y);
    if (view.lasso) set({ lasso: {}, hover });
    else if (hover !== state.hover) set({ hover });
  });
  canvas.addEventListener("pointerup", (event) => {
    fingers.delete(event.pointerId);
    if (!fingers.size) pinched = null;
    if (!down || moves) return stop();
    const [from, lasso] = [down, view.lasso],
      found = lasso ? inside(view) : [];
    stop();
    const hit = lasso ? null : nearest(view, ...from);
    if (hit !== null) app.pick(hit, event.shiftKey || event.ctrlKey || event.metaKey);
    else if (lasso) app.select(event.shiftKey ? [...state.selection, ...found] : found);
  });
  canvas.addEventListener(
    "pointercancel",
    (event) => (fingers.delete(event.pointerId), (pinched = null), stop()),
  );
  canvas.addEventListener("pointerleave", () => set({ hover: null }));
  canvas.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoom(app, event.deltaY < 0 ? 1.2 : 1 / 1.2, place(event));
    },
    { passive: false },
  );
}

const pair = (fingers) => {
  const [[ax, ay], [bx, by]] = [...fingers.values()];
  return { x: (ax + bx) / 2, y: (ay + by) / 2, apart: Math.max(1, Math.hypot(ax - bx, ay - by)) };
};

/** Follow two fingers: zoom by how far they part, about their middle, and move with it. */
function pinch(app, before, now) {
  zoom(app, now.apart / before.apart, [before.x, before.y]);
  pan(app, now.x - before.x, now.y - before.y);
  return now;
}

/** Samples inside the lasso, by counting how often a ray crosses its sides. */
function inside({ x, y, lasso }) {
  const found = [],
    xs = lasso.map((p) => p[0]),
    ys = lasso.map((p) => p[1]);
  for (let i = 0; i < x.length; i++) {
    if (x[i] !== x[i]) continue;
    let within = false;
    for (let a = 0, b = xs.length - 1; a < xs.length; b = a++) {
      const crosses = ys[a] > y[i] !== ys[b] > y[i];
      if (crosses && x[i] < ((xs[b] - xs[a]) * (y[i] - ys[a])) / (ys[b] - ys[a]) + xs[a]) within = !within;
    }
    if (within) found.push(i);
  }
  return found;
}
