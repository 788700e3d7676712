// Small helpers for elements and canvases, marks, and the pictures of samples.

import { round } from "./data.mjs";

export const MARK = { many: "circle", medium: "square", few: "triangle", all: "circle" };
export const SIZE = { many: 0.95, medium: 1, few: 1.5, all: 1 }; // rare marks must not drown
export const DASH = { many: [], medium: [7, 3], few: [2, 3], all: [] };
// The figures' colours, where the paper asks for another lightness: a mark must stand out by 3 to 1.
const ON_DARK = { many: "#58A9E0", all: "#C9D1D9" };
const ON_LIGHT = { medium: "#A86F00", few: "#A94F80" };
// From little memorized to much: darker on light paper, lighter on dark, each 3 to 1 or more.
const RAMP = { light: ["#7b93b5", "#6b1f00"], dark: ["#56789c", "#ffd98a"] };
export const RAMP_STEPS = 16;
const SHEET = 32;

export const groupColour = (colours, look, group) =>
  (look === "dark" ? ON_DARK : ON_LIGHT)[group] ?? colours[group];
export const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

/** The colours [r, g, b] of values in steps, the smallest first. */
export function ramp(look) {
  const [from, to] = RAMP[look].map(rgb);
  return Array.from({ length: RAMP_STEPS }, (_, step) =>
    from.map((low, part) => Math.round(low + ((to[part] - low) * step) / (RAMP_STEPS - 1))),
  );
}

/** An element with properties and children; strings become text, never markup. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Put a text into an element, if it is not there already: the page is laid out anew for each change. */
export const say = (element, text) => {
  if (element.textContent !== String(text)) element.textContent = text;
};

export const press = (text, onclick, rest = {}) =>
  h("button", { type: "button", textContent: text, onclick, ...rest });
export const reading = (text = "") => h("p", { className: "ltcl-reading", textContent: text });
export const heading = (text) => h("h2", { textContent: text });
export const panel = (name, bar, ...content) =>
  h(
    "section",
    { className: `ltcl-panel ltcl-${name}` },
    h("div", { className: "ltcl-bar" }, ...bar),
    ...content,
  );

/** Boxes of canvases, measured once: to ask the browser in every frame makes it lay out the page. */
let boxes = new WeakMap();
export const forgetBoxes = () => (boxes = new WeakMap());

function boxOf(canvas) {
  if (boxes.has(canvas)) return boxes.get(canvas);
  const box = { width: canvas.clientWidth, height: canvas.clientHeight };
  if (box.width) boxes.set(canvas, box);
  return { width: Math.max(1, box.width), height: Math.max(1, box.height) };
}

/** Fit a canvas to its box in device pixels and clear it; its context works in CSS pixels. */
export function fit(canvas) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const { width, height } = boxOf(canvas);
  const size = { width: Math.round(width * ratio), height: Math.round(height * ratio) };
  if (canvas.width !== size.width || canvas.height !== size.height) Object.assign(canvas, size);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.setLineDash([]);
  Object.assign(context, { font: "11px system-ui, sans-serif", lineWidth: 1, globalAlpha: 1 });
  return { context, width, height, ratio };
}

export function line(context, points) {
  context.beginPath();
  for (let at = 0; at < points.length; at += 2) context.lineTo(points[at], points[at + 1]);
  context.stroke();
}

export function tracePath(context, shape, x, y, r) {
  context.beginPath();
  if (shape === "square") context.rect(x - r * 0.88, y - r * 0.88, r * 1.76, r * 1.76);
  else if (shape === "circle") context.arc(x, y, r, 0, 2 * Math.PI);
  else
    for (const [dx, dy] of [
      [0, -1.15],
      [1.1, 0.85],
      [-1.1, 0.85],
    ])
      context.lineTo(x + r * dx, y + r * dy);
  context.closePath();
}

export function fitText(context, text, room) {
  for (let end = text.length; end > 0; end--) {
    const shown = end < text.length ? `${text.slice(0, end)}…` : text;
    if (context.measureText(shown).width <= room) return shown;
  }
  return "…";
}

