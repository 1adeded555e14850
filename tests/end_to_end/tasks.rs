//! Tasks: they belong to a project and to their author.

use serde_json::{Value, json};

use crate::support::{Browser, DELETE_PROJECT, MISSING, Team, create_project, input, list, text};

const CREATE: &str = "
    mutation($input: CreateTaskInput!) {
        task { create(input: $input) { id project title done revision author { id } } }
    }";
const UPDATE: &str = "
    mutation($input: UpdateTaskInput!) {
        task { update(input: $input) { id project title done revision author { id } } }
    }";
const DELETE: &str = "
    mutation($input: DeleteTaskInput!) {
        task { delete(input: $input) { success } }
    }";
const ONE: &str = "
    query($id: ID!) {
        task(id: $id) { id project title done revision author { id } }
    }";
const LIST: &str = "
    query($project: ID!) {
        tasks(project: $project) { totalCount nodes { title } }
    }";

fn new(project: &str, title: &str) -> Value {
    input(json!({ "project": project, "title": title }))
}

async fn create(browser: &Browser, project: &str, title: &str) -> String {
    let created = browser.data(CREATE, new(project, title)).await;
    text(&created, "/task/create/id")
}

async fn one(browser: &Browser, id: &str) -> Value {
    let found = browser.data(ONE, json!({ "id": id })).await;
    found["task"].clone()
}

async fn delete_project(team: &Team, project: &str) {
    let delete = input(json!({ "id": project }));
    team.owner.data(DELETE_PROJECT, delete).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_created_changed_and_deleted_by_its_author() {
    let team = Team::start().await;
    let project = create_project(&team.owner, "Rocket").await;
    let created = team.member.data(CREATE, new(&project, " Oil it ")).await;
    let created = created["task"]["create"].clone();
    let profile = team.member.data("{ profile { id } }", ()).await;
    let mut expected = json!({
        "id": created["id"], "project": project, "title": "Oil it", "done": false,
        "revision": 1, "author": { "id": profile["profile"]["id"] },
    });
    assert_eq!(created, expected);
    let id = text(&created, "/id");
    for (fields, revision) in [
        (json!({ "done": true }), 2),
        (json!({ "title": "Oil the engine" }), 3),
        (json!({ "title": "Oil the engine", "done": true }), 3),
    ] {
        let mut update = fields.clone();
        update["id"] = json!(id);
        let updated = team.member.data(UPDATE, input(update)).await;
        for (field, value) in fields.as_object().unwrap() {
            expected[field] = value.clone();
        }
        expected["revision"] = json!(revision);
        assert_eq!(updated["task"]["update"], expected, "{fields}");
        assert_eq!(one(&team.guest, &id).await, expected, "{fields}");
    }
    let stale = input(json!({ "id": id, "revision": 2 }));
    assert_eq!(team.member.code(DELETE, stale).await, "CONFLICT");
    let delete = input(json!({ "id": id, "revision": 3 }));
    team.member.data(DELETE, delete).await;
    assert_eq!(team.guest.code(ONE, json!({ "id": id })).await, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_another_person_is_changed_only_with_the_permission() {
    let team = Team::start().await;
    let project = create_project(&team.owner, "Rocket").await;
    let id = create(&team.member, &project, "Oil it").await;
    let update = input(json!({ "id": id, "title": "Mine" }));
    let delete = input(json!({ "id": id }));
    for other in [&team.guest, &team.developer] {
        assert_eq!(other.code(UPDATE, update.clone()).await, "FORBIDDEN");
        assert_eq!(other.code(DELETE, delete.clone()).await, "FORBIDDEN");
    }
    let forbidden = team.guest.code(CREATE, new(&project, "Mine")).await;
    assert_eq!(forbidden, "FORBIDDEN");
    assert_eq!(one(&team.guest, &id).await["title"], "Oil it");
    team.admin.data(UPDATE, update).await;
    assert_eq!(one(&team.guest, &id).await["title"], "Mine");
    team.admin.data(DELETE, delete).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_holds_the_tasks_of_one_project_the_oldest_first() {
    let team = Team::start().await;
    let rocket = create_project(&team.owner, "Rocket").await;
    let probe = create_project(&team.owner, "Probe").await;
    for (project, title) in [
        (&rocket, "b"),
        (&probe, "x"),
        (&rocket, "a"),
        (&rocket, "c"),
    ] {
        create(&team.member, project, title).await;
    }
    for (project, expected) in [(rocket, vec!["b", "a", "c"]), (probe, vec!["x"])] {
        let listed = team.guest.data(LIST, json!({ "project": project })).await;
        let tasks = &listed["tasks"];
        let titles: Vec<_> = list(&tasks["nodes"])
            .iter()
            .map(|task| text(task, "/title"))
            .collect();
        assert_eq!(titles, expected);
        assert_eq!(tasks["totalCount"], expected.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_needs_a_project_of_its_tenant() {
    let team = Team::start().await;
    let deleted = create_project(&team.owner, "Rocket").await;
    delete_project(&team, &deleted).await;
    team.owner.create_tenant("other").await;
    let foreign = create_project(&team.owner.in_tenant("other"), "Probe").await;
    for project in [MISSING, &deleted, &foreign] {
        let created = team.owner.code(CREATE, new(project, "Oil it")).await;
        assert_eq!(created, "NOT_FOUND", "{project}");
        let listed = team.owner.code(LIST, json!({ "project": project })).await;
        assert_eq!(listed, "NOT_FOUND", "{project}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_project_hides_its_tasks() {
    let team = Team::start().await;
    let project = create_project(&team.owner, "Rocket").await;
    let id = create(&team.owner, &project, "Oil it").await;
    delete_project(&team, &project).await;
    let listed = team.owner.code(LIST, json!({ "project": project })).await;
    assert_eq!(listed, "NOT_FOUND");
    let found = team.owner.code(ONE, json!({ "id": id })).await;
    assert_eq!(found, "NOT_FOUND");
    let update = input(json!({ "id": id, "done": true }));
    assert_eq!(team.owner.code(UPDATE, update).await, "NOT_FOUND");
    let delete = input(json!({ "id": id }));
    assert_eq!(team.owner.code(DELETE, delete).await, "NOT_FOUND");
}
