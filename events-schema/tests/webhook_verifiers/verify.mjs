// Verifies one webhook as a customer would. It reads {headers, body, secret, publicKey} as JSON, and
// writes what each verifier says: null, or why it refuses the webhook.

import { createPublicKey, verify } from "node:crypto";
import { text } from "node:stream/consumers";

import { HTTP } from "cloudevents";
import { Webhook } from "standardwebhooks";

const { headers, body, secret, publicKey } = JSON.parse(await text(process.stdin));

// The library knows symmetric signatures only.
function verifySymmetric() {
  new Webhook(secret).verify(body, headers);
}

function verifyAsymmetric() {
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

function readEvent() {
  HTTP.toEvent({ headers, body }).validate();
}

function refusal(verifier) {
  try {
    verifier();
    return null;
  } catch (error) {
    return error.message;
  }
}

console.log(
  JSON.stringify({
    symmetric: refusal(verifySymmetric),
    asymmetric: refusal(verifyAsymmetric),
    event: refusal(readEvent),
  }),
);
