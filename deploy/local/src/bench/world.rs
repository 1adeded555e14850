//! What the works need: a person, tenants with access tokens, and projects. All of it is made
//! through the API, as clients do.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use events_schema::TenantKey;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::http::{Connection, get, post};

pub(super) const EMAIL: &str = "bench@example.com";
pub(super) const PASSWORD: &str = "correct horse battery";
/// Name of the person, which a list shows as the creator of each project.
pub(super) const FIRSTNAME: &str = "Bench";
/// The states of the listed projects, in turn. One of them is listed.
pub(super) const STATES: [&str; 4] = ["ACTIVE", "ON_HOLD", "COMPLETED", "ARCHIVED"];
/// Creates a project.
pub(super) const CREATE: &str = "mutation($input: CreateProjectInput!) { \
     project { create(input: $input) { id name } } }";
/// Connections that seed: enough to keep the machine busy.
const SEEDERS: usize = 32;

/// How much to make.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) tenants: usize,
    /// Projects that are spread over the tenants.
    pub(super) projects: usize,
    /// Projects of the tenant whose projects are listed.
    pub(super) listed: usize,
}

/// What was made.
#[derive(Clone)]
pub(super) struct World {
    /// Address of the gateway.
    pub(super) address: SocketAddr,
    pub(super) tenants: Vec<Tenant>,
    pub(super) projects: Vec<Project>,
    /// The tenant with many projects.
    pub(super) lister: Tenant,
    /// Number of its projects.
    pub(super) listed: usize,
}

/// A tenant, and the headers of requests in it.
#[derive(Clone)]
pub(super) struct Tenant {
    pub(super) key: TenantKey,
    /// Session cookie and tenant.
    pub(super) by_session: String,
    /// Access token, which names the tenant.
    pub(super) by_token: String,
}

/// A project.
#[derive(Clone)]
pub(super) struct Project {
    /// Index of its tenant.
    pub(super) tenant: usize,
    pub(super) id: String,
}

impl World {
    /// Makes everything.
    ///
    /// # Errors
    /// If a request fails.
    pub(super) async fn make(
        address: SocketAddr,
        mailbox: SocketAddr,
        size: Size,
    ) -> anyhow::Result<Self> {
        let mut person = Person::sign_up(address, mailbox).await?;
        let mut tenants = Vec::new();
        for index in 0..size.tenants {
            tenants.push(person.found(&format!("bench-{index:03}")).await?);
        }
        let lister = person.found("bench-lists").await?;
        let lists: Vec<Seed> = (0..size.listed)
            .map(|index| Seed::new(index, 0, &lister, STATES[index % STATES.len()]))
            .collect();
        seed(address, lists).await?;
        let spread: Vec<Seed> = (0..size.projects)
            .map(|index| {
                let tenant = index % tenants.len();
                Seed::new(index, tenant, &tenants[tenant], STATES[0])
            })
            .collect();
        Ok(Self {
            projects: seed(address, spread).await?,
            listed: size.listed,
            address,
            tenants,
            lister,
        })
    }
}

/// A person with a session.
struct Person {
    address: SocketAddr,
    connection: Connection,
    /// The header with the session cookie, a complete line; empty before the login.
    cookie: String,
}

impl Person {
    /// Registers, verifies the address with the code of the mail, and logs in.
    async fn sign_up(address: SocketAddr, mailbox: SocketAddr) -> anyhow::Result<Self> {
        let connection = Connection::open(address).await?;
        let cookie = String::new();
        let mut person = Self {
            address,
            connection,
            cookie,
        };
        let register =
            "mutation($input: RegisterInput!) { account { register(input: $input) { success } } }";
        let input = json!({
            "firstname": FIRSTNAME, "lastname": "Mark", "email": EMAIL, "password": PASSWORD
        });
        person.ask("", register, json!({ "input": input })).await?;
        let verify = "mutation($input: VerifyAccountInput!) { account { verifyAccount(input: $input) { success } } }";
        let input = json!({ "email": EMAIL, "code": mailed_code(mailbox, EMAIL).await? });
        person.ask("", verify, json!({ "input": input })).await?;
        person.ask("", LOGIN, login_variables()).await?;
        Ok(person)
    }

