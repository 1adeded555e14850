use std::borrow::Cow;

use events_schema::{
    Id, TenantKey,
    inbound_source::{HookId, Receipt},
};
use serde_json::{Value, json};

use super::*;

const PROJECT: ProjectId = ProjectId(Id::from_bytes([1; 16]));
const ADA: AccountId = AccountId(Id::from_bytes([2; 16]));
const SOURCE: InboundSourceId = InboundSourceId(Id::from_bytes([3; 16]));

/// The example of GitHub's documentation, without what nobody reads here.
fn payload(action: &str) -> Value {
    json!({
        "action": action,
        "issue": {
            "url": "https://api.github.com/repos/Codertocat/Hello-World/issues/1",
            "id": 444_500_041,
            "node_id": "MDU6SXNzdWU0NDQ1MDAwNDE=",
            "number": 1,
            "title": "Spelling error in the README file",
            "user": { "login": "Codertocat", "id": 21_031_067 },
            "state": if action == "closed" { "closed" } else { "open" },
            "comments": 0,
            "created_at": "2019-05-15T15:20:18Z",
            "updated_at": "2019-05-15T15:20:18Z",
            "closed_at": null,
            "body": "It looks like you accidently spelled 'commit' with two 't's."
        },
        "repository": { "id": 186_853_002, "full_name": "Codertocat/Hello-World" },
        "sender": { "login": "Codertocat", "id": 21_031_067 }
    })
}

fn hook(event: Option<&str>, body: &[u8]) -> Hook {
    let receipt = Receipt {
        key: "72d3162e-cc78-11e3-81ab-4c9367dc0958".to_owned(),
        event: event.map(str::to_owned),
        received_at: Time(7),
    };
    let tenant = TenantKey(Id::from_bytes([4; 16]));
    Hook::new((tenant, SOURCE), receipt, body)
}
fn read_issue(payload: &Value) -> Reading<Area> {
    read(
        PROJECT,
        ADA,
        &hook(Some("issues"), payload.to_string().as_bytes()),
    )
}
fn imports(title: &str, done: bool) -> Reading<Area> {
    let import = Command::Import {
        project: PROJECT,
        title: Name::parse(title).unwrap(),
        done,
        author: ADA,
        as_of: Time(1_557_933_618_000),
    };
    Reading::Commands(vec![(task_of(SOURCE, 444_500_041), import)])
}

#[test]
fn an_issue_becomes_a_task_with_its_title_and_state() {
    let title = "Spelling error in the README file";
    for (action, done) in [
        ("opened", false),
        ("edited", false),
        ("closed", true),
        ("reopened", false),
    ] {
        assert_eq!(
            read_issue(&payload(action)),
            imports(title, done),
            "{action}"
        );
    }
}

#[test]
fn a_title_is_made_fit() {
    let titled = |title: &str| {
        let mut payload = payload("opened");
        payload["issue"]["title"] = title.into();
        read_issue(&payload)
    };
    let long = "x".repeat(256);
    assert_eq!(
        titled(&long),
        imports(&format!("{}…", "x".repeat(99)), false)
    );
    assert_eq!(titled("\u{200B}"), imports("Issue 1", false));
}

#[test]
fn the_task_of_an_issue_belongs_to_one_source() {
    let other = InboundSourceId(Id::from_bytes([9; 16]));
    assert_ne!(task_of(SOURCE, 1), task_of(other, 1));
    assert_ne!(task_of(SOURCE, 1), task_of(SOURCE, 2));
}

#[test]
fn other_events_and_actions_are_ignored() {
    let body = payload("opened").to_string();
    for event in [None, Some("ping"), Some("issue_comment")] {
        let read = read(PROJECT, ADA, &hook(event, body.as_bytes()));
        assert!(matches!(read, Reading::Ignored(_)), "{event:?}");
    }
    for action in ["labeled", "assigned", "deleted", "transferred"] {
        let read = read_issue(&payload(action));
        assert!(matches!(read, Reading::Ignored(_)), "{action}");
    }
}

#[test]
fn a_body_that_github_does_not_send_is_unreadable() {
    let mut without_time = payload("opened");
    without_time["issue"]["updated_at"] = "yesterday".into();
    let mut unknown_state = payload("opened");
    unknown_state["issue"]["state"] = "lost".into();
    for wrong in [
        Cow::Borrowed(b"".as_slice()),
        Cow::Borrowed(b"payload=%7B%22action%22%3A%22opened%22%7D"),
        Cow::Borrowed(b"\xff\xfe"),
        Cow::Borrowed(b"{}"),
        Cow::Owned(without_time.to_string().into_bytes()),
        Cow::Owned(unknown_state.to_string().into_bytes()),
    ] {
        let read = read(PROJECT, ADA, &hook(Some("issues"), &wrong));
        assert!(matches!(read, Reading::Unreadable(_)), "{read:?}");
    }
}

#[test]
fn a_delivery_that_comes_again_is_the_same_hook() {
    let (first, again) = (hook(None, b"{}"), hook(Some("issues"), b"[]"));
    assert_eq!(first.id(), again.id());
    assert_eq!(first.id(), HookId::of(SOURCE, &first.key));
}
