// An OpenID Connect provider that takes anyone at their word: whoever types a login is that account, whatever the password.
// It prints its issuer, reads the address that a client is sent back to from its standard input, and ends with that input.

import { createServer } from "node:http";
import { createInterface } from "node:readline";
import Provider from "oidc-provider";

const server = createServer();
// To a browser another site than a hub at 127.0.0.1.
const issuer = () => `http://localhost:${server.address().port}`;
server.listen(0, "127.0.0.1", () => console.log(issuer()));

const input = createInterface({ input: process.stdin });
input.once("line", (redirect) => {
  const provider = new Provider(issuer(), {
    clients: [{ client_id: "khub", client_secret: "a secret of tests", redirect_uris: [redirect] }],
    cookies: { keys: ["for tests"] },
    pkce: { required: () => true },
  });
  server.on("request", provider.callback());
  console.log("ready");
});
input.once("close", () => process.exit());
