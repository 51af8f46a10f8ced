// What `khub login` waits for: its code is typed or comes in the address, and whoever is signed in says yes or no.

import { ask, button, el, refusal, say, send } from "./parts.js";

/** The page of a code; without one, where to type it. */
export async function device(code) {
  if (!code) return typed();
  const asks = await ask(`/devices?code=${encodeURIComponent(code)}`);
  const place = el("div", { id: "answer" });
  const answer = (allow) => send("POST", "/devices", { code, allow }).then(
    () => place.replaceChildren(el("p", { role: "status", "data-answer": `${allow}` }, say(allow ? "letIn" : "notLetIn"))),
    (error) => place.replaceChildren(refusal(error)),
  );
  place.append(button(say("letItIn"), () => answer(true)), " ", button(say("refuseIt"), () => answer(false)));
  const facts = [
    ["code", el("code", {}, code)], ["scope", say(`scope.${asks.scope}`)], ["from", asks.from ?? "–"],
    ["since", new Date(asks.began).toLocaleTimeString()],
  ];
  const rows = facts.map(([name, value]) => el("tr", {}, el("th", {}, say(name)), el("td", {}, value)));
  return [el("h1", {}, say("device")), el("table", { id: "facts" }, ...rows), el("p", {}, say("deviceCaution")), place];
}

function typed() {
  const input = el("input", { id: "code", autocomplete: "off", spellcheck: "false" });
  const form = el("form", {}, el("p", {}, el("label", { for: "code" }, say("deviceCode"))), input, " ",
    el("button", {}, say("goOn")));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    location.hash = `#/device/${encodeURIComponent(input.value.trim())}`;
  });
  return [el("h1", {}, say("device")), form];
}
