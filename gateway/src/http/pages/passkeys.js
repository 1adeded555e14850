// Passkeys of this browser.
import { gql, told } from "./account.js";

/** Whether this browser has passkeys. */
export const hasPasskeys = Boolean(globalThis.PublicKeyCredential?.parseRequestOptionsFromJSON);

/** Asks the browser for a passkey; returns its answer. With `mediation`, the address field offers them. */
export async function usePasskey(mediation, signal) {
  const { account } = await gql("mutation { account { startPasskey } }");
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(account.startPasskey);
  return (await navigator.credentials.get({ publicKey, mediation, signal })).toJSON();
}

/** Has the browser make a passkey, and adds it to the account. */
export async function addPasskey(name) {
  const { credential } = await gql("mutation { credential { startPasskey } }");
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(credential.startPasskey);
  const response = (await navigator.credentials.create({ publicKey })).toJSON();
  const add = `mutation($name: String!, $response: JSON!) {
    credential { addPasskey(name: $name, response: $response) { id } } }`;
  return gql(add, { name, response });
}

/** Removes a passkey, and tells the browser not to offer it any more. */
export async function removePasskey(id) {
  const { credential } = await gql(
    "mutation($id: ID!) { credential { removePasskey(id: $id) { unknownCredential allAcceptedCredentials } } }",
    { id },
  );
  const { unknownCredential, allAcceptedCredentials } = credential.removePasskey;
  const browser = globalThis.PublicKeyCredential;
  try {
    if (unknownCredential) await browser?.signalUnknownCredential?.(unknownCredential);
    await browser?.signalAllAcceptedCredentials?.(allAcceptedCredentials);
  } catch {
    // The passkey is removed, whatever the browser thinks of it.
  }
}

/** How long a request for a passkey is good. The server takes an answer within five minutes. */
const GOOD_MS = 4 * 60 * 1000;
/** The first and the longest pause after a failure: a browser may refuse at once, again and again. */
const PAUSES_MS = [1000, GOOD_MS];

const isSeen = () => document.visibilityState === "visible";

/**
 * Lets the browser offer passkeys in the address field, and logs in by the one that the person takes.
 * Returns a function that ends this, and waits until no request is left.
 *
 * Each request replaces the one before in the cookie, which all windows share. So it asks again
 * before a request ends, and when the person comes back to this window.
 */
export function offerPasskeys(logIn, report) {
  const end = new AbortController();
  const ended = offer(end.signal, logIn, report);
  return () => {
    end.abort();
    return ended;
  };
}

async function offer(end, logIn, report) {
  if (!(await PublicKeyCredential.isConditionalMediationAvailable?.())) return;
  let [pauseMs, longestMs] = PAUSES_MS;
  while (!end.aborted) {
    try {
      const response = await askOnce(end);
      if (!response) continue;
      report((await logIn(response)) ?? "");
      return;
    } catch (error) {
      const text = reasonOf(error);
      if (text) report(text);
      await pause(pauseMs, end);
      pauseMs = Math.min(2 * pauseMs, longestMs);
    }
  }
}

/** Asks the browser while the request is good. Returns its answer; null if it must be asked again. */
async function askOnce(end) {
  await seen(end);
  if (end.aborted) return null;
  const request = new AbortController();
  const { signal } = request;
  const again = () => request.abort();
  const timer = setTimeout(again, GOOD_MS);
  end.addEventListener("abort", again, { signal });
  document.addEventListener("visibilitychange", () => isSeen() && again(), { signal });
  try {
    return await usePasskey("conditional", signal);
  } catch (error) {
    if (signal.aborted) return null;
    throw error;
  } finally {
    clearTimeout(timer);
    again();
  }
}

/** Waits until the person looks at this window, or until the end. */
const seen = (end) => new Promise((resolve) => {
  const look = () => (end.aborted || isSeen()) && resolve();
  document.addEventListener("visibilitychange", look, { signal: end });
  end.addEventListener("abort", look);
  look();
});

/** Waits for a time, or until the end. */
const pause = (ms, end) => new Promise((resolve) => {
  setTimeout(resolve, ms);
  end.addEventListener("abort", resolve);
});

function reasonOf(error) {
  if (error.field !== "response") return told(error);
  return "The passkey was not accepted. Another window may have asked for it, too. Please try again.";
}
