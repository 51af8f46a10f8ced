// One screen for calls and awards: what waits for the asker, with the command for it; the calls; the asker's proposals
// and reviews; and awards, with bars of what is used, set aside and left.

import { HOUR, ask, day, el, hours, link, list, number, quiet, read, say, short, table, tongue, won } from "./parts.js";

const SHARES = ["used", "held", "reduced", "left"];
/** What somebody has to do, of all that can come next. */
const TO_DO = ["revise", "ask-reviewers", "declare", "review", "judge", "appeal", "answer-appeal"];

export async function calls() {
  const [open, proposals, reviews, awards] = await Promise.all(["/calls", "/proposals", "/reviews", "/awards"].map(whole));
  // A reviewer's are among the proposals too, as soon as she may read them.
  const toReview = new Set(reviews.map((it) => it.proposal));
  const others = proposals.filter((it) => !toReview.has(it.proposal.id));
  const waiting = [
    ...others.map((it) => todo(it.proposal.id, it.step)), ...reviews.map((it) => todo(it.proposal, it.step)),
    ...awards.map((it) => todo(it.award.id, it.step)),
  ].filter((it) => it !== null);
  const rows = {
    calls: open.map(({ call, is_open }) => [
      call.id, tongue() === "ko" ? call.title_ko : call.title, say(`programme.${call.programme}`), say(call.label),
      date(call.opens), date(call.closes), number(won(total(call.budget).won)), number(hours(total(call.budget).compute)),
      say(is_open ? "isOpen" : "isClosed"),
    ]),
    proposals: proposals.map(({ proposal, stage, step }) => [
      link(`#/proposals/${proposal.id}`, proposal.id), proposal.title, proposal.call, say(`stage.${stage}`), told(step),
    ]),
    reviews: reviews.map((it) => [
      it.title ? link(`#/proposals/${it.proposal}`, it.proposal) : it.proposal, it.title ?? "–", [...it.people].join(", "), [...it.organisations].join(", "), told(it.step),
    ]),
  };
  const heads = {
    calls: ["call", "title", "programme", "label", "opens", "closes"].map((it) => say(it)).concat(number(say("won")),
      number(say("hours")), say("state")),
    proposals: ["proposal", "title", "call", "state", "next"].map((it) => say(it)),
    reviews: ["proposal", "title", "people", "organisations", "next"].map((it) => say(it)),
  };
  const part = (name) => el("section", { id: name }, el("h2", {}, say(name)), table(heads[name], rows[name]));
  return [
    el("h1", {}, say("callsAndAwards")),
    el("section", { id: "todo" }, el("h2", {}, say("todo")), waiting.length ? el("ul", {}, ...waiting) : quiet("noTodo")),
    part("calls"), part("proposals"), part("reviews"),
    el("section", { id: "awards" }, el("h2", {}, say("awards")), ...(awards.length ? awards.map(award) : [quiet("nothing")])),
  ];
}

/** One proposal: its text, what it asks for, what the reviews say and what was decided, as far as one may know. */
export async function proposal(organisation, name) {
  const view = await ask(`/proposals/${encodeURIComponent(organisation)}/${encodeURIComponent(name)}`);
  const { proposal: it, stage, step, reviews = [], reviewers = {}, judged } = view;
  const facts = [
    ["call", it.call], ["people", it.people.join(", ")], ["state", say(`stage.${stage}`)], ["next", told(step)],
    ...(judged ? [["judgement", say("judged", day(judged.at), judged.by, judged.ground)]] : []),
  ].map(([name, value]) => el("tr", {}, el("th", {}, say(name)), el("td", {}, value)));
  const budget = Object.entries(it.budget).map(([year, amount]) => [
    year, number(won(amount.won)), number(hours(amount.compute)),
  ]);
  // Whoever knows the reviewers reads in their lines what they say.
  const known = Object.entries(reviewers).map(([person, state]) => {
    const [name, { conflict, score, text }] = read(state);
    return [person, say(`reviewer.${name}`), number(score === undefined ? "" : `${score}`), text ?? conflict ?? ""];
  });
  const said = reviews.map(({ score, text }) => [number(`${score}`), text]);
  return [
    el("h1", {}, it.title), el("table", { id: "facts" }, ...facts),
    el("h2", {}, say("text")), el("p", { class: "text" }, it.text),
    el("h2", {}, say("asksFor")), table([say("year"), number(say("won")), number(say("hours"))], budget),
    el("h2", {}, say("reviews")),
    known.length ? table([say("reviewer"), say("state"), number(say("score")), say("review")], known)
      : said.length ? table([number(say("score")), say("review")], said) : quiet("noReviews"),
  ];
}

/** The whole of a list, which the hub tells in parts. */
async function whole(path) {
  return list(path, (it) => it.call?.id ?? it.proposal?.id ?? it.award?.id ?? it.proposal);
}

function award({ award, programme, holdings, course, step }) {
  const years = Object.entries(course.budget).map(([year, amount]) => [
    year, number(won(amount.won)), number(hours(amount.compute)),
    say(course.given.includes(Number(year)) ? "given" : "toCome"),
  ]);
  const of = (unit, read, tell) => {
    const parts = SHARES.map((name) => [name, read(holdings[name])]);
    const words = parts.filter(([name, n]) => n > 0 || name === "left").map(([name, n]) => `${say(name)} ${tell(n)}`);
    return el("p", { class: "bar" }, bar(parts), ` ${say(unit)}: ${words.join(", ")}`);
  };
  return el("article", { "data-award": award.id },
    el("h3", {}, `${award.id}: ${say("project")} ${award.project}, ${say(`programme.${programme}`)}`),
    of("won", (it) => it.won, won), of("hours", (it) => Number(it.compute) / HOUR, short),
    table([say("year"), number(say("won")), number(say("hours")), say("state")], years),
    ...(course.notice ? [el("p", {}, notice(course.notice))] : []),
    el("p", {}, `${say("next")}: ${told(step)}`));
}

function notice({ amount, until, ground }) {
  return say("notice", amount.won.toLocaleString("en"), hours(amount.compute), day(until), ground);
}

/** Parts of a whole, side by side. */
function bar(parts) {
  const share = ([name, n]) => {
    const element = el("span", { class: name, title: say(name) });
    element.style.flexGrow = n;
    return element;
  };
  return el("span", { class: "shares" }, ...parts.filter(([, n]) => n > 0).map(share));
}

// ---- what comes next ----

function told(step) {
  const [name, { until, on, missing, place, award }] = read(step);
  const when = until ?? on;
  return say(`step.${name}${name === "spend" && award ? ".project" : ""}`, when ? day(when) : missing ?? place ?? award ?? "");
}

function todo(id, step) {
  const [name] = read(step);
  if (!TO_DO.includes(name)) return null;
  return el("li", {}, `${id}: ${told(step)} `, el("code", {}, say(`do.${name}`, id)));
}

// ---- small things ----

const date = (millis) => el("time", {}, day(millis));

function total(budget) {
  const sum = { won: 0, compute: 0 };
  for (const { won, compute } of Object.values(budget)) {
    sum.won += won;
    sum.compute += Number(compute);
  }
  return sum;
}
