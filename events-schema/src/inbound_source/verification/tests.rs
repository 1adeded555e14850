use super::*;
use crate::{Id, ProjectId};

const GITHUB: Provider = Provider::Github {
    project: ProjectId(Id::from_bytes([1; 16])),
};
/// The example of GitHub's documentation, "Validating webhook deliveries".
const GITHUB_SECRET: &str = "It's a Secret to Everybody";
const GITHUB_BODY: &[u8] = b"Hello, World!";
const GITHUB_SIGNATURE: &str =
    "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

/// The example of Standard Webhooks.
const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const STANDARD_BODY: &[u8] = br#"{"test": 2432232314}"#;
const STANDARD_SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

/// Stripe publishes no signature, so Python's `hmac` has made this one as its documentation says,
/// and those of the generic scheme.
const STRIPE_SECRET: &str = "whsec_test_secret_of_stripe";
const BODY: &[u8] =
    br#"{"id":"evt_1NG8Du2eZvKYlo2CUI79vXWy","object":"event","type":"setup_intent.created"}"#;
const BODY_DIGEST: &str = "28255af2457da355df6be2b8067b568994dcfb6205f968df33b2c3f31c939d2c";
const TIME: &str = "1686089970";
const STRIPE_V1: &str = "9a1c202d39ed4b7ea989e41be7c0a386af84a976f05b6b396c73a839cf8d2de5";
const SECRET: &str = "a-secret-of-the-service";
const HEX_OF_BODY: &str = "41de10a8edc0899e20f8edc6a96a63f44566efff2f2ed072cb5262396eab19f4";
const BASE64_OF_TIME_AND_BODY: &str = "b2xM2JNOhdURqOF8I0+q08jtlcS6dr0GHv30xm5Yikg=";

/// A hook, and what it is verified with.
struct Given<'h> {
    provider: Provider,
    secrets: Vec<&'h str>,
    headers: Vec<(&'h str, &'h str)>,
    body: &'h [u8],
    now_secs: i64,
}

impl<'h> Given<'h> {
    fn verified(&self) -> Result<Accepted, Refused> {
        let secrets = Vec::from_iter(self.secrets.iter().map(|it| (*it).to_owned()));
        let header = |name: &str| {
            let found = self.headers.iter().find(|(of, _)| *of == name);
            found.map(|(_, value)| *value)
        };
        verify(
            &self.provider,
            &secrets,
            header,
            self.body,
            Time(self.now_secs * 1000),
        )
    }

    #[track_caller]
    fn is_accepted_as(&self, key: &str, event: Option<&str>) {
        let accepted = Accepted {
            key: key.to_owned(),
            event: event.map(str::to_owned),
        };
        assert_eq!(self.verified(), Ok(accepted));
    }

    #[track_caller]
    fn is_refused(&self) {
        assert_eq!(self.verified(), Err(Refused));
    }

    fn with(mut self, name: &str, value: &'h str) -> Self {
        for header in &mut self.headers {
            if header.0 == name {
                header.1 = value;
            }
        }
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(of, _)| *of != name);
        self
    }

    /// Any change of the body, the secret, the headers or the time makes the hook refused.
    #[track_caller]
    fn is_refused_if_anything_differs(hook: impl Fn() -> Self, signed: &[&str]) {
        assert!(hook().verified().is_ok());
        for (name, _) in &hook().headers {
            if signed.contains(name) {
                hook().without(name).is_refused();
                hook().with(name, "").is_refused();
            }
        }
        let longer = [hook().body, b" "].concat();
        Given {
            body: &longer,
            ..hook()
        }
        .is_refused();
        let secrets = vec!["another-secret-of-the-service"];
        Given { secrets, ..hook() }.is_refused();
        Given {
            secrets: Vec::new(),
            ..hook()
        }
        .is_refused();
    }

    /// The hook is accepted within five minutes of its time, and not beyond.
    #[track_caller]
    fn is_refused_when_stale(hook: impl Fn(i64) -> Self, time: i64) {
        for (distance, is_accepted) in [(-301, false), (-300, true), (300, true), (301, false)] {
            let verified = hook(time + distance).verified();
            assert_eq!(verified.is_ok(), is_accepted, "{distance}");
        }
    }
}

