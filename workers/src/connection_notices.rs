//! Mails to the owners of a tenant about its connections: by whose word people get in, and whether
//! they need it. Whoever administers the tenant can change that, so the owners hear of it.

use event_store::{CommandSender, EventLog};
use events_schema::{
    Commit, ConnectionId, Name, View as _,
    connection::{Area, Event, Settings, View},
    email::{self, ConnectionNotice, Template},
};

use crate::{
    decode,
    loops::{
        Shared,
        consumers::Consumer,
        delivery::{self, Handled, Handler, Received, handle_all},
        reaction::may_have_expired,
    },
    owner_mail,
    owners::Owners,
    reaction::{Consequence, mail_later},
};

/// Requests mails.
struct ConnectionNotices {
    log: EventLog,
    owners: Owners,
    sender: CommandSender,
}

/// What the owners hear of a connection with this name.
type Notice = (Name, ConnectionNotice);

/// Requests the mails that follow from commits of connections, until `shutdown`.
///
/// # Errors
/// Never: failures are retried. The result fits the other loops.
pub(crate) async fn run(shared: Shared, sender: CommandSender) -> anyhow::Result<()> {
    let log = EventLog::new(shared.client.clone());
    let notices = ConnectionNotices {
        owners: Owners::new(log.clone()),
        log,
        sender,
    };
    handle_all(Consumer::connection_notices(), shared, notices).await;
    Ok(())
}

impl Handler for ConnectionNotices {
    async fn handle(&self, received: &Received) -> anyhow::Result<Handled> {
        let message = &received.message;
        let commit = match decode::commit::<Area>(&message.subject, &message.payload) {
            Ok(commit) => commit,
            Err(reason) => return delivery::undecoded(reason),
        };
        // Most commits are the daily looks for records. For them, nothing is read.
        if may_have_expired::<email::Area>(commit.time) || !commit.events.iter().any(is_told) {
            return Ok(Handled::Done);
        }
        let before = self.before(&commit).await?;
        let events = commit.events.iter();
        let notices: Vec<_> = events.filter_map(|event| notice(event, &before)).collect();
        let mails = self.mails(&commit, &notices).await?;
        let by = "connection_notices";
        owner_mail::request(&self.sender, received.trace, by, &commit, mails).await?;
        Ok(Handled::Done)
    }
}

impl ConnectionNotices {
    /// Returns the connections as they were before a commit.
    async fn before(&self, commit: &Commit<Area>) -> anyhow::Result<View> {
        let mut view = None;
        for message in self.log.read_all(&commit.subject().to_string(), 1).await? {
            let earlier: Commit<Area> = decode::commit(&message.subject, &message.payload)?;
            if earlier.revision >= commit.revision {
                break;
            }
            view = View::fold(view, &earlier);
        }
        Ok(view.unwrap_or_default())
    }

    /// Returns the mails to the owners that the tenant has now.
    async fn mails(
        &self,
        commit: &Commit<Area>,
        notices: &[Notice],
    ) -> anyhow::Result<Vec<Consequence<email::Area>>> {
        if notices.is_empty() {
            return Ok(Vec::new());
        }
        let owners = self.owners.of(commit.id).await?;
        let revision = commit.revision.to_be_bytes();
        let mails = notices.iter().enumerate().flat_map(|(position, notice)| {
            let (name, notice) = notice.clone();
            let template = Template::Connection { name, notice };
            let position = position.to_be_bytes();
            owners.iter().map(move |to| {
                let occasion: [&[u8]; 5] = [
                    b"connection_notice",
                    commit.id.0.bytes(),
                    &revision,
                    &position,
                    to.as_str().as_bytes(),
                ];
                mail_later(&occasion, to, template.clone(), None)
            })
        });
        Ok(mails.collect())
    }
}

/// Whether the owners may hear of an event.
const fn is_told(event: &Event) -> bool {
    match event {
        Event::Created { .. }
        | Event::Updated { .. }
        | Event::Deleted { .. }
        | Event::EnforcementBegun { .. }
        | Event::EnforcementEnded { .. }
        | Event::DomainVerified { .. } => true,
        Event::DomainAdded { .. }
        | Event::DomainRemoved { .. }
        | Event::DomainCheckRequested { .. }
        | Event::DomainChecked { .. }
        | Event::DomainLost { .. }
        | Event::Resealed { .. }
        | Event::Ended => false,
    }
}

/// Returns what the owners hear of an event.
fn notice(event: &Event, before: &View) -> Option<Notice> {
    let of = |id: &ConnectionId, notice| Some((before.find(*id)?.settings.name.clone(), notice));
    match event {
        Event::Created { settings, .. } => Some((settings.name.clone(), ConnectionNotice::Created)),
        Event::Updated {
            connection,
            settings,
        } => {
            let is_news = is_more_than_a_name(&before.find(*connection)?.settings, settings);
            is_news.then(|| (settings.name.clone(), ConnectionNotice::Changed))
        }
        Event::Deleted { connection } => of(connection, ConnectionNotice::Deleted),
        Event::EnforcementBegun { connection } => {
            of(connection, ConnectionNotice::EnforcementBegun)
        }
        Event::EnforcementEnded { connection } => {
            of(connection, ConnectionNotice::EnforcementEnded)
        }
        Event::DomainVerified { connection, domain } => {
            let domain = domain.clone();
            of(connection, ConnectionNotice::DomainVerified { domain })
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
