// What is owed for sites, month by month, and one invoice as it is printed.

import { ask, button, day, el, link, list, number, quiet, read, say, table, tongue, won } from "./parts.js";

export async function invoices() {
  const all = await list("/invoices", (it) => it.id);
  const rows = all.map((it) => [
    link(`#/invoices/${it.id}`, it.id), it.owner, say(`invoice.${it.state}`), number(won(it.settled)), number(won(it.corrected)),
    number(won(it.total)), number(won(it.unpaid)), next(it),
  ]);
  const head = [
    say("invoice"), say("owner"), say("state"), number(say("settled")), number(say("corrected")), number(say("total")),
    number(say("unpaid")), say("next"),
  ];
  return [el("h1", {}, say("invoices")), el("section", { id: "invoices" }, table(head, rows))];
}

export async function invoice(month, site) {
  const path = `/invoices/${encodeURIComponent(month)}/${encodeURIComponent(site)}`;
  const [sheet, organisations] = await Promise.all([ask(path), list("/organisations", (it) => it.id)]);
  const { invoice: it, lines, corrections, bill, differences, resolved, payments } = sheet;
  const owner = organisations.find(({ id }) => id === it.owner);
  const facts = [
    ["owedTo", owner ? owner[tongue() === "ko" ? "name_ko" : "name"] : it.owner], ["site", site], ["month", month],
    ["serial", it.issued ? `${it.issued.serial}` : "–"], ["issuedOn", it.issued ? day(it.issued.at) : "–"],
    ["state", say(`invoice.${it.state}`)], ["next", next(it)],
  ].map(([name, value]) => el("tr", {}, el("th", {}, say(name)), el("td", {}, value)));
  // Awards are told to whoever may audit.
  const paidFrom = [...lines, ...corrections].some(({ award }) => award) ? [say("award")] : [];
  const from = ({ award }) => paidFrom.map(() => award ?? "");
  const sums = [["settled", it.settled], ["corrected", it.corrected], ["total", it.total], ["unpaid", it.unpaid]];
  const part = (name, head, rows) => rows.length ? [el("section", { id: name }, el("h2", {}, say(name)), table(head, rows))] : [];
  return [
    el("h1", {}, `${say("invoice")} ${it.id}`), el("table", { id: "facts" }, ...facts),
    ...part("lines", [say("job"), say("project"), ...paidFrom, say("usedIn"), number(say("hours")), number(say("price")), number(say("won"))],
      lines.map((line) => [line.job, line.project, ...from(line), line.of, number(exact(line.compute)), number(won(line.price)), number(won(line.won))])),
    ...part("corrections", [say("job"), say("ofInvoice"), ...paidFrom, number(say("won")), say("ground")],
      corrections.map((it) => [it.job, link(`#/invoices/${it.invoice}`, it.invoice), ...from(it), number(won(it.won)), it.ground])),
    el("table", { id: "sum" }, ...sums.map(([name, amount]) => el("tr", {}, el("th", {}, say(name)), el("td", { class: "number" }, won(amount))))),
    ...part("payments", [say("paidOn"), number(say("won")), say("by"), say("reference")],
      payments.map((it) => [day(it.at), number(won(it.won)), it.by, it.reference])),
    ...(bill ? [el("p", { id: "billed" }, say("billed", won(total(bill)), say(differences.length ? "differs" : "same")))] : []),
    ...part("differences", [say("job"), number(say("invoiced")), number(say("billedWon")), number(say("metered")), number(say("billedHours")), say("reason")],
      differences.map((it) => [what(it.of), number(won(it.invoiced)), number(won(it.billed)), number(exact(it.metered)),
        number(it.compute === null ? "–" : exact(it.compute)), say(`reason.${it.reason}`)])),
    ...(resolved === null ? [] : [el("p", { id: "resolved" }, say("decided", resolved))]),
    button(say("print"), () => print()),
  ];
}

/** A bill's line is for a job, or for a project's jobs. */
const what = ({ job, project }) => job ?? `${say("project")} ${project}`;

const total = ({ lines }) => lines.reduce((sum, line) => sum + line.won, 0);

/** PFLOP-hours to nine decimals. */
function exact(compute) {
  const billionths = `${BigInt(compute) / 3_600_000_000n}`.padStart(10, "0");
  return `${billionths.slice(0, -9)}.${billionths.slice(-9)}`;
}

/** What comes next, with the command for it if that is the asker's to do. */
function next({ id, step }) {
  const [name, { until, most }] = read(step);
  const told = say(`owed.${name}`, until === undefined ? won(most ?? 0) : day(until - 1));
  const command = { issue: `issue ${id}`, bill: `bill ${id} FILE`, correct: `correct ${id} --ground WHY`,
    pay: `pay ${id} --won ${most} --reference REFERENCE` }[name];
  return command ? el("span", {}, `${told} `, el("code", {}, `khub invoices ${command}`)) : told;
}
