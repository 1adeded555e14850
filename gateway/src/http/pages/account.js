// What the pages of an account share: requests, and buttons that send them.

/** An error of the API, with its `code`, the input `field` that is wrong, and the `methods` that help. */
export class Refused extends Error {
  constructor({ message, extensions }) {
    super(message);
    Object.assign(this, extensions);
  }
}

/** Sends an operation and returns its data. Throws `Refused` if a part of it is refused. */
export async function gql(query, variables) {
  let response;
  try {
    response = await fetch("/graphql", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ query, variables }),
    });
    response = await response.json();
  } catch {
    throw new Error("The server could not be reached. Please try again.");
  }
  if (response.errors) throw new Refused(response.errors[0]);
  return response.data;
}

/** The error of something that the person has cancelled. */
export const cancelled = () => new DOMException("The person has cancelled it.", "AbortError");

/** Returns what a failure means to a person; null if the person has cancelled it. */
export function told(error) {
  if (error.name === "NotAllowedError" || error.name === "AbortError") return null;
  if (error.name === "InvalidStateError") return "This device has a passkey of the account already.";
  return error.message;
}

/** Logs in, or proves more, by one of the services. */
export const LOGIN = `mutation($input: LoginInput!) { account { login(input: $input) {
  session { id } passwordCompromised challenge { methods linking { title } } } } }`;
export const STEP_UP = "mutation($input: LoginInput!) { account { stepUp(input: $input) { session { id } } } }";

/** Mails a code, or a link to set a new password, to an address. */
export const SEND_CODE = `mutation($email: String!) {
  account { sendLoginCode(input: { email: $email }) { success } } }`;
export const SEND_RESET = `mutation($email: String!) {
  account { sendResetPasswordEmail(input: { email: $email }) { success } } }`;

/** How a form asks for what a service needs. */
export const ASKS = {
  Password: { label: "Password", name: "password", type: "password", autocomplete: "current-password" },
  EmailCode: { label: "Code from the mail", name: "code", autocomplete: "one-time-code", inputMode: "numeric" },
  Totp: { label: "Code of your authenticator app", name: "code", autocomplete: "one-time-code", inputMode: "numeric" },
  RecoveryCode: { label: "Recovery code", name: "code", autocomplete: "off" },
};

/** Makes an element. Text is never read as HTML. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Makes a button that says what it does, and cannot be pressed twice. */
export function button(text, action, report) {
  const made = element("button", { type: "button" }, text);
  made.addEventListener("click", () => busy(made, action, report));
  return made;
}

/** Disables a button during an action, and reports how it has ended. */
export async function busy(pressed, action, report) {
  pressed.disabled = true;
  report("…");
  try {
    report((await action()) ?? "");
  } catch (error) {
    report(told(error) ?? "");
  }
  pressed.disabled = false;
  // A disabled button loses the focus.
  if (document.activeElement === document.body) pressed.focus();
}
