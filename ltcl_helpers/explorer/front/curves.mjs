// The curves of the selected samples over the bands of their groups, one plot a run.

import { clamp, learntIn, many, short } from "./data.mjs";
import { DASH, fit, h, heading, line, niceTicks, panel, reading, say } from "./draw.mjs";

const MOST_CURVES = 150;
const OUTSIDE = 0.5; // so far beyond the bands, in their heights, may a curve stretch the vertical axis
const LEFT = 46,
  RIGHT = 12,
  ABOVE = 8,
  BELOW = 34;

export function curvesPanel(app) {
  const { data, state, set } = app,
    read = reading(),
    words = h("p", { className: "ltcl-words" });
  const figures = data.runs.map((run) => {
    const base = h("canvas", { className: "ltcl-base" });
    const scrub = (event) => {
      if (event.type === "pointermove" && !event.buttons) return;
      const box = top.getBoundingClientRect(),
        part = (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT);
      set({ row: part * (data.rows - 1), playing: false });
    };
    const top = h("canvas", {
      className: "ltcl-curves",
      role: "img",
      onpointerdown: scrub,
      onpointermove: scrub,
    });
    const caption = data.runs.length > 1 ? h("figcaption", { textContent: run.label }) : null;
    return {
      run,
      base,
      top,
      figure: h("figure", {}, caption, h("div", { className: "ltcl-plot" }, base, top)),
    };
  });
  let shown = [],
    range = { low: 0, high: 1 };
  app.watch(["selection", "focus", "curve", "hidden", "look", "size"], () => {
    const total = state.selection.length,
      every = Math.ceil(total / MOST_CURVES);
    shown = state.selection.filter((_, at) => at % every === 0);
    range = curveRange(app, shown);
    for (const { run, base } of figures) drawCurves(app, base, run, shown, range);
    const some = shown.length < total ? ` ${shown.length} of the ${many(total)} selected are drawn.` : "";
    const cut = range.cut ? " A curve that leaves the picture goes on outside of it." : "";
    read.textContent =
      "How to read: a line is a selected sample, the bold one is the chosen one; a band holds the " +
      `middle half of its group, with the median. Drag to move in time.${some}${cut}`;
  });
  app.watch(["selection", "focus", "curve", "hidden", "look", "size", "row", "hover"], () => {
    for (const { run, top } of figures) drawNow(app, top, run, range);
  });
  app.watch(["focus", "row", "selection"], () => {
    const text = data.runs.map((run) => curveWords(app, run));
    figures.forEach(({ top }, at) => top.setAttribute("aria-label", text[at]));
    say(words, text.join(" "));
  });
  const kinds = [
    { id: "loss", label: "Momentum loss" },
    { id: "score", label: "Score" },
  ];
  return panel(
    "c",
    [heading("Curves"), app.choice("curve", "Curves of", kinds)],
    h("div", { className: "ltcl-pair" }, ...figures.map(({ figure }) => figure)),
    read,
    h("details", {}, h("summary", { textContent: "The curves in words" }), words),
  );
}

/** The chosen sample's curve in words, beside its group's. */
function curveWords({ data, state }, run) {
  const selected = `${many(state.selection.length)} curves are drawn for the selection.`;
  const i = state.focus,
    last = data.rows - 1;
  if (i === null) return `${run.label}: no sample is chosen. ${selected}`;
  const at = (t) => (run.seen(t, i) ? `${short(run.loss(t, i))} after epoch ${data.epochs[t]}` : null);
  const points = [...new Set([0, state.row, last])]
    .sort((a, b) => a - b)
    .map(at)
    .filter(Boolean);
  const group = data.group(i),
    median = run.bands[group][last][1],
    learnt = learntIn(data, run, i);
  const end = median === null ? "" : ` The median of its group (${group}) ends at ${short(median)}.`;
  const when = learnt === learnt ? ` It stays below that median from epoch ${learnt} on.` : "";
  const curve = points.join(", ") || "not known";
  return `${run.label}: the momentum loss of sample ${i} is ${curve}.${end}${when} ${selected}`;
}

/** The same vertical range for both runs: the bands, and of the curves what does not squash them. */
function curveRange({ data, state }, shown) {
  if (state.curve === "score") return { low: 0, high: 1, cut: false };
  let low = Infinity,
    high = -Infinity,
    least = Infinity,
    most = -Infinity;
  for (const run of data.runs) {
    for (const band of Object.values(run.bands)) {
      for (const value of band.flat())
        if (value !== null) ((low = Math.min(low, value)), (high = Math.max(high, value)));
    }
    for (const i of state.focus === null ? shown : [...shown, state.focus]) {
      for (let t = 0; t < data.rows; t++) {
        const value = run.loss(t, i);
        if (value < least) least = value;
        if (value > most) most = value;
      }
    }
  }
  const more = OUTSIDE * (high - low) || Math.abs(high) || 1;
  const cut = least < low - more || most > high + more;
  low = Math.max(Math.min(low, least), low - more);
  high = Math.min(Math.max(high, most), high + more);
  const room = (high - low) * 0.04 || 1;
  return { low: low - room, high: high + room, cut };
}

