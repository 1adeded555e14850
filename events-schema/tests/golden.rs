//! An example of each variant ever released, as it was stored. They are added to and never changed:
//! what was once stored must decode for ever, and encode to the same.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test binary: it has no readers but its own, and panics when it fails"
)]

use std::fmt::Debug;

use events_schema::{
    Actor, BuiltInRole, ClaimHolder, Command, Commit, Document, Outcome, Permission, Permissions,
    Place, Subject, access_token, account,
    email::{self, Status, Template},
    member, project, role, session, tenant,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

const ID: &str = "00112233445566778899aabbccddeeff";
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA";

/// Decodes, encodes to the same, and survives a field that it does not know.
fn both_ways<T: Serialize + DeserializeOwned + PartialEq + Debug>(golden: &Value) -> T {
    let decode = |value: &Value| {
        serde_json::from_value::<T>(value.clone())
            .unwrap_or_else(|error| panic!("{value}: {error}"))
    };
    let decoded = decode(golden);
    assert_eq!(&serde_json::to_value(&decoded).unwrap(), golden);
    if golden.is_object() {
        assert_eq!(
            decode(&with(golden, "/new_field", json!({"anything": 1}))),
            decoded
        );
    }
    decoded
}

fn with(golden: &Value, at: &str, value: Value) -> Value {
    let (parent, field) = at.rsplit_once('/').unwrap();
    let mut golden = golden.clone();
    golden.pointer_mut(parent).unwrap()[field] = value;
    golden
}

fn without(golden: &Value, field: &str) -> Value {
    let mut golden = golden.clone();
    golden.as_object_mut().unwrap().remove(field).unwrap();
    golden
}

/// Each variant with its goldens. The patterns make a match without a wildcard, so that a new
/// variant does not compile until it stands here, and it cannot stand here without a golden; hence
/// a macro and no function.
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
        Invitation { .. } =>
            json!({"type": "invitation", "tenant": ID, "tenant_name": "Acme", "member": ID, "challenge": ID});
        PasswordChanged { .. } => json!({"type": "password_changed", "firstname": "Ada"});
    }
    complete! { Status, "";
        Requested => json!("requested");
        Sent => json!("sent");
        Failed => json!("failed");
    }
}

#[test]
fn tenant_commands_and_events() {
    let own = json!({"type": "database", "host": "eu"});
    let founded = |tag: &str| {
        json!({
            "type": tag, "name": "Acme", "slug": "acme", "owner": ID, "email": "ada@example.com", "plan": ID, "place": {"type": "shared"},
        })
    };
    complete! { tenant::Command, "type";
        Create { .. } => founded("create"), without(&founded("create"), "plan");
        Update { .. } =>
            json!({"type": "update", "name": "Acme", "slug": "acme", "settings": {"theme": "dark"}}), json!({"type": "update"});
        Delete { .. } => json!({"type": "delete", "slug": "acme"});
        BeginMove { .. } => json!({"type": "begin_move", "to": own});
        FinishMove => json!({"type": "finish_move"});
        AbandonMove => json!({"type": "abandon_move"});
    }
    complete! { tenant::Event, "type";
        Created { .. } => founded("created"), without(&founded("created"), "plan");
        Updated { .. } => json!({"type": "updated", "name": "Acme", "slug": "acme", "settings": {"theme": "dark"}});
        Deleted => json!({"type": "deleted"});
        MoveBegun { .. } => json!({"type": "move_begun", "to": own});
        MoveFinished => json!({"type": "move_finished"});
        MoveAbandoned => json!({"type": "move_abandoned"});
    }
    complete! { Place, "type";
        Shared => json!({"type": "shared"});
        Database { .. } => own, json!({"type": "database"});
    }
}

#[test]
fn member_commands_events_and_statuses() {
    let held = json!(["read_tenant", "read_project"]);
    complete! { member::Command, "type";
        Found { .. } => json!({"type": "found", "account": ID, "email": "ada@example.com"});
        Invite { .. } => json!({"type": "invite", "email": "ada@example.com", "role": "guest", "tenant_name": "Acme", "held": held});
        Accept { .. } => json!({"type": "accept", "challenge": ID, "account": ID, "email": "ada@example.com"});
        Reject { .. } => json!({"type": "reject", "challenge": ID, "email": "ada@example.com"});
        ChangeRole { .. } =>
            json!({"type": "change_role", "role": "admin", "held": held, "other_owner": ID}),
            json!({"type": "change_role", "role": "admin", "held": []});
        AssignRole { .. } => json!({"type": "assign_role", "role": ID});
        UnassignRole { .. } => json!({"type": "unassign_role", "role": ID});
        Remove { .. } => json!({"type": "remove", "held": held, "by": ID, "other_owner": ID}), json!({"type": "remove", "held": []});
    }
    complete! { member::Event, "type";
        Founded { .. } => json!({"type": "founded", "account": ID, "email": "ada@example.com"});
        Invited { .. } =>
            json!({"type": "invited", "email": "ada@example.com", "role": "guest", "challenge": ID, "tenant_name": "Acme"});
        Accepted { .. } => json!({"type": "accepted", "account": ID});
        Rejected => json!({"type": "rejected"});
        RoleChanged { .. } => json!({"type": "role_changed", "role": "admin"});
        RoleAssigned { .. } => json!({"type": "role_assigned", "role": ID});
        RoleUnassigned { .. } => json!({"type": "role_unassigned", "role": ID});
        Removed => json!({"type": "removed"});
    }
    complete! { member::Status, "";
        Pending => json!("pending");
        Accepted => json!("accepted");
        Rejected => json!("rejected");
    }
    complete! { BuiltInRole, "";
        Guest => json!("guest");
        Member => json!("member");
        Developer => json!("developer");
        Admin => json!("admin");
        Owner => json!("owner");
    }
}

