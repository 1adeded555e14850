//! What production insists on: encrypted connections, users with passwords, secrets that nobody can
//! guess, and servers without known vulnerabilities.

use std::{fmt, net::IpAddr};

use anyhow::bail;
use async_nats::Client;
use axum::http::Uri;
use clap::{Args, ValueEnum};
use events_schema::{IpNetwork, secret::Secret};
use futures_util::future::join_all;
use mongodb::{
    bson::doc,
    options::{ClientOptions, ServerAddress, Tls},
};
use zxcvbn::zxcvbn;

use crate::{Database, Mongo, MongoOptions, NatsOptions, SecretOptions, nats};

/// A secret is weak if it can be guessed within this power of ten of tries. The estimate of any
/// random secret is higher; it ends at 10^19.2.
const MIN_GUESSES_LOG10: f64 = 19.0;

/// Of 20,000 random secrets in base64 for URLs, one has more of these characters.
const MAX_SEPARATORS: usize = 7;

/// The first version of each release of MongoDB that has the fixes that docs/security.md lists. An
/// older release that is not listed is refused.
const MONGOD_FLOOR: [Version; 5] = [[6, 0, 30], [7, 0, 48], [8, 0, 37], [8, 3, 16], [9, 0, 7]];
/// The first version of nats-server that has the fixes that docs/security.md lists.
const NATS_FLOOR: [Version; 1] = [[2, 14, 3]];

/// Major, minor and patch.
type Version = [u32; 3];

/// How strict a program is.
#[derive(Args, Clone, Debug)]
pub struct PostureOptions {
    /// URL at which users reach the gateway, `https` except on localhost. Links in mails begin with
    /// it. With `https`, cookies are `__Host-` and Secure.
    #[arg(
        long,
        env = "UB_PUBLIC_URL",
        default_value = "http://127.0.0.1:9900",
        value_parser = public_url
    )]
    pub public_url: String,

    /// Production refuses unsafe settings and logs JSON; the gateway then has no introspection, no
    /// GraphiQL and no start page. It is the default, unless the public URL is on localhost.
    #[arg(long, env = "UB_MODE")]
    pub mode: Option<Mode>,

    /// What production accepts nevertheless, with a warning, such as plain connections within a
    /// private network.
    #[arg(long, env = "UB_ALLOW", value_delimiter = ',')]
    pub allow: Vec<Exception>,
}

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// On the machine of a developer.
    Development,
    /// For real users.
    Production,
}

/// Something unsafe that an operator may accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Exception {
    /// NATS without TLS.
    PlainNats,
    /// MongoDB without TLS.
    PlainMongo,
    /// A mail server without TLS.
    PlainSmtp,
    /// MongoDB without a user.
    OpenMongo,
    /// A mail server without a user.
    OpenSmtp,
    /// A nats-server with known vulnerabilities.
    OldNats,
    /// A mongod with known vulnerabilities.
    OldMongo,
    /// A secret that is easy to guess, such as one that an earlier release has accepted.
    WeakSecret,
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PlainNats => "plain-nats",
            Self::PlainMongo => "plain-mongo",
            Self::PlainSmtp => "plain-smtp",
            Self::OpenMongo => "open-mongo",
            Self::OpenSmtp => "open-smtp",
            Self::OldNats => "old-nats",
            Self::OldMongo => "old-mongo",
            Self::WeakSecret => "weak-secret",
        })
    }
}

/// What is unsafe, how to change it, and which exception accepts it.
struct Problem {
    text: String,
    exception: Option<Exception>,
}

impl Problem {
    const fn new(text: String) -> Self {
        Self {
            text,
            exception: None,
        }
    }

    const fn unless(exception: Exception, text: String) -> Self {
        Self {
            text,
            exception: Some(exception),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match self.exception {
            Some(exception) => write!(f, ", or accept it with UB_ALLOW={exception}"),
            None => Ok(()),
        }
    }
}

impl PostureOptions {
    /// Whether the program is for users.
    pub fn is_production(&self) -> bool {
        match self.mode {
            Some(mode) => mode == Mode::Production,
            None => !self.is_local(),
        }
    }

