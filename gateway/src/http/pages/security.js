// Shows how a person can log in, on which devices they are, and lets them change all of it.
import { ASKS, addPasskey, button, element, gql, hasPasskeys, told } from "./account.js";
import { ask, whenProved } from "./prove.js";

const ALL = `{
  profile { email }
  loginMethods { passkey providers { name title } }
  credentials {
    hasPassword totpEnrolledAt recoveryCodesLeft
    identities { id provider linkedAt }
    passkeys { id name addedAt lastUsedAt suspendedAt }
  }
  sessions { id name device startedAt lastUsedAt current authentication { aal } }
  accountActivity(first: 20) { nodes { at event address device } }
}`;

const status = document.querySelector("[role=status]");
const report = (text) => { status.textContent = text; };

const time = (text) => (text ? new Date(text).toLocaleString() : "never");
const fill = (id, ...children) => document.getElementById(id).replaceChildren(...children.filter(Boolean));
const note = (text) => element("p", {}, text);
const list = (items) => element("ul", {}, ...items.map((item) => element("li", {}, ...item)));

/** Does something, when the person has proved who they are. Then shows all anew. */
async function change(action, done) {
  if (!(await whenProved(action))) return "Nothing has changed.";
  await show();
  return done;
}

/** Makes a button for an operation of the API, which may ask for values first. */
function act(text, { title, fields = [], query, values = {}, done }) {
  const run = async () => {
    const given = title ? await ask(title, fields) : {};
    return given && change(() => gql(query, { ...values, ...given }), done);
  };
  return button(text, run, report);
}

const NEW_PASSWORD = { label: "New password", name: "new", type: "password", autocomplete: "new-password", maxLength: 128 };
const OLD_PASSWORD = { label: "Present password", name: "old", type: "password", autocomplete: "current-password", maxLength: 128 };

function password({ hasPassword }) {
  if (!hasPassword) {
    const query = "mutation($new: String!) { credential { setPassword(password: $new) { success } } }";
    const set = act("Set a password", { title: "Set a password", fields: [NEW_PASSWORD], query, done: "The password is set." });
    return fill("password", note("You have none."), set);
  }
  const query = `mutation($old: String!, $new: String!) {
    account { changePassword(input: { oldPassword: $old, newPassword: $new }) { success } } }`;
  const done = "The password is changed. All other devices are logged out.";
  fill(
    "password",
    act("Change", { title: "Change the password", fields: [OLD_PASSWORD, NEW_PASSWORD], query, done }),
    act("Remove", { query: "mutation { credential { removePassword { success } } }", done: "The password is removed." }),
  );
}

const REMOVE_PASSKEY = `mutation($id: ID!) { credential { removePasskey(id: $id) { unknownCredential allAcceptedCredentials } } }`;

/** Removes a passkey, and tells the browser not to offer it any more. */
async function removePasskey(id) {
  const { credential } = await gql(REMOVE_PASSKEY, { id });
  const { unknownCredential, allAcceptedCredentials } = credential.removePasskey;
  if (unknownCredential) await PublicKeyCredential.signalUnknownCredential?.(unknownCredential);
  await PublicKeyCredential.signalAllAcceptedCredentials?.(allAcceptedCredentials);
}

function passkeys({ passkeys: all }, { passkey: arePossible }) {
  const items = all.map(({ id, name, addedAt, lastUsedAt, suspendedAt }) => [
    element("strong", {}, name),
    note(suspendedAt ? `Suspended ${time(suspendedAt)}, as somebody may have copied it. Remove it.` : `Added ${time(addedAt)}, last used ${time(lastUsedAt)}`),
    act("Rename", {
      title: "Rename the passkey", fields: [{ label: "Name", name: "name", value: name, maxLength: 100 }], values: { id },
      query: "mutation($id: ID!, $name: String!) { credential { renamePasskey(id: $id, name: $name) { id } } }", done: "The passkey is renamed.",
    }),
    button("Remove", () => change(() => removePasskey(id), "The passkey is removed."), report),
  ]);
  const add = async () => {
    const given = await ask("Add a passkey", [{ label: "Name, such as the device", name: "name", maxLength: 100 }]);
    return given && change(() => addPasskey(given.name), "The passkey is added.");
  };
  const can = arePossible && hasPasskeys;
  fill("passkeys", list(items), can ? button("Add a passkey", add, report) : note("This address or browser has no passkeys."));
}

/** Shows recovery codes once. */
async function showCodes(codes) {
  const shown = element("pre", {}, codes.join("\n"));
  await ask("Keep these recovery codes. Each logs you in once without the app.", [], shown);
}

