// Runs: a project's list with a filter in MLflow's words, and one run or several beside one another, with curves.

import { ask, button, el, link, number, say, table } from "./parts.js";

/** A curve has no more points than this; the hub thins a longer history out. */
const SAMPLES = 600;
/** So many metrics are drawn at most, and so many runs beside one another. */
const CURVES = 24, BESIDE = 8;
const WIDE = 460, HIGH = 180, EDGE = 8;

// ---- pages ----

export async function runs(project, filter = "") {
  const place = `/projects/${encodeURIComponent(project)}/runs?filter=${encodeURIComponent(filter)}`;
  const all = await whole(place);
  const chosen = new Set();
  const row = (it) => [
    choice(it.id, chosen), link(`#/runs/${it.id}`, it.name || it.id), it.by, say(it.label), say(`run.${it.status}`),
    day(it.started), it.metrics.slice(0, 3).map((one) => `${one.key} ${short(one.last.value)}`).join(", "),
  ];
  const head = ["", say("run"), say("person"), say("label"), say("status"), say("began"), say("metrics")];
  const compare = button(say("compare"), () => {
    if (chosen.size) location.hash = `#/runs/${[...chosen].slice(0, BESIDE).join(",")}`;
  });
  const rows = table(head, all.map(row));
  rows.id = "runs";
  return [
    el("h1", {}, `${say("runs")}: `, link(`#/projects/${project}`, project)), search(project, filter), rows,
    ...(all.length ? [el("p", {}, compare)] : []),
  ];
}

export async function run(ids) {
  const all = await Promise.all(ids.split(",").slice(0, BESIDE).map((id) => ask(`/runs/${encodeURIComponent(id)}`)));
  const one = all.length === 1 ? all[0] : null;
  const names = [...new Set(all.flatMap((it) => it.metrics.filter((metric) => metric.points > 1).map((metric) => metric.key)))];
  const page = [
    el("h1", {}, one ? one.name || one.id : say("compare")), el("table", { id: "facts" }, ...facts(all)),
    el("h2", {}, say("metrics")), metrics(all),
    el("div", { class: "curves" }, ...names.sort().slice(0, CURVES).map((name) => curve(name, all))),
    el("h2", {}, say("params")), texts(all, "params"), el("h2", {}, say("tags")), texts(all, "tags"),
  ];
  return one ? [...page, el("h2", {}, say("files")), files(one)] : page;
}

// ---- parts of pages ----

function search(project, filter) {
  const input = el("input", { id: "filter", value: filter, spellcheck: "false", placeholder: "metrics.loss < 0.5" });
  const form = el("form", {}, el("label", { for: "filter" }, say("filter")), " ", input, " ", el("button", {}, say("find")));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    location.hash = `#/projects/${encodeURIComponent(project)}/runs/${encodeURIComponent(input.value.trim())}`;
  });
  return form;
}

function choice(id, chosen) {
  const box = el("input", { type: "checkbox", "aria-label": id });
  box.addEventListener("change", () => box.checked ? chosen.add(id) : chosen.delete(id));
  return box;
}

/** A row for each fact, a column for each run. */
function facts(all) {
  const rows = [
    ["run", (it) => el("code", {}, it.id)], ["name", (it) => link(`#/runs/${it.id}`, it.name || it.id)],
    ["project", (it) => link(`#/projects/${it.project}`, it.project)], ["person", (it) => it.by],
    ["label", (it) => `${say(it.label)}: ${say(`${it.label}.means`)}`], ["status", (it) => say(`run.${it.status}`)],
    ["began", (it) => day(it.started)], ["job", (it) => it.job ?? "–"],
  ];
  return rows.map(([name, cell]) => el("tr", {}, el("th", {}, say(name)), ...all.map((it) => el("td", {}, cell(it)))));
}

function metrics(all) {
  const names = [...new Set(all.flatMap((it) => it.metrics.map((metric) => metric.key)))].sort();
  const of = (it, name) => it.metrics.find((metric) => metric.key === name);
  const cell = (found) => number(found ? `${short(found.last.value)}` : "–");
  const row = (name) => [name, ...all.map((it) => cell(of(it, name))), number(`${of(all[0], name)?.points ?? "–"}`)];
  return table([say("metric"), ...all.map((it) => number(it.name || it.id)), number(say("points"))], names.map(row));
}

function texts(all, field) {
  const names = [...new Set(all.flatMap((it) => Object.keys(it[field])))].sort();
  const row = (name) => [name, ...all.map((it) => el("span", { class: "text" }, it[field][name] ?? "–"))];
  return table([say("name"), ...all.map((it) => it.name || it.id)], names.map(row));
}

function files(one) {
  const row = ([path, digest]) => [link(`#/projects/${one.project}/artifacts/${digest}`, path), el("code", {}, digest)];
  return table([say("name"), say("digest")], Object.entries(one.files).map(row));
}

/** A picture that says in `data-curve` how far it is: loading, drawn or failed. */
function curve(name, all) {
  const place = el("figure", { "data-curve": "loading" }, el("figcaption", {}, name));
  const ask_of = async (it) => (await ask(`/runs/${it.id}/history?samples=${SAMPLES}&key=${encodeURIComponent(name)}`)).points;
  const asked = all.map((it) => it.metrics.some((metric) => metric.key === name) ? ask_of(it) : []);
  Promise.all(asked).then((histories) => {
    place.append(draw(histories.map((points) => points.filter((point) => Number.isFinite(point.value)))));
    place.dataset.curve = "drawn";
  }, (error) => {
    place.append(el("p", { class: "no" }, error.message));
    place.dataset.curve = "failed";
  });
  return place;
}

function draw(histories) {
  const points = histories.flat();
  const span = (values) => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return low < high ? [low, high] : [low - 0.5, high + 0.5];
  };
  if (!points.length) return el("p", { class: "quiet" }, say("nothing"));
  const [[first, last], [low, high]] = [span(points.map((it) => it.step)), span(points.map((it) => it.value))];
  const part = (value, from, to) => (value / 2 - from / 2) / (to / 2 - from / 2);
  const x = (step) => (EDGE + part(step, first, last) * (WIDE - 2 * EDGE)).toFixed(1);
  const y = (value) => (HIGH - EDGE - part(value, low, high) * (HIGH - 2 * EDGE)).toFixed(1);
  const line = (history, i) => shape("polyline", { class: `line line-${i}`, points: history.map((it) => `${x(it.step)},${y(it.value)}`).join(" ") });
  const picture = shape("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img" }, ...histories.map(line));
  const ends = (from, to) => el("div", { class: "ends" }, el("span", {}, from), el("span", {}, to));
  return el("div", {}, ends(short(high), ""), picture, ends(short(low), ""), ends(say("step", first), say("step", last)));
}

function shape(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// ---- small things ----

/** The whole of a list that has something behind its question mark already. */
async function whole(place) {
  const all = [], limit = 200;
  for (;;) {
    const after = all.length ? `&after=${all.at(-1).id}` : "";
    const more = await ask(`${place}&limit=${limit}${after}`);
    all.push(...more);
    if (more.length < limit) return all;
  }
}

/** As many digits as people compare by; what is no number comes as text. */
function short(value) {
  if (typeof value !== "number") return value;
  return value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6) ? value.toExponential(3) : `${+value.toFixed(4)}`;
}

/** A day in Korea, as all of khub's are. */
function day(millis) {
  return new Intl.DateTimeFormat("sv-SE", { timeZone: "Asia/Seoul" }).format(new Date(millis));
}
