//! A tenant's people log in by its own issuer: there and nowhere else.

mod domains;
mod enforcing;
mod google;
mod joining;
mod limits;
mod losing;
mod replays;
mod sessions;

use events_schema::IpNetwork;
use local::{Local, Options};
use serde_json::{Value, json};
use tokio::join;

use crate::support::{
    Browser, Dns, Gateway, PASSWORD, Provider, code, eventually, input, list, options,
    provider::{CLIENT, CLIENT_SECRET},
    text,
};

pub const ADA: &str = "ada@corp.example";
pub const BOB: &str = "bob@corp.example";
pub const CREATE: &str = "
    mutation($input: CreateConnectionInput!) {
        sso { create(input: $input) { id redirectUri startUrl domains { name } } }
    }";
const UPDATE: &str = "
    mutation($input: UpdateConnectionInput!) {
        sso { update(input: $input) { name role clientId } }
    }";
const ADD: &str = "
    mutation($input: ConnectionDomainInput!) {
        sso { addDomain(input: $input) { name type value } }
    }";
const VERIFY: &str = "
    mutation($input: ConnectionDomainInput!) {
        sso { verifyDomain(input: $input) { status } }
    }";
const SSO: &str = "{ sso { id domains { name status lastCheck verifiedUntil } } }";
pub const DELETE: &str = "mutation($id: ID!) { sso { delete(id: $id) { success } } }";
pub const ENFORCE: &str = "
    mutation($input: EnforceConnectionInput!) {
        sso { enforce(input: $input) { enforced } }
    }";
pub const STEP_UP: &str = "
    mutation($input: LoginInput!) {
        account { stepUp(input: $input) { user { id } } }
    }";
const ME: &str = "{ me { tenant { id } member { role } authentication { aal tenantId } } }";
const PROFILE: &str = "{ profile { id } }";
pub const LINK: &str = "mutation { credential { confirmLink { success } } }";
/// A word that only mails with a code to log in have.
const CODE_MAIL: &str = "in which you asked for it";

/// A backend with an issuer and a DNS server, which Ada's tenant acme uses.
pub struct World {
    pub backend: Local,
    _gateway: Gateway,
    pub url: String,
    pub issuer: Provider,
    dns: Dns,
}

impl World {
    pub async fn start() -> Self {
        Self::start_at("localhost").await
    }

    /// A world whose public URL has this host.
    async fn start_at(host: &str) -> Self {
        let (issuer, dns) = join!(Provider::start(), Dns::answers(&[&[]]));
        let options = Options {
            workers: vec!["--webhook-dns".to_owned(), dns.address.to_string()],
            ..options()
        };
        let backend = Box::pin(Local::start(options)).await.unwrap();
        let gateway = Gateway::start_at(&backend, |config, address| {
            config.posture.public_url = format!("http://{host}:{}", address.port());
            let loopback = IpNetwork::parse("127.0.0.0/8").unwrap();
            config.providers.outbound_allow = vec![loopback];
        })
        .await;
        let url = format!("http://{host}:{}", gateway.address().port());
        Self {
            backend,
            _gateway: gateway,
            url,
            issuer,
            dns,
        }
    }

    pub fn browser(&self) -> Browser {
        Browser::new(&self.backend).at_url(&self.url)
    }

    /// A person with a password.
    pub async fn person(&self, email: &str) -> Browser {
        let browser = self.browser();
        browser.sign_up(email).await;
        browser
    }

    /// The owner of a tenant with a connection; also returns the connection's id.
    pub async fn owner(&self, email: &str, tenant: &str) -> (Browser, String) {
        let owner = self.person(email).await;
        owner.create_tenant(tenant).await;
        let owner = owner.in_tenant(tenant);
        let created = owner.data(CREATE, connection(&self.issuer.url)).await;
        (owner, text(&created, "/sso/create/id"))
    }

    /// Adds a domain, and publishes its record. Returns the record.
    pub async fn publish(&self, owner: &Browser, id: &str, domain: &str) -> Value {
        let added = owner.data(ADD, of(id, domain)).await;
        let record = &added["sso"]["addDomain"];
        assert_eq!(record["type"], "TXT");
        self.dns
            .publishes(&text(record, "/name"), &text(record, "/value"));
        record.clone()
    }

    /// An owner whose connection may name the addresses of `corp.example`.
    pub async fn verified(&self) -> (Browser, String) {
        let (owner, id) = self.owner(ADA, "acme").await;
        self.publish(&owner, &id, "corp.example").await;
        let domain = verify(&owner, &id, "corp.example").await;
        assert_eq!(domain["status"], "VERIFIED", "{domain}");
        (owner, id)
    }

    /// Logs in by a connection, as whom the issuer says; returns what the page learns.
    pub async fn logs_in(&self, browser: &Browser, id: &str) -> String {
        let start = format!("/oauth/{id}/start?return_to=/projects");
        let back = self
            .issuer
            .sends_back(&browser.visit(&start).await.unwrap());
        let to = browser.visit(&back).await.unwrap();
        let learned = to.strip_prefix("/projects?login=");
        learned.unwrap_or_else(|| panic!("{to}")).to_owned()
    }

    /// A new browser of the person with this address, after they have logged in by a connection.
    async fn comes(&self, email: &str, id: &str) -> Browser {
        let browser = self.browser();
        assert_eq!(self.tries(&browser, email, id).await, "done", "{email}");
        browser.in_tenant("acme")
    }

    /// Logs in by a connection as the person with this address; returns what the page learns.
    async fn tries(&self, browser: &Browser, email: &str, id: &str) -> String {
        self.issuer
            .identifies(json!({ "sub": email, "email": email }));
        self.logs_in(browser, id).await
    }

    /// Links the identity of a connection to the account of this browser.
    async fn links(&self, browser: &Browser, email: &str, id: &str) {
        assert_eq!(self.tries(browser, email, id).await, "linking");
        browser.data(LINK, ()).await;
    }
}

pub fn connection(issuer: &str) -> Value {
    input(json!({
        "name": "Acme", "issuer": issuer, "clientId": CLIENT, "clientSecret": CLIENT_SECRET,
        "role": "GUEST",
    }))
}

fn of(id: &str, domain: &str) -> Value {
    input(json!({ "id": id, "domain": domain }))
}

pub fn by_password() -> Value {
    input(json!({ "service": "Password", "params": { "password": PASSWORD } }))
}

/// The variables of a log-in by the code in the latest mail to an address.
async fn by_code(browser: &Browser, email: &str) -> Value {
    let code = code(&browser.mail(email, CODE_MAIL, 1).await);
    let params = json!({ "email": email, "code": code });
    input(json!({ "service": "EmailCode", "params": params }))
}

/// The only domain of the tenant's only connection.
async fn domain(owner: &Browser) -> Value {
    let all = owner.data(SSO, ()).await;
    list(&all["sso"][0]["domains"])[0].clone()
}

/// Verifies a domain; returns it as it is once its record was looked for.
async fn verify(owner: &Browser, id: &str, name: &str) -> Value {
    owner.data(VERIFY, of(id, name)).await;
    let is_checked = async || domain(owner).await["status"] != "CHECKING";
    eventually("the check", is_checked).await;
    domain(owner).await
}
