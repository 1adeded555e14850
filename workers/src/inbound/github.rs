//! GitHub: an issue becomes a task, and the task follows the issue. GitHub sends hooks in no
//! certain order, so each says what the issue is like at its time.

use events_schema::{
    AccountId, InboundSourceId, Name, ProjectId, Time,
    inbound_source::Hook,
    secret::derived_id,
    task::{Area, Command, TaskId},
};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de::Error as _};

use super::handler::Reading;

/// A hook of the event `issues`, as far as it is needed.
#[derive(Deserialize)]
struct Issues {
    action: String,
    issue: Issue,
}

#[derive(Deserialize)]
struct Issue {
    id: u64,
    number: u64,
    title: String,
    state: State,
    #[serde(deserialize_with = "time")]
    updated_at: Time,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Open,
    Closed,
}

/// Reads a time such as `2019-05-15T15:20:18Z`.
fn time<'de, D: Deserializer<'de>>(text: D) -> Result<Time, D::Error> {
    let time: Timestamp = String::deserialize(text)?
        .parse()
        .map_err(D::Error::custom)?;
    Ok(Time(time.as_millisecond()))
}

/// Returns what follows from a hook. `author` becomes the author of new tasks.
pub fn read(project: ProjectId, author: AccountId, hook: &Hook) -> Reading<Area> {
    let event = hook.event.as_deref().unwrap_or_default();
    if event != "issues" {
        return Reading::Ignored(format!("Nothing follows from the event `{event}`."));
    }
    let body = hook.body().unwrap_or_default();
    let issues: Issues = match serde_json::from_slice(&body) {
        Ok(issues) => issues,
        Err(error) => {
            let advice = "Does the webhook at GitHub have the content type application/json?";
            return Reading::Unreadable(format!("The issue cannot be read: {error}. {advice}"));
        }
    };
    let Issues { action, issue } = issues;
    if !["opened", "edited", "closed", "reopened"].contains(&action.as_str()) {
        return Reading::Ignored(format!("Nothing follows from the action `{action}`."));
    }
    let Some(title) = title_of(&issue) else {
        return Reading::Unreadable("The issue has no title.".to_owned());
    };
    let import = Command::Import {
        project,
        title,
        done: matches!(issue.state, State::Closed),
        author,
        as_of: issue.updated_at,
    };
    Reading::Commands(vec![(task_of(hook.source, issue.id), import)])
}

/// Returns the task of an issue: one for each issue and source.
fn task_of(source: InboundSourceId, issue: u64) -> TaskId {
    let issue = issue.to_be_bytes();
    let parts = [b"github-issue".as_slice(), source.0.bytes(), &issue];
    TaskId(derived_id(&parts))
}

/// Titles of issues have up to 256 characters, and those of tasks 100.
fn title_of(issue: &Issue) -> Option<Name> {
    let number = format!("Issue {}", issue.number);
    Name::shortened(&issue.title).or_else(|| Name::shortened(&number))
}

#[cfg(test)]
mod tests;