    /// Whether users reach the gateway over TLS.
    pub fn is_https(&self) -> bool {
        self.public_url.starts_with("https://")
    }

    fn is_local(&self) -> bool {
        read(&self.public_url).is_some_and(|url| is_loopback(url.host()))
    }

    /// Whether unsafe settings are refused: also in development, if strangers reach the gateway.
    fn refuses_unsafe(&self) -> bool {
        self.is_production() || (self.is_https() && !self.is_local())
    }

    /// Refuses unsafe settings.
    ///
    /// # Errors
    /// If settings are unsafe and not accepted by an exception. The error lists all of them, and
    /// shows no password.
    pub async fn check(
        &self,
        nats: &NatsOptions,
        mongo: &MongoOptions,
        secrets: Option<&SecretOptions>,
        smtp_url: Option<&str>,
    ) -> anyhow::Result<()> {
        if !self.refuses_unsafe() {
            return Ok(());
        }
        let mut problems = nats_problems(nats);
        problems.extend(mongo_problems("UB_MONGO_URL", &mongo.mongo_url).await);
        for (name, url) in &mongo.mongo_hosts {
            let setting = format!("the host {name} of UB_MONGO_HOSTS");
            problems.extend(mongo_problems(&setting, url).await);
        }
        problems.extend(smtp_url.map(smtp_problems).into_iter().flatten());
        problems.extend(secrets.map(secret_problems).into_iter().flatten());
        self.refuse_unless_accepted(problems)
    }

    /// Warns of networks that every tenant can send requests to by this setting. An operator may
    /// mean that.
    pub fn warn_of_networks(&self, setting: &str, networks: &[IpNetwork]) {
        if let Some(warning) = self.network_warning(setting, networks) {
            tracing::warn!("{warning}");
        }
    }

    fn network_warning(&self, setting: &str, networks: &[IpNetwork]) -> Option<String> {
        let networks = networks.iter().map(ToString::to_string);
        let networks = networks.collect::<Vec<_>>().join(",");
        let is_unsafe = self.refuses_unsafe() && !networks.is_empty();
        is_unsafe.then(|| format!("every tenant can send requests to {setting}={networks}"))
    }

    /// Refuses a nats-server with known vulnerabilities, unless it is for development.
    ///
    /// # Errors
    /// If the version is below the floor and not accepted by an exception.
    pub fn check_nats(&self, client: &Client) -> anyhow::Result<()> {
        let version = client.server_info().version;
        let old = outdated("nats-server", &version, &NATS_FLOOR, Exception::OldNats);
        self.refuse_unless_accepted(old.into_iter().collect())
    }

    /// Refuses MongoDB hosts with known vulnerabilities, unless they are for development. A host
    /// that does not answer at the start is not checked: when it returns, it must not end the
    /// program for the tenants of all other hosts.
    ///
    /// # Errors
    /// If the version of a host is below the floor and not accepted by an exception. The error
    /// lists all such hosts.
    pub async fn check_mongo(&self, mongo: &Mongo) -> anyhow::Result<()> {
        let checks = mongo.admin_databases().map(async |(host, admin)| {
            let version = match version_of(&admin).await {
                Ok(version) => version,
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(host, error, "the version of this mongod is not checked");
                    return None;
                }
            };
            let name = format!("mongod at {host}");
            outdated(&name, &version, &MONGOD_FLOOR, Exception::OldMongo)
        });
        let old = join_all(checks).await;
        self.refuse_unless_accepted(old.into_iter().flatten().collect())
    }

    fn accepts(&self, problem: &Problem) -> bool {
        let exception = problem.exception;
        !self.refuses_unsafe() || exception.is_some_and(|exception| self.allow.contains(&exception))
    }

