// One sample: its picture, its numbers in every run, and the views it got.

import { boostWords, learntIn, many, round, short, signed } from "./data.mjs";
import { h, heading, panel, reading, say } from "./draw.mjs";

const WAIT = 8000; // milliseconds after which a kernel that has said nothing is called silent

export function samplePanel(app) {
  const { data, state, images } = app,
    { meta, runs } = data,
    two = runs.length > 1;
  const picture = h("canvas", { className: "ltcl-picture", role: "img" }),
    title = h("h3");
  const facts = h("p", { className: "ltcl-facts" }),
    columns = two ? [...runs, null] : runs;
  const names = [
    "Momentum loss",
    "Score",
    "Place, hardest first",
    "Learnt in epoch",
    "Strength",
    "Probability",
  ];
  const rows = names.map((textContent) =>
    h("tr", {}, h("th", { textContent, scope: "row" }), ...columns.map(() => h("td"))),
  );
  const labels = columns.map((run) => (run ? run.label : "difference"));
  const head = h("tr", {}, h("td"), ...labels.map((textContent) => h("th", { textContent, scope: "col" })));
  const strips = runs.map((run) =>
    h("canvas", {
      className: "ltcl-strip",
      role: "img",
      hidden: true,
      "aria-label": `Views of the chosen sample, ${run.label}`,
    }),
  );
  const captions = runs.map(() => h("figcaption"));
  const card = h(
    "div",
    { hidden: true },
    h("div", { className: "ltcl-who" }, picture, h("div", {}, title, facts)),
    h("table", {}, h("thead", {}, head), h("tbody", {}, ...rows)),
    ...strips.map((strip, at) => h("figure", {}, captions[at], strip)),
  );
  const none = h("p", { className: "ltcl-none" });
  none.textContent = "Click a mark on the map, or press N to go through the list.";

  app.watch(["focus", "look"], () => {
    const i = state.focus;
    card.hidden = i === null;
    none.hidden = !card.hidden;
    if (i === null) return;
    images.paint(picture, i);
    const c = data.classes[data.labels[i]],
      kind = c.group === "all" ? "" : `, ${c.group}`;
    picture.setAttribute("aria-label", `Sample ${i}${meta.labelled ? `, ${c.name}` : ""}`);
    title.textContent = meta.labelled ? c.name : `sample ${i}`;
    facts.textContent = [
      `sample ${i}`,
      data.memorization && `memorization ${short(data.memorization[i], 3)} (leave-out)`,
      data.index && `position ${data.index[i]} of the data`,
      meta.labelled && `class of ${many(c.size)}${kind}`,
    ]
      .filter(Boolean)
      .join(" · ");
  });
  app.watch(["focus", "row"], () => {
    const i = state.focus,
      t = state.row;
    if (i === null) return;
    const used = meta.used[t] ? ` in epoch ${meta.used[t][0]}` : "";
    say(rows[4].cells[0], `Strength${used} (0 to 30)`);
    say(rows[5].cells[0], `Probability${used}`);
    runs.forEach((run, at) => fillColumn(rows, at + 1, sampleWords(data, run, t, i)));
    if (two) fillColumn(rows, 3, differences(data, t, i));
  });
  const showViews = viewStrips(app, strips, captions);
  app.watch(["focus", "row"], showViews);
  return panel(
    "b",
    [heading("Chosen sample")],
    none,
    card,
    reading(
      "How to read: loss, score and place are those after this epoch. Strength and probability are what " +
        "its views had in the epoch named, steered by the score of the epoch before. Learnt: the first " +
        "epoch from which on its loss stays below its group's median.",
    ),
  );
}

function fillColumn(rows, column, texts) {
  texts.forEach((text, at) => say(rows[at].cells[column], text));
}

