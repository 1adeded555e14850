//! A tenant's people log in by its own issuer: there and nowhere else.

use events_schema::IpNetwork;
use local::{Local, Options};
use serde_json::{Value, json};
use tokio::join;

use crate::support::{
    Browser, Dns, Gateway, PASSWORD, Provider, eventually, input, list, options,
    provider::{CLIENT, CLIENT_SECRET},
    succeeded, text,
};

pub const ADA: &str = "ada@corp.example";
pub const BOB: &str = "bob@corp.example";
pub const CREATE: &str = "
    mutation($input: CreateConnectionInput!) {
        sso { create(input: $input) { id redirectUri startUrl domains { name } } }
    }";
const ADD: &str = "
    mutation($input: ConnectionDomainInput!) {
        sso { addDomain(input: $input) { name type value } }
    }";
const VERIFY: &str = "
    mutation($input: ConnectionDomainInput!) {
        sso { verifyDomain(input: $input) { status } }
    }";
const SSO: &str = "{ sso { id domains { name status lastCheck } } }";
pub const DELETE: &str = "mutation($id: ID!) { sso { delete(id: $id) { success } } }";
pub const ENFORCE: &str = "
    mutation($input: EnforceConnectionInput!) {
        sso { enforce(input: $input) { enforced } }
    }";
const MY_ROLE: &str = "{ me { tenant { id } member { role } authentication { tenantId } } }";
pub const LINK: &str = "mutation { credential { confirmLink { success } } }";
pub const STEP_UP: &str = "
    mutation($input: LoginInput!) {
        account { stepUp(input: $input) { user { id } } }
    }";

/// A backend with an issuer and a DNS server, which Ada's tenant acme uses.
pub struct World {
    pub backend: Local,
    pub gateway: Gateway,
    pub issuer: Provider,
    dns: Dns,
}

impl World {
    pub async fn start() -> Self {
        let (issuer, dns) = join!(Provider::start(), Dns::answers(&[&[]]));
        let options = Options {
            workers: vec!["--webhook-dns".to_owned(), dns.address.to_string()],
            ..options()
        };
        let backend = Box::pin(Local::start(options)).await.unwrap();
        let gateway = Gateway::start_at_own_url(&backend, |config| {
            let loopback = IpNetwork::parse("127.0.0.0/8").unwrap();
            config.providers.outbound_allow = vec![loopback];
        })
        .await;
        Self {
            backend,
            gateway,
            issuer,
            dns,
        }
    }

