//! Access tokens: what a machine may do with one, and when it ends.

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::support::{
    Browser, CHANGE_PASSWORD, CREATE_PROJECT, CREATE_TOKEN, DELETE_ACME, DELETE_MEMBER,
    DELETE_PROJECT, DELETE_TOKEN, INVITE, OTHER_PASSWORD, PASSWORD, PROJECTS, Socket, Team,
    UPDATE_MEMBER, ada_in_acme, code_of, eventually, input, invite, member_role, scopes, share,
    start, start_with, succeeded, text,
};

/// Runs a test in the one team of this file. Its people and their roles stay as they are.
fn in_team(test: impl AsyncFnOnce(&Team)) {
    static TEAM: OnceCell<Team> = OnceCell::const_new();
    share(&TEAM, Team::start, test);
}

async fn reads_projects(browser: &Browser) -> bool {
    succeeded(&browser.gql(PROJECTS, ()).await)
}

#[test]
fn a_token_creates_no_token() {
    in_team(async |team| {
        let own = ["read_project", "create_access_token"];
        let (robot, _) = team.developer.create_machine(&team.backend, &own).await;
        let code = robot.code(CREATE_TOKEN, scopes(&["read_project"])).await;
        assert_eq!(code, "FORBIDDEN");
    });
}

#[test]
fn a_token_that_holds_more_is_revoked_by_its_creator_or_an_owner_only() {
    in_team(async |team| {
        let all = ["read_project", "delete_tenant"];
        let (robot, id) = team.owner.create_machine(&team.backend, &all).await;
        let id = json!({ "id": id });
        assert_eq!(team.developer.code(DELETE_TOKEN, &id).await, "FORBIDDEN");
        assert!(reads_projects(&robot).await);
        team.owner.data(DELETE_TOKEN, &id).await;
        assert!(!reads_projects(&robot).await);
    });
}

#[test]
fn a_token_does_nothing_beyond_its_scopes_even_if_its_creator_may() {
    in_team(async |team| {
        let project = team.create_project("One").await;
        let (robot, id) = team
            .owner
            .create_machine(&team.backend, &["read_project"])
            .await;
        for (document, variables) in [
            (CREATE_PROJECT, input(json!({ "name": "No" }))),
            (DELETE_PROJECT, input(json!({ "id": project }))),
            (INVITE, invite("friend@example.com", "GUEST")),
            (CREATE_TOKEN, scopes(&["read_project"])),
            (DELETE_TOKEN, json!({ "id": id })),
            (DELETE_MEMBER, json!({ "id": team.owner.member_id().await })),
            (DELETE_ACME, Value::Null),
            ("{ members { totalCount } }", Value::Null),
            ("{ accessTokens { totalCount } }", Value::Null),
        ] {
            assert_eq!(
                robot.code(document, variables).await,
                "FORBIDDEN",
                "{document}"
            );
        }
    });
}

#[test]
fn a_token_does_not_act_for_the_person_who_created_it() {
    in_team(async |team| {
        let (robot, _) = team
            .developer
            .create_machine(&team.backend, &["read_project"])
            .await;
        for operation in [
            "{ profile { id } }",
            "{ sessions { id } }",
            "{ tenants { totalCount } }",
            "{ tenant { id } }",
            r#"{ tenantAvailable(identifier: "free") }"#,
            "{ platform { tenants { totalCount } } }",
            r#"mutation { profile { update(input: { lastname: "Robot" }) { id } } }"#,
            "mutation { account { revokeAllSessions { success } } }",
            r#"mutation {
            account {
                revokeSession(id: "0123456789abcdef0123456789abcdef") { success }
            }
        }"#,
            r#"mutation {
            account {
                changePassword(input: { oldPassword: "x", newPassword: "y" }) { success }
            }
        }"#,
            r#"mutation { tenant { create(input: { name: "Robots" }) { id } } }"#,
            r#"mutation { member { acceptInvitation(input: { token: "x" }) { id } } }"#,
            r#"mutation { member { rejectInvitation(input: { token: "x" }) { success } } }"#,
        ] {
            assert_eq!(robot.code(operation, ()).await, "FORBIDDEN", "{operation}");
        }
    });
}

