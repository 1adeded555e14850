//! Services: what a member without a person may do, and when it ends.

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::{
    billing::limit,
    support::{
        Browser, CREATE_PROJECT, CREATE_TOKEN, DELETE_MEMBER, Team, UPDATE_MEMBER, ada_in_acme,
        bad_input, eventually, input, list, member_role, share, start, succeeded, text,
    },
};

const CREATE: &str = "
    mutation($input: CreateServiceInput!) {
        service { create(input: $input) { id name role } }
    }";
const RENAME: &str = "
    mutation($input: RenameServiceInput!) {
        service { rename(input: $input) { name } }
    }";
pub(crate) const CHANGE_ROLE: &str = "
    mutation($input: ChangeServiceRoleInput!) {
        service { changeRole(input: $input) { role } }
    }";
const DELETE: &str = "mutation($id: ID!) { service { delete(id: $id) { success } } }";
const SERVICES: &str = "{ services { id name role } }";
const ME: &str = "{ me { permissions member { id } service { id name } authentication { aal } } }";

fn in_team(test: impl AsyncFnOnce(&Team)) {
    static TEAM: OnceCell<Team> = OnceCell::const_new();
    share(&TEAM, Team::start, test);
}

fn service(name: &str, role: &str) -> Value {
    input(json!({ "name": name, "role": role }))
}

pub(crate) async fn create(by: &Browser, name: &str, role: &str) -> String {
    let created = by.data(CREATE, service(name, role)).await;
    text(&created, "/service/create/id")
}

fn token_of(service: &str, scopes: &[&str]) -> Value {
    input(json!({ "name": "Key", "scopes": scopes, "service": service }))
}

/// A machine with a new access token of the service.
async fn machine(team: &Team, by: &Browser, service: &str, scopes: &[&str]) -> Browser {
    let created = by.data(CREATE_TOKEN, token_of(service, scopes)).await;
    let token = text(&created, "/accessToken/create/token");
    Browser::machine(&team.backend, &token)
}

fn project(name: &str) -> Value {
    input(json!({ "name": name }))
}

#[test]
fn a_service_works_by_its_access_tokens_and_the_audit_log_names_it() {
    in_team(async |team| {
        let import = create(&team.owner, "Import", "MEMBER").await;
        let scopes = ["read_project", "create_project"];
        let robot = machine(team, &team.owner, &import, &scopes).await;
        let me = robot.data(ME, ()).await;
        let expected = json!({
            "permissions": ["create_project", "read_project"], "member": null,
            "service": { "id": import, "name": "Import" }, "authentication": null,
        });
        assert_eq!(me["me"], expected);
        let created = robot.data(CREATE_PROJECT, project("Loom")).await;
        assert!(created["project"]["create"]["createdBy"].is_null());
        let audit = "query($actor: ID!) {
            auditLog(where: { actor: $actor }) {
                nodes { area actor { kind id person { id } service { name } } }
            }
        }";
        let log = team.owner.data(audit, json!({ "actor": import })).await;
        let actor = json!({
            "kind": "SERVICE", "id": import, "person": null, "service": { "name": "Import" },
        });
        let expected = json!([{ "area": "PROJECT", "actor": actor }]);
        assert_eq!(log["auditLog"]["nodes"], expected);
    });
}

#[test]
fn a_token_of_a_service_does_no_more_than_its_scopes_and_the_role_of_the_service() {
    in_team(async |team| {
        let reader = create(&team.owner, "Reader", "GUEST").await;
        let scopes = ["read_project", "create_project"];
        let robot = machine(team, &team.owner, &reader, &scopes).await;
        let code = async || robot.code(CREATE_PROJECT, project("No")).await;
        assert_eq!(code().await, "FORBIDDEN", "the role has no such permission");
        let promoted = input(json!({ "id": reader, "role": "DEVELOPER" }));
        team.owner.data(CHANGE_ROLE, promoted).await;
        robot.data(CREATE_PROJECT, project("Yes")).await;
        let delete = "mutation { project { delete(input: { id: \"x\" }) { success } } }";
        assert_eq!(robot.code(delete, ()).await, "FORBIDDEN", "out of scope");
    });
}

#[test]
fn a_token_of_a_service_never_holds_more_than_its_creator_did() {
    in_team(async |team| {
        let chief = create(&team.owner, "Chief", "ADMIN").await;
        let code = async |by: &Browser, scope: &str| {
            by.code(CREATE_TOKEN, token_of(&chief, &[scope])).await
        };
        assert_eq!(code(&team.admin, "delete_tenant").await, "FORBIDDEN");
        let by_developer = code(&team.developer, "read_project").await;
        assert_eq!(by_developer, "FORBIDDEN", "they do not manage services");
        let missing = token_of("0123456789abcdef0123456789abcdef", &["read_project"]);
        assert_eq!(team.admin.code(CREATE_TOKEN, missing).await, "NOT_FOUND");
    });
}

#[test]
fn a_service_is_managed_by_those_who_hold_as_much() {
    in_team(async |team| {
        let chief = create(&team.admin, "Boss", "ADMIN").await;
        let rename = input(json!({ "id": chief, "name": "Lead" }));
        for other in [&team.developer, &team.member, &team.guest] {
            assert_eq!(other.code(CREATE, service("X", "GUEST")).await, "FORBIDDEN");
            assert_eq!(other.code(RENAME, &rename).await, "FORBIDDEN");
            let delete = other.code(DELETE, json!({ "id": chief })).await;
            assert_eq!(delete, "FORBIDDEN");
        }
        team.developer.data(SERVICES, ()).await;
        assert_eq!(team.member.code(SERVICES, ()).await, "FORBIDDEN");
        team.admin.data(RENAME, rename).await;
        let taken = team.admin.code(CREATE, service("Lead", "GUEST")).await;
        assert_eq!(taken, "CONFLICT");
    });
}

