//! An example of each variant ever released, as it was stored. They are added to and never changed: what was once
//! stored must decode for ever, and encode to the same.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test binary: it has no readers but its own, and panics when it fails"
)]

use std::fmt::Debug;

use events_schema::{
    Actor, ClaimHolder, Command, Commit, Document, Outcome, account,
    email::{self, Status, Template},
    session,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

const ID: &str = "00112233445566778899aabbccddeeff";
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA";

/// Decodes, encodes to the same, and survives a field that it does not know.
fn both_ways<T: Serialize + DeserializeOwned + PartialEq + Debug>(golden: &Value) -> T {
    let decode = |value: &Value| serde_json::from_value::<T>(value.clone()).unwrap_or_else(|error| panic!("{value}: {error}"));
    let decoded = decode(golden);
    assert_eq!(&serde_json::to_value(&decoded).unwrap(), golden);
    if golden.is_object() {
        assert_eq!(decode(&with(golden, "/new_field", json!({"anything": 1}))), decoded);
    }
    decoded
}

fn with(golden: &Value, at: &str, value: Value) -> Value {
    let (parent, field) = at.rsplit_once('/').unwrap();
    let mut golden = golden.clone();
    golden.pointer_mut(parent).unwrap()[field] = value;
    golden
}

/// Each variant with its goldens. The patterns make a match without a wildcard, so that a new variant does not compile
/// until it stands here, and it cannot stand here without a golden; hence a macro and no function.
macro_rules! complete {
    ($type:ty, $tag:literal; $($variant:pat_param => $($golden:expr),+;)+) => {{
        let known = |value: &$type| {
            use $type::*;
            match value { $($variant => {})+ }
        };
        $($({
            use $type::*;
            let golden = $golden;
            let decoded: $type = both_ways(&golden);
            known(&decoded);
            assert!(matches!(decoded, $variant), "{golden} is no {}", stringify!($variant));
            let unknown = if golden.is_object() { with(&golden, concat!("/", $tag), json!("flown_to_the_moon")) } else { json!("moon") };
            serde_json::from_value::<$type>(unknown).unwrap_err();
        })+)+
    }};
}

#[test]
fn account_commands() {
    complete! { account::Command, "type";
        Register { .. } =>
            json!({"type": "register", "email": "ada@example.com", "firstname": "Ada", "lastname": "Lovelace", "password_hash": HASH});
        RequestVerification => json!({"type": "request_verification"});
        AnswerVerification { .. } => json!({"type": "answer_verification", "challenge": ID, "correct": true});
        RequestPasswordReset => json!({"type": "request_password_reset"});
        ResetPassword { .. } => json!({"type": "reset_password", "challenge": ID, "password_hash": HASH});
        ChangePassword { .. } => json!({"type": "change_password", "old_hash": HASH, "password_hash": HASH});
        RevokeSessions => json!({"type": "revoke_sessions"});
        UpdateProfile { .. } => json!({"type": "update_profile", "lastname": "Byron"}), json!({"type": "update_profile"});
    }
}

#[test]
fn account_events() {
    complete! { account::Event, "type";
        Registered { .. } =>
            json!({"type": "registered", "email": "ada@example.com", "firstname": "Ada", "lastname": "Lovelace", "password_hash": HASH});
        RegistrationRefused { .. } => json!({"type": "registration_refused", "email": "ada@example.com", "holder": ID});
        VerificationRequested { .. } =>
            json!({"type": "verification_requested", "challenge": ID, "email": "ada@example.com", "firstname": "Ada"});
        VerificationFailed { .. } => json!({"type": "verification_failed", "challenge": ID});
        Verified => json!({"type": "verified"});
        PasswordResetRequested { .. } =>
            json!({"type": "password_reset_requested", "challenge": ID, "email": "ada@example.com", "firstname": "Ada"});
        PasswordChanged { .. } =>
            json!({"type": "password_changed", "password_hash": HASH, "email": "ada@example.com", "firstname": "Ada"});
        SessionsRevoked => json!({"type": "sessions_revoked"});
        ProfileUpdated { .. } => json!({"type": "profile_updated", "firstname": "Ada", "lastname": "Byron"});
    }
}

#[test]
fn session_commands_and_events() {
    complete! { session::Command, "type";
        Start { .. } => json!({"type": "start", "account": ID, "epoch": 0, "device": "curl/8"});
        Touch => json!({"type": "touch"});
        End { .. } => json!({"type": "end", "account": ID});
    }
    complete! { session::Event, "type";
        Started { .. } => json!({"type": "started", "account": ID, "epoch": 0, "device": "curl/8"});
        Used => json!({"type": "used"});
        Ended => json!({"type": "ended"});
    }
}

#[test]
fn email_commands_events_templates_and_statuses() {
    complete! { email::Command, "type";
        Request { .. } => json!({"type": "request", "to": "ada@example.com", "template": {"type": "already_registered"}});
        RecordSent => json!({"type": "record_sent"});
        RecordFailed { .. } => json!({"type": "record_failed", "reason": "550 no"});
    }
    complete! { email::Event, "type";
        Requested { .. } => json!({"type": "requested", "to": "ada@example.com", "template": {"type": "already_registered"}});
        Sent => json!({"type": "sent"});
        Failed { .. } => json!({"type": "failed", "reason": "550 no"});
    }
    complete! { Template, "type";
        Verification { .. } => json!({"type": "verification", "account": ID, "challenge": ID, "firstname": "Ada"});
        AlreadyRegistered => json!({"type": "already_registered"});
        PasswordReset { .. } => json!({"type": "password_reset", "account": ID, "challenge": ID, "firstname": "Ada"});
        PasswordChanged { .. } => json!({"type": "password_changed", "firstname": "Ada"});
    }
    complete! { Status, "";
        Requested => json!("requested");
        Sent => json!("sent");
        Failed => json!("failed");
    }
}

#[test]
fn outcomes_and_actors() {
    complete! { Outcome, "type";
        Committed { .. } => json!({"type": "committed", "revision": 2, "sequence": 7});
        DoneBefore { .. } => json!({"type": "done_before", "revision": 2, "sequence": 7});
        Unchanged { .. } => json!({"type": "unchanged", "revision": 0});
        Rejected(_) => json!({"type": "rejected", "code": "not_found", "message": "There is no such account."});
    }
    complete! { Actor, "kind";
        Anonymous => json!({"kind": "anonymous"});
        Account(_) => json!({"kind": "account", "id": ID});
        System => json!({"kind": "system"});
    }
}

#[test]
fn envelopes() {
    let said = |actor: Value| {
        json!({
            "id": ID, "tenant": "platform", "area": "account", "aggregate": ID, "actor": actor, "time": 1_700_000_000_000_i64,
            "reply": "_INBOX_gateway.x", "payload": {"type": "revoke_sessions"},
        })
    };
    let mut unanswered = said(json!({"kind": "system"}));
    unanswered.as_object_mut().unwrap().remove("reply");
    let awaited = [json!({"kind": "anonymous"}), json!({"kind": "account", "id": ID}), json!({"kind": "system"})].map(said);
    for golden in awaited.iter().chain([&unanswered]) {
        let decoded: Command<account::Command> = both_ways(golden);
        assert_eq!(decoded.subject().unwrap().to_string(), "cmd.platform.account.revoke_sessions");
    }
    both_ways::<ClaimHolder>(&json!({"holder": ID}));
    both_ways::<ClaimHolder>(&json!({"holder": null}));
}

#[test]
fn a_commit_survives_new_fields_wherever_they_are_but_no_new_event_or_area() {
    let commit = json!({
        "tenant": ID, "area": "session", "id": ID, "revision": 1, "command": ID, "actor": {"kind": "system"}, "time": 0,
        "events": [{"type": "used"}],
    });
    let decoded: Commit<session::Event> = both_ways(&commit);
    let decode = |at, value| serde_json::from_value::<Commit<session::Event>>(with(&commit, at, value));
    for at in ["/events/0/new_field", "/actor/new_field"] {
        assert_eq!(decode(at, json!({"anything": 1})).unwrap(), decoded, "{at}");
    }
    decode("/events/0/type", json!("flown_to_the_moon")).unwrap_err();
    decode("/area", json!("moon")).unwrap_err();
}

#[test]
fn views() {
    let document = |view: Value| json!({"_id": ID, "tenant": "platform", "revision": 3, "view": view});
    let challenge = json!({"id": ID, "requested_at": 5, "failures": 1});
    for verification in [Value::Null, challenge] {
        both_ways::<Document<account::View>>(&document(json!({
            "email": "ada@example.com", "firstname": "Ada", "lastname": "Lovelace", "verified": false, "password_hash": HASH, "epoch": 0,
            "verification": verification, "created_at": 1, "updated_at": 2,
        })));
    }
    both_ways::<Document<session::View>>(&document(
        json!({"account": ID, "epoch": 0, "device": "curl/8", "started_at": 1, "last_used_at": 2}),
    ));
    let mail = |status: &str| {
        json!({
            "to": "ada@example.com", "template": {"type": "already_registered"}, "status": status, "requested_at": 1, "updated_at": 2,
        })
    };
    for status in ["requested", "sent", "failed"] {
        both_ways::<Document<email::View>>(&document(mail(status)));
    }
    both_ways::<Document<email::View>>(&document(with(&mail("failed"), "/reason", json!("550 no"))));
    both_ways::<Document<session::View>>(&document(Value::Null));
}