    /// Creates a tenant and an access token of it.
    async fn found(&mut self, slug: &str) -> anyhow::Result<Tenant> {
        let create =
            "mutation($input: CreateTenantInput!) { tenant { create(input: $input) { id } } }";
        let input = json!({ "name": slug, "normalizedName": slug });
        let answer = self.ask("", create, json!({ "input": input })).await?;
        let key = answer["data"]["tenant"]["create"]["id"].as_str();
        let key = TenantKey::parse(key.context("no id in the answer")?)?;
        let header = format!("x-tenant: {slug}\r\n");
        let create = "mutation($input: CreateAccessTokenInput!) { accessToken { create(input: $input) { token } } }";
        let input = json!({ "name": "bench", "scopes": ["read_project"] });
        let answer = self.ask(&header, create, json!({ "input": input })).await?;
        let token = answer["data"]["accessToken"]["create"]["token"].as_str();
        let token = token.context("no token in the answer")?;
        Ok(Tenant {
            key,
            by_session: format!("{header}{}", self.cookie),
            by_token: format!("authorization: Bearer {token}\r\n"),
        })
    }

    async fn ask(&mut self, headers: &str, query: &str, input: Value) -> anyhow::Result<Value> {
        let headers = format!("{headers}{}", self.cookie);
        let request = post(self.address, &headers, query, &input);
        let answer = self.connection.send(&request).await?;
        answer.ensure_success()?;
        let cookie = answer.header("set-cookie").next();
        if let Some(cookie) = cookie.and_then(|cookie| cookie.split(';').next()) {
            self.cookie = format!("cookie: {cookie}\r\n");
        }
        Ok(serde_json::from_slice(answer.body)?)
    }
}

/// Logs in with a password.
pub(super) const LOGIN: &str = "mutation($input: LoginInput!) { \
     account { login(input: $input) { user { email } session { current } } } }";

/// Returns the variables of [`LOGIN`].
pub(super) fn login_variables() -> Value {
    let params = json!({ "email": EMAIL, "password": PASSWORD });
    json!({ "input": { "service": "Password", "params": params } })
}

/// Waits for the mail with a code to this address, and returns the code.
pub(super) async fn mailed_code(mailbox: SocketAddr, email: &str) -> anyhow::Result<String> {
    let mut connection = Connection::open(mailbox).await?;
    let path = format!("/messages?to={email}&containing=code&wait=10");
    let answer = connection.send(&get(mailbox, &path)).await?;
    let mails: Value = serde_json::from_slice(answer.body)?;
    let text = mails[0]["text"].as_str();
    let text = text.context("the mail with the code has not arrived")?;
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let is_code = |word: &&str| word.len() == 6 && word.bytes().all(|b| b.is_ascii_digit());
    let code = words.rfind(is_code).context("the mail has no code")?;
    Ok(code.to_owned())
}

/// A project to make.
struct Seed {
    index: usize,
    tenant: usize,
    headers: String,
    status: &'static str,
}

impl Seed {
    fn new(index: usize, tenant: usize, of: &Tenant, status: &'static str) -> Self {
        Self {
            index,
            tenant,
            headers: of.by_session.clone(),
            status,
        }
    }
}

/// Makes projects over several connections.
async fn seed(address: SocketAddr, seeds: Vec<Seed>) -> anyhow::Result<Vec<Project>> {
    let (seeds, count) = (Arc::new(seeds), SEEDERS);
    let mut tasks = JoinSet::new();
    for first in 0..count {
        tasks.spawn(seed_some(address, seeds.clone(), first));
    }
    let mut projects = Vec::new();
    while let Some(some) = tasks.join_next().await {
        projects.extend(some??);
    }
    Ok(projects)
}

/// Makes each [`SEEDERS`]th project.
async fn seed_some(
    address: SocketAddr,
    seeds: Arc<Vec<Seed>>,
    first: usize,
) -> anyhow::Result<Vec<Project>> {
    let mut connection = Connection::open(address).await?;
    let mut projects = Vec::new();
    for seed in seeds.iter().skip(first).step_by(SEEDERS) {
        // Reversed digits: names in an order that is not that of the creation.
        let digits: String = format!("{:05}", seed.index).chars().rev().collect();
        let input = project_input(&format!("Project {digits}"), seed.status);
        let request = post(address, &seed.headers, CREATE, &input);
        let answer = connection.send(&request).await?;
        answer.ensure_success()?;
        projects.push(Project {
            tenant: seed.tenant,
            id: project_id(answer.body)?,
        });
    }
    Ok(projects)
}

/// Returns the variables of [`CREATE`].
pub(super) fn project_input(name: &str, status: &str) -> Value {
    json!({ "input": { "name": name, "description": "made by the benchmark", "status": status } })
}

/// Returns the id of the first object in an answer.
///
/// # Errors
/// If there is none.
pub(super) fn project_id(body: &[u8]) -> anyhow::Result<String> {
    let text = std::str::from_utf8(body)?;
    let after = text.split_once("\"id\":\"").map(|(_, after)| after);
    let id = after.and_then(|after| after.split('"').next());
    Ok(id.context("no id in the answer")?.to_owned())
}