#[test]
fn role_commands_events_and_parents() {
    let inherits = json!([{"built_in": "guest"}, {"custom": ID}]);
    let held = json!(["read_tenant", "read_project"]);
    complete! { role::Command, "type";
        Create { .. } =>
            json!({"type": "create", "name": "Auditor", "permissions": ["read_audit_log"], "inherits": inherits, "held": held});
        Update { .. } =>
            json!({"type": "update", "role": ID, "name": "Auditor", "permissions": [], "inherits": inherits, "held": held}),
            json!({"type": "update", "role": ID, "held": []});
        Delete { .. } => json!({"type": "delete", "role": ID, "held": held});
    }
    complete! { role::Event, "type";
        Created { .. } =>
            json!({"type": "created", "role": ID, "name": "Auditor", "permissions": ["read_audit_log"], "inherits": inherits});
        Updated { .. } => json!({"type": "updated", "role": ID, "name": "Auditor", "permissions": [], "inherits": []});
        Deleted { .. } => json!({"type": "deleted", "role": ID});
    }
    // Its variants are told apart by the one field that it has, so it is the one type that knows no
    // further ones.
    for (golden, unknown) in [
        (json!({"built_in": "guest"}), json!({"moon": "guest"})),
        (json!({"custom": ID}), json!({"moon": ID})),
    ] {
        let decoded: role::Parent = serde_json::from_value(golden.clone()).unwrap();
        match decoded {
            role::Parent::BuiltIn(_) => assert_eq!(golden, json!({"built_in": "guest"})),
            role::Parent::Custom(_) => assert_eq!(golden, json!({"custom": ID})),
        }
        assert_eq!(serde_json::to_value(decoded).unwrap(), golden);
        serde_json::from_value::<role::Parent>(unknown).unwrap_err();
    }
}

#[test]
fn permissions() {
    let all = json!([
        "read_tenant",
        "update_tenant",
        "delete_tenant",
        "create_member",
        "read_member",
        "update_member",
        "delete_member",
        "create_role",
        "read_role",
        "update_role",
        "delete_role",
        "create_access_token",
        "read_access_token",
        "delete_access_token",
        "create_project",
        "read_project",
        "update_project",
        "delete_project",
        "read_audit_log",
    ]);
    for golden in all.as_array().unwrap() {
        both_ways::<Permission>(golden);
    }
    let decoded: Permissions = serde_json::from_value(all).unwrap();
    assert_eq!(
        decoded,
        Permissions::from(Permission::ALL),
        "a new permission stands here, too"
    );
}

#[test]
fn access_token_commands_and_events() {
    let held = json!(["read_tenant", "read_project"]);
    complete! { access_token::Command, "type";
        Create { .. } => json!({
            "type": "create", "name": "Deployment", "scopes": ["read_project"], "expires_at": 9, "creator": ID, "held": held,
        });
        Delete => json!({"type": "delete"});
    }
    complete! { access_token::Event, "type";
        Created { .. } => json!({"type": "created", "name": "Deployment", "scopes": ["read_project"], "expires_at": 9, "creator": ID});
        Deleted => json!({"type": "deleted"});
    }
}

