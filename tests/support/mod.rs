//! What the tests share: a backend, a person's browser and mailbox, and the documents that many
//! tests send.
//!
//! A backend stops with its test: dropping it kills its two servers and removes their folder.

mod authenticator;
mod browser;
mod collector;
mod device;
// That of the tests of webhooks.
#[path = "../../workers/src/effect/outbound/tests/dns.rs"]
mod dns;
mod operator;
pub mod packages;
pub mod provider;
mod receiver;
mod socket;
mod team;

use std::{
    future::Future,
    sync::LazyLock,
    time::{Duration, Instant},
};

use events_schema::{BuiltInRole, Permission};
use local::{Local, Options};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use servers::Layout;
use tokio::{runtime::Runtime, sync::OnceCell};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use authenticator::{
    Authenticator, CONFIRM_TOTP, START_TOTP, add_second_factor, administrator,
    await_administration, make_administrator,
};
pub use browser::Browser;
pub use collector::Collector;
pub use device::{
    ADD_PASSKEY, Device, START_ADDING, START_LOGIN, add_passkey, answer, by_passkey, site,
    site_with,
};
pub use dns::Dns;
pub use operator::{
    PLATFORM, choose_new_plan, close_stream, collections, documents, documents_of, hold_commands,
    mongo, open_stream, operator, operator_nats, send_command, send_command_of_operator,
    send_command_of_worker, set_platform_admin, store_account, store_as_unproved, store_deletion,
    store_unproved_account, stored_owners, tenant_views,
};
pub use provider::{Provider, Signed};
pub use receiver::{Received, Receiver};
pub use socket::{EVENTS, Socket};
pub use team::{
    ASSIGN_ROLE, CREATE_ROLE, DELETE_ROLE, RENAME_TENANT, Team, UNASSIGN_ROLE, UPDATE_ROLE,
    assignment, create_role, member_role, role, scopes,
};

/// Time limit of every wait: far more than anything here takes, unless the backend is broken.
pub const DEADLINE: Duration = Duration::from_secs(60);
pub const PASSWORD: &str = "correct horse battery staple";
pub const OTHER_PASSWORD: &str = "another quite long password";
/// An id that nothing has.
pub const MISSING: &str = "0123456789abcdef0123456789abcdef";

/// A backend on free ports, in a temporary folder.
pub async fn start() -> Local {
    start_as(Layout::Single).await
}

/// A backend on servers in this layout.
pub async fn start_as(layout: Layout) -> Local {
    let options = Options {
        layout,
        ..options()
    };
    Box::pin(Local::start(options)).await.unwrap()
}

pub async fn start_with_mail_attempts(mail_attempts: i64) -> Local {
    let options = Options {
        mail_attempts,
        ..options()
    };
    Box::pin(Local::start(options)).await.unwrap()
}

/// A backend where nobody can pay.
pub async fn start_without_stripe() -> Local {
    let options = Options {
        stripe_listen: None,
        ..options()
    };
    Box::pin(Local::start(options)).await.unwrap()
}

/// A backend whose workers have further options.
pub async fn start_with_workers(workers: &[&str]) -> Local {
    let options = Options {
        workers: workers.iter().map(|word| (*word).to_owned()).collect(),
        ..options()
    };
    Box::pin(Local::start(options)).await.unwrap()
}

/// A backend whose gateway has further options.
pub async fn start_with(gateway: &[&str]) -> Local {
    // An option may be given once.
    let limits = UNLIMITED
        .into_iter()
        .filter(|(name, _)| !gateway.contains(name));
    let limits = limits.flat_map(|(name, value)| [name, value]);
    let words = limits.chain(gateway.iter().copied()).map(str::to_owned);
    let options = Options {
        gateway: words.collect(),
        ..options()
    };
    Box::pin(Local::start(options)).await.unwrap()
}

/// All people of a test come from one address. `limits.rs` is about the limits.
const UNLIMITED: [(&str, &str); 10] = [
    ("--payment-limit", "1000000/second"),
    ("--card-limit", "1000000/second"),
    ("--invitations-per-address", "500"),
    ("--registration-total-limit", "1000000/second"),
    ("--tenants-per-account", "0"),
    ("--invitations-per-day", "1000000"),
    ("--stranger-limit", "1000000/second"),
    ("--address-limit", "1000000/second"),
    ("--registration-limit", "1000000/second"),
    ("--registration-domain-limit", "1000000/second"),
];

pub fn options() -> Options {
    let limits = UNLIMITED
        .into_iter()
        .flat_map(|(name, value)| [name, value]);
    let any = "127.0.0.1:0".parse().unwrap();
    Options {
        listen: any,
        mail_listen: any,
        stripe_listen: Some(any),
        monitor_listen: None,
        data_dir: None,
        layout: Layout::Single,
        mail_attempts: 12,
        gateway: limits.map(str::to_owned).collect(),
        workers: ["--usage-interval-s", "1"].map(str::to_owned).to_vec(),
    }
}

