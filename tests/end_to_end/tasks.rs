//! Tasks of a project, the example of an area with a parent and an author.

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::support::{Browser, DELETE_PROJECT, MISSING, Team, create_project, input, share, text};

const CREATE: &str = "
    mutation($input: CreateTaskInput!) {
        task { create(input: $input) { id project title done revision author { firstname } } }
    }";
const UPDATE: &str = "
    mutation($input: UpdateTaskInput!) {
        task { update(input: $input) { title done revision } }
    }";
const DELETE: &str = "
    mutation($input: DeleteTaskInput!) {
        task { delete(input: $input) { success } }
    }";
const ONE: &str = "query($id: ID!) { task(id: $id) { title done } }";
const LIST: &str = "
    query($project: ID!, $first: Int, $after: String) {
        tasks(project: $project, first: $first, after: $after) {
            nodes { title }
            pageInfo { hasNextPage endCursor }
        }
    }";

/// A project of the owner's with one task of the member's. The tests share the team.
struct World {
    owner: Browser,
    admin: Browser,
    developer: Browser,
    member: Browser,
    guest: Browser,
    project: String,
    task: String,
}

fn with_task(test: impl AsyncFnOnce(&World)) {
    static TEAM: OnceCell<Team> = OnceCell::const_new();
    share(&TEAM, Team::start, async |team| {
        let project = create_project(&team.owner, "Engine").await;
        let task = create(&team.member, &project, "Oil it").await;
        let world = World {
            owner: team.owner.clone(),
            admin: team.admin.clone(),
            developer: team.developer.clone(),
            member: team.member.clone(),
            guest: team.guest.clone(),
            project,
            task: text(&task, "/id"),
        };
        test(&world).await;
    });
}

async fn create(by: &Browser, project: &str, title: &str) -> Value {
    let task = input(json!({ "project": project, "title": title }));
    by.data(CREATE, task).await["task"]["create"].clone()
}

impl World {
    fn finish(&self) -> Value {
        input(json!({ "id": self.task, "done": true }))
    }

    fn delete(&self) -> Value {
        input(json!({ "id": self.task }))
    }
}

#[test]
fn a_created_task_is_answered_with_its_project_and_author() {
    with_task(async |world| {
        let task = create(&world.member, &world.project, " Polish it ").await;
        assert_eq!(task["title"], "Polish it");
        assert_eq!(task["project"], json!(world.project));
        assert_eq!(
            (&task["done"], &task["revision"]),
            (&json!(false), &json!(1))
        );
        assert_eq!(task["author"]["firstname"], "Ada");
    });
}

#[test]
fn the_author_changes_and_deletes_a_task() {
    with_task(async |world| {
        let updated = world.member.data(UPDATE, world.finish()).await;
        let updated = &updated["task"]["update"];
        assert_eq!(
            (&updated["title"], &updated["done"]),
            (&json!("Oil it"), &json!(true))
        );
        let deleted = world.member.data(DELETE, world.delete()).await;
        assert_eq!(deleted["task"]["delete"]["success"], true);
        let code = world.member.code(ONE, json!({ "id": world.task })).await;
        assert_eq!(code, "NOT_FOUND");
    });
}

#[test]
fn other_members_may_not_change_or_delete_a_task() {
    with_task(async |world| {
        for other in [&world.developer, &world.guest] {
            assert_eq!(other.code(UPDATE, world.finish()).await, "FORBIDDEN");
            assert_eq!(other.code(DELETE, world.delete()).await, "FORBIDDEN");
        }
        let task = world.member.data(ONE, json!({ "id": world.task })).await;
        assert_eq!(task["task"]["done"], false);
    });
}

#[test]
fn administrators_change_and_delete_the_tasks_of_others() {
    with_task(async |world| {
        world.admin.data(UPDATE, world.finish()).await;
        world.owner.data(DELETE, world.delete()).await;
    });
}

#[test]
fn guests_see_tasks_and_create_none() {
    with_task(async |world| {
        let seen = world.guest.data(ONE, json!({ "id": world.task })).await;
        assert_eq!(seen["task"]["title"], "Oil it");
        let task = input(json!({ "project": world.project, "title": "Paint it" }));
        assert_eq!(world.guest.code(CREATE, task).await, "FORBIDDEN");
    });
}

#[test]
fn the_tasks_of_a_project_are_listed_by_pages_the_oldest_first() {
    with_task(async |world| {
        let other = create_project(&world.owner, "Loom").await;
        create(&world.member, &other, "Thread it").await;
        create(&world.member, &world.project, "Polish it").await;
        let page = json!({ "project": world.project, "first": 1 });
        let first = world.guest.data(LIST, page).await["tasks"].clone();
        assert_eq!(first["nodes"], json!([{ "title": "Oil it" }]));
        let after = &first["pageInfo"]["endCursor"];
        let page = json!({ "project": world.project, "first": 5, "after": after });
        let second = world.guest.data(LIST, page).await["tasks"].clone();
        assert_eq!(second["nodes"], json!([{ "title": "Polish it" }]));
        assert_eq!(second["pageInfo"]["hasNextPage"], false);
    });
}

#[test]
fn a_change_at_an_older_revision_of_a_task_is_a_conflict() {
    with_task(async |world| {
        world.member.data(UPDATE, world.finish()).await;
        let mut stale = world.delete();
        stale["input"]["revision"] = json!(1);
        assert_eq!(world.member.code(DELETE, stale).await, "CONFLICT");
    });
}

#[test]
fn a_task_needs_a_project_of_its_tenant() {
    with_task(async |world| {
        world.owner.create_tenant("other").await;
        let foreign = create_project(&world.owner.in_tenant("other"), "Probe").await;
        for project in [MISSING, &foreign] {
            let task = input(json!({ "project": project, "title": "Oil it" }));
            let created = world.owner.code(CREATE, task).await;
            assert_eq!(created, "NOT_FOUND", "{project}");
            let listed = world.owner.code(LIST, json!({ "project": project })).await;
            assert_eq!(listed, "NOT_FOUND", "{project}");
        }
    });
}

#[test]
fn a_deleted_project_hides_its_tasks() {
    with_task(async |world| {
        let project = input(json!({ "id": world.project }));
        world.owner.data(DELETE_PROJECT, project).await;
        let create = input(json!({ "project": world.project, "title": "Paint it" }));
        for (document, variables) in [
            (ONE, json!({ "id": world.task })),
            (LIST, json!({ "project": world.project })),
            (CREATE, create),
            (UPDATE, world.finish()),
            (DELETE, world.delete()),
        ] {
            let code = world.owner.code(document, variables).await;
            assert_eq!(code, "NOT_FOUND", "{document}");
        }
    });
}
