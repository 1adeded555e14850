use clap::Parser;

use super::*;
use crate::WebhookOptions;

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    posture: PostureOptions,
    #[command(flatten)]
    nats: NatsOptions,
    #[command(flatten)]
    mongo: MongoOptions,
    #[command(flatten)]
    secrets: SecretOptions,
    #[command(flatten)]
    webhook: WebhookOptions,
    #[arg(long)]
    smtp_url: String,
}

const SECRET: &str = "k1:8f14e45fceea167a5a36dedd4bea25430d1c3a1f6e2b7c9d85a0f4b2c6e71d93";
const SAFE: [(&str, &str); 5] = [
    ("--nats-url", "tls://workers:hunter2@n1:4222"),
    (
        "--mongo-url",
        "mongodb://workers:hunter2@m1/?tls=true&replicaSet=rs0",
    ),
    ("--smtp-url", "smtps://workers:hunter2@mail.example.com"),
    ("--secret", SECRET),
    ("--public-url", "https://example.com"),
];

fn options(changes: &[(&str, &str)]) -> Options {
    parsed(changes).unwrap()
}

fn parsed(changes: &[(&str, &str)]) -> Result<Options, clap::Error> {
    let kept = SAFE
        .iter()
        .filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    let words = kept
        .chain(changes)
        .flat_map(|(name, value)| [*name, *value]);
    Options::try_parse_from(std::iter::once("x").chain(words))
}

/// The problems that are listed, one on each line; none if the settings are accepted.
async fn refused(changes: &[(&str, &str)]) -> Vec<String> {
    let Options {
        posture,
        nats,
        mongo,
        secrets,
        smtp_url,
        ..
    } = options(changes);
    let checked = posture.check(&nats, &mongo, Some(&secrets), Some(&smtp_url));
    let Err(error) = checked.await else {
        return Vec::new();
    };
    let text = error.to_string();
    assert!(!text.contains("hunter2"), "{text}");
    let lines = text.lines().skip(1);
    lines
        .map(|line| line.trim_start_matches("- ").to_owned())
        .collect()
}

async fn is_refused(changes: &[(&str, &str)], mention: &str) {
    let refused = refused(changes).await;
    let [problem] = &refused[..] else {
        panic!("{changes:?}: {refused:?}");
    };
    assert!(problem.contains(mention), "{problem}");
}

async fn is_accepted(changes: &[(&str, &str)]) {
    let refused = refused(changes).await;
    assert!(refused.is_empty(), "{changes:?}: {refused:?}");
}

#[test]
fn production_warns_of_networks_that_every_tenant_can_send_requests_to() {
    let warning = |changes: &[(&str, &str)]| {
        let Options {
            posture, webhook, ..
        } = options(changes);
        posture.network_warning("UB_WEBHOOK_ALLOW", &webhook.webhook_allow)
    };
    let networks = ("--webhook-allow", "10.0.0.0/8,::1");
    let expected = "UB_WEBHOOK_ALLOW=10.0.0.0/8,::1";
    let warned = warning(&[networks]).unwrap();
    assert!(warned.contains(expected), "{warned}");
    assert_eq!(warning(&[]), None);
    let local = ("--public-url", "http://127.0.0.1:9900");
    assert_eq!(warning(&[networks, local]), None);
}

const PLAIN_NATS: (&str, &str) = (
    "--nats-url",
    "tls://w:hunter2@127.0.0.1,nats://w:hunter2@n1",
);
const PLAIN_MONGO: (&str, &str) = ("--mongo-url", "mongodb://w:hunter2@localhost,m1");
const PLAIN_SMTP: (&str, &str) = ("--smtp-url", "smtp://w:hunter2@mail.example.com:25");

#[tokio::test]
async fn production_refuses_nats_without_tls_beyond_this_machine() {
    is_accepted(&[]).await;
    let plain = "nats://w:hunter2@127.0.0.1,nats://w:hunter2@n1:4222";
    is_refused(&[("--nats-url", plain)], "UB_NATS_URL reaches n1").await;
    is_accepted(&[("--nats-url", plain), ("--nats-ca-file", "/ca.pem")]).await;
    // One URL decides for all servers.
    is_accepted(&[PLAIN_NATS]).await;
    is_accepted(&[(
        "--nats-url",
        "nats://w:hunter2@[::1]:4222,nats://w:hunter2@localhost",
    )])
    .await;
}

