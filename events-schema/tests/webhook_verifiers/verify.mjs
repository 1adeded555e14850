// Verifies webhooks as a customer would. Each line is one, {headers, body, secret, publicKey} as
// JSON. It writes a line for each with what each verifier says: null, or why it refuses.

import { createPublicKey, verify } from "node:crypto";
import { text } from "node:stream/consumers";

import { HTTP } from "cloudevents";
import { Webhook } from "standardwebhooks";

// The library knows symmetric signatures only.
function verifySymmetric({ headers, body, secret }) {
  new Webhook(secret).verify(body, headers);
}

function verifyAsymmetric({ headers, body, publicKey }) {
  const x = Buffer.from(publicKey.replace(/^whpk_/, ""), "base64").toString("base64url");
  const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  const signed = `${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`;
  const signatures = headers["webhook-signature"]
    .split(" ")
    .filter((entry) => entry.startsWith("v1a,"))
    .map((entry) => Buffer.from(entry.slice("v1a,".length), "base64"));
  if (!signatures.some((signature) => verify(null, Buffer.from(signed), key, signature))) {
    throw new Error("No matching signature found");
  }
}

function readEvent({ headers, body }) {
  const event = HTTP.toEvent({ headers, body });
  event.validate();
  const sent = JSON.parse(body);
  // The library accepts any version.
  if (sent.specversion !== "1.0") {
    throw new Error(`the version is ${sent.specversion}`);
  }
  for (const name of ["id", "type", "source", "subject", "sequence", "timestamp"]) {
    if (event[name] !== sent[name]) {
      throw new Error(`${name} is ${event[name]} and not ${sent[name]}`);
    }
  }
}

function refusal(verifier, webhook) {
  try {
    verifier(webhook);
    return null;
  } catch (error) {
    return error.message;
  }
}

const lines = (await text(process.stdin)).split("\n").filter((line) => line !== "");
for (const webhook of lines.map((line) => JSON.parse(line))) {
  const verdict = {
    symmetric: refusal(verifySymmetric, webhook),
    asymmetric: refusal(verifyAsymmetric, webhook),
    event: refusal(readEvent, webhook),
  };
  console.log(JSON.stringify(verdict));
}
