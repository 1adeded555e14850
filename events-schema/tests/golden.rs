//! An example of each variant ever released, as it was stored. They are added to and never changed: what was once
//! stored must decode for ever, and encode to the same.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test binary: it has no readers but its own, and panics when it fails"
)]

use std::{collections::BTreeSet, fmt::Debug};

use events_schema::{
    ClaimHolder, Command, Commit, Document, Outcome, account,
    email::{self, Template},
    session,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

const ID: &str = "00112233445566778899aabbccddeeff";
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA";

fn both_ways<T: Serialize + DeserializeOwned>(golden: &Value) -> T {
    let decoded: T = serde_json::from_value(golden.clone()).unwrap_or_else(|error| panic!("{golden}: {error}"));
    assert_eq!(&serde_json::to_value(&decoded).unwrap(), golden);
    decoded
}

/// Every golden goes both ways, and every variant has one: `variant` names it by a match without a wildcard, so that a
/// new one does not compile until it is named here, and `count` says how many there are.
fn complete<T: Serialize + DeserializeOwned>(goldens: &[Value], variant: fn(&T) -> &'static str, count: usize) {
    let mut seen = BTreeSet::new();
    for golden in goldens {
        let name = variant(&both_ways::<T>(golden));
        assert_eq!(golden["type"], name);
        seen.insert(name);
    }
    assert_eq!(seen.len(), count, "a variant without a golden; these have one: {seen:?}");
}

#[test]
fn account_commands() {
    use account::Command::*;
    complete::<account::Command>(
        &[
            json!({"type": "register", "email": "ada@example.com", "firstname": "Ada", "lastname": "Lovelace", "password_hash": HASH}),
            json!({"type": "request_verification"}),
            json!({"type": "answer_verification", "challenge": ID, "correct": true}),
            json!({"type": "request_password_reset"}),
            json!({"type": "reset_password", "challenge": ID, "password_hash": HASH}),
            json!({"type": "change_password", "old_hash": HASH, "password_hash": HASH}),
            json!({"type": "revoke_sessions"}),
            json!({"type": "update_profile", "lastname": "Byron"}),
            json!({"type": "update_profile"}),
        ],
        |command| match command {
            Register { .. } => "register",
            RequestVerification => "request_verification",
            AnswerVerification { .. } => "answer_verification",
            RequestPasswordReset => "request_password_reset",
            ResetPassword { .. } => "reset_password",
            ChangePassword { .. } => "change_password",
            RevokeSessions => "revoke_sessions",
            UpdateProfile { .. } => "update_profile",
        },
        8,
    );
}

#[test]
fn account_events() {
    use account::Event::*;
    complete::<account::Event>(
        &[
            json!({"type": "registered", "email": "ada@example.com", "firstname": "Ada", "lastname": "Lovelace", "password_hash": HASH}),
            json!({"type": "registration_refused", "email": "ada@example.com", "holder": ID}),
            json!({"type": "verification_requested", "challenge": ID, "email": "ada@example.com", "firstname": "Ada"}),
            json!({"type": "verification_failed", "challenge": ID}),
            json!({"type": "verified"}),
            json!({"type": "password_reset_requested", "challenge": ID, "email": "ada@example.com", "firstname": "Ada"}),
            json!({"type": "password_changed", "password_hash": HASH, "email": "ada@example.com", "firstname": "Ada"}),
            json!({"type": "sessions_revoked"}),
            json!({"type": "profile_updated", "firstname": "Ada", "lastname": "Byron"}),
        ],
        |event| match event {
            Registered { .. } => "registered",
            RegistrationRefused { .. } => "registration_refused",
            VerificationRequested { .. } => "verification_requested",
            VerificationFailed { .. } => "verification_failed",
            Verified => "verified",
            PasswordResetRequested { .. } => "password_reset_requested",
            PasswordChanged { .. } => "password_changed",
            SessionsRevoked => "sessions_revoked",
            ProfileUpdated { .. } => "profile_updated",
        },
        9,
    );
}

#[test]
fn session_commands_and_events() {
    complete::<session::Command>(
        &[
            json!({"type": "start", "account": ID, "epoch": 0, "device": "curl/8"}),
            json!({"type": "touch"}),
            json!({"type": "end", "account": ID}),
        ],
        |command| match command {
            session::Command::Start { .. } => "start",
            session::Command::Touch => "touch",
            session::Command::End { .. } => "end",
        },
        3,
    );
    complete::<session::Event>(
        &[json!({"type": "started", "account": ID, "epoch": 0, "device": "curl/8"}), json!({"type": "used"}), json!({"type": "ended"})],
        |event| match event {
            session::Event::Started { .. } => "started",
            session::Event::Used => "used",
            session::Event::Ended => "ended",
        },
        3,
    );
}

#[test]
fn email_commands_events_and_templates() {
    complete::<email::Command>(
        &[
            json!({"type": "request", "to": "ada@example.com", "template": {"type": "already_registered"}}),
            json!({"type": "record_sent"}),
            json!({"type": "record_failed", "reason": "550 no"}),
        ],
        |command| match command {
            email::Command::Request { .. } => "request",
            email::Command::RecordSent => "record_sent",
            email::Command::RecordFailed { .. } => "record_failed",
        },
        3,
    );
    complete::<email::Event>(
        &[
            json!({"type": "requested", "to": "ada@example.com", "template": {"type": "already_registered"}}),
            json!({"type": "sent"}),
            json!({"type": "failed", "reason": "550 no"}),
        ],
        |event| match event {
            email::Event::Requested { .. } => "requested",
            email::Event::Sent => "sent",
            email::Event::Failed { .. } => "failed",
        },
        3,
    );
    complete::<Template>(
        &[
            json!({"type": "verification", "account": ID, "challenge": ID, "firstname": "Ada"}),
            json!({"type": "already_registered"}),
            json!({"type": "password_reset", "account": ID, "challenge": ID, "firstname": "Ada"}),
            json!({"type": "password_changed", "firstname": "Ada"}),
        ],
        |template| match template {
            Template::Verification { .. } => "verification",
            Template::AlreadyRegistered => "already_registered",
            Template::PasswordReset { .. } => "password_reset",
            Template::PasswordChanged { .. } => "password_changed",
        },
        4,
    );
}

#[test]
fn outcomes() {
    complete::<Outcome>(
        &[
            json!({"type": "committed", "revision": 2, "sequence": 7}),
            json!({"type": "done_before", "revision": 2, "sequence": 7}),
            json!({"type": "unchanged", "revision": 0}),
            json!({"type": "rejected", "code": "not_found", "message": "There is no such account."}),
        ],
        |outcome| match outcome {
            Outcome::Committed { .. } => "committed",
            Outcome::DoneBefore { .. } => "done_before",
            Outcome::Unchanged { .. } => "unchanged",
            Outcome::Rejected(_) => "rejected",
        },
        4,
    );
}

fn command(actor: &Value) -> Value {
    json!({
        "id": ID, "tenant": "platform", "area": "account", "aggregate": ID, "actor": actor, "time": 1_700_000_000_000_i64,
        "reply": "_INBOX_gateway.x", "payload": {"type": "revoke_sessions"},
    })
}

fn commit() -> Value {
    json!({
        "tenant": ID, "area": "session", "id": ID, "revision": 1, "command": ID, "actor": {"kind": "system"}, "time": 0,
        "events": [{"type": "used"}],
    })
}

#[test]
fn envelopes() {
    for actor in [json!({"kind": "anonymous"}), json!({"kind": "account", "id": ID}), json!({"kind": "system"})] {
        let decoded: Command<account::Command> = both_ways(&command(&actor));
        assert_eq!(decoded.subject().unwrap().to_string(), "cmd.platform.account.revoke_sessions");
    }
    both_ways::<Commit<session::Event>>(&commit());
    both_ways::<ClaimHolder>(&json!({"holder": ID}));
    both_ways::<ClaimHolder>(&json!({"holder": null}));
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
    for status in ["requested", "sent", "failed"] {
        both_ways::<Document<email::View>>(&document(json!({
            "to": "ada@example.com", "template": {"type": "already_registered"}, "status": status, "requested_at": 1, "updated_at": 2,
        })));
    }
    both_ways::<Document<session::View>>(&document(Value::Null));
}

#[test]
fn an_old_reader_survives_a_new_field_but_not_a_new_variant() {
    fn with<T: DeserializeOwned + Debug>(mut golden: Value, at: &str, value: Value) -> Result<T, serde_json::Error> {
        let (parent, field) = at.rsplit_once('/').unwrap();
        golden.pointer_mut(parent).unwrap()[field] = value;
        serde_json::from_value(golden)
    }
    for at in ["/new_field", "/events/0/new_field", "/actor/new_field"] {
        with::<Commit<session::Event>>(commit(), at, json!({"anything": 1})).unwrap();
    }
    with::<Commit<session::Event>>(commit(), "/events/0/type", json!("flown_to_the_moon")).unwrap_err();
    with::<Commit<session::Event>>(commit(), "/area", json!("moon")).unwrap_err();
}
