use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{event::testing::object_of, *};
use crate::{
    Access, AreaName, TenantKey, Time, golden,
    published::samples::{AGGREGATE, SOURCE, TENANT, history, payload, subject},
};

/// The fields of events that bodies may show to every reader of the object. All others are hidden.
const SHOWN: &[&str] = &[
    "type",
    "name",
    "description",
    "status",
    "creator",
    "service",
    "project",
    "title",
    "done",
    "author",
    "account",
    "role",
    "permissions",
    "inherits",
    "scopes",
    "expires_at",
    "slug",
    "owner",
    "plan",
];

fn created(name: &str) -> Value {
    let creator = "c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1";
    json!({ "type": "created", "name": name, "description": "", "status": "on_hold", "creator": creator })
}
fn updated(name: &str) -> Value {
    json!({ "type": "updated", "name": name, "description": "", "status": "active" })
}
fn deleted() -> Value {
    json!({ "type": "deleted" })
}

/// Commits of a project, with one event each.
fn commits(events: impl IntoIterator<Item = Value>) -> Vec<Vec<u8>> {
    let events = (1..).zip(events);
    let commits = events.map(|(revision, event)| payload(AreaName::Project, revision, &[event]));
    commits.collect()
}
fn only_event(commit: &[u8]) -> PublicEvent {
    let events = events_of(&subject(AreaName::Project), commit).unwrap();
    <[PublicEvent; 1]>::try_from(events).unwrap()[0].clone()
}
fn body(event: &PublicEvent, content: Content<'_>) -> Value {
    serde_json::from_slice(&event.body(SOURCE, content).unwrap()).unwrap()
}

#[test]
fn each_event_of_a_published_area_is_sent_or_listed_as_unsent() {
    macro_rules! check {
        ($($name:ident: $module:ident [$($view:ident)+],)+) => {$({
            type Public = <crate::$module::Area as crate::Area>::Public;
            let area = AreaName::$name;
            let sent = Public::EVENTS.iter().map(|event_type| {
                let name = event_type.as_str().strip_prefix(area.as_str());
                name.and_then(|name| name.strip_prefix('.')).unwrap()
            });
            let mut listed: Vec<&str> = sent.chain(Public::UNSENT.iter().copied()).collect();
            listed.sort_unstable();
            let events = golden::events(area);
            let names: BTreeSet<&str> =
                events.iter().map(|event| event["type"].as_str().unwrap()).collect();
            if Public::EVENTS.is_empty() {
                assert!(listed.is_empty(), "{area} is private");
            } else {
                assert!(area.feed().is_some(), "{area} belongs to no tenant");
                assert_eq!(listed, names.into_iter().collect::<Vec<_>>(), "{area}");
            }
        })+};
    }
    crate::areas!(check);
    assert!(event_types().len() >= 24);
}

#[test]
fn a_body_shows_nothing_that_is_not_meant_for_every_reader() {
    for area in AreaName::ALL.iter().copied() {
        if area.event_types().is_empty() {
            continue;
        }
        for example in golden::events(area) {
            let commits = history(area, &example);
            let first = events_of(&subject(area), &commits[0]).unwrap()[0].clone();
            // Also the object after an event that is not sent.
            let last = PublicEvent {
                revision: commits.len() as u64,
                ..first
            };
            let object = object_of(&last, &commits).unwrap();
            let full = last.body(SOURCE, Content::Full(object.as_ref())).unwrap();
            let text = String::from_utf8(full).unwrap();
            for hidden in hidden_texts(&commits) {
                let is_hidden = !text.contains(&hidden);
                assert!(is_hidden, "{hidden} in {text}; is its field in SHOWN?");
            }
            let fields = object.as_ref().and_then(Value::as_object);
            for shown in fields.into_iter().flat_map(|fields| fields.keys()) {
                let mut guarded = area.fields().iter();
                let is_it = |row: &Access| row.verb.replace('_', "") == shown.to_lowercase();
                assert!(!guarded.any(is_it), "{area} {shown}");
            }
        }
    }
}

/// Returns all texts of these commits that no body may contain.
fn hidden_texts(commits: &[Vec<u8>]) -> BTreeSet<String> {
    let mut hidden: BTreeSet<String> = ["@", "203.0.113.9", "curl/8"].map(str::to_owned).into();
    for commit in commits {
        let commit: Value = serde_json::from_slice(commit).unwrap();
        for event in commit["events"].as_array().unwrap() {
            let fields = event.as_object().unwrap().iter();
            let fields = fields.filter(|(name, _)| !SHOWN.contains(&name.as_str()));
            fields.for_each(|(_, value)| texts(value, &mut hidden));
        }
    }
    hidden
}

