//! Decodes messages. A message whose subject and body disagree is never handled.

use std::time::SystemTime;

use anyhow::{Context as _, anyhow, ensure};
use event_store::Stored;
use events_schema::{Area, Command, Commit, CommitSummary, EventName, Subject, TenantId, Time};
use serde::Deserialize;

const DISAGREE: &str = "the subject and the body disagree";

/// A commit with its sequence in the log.
#[derive(Clone, Debug)]
pub struct Logged<A: Area> {
    pub sequence: u64,
    pub commit: Commit<A>,
}

/// A message of a newer release: its envelope is readable, but this program does not know its
/// content. Another worker may know it.
#[derive(Debug, thiserror::Error)]
#[error("this release does not know the content of the message: {0}")]
pub struct Newer(serde_json::Error);

/// The envelope of a command.
#[derive(Deserialize)]
struct CommandEnvelope {
    tenant: TenantId,
    area: String,
    payload: EventName,
}

/// Decodes a command of area `A`.
///
/// # Errors
/// [`Newer`] if a newer release has sent it. Any other error means that no retry can help: the
/// message is malformed, or its subject and body disagree.
pub fn command<A: Area>(subject: &str, payload: &[u8]) -> anyhow::Result<Command<A>> {
    let expected = Subject::parse(subject).context("the subject")?;
    match serde_json::from_slice::<Command<A>>(payload) {
        Ok(command) => {
            let agree = command.area == A::NAME && command.subject()? == expected;
            ensure!(agree, DISAGREE);
            Ok(command)
        }
        Err(unknown) => {
            let body: CommandEnvelope = serde_json::from_slice(payload).context("the body")?;
            let of_body = Subject::Command {
                tenant: body.tenant,
                area: A::NAME,
                verb: body.payload.name,
                // Only the newer release knows.
                internal: matches!(expected, Subject::Command { internal: true, .. }),
            };
            Err(newer::<A>(unknown, &body.area, &of_body, &expected))
        }
    }
}

/// Decodes a commit of area `A`.
///
/// # Errors
/// [`Newer`] if a newer release has written it. Any other error means that no retry can help: the
/// message is malformed, or its subject and body disagree.
pub fn commit<A: Area>(subject: &str, payload: &[u8]) -> anyhow::Result<Commit<A>> {
    let expected = Subject::parse(subject).context("the subject")?;
    match serde_json::from_slice::<Commit<A>>(payload) {
        Ok(commit) => {
            let agree = commit.area == A::NAME && commit.subject() == expected;
            ensure!(agree, DISAGREE);
            Ok(commit)
        }
        Err(unknown) => {
            let body: CommitSummary = serde_json::from_slice(payload).context("the body")?;
            let of_body = Subject::Event {
                tenant: body.tenant,
                area: A::NAME,
                id: body.id,
            };
            Err(newer::<A>(unknown, &body.area, &of_body, &expected))
        }
    }
}

/// Returns the error for a message whose envelope is readable and whose content is not.
fn newer<A: Area>(
    unknown: serde_json::Error,
    area: &str,
    of_body: &Subject,
    expected: &Subject,
) -> anyhow::Error {
    if area == A::NAME.as_str() && of_body == expected {
        Newer(unknown).into()
    } else {
        anyhow!(DISAGREE)
    }
}

/// Decodes a commit of area `A` that was read from the log.
///
/// # Errors
/// As [`commit`].
pub fn logged<A: Area>(stored: &Stored) -> anyhow::Result<Logged<A>> {
    Ok(Logged {
        sequence: stored.sequence,
        commit: commit(&stored.subject, &stored.payload)?,
    })
}

/// Whether a commit is so old that it counts as gone, even if the log still has it: an earlier
/// release has stored it for ever, or the server is about to remove it.
pub fn has_expired<A: Area>(commit: &Commit<A>) -> bool {
    let age = Time::from(SystemTime::now()).since(commit.time);
    A::RETENTION.is_some_and(|retention| age >= retention)
}

#[cfg(test)]
mod tests {
    use events_schema::{AreaName, project};
    use serde_json::{Value, json};

    use super::*;

    const ID: &str = "00112233445566778899aabbccddeeff";

    fn commit_as(field: &str, value: Value) -> anyhow::Result<Commit<project::Area>> {
        let mut body = json!({
            "tenant": "platform", "area": "project", "id": ID, "revision": 1, "command": ID,
            "actor": { "kind": "system" }, "time": 0, "events": [{ "type": "deleted" }],
        });
        body[field] = value;
        let subject = format!("evt.platform.project.{ID}");
        commit(&subject, body.to_string().as_bytes())
    }

    fn command_as(field: &str, value: Value) -> anyhow::Result<Command<project::Area>> {
        let mut body = json!({
            "id": ID, "tenant": "platform", "area": "project", "aggregate": ID,
            "actor": { "kind": "system" }, "time": 0, "payload": { "type": "delete" },
        });
        body[field] = value;
        command("cmd.platform.project.delete", body.to_string().as_bytes())
    }

    #[test]
    fn a_readable_envelope_with_unknown_content_comes_from_a_newer_release() {
        let events = json!([{ "type": "deleted" }, { "type": "flown", "to": "the moon" }]);
        let error = commit_as("events", events.clone()).unwrap_err();
        assert!(error.is::<Newer>(), "{error}");
        let payload = json!({ "type": "fly", "to": "the moon" });
        let command = json!({
            "id": ID, "tenant": "platform", "area": "project", "aggregate": ID,
            "actor": { "kind": "system" }, "time": 0, "payload": payload,
        });
        let decoded = |subject: &str| {
            let body = command.to_string();
            super::command::<project::Area>(subject, body.as_bytes()).unwrap_err()
        };
        assert!(decoded("cmd.platform.project.fly").is::<Newer>());
        assert!(!decoded("cmd.platform.project.delete").is::<Newer>());
        assert!(!commit_as("events", json!(7)).unwrap_err().is::<Newer>());
    }

    #[test]
    fn a_commit_that_disagrees_with_its_subject_is_refused() {
        assert!(commit_as("revision", json!(2)).is_ok());
        for (field, value) in [
            ("tenant", json!(ID)),
            ("area", json!(AreaName::Role)),
            ("id", json!("ffeeddccbbaa99887766554433221100")),
        ] {
            assert!(commit_as(field, value).is_err(), "{field}");
        }
    }

    #[test]
    fn a_command_that_disagrees_with_its_subject_is_refused() {
        assert!(command_as("time", json!(2)).is_ok());
        for (field, value) in [
            ("tenant", json!(ID)),
            ("area", json!(AreaName::Role)),
            ("payload", json!({ "type": "update" })),
        ] {
            assert!(command_as(field, value).is_err(), "{field}");
        }
    }
}
