// What pages are made of, and how the hub is asked.
//
// Elements are made by `el`, which sets text as text: nothing that the hub tells is ever read as HTML. A token that was
// pasted is kept for this tab alone and travels in a header; a session travels in a cookie that no script can read.

import { words } from "./words.js";

export const keep = (key, value) => value === null ? sessionStorage.removeItem(key) : sessionStorage.setItem(key, value);
export const kept = (key) => sessionStorage.getItem(key);

// ---- the hub ----

/** What `path` of /api/v1 answers, as JSON. */
export async function ask(path) {
  return (await bytes(path)).json();
}

/** The whole of a list that the hub tells in parts, by what each of its things is called. */
export async function list(path, name) {
  const all = [], limit = 200;
  for (;;) {
    const after = all.length ? `&after=${encodeURIComponent(name(all.at(-1)))}` : "";
    const more = await ask(`${path}?limit=${limit}${after}`);
    all.push(...more);
    if (more.length < limit) return all;
  }
}

/** Has the hub do something, and tells what it answers. */
export async function send(method, path, body) {
  const headers = body === undefined ? {} : { "content-type": "application/json" };
  return (await bytes(path, headers, { method, body: JSON.stringify(body) })).json();
}

export async function bytes(path, headers = {}, more = {}) {
  const token = kept("token");
  const bearer = token === null ? {} : { authorization: `Bearer ${token}` };
  const asked = fetch(`/api/v1${path}`, { headers: { ...headers, ...bearer }, cache: "no-store", ...more });
  const response = await asked.catch((error) => { throw new Error(say("unreachable", error.message)); });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({ status: response.status, detail: response.statusText }));
  throw Object.assign(new Error(problem.detail), { problem });
}

// ---- small things ----

/** An element. Children that are strings become text. */
export function el(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export function link(href, text) {
  return el("a", { href }, text);
}

export function button(text, pressed) {
  const element = el("button", { type: "button" }, text);
  element.addEventListener("click", () => pressed());
  return element;
}

/** A cell that stands to the right. */
export function number(text) {
  return { number: text };
}

export function table(head, rows) {
  if (!rows.length) return el("p", { class: "quiet" }, say("nothing"));
  const line = (kind, cells) => el("tr", {}, ...cells.map((cell) => cell.number === undefined
    ? el(kind, {}, cell) : el(kind, { class: "number" }, cell.number)));
  return el("div", { class: "wide" },
    el("table", {}, el("thead", {}, line("th", head)), el("tbody", {}, ...rows.map((row) => line("td", row)))));
}

export const quiet = (key) => el("p", { class: "quiet" }, say(key));

/** FLOP-seconds of a PFLOP-hour. */
export const HOUR = 3.6e18;
export const won = (n) => `₩${n.toLocaleString("en")}`;
export const short = (n) => String(Number(n.toFixed(6)));
export const hours = (compute) => short(Number(compute) / HOUR);
/** The day in Korea. */
export const day = (millis) => new Date(millis + 9 * 3.6e6).toISOString().slice(0, 10);

/** A step of what comes next is a word, or a word with what belongs to it. */
export const read = (step) => typeof step === "string" ? [step, {}] : Object.entries(step)[0];

/** Why the hub said no. */
export function refusal(error) {
  const { problem } = error;
  if (!problem) return el("p", { class: "no", role: "alert" }, error.message);
  const policies = problem.policies?.length ? [el("p", {}, say("because", problem.policies.join(", ")))] : [];
  const hint = problem.hint ? [el("p", { class: "quiet" }, problem.hint)] : [];
  return el("div", { class: "no", role: "alert" },
    el("p", {}, `${say("refused")} (${problem.status}): ${problem.detail}`), ...policies, ...hint);
}

/** The browser's language, unless the other was chosen. */
export function tongue() {
  return kept("language") ?? (navigator.language.startsWith("ko") ? "ko" : "en");
}

export function say(key, ...fill) {
  const text = words[tongue()][key] ?? key;
  return text.replace(/\{(\d)\}/g, (_, i) => fill[i]);
}
