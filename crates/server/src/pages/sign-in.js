// Signing in and out: with the hub's provider if it has one, by an invitation the first time, or with a token.

import { ask, el, keep, kept, refusal, say, send } from "./parts.js";

/** Whether the browser has a session; unknown until the hub was asked. */
let session;

/** Whether somebody is signed in, by a pasted token or a session. */
export async function isSignedIn() {
  if (kept("token") !== null) return true;
  if (session === undefined) {
    session = await ask("/me").then(() => true, (error) => {
      if (error.problem?.status === 401) return false;
      // Whoever is known and kept out is told so by every page.
      if (error.problem) return true;
      throw error;
    });
  }
  return session;
}

/** What was kept isn't worth anything any more. */
export function forget() {
  keep("token", null);
  session = false;
}

/** A token is forgotten, and goes on elsewhere; a session ends. */
export async function signOut() {
  if (kept("token") === null) await send("DELETE", "/session");
  forget();
}

/** The page to sign in on; `told` stands above, and `done` is called when a token was pasted. */
export async function signIn(told, done) {
  const { provider } = await ask("/sign-in");
  const no = told ? [el("p", { class: "no", role: "alert" }, told)] : [];
  const ways = provider ? [...withProvider(provider), el("h2", {}, say("orToken"))] : [];
  return [el("h1", {}, say("signIn")), ...no, ...ways, el("p", {}, say("signInHow")), withToken(done)];
}

function withProvider(provider) {
  const place = el("div", {});
  const go = async (invitation) => {
    const page = location.hash.startsWith("#/") ? location.hash : undefined;
    const { address } = await send("POST", "/sign-in", { page, invitation });
    location.href = address;
  };
  const begin = (invitation) => go(invitation).catch((error) => place.replaceChildren(refusal(error)));
  const plain = form("with-provider", [], say("signInWith", new URL(provider).host), () => begin());
  const code = el("input", { id: "invitation", autocomplete: "off", spellcheck: "false" });
  const name = el("input", { id: "name", autocomplete: "off", spellcheck: "false" });
  const invited = form("with-invitation", [
    el("p", {}, el("label", { for: "invitation" }, say("invitation"))), code,
    el("p", {}, el("label", { for: "name" }, say("chosenName"))), name, " ",
  ], say("accept"), () => begin({ code: code.value.trim(), name: name.value.trim() || null }));
  return [plain, place, el("details", {}, el("summary", {}, say("invited")), invited)];
}

function withToken(done) {
  const input = el("input", { type: "password", id: "token", autocomplete: "off", spellcheck: "false" });
  const label = el("p", {}, el("label", { for: "token" }, say("token")));
  return form("with-token", [label, input, " "], say("signIn"), () => {
    // Others than these can't travel in a header.
    const token = input.value.replace(/[^!-~]/g, "");
    if (token) keep("token", token);
    done(token ? undefined : say("noToken"));
  });
}

function form(id, parts, text, submitted) {
  const element = el("form", { id }, ...parts, el("button", {}, text));
  element.addEventListener("submit", (event) => { event.preventDefault(); submitted(); });
  return element;
}
