// The hub's pages: what /api/v1 answers, for reading. Addresses stand behind the #, so that the hub serves one file:
//
//   #/projects                           the projects that the asker may know of
//   #/projects/P                         its artifacts
//   #/projects/P/artifacts/DIGEST        one artifact; a structure is shown
//   #/projects/P/runs/FILTER             its runs, all or those of which the filter holds
//   #/runs/ID,ID                         one run, or several beside one another
//   #/programmes/NAME                    its projects and its leaderboard
//   #/calls                              calls, proposals, reviews and awards
//   #/proposals/ORGANISATION/NAME        one proposal
//   #/invoices                           what is owed for sites
//   #/invoices/MONTH/SITE                one invoice, to be printed
//   #/device/CODE                        what `khub login` waits for

import { calls, proposal } from "./calls.js";
import { device } from "./device.js";
import { invoice, invoices } from "./invoices.js";
import { ask, button, bytes, el, keep, link, list, number, refusal, say, table, tongue } from "./parts.js";
import { run, runs } from "./runs.js";
import { forget, isSignedIn, signIn, signOut } from "./sign-in.js";
import { isStructure, view } from "./structure.js";

const PROGRAMMES = ["language", "folding", "speech", "flight", "worlds"];
/** The most bytes that are shown as a structure, and that a browser is asked to hold for a download. */
const SHOWN = 50e6, HELD = 1e9;

let turn = 0;

addEventListener("hashchange", () => show());
show();

/** Shows the page of the address. `told` is said above the way to sign in. */
async function show(told) {
  const own = ++turn;
  document.documentElement.lang = tongue();
  let page, signedIn = false, state = "ready";
  try {
    signedIn = await isSignedIn();
    page = signedIn ? await route() : (state = "sign-in", await signIn(told, show));
  } catch (error) {
    if (own !== turn) return;
    if (signedIn && error.problem?.status === 401) {
      forget();
      return show(say("badToken"));
    }
    [state, page] = ["refused", [refusal(error)]];
  }
  // Somebody may have gone on in the meantime.
  if (own !== turn) return;
  document.querySelector("header").replaceChildren(...heading(signedIn));
  document.querySelector("main").replaceChildren(...page);
  document.body.dataset.page = state;
}

function route() {
  const [first, second, third, fourth, ...more] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  if (more.length === 0) {
    if (!second && (!first || first === "projects")) return projects();
    if (first === "projects" && !third) return project(second);
    if (first === "projects" && third === "artifacts" && fourth) return artifact(second, fourth);
    if (first === "projects" && third === "runs") return runs(second, fourth);
    if (first === "runs" && second && !third) return run(second);
    if (first === "calls" && !second) return calls();
    if (first === "device" && !third) return device(second);
    if (first === "proposals" && third && !fourth) return proposal(second, third);
    if (first === "invoices" && !second) return invoices();
    if (first === "invoices" && third && !fourth) return invoice(second, third);
    if (first === "programmes" && PROGRAMMES.includes(second) && !third) return programme(second);
  }
  return [el("p", {}, say("notFound"))];
}

// ---- pages ----

async function projects() {
  return [el("h1", {}, say("projects")), projectTable(await list("/projects", (it) => it.id))];
}

async function project(id) {
  const artifacts = await list(`/projects/${encodeURIComponent(id)}/artifacts`, digestOf);
  const row = (it) => [
    link(artifactAt(it.id), it.name), say(`kind.${it.kind}`), say(it.label), number(size(it.bytes)), it.job ?? "",
  ];
  const head = [say("name"), say("kind"), say("label"), number(say("size")), say("job")];
  return [
    el("h1", {}, `${say("project")} ${id}`), el("p", {}, link(`#/projects/${id}/runs`, say("runs"))),
    el("h2", {}, say("artifacts")), table(head, artifacts.map(row)),
  ];
}

async function artifact(project, digest) {
  const path = `/projects/${encodeURIComponent(project)}/artifacts`;
  const found = (await list(path, digestOf)).find((it) => it.id === `${project}/${digest}`);
  if (!found) {
    // What can't be read isn't listed; whoever asks for it hears why.
    await bytes(`${path}/${encodeURIComponent(digest)}`, { range: "bytes=0-0" });
    throw new Error(say("notFound"));
  }
  const from = found.made_from.map((digest) => el("div", {}, link(artifactAt(`${project}/${digest}`), el("code", {}, digest))));
  const facts = [
    ["kind", say(`kind.${found.kind}`)], ["label", `${say(found.label)}: ${say(`${found.label}.means`)}`],
    ["size", size(found.bytes)], ["digest", el("code", {}, digest)], ["project", link(`#/projects/${project}`, project)],
    ["job", found.job ?? "–"], ["madeFrom", from.length ? el("div", {}, ...from) : "–"],
  ];
  const rows = facts.map(([name, value]) => el("tr", {}, el("th", {}, say(name)), el("td", {}, value)));
  const command = `khub fetch ${project}/${digest} --output ${quoted(found.name)} --hub ${location.origin}`;
  const load = () => bytes(`${path}/${encodeURIComponent(digest)}`);
  const page = [
    el("h1", {}, found.name), el("table", { id: "facts" }, ...rows),
    el("h2", {}, say("fetch")), el("pre", {}, el("code", {}, command)), download(found, load),
  ];
  if (isStructure(found.name)) page.push(el("h2", {}, say("structure")), structure(found, load));
  return page;
}