#[test]
fn project_commands_events_and_statuses() {
    complete! { project::Command, "type";
        Create { .. } => json!({"type": "create", "name": "Loom", "description": "It weaves.\nWell.", "status": "active", "creator": ID});
        Update { .. } =>
            json!({"type": "update", "name": "Loom", "description": "", "status": "on_hold"}), json!({"type": "update"});
        Delete => json!({"type": "delete"});
    }
    complete! { project::Event, "type";
        Created { .. } => json!({"type": "created", "name": "Loom", "description": "It weaves.", "status": "active", "creator": ID});
        Updated { .. } => json!({"type": "updated", "name": "Loom", "description": "", "status": "on_hold"});
        Deleted => json!({"type": "deleted"});
    }
    complete! { project::Status, "";
        Active => json!("active");
        OnHold => json!("on_hold");
        Completed => json!("completed");
        Archived => json!("archived");
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
        AccessToken(_) => json!({"kind": "access_token", "id": ID});
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
    let awaited = [
        json!({"kind": "anonymous"}),
        json!({"kind": "account", "id": ID}),
        json!({"kind": "system"}),
    ]
    .map(said);
    for golden in awaited.iter().chain([&unanswered]) {
        let decoded: Command<account::Command> = both_ways(golden);
        assert_eq!(
            decoded.subject().unwrap().to_string(),
            "cmd.platform.account.revoke_sessions"
        );
    }
    let origin = json!({"address": "2001:db8::1", "device": "curl/8"});
    for origin in [&origin, &without(&origin, "address")] {
        let at_home = with(
            &with(
                &said(json!({"kind": "access_token", "id": ID})),
                "/tenant",
                json!(ID),
            ),
            "/origin",
            origin.clone(),
        );
        let decoded: Command<account::Command> = both_ways(&with(&at_home, "/expected", json!(3)));
        assert_eq!(decoded.expected, Some(3));
        let commit = json!({
            "tenant": ID, "area": "project", "id": ID, "revision": 2, "command": ID, "actor": {"kind": "access_token", "id": ID}, "time": 0,
            "origin": origin, "events": [{"type": "deleted"}],
        });
        both_ways::<Commit<project::Event>>(&commit);
    }
    both_ways::<ClaimHolder>(&json!({"holder": ID}));
    both_ways::<ClaimHolder>(&json!({"holder": null}));
}

#[test]
fn subjects_of_areas_and_claims() {
    let areas = [
        "access_token",
        "account",
        "email",
        "member",
        "project",
        "role",
        "session",
        "tenant",
    ];
    let claims = ["email", "slug", "member_email", "member_account", "owner"];
    let events = areas.map(|area| format!("evt.{ID}.{area}.{ID}"));
    for golden in events
        .into_iter()
        .chain(claims.map(|kind| format!("clm.{ID}.{kind}.{ID}")))
    {
        assert_eq!(Subject::parse(&golden).unwrap().to_string(), golden);
    }
}

#[test]
fn a_commit_survives_new_fields_wherever_they_are_but_no_new_event_or_area() {
    let commit = json!({
        "tenant": ID, "area": "session", "id": ID, "revision": 1, "command": ID, "actor": {"kind": "system"}, "time": 0,
        "events": [{"type": "used"}],
    });
    let decoded: Commit<session::Event> = both_ways(&commit);
    let decode =
        |at, value| serde_json::from_value::<Commit<session::Event>>(with(&commit, at, value));
    for at in ["/events/0/new_field", "/actor/new_field"] {
        assert_eq!(decode(at, json!({"anything": 1})).unwrap(), decoded, "{at}");
    }
    decode("/events/0/type", json!("flown_to_the_moon")).unwrap_err();
    decode("/area", json!("moon")).unwrap_err();
}

#[test]
fn views() {
    let document =
        |view: Value| json!({"_id": ID, "tenant": "platform", "revision": 3, "view": view});
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
    both_ways::<Document<email::View>>(&document(with(
        &mail("failed"),
        "/reason",
        json!("550 no"),
    )));
    both_ways::<Document<session::View>>(&document(Value::Null));
    let tenant = json!({
        "name": "Acme", "slug": "acme", "founder": ID, "plan": ID, "settings": {"theme": "dark"}, "place": {"type": "shared"},
        "moving_to": {"type": "database", "host": "eu"}, "created_at": 1, "updated_at": 2,
    });
    both_ways::<Document<tenant::View>>(&document(tenant.clone()));
    both_ways::<Document<tenant::View>>(&document(without(&without(&tenant, "plan"), "moving_to")));
    for (account, status, invitation) in [
        (
            Value::Null,
            "pending",
            json!({"id": ID, "requested_at": 5, "failures": 0}),
        ),
        (json!(ID), "accepted", Value::Null),
        (Value::Null, "rejected", Value::Null),
    ] {
        both_ways::<Document<member::View>>(&document(json!({
            "email": "ada@example.com", "account": account, "role": "guest", "roles": [ID], "status": status, "invitation": invitation,
            "created_at": 1, "updated_at": 2,
        })));
    }
    both_ways::<Document<member::Membership>>(&document(
        json!({"account": ID, "tenant": ID, "since": 1}),
    ));
    let role = json!({"name": "Auditor", "permissions": ["read_audit_log"], "inherits": [{"custom": ID}], "created_at": 1, "updated_at": 2});
    both_ways::<Document<role::View>>(&document(json!({"roles": {ID: role}})));
    both_ways::<Document<role::View>>(&document(json!({"roles": {}})));
    both_ways::<Document<access_token::View>>(&document(
        json!({"name": "Deployment", "scopes": ["read_project"], "expires_at": 9, "creator": ID, "created_at": 1}),
    ));
    both_ways::<Document<project::View>>(&document(
        json!({"name": "Loom", "description": "", "status": "archived", "creator": ID, "created_at": 1, "updated_at": 2}),
    ));
}
