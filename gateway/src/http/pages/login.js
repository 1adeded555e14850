// Logs a person in by any of the ways that the deployment has, and goes back to where they came from.
import { ASKS, LOGIN, SEND_CODE, busy, button, element, gql, hasPasskeys, told, usePasskey } from "./account.js";
import { whenProved } from "./prove.js";

const FAILED = {
  declined: "The log-in was cancelled.",
  unavailable: "The other party does not answer. Try again, or log in another way.",
  refused: "This log-in is not possible. Log in another way.",
  no_address: "The other party has no e-mail address of yours. Log in another way.",
  rate_limited: "There were too many log-ins. Please wait a while.",
  identity_taken: "Another account has this identity.",
  too_many_identities: "The account has too many identities. Remove one first.",
  email_taken: "Another account has this e-mail address.",
};

const [first, others, proof, why] = ["first", "others", "proof", "why"].map((id) => document.getElementById(id));
const status = document.querySelector("[role=status]");
const report = (text) => { status.textContent = text; };
const asked = new URLSearchParams(location.search);
const target = local(asked.get("return_to")) ?? "/account/security";
let waitingForPasskey = new AbortController();
let linking = null;

/** Returns a path of this deployment; null for any other place. */
function local(path) {
  if (!path?.startsWith("/") || /^\/[/\\]/.test(path)) return null;
  const url = new URL(path, location.origin);
  return url.origin === location.origin ? url.pathname + url.search + url.hash : null;
}

const methods = gql("{ loginMethods { password passkey emailCode providers { title startUrl } } loginChallenge { methods linking { title } } }");
methods.then(begin).catch((error) => report(told(error)));

function begin({ loginMethods, loginChallenge }) {
  const outcome = asked.get("login");
  if (outcome === "failed") report(FAILED[asked.get("reason")] ?? FAILED.refused);
  linking = loginChallenge?.linking?.title ?? null;
  if (outcome === "done" && linking) return confirmLink();
  if (outcome === "done" || outcome === "linked") return location.replace(target);
  if (linking) explain(`The e-mail address of your ${linking} account has an account here. Log in as before to link both.`);
  // Who has only heard that an identity waits logs in by any of the ways.
  if (["second_factor", "code"].includes(outcome) && loginChallenge) return prove(loginChallenge.methods);
  offer(loginMethods);
}

function explain(text) {
  why.textContent = text;
  why.hidden = false;
}

/** Shows the first factors. */
function offer({ password, passkey, emailCode, providers }) {
  first.hidden = !password && !emailCode;
  first.elements.password.required = password;
  document.getElementById("password").hidden = !password;
  first.querySelector("button").hidden = !password;
  const choices = [];
  if (emailCode) choices.push(button("Mail me a code", mailCode, report));
  if (passkey && hasPasskeys) {
    choices.push(button("Use a passkey", () => byPasskey(), report));
    offerPasskeys();
  }
  for (const { title, startUrl } of providers) {
    // Comes back to this page, which says what is left to do.
    const back = `/account/login?return_to=${encodeURIComponent(target)}`;
    choices.push(element("a", { href: `${startUrl}?return_to=${encodeURIComponent(back)}`, className: "button" }, `Continue with ${title}`));
  }
  others.replaceChildren(...choices);
}

/** Lets the browser offer passkeys in the address field, until another way is chosen. */
async function offerPasskeys() {
  if (!(await PublicKeyCredential.isConditionalMediationAvailable?.())) return;
  try {
    const response = await usePasskey("conditional", waitingForPasskey.signal);
    report((await logIn("Passkey", { response })) ?? "");
  } catch (error) {
    const text = told(error);
    if (text) report(text);
  }
}

async function byPasskey() {
  waitingForPasskey.abort();
  return logIn("Passkey", { response: await usePasskey() });
}

async function mailCode() {
  const email = first.elements.email;
  if (!email.reportValidity()) return;
  await gql(SEND_CODE, { email: email.value });
  prove(["EmailCode"], { email: email.value });
  return "If the address has an account, it has got a mail with a code.";
}

first.addEventListener("submit", (event) => {
  event.preventDefault();
  const { email, password } = first.elements;
  const params = { email: email.value, password: password.value };
  busy(first.querySelector("button"), () => logIn("Password", params), report);
});

/** Asks for one of these proofs. What is known already goes along with it. */
function prove(services, known = {}) {
  waitingForPasskey.abort();
  first.hidden = true;
  others.replaceChildren(button("Start again", () => location.replace(location.pathname + `?return_to=${encodeURIComponent(target)}`), report));
  const choose = (service) => {
    const { label, ...input } = ASKS[service];
    const field = element("input", { ...input, required: true });
    const send = element("button", {}, "Continue");
    const instead = services.filter((other) => other !== service && ASKS[other]);
    const switches = instead.map((other) => button(`Use: ${ASKS[other].label}`, () => choose(other), report));
    proof.replaceChildren(element("label", {}, `${label} `, field), send, ...switches);
    proof.hidden = false;
    field.focus();
    proof.onsubmit = (event) => {
      event.preventDefault();
      busy(send, () => logIn(service, { ...known, [input.name]: field.value }), report);
    };
  };
  choose(services.find((service) => ASKS[service]) ?? "EmailCode");
}

/** Sends a proof. Then the person is logged in, or must prove more. */
async function logIn(service, params) {
  const { account } = await gql(LOGIN, { input: { service, params } });
  const { session, challenge, passwordCompromised } = account.login;
  if (!session) {
    prove(challenge.methods);
    return "One more step.";
  }
  if (linking) return confirmLink();
  if (passwordCompromised) {
    explain("Your password was found in a data leak. Please change it.");
    first.hidden = proof.hidden = true;
    others.replaceChildren(
      element("a", { href: "/account/security", className: "button" }, "Change it"),
      element("a", { href: target, className: "button" }, "Later"),
    );
    return;
  }
  location.replace(target);
}

/** Nothing is linked without a click. */
function confirmLink() {
  explain(`You are logged in. Link your ${linking} account, so that you can log in with it, too?`);
  first.hidden = proof.hidden = true;
  const confirm = "mutation { credential { confirmLink { success } } }";
  const link = button(`Link ${linking}`, async () => {
    if (!(await whenProved(() => gql(confirm)))) return "Nothing is linked.";
    location.replace(target);
  }, report);
  others.replaceChildren(link, element("a", { href: target, className: "button" }, "Not now"));
}