#[tokio::test]
async fn production_refuses_mongodb_without_tls_beyond_this_machine() {
    is_refused(&[PLAIN_MONGO], "UB_MONGO_URL reaches m1").await;
    let unchecked = "mongodb://w:hunter2@m1/?tls=true&tlsInsecure=true";
    is_refused(&[("--mongo-url", unchecked)], "UB_MONGO_URL").await;
    let here = "mongodb://w:hunter2@127.0.0.1";
    let direct = format!("{here}/?directConnection=true");
    is_accepted(&[("--mongo-url", &direct)]).await;
    // It may name members on other machines.
    is_refused(&[("--mongo-url", here)], "UB_ALLOW=plain-mongo").await;
    let further = [("--mongo-hosts", "eu=mongodb://w:hunter2@m2")];
    is_refused(&further, "the host eu of UB_MONGO_HOSTS reaches m2").await;
}

#[tokio::test]
async fn production_refuses_a_mail_server_without_tls_beyond_this_machine() {
    is_refused(&[PLAIN_SMTP], "UB_SMTP_URL").await;
    let opportunistic = "smtp://w:hunter2@mail.example.com?tls=opportunistic";
    is_refused(&[("--smtp-url", opportunistic)], "?tls=required").await;
    let required = "smtp://w:hunter2@mail.example.com?tls=required";
    is_accepted(&[("--smtp-url", required)]).await;
    is_accepted(&[("--smtp-url", "smtp://127.0.0.1:9")]).await;
}

#[tokio::test]
async fn production_refuses_urls_without_a_user() {
    is_refused(&[("--nats-url", "tls://n1:4222")], "a user and a password").await;
    is_refused(
        &[("--mongo-url", "mongodb://127.0.0.1/?directConnection=true")],
        "has no user",
    )
    .await;
    is_refused(&[("--smtp-url", "smtps://mail.example.com")], "has no user").await;
}

#[tokio::test]
async fn production_refuses_secrets_that_are_easy_to_guess() {
    for weak in [
        "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
        "k1:kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
        "0123456789abcdef0123456789abcdef",
        "abcdefghijklmnopqrstuvwxyz0123456789",
        "qwertyuiopasdfghjklzxcvbnm1234567890",
        "ultimate-backend-ultimate-backend",
        "correct horse battery staple correct",
        "the 12 disciples of our company of 2026",
        "changemechangemechangemechangeme",
        "replace-me-with-32-random-characters",
        "please-change-this-secret-before-production-1",
        "your-256-bit-secret-your-256-bit-secret",
        "my-super-secret-key-of-acme-prod-2026",
        "Please-Change-This-Very-Long-Secret-Before-Production-1",
    ] {
        is_refused(&[("--secret", weak)], "UB_SECRET is easy to guess").await;
    }
    let accepted = format!("{SECRET},{}", "k".repeat(32));
    is_refused(&[("--accepted-secrets", &accepted)], "UB_ACCEPTED_SECRETS").await;
}

#[tokio::test]
async fn no_random_secret_counts_as_easy_to_guess() {
    for _ in 0..50 {
        let bytes: [u8; 16] = crate::random_bytes().unwrap();
        let secret = Secret::parse(&data_encoding::HEXLOWER.encode(&bytes)).unwrap();
        assert!(!is_weak(&secret), "{}", secret.text());
    }
    // Fixed, since a random one has neither digits nor signs, or many hyphens, once in a while.
    for text in [
        "Jq0v_8Zr3mXc1-TnYb7eKp5Ws9LhD2uGfA4iQo6kRxE",
        "cpRZL+I/RSzgPgMwxXVlicarI/KCvwfTSOAaSmhaNAs=",
        "LbzqEmRn6HW/Zmy//rRco/yWMFK9Qe+lChs6k0YiJhM=",
    ] {
        assert!(!is_weak(&Secret::parse(text).unwrap()), "{text}");
    }
}

#[tokio::test]
async fn all_problems_are_listed_at_once_each_with_its_setting_and_exception() {
    let nats = ("--nats-url", "nats://w:hunter2@n1");
    let mongo = ("--mongo-url", "mongodb://m1");
    let smtp = ("--smtp-url", "smtp://mail.example.com");
    let all = [
        nats,
        mongo,
        smtp,
        ("--secret", "0123456789abcdef0123456789abcdef"),
    ];
    let problems = refused(&all).await;
    let endings = [
        "UB_ALLOW=plain-nats",
        "UB_ALLOW=plain-mongo",
        "UB_ALLOW=open-mongo",
        "UB_ALLOW=plain-smtp",
        "UB_ALLOW=open-smtp",
        "UB_ALLOW=weak-secret",
    ];
    assert_eq!(problems.len(), endings.len(), "{problems:?}");
    for (problem, ending) in problems.iter().zip(endings) {
        assert!(
            problem.starts_with("UB_") && problem.ends_with(ending),
            "{problem}"
        );
    }
}