async function programme(name) {
  const [all, board] = await Promise.all([list("/projects", (it) => it.id), ask(`/programmes/${name}/board`)]);
  return [
    el("h1", {}, `${say("programme")}: ${say(`programme.${name}`)}`),
    el("h2", {}, say("projects")), projectTable(all.filter((project) => project.programme === name)),
    el("h2", {}, say("leaderboard")),
    ...(board.rankings.length ? board.rankings.flatMap(ranking) : [el("p", { class: "quiet" }, say("noBoard"))]),
  ];
}

// ---- parts of pages ----

function heading(signedIn) {
  const other = () => { keep("language", tongue() === "ko" ? "en" : "ko"); show(); };
  const leave = () => signOut().then(() => show(), (error) => document.querySelector("main").prepend(refusal(error)));
  const of = (name) => link(`#/programmes/${name}`, say(`programme.${name}`));
  const places = !signedIn ? [] : [link("#/projects", say("projects")), link("#/calls", say("callsAndAwards")),
    link("#/invoices", say("invoices")), ...PROGRAMMES.map(of)];
  const out = !signedIn ? [] : [" ", button(say("signOut"), leave)];
  return [el("strong", {}, "khub"), ...places, el("span", { class: "right" }, button(say("language"), other), ...out)];
}

function projectTable(all) {
  const row = (it) => [
    link(`#/projects/${it.id}`, it.id), it.title, it.organisation,
    link(`#/programmes/${it.programme}`, say(`programme.${it.programme}`)),
  ];
  return table([say("project"), say("title"), say("organisation"), say("programme")], all.map(row));
}

/** One ranking; the measure that ranks comes first. */
function ranking({ judged_on, rank_by, higher_is_better, results }) {
  const others = new Set(results.flatMap((result) => Object.keys(result.scores)));
  others.delete(rank_by);
  const measures = [rank_by, ...[...others].sort()];
  const score = (value) => number(value === undefined ? "–" : value.toFixed(4));
  const of = (id) => id.split("/")[0];
  const row = (it, i) => [
    number(`${i + 1}`), it.name, it.job ?? "", link(`#/projects/${of(it.report)}`, of(it.report)), it.organisation,
    ...measures.map((name) => score(it.scores[name])), link(artifactAt(it.report), say("report")),
  ];
  const head = [number(say("place")), say("name"), say("job"), say("project"), say("organisation"),
    ...measures.map((name) => number(name)), ""];
  const better = say(higher_is_better ? "more" : "less");
  const board = table(head, results.map(row));
  board.classList.add("board");
  return [el("p", {}, say("judgedOn", judged_on, rank_by, better)), board];
}

function download(found, load) {
  if (found.bytes > HELD) return el("p", { class: "quiet" }, say("fetchIt", size(found.bytes)));
  const save = async () => {
    const url = URL.createObjectURL(await (await load()).blob());
    el("a", { href: url, download: found.name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  };
  const place = el("div", {}, button(say("download"), () => save().catch((error) => place.append(refusal(error)))));
  return place;
}

/** The viewer's place, which says in `data-structure` how far it is: loading, shown, missing or failed. */
function structure(found, load) {
  if (found.bytes > SHOWN) return el("p", { class: "quiet" }, say("tooLarge", size(found.bytes), size(SHOWN)));
  const place = el("div", { class: "structure", "data-structure": "loading" }, say("loading"));
  const end = (state, text) => {
    place.dataset.structure = state;
    place.className = "quiet";
    place.replaceChildren(text);
  };
  view(place, found.name, async () => (await load()).text()).then(
    (is) => is || end("missing", say("noMolstar")),
    (error) => end("failed", say("noStructure", error.message)),
  );
  return place;
}

// ---- small things ----

/** The digest of an artifact; its id is PROJECT/DIGEST. */
function digestOf(artifact) {
  return artifact.id.split("/")[1];
}

/** The address of an artifact's page; its id is PROJECT/DIGEST. */
function artifactAt(id) {
  return `#/projects/${id.replace("/", "/artifacts/")}`;
}

/** Bytes as people say them. */
function size(n) {
  for (const [unit, name] of [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) {
    if (n >= unit) return `${(n / unit).toFixed(1)} ${name}`;
  }
  return `${n} bytes`;
}

/** A word for a shell. */
function quoted(text) {
  return /^[\w.][\w.-]*$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