    /// Refuses problems, unless an exception accepts them or the program need not insist.
    fn refuse_unless_accepted(&self, problems: Vec<Problem>) -> anyhow::Result<()> {
        let (accepted, refused): (Vec<_>, Vec<_>) = problems
            .into_iter()
            .partition(|problem| self.accepts(problem));
        for problem in accepted {
            if self.refuses_unsafe() {
                tracing::warn!("accepted although unsafe: {}", problem.text);
            } else {
                tracing::debug!("this is not safe in production: {}", problem.text);
            }
        }
        if refused.is_empty() {
            return Ok(());
        }
        let lines = refused.iter().map(|problem| format!("\n- {problem}"));
        bail!("unsafe settings:{}", lines.collect::<String>())
    }
}

fn nats_problems(options: &NatsOptions) -> Vec<Problem> {
    let servers = match nats::parse(&options.nats_url) {
        Ok(servers) => servers,
        Err(error) => return vec![Problem::new(error.to_string())],
    };
    let mut problems = Vec::new();
    if let Err(error) = nats::credentials(&servers) {
        problems.push(Problem::new(error.to_string()));
    }
    let remote = servers
        .iter()
        .find(|server| !is_loopback(Some(server.host())));
    if let Some(remote) = remote.filter(|_| !nats::is_tls(options, &servers)) {
        let text = format!(
            "UB_NATS_URL reaches {} without TLS: begin it with tls://, or set UB_NATS_CA_FILE",
            remote.host()
        );
        problems.push(Problem::unless(Exception::PlainNats, text));
    }
    problems
}

async fn mongo_problems(setting: &str, url: &str) -> Vec<Problem> {
    // The driver's own error might show the URL with its password.
    let Ok(options) = ClientOptions::parse(url).await else {
        let text = format!("{setting} must be a MongoDB URL whose host name resolves");
        return vec![Problem::new(text)];
    };
    let checks_server = match &options.tls {
        Some(Tls::Enabled(tls)) => tls.allow_invalid_certificates != Some(true),
        Some(Tls::Disabled) | None => false,
    };
    let remote = options.hosts.iter().find(|server| is_remote(server));
    // Without a direct connection, the driver connects to whatever members this one names.
    let finds_members = options.direct_connection != Some(true);
    let remote = remote.or(options.hosts.first().filter(|_| finds_members));
    let plain = remote.filter(|_| !checks_server).map(|server| {
        let text = format!(
            "{setting} reaches {server} without TLS, or without a check of its certificate: add \
             tls=true, and tlsCAFile if the authority is your own, or directConnection=true for a \
             server of this machine"
        );
        Problem::unless(Exception::PlainMongo, text)
    });
    let open = options.credential.is_none().then(|| {
        let text = format!("{setting} has no user: write mongodb://USER:PASSWORD@…");
        Problem::unless(Exception::OpenMongo, text)
    });
    plain.into_iter().chain(open).collect()
}

/// Any other address than one of TCP is a socket of this machine.
fn is_remote(server: &ServerAddress) -> bool {
    matches!(server, ServerAddress::Tcp { host, .. } if !is_loopback(Some(host)))
}

fn smtp_problems(url: &str) -> Vec<Problem> {
    let Some(uri) = read(url) else {
        let text = "UB_SMTP_URL must be a URL, as in smtps://USER:PASSWORD@HOST:465";
        return vec![Problem::new(text.to_owned())];
    };
    if is_loopback(uri.host()) {
        return Vec::new();
    }
    let mut pairs = uri.query().unwrap_or_default().split('&');
    let is_tls = uri.scheme_str() == Some("smtps") || pairs.any(|pair| pair == "tls=required");
    let plain = (!is_tls).then(|| {
        let text = "UB_SMTP_URL does not require TLS: begin it with smtps://, or add ?tls=required";
        Problem::unless(Exception::PlainSmtp, text.to_owned())
    });
    let has_user = uri.authority().is_some_and(|to| to.as_str().contains('@'));
    let open = (!has_user).then(|| {
        let text = "UB_SMTP_URL has no user: write smtps://USER:PASSWORD@…";
        Problem::unless(Exception::OpenSmtp, text.to_owned())
    });
    plain.into_iter().chain(open).collect()
}