#[tokio::test]
async fn an_exception_accepts_one_problem_and_no_other() {
    let plain = [PLAIN_MONGO, PLAIN_SMTP];
    let all = [&plain[..], &[("--allow", "plain-mongo,plain-smtp")]].concat();
    is_accepted(&all).await;
    let one = [
        &plain[..],
        &[("--allow", "plain-mongo,plain-nats,open-smtp")],
    ]
    .concat();
    is_refused(&one, "UB_SMTP_URL").await;
}

#[tokio::test]
async fn production_is_the_default_unless_the_public_url_is_on_this_machine() {
    let is_production = |changes: &[(&str, &str)]| options(changes).posture.is_production();
    assert!(is_production(&[]));
    for url in [
        "http://localhost:9900",
        "https://127.0.0.1/x",
        "http://[::1]:80",
    ] {
        assert!(!is_production(&[("--public-url", url)]), "{url}");
        assert!(is_production(&[
            ("--public-url", url),
            ("--mode", "production")
        ]));
    }
    for url in [
        "https://127.0.0.1.example.com",
        "https://localhost.example.com",
    ] {
        assert!(is_production(&[("--public-url", url)]), "{url}");
        assert!(!is_production(&[
            ("--public-url", url),
            ("--mode", "development")
        ]));
    }
}

#[tokio::test]
async fn development_refuses_the_same_if_strangers_reach_it() {
    is_refused(&[PLAIN_MONGO, ("--mode", "development")], "UB_MONGO_URL").await;
    is_accepted(&[PLAIN_MONGO, ("--public-url", "http://127.0.0.1:9900")]).await;
}

#[test]
fn a_server_below_the_floor_of_its_release_is_outdated() {
    for old in [
        "6.0.5", "6.0.29", "7.0.47", "7.1.9", "8.2.99", "9.0.6", "5.0.35", "", "x",
    ] {
        assert!(is_below(old, &MONGOD_FLOOR), "{old}");
    }
    for safe in [
        "6.0.30",
        "7.0.48",
        "8.0.100",
        "8.3.16",
        "9.0.7-rc1",
        "9.1.0",
        "10.0.0",
    ] {
        assert!(!is_below(safe, &MONGOD_FLOOR), "{safe}");
    }
    assert!(is_below("2.14.2", &NATS_FLOOR) && is_below("2.12.12", &NATS_FLOOR));
    assert!(!is_below("2.14.3", &NATS_FLOOR) && !is_below("2.15.1", &NATS_FLOOR));
}

#[test]
fn an_outdated_server_is_refused_in_production_and_accepted_in_development() {
    let judged = |changes: &[(&str, &str)]| {
        let old = outdated("mongod", "6.0.5", &MONGOD_FLOOR, Exception::OldMongo);
        options(changes)
            .posture
            .refuse_unless_accepted(old.into_iter().collect())
    };
    let error = judged(&[]).unwrap_err().to_string();
    assert!(
        error.contains("6.0.5") && error.contains("8.0.37"),
        "{error}"
    );
    assert!(judged(&[("--allow", "old-mongo")]).is_ok());
    assert!(judged(&[("--public-url", "http://localhost")]).is_ok());
}

#[test]
fn a_public_url_is_https_except_on_this_machine() {
    for url in [
        "https://example.com",
        "http://localhost:9900",
        "http://[::1]:9900",
    ] {
        assert_eq!(public_url(&format!("{url}/")), Ok(url.to_owned()));
    }
    for wrong in [
        "ftp://x",
        "https://",
        "http://example.com",
        "example.com",
        "https://a b",
        "",
    ] {
        assert!(public_url(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn two_further_secrets_are_accepted_and_no_third() {
    let count = |number| {
        let accepted = vec![SECRET; number].join(",");
        let parsed = parsed(&[("--accepted-secrets", &accepted)]);
        parsed.map(|options| options.secrets.accepted_secrets.len())
    };
    assert_eq!((count(1).unwrap(), count(2).unwrap()), (1, 2));
    assert!(count(3).is_err());
}