/** A sample's numbers in a run, one text a row of the table. */
function sampleWords(data, run, t, i) {
  const seen = run.seen(t, i),
    loss = run.loss(t, i),
    all = run.row(t),
    late = "not seen yet";
  let place = 1;
  for (let other = 0; other < data.samples; other++) if (all[other] > loss) place++;
  const learnt = learntIn(data, run, i),
    not = `not by ${data.epochs.at(-1)}`;
  const where = seen ? `${many(place)} of ${many(run.seenBy[t])}` : late;
  return [
    seen ? short(loss) : late,
    round(run.score(t, i), 3),
    where,
    learnt === learnt ? learnt : not,
    ...boostWords(data, run, t, i),
  ];
}

/** The second run minus the first. */
function differences(data, t, i) {
  const [first, second] = data.runs,
    both = first.seen(t, i) && second.seen(t, i);
  if (!both) return ["", "", "", "", "", ""];
  const loss = second.loss(t, i) - first.loss(t, i),
    score = second.score(t, i) - first.score(t, i);
  return [signed(loss, 4), signed(score, 3), "", "", "", ""];
}

/** The strips of views: asked from Python where it listens, else those that the page holds. */
function viewStrips(app, strips, captions) {
  const { data, state, host, images } = app,
    { meta } = data;
  let wanted = "",
    asking = 0,
    silent = 0;
  const clear = (text) =>
    strips.forEach((strip, at) => {
      strip.hidden = true;
      delete strip.dataset.sample; // what it showed is another sample's by now
      captions[at].textContent = at ? "" : text;
    });
  const show = async (number, used, picture, line, row, i) => {
    const run = data.runs[number],
      strip = strips[number],
      epoch = meta.used[row][0],
      token = wanted;
    const by = run.steer === "none" ? "no boost" : `steered by ${round(used, 2)}`;
    const bitmap = await picture;
    if (wanted !== token) return; // another sample or epoch was asked for meanwhile
    captions[number].textContent = `${run.label}, views of epoch ${epoch}, ${by} (${run.note})`;
    Object.assign(strip, { width: bitmap.width, height: meta.side, hidden: false });
    strip.dataset.sample = i;
    strip.getContext("2d").drawImage(bitmap, 0, -line * meta.side);
  };
  const ask = (i, t) => {
    clear(`Views of sample ${i}: asking the kernel …`);
    clearTimeout(asking);
    clearTimeout(silent);
    const patience = () => clear(`No kernel answers. Run the cell again for the views of sample ${i}.`);
    asking = setTimeout(() => {
      silent = setTimeout(patience, WAIT);
      host.ask({ sample: i, row: t });
    }, 120);
  };
  app.gotViews = ({ sample, row, used }, buffers) => {
    if (wanted !== `${sample}/${row}`) return;
    clearTimeout(silent);
    const picture = (part) => createImageBitmap(new Blob([part], { type: "image/webp" }));
    buffers.forEach((part, number) => show(number, used[number], picture(part), 0, row, sample));
  };
  return () => {
    const i = state.focus,
      t = state.row;
    if (i === null || wanted === `${i}/${t}`) return;
    wanted = `${i}/${t}`;
    if (meta.drawable && !meta.used[t]) return clear(`No views followed this epoch: ${meta.over}.`);
    if (meta.live) return ask(i, t);
    if (!meta.views)
      return clear(
        meta.side ? "No views: these losses come without a run." : "No views: the images are not at hand.",
      );
    const { samples, rows, used } = meta.views,
      at = samples.indexOf(i);
    if (at < 0) {
      return clear(
        `This page holds views of ${samples.length} samples, dotted in the list; in JupyterLab any ` +
          "sample's are drawn.",
      );
    }
    const near = rows.reduce((best, row) => (Math.abs(row - t) < Math.abs(best - t) ? row : best));
    const block = rows.indexOf(near);
    data.runs.forEach((_, number) => {
      const line = block * samples.length + at;
      show(number, used[number][block][at], images.decode(`views${number}`), line, near, i);
    });
  };
}
