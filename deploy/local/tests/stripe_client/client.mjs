// Uses the development Stripe as a program would that knows Stripe only. It gets the port and the
// key as arguments, and writes what it has seen as JSON.

import { once } from "node:events";
import { createServer } from "node:http";
import { text } from "node:stream/consumers";

import Stripe from "stripe";

const [port, key] = process.argv.slice(2);
const stripe = new Stripe(key, {
  host: "127.0.0.1",
  port: Number(port),
  protocol: "http",
  maxNetworkRetries: 2,
});

// Receives one event of this type, and verifies it with the library.
async function receive(type, act) {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${server.address().port}/`;
  const endpoint = await stripe.webhookEndpoints.create({ url, enabled_events: [type] });
  const acted = act();
  const [request, response] = await once(server, "request");
  const body = await text(request);
  response.end();
  const signature = request.headers["stripe-signature"];
  const event = stripe.webhooks.constructEvent(body, signature, endpoint.secret);
  let forged = null;
  try {
    stripe.webhooks.constructEvent(body, signature, "whsec_other");
  } catch (error) {
    forged = error.type;
  }
  await stripe.webhookEndpoints.del(endpoint.id);
  server.closeAllConnections();
  server.close();
  return { acted: await acted, event: event.type, forged };
}

async function refusal(promise) {
  try {
    await promise;
    return null;
  } catch (error) {
    return { type: error.type, code: error.code, decline: error.decline_code, param: error.param };
  }
}

const customer = await stripe.customers.create({ name: "Ada", metadata: { ub_tenant: "t1" } });
const intent = await stripe.setupIntents.create({ customer: customer.id, usage: "off_session" });
const confirmed = await stripe.setupIntents.confirm(intent.id, { payment_method: "pm_card_visa" });
await stripe.customers.update(customer.id, {
  invoice_settings: { default_payment_method: confirmed.payment_method },
});
const price = (amount) =>
  stripe.prices.create({
    currency: "jpy",
    unit_amount: amount,
    recurring: { interval: "month" },
    product_data: { name: "Pro" },
  });
const [small, large] = [await price(500), await price(1500)];
const { acted: subscription, event, forged } = await receive("customer.subscription.created", () =>
  stripe.subscriptions.create({
    customer: customer.id,
    items: [{ price: small.id, quantity: 3 }],
    expand: ["latest_invoice"],
  }),
);
const preview = await stripe.invoices.createPreview({
  customer: customer.id,
  subscription: subscription.id,
  subscription_details: {
    items: [{ id: subscription.items.data[0].id, price: large.id }],
    proration_behavior: "always_invoice",
    proration_date: subscription.items.data[0].current_period_start,
  },
});
const declined = await refusal(
  stripe.paymentMethods.attach("pm_card_chargeDeclined", { customer: customer.id }),
);
const unknown = await refusal(stripe.customers.create({ nmae: "Eve" }));
const canceled = await stripe.subscriptions.cancel(subscription.id);
const names = [];
for await (const found of stripe.events.list({ limit: 3 })) {
  names.push(found.type);
}

console.log(
  JSON.stringify({
    intent: confirmed.status,
    subscription: subscription.status,
    paid: subscription.latest_invoice.amount_paid,
    preview: preview.total,
    event,
    forged,
    declined,
    unknown,
    canceled: canceled.status,
    events: names.length,
    last: names[0],
  }),
);
