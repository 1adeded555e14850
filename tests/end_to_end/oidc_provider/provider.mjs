// Serves OpenID Connect for one person, who agrees to everything. Arguments: the port, the URL of the gateway, and the
// ways of signing, separated by commas. There is a client for each. It ends with its standard input.
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { Provider } from "oidc-provider";

const [port, gateway, algorithms] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;

const jwk = (alg, type, options) => ({
  ...generateKeyPairSync(type, options).privateKey.export({ format: "jwk" }), alg, use: "sig", kid: alg,
});
const keys = [
  jwk("RS256", "rsa", { modulusLength: 2048 }),
  jwk("PS256", "rsa", { modulusLength: 3072 }),
  jwk("ES256", "ec", { namedCurve: "P-256" }),
  jwk("EdDSA", "ed25519"),
];
const client = (alg) => ({
  client_id: alg,
  client_secret: "a secret of the provider",
  redirect_uris: [`${gateway}/oauth/${alg.toLowerCase()}/callback`],
  id_token_signed_response_alg: alg,
});

const provider = new Provider(issuer, {
  clients: algorithms.split(",").map(client),
  jwks: { keys },
  enabledJWA: { idTokenSigningAlgValues: algorithms.split(",") },
  features: { devInteractions: { enabled: false } },
  claims: { email: ["email", "email_verified"], profile: ["given_name", "family_name"] },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({
      sub: id, email: "ada@example.com", email_verified: true, given_name: "Ada", family_name: "Lovelace",
    }),
  }),
});

async function agree(request, response) {
  const { prompt, params, grantId } = await provider.interactionDetails(request, response);
  if (prompt.name === "login") {
    return provider.interactionFinished(request, response, { login: { accountId: "ada" } });
  }
  const grant = grantId
    ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: "ada", clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  const consent = { grantId: await grant.save() };
  return provider.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true });
}

const serve = provider.callback();
createServer((request, response) => {
  if (request.url.startsWith("/interaction/")) {
    agree(request, response).catch((error) => response.writeHead(500).end(String(error)));
  } else {
    serve(request, response);
  }
}).listen(Number(port), "127.0.0.1", () => console.log("ready"));
process.stdin.resume().on("end", () => process.exit(0));