fn github() -> Given<'static> {
    Given {
        provider: GITHUB,
        secrets: vec![GITHUB_SECRET],
        headers: vec![
            ("x-hub-signature-256", GITHUB_SIGNATURE),
            ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
            ("x-github-event", "issues"),
        ],
        body: GITHUB_BODY,
        now_secs: 0,
    }
}
fn standard(now_secs: i64) -> Given<'static> {
    Given {
        provider: Provider::StandardWebhooks,
        secrets: vec![STANDARD_SECRET],
        headers: vec![
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", STANDARD_SIGNATURE),
        ],
        body: STANDARD_BODY,
        now_secs,
    }
}
fn stripe(header: &str, now_secs: i64) -> Given<'_> {
    Given {
        provider: Provider::Stripe,
        secrets: vec![STRIPE_SECRET],
        headers: vec![("stripe-signature", header)],
        body: BODY,
        now_secs,
    }
}
fn scheme(encoding: Encoding, timestamp: Option<&str>, id: Option<&str>) -> Provider {
    let header = |name| HeaderName::parse(name).unwrap();
    Provider::Hmac(HmacScheme {
        signature_header: header("X-Signature"),
        encoding,
        timestamp_header: timestamp.map(header),
        id_header: id.map(header),
    })
}
fn of_body() -> Given<'static> {
    Given {
        provider: scheme(Encoding::Hex, None, None),
        secrets: vec![SECRET],
        headers: vec![("x-signature", HEX_OF_BODY)],
        body: BODY,
        now_secs: 0,
    }
}
fn of_time_and_body(now_secs: i64) -> Given<'static> {
    Given {
        provider: scheme(Encoding::Base64, Some("x-time"), Some("x-id")),
        headers: vec![
            ("x-signature", BASE64_OF_TIME_AND_BODY),
            ("x-time", TIME),
            ("x-id", "hook-7"),
        ],
        now_secs,
        ..of_body()
    }
}

#[test]
fn hooks_of_github_are_verified_as_its_documentation_shows() {
    github().is_accepted_as("72d3162e-cc78-11e3-81ab-4c9367dc0958", Some("issues"));
    let signed = ["x-hub-signature-256", "x-github-delivery"];
    Given::is_refused_if_anything_differs(github, &signed);
    let bare = GITHUB_SIGNATURE.trim_start_matches("sha256=");
    github().with("x-hub-signature-256", bare).is_refused();
}

#[test]
fn standard_webhooks_are_verified_as_their_specification_shows() {
    let at = 1_614_265_330;
    standard(at).is_accepted_as("msg_p5jXN8AQM9LWM0D4loKWxJek", None);
    let signed = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    Given::is_refused_if_anything_differs(|| standard(at), &signed);
    Given::is_refused_when_stale(standard, at);
}

#[test]
fn hooks_of_stripe_are_verified_as_its_documentation_says() {
    let header = format!("t={TIME},v1={STRIPE_V1},v0=6ffbb59b2300aae63f272406069a9788");
    let at = TIME.parse().unwrap();
    stripe(&header, at).is_accepted_as("evt_1NG8Du2eZvKYlo2CUI79vXWy", None);
    Given::is_refused_if_anything_differs(|| stripe(&header, at), &["stripe-signature"]);
    Given::is_refused_when_stale(|now| stripe(&header, now), at);
    for wrong in [
        format!("t={TIME},v0={STRIPE_V1}"),
        format!("v1={STRIPE_V1}"),
        format!("t=1686089971,v1={STRIPE_V1}"),
    ] {
        stripe(&wrong, at).is_refused();
    }
}

#[test]
fn one_of_several_signatures_of_stripe_is_enough() {
    let other = "00".repeat(32);
    let header = format!("t={TIME},v1={other},v1={STRIPE_V1}");
    let verified = stripe(&header, TIME.parse().unwrap()).verified();
    assert!(verified.is_ok());
}

#[test]
fn a_generic_signature_is_that_of_the_body_or_of_time_and_body() {
    of_body().is_accepted_as(BODY_DIGEST, None);
    Given::is_refused_if_anything_differs(of_body, &["x-signature"]);
    let prefixed = format!("sha256={}", HEX_OF_BODY.to_uppercase());
    let hook = of_body().with("x-signature", &prefixed);
    hook.is_accepted_as(BODY_DIGEST, None);

    let at = TIME.parse().unwrap();
    of_time_and_body(at).is_accepted_as("hook-7", None);
    let signed = ["x-signature", "x-time", "x-id"];
    Given::is_refused_if_anything_differs(|| of_time_and_body(at), &signed);
    Given::is_refused_when_stale(of_time_and_body, at);
}

#[test]
fn each_valid_secret_verifies_whatever_its_position() {
    for secrets in [[GITHUB_SECRET, SECRET], [SECRET, GITHUB_SECRET]] {
        let secrets = secrets.to_vec();
        assert!(
            Given {
                secrets,
                ..github()
            }
            .verified()
            .is_ok()
        );
    }
}

#[test]
fn an_id_or_event_that_is_not_printable_or_too_long_is_refused() {
    let long = "x".repeat(201);
    for wrong in ["", "a b", "ä", "a\n", &long] {
        github().with("x-github-delivery", wrong).is_refused();
        github().with("x-github-event", wrong).is_refused();
    }
    let longest = "x".repeat(200);
    github()
        .with("x-github-delivery", &longest)
        .is_accepted_as(&longest, Some("issues"));
}
