//! An administrator of the platform acts as a person: with the consent of the tenant, there alone,
//! for half an hour, and without any proof.

mod consent;

use std::collections::BTreeMap;

use local::Local;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};
use tokio::join;

use crate::{
    matrix::{Schema, is_fresh, operations_table, row_of},
    support::{
        Browser, CREATE_PROJECT, Gateway, MISSING, PLATFORM, PROJECTS, Team, administrator,
        eventually, input, list, mongo, set_platform_admin, start, succeeded, text,
    },
};

const ADA: &str = "ada@example.com";
const ROOT: &str = "root@example.com";
const GRANT: &str = "
    mutation($until: DateTime!) {
        support { grant(until: $until) { grantedUntil } }
    }";
const REVOKE: &str = "mutation { support { revoke { grantedUntil } } }";
const SUPPORT: &str = "{
    support {
        grantedUntil
        impersonations {
            id reason beganAt endsAt endedAt person { id } administrator { id }
        }
    }
}";
pub(crate) const IMPERSONATE: &str = "
    mutation($input: ImpersonateInput!) {
        platform {
            impersonate(input: $input) {
                id current authentication { aal proofs { kind } freshUntil impersonatedBy { id } }
            }
        }
    }";
const LOG_OUT: &str = "mutation { account { logout { success } } }";
const ME: &str = "{
    me { permissions authentication { aal freshUntil impersonatedBy { id } } member { id } }
}";
const AUDIT: &str = "{
    auditLog {
        nodes { area events actor { kind id person { id } impersonatedBy { id } } }
    }
}";
const SESSIONS: &str = "{ sessions { id current authentication { impersonatedBy { id } } } }";

/// Lets administrators of the platform act as people of the owner's tenant for an hour.
pub(crate) async fn grant_support(owner: &Browser) {
    owner.data(GRANT, in_minutes(60)).await;
}

/// Ada, who owns acme, and an administrator of the platform.
struct World {
    backend: Local,
    ada: Browser,
    /// Names acme in each request.
    root: Browser,
    acme: String,
    ada_id: String,
    root_id: String,
}

impl World {
    async fn start() -> Self {
        let backend = start().await;
        let (ada, root) = join!(
            Browser::signed_up(&backend, ADA),
            administrator(&backend, ROOT)
        );
        let acme = text(&ada.create_tenant("acme").await, "/id");
        Self {
            ada_id: account_of(&ada).await,
            root_id: account_of(&root).await,
            ada: ada.in_tenant("acme"),
            root: root.in_tenant("acme"),
            backend,
            acme,
        }
    }

    async fn grant(&self) {
        grant_support(&self.ada).await;
    }

    fn as_ada(&self) -> Value {
        impersonation(&self.ada_id, &self.acme)
    }

    /// The administrator acts as Ada from now on.
    async fn impersonate(&self) -> Value {
        let begun = self.root.data(IMPERSONATE, self.as_ada()).await;
        begun["platform"]["impersonate"].clone()
    }

    /// What the audit log has of the area `support`, the latest first: the events and the kind of
    /// actor.
    async fn audit(&self) -> Vec<(Value, Value)> {
        let log = self.ada.data(AUDIT, ()).await;
        let entries = list(&log["auditLog"]["nodes"]).iter();
        let of_support = entries.filter(|entry| entry["area"] == "SUPPORT");
        let pairs = of_support.map(|one| (one["events"].clone(), one["actor"]["kind"].clone()));
        pairs.collect()
    }

    async fn is_stopped(&self) -> bool {
        let answer = self.root.gql(PROJECTS, ()).await;
        answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    }
}

async fn account_of(browser: &Browser) -> String {
    text(&browser.data("{ profile { id } }", ()).await, "/profile/id")
}

/// The input of [`IMPERSONATE`].
pub(crate) fn impersonation(account: &str, tenant: &str) -> Value {
    input(json!({ "account": account, "tenant": tenant, "reason": "Ticket 7" }))
}