#[test]
fn a_token_works_in_its_own_tenant_only() {
    in_team(async |team| {
        let (robot, _) = team
            .owner
            .create_machine(&team.backend, &["read_project"])
            .await;
        // Its creator belongs to this tenant, too.
        team.owner.create_tenant("apex").await;
        assert!(reads_projects(&robot.in_tenant("acme")).await);
        for elsewhere in ["apex", "nowhere", "UPPER-CASE", ""] {
            let code = robot.in_tenant(elsewhere).code(PROJECTS, ()).await;
            assert_eq!(code, "NOT_FOUND", "{elsewhere}");
        }
    });
}

#[test]
fn a_session_beside_a_token_is_ignored() {
    in_team(async |team| {
        let (_, other) = team
            .owner
            .create_machine(&team.backend, &["delete_project"])
            .await;
        let created = team
            .owner
            .data(CREATE_TOKEN, scopes(&["read_project"]))
            .await;
        let secret = text(&created, "/accessToken/create/token");
        let with_token = |token: &str| {
            team.owner
                .with_header("authorization", &format!("Bearer {token}"))
        };
        let code = with_token(&secret)
            .code(DELETE_TOKEN, json!({ "id": other }))
            .await;
        assert_eq!(code, "FORBIDDEN");
        for wrong in [&secret[1..], &secret[..66], "ub_", ""] {
            let code = with_token(wrong).code(PROJECTS, ()).await;
            assert_eq!(code, "UNAUTHENTICATED", "{wrong:?}");
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_loses_what_its_creator_loses_and_ends_with_their_membership() {
    let team = Team::start().await;
    let project = team.create_project("One").await;
    let own = ["read_project", "delete_project"];
    let (robot, _) = team.developer.create_machine(&team.backend, &own).await;
    let creator = team.developer.member_id().await;
    team.owner
        .data(UPDATE_MEMBER, member_role(&creator, "GUEST"))
        .await;
    let delete = input(json!({ "id": project }));
    assert_eq!(robot.code(DELETE_PROJECT, delete).await, "FORBIDDEN");
    assert!(reads_projects(&robot).await);
    team.owner
        .data(DELETE_MEMBER, json!({ "id": creator }))
        .await;
    assert_eq!(robot.code(PROJECTS, ()).await, "UNAUTHENTICATED");
    let developer = &team.developer;
    team.owner
        .add_member(developer, "developer@example.com", "DEVELOPER")
        .await;
    assert_eq!(
        robot.code(PROJECTS, ()).await,
        "UNAUTHENTICATED",
        "it is not restored with the membership"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_with_the_sessions_of_its_creator_who_heard_of_it_by_mail() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let change = json!({ "oldPassword": PASSWORD, "newPassword": OTHER_PASSWORD });
    for (nth, end) in [
        (
            "mutation { account { revokeAllSessions { success } } }",
            json!({}),
        ),
        (CHANGE_PASSWORD, input(change)),
    ]
    .iter()
    .enumerate()
    {
        ada.log_in("ada@example.com").await;
        let (robot, _) = ada.create_machine(&backend, &["read_project"]).await;
        assert!(reads_projects(&robot).await);
        ada.mail("ada@example.com", "Robot", nth + 1).await;
        ada.data(end.0, &end.1).await;
        assert_eq!(robot.code(PROJECTS, ()).await, "UNAUTHENTICATED");
    }
}

#[test]
fn a_deleted_token_is_refused() {
    in_team(async |team| {
        let (robot, id) = team
            .owner
            .create_machine(&team.backend, &["read_project"])
            .await;
        assert!(reads_projects(&robot).await);
        let id = json!({ "id": id });
        team.owner.data(DELETE_TOKEN, &id).await;
        assert_eq!(robot.code(PROJECTS, ()).await, "UNAUTHENTICATED");
        assert_eq!(team.owner.code(DELETE_TOKEN, &id).await, "NOT_FOUND");
    });
}

/// The time this many milliseconds from now, as text.
fn in_ms(ms: i64) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_millis(ms)).to_string()
}

fn expiring(at: &str) -> Value {
    input(json!({ "name": "Robot", "scopes": ["read_project"], "expiresAt": at }))
}

#[test]
fn a_token_needs_a_scope_and_expires_within_a_year() {
    in_team(async |team| {
        let past_a_year = in_ms(367 * 24 * 60 * 60 * 1000);
        for wrong in [&in_ms(-1), &past_a_year, "1970-01-01T00:00:00Z", "tomorrow"] {
            let code = team.owner.code(CREATE_TOKEN, expiring(wrong)).await;
            assert_eq!(code, "BAD_USER_INPUT", "{wrong}");
        }
        assert_eq!(
            team.owner.code(CREATE_TOKEN, scopes(&[])).await,
            "BAD_USER_INPUT"
        );
    });
}

#[test]
fn a_token_is_refused_once_it_expires_and_not_before() {
    in_team(async |team| {
        let end = in_ms(4_000);
        let created = team.owner.data(CREATE_TOKEN, expiring(&end)).await;
        let robot = Browser::machine(&team.backend, &text(&created, "/accessToken/create/token"));
        assert!(reads_projects(&robot).await);
        eventually("the end of a token", || async {
            code_of(&robot.gql(PROJECTS, ()).await) == "UNAUTHENTICATED"
        })
        .await;
        let end: jiff::Timestamp = end.parse().unwrap();
        assert!(jiff::Timestamp::now() >= end.round(jiff::Unit::Millisecond).unwrap());
    });
}

/// The variables of [`CREATE_TOKEN`] for a token that is valid in these networks.
fn in_networks(networks: &[&str]) -> Value {
    input(json!({ "name": "Robot", "scopes": ["read_project"], "networks": networks }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_refused_outside_its_networks_by_request_and_by_socket() {
    let backend = start_with(&["--client-address-header", "x-client"]).await;
    let ada = ada_in_acme(&backend).await;
    let networks = ["192.0.2.0/24", "2001:db8::/32"];
    let created = ada.data(CREATE_TOKEN, in_networks(&networks)).await;
    let token = text(&created, "/accessToken/create/token");
    let listed = ada
        .data("{ accessTokens { nodes { networks } } }", ())
        .await;
    assert_eq!(
        listed["accessTokens"]["nodes"][0]["networks"],
        json!(networks)
    );
    let robot = Browser::machine(&backend, &token);
    let bearer = format!("Bearer {token}");
    for inside in ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1"] {
        assert!(reads_projects(&robot.with_header("x-client", inside)).await);
        let headers = [("authorization", bearer.as_str()), ("x-client", inside)];
        assert!(Socket::open(&backend, &headers).await.is_ok(), "{inside}");
    }
    for outside in ["192.0.3.7", "2001:db9::1", "not an address"] {
        let refused = robot.with_header("x-client", outside);
        assert_eq!(refused.code(PROJECTS, ()).await, "UNAUTHENTICATED");
        let headers = [("authorization", bearer.as_str()), ("x-client", outside)];
        assert!(Socket::open(&backend, &headers).await.is_err(), "{outside}");
    }
    let unknown = robot.code(PROJECTS, ()).await;
    assert_eq!(unknown, "UNAUTHENTICATED", "the address is not known");
}

#[test]
fn the_networks_of_a_token_are_checked() {
    in_team(async |team| {
        let many: Vec<String> = (0..21).map(|at| format!("10.{at}.0.0/16")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for wrong in [&[][..], &many, &["10.0.0.1/8"], &["example.com"]] {
            let error = team.owner.error(CREATE_TOKEN, in_networks(wrong)).await;
            assert_eq!(error["field"], "networks", "{wrong:?}");
        }
    });
}