async function addApp() {
  let setup;
  await change(async () => {
    setup = (await gql("mutation { credential { startTotp { uri secret qrCode } } }")).credential.startTotp;
  });
  const picture = document.adoptNode(new DOMParser().parseFromString(setup.qrCode, "image/svg+xml").documentElement);
  const typed = element("p", {}, "Scan the code with the app, or type ", element("code", {}, setup.secret), ", or ", element("a", { href: setup.uri }, "open the app"), ".");
  const given = await ask("Add an authenticator app", [ASKS.Totp], picture, typed);
  if (!given) return "Nothing has changed.";
  let codes;
  await change(async () => {
    codes = (await gql("mutation($code: String!) { credential { confirmTotp(code: $code) } }", given)).credential.confirmTotp;
  });
  await showCodes(codes);
  return "The second factor is on.";
}

async function newCodes() {
  let codes;
  await change(async () => {
    codes = (await gql("mutation { credential { newRecoveryCodes } }")).credential.newRecoveryCodes;
  });
  if (codes) await showCodes(codes);
}

function secondFactor({ totpEnrolledAt, recoveryCodesLeft }) {
  if (!totpEnrolledAt) return fill("second-factor", button("Add an authenticator app", addApp, report));
  fill(
    "second-factor",
    note(`An authenticator app since ${time(totpEnrolledAt)}. ${recoveryCodesLeft} recovery codes are left.`),
    button("New recovery codes", newCodes, report),
    act("Remove", { query: "mutation { credential { removeTotp { success } } }", done: "The second factor is off." }),
  );
}

function identities({ identities: all }, { providers }) {
  const title = (name) => providers.find((provider) => provider.name === name)?.title ?? name;
  const items = all.map(({ id, provider, linkedAt }) => [
    element("strong", {}, title(provider)),
    note(`Linked ${time(linkedAt)}`),
    act("Remove", { values: { id }, query: "mutation($id: ID!) { credential { unlink(id: $id) { success } } }", done: "The log-in is removed." }),
  ]);
  const link = (name) => change(async () => {
    const { credential } = await gql("mutation($name: String!) { credential { startLink(provider: $name) } }", { name });
    const back = encodeURIComponent("/account/security");
    location.assign(`${credential.startLink}${credential.startLink.includes("?") ? "&" : "?"}return_to=${back}`);
  });
  const links = providers.map(({ name, title: shown }) => button(`Link ${shown}`, () => link(name), report));
  fill("identities", list(items), ...links, !items.length && !links.length && note("There are none."));
}

function devices(sessions) {
  const items = sessions.map(({ id, name, device, startedAt, lastUsedAt, current }) => [
    element("strong", {}, name ?? device),
    note(`${current ? "This device. " : ""}Since ${time(startedAt)}, last used ${time(lastUsedAt)}`),
    act("Rename", {
      title: "Rename the device", fields: [{ label: "Name", name: "name", value: name ?? "", maxLength: 100 }], values: { id },
      query: "mutation($id: ID!, $name: String!) { account { renameSession(input: { id: $id, name: $name }) { id } } }", done: "The device is renamed.",
    }),
    current ? "" : act("Log out", { values: { id }, query: "mutation($id: ID!) { account { revokeSession(id: $id) { success } } }", done: "The device is logged out." }),
  ]);
  const everywhere = "mutation { account { revokeAllSessions { success } } }";
  fill("devices", list(items), leave("Log out here", "mutation { account { logout { success } } }"), leave("Log out everywhere", everywhere));
}

function leave(text, query) {
  return button(text, async () => { await gql(query); logIn(); }, report);
}

function activity({ nodes }) {
  fill("activity", list(nodes.map(({ at, event, address, device }) => [note(`${time(at)}: ${event.replaceAll("_", " ")}`), note([address, device].filter(Boolean).join(", "))])));
}

function logIn() {
  location.replace("/account/login?return_to=/account/security");
}

/** Shows everything as it is now. */
async function show() {
  const all = await gql(ALL);
  fill("who", all.profile.email);
  password(all.credentials);
  passkeys(all.credentials, all.loginMethods);
  secondFactor(all.credentials);
  identities(all.credentials, all.loginMethods);
  devices(all.sessions);
  activity(all.accountActivity);
}

const outcome = new URLSearchParams(location.search).get("login");
if (outcome === "linked") report("The log-in is linked.");
if (outcome === "failed") report("The log-in was not linked. Please try again.");
history.replaceState(null, "", location.pathname);

show().catch((error) => (error.code === "UNAUTHENTICATED" ? logIn() : report(told(error))));