fn secret_problems(options: &SecretOptions) -> Vec<Problem> {
    let accepted = options.accepted_secrets.iter();
    let accepted = accepted.map(|secret| ("UB_ACCEPTED_SECRETS", secret));
    let all = std::iter::once(("UB_SECRET", &options.secret)).chain(accepted);
    let weak = all.filter(|(_, secret)| is_weak(secret));
    weak.map(|(setting, _)| {
        let remedy = "make one with `echo k1:$(openssl rand -hex 32)`";
        let text = format!("{setting} is easy to guess: {remedy}");
        Problem::unless(Exception::WeakSecret, text)
    })
    .collect()
}

/// Whether a secret does not look random, or is repeated or in sequence. The estimate alone takes
/// a sentence for strong.
fn is_weak(secret: &Secret) -> bool {
    let text = secret.text();
    let is_hex = text.bytes().all(|c| c.is_ascii_hexdigit());
    let looks_random = is_hex || looks_like_base64(text);
    !looks_random || zxcvbn(text, &[]).guesses_log10() < MIN_GUESSES_LOG10
}

/// Whether a text looks like 32 random bytes in base64. Such a text has capitals, and digits or
/// signs and, unlike a sentence, few separators: all but one of 7,000 random ones.
fn looks_like_base64(text: &str) -> bool {
    let is_base64 = |c: u8| c.is_ascii_alphanumeric() || b"+/-_=".contains(&c);
    let separators = text.bytes().filter(|c| b"-_".contains(c)).count();
    let has = |kind: fn(&u8) -> bool| text.bytes().any(|c| kind(&c));
    text.len() >= 43
        && text.bytes().all(is_base64)
        && separators <= MAX_SEPARATORS
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && has(|c| c.is_ascii_digit() || b"+/".contains(c))
}

async fn version_of(admin: &Database) -> anyhow::Result<String> {
    let info = admin.run("buildInfo", |admin| async move {
        admin.run_command(doc! { "buildInfo": 1 }).await
    });
    Ok(info
        .await?
        .get_str("version")
        .unwrap_or_default()
        .to_owned())
}

fn outdated(
    server: &str,
    version: &str,
    floor: &[Version],
    exception: Exception,
) -> Option<Problem> {
    is_below(version, floor).then(|| {
        let versions = floor
            .iter()
            .map(|[major, minor, patch]| format!("{major}.{minor}.{patch}"));
        let versions = versions.collect::<Vec<_>>().join(", ");
        let text = format!(
            "{server} has version {version:?} with known vulnerabilities: update it to the latest \
             one, at least {versions}"
        );
        Problem::unless(exception, text)
    })
}

/// Whether a version is older than the first safe one of its release, or its release is older than
/// the latest one and has none.
fn is_below(version: &str, floor: &[Version]) -> bool {
    let mut numbers = version.split(['.', '-', '+']).map(str::parse);
    let mut next = || numbers.next()?.ok();
    let (Some(major), Some(minor), Some(patch)) = (next(), next(), next()) else {
        return true;
    };
    let release = [major, minor];
    match floor.iter().find(|safe| safe[..2] == release) {
        Some(safe) => patch < safe[2],
        None => floor.iter().any(|safe| safe[..2] > release[..]),
    }
}

fn public_url(text: &str) -> Result<String, &'static str> {
    const WRONG: &str = "must begin with http:// or https:// and name a host";
    let uri = read(text).ok_or(WRONG)?;
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if is_loopback(uri.host()) => {}
        // The session cookie could be read on the way.
        Some("http") => return Err("must begin with https://, except on localhost"),
        _ => return Err(WRONG),
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Reads a URL that has a scheme and a host.
fn read(url: &str) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    let is_complete = uri.scheme().is_some() && uri.host().is_some_and(|host| !host.is_empty());
    is_complete.then_some(uri)
}

/// Whether a host is this machine.
pub(crate) fn is_loopback(host: Option<&str>) -> bool {
    let host = host.unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let address = address.parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
