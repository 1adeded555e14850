// Shows how a person can log in, on which devices they are, and lets them change all of it.
import { button, element, gql, told } from "./account.js";
import { failure } from "./outcomes.js";
import { addPasskey, hasPasskeys, removePasskey } from "./passkeys.js";
import { loginPage } from "./places.js";
import { ask, askUntil, whenProved } from "./prove.js";
import { addApp, replaceCodes } from "./second-factor.js";

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

const HERE = "/account/security";
const asked = new URLSearchParams(location.search);
const status = document.querySelector("[role=status]");
const report = (text) => { status.textContent = text; };

const time = (text) => (text ? new Date(text).toLocaleString() : "never");
const fill = (id, ...children) => document.getElementById(id).replaceChildren(...children.filter(Boolean));
const note = (text) => element("p", {}, text);
const list = (items) => element("ul", {}, ...items.map((item) => element("li", {}, ...item)));

/** Makes a button that changes something. Then it shows all as it is now, and puts the focus on its section. */
function act(text, action, done) {
  const made = button(text, async () => {
    const heading = made.closest("section").querySelector("h2");
    await action();
    await show().catch(orLogIn);
    heading.focus();
    return done;
  }, report);
  return made;
}

/** Makes a button for an operation of the API. */
function send(text, query, values, done) {
  return act(text, () => whenProved(() => gql(query, values)), done);
}

/** Makes a button for an operation of the API, which asks for values first. */
function fillIn(text, title, fields, query, values, done) {
  const use = (given) => whenProved(() => gql(query, { ...values, ...given }));
  return act(text, () => askUntil(title, fields, use), done);
}

/** Makes a button that removes something, if the person is sure. */
function remove(title, action, done) {
  return act("Remove", async () => {
    await ask(title, [], { confirm: "Remove" });
    await whenProved(action);
  }, done);
}

const PASSWORD = { type: "password", maxLength: 128 };
const NEW_PASSWORD = { ...PASSWORD, label: "New password", name: "new", autocomplete: "new-password" };
const OLD_PASSWORD = { ...PASSWORD, label: "Present password", name: "old", autocomplete: "current-password" };
const SET_PASSWORD = "mutation($new: String!) { credential { setPassword(password: $new) { success } } }";
const CHANGE_PASSWORD = `mutation($old: String!, $new: String!) {
  account { changePassword(input: { oldPassword: $old, newPassword: $new }) { success } } }`;
const REMOVE_PASSWORD = "mutation { credential { removePassword { success } } }";

function password({ hasPassword }) {
  if (!hasPassword) {
    const set = fillIn("Set a password", "Set a password", [NEW_PASSWORD], SET_PASSWORD, {}, "The password is set.");
    return fill("password", note("You have none."), set);
  }
  const done = "The password is changed. All other devices are logged out.";
  const both = [OLD_PASSWORD, NEW_PASSWORD];
  fill(
    "password",
    fillIn("Change", "Change the password", both, CHANGE_PASSWORD, {}, done),
    remove("Remove the password?", () => gql(REMOVE_PASSWORD), "The password is removed."),
  );
}

const named = (label, value = "") => [{ label, name: "name", value, maxLength: 100 }];
const RENAME_PASSKEY = `mutation($id: ID!, $name: String!) {
  credential { renamePasskey(id: $id, name: $name) { id } } }`;

function passkeys({ passkeys: all }, { passkey: arePossible }) {
  const items = all.map(({ id, name, addedAt, lastUsedAt, suspendedAt }) => [
    element("strong", {}, name),
    note(`Added ${time(addedAt)}, last used ${time(lastUsedAt)}`),
    suspendedAt ? note(`Suspended ${time(suspendedAt)}, as somebody may have copied it. Remove it.`) : "",
    fillIn("Rename", "Rename the passkey", named("Name", name), RENAME_PASSKEY, { id }, "The passkey is renamed."),
    remove(`Remove the passkey “${name}”?`, () => removePasskey(id), "The passkey is removed."),
  ]);
  const add = async () => {
    const { name } = await ask("Add a passkey", named("Name, such as the device"));
    await whenProved(() => addPasskey(name));
  };
  const can = arePossible && hasPasskeys;
  const none = note("This address or browser has no passkeys.");
  fill("passkeys", list(items), can ? act("Add a passkey", add, "The passkey is added.") : none);
}

