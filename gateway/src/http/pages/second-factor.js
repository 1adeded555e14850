// Adds an authenticator app, and shows recovery codes.
import { ASKS, element, gql } from "./account.js";
import { ask, askUntil, whenProved } from "./prove.js";

/** Shows recovery codes once. Only a button closes them. */
function showCodes(codes) {
  const more = [element("pre", {}, codes.join("\n"))];
  return ask("Keep these recovery codes. Each logs you in once without the app.", [], {
    more, confirm: "Done", mayCancel: false,
  });
}

/** Shows the secret for the app until the person types a code that fits it. Then shows the recovery codes. */
export async function addApp() {
  const { credential } = await whenProved(() => gql("mutation { credential { startTotp { uri secret qrCode } } }"));
  const { uri, secret, qrCode } = credential.startTotp;
  const svg = new DOMParser().parseFromString(qrCode, "image/svg+xml").documentElement;
  const picture = document.adoptNode(svg);
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", "QR code for the app");
  const open = element("a", { href: uri }, "open the app");
  const code = element("code", {}, secret);
  const typed = element("p", {}, "Scan the code with the app, or type ", code, ", or ", open, ".");
  const query = "mutation($code: String!) { credential { confirmTotp(code: $code) } }";
  const confirm = (given) => whenProved(() => gql(query, given));
  const confirmed = await askUntil("Add an authenticator app", [ASKS.Totp], confirm, { more: [picture, typed] });
  await showCodes(confirmed.credential.confirmTotp);
}

/** Replaces the recovery codes, and shows the new ones. */
export async function replaceCodes() {
  const { credential } = await whenProved(() => gql("mutation { credential { newRecoveryCodes } }"));
  await showCodes(credential.newRecoveryCodes);
}
