// Runs the example of docs/webhooks.md as a customer would paste it. It reads {example, headers, body,
// secret} as JSON, and writes {event} or {refusal}.

import { writeFile } from "node:fs/promises";
import { text } from "node:stream/consumers";

const { example, secret, body, headers } = JSON.parse(await text(process.stdin));
Object.assign(globalThis, { secret, body, headers });
await writeFile("pasted.mjs", `${example}\nexport { event };\n`);
try {
  const { event } = await import("./pasted.mjs");
  console.log(JSON.stringify({ event }));
} catch (refusal) {
  console.log(JSON.stringify({ refusal: refusal.constructor.name }));
}
