// Signs texts as Stripe does. Each line of the input is a request: {payload, secret, timestamp}.
import { createInterface } from "node:readline";
import Stripe from "stripe";

const stripe = new Stripe("sk_test_unused");
for await (const line of createInterface({ input: process.stdin })) {
  console.log(stripe.webhooks.generateTestHeaderString(JSON.parse(line)));
}