/// Ada with her tenant `acme`; her browser names it in every request.
pub async fn ada_in_acme(backend: &Local) -> Browser {
    let ada = Browser::signed_up(backend, "ada@example.com").await;
    ada.create_tenant("acme").await;
    ada.in_tenant("acme")
}

/// Ada and Bob, signed up; nobody has a tenant yet.
pub async fn ada_and_bob(backend: &Local) -> (Browser, Browser) {
    tokio::join!(
        Browser::signed_up(backend, "ada@example.com"),
        Browser::signed_up(backend, "bob@example.com")
    )
}

/// Runs a test on something that several tests share and leave unchanged. The first test starts it.
/// These tests run on one runtime, which lives as long as the process, and so do their servers.
pub fn share<T>(shared: &OnceCell<T>, start: impl AsyncFnOnce() -> T, test: impl AsyncFnOnce(&T)) {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    RUNTIME.block_on(async { test(shared.get_or_init(|| start()).await).await });
}

/// Another gateway of a backend, with its own configuration. It stops when it is dropped.
pub struct Gateway {
    address: std::net::SocketAddr,
    _shutdown: DropGuard,
}

impl Gateway {
    pub async fn start(backend: &Local, change: impl FnOnce(&mut gateway::Config)) -> Self {
        Self::start_at(backend, |config, _| change(config)).await
    }

    /// Starts a gateway whose configuration depends on its address.
    pub async fn start_at(
        backend: &Local,
        change: impl FnOnce(&mut gateway::Config, std::net::SocketAddr),
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self::serve(backend, listener, |config| change(config, address))
    }

    pub fn serve(
        backend: &Local,
        listener: tokio::net::TcpListener,
        change: impl FnOnce(&mut gateway::Config),
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let mut config = backend.gateway().clone();
        change(&mut config);
        // A request that arrives before the gateway serves waits in the listener's queue.
        tokio::spawn(gateway::run(
            config,
            listener,
            event_store::Monitor::default(),
            shutdown.clone(),
        ));
        Self {
            address,
            _shutdown: shutdown.drop_guard(),
        }
    }