/** Round numbers between two values, about `count` of them, with as many digits as they need. */
export function niceTicks(low, high, count) {
  if (!(high > low)) return [];
  const rough = (high - low) / count,
    power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((size) => size * power >= rough * 0.999);
  const digits = clampDigits(-Math.floor(Math.log10(step) + 1e-9) + (step / power === 2.5 ? 1 : 0));
  const ticks = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) {
    const value = n * step,
      large = Math.abs(value) >= 1e5 || (step < 1e-4 && value !== 0);
    ticks.push({ value, text: large ? value.toExponential(1) : round(value, digits) });
  }
  return ticks;
}

const clampDigits = (digits) => Math.min(6, Math.max(0, digits));

// --- marks --------------------------------------------------------------------------------------
/** The pixels of a mark: their places from its middle, and how much of each it covers, 0 to 255. */
const stamps = new Map();
export function stamp(shape, radius) {
  const key = `${shape}/${radius.toFixed(2)}`,
    size = 2 * Math.ceil(radius * 1.2) + 1,
    middle = size >> 1;
  if (!stamps.has(key)) {
    const canvas = h("canvas", { width: size, height: size });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    tracePath(context, shape, size / 2, size / 2, radius);
    context.fill();
    const alpha = context.getImageData(0, 0, size, size).data.filter((_, at) => at % 4 === 3);
    const inside = [...alpha.keys()].filter((at) => alpha[at] > 8);
    stamps.set(key, {
      reach: middle,
      count: inside.length,
      dx: Int8Array.from(inside, (at) => (at % size) - middle),
      dy: Int8Array.from(inside, (at) => Math.floor(at / size) - middle),
      alpha: Uint8Array.from(inside, (at) => alpha[at]),
    });
  }
  return stamps.get(key);
}

/** A mark in a colour, ready to be laid over pictures of one width. */
export function tinted({ reach, count, dx, dy, alpha }, width, [r, g, b], opacity) {
  const offsets = Int32Array.from({ length: count }, (_, p) => dy[p] * width + dx[p]);
  const shares = Uint16Array.from(alpha, (a) => (a * opacity * 256) / (255 * 255) + 0.5); // 0 to 256
  return { reach, offsets, shares, redBlue: (b << 16) | r, green: g << 8 };
}

/** Lay a mark over an opaque picture, given as one number a pixel. */
export function blend(pixels, width, height, { reach, offsets, shares, redBlue, green }, cx, cy) {
  if (cx < reach || cy < reach || cx >= width - reach || cy >= height - reach) return;
  const middle = cy * width + cx;
  for (let p = 0; p < offsets.length; p++) {
    const at = middle + offsets[p],
      under = pixels[at],
      share = shares[p],
      rest = 256 - share;
    const rb = ((under & 0xff00ff) * rest + redBlue * share) >>> 8,
      g = ((under & 0x00ff00) * rest + green * share) >>> 8;
    pixels[at] = 0xff000000 | (rb & 0xff00ff) | (g & 0x00ff00);
  }
}

// --- pictures of samples ------------------------------------------------------------------------
/** Thumbnails and views, decoded when first looked at; without images the mark of the group. */
export function pictures(data, colour) {
  const kept = new Map(),
    side = data.meta.side;
  const decode = (name) => {
    if (!kept.has(name))
      kept.set(name, createImageBitmap(new Blob([data.raw(name)], { type: "image/webp" })));
    return kept.get(name);
  };
  const paint = async (canvas, i) => {
    if (canvas.dataset.sample === String(i) && side) return;
    canvas.dataset.sample = i;
    const bitmap = side && (await decode(`sheet${Math.floor(i / SHEET ** 2)}`));
    if (canvas.dataset.sample !== String(i)) return; // it shows another sample by now
    Object.assign(canvas, { width: side ?? 32, height: side ?? 32 });
    const context = canvas.getContext("2d"),
      at = i % SHEET ** 2;
    if (side) return context.drawImage(bitmap, -(at % SHEET) * side, -Math.floor(at / SHEET) * side);
    context.fillStyle = colour(data.group(i));
    tracePath(context, MARK[data.group(i)], 16, 16, 9);
    context.fill();
  };
  return { paint, decode };
}
