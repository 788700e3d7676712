// What the marks of the map stand for: the groups' shapes and colours, and the colours of memorization.

import { inSteps, short } from "./data.mjs";
import { DASH, MARK, RAMP_STEPS, fit, h, line, ramp, tracePath } from "./draw.mjs";

/** Names a group, and shows or hides it. */
export function legendButton(app, group) {
  const { data, state, set } = app,
    swatch = h("canvas");
  const turn = () =>
    set({ hidden: new Set(data.groups.filter((g) => state.hidden.has(g) !== (g === group))) });
  const button = h(
    "button",
    { type: "button", title: `Show or hide the ${group} classes`, onclick: turn },
    swatch,
    group,
  );
  app.watch(["hidden", "look", "size"], () => {
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

/** From which value to which the colours of memorization go. */
export function scale(app) {
  const { data, state } = app,
    bar = h("canvas"),
    { low, high } = memorized(data);
  const words = [short(low, 2), short(high, 2)].map((text) => h("span", { textContent: text }));
  const box = h("span", { className: "ltcl-scale" }, words[0], bar, words[1]);
  app.watch(["colour", "look", "size"], () => {
    box.hidden = state.colour !== "memorization";
    if (box.hidden) return;
    const { context, width, height } = fit(bar),
      step = width / RAMP_STEPS;
    ramp(app.root.dataset.look).forEach((colour, at) => {
      context.fillStyle = `rgb(${colour})`;
      context.fillRect(at * step, 0, step + 1, height);
    });
  });
  return box;
}

/** Memorization in as many steps as there are colours, and their range. */
export const memorized = (data) => (data.memorized ??= inSteps(data.memorization, RAMP_STEPS));
