// Asks a person for values in a dialog, and lets them prove again who they are.
import { ASKS, SEND_CODE, STEP_UP, element, gql, hasPasskeys, usePasskey } from "./account.js";

const questions = element("form", { method: "dialog" });
const dialog = element("dialog", {}, questions);
document.body.append(dialog);

/** Asks for values in a dialog. Returns them by name; null if the person ends it. */
export function ask(title, fields, ...more) {
  const inputs = fields.map(({ label, ...input }) => element("label", {}, `${label} `, element("input", { required: true, ...input })));
  const cancel = element("button", { type: "button" }, fields.length ? "Cancel" : "Done");
  const buttons = fields.length ? [element("button", { value: "ok" }, "Continue"), cancel] : [cancel];
  cancel.addEventListener("click", () => dialog.close(""));
  questions.replaceChildren(element("h2", {}, title), ...inputs, ...more, ...buttons);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "ok" ? Object.fromEntries(new FormData(questions)) : null);
      // Passwords and codes do not stay in the page.
      questions.replaceChildren();
    }, { once: true });
  });
}

/** Lets the person prove again who they are. Returns whether they have. */
async function stepUp(methods) {
  if (methods.includes("Passkey") && hasPasskeys) {
    await gql(STEP_UP, { input: { service: "Passkey", params: { response: await usePasskey() } } });
    return true;
  }
  const service = methods.find((method) => ASKS[method]);
  if (!service) throw new Error("Log in again to do this.");
  if (service === "EmailCode") {
    const { profile } = await gql("{ profile { email } }");
    await gql(SEND_CODE, { email: profile.email });
  }
  const others = methods.filter((method) => method !== service && ASKS[method]);
  let instead = null;
  const switches = others.map((other) => {
    const choose = element("button", { type: "button" }, `Use: ${ASKS[other].label}`);
    choose.addEventListener("click", () => { instead = other; dialog.close(""); });
    return choose;
  });
  const params = await ask("Prove that it is you", [ASKS[service]], ...switches);
  if (instead) return stepUp([instead, ...methods.filter((method) => method !== instead)]);
  if (!params) return false;
  await gql(STEP_UP, { input: { service, params } });
  return true;
}

/** Does something. If that needs a proof of who the person is, asks for one, and does it then. Returns whether it is done. */
export async function whenProved(action) {
  try {
    await action();
  } catch (error) {
    if (error.code !== "STEP_UP_REQUIRED") throw error;
    if (!(await stepUp(error.methods))) return false;
    await action();
  }
  return true;
}