fn in_minutes(minutes: i64) -> Value {
    in_seconds(minutes * 60)
}

fn in_seconds(seconds: i64) -> Value {
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    json!({ "until": until.to_string() })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_acts_as_a_person_and_all_who_are_concerned_see_it() {
    let world = World::start().await;
    let World { ada, root, .. } = &world;
    assert_eq!(root.code(IMPERSONATE, world.as_ada()).await, "FORBIDDEN");
    assert!(root.is_logged_in().await, "it has changed nothing");
    world.grant().await;
    let begun = world.impersonate().await;
    let authentication = json!({
        "aal": 0, "proofs": [], "freshUntil": null, "impersonatedBy": { "id": world.root_id },
    });
    assert_eq!(begun["authentication"], authentication);
    let me = root.data(ME, ()).await;
    assert_eq!(text(&me, "/me/member/id"), ada.member_id().await);
    let by = &me["me"]["authentication"]["impersonatedBy"]["id"];
    assert_eq!(by, &json!(world.root_id));
    root.data(CREATE_PROJECT, input(json!({ "name": "Loom" })))
        .await;

    let mail = ada.mail(ADA, "acts as you", 1).await;
    assert!(text(&mail, "/text").contains("Ticket 7"), "{mail}");
    let sessions = ada.data(SESSIONS, ()).await;
    let mut sessions = list(&sessions["sessions"]).iter();
    let shown = sessions.find(|session| session["id"] == begun["id"]);
    let by = &shown.unwrap()["authentication"]["impersonatedBy"]["id"];
    assert_eq!(by, &json!(world.root_id));
    eventually("the activity of the account", || async {
        let query = "{ accountActivity { nodes { event } } }";
        let activity = ada.data(query, ()).await.to_string();
        activity.contains("impersonation_begun")
    })
    .await;
    let log = ada.data(AUDIT, ()).await;
    let actor = json!({
        "kind": "IMPERSONATOR", "id": world.ada_id, "person": { "id": world.ada_id },
        "impersonatedBy": { "id": world.root_id },
    });
    let created = &log["auditLog"]["nodes"][0];
    let (area, by) = (&created["area"], &created["actor"]);
    assert_eq!((area, by), (&json!("PROJECT"), &actor));

    root.data(LOG_OUT, ()).await;
    assert!(world.is_stopped().await);
    let support = ada.data(SUPPORT, ()).await;
    let shown = &support["support"]["impersonations"][0];
    assert_eq!(shown["reason"], "Ticket 7");
    assert_eq!(shown["person"]["id"], json!(world.ada_id));
    assert_eq!(shown["administrator"]["id"], json!(world.root_id));
    assert!(shown["endedAt"].is_string(), "{support}");
    let expected = [
        (json!(["ended"]), json!("IMPERSONATOR")),
        (json!(["begun"]), json!("PERSON")),
        (json!(["granted"]), json!("PERSON")),
    ];
    assert_eq!(world.audit().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impersonator_acts_in_that_tenant_alone() {
    let world = World::start().await;
    let World { ada, root, .. } = &world;
    ada.create_tenant("apex").await;
    world.grant().await;
    world.impersonate().await;
    root.data(PROJECTS, ()).await;
    for elsewhere in ["apex", "nowhere"] {
        let code = root.in_tenant(elsewhere).code(PROJECTS, ()).await;
        assert_eq!(code, "NOT_FOUND", "{elsewhere}");
    }
}

/// The operations that an administrator who acts as an owner may not use, by the reviewed table:
/// those that need a fresh session or the person alone, and those that do not belong to a tenant. A
/// new operation is covered as soon as the gateway has it.
#[tokio::test(flavor = "multi_thread")]
async fn an_impersonator_is_refused_what_would_outlast_the_session_or_concerns_the_account() {
    let world = World::start().await;
    let table = operations_table();
    let schema = Schema::of(&world.root).await;
    world.grant().await;
    world.impersonate().await;
    let mut refused: BTreeMap<&str, usize> = BTreeMap::new();
    for operation in schema.operations() {
        let row = table[row_of(&table, &operation)];
        let conditions: Vec<_> = row.split("; ").collect();
        let kind = match conditions[0] {
            _ if is_fresh(row) => "fresh",
            _ if conditions.contains(&"in person") => "in person",
            who @ ("logged in" | "platform administrators") => who,
            _ => continue,
        };
        let (document, variables) = operation.request(&schema, &mut |_, _| json!(MISSING));
        let answer = world.root.gql(&document, variables).await;
        let code = operation.code(&answer);
        assert_eq!(code, "FORBIDDEN", "{} ({row}): {answer}", operation.name);
        *refused.entry(kind).or_default() += 1;
    }
    for kind in ["fresh", "in person"] {
        let rows = table.values();
        let expected = rows
            .filter(|row| row.contains(&format!("; {kind}")))
            .count();
        assert!(expected > 15, "{kind}: {expected}");
        assert_eq!(refused[kind], expected);
    }
    assert_eq!(refused.len(), 4, "{refused:?}");
    let portal = r#"{ billing { portalLink(returnPath: "/") { url } } }"#;
    assert_eq!(world.root.code(portal, ()).await, "FORBIDDEN");
    world.root.data("{ billing { standing } }", ()).await;
    assert!(!world.is_stopped().await, "nothing has ended the session");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_grant_stops_an_impersonator_at_every_gateway() {
    let world = World::start().await;
    world.grant().await;
    world.impersonate().await;
    let gateway = Gateway::start(&world.backend, |_| {}).await;
    let elsewhere = world.root.at_gateway(&gateway);
    elsewhere.data(PROJECTS, ()).await;
    world.ada.data(REVOKE, ()).await;
    assert!(world.is_stopped().await);
    eventually("the refusal elsewhere", || async {
        !succeeded(&elsewhere.gql(PROJECTS, ()).await)
    })
    .await;
    let (events, _) = &world.audit().await[0];
    assert_eq!(*events, json!(["ended", "revoked"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_who_loses_the_role_is_stopped() {
    let world = World::start().await;
    world.grant().await;
    world.impersonate().await;
    let revoked = set_platform_admin(&world.backend, ROOT, false);
    revoked.await.unwrap();
    eventually("the refusal", || world.is_stopped()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_person_ends_the_session_of_an_impersonator() {
    let world = World::start().await;
    world.grant().await;
    let id = text(&world.impersonate().await, "/id");
    let revoke = "mutation($id: ID!) { account { revokeSession(id: $id) { success } } }";
    world.ada.data(revoke, json!({ "id": id })).await;
    assert!(world.is_stopped().await);
    let expected = (json!(["ended"]), json!("PERSON"));
    assert_eq!(world.audit().await[0], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_an_impersonator_ends_after_half_an_hour() {
    let world = World::start().await;
    world.grant().await;
    world.impersonate().await;
    let began = |minutes: i64| jiff::Timestamp::now().as_millisecond() - minutes * 60 * 1000;
    let sessions = mongo(&world.backend).await.database(PLATFORM);
    let sessions = sessions.collection::<Document>("session");
    for (minutes, is_valid) in [(29, true), (30, false)] {
        let at = began(minutes);
        let change = doc! { "$set": { "view.started_at": at, "view.last_used_at": at } };
        let impersonated = doc! { "view.impersonator": { "$exists": true } };
        sessions.update_one(impersonated, change).await.unwrap();
        // It has no session in memory.
        let gateway = Gateway::start(&world.backend, |_| {}).await;
        let answer = world.root.at_gateway(&gateway).gql(PROJECTS, ()).await;
        assert_eq!(succeeded(&answer), is_valid, "{minutes}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impersonator_is_stopped_when_the_grant_ends_and_the_log_shows_it() {
    let world = World::start().await;
    world.ada.data(GRANT, in_seconds(8)).await;
    world.impersonate().await;
    eventually("the end of the grant", || world.is_stopped()).await;
    let expected = (json!(["ended"]), json!("SYSTEM"));
    eventually("the end in the audit log", || async {
        world.audit().await[0] == expected
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_lasts_72_hours_at_most_and_there_is_one_at_a_time() {
    let world = World::start().await;
    for wrong in [in_minutes(-1), in_minutes(72 * 60 + 5)] {
        let error = world.ada.error(GRANT, wrong).await;
        assert_eq!(error, json!({ "code": "BAD_USER_INPUT", "field": "until" }));
    }
    world.ada.data(GRANT, in_minutes(72 * 60 - 1)).await;
    assert_eq!(world.ada.code(GRANT, in_minutes(60)).await, "CONFLICT");
    world.ada.data(REVOKE, ()).await;
    world.grant().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_owners_and_administrators_of_a_tenant_grant_access() {
    let team = Team::start().await;
    let (robot, _) = team
        .owner
        .create_machine(&team.backend, &["grant_support", "read_support"])
        .await;
    for other in [&team.developer, &team.member, &team.guest, &robot] {
        assert_eq!(other.code(GRANT, in_minutes(60)).await, "FORBIDDEN");
    }
    assert_eq!(team.developer.code(SUPPORT, ()).await, "FORBIDDEN");
    team.admin.data(GRANT, in_minutes(60)).await;
    robot.data(REVOKE, ()).await;
    let shown = team.owner.data(SUPPORT, ()).await;
    assert!(shown["support"]["grantedUntil"].is_null(), "{shown}");
    let owner = impersonation(MISSING, MISSING);
    assert_eq!(team.owner.code(IMPERSONATE, owner).await, "FORBIDDEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_members_are_impersonated() {
    let world = World::start().await;
    let bob = Browser::signed_up(&world.backend, "bob@example.com").await;
    let bob_id = account_of(&bob).await;
    world.grant().await;
    for (account, tenant) in [
        (bob_id.as_str(), world.acme.as_str()),
        (MISSING, world.acme.as_str()),
        (world.ada_id.as_str(), MISSING),
        ("x", world.acme.as_str()),
    ] {
        let code = world.root.code(IMPERSONATE, impersonation(account, tenant));
        assert_eq!(code.await, "NOT_FOUND", "{account} {tenant}");
    }
    let (longest, longer) = ("x".repeat(500), "x".repeat(501));
    for (reason, is_valid) in [
        ("", false),
        (longer.as_str(), false),
        (longest.as_str(), true),
    ] {
        let mut variables = world.as_ada();
        variables["input"]["reason"] = json!(reason);
        let answer = world.root.gql(IMPERSONATE, variables).await;
        assert_eq!(succeeded(&answer), is_valid, "{reason}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_acts_as_themselves_or_without_two_factors() {
    let world = World::start().await;
    world.ada.add_member(&world.root, ROOT, "ADMIN").await;
    world.grant().await;
    let own = impersonation(&world.root_id, &world.acme);
    let error = world.root.error(IMPERSONATE, own).await;
    let expected = json!({ "code": "BAD_USER_INPUT", "field": "account" });
    assert_eq!(error, expected);
    set_platform_admin(&world.backend, ADA, true).await.unwrap();
    eventually("the administration", || async {
        world.ada.code(IMPERSONATE, world.as_ada()).await == "SECOND_FACTOR_REQUIRED"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_acts_as_a_person_while_the_grant_is_revoked() {
    let world = World::start().await;
    world.grant().await;
    let (_, revoked) = join!(
        world.root.gql(IMPERSONATE, world.as_ada()),
        world.ada.gql(REVOKE, ())
    );
    assert!(succeeded(&revoked), "{revoked}");
    let me = world.root.gql(ME, ()).await;
    assert!(!succeeded(&me), "{me}");
}
