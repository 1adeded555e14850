//! Mails to the owners of a tenant about its connections: by whose word people get in, and whether
//! they need it. Whoever administers the tenant can change that, so the owners hear of it.

use event_store::EventLog;
use events_schema::{
    Commit, ConnectionId, Name, View as _,
    connection::{Area, Event, Settings, View},
    email::{ConnectionNotice, Template},
};

use crate::{
    decode,
    owner_mail::{Mail, OwnerMail},
};

pub(crate) struct ConnectionNotices;

impl OwnerMail for ConnectionNotices {
    type Area = Area;

    const NAME: &'static str = "connection_notices";

    async fn mails(&self, log: &EventLog, commit: &Commit<Area>) -> anyhow::Result<Vec<Mail>> {
        // Most commits are the daily looks for records. For them, nothing is read.
        if commit.events.iter().all(|event| told(event).is_none()) {
            return Ok(Vec::new());
        }
        let before = before(log, commit).await?;
        let notices = notices(commit, before).into_iter().enumerate();
        let mails = notices.map(|(position, (name, notice))| Mail {
            occasion: vec![
                b"connection_notice".to_vec(),
                commit.id.0.bytes().to_vec(),
                commit.revision.to_be_bytes().to_vec(),
                position.to_be_bytes().to_vec(),
            ],
            template: Template::Connection { name, notice },
            not_before: None,
        });
        Ok(mails.collect())
    }
}

/// Returns the connections as they were before a commit.
async fn before(log: &EventLog, commit: &Commit<Area>) -> anyhow::Result<Option<View>> {
    let mut view = None;
    for message in log.read_all(&commit.subject().to_string(), 1).await? {
        let earlier: Commit<Area> = decode::commit(&message.subject, &message.payload)?;
        if earlier.revision >= commit.revision {
            break;
        }
        view = View::fold(view, &earlier);
    }
    Ok(view)
}

/// Returns what the owners hear of a commit, each with the name of the connection.
fn notices(commit: &Commit<Area>, before: Option<View>) -> Vec<(Name, ConnectionNotice)> {
    let after = View::fold(before.clone(), commit);
    let told = commit.events.iter().filter_map(told);
    let notices = told.filter_map(|(id, notice)| {
        let (was, is) = (settings(before.as_ref(), id), settings(after.as_ref(), id));
        let is_news = notice != ConnectionNotice::Changed || is_more_than_a_name(was?, is?);
        is_news.then_some((is.or(was)?.name.clone(), notice))
    });
    notices.collect()
}

fn settings(view: Option<&View>, id: ConnectionId) -> Option<&Settings> {
    view?.find(id).map(|connection| &connection.settings)
}

/// Returns what the owners may hear of an event, and about which connection.
fn told(event: &Event) -> Option<(ConnectionId, ConnectionNotice)> {
    match event {
        Event::Created { connection, .. } => Some((*connection, ConnectionNotice::Created)),
        Event::Updated { connection, .. } => Some((*connection, ConnectionNotice::Changed)),
        Event::Deleted { connection } => Some((*connection, ConnectionNotice::Deleted)),
        Event::EnforcementBegun { connection } => {
            Some((*connection, ConnectionNotice::EnforcementBegun))
        }
        Event::EnforcementEnded { connection } => {
            Some((*connection, ConnectionNotice::EnforcementEnded))
        }
        Event::DomainVerified { connection, domain } => {
            let domain = domain.clone();
            Some((*connection, ConnectionNotice::DomainVerified { domain }))
        }
        Event::DomainAdded { .. }
        | Event::DomainRemoved { .. }
        | Event::DomainCheckRequested { .. }
        | Event::DomainChecked { .. }
        | Event::DomainLost { .. }
        | Event::Resealed { .. }
        | Event::Ended => None,
    }
}

/// Whether more has changed than the name, which lets nobody in.
fn is_more_than_a_name(before: &Settings, after: &Settings) -> bool {
    let name = before.name.clone();
    let renamed = Settings {
        name,
        ..after.clone()
    };
    renamed != *before
}

#[cfg(test)]
mod tests;
