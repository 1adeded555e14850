// Logs a person in by any of the ways that the deployment has, and goes back to where they came from.
import { ASKS, LOGIN, SEND_CODE, SEND_RESET, busy, button, element, gql, told } from "./account.js";
import { failure } from "./outcomes.js";
import { hasPasskeys, offerPasskeys, usePasskey } from "./passkeys.js";
import { local, loginPage } from "./places.js";
import { whenProved } from "./prove.js";

const [first, issuer, others, proof, why] = ["first", "issuer", "others", "proof", "why"]
  .map((id) => document.getElementById(id));
const status = document.querySelector("[role=status]");
const report = (text) => { status.textContent = text; };
const asked = new URLSearchParams(location.search);
const target = local(asked.get("return_to")) ?? "/account/security";
let isCompromised = false;
let stopOffering = () => {};

const METHODS = `{
  loginMethods { password passkey emailCode providers { title startUrl } }
  loginChallenge { methods linking { title } }
}`;
const ISSUER = "query($email: String!) { loginMethods(email: $email) { sso { title startUrl } } }";
gql(METHODS).then(begin).catch((error) => report(told(error)));

function begin({ loginMethods, loginChallenge }) {
  const outcome = asked.get("login");
  if (outcome === "done") {
    return arrive().catch((error) => {
      if (error.code !== "UNAUTHENTICATED") throw error;
      offer(loginMethods);
    });
  }
  if (outcome === "linked") return leave();
  if (outcome === "failed") report(failure(asked.get("reason")));
  if (loginChallenge?.linking) {
    const { title } = loginChallenge.linking;
    explain(`The e-mail address of your ${title} account has an account here. Log in as before to link both.`);
  }
  // Who has only heard that an identity waits logs in by any of the ways.
  if (!loginChallenge || !["second_factor", "code"].includes(outcome)) return offer(loginMethods);
  if (outcome === "code") explain("The e-mail address must be proved. A code was mailed to it.");
  prove(loginChallenge.methods);
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
    choices.push(button("Use a passkey", byPasskey, report));
    letFieldOffer();
  }
  for (const provider of providers) choices.push(leadTo(provider, "Continue with"));
  if (password) choices.push(button("Forgot the password?", mailReset, report));
  others.replaceChildren(...choices);
}

/** Comes back to this page, which says what is left to do. */
function leadTo({ title, startUrl }, how) {
  const href = `${startUrl}?return_to=${encodeURIComponent(loginPage(target))}`;
  return element("a", { href, className: "button" }, `${how} ${title}`);
}

/** Offers the issuer of the organization that the address belongs to. */
async function offerIssuer() {
  const { email } = first.elements;
  const asked = email.value;
  issuer.hidden = true;
  if (!asked || !email.checkValidity()) return;
  const { loginMethods } = await gql(ISSUER, { email: asked });
  if (email.value !== asked || !loginMethods.sso) return;
  issuer.replaceChildren(leadTo(loginMethods.sso, "Log in with"));
  issuer.hidden = false;
}

// The other ways remain if there is no answer.
first.elements.email.addEventListener("change", () => offerIssuer().catch(() => {}));

function letFieldOffer() {
  stopOffering = offerPasskeys((response) => logIn("Passkey", { response }), report);
}

async function byPasskey() {
  // A request that comes later would replace this one.
  await stopOffering();
  try {
    return await logIn("Passkey", { response: await usePasskey() });
  } catch (error) {
    letFieldOffer();
    throw error;
  }
}

async function mailCode() {
  const email = first.elements.email;
  if (!email.reportValidity()) return;
  await gql(SEND_CODE, { email: email.value });
  prove(["EmailCode"], { email: email.value });
  return "If the address has an account, it has got a mail with a code.";
}

async function mailReset() {
  const email = first.elements.email;
  if (!email.reportValidity()) return;
  await gql(SEND_RESET, { email: email.value });
  return "If the address has an account, it has got a mail with a link to set a new password.";
}

first.addEventListener("submit", (event) => {
  event.preventDefault();
  const { email, password } = first.elements;
  const params = { email: email.value, password: password.value };
  busy(first.querySelector("button"), () => logIn("Password", params), report);
});

/** Asks for one of these proofs. What is known already goes along with it. */
function prove(services, known = {}) {
  stopOffering();
  first.hidden = true;
  others.replaceChildren(button("Start again", () => location.replace(loginPage(target)), report));
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
  isCompromised ||= passwordCompromised;
  if (session) return arrive();
  prove(challenge.methods);
  return "One more step.";
}

/** Asks a person who is logged in whether to link the identity that waits, if one does. */
async function arrive() {
  stopOffering();
  const { loginChallenge } = await gql("{ profile { id } loginChallenge { linking { title } } }").catch((error) => {
    // A session by the issuer of an organization shows nothing of the account, and links nothing to it.
    if (error.code === "STEP_UP_REQUIRED") return {};
    throw error;
  });
  return loginChallenge?.linking ? confirmLink(loginChallenge.linking.title) : leave();
}

/** Nothing is linked without a click. */
function confirmLink(title) {
  explain(`You are logged in. Link your ${title} account, so that you can log in with it, too?`);
  first.hidden = proof.hidden = true;
  const link = button(`Link ${title}`, async () => {
    await whenProved(() => gql("mutation { credential { confirmLink { success } } }"));
    return leave();
  }, report);
  others.replaceChildren(link, button("Not now", leave, report));
}

/** Goes where the person wants to, unless they should hear of something first. */
function leave() {
  if (!isCompromised) return location.replace(target);
  explain("You are logged in. Your password was found in a data leak. Please change it.");
  first.hidden = proof.hidden = true;
  others.replaceChildren(
    element("a", { href: "/account/security", className: "button" }, "Change it"),
    element("a", { href: target, className: "button" }, "Later"),
  );
}