/** Places in a plot of curves, and a line through values with gaps where there are none. */
function plotter(app, canvas, run, { low, high }) {
  const { data, state } = app,
    { context, width, height } = fit(canvas),
    last = Math.max(1, data.rows - 1);
  const toX = (t) => LEFT + (t / last) * (width - LEFT - RIGHT);
  const toY = (v) => ABOVE + (1 - (v - low) / (high - low)) * (height - ABOVE - BELOW);
  const y = state.curve === "score" ? (t, loss) => toY(run.toScore(t, loss)) : (t, loss) => toY(loss);
  const path = (at) => {
    context.beginPath();
    let before = false;
    for (let t = 0; t < data.rows; t++) {
      const loss = at(t) ?? NaN,
        there = loss === loss;
      if (there && before) context.lineTo(toX(t), y(t, loss));
      else if (there) context.moveTo(toX(t), y(t, loss));
      before = there;
    }
    if (data.rows === 1 && before) context.arc(toX(0), y(0, at(0)), 3, 0, 7);
  };
  const stroke = (at, strokeStyle, lineWidth) => {
    Object.assign(context, { strokeStyle, lineWidth });
    path(at);
    context.stroke();
  };
  const inside = (draw) => {
    context.save();
    context.beginPath();
    context.rect(LEFT - 2, 0, width - LEFT - RIGHT + 4, height - BELOW + 2);
    context.clip();
    draw();
    context.restore();
  };
  return { context, width, height, toX, toY, y, path, stroke, inside };
}

/** What stays while time and pointer move: axes, bands, and the curves of selected and chosen samples. */
function drawCurves(app, canvas, run, shown, range) {
  const { data, state, ink } = app,
    plot = plotter(app, canvas, run, range),
    { context, width, height } = plot;
  Object.assign(context, { strokeStyle: ink.line, fillStyle: ink.soft, textAlign: "right" });
  for (const { value, text } of niceTicks(range.low, range.high, 5)) {
    line(context, [LEFT, plot.toY(value), width - RIGHT, plot.toY(value)]);
    context.fillText(text, LEFT - 6, plot.toY(value) + 4);
  }
  context.save();
  context.translate(10, (height - BELOW) / 2);
  context.rotate(-Math.PI / 2);
  context.textAlign = "center";
  context.fillText(state.curve === "score" ? "score" : "momentum loss", 0, 0);
  context.restore();
  context.textAlign = "center";
  const step = Math.max(1, Math.ceil(data.rows / 6));
  for (let t = 0; t < data.rows; t += step)
    context.fillText(data.epochs[t], plot.toX(t), height - BELOW + 14);
  context.fillText("epoch", LEFT + (width - LEFT - RIGHT) / 2, height - 5);
  plot.inside(() => {
    for (const [group, band] of Object.entries(run.bands)) {
      if (!state.hidden.has(group)) drawBand(app, plot, group, band, shown.length > 0);
    }
    context.globalAlpha = clamp(3 / Math.sqrt(shown.length || 1), 0.25, 0.9);
    for (const i of shown) plot.stroke((t) => run.loss(t, i), app.colour(data.group(i)), 1.2);
    context.globalAlpha = 1;
    if (state.focus !== null) plot.stroke((t) => run.loss(t, state.focus), ink.ink, 2.5);
  });
}

function drawBand(app, { context, toX, y, path, stroke }, group, band, faint) {
  context.fillStyle = app.colour(group);
  path((t) => band[t][2]);
  for (let t = band.length - 1; t >= 0; t--)
    if (band[t][0] !== null) context.lineTo(toX(t), y(t, band[t][0]));
  context.globalAlpha = faint ? 0.13 : 0.2;
  context.fill();
  context.globalAlpha = faint ? 0.6 : 1;
  context.setLineDash(DASH[group]);
  stroke((t) => band[t][1], app.colour(group), 2);
  context.setLineDash([]);
  context.globalAlpha = 1;
}

/** What moves: the curve under the pointer, and a line at the epoch. */
function drawNow(app, canvas, run, range) {
  const { data, state, ink } = app,
    plot = plotter(app, canvas, run, range),
    { context, width, height, toX } = plot;
  if (state.hover !== null) plot.inside(() => plot.stroke((t) => run.loss(t, state.hover), ink.accent, 2.5));
  Object.assign(context, { lineWidth: 1, strokeStyle: ink.accent, fillStyle: ink.accent });
  const x = toX(state.row),
    late = state.row > data.rows * 0.9;
  line(context, [x, ABOVE, x, height - BELOW]);
  context.textAlign = late ? "right" : "left";
  context.fillText(
    `epoch ${data.epochs[state.row]}`,
    late ? Math.min(x - 4, width - RIGHT) : x + 4,
    ABOVE + 9,
  );
}
