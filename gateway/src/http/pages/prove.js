// Asks a person for values in a dialog, and lets them prove again who they are.
import { ASKS, SEND_CODE, STEP_UP, cancelled, element, gql, told } from "./account.js";
import { hasPasskeys, usePasskey } from "./passkeys.js";

const questions = element("form", { method: "dialog" });
const dialog = element("dialog", {}, questions);
dialog.setAttribute("aria-labelledby", "question");
document.body.append(dialog);

/** Whether only a button closes the dialog. */
let isLocked = false;
// Browsers close a dialog by the second Escape, whatever becomes of the first `cancel`.
dialog.addEventListener("keydown", (event) => isLocked && event.key === "Escape" && event.preventDefault());
dialog.addEventListener("cancel", (event) => isLocked && event.preventDefault());

/** Shows a form until a button ends it. Returns its value, "" if the person cancels, and the inputs by name. */
function open(title, parts, mayCancel = true) {
  const cancel = element("button", { type: "button" }, "Cancel");
  cancel.addEventListener("click", () => dialog.close(""));
  questions.replaceChildren(element("h2", { id: "question" }, title), ...parts, mayCancel ? cancel : "");
  isLocked = !mayCancel;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const answer = { pressed: dialog.returnValue, values: Object.fromEntries(new FormData(questions)) };
      // Passwords and codes do not stay in the page.
      questions.replaceChildren();
      resolve(answer);
    }, { once: true });
  });
}

const note = (text) => (text ? element("p", { role: "alert" }, text) : "");
const input = ({ label, ...properties }) =>
  element("label", {}, `${label} `, element("input", { required: true, autofocus: true, ...properties }));
const submit = (text, value = "ok") => element("button", { value, formNoValidate: value !== "ok" }, text);

/** Asks for values. Returns them by name. Throws an `AbortError` if the person cancels. */
export async function ask(title, fields, { more = [], confirm = "Continue", mayCancel = true } = {}) {
  const { pressed, values } = await open(title, [...more, ...fields.map(input), submit(confirm)], mayCancel);
  if (!pressed) throw cancelled();
  return values;
}

/** Asks for values, and again with what is wrong with them, until `use` takes them. Returns what it returns. */
export async function askUntil(title, fields, use, { more = [], ...options } = {}) {
  for (let wrong = ""; ;) {
    const values = await ask(title, fields, { more: [...more, note(wrong)], ...options });
    try {
      return await use(values);
    } catch (error) {
      if (error.code !== "BAD_USER_INPUT") throw error;
      wrong = error.message;
    }
  }
}

/** Lets the person prove again who they are, in a way of their choice. Returns that way. */
async function stepUp(methods) {
  const ways = methods.filter((method) => ASKS[method] || (method === "Passkey" && hasPasskeys));
  if (!ways.length) throw new Error("Log in again to do this.");
  let [way] = ways;
  let said = await prepare(way);
  for (;;) {
    const { pressed, values } = await open("Prove that it is you", proofForm(way, ways, said));
    if (!pressed) throw cancelled();
    if (pressed === "ok") {
      said = await tryProof(way, values);
      if (said === null) return way;
    } else {
      way = pressed;
      said = await prepare(way);
    }
  }
}

function proofForm(way, ways, said) {
  const use = (other) => (ASKS[other] ? `Use: ${ASKS[other].label}` : "Use a passkey");
  const switches = ways.filter((other) => other !== way).map((other) => submit(use(other), other));
  const own = ASKS[way] ? [input(ASKS[way]), submit("Continue")] : [submit(use(way))];
  return [note(said), ...own, ...switches];
}

/** The address of the account. A session by the issuer of an organization does not show it, so the person says it. */
async function address() {
  try {
    const { profile } = await gql("{ profile { email } }");
    return profile.email;
  } catch (error) {
    if (error.code !== "STEP_UP_REQUIRED") throw error;
    const field = { label: "E-mail", name: "email", type: "email", autocomplete: "email" };
    const { email } = await ask("Where is the code to go?", [field]);
    return email;
  }
}

/** Does what a way needs before the person is asked. Returns what they should know. */
async function prepare(way) {
  if (way !== "EmailCode") return "";
  const email = await address();
  try {
    await gql(SEND_CODE, { email });
    return `A code was mailed to ${email}.`;
  } catch (error) {
    // A code from before may still be valid.
    return told(error);
  }
}

/** Returns what is wrong with a proof; null if it counts. */
async function tryProof(way, values) {
  try {
    const params = ASKS[way] ? values : { response: await usePasskey() };
    await gql(STEP_UP, { input: { service: way, params } });
    return null;
  } catch (error) {
    if (error.code === "UNAUTHENTICATED") throw error;
    return told(error) ?? "No passkey was used. Try again, or choose another way.";
  }
}

/** Proofs that an operation needs at most: two factors, and one again that has become too old meanwhile. */
const MOST_PROOFS = 3;
const factor = (method) => (method === "Totp" || method === "RecoveryCode" ? "second" : "first");

/** Does something, and asks for proofs of who the person is as long as it needs them. Returns what it returns. */
export async function whenProved(action) {
  const proved = new Set();
  for (let proofs = 0; ; proofs++) {
    try {
      return await action();
    } catch (error) {
      if (error.code !== "STEP_UP_REQUIRED" || proofs === MOST_PROOFS) throw error;
      const isProved = (method) => proved.has(factor(method));
      const missingFirst = [...error.methods].sort((a, b) => isProved(a) - isProved(b));
      proved.add(factor(await stepUp(missingFirst)));
    }
  }
}