    /// A gateway whose public URL is its own address.
    pub async fn start_at_own_url(
        backend: &Local,
        change: impl FnOnce(&mut gateway::Config),
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self::serve(backend, listener, |config| {
            config.posture.public_url = format!("http://{address}");
            change(config);
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> std::net::SocketAddr {
        self.address
    }
}

pub const REGISTER: &str = "
    mutation($input: RegisterInput!) {
        account { register(input: $input) { success } }
    }";
pub const LOGIN: &str = "
    mutation($input: LoginInput!) {
        account {
            login(input: $input) {
                user { id email verified }
                session { id device current }
            }
        }
    }";
pub const CHANGE_PASSWORD: &str = "
    mutation($input: ChangePasswordInput!) {
        account { changePassword(input: $input) { success } }
    }";
pub const VERIFY: &str = "
    mutation($input: VerifyAccountInput!) {
        account { verifyAccount(input: $input) { success } }
    }";
pub const CREATE_TENANT: &str = "
    mutation($input: CreateTenantInput!) {
        tenant {
            create(input: $input) { id name normalizedName revision database { kind host } }
        }
    }";
pub const DELETE_ACME: &str = r#"
    mutation {
        tenant { delete(input: { normalizedName: "acme" }) { success } }
    }"#;
pub const INVITE: &str = "
    mutation($input: InviteMemberInput!) {
        member { invite(input: $input) { id email role status revision } }
    }";
pub const ACCEPT_INVITATION: &str = "
    mutation($input: InvitationInput!) {
        member { acceptInvitation(input: $input) { id normalizedName } }
    }";
pub const UPDATE_MEMBER: &str = "
    mutation($input: UpdateMemberInput!) {
        member { update(input: $input) { id role status revision } }
    }";
pub const DELETE_MEMBER: &str = "
    mutation($id: ID!) {
        member { delete(id: $id) { success } }
    }";
pub const CREATE_PROJECT: &str = "
    mutation($input: CreateProjectInput!) {
        project {
            create(input: $input) {
                id name description status revision createdAt updatedAt
                createdBy { id firstname }
                tenant { normalizedName }
            }
        }
    }";
pub const DELETE_PROJECT: &str = "
    mutation($input: DeleteProjectInput!) {
        project { delete(input: $input) { success } }
    }";
pub const PROJECTS: &str = "{ projects { totalCount nodes { name } } }";
pub const CREATE_TOKEN: &str = "
    mutation($input: CreateAccessTokenInput!) {
        accessToken { create(input: $input) { token accessToken { id name scopes } } }
    }";
pub const DELETE_TOKEN: &str = "
    mutation($id: ID!) {
        accessToken { delete(id: $id) { success } }
    }";
pub const PERMISSIONS: &str = "{ me { permissions } }";

/// The variables of every mutation whose one argument is `input`.
pub fn input(input: Value) -> Value {
    json!({ "input": input })
}

pub fn credentials(email: &str, password: &str) -> Value {
    let params = json!({ "email": email, "password": password });
    input(json!({ "service": "Password", "params": params }))
}

/// The six-digit code in a mail.
pub fn code(mail: &Value) -> String {
    let text = mail["text"].as_str().unwrap();
    let is_code = |word: &&str| word.len() == 6 && word.bytes().all(|c| c.is_ascii_digit());
    let code = text.split_whitespace().find(is_code);
    code.unwrap_or_else(|| panic!("no code in {text}"))
        .to_owned()
}

/// The token of the link in a mail.
pub fn token(mail: &Value) -> String {
    let text = mail["text"].as_str().unwrap();
    let link = text.split_once("token=");
    let (_, rest) = link.unwrap_or_else(|| panic!("no link in {text}"));
    rest.split_whitespace().next().unwrap().to_owned()
}

/// The text at a path such as `/member/invite/id`.
pub fn text(value: &Value, path: &str) -> String {
    let text = value.pointer(path).and_then(Value::as_str);
    text.unwrap_or_else(|| panic!("no text at {path} in {value}"))
        .to_owned()
}

/// The items of a list, such as a connection's nodes.
pub fn list(value: &Value) -> &Vec<Value> {
    value
        .as_array()
        .unwrap_or_else(|| panic!("not a list: {value}"))
}

/// The code of the first error of an answer; null where it has none.
pub fn code_of(answer: &Value) -> &Value {
    &answer["errors"][0]["extensions"]["code"]
}

pub fn succeeded(answer: &Value) -> bool {
    answer["errors"].is_null()
}

/// The extensions of an error about an input, as `Browser::error` returns them.
pub fn bad_input(field: &str) -> Value {
    json!({ "code": "BAD_USER_INPUT", "field": field })
}

/// Polls until `holds` returns true. `what` names it in the message of a failure.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let start = Instant::now();
    while !holds().await {
        assert!(
            start.elapsed() < DEADLINE,
            "{what}: not within {DEADLINE:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Asserts that an answer is an error of this status and code.
pub async fn assert_refused(what: &str, response: Response, status: StatusCode, code: &str) {
    assert_eq!(response.status(), status, "{what}");
    let body = response.json::<Value>().await;
    let body = body.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(code_of(&body), code, "{what}: {body}");
}

/// All permissions, sorted.
pub fn permissions() -> Vec<String> {
    let mut all: Vec<_> = Permission::all().iter().map(ToString::to_string).collect();
    all.sort();
    all
}

/// What a guest holds, as the API lists it.
pub fn guest_permissions() -> Vec<String> {
    BuiltInRole::Guest
        .permissions()
        .iter()
        .map(|held| held.to_string())
        .collect()
}

pub const MEMBERS: &str = "
    query($where: MemberFilter, $orderBy: MemberOrder) {
        members(where: $where, orderBy: $orderBy) {
            totalCount
            nodes { id email role status revision }
        }
    }";

/// The variables of [`INVITE`].
pub fn invite(email: &str, role: &str) -> Value {
    input(json!({ "email": email, "role": role }))
}

/// The addresses of a list of members, in its order.
pub async fn emails(browser: &Browser, variables: Value) -> Vec<String> {
    let members = browser.data(MEMBERS, variables).await;
    list(&members["members"]["nodes"])
        .iter()
        .map(|member| text(member, "/email"))
        .collect()
}

pub const LIST_PROJECTS: &str = "
    query(
        $where: ProjectFilter, $orderBy: ProjectOrder,
        $first: Int, $after: String, $last: Int, $before: String
    ) {
        projects(
            where: $where, orderBy: $orderBy,
            first: $first, after: $after, last: $last, before: $before
        ) {
            totalCount
            nodes { id name }
            edges { cursor }
            pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
        }
    }";

/// Creates a project in the browser's tenant; returns its id.
pub async fn create_project(browser: &Browser, name: &str) -> String {
    let created = browser
        .data(CREATE_PROJECT, input(json!({ "name": name })))
        .await;
    text(&created, "/project/create/id")
}

/// The names of a list of projects, in its order.
pub async fn project_names(browser: &Browser, variables: Value) -> Vec<String> {
    let projects = browser.data(LIST_PROJECTS, variables).await;
    list(&projects["projects"]["nodes"])
        .iter()
        .map(|project| text(project, "/name"))
        .collect()
}