#[test]
fn a_service_cannot_own_a_tenant() {
    in_team(async |team| {
        let refused = team.owner.error(CREATE, service("Owner", "OWNER")).await;
        assert_eq!(refused, bad_input("role"));
        let guest = create(&team.owner, "Modest", "GUEST").await;
        let promote = input(json!({ "id": guest, "role": "OWNER" }));
        let refused = team.owner.error(CHANGE_ROLE, promote).await;
        assert_eq!(refused, bad_input("role"));
        let as_member = member_role(&guest, "OWNER");
        assert_eq!(team.owner.code(UPDATE_MEMBER, as_member).await, "NOT_FOUND");
    });
}

#[test]
fn a_service_takes_no_seat_and_is_no_member() {
    in_team(async |team| {
        let members = "{ members { totalCount } }";
        let before = team.owner.data(members, ()).await;
        let seats = limit(&team.owner, "seats").await;
        create(&team.owner, "Seatless", "MEMBER").await;
        assert_eq!(team.owner.data(members, ()).await, before);
        assert_eq!(limit(&team.owner, "seats").await, seats);
    });
}

#[test]
fn deleting_a_service_revokes_its_access_tokens() {
    in_team(async |team| {
        let short = create(&team.owner, "Short", "MEMBER").await;
        let robot = machine(team, &team.owner, &short, &["read_project"]).await;
        robot.data("{ projects { totalCount } }", ()).await;
        team.owner.data(DELETE, json!({ "id": short })).await;
        let code = robot.code("{ projects { totalCount } }", ()).await;
        assert_eq!(code, "UNAUTHENTICATED");
        let tokens = "{ accessTokens(first: 100) { nodes { name service { id } } } }";
        let tokens = team.owner.data(tokens, ()).await;
        assert!(!tokens.to_string().contains(&short), "{tokens}");
        let again = team.owner.code(DELETE, json!({ "id": short })).await;
        assert_eq!(again, "NOT_FOUND");
    });
}

#[test]
fn deleting_a_service_leaves_and_marks_tokens_that_hold_more_than_who_deletes_it() {
    in_team(async |team| {
        let deploy = create(&team.owner, "Deploy", "ADMIN").await;
        let strong = token_of(&deploy, &["delete_tenant"]);
        let strong = team.owner.data(CREATE_TOKEN, strong).await;
        let strong = text(&strong, "/accessToken/create/accessToken/id");
        let weak = token_of(&deploy, &["read_project"]);
        let weak = team.owner.data(CREATE_TOKEN, weak).await;
        let weak = text(&weak, "/accessToken/create/accessToken/id");
        team.admin.data(DELETE, json!({ "id": deploy })).await;
        let token = "query($id: ID!) { accessToken(id: $id) { ofDeletedService service { id } } }";
        let left = team.owner.data(token, json!({ "id": strong })).await;
        let marked = json!({ "ofDeletedService": true, "service": null });
        assert_eq!(left["accessToken"], marked);
        let code = team.owner.code(token, json!({ "id": weak })).await;
        assert_eq!(code, "NOT_FOUND");
    });
}

#[test]
fn owners_learn_of_a_token_of_a_service_and_of_what_ends_it() {
    in_team(async |team| {
        let backup = create(&team.admin, "Backup", "GUEST").await;
        machine(team, &team.admin, &backup, &["read_project"]).await;
        for to in ["owner@example.com", "admin@example.com"] {
            let mail = team.owner.mail(to, "service \"Backup\"", 1).await;
            let said = "Only deleting the token or the service ends it.";
            assert!(text(&mail, "/text").contains(said), "{mail}");
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_of_a_service_is_no_event_of_the_account_of_its_creator() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let import = create(&ada, "Import", "GUEST").await;
    for service in [json!(import), Value::Null] {
        let far_away = json!({
            "name": "Key", "scopes": ["read_project"], "service": service,
            "networks": ["192.0.2.0/24"],
        });
        let created = ada.data(CREATE_TOKEN, input(far_away)).await;
        let token = text(&created, "/accessToken/create/token");
        let robot = Browser::machine(&backend, &token);
        assert_eq!(robot.code(SERVICES, ()).await, "UNAUTHENTICATED");
    }
    let refused = async || {
        let activity = "{ accountActivity { nodes { event } } }";
        let activity = ada.data(activity, ()).await.to_string();
        activity.matches("token_refused").count()
    };
    eventually("the refusal of her own token", || async {
        refused().await > 0
    })
    .await;
    assert_eq!(refused().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_service_outlives_the_membership_of_its_creator() {
    let team = Team::start().await;
    let import = create(&team.admin, "Import", "MEMBER").await;
    let robot = machine(&team, &team.admin, &import, &["read_project"]).await;
    let (own, _) = team
        .admin
        .create_machine(&team.backend, &["read_project"])
        .await;
    let admin = json!({ "id": team.admin.member_id().await });
    team.owner.data(DELETE_MEMBER, admin).await;
    let projects = "{ projects { totalCount } }";
    eventually("the end of the creator's own token", || async {
        !succeeded(&own.gql(projects, ()).await)
    })
    .await;
    robot.data(projects, ()).await;
    let listed = team.owner.data(SERVICES, ()).await;
    assert_eq!(list(&listed["services"]).len(), 1);
}