    pub fn browser(&self) -> Browser {
        Browser::new(&self.backend).at_gateway(&self.gateway)
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

    /// Adds a domain, and publishes its record.
    pub async fn publish(&self, owner: &Browser, id: &str, domain: &str) {
        let added = owner.data(ADD, of(id, domain)).await;
        let record = &added["sso"]["addDomain"];
        assert_eq!(record["type"], "TXT");
        self.dns
            .publishes(&text(record, "/name"), &text(record, "/value"));
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
        to.strip_prefix("/projects?login=").unwrap().to_owned()
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

/// Verifies a domain; returns it as it is once its record was looked for.
async fn verify(owner: &Browser, id: &str, domain: &str) -> Value {
    owner.data(VERIFY, of(id, domain)).await;
    let shown = async || {
        let all = owner.data(SSO, ()).await;
        list(&all["sso"][0]["domains"])[0].clone()
    };
    eventually("the check", async || shown().await["status"] != "CHECKING").await;
    shown().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_log_in_makes_a_member_whose_session_is_valid_in_the_tenant_alone() {
    let world = World::start().await;
    let (_ada, id) = world.verified().await;
    let methods = r#"{ loginMethods(email: "x@corp.example") { sso { title startUrl } } }"#;
    let shown = world.browser().data(methods, ()).await;
    let sso = &shown["loginMethods"]["sso"];
    let start_url = format!("{}/oauth/{id}/start", world.gateway.url());
    assert_eq!(*sso, json!({ "title": "Acme", "startUrl": start_url }));

    let bob = world.browser();
    world.issuer.identifies(json!({ "sub": "8", "email": BOB }));
    assert_eq!(world.logs_in(&bob, &id).await, "done");
    let in_acme = bob.in_tenant("acme");
    let me = in_acme.data(MY_ROLE, ()).await;
    assert_eq!(me["me"]["member"]["role"], "GUEST");
    let tenant = in_acme
        .data("{ me { member { id } } tenant { id } }", ())
        .await;
    assert_eq!(
        tenant["tenant"]["id"],
        me["me"]["authentication"]["tenantId"]
    );
    let code = bob.code("{ profile { id } }", ()).await;
    assert_eq!(code, "STEP_UP_REQUIRED");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_proves_no_address_of_a_domain_that_is_not_verified() {
    let world = World::start().await;
    let (ada, id) = world.owner(ADA, "acme").await;
    ada.data(ADD, of(&id, "corp.example")).await;
    let unproved = verify(&ada, &id, "corp.example").await;
    assert_eq!(unproved["lastCheck"], "MISSING", "{unproved}");
    for email in [BOB, "victim@example.com"] {
        world
            .issuer
            .identifies(json!({ "sub": email, "email": email }));
        let browser = world.browser();
        assert_eq!(world.logs_in(&browser, &id).await, "code", "{email}");
        assert_eq!(
            browser.code("{ profile { id } }", ()).await,
            "UNAUTHENTICATED"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_lies_about_a_linked_person_gets_nothing_outside_its_tenant() {
    let world = World::start().await;
    let (_ada, id) = world.verified().await;
    let victim = world.person(BOB).await;
    victim.create_tenant("mine").await;
    world.issuer.identifies(json!({ "sub": "8", "email": BOB }));
    assert_eq!(world.logs_in(&victim, &id).await, "linking");
    victim.data(LINK, ()).await;

    let thief = world.browser();
    assert_eq!(world.logs_in(&thief, &id).await, "done");
    for document in [
        "{ profile { id } }",
        "{ sessions { id } }",
        "{ credentials { hasPassword } }",
        "{ tenants { nodes { id } } }",
        "{ accountActivity { nodes { at } } }",
        "mutation { account { revokeAllSessions { success } } }",
        r#"mutation { credential { setPassword(password: "a new password") { success } } }"#,
        "mutation { credential { startPasskey } }",
        "mutation { credential { startTotp { uri } } }",
        r#"mutation { credential { unlink(id: "0") { success } } }"#,
        r#"mutation { profile { requestEmailChange(email: "x@evil.example") { success } } }"#,
        "mutation { profile { delete { id } } }",
        r#"mutation { tenant { create(input: { name: "Xyz" }) { id } } }"#,
    ] {
        let code = thief.code(document, ()).await;
        assert_eq!(code, "STEP_UP_REQUIRED", "{document}");
    }
    let code = thief
        .in_tenant("mine")
        .code("{ me { permissions } }", ())
        .await;
    assert_eq!(code, "NOT_FOUND");
    succeeded(
        &thief
            .in_tenant("acme")
            .gql("{ me { permissions } }", ())
            .await,
    );

    thief.data(STEP_UP, by_password()).await;
    succeeded(
        &thief
            .in_tenant("mine")
            .gql("{ me { permissions } }", ())
            .await,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_may_demand_its_issuer_once_an_administrator_has_come_by_it() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let enforce = input(json!({ "id": id, "enforced": true }));
    let start_url = format!("{}/oauth/{id}/start", world.gateway.url());
    let demanded = json!({ "code": "SSO_REQUIRED", "startUrl": start_url });
    assert_eq!(ada.error(ENFORCE, enforce.clone()).await, demanded);

    world.issuer.identifies(json!({ "sub": "7", "email": ADA }));
    assert_eq!(world.logs_in(&ada, &id).await, "linking");
    ada.data(LINK, ()).await;
    let by_issuer = world.browser();
    assert_eq!(world.logs_in(&by_issuer, &id).await, "done");
    let by_issuer = by_issuer.in_tenant("acme");
    by_issuer.data(ENFORCE, enforce).await;
    assert_eq!(ada.error("{ me { permissions } }", ()).await, demanded);
    succeeded(&ada.gql("{ profile { id } }", ()).await);
    succeeded(&by_issuer.gql("{ me { permissions } }", ()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sessions_of_a_connection_end_when_it_is_deleted() {
    let world = World::start().await;
    let (ada, id) = world.verified().await;
    let bob = world.browser().in_tenant("acme");
    world.issuer.identifies(json!({ "sub": "8", "email": BOB }));
    assert_eq!(world.logs_in(&bob, &id).await, "done");
    ada.data(DELETE, json!({ "id": id })).await;
    let code = bob.code("{ me { permissions } }", ()).await;
    assert_eq!(code, "UNAUTHENTICATED");
    let start = bob.visit(&format!("/oauth/{id}/start")).await;
    assert_eq!(start.unwrap_err().status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_tenants_that_verify_one_domain_at_once_one_gets_it() {
    let world = World::start().await;
    let (ada, bob) = join!(
        world.owner(ADA, "acme"),
        world.owner("bob@example.com", "other")
    );
    let domain = "shared.example";
    world.publish(&ada.0, &ada.1, domain).await;
    let first = verify(&ada.0, &ada.1, domain).await;
    world.publish(&bob.0, &bob.1, domain).await;
    let second = verify(&bob.0, &bob.1, domain).await;
    assert_eq!(first["status"], "VERIFIED", "{first}");
    assert_eq!(second["status"], "UNVERIFIED", "{second}");
    assert_eq!(second["lastCheck"], "TAKEN", "{second}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_that_does_not_answer_is_told_as_such() {
    let world = World::start().await;
    let (ada, id) = world.owner(ADA, "acme").await;
    world.publish(&ada, &id, "corp.example").await;
    world.dns.falls_silent();
    let domain = verify(&ada, &id, "corp.example").await;
    assert_eq!(domain["lastCheck"], "UNAVAILABLE", "{domain}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_in_a_private_network_is_refused() {
    let world = World::start().await;
    let (ada, _) = world.owner(ADA, "acme").await;
    for issuer in [
        "https://10.0.0.1",
        "https://169.254.169.254",
        "https://[::ffff:10.0.0.1]",
        "http://8.8.8.8",
    ] {
        let error = ada.error(CREATE, connection(issuer)).await;
        let expected = json!({ "code": "BAD_USER_INPUT", "field": "issuer" });
        assert_eq!(error, expected, "{issuer}");
    }
}