const REMOVE_TOTP = "mutation { credential { removeTotp { success } } }";

function secondFactor({ totpEnrolledAt, recoveryCodesLeft }) {
  const add = act("Add an authenticator app", addApp, "The second factor is on.");
  if (!totpEnrolledAt) return fill("second-factor", add);
  fill(
    "second-factor",
    note(`An authenticator app since ${time(totpEnrolledAt)}. ${recoveryCodesLeft} recovery codes are left.`),
    act("New recovery codes", replaceCodes, "The recovery codes are replaced."),
    remove("Remove the authenticator app?", () => gql(REMOVE_TOTP), "The second factor is off."),
  );
}

const UNLINK = "mutation($id: ID!) { credential { unlink(id: $id) { success } } }";
const START_LINK = "mutation($name: String!) { credential { startLink(provider: $name) } }";

function identities({ identities: all }, { providers }) {
  const known = (name) => providers.find((provider) => provider.name === name)?.title;
  // All issuers of organizations have one name.
  const title = (name) => (name === "sso" ? "Your organization" : known(name) ?? name);
  const items = all.map(({ id, provider, linkedAt }) => [
    element("strong", {}, title(provider)),
    note(`Linked ${time(linkedAt)}`),
    remove(`Remove the log-in by ${title(provider)}?`, () => gql(UNLINK, { id }), "The log-in is removed."),
  ]);
  const link = async (name) => {
    const { credential } = await whenProved(() => gql(START_LINK, { name }));
    location.assign(`${credential.startLink}&return_to=${encodeURIComponent(HERE)}`);
  };
  const links = providers.map(({ name, title: shown }) => button(`Link ${shown}`, () => link(name), report));
  fill("identities", list(items), ...links, !items.length && !links.length && note("There are none."));
}

const RENAME_SESSION = `mutation($id: ID!, $name: String!) {
  account { renameSession(input: { id: $id, name: $name }) { id } } }`;
const REVOKE_SESSION = "mutation($id: ID!) { account { revokeSession(id: $id) { success } } }";

function devices(sessions) {
  const items = sessions.map(({ id, name, device, startedAt, lastUsedAt, current }) => [
    element("strong", {}, name ?? device),
    note(`${current ? "This device. " : ""}Since ${time(startedAt)}, last used ${time(lastUsedAt)}`),
    fillIn("Rename", "Rename the device", named("Name", name ?? ""), RENAME_SESSION, { id }, "The device is renamed."),
    current ? "" : send("Log out", REVOKE_SESSION, { id }, "The device is logged out."),
  ]);
  const here = leave("Log out here", "mutation { account { logout { success } } }");
  const everywhere = leave("Log out everywhere", "mutation { account { revokeAllSessions { success } } }");
  fill("devices", list(items), here, everywhere);
}

function leave(text, query) {
  return button(text, async () => {
    await gql(query);
    location.replace(loginPage(HERE));
  }, report);
}

function activity({ nodes }) {
  const items = nodes.map(({ at, event, address, device }) => [
    note(`${time(at)}: ${event.replaceAll("_", " ")}`),
    note([address, device].filter(Boolean).join(", ")),
  ]);
  fill("activity", list(items));
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

/** Sends a person who is not logged in to the log-in page, which says what has failed before. */
function logIn() {
  const failed = new URLSearchParams({ login: "failed", reason: asked.get("reason") });
  location.replace(loginPage(HERE) + (asked.get("login") === "failed" ? `&${failed}` : ""));
}

/** Sends a person to the log-in page whose session has ended, perhaps with what they have just removed. */
function orLogIn(error) {
  if (error.code !== "UNAUTHENTICATED") throw error;
  logIn();
}

if (asked.get("login") === "linked") report("The log-in is linked.");
if (asked.get("login") === "failed") report(failure(asked.get("reason")));
history.replaceState(null, "", location.pathname);

// A session by the issuer of an organization shows nothing of the account before the person proves more.
whenProved(show).catch(orLogIn).catch((error) => report(told(error)));