fn texts(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            found.insert(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(fields) => fields.values().for_each(|value| texts(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn a_thin_body_names_its_object() {
    let commits = commits([created("Loom"), updated("Big loom")]);
    let event = only_event(&commits[1]);
    let expected = json!({
        "specversion": "1.0",
        "id": "msg_b8c2877d18338afeda74ebae14ebcf39",
        "source": SOURCE,
        "type": "project.updated",
        "subject": AGGREGATE.to_string(),
        "time": "2023-11-14T22:13:22.123Z",
        "timestamp": "2023-11-14T22:13:22.123Z",
        "sequence": "00000000000000000002",
        "data": {
            "area": "PROJECT",
            "id": AGGREGATE.to_string(),
            "revision": 2,
            "actor": { "kind": "PERSON", "id": "acacacacacacacacacacacacacacacac" },
        },
    });
    assert_eq!(body(&event, Content::Thin), expected);
    assert_eq!(source("https://app.example.com/", event.tenant), SOURCE);
    assert_eq!(event.subject().to_string(), subject(AreaName::Project));
}

#[test]
fn a_full_body_shows_the_object_after_the_change_even_if_later_changes_exist() {
    let commits = commits([created("Loom"), updated("Big loom"), deleted()]);
    let mut later = commits.clone();
    later.push(payload(
        AreaName::Project,
        4,
        &[json!({ "type": "of_a_newer_release" })],
    ));
    let names = commits.iter().map(|commit| {
        let event = only_event(commit);
        let object = object_of(&event, &later).unwrap();
        let revision = usize::try_from(event.revision).unwrap();
        assert_eq!(object, object_of(&event, &commits[..revision]).unwrap());
        body(&event, Content::Full(object.as_ref()))["data"]["object"].clone()
    });
    let names: Vec<Value> = names.collect();
    assert_eq!(names[0]["name"], "Loom");
    assert_eq!(names[0]["status"], "ON_HOLD");
    assert_eq!(names[1]["name"], "Big loom");
    assert_eq!(names[1]["createdAt"], "2023-11-14T22:13:21.123Z");
    assert_eq!(names[2], Value::Null);
}

#[test]
fn an_event_always_has_the_same_id_and_no_other_event_has_it() {
    let two = [created("Loom"), updated("Big loom")];
    let commit = payload(AreaName::Project, 1, &two);
    let ids = |subject: &str, commit: &[u8]| -> Vec<String> {
        let events = events_of(subject, commit).unwrap();
        events.into_iter().map(|event| event.id).collect()
    };
    let events = events_of(&subject(AreaName::Project), &commit).unwrap();
    let positions: Vec<u64> = events.iter().map(|event| event.position).collect();
    assert_eq!(positions, [0, 1]);
    let first = ids(&subject(AreaName::Project), &commit);
    assert_eq!(first[0], "msg_b8d33886ab4e1b4f7e854e4ecf1f4949");
    let next = payload(AreaName::Project, 2, &two);
    let task = json!({ "type": "deleted" });
    let other = payload(AreaName::Task, 1, &[task]);
    let others = [
        ids(&subject(AreaName::Project), &next),
        ids(&subject(AreaName::Task), &other),
    ];
    let all: BTreeSet<String> = first.into_iter().chain(others.concat()).collect();
    assert_eq!(all.len(), 5);
}

#[test]
fn each_role_of_a_tenant_is_an_object_of_its_own() {
    let ids = ["a1", "b2"].map(|byte| byte.repeat(16));
    let role = |kind: &str, id: &str, name: &str| {
        json!({ "type": kind, "role": id, "name": name, "permissions": ["read_task"],
                "inherits": [{ "built_in": "guest" }, { "custom": ids[0] }] })
    };
    let events = [
        role("created", &ids[0], "Auditor"),
        role("created", &ids[1], "Reviewer"),
        json!({ "type": "deleted", "role": ids[0] }),
    ];
    let commits: Vec<Vec<u8>> = (1..)
        .zip(events)
        .map(|(revision, event)| payload(AreaName::Role, revision, &[event]))
        .collect();
    let shown = commits.iter().map(|commit| {
        let event = &events_of(&subject(AreaName::Role), commit).unwrap()[0];
        let object = object_of(event, &commits).unwrap();
        let name = object.map(|object| (object["name"].clone(), object["inherits"].clone()));
        (event.object.to_string(), name)
    });
    let expected = [
        (
            ids[0].clone(),
            Some((json!("Auditor"), json!(["guest", ids[0]]))),
        ),
        (
            ids[1].clone(),
            Some((json!("Reviewer"), json!(["guest", ids[0]]))),
        ),
        (ids[0].clone(), None),
    ];
    assert_eq!(shown.collect::<Vec<_>>(), expected);
}

#[test]
fn unsent_events_and_commits_of_the_platform_have_no_public_form() {
    let switched = payload(AreaName::Tenant, 1, &[json!({ "type": "move_switched" })]);
    assert_eq!(
        events_of(&subject(AreaName::Tenant), &switched).unwrap(),
        []
    );
    let started = payload(
        AreaName::Session,
        1,
        &[json!({ "type": "of_a_newer_release" })],
    );
    assert_eq!(
        events_of(&subject(AreaName::Session), &started).unwrap(),
        []
    );
    let commit = String::from_utf8(payload(AreaName::Project, 1, &[deleted()])).unwrap();
    let of_platform = commit.replace(&TENANT.to_string(), "platform");
    let subject = format!("evt.platform.project.{AGGREGATE}");
    assert_eq!(events_of(&subject, of_platform.as_bytes()).unwrap(), []);
}

#[test]
fn an_unknown_area_or_event_comes_from_a_newer_release() {
    let flown = payload(AreaName::Project, 1, &[json!({ "type": "flown" })]);
    let error = events_of(&subject(AreaName::Project), &flown).unwrap_err();
    assert!(matches!(error, Unreadable::Newer(_)), "{error}");
    assert!(error.to_string().contains("newer release"), "{error}");
    let of_moon = |text: &str| text.replace("project", "moon");
    let text = String::from_utf8(payload(AreaName::Project, 1, &[deleted()])).unwrap();
    let error = events_of(
        &of_moon(&subject(AreaName::Project)),
        of_moon(&text).as_bytes(),
    );
    assert!(matches!(error, Err(Unreadable::Newer(_))), "{error:?}");
}

#[test]
fn a_message_that_is_no_commit_of_its_subject_is_malformed() {
    let commit = payload(AreaName::Project, 1, &[deleted()]);
    for (subject, payload) in [
        (subject(AreaName::Task), &commit[..]),
        (format!("clm.{TENANT}.slug.{AGGREGATE}"), &commit[..]),
        (subject(AreaName::Project), b"{}"),
    ] {
        let error = events_of(&subject, payload).unwrap_err();
        assert!(matches!(error, Unreadable::Malformed(_)), "{error}");
    }
}

#[test]
fn an_object_is_not_folded_from_wrong_commits() {
    let commits = commits([created("Loom"), updated("Big loom"), deleted()]);
    let event = only_event(&commits[2]);
    for missing in [
        &commits[..2],
        &[],
        &[commits[0].clone(), commits[2].clone()],
    ] {
        let error = object_of(&event, missing).unwrap_err();
        assert!(
            matches!(error, Unreadable::Missing { wanted: 3, .. }),
            "{error}"
        );
    }
    let other = PublicEvent {
        tenant: TenantKey(AGGREGATE),
        ..event
    };
    let error = object_of(&other, &commits).unwrap_err();
    assert!(matches!(error, Unreadable::Malformed(_)), "{error}");
}

#[test]
fn a_body_above_20_kib_leaves_out_its_object() {
    let event = only_event(&commits([created("Loom")])[0]);
    let with_text = |length: usize| {
        let object = json!({ "description": "x".repeat(length) });
        event.body(SOURCE, Content::Full(Some(&object))).unwrap()
    };
    let room = MAX_BODY - with_text(0).len();
    assert_eq!(with_text(room).len(), MAX_BODY);
    let truncated: Value = serde_json::from_slice(&with_text(room + 1)).unwrap();
    let mut expected = body(&event, Content::Thin);
    expected["data"]["truncated"] = json!(true);
    assert_eq!(truncated, expected);
}

#[test]
fn an_endpoint_is_tried_with_the_example_of_a_type() {
    let event_type = EventType::find("project.created").unwrap();
    let (event, object) =
        PublicEvent::example(event_type, TENANT, Id::from_bytes([9; 16]), Time(0)).unwrap();
    assert_eq!(event.id, "msg_09090909090909090909090909090909");
    assert_eq!((event.area, event.tenant), (AreaName::Project, TENANT));
    let body = body(&event, Content::Full(Some(&object)));
    assert_eq!(body["data"]["object"]["name"], "Loom");
    assert_eq!(body["data"]["object"]["id"], body["subject"]);
    assert_eq!(body["test"], true);
}
