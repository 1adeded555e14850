//! Mails to the owners of a tenant that follow from the commits of one area. They go to those who
//! own the tenant when the commit is handled.

use std::future::Future;

use anyhow::Context as _;
use event_store::{CommandSender, EventLog, Trace};
use events_schema::{
    Area, Command, CommandId, Commit, EmailAddress, TenantKey, Time,
    email::{self, Template},
    secret::derived_id,
};
use tokio::time::{Duration, Instant};

use crate::{
    decode,
    loops::{
        Shared,
        consumers::Consumer,
        delivery::{self, Handled, Handler, Received, handle_all},
        reaction::may_have_expired,
    },
    owners::Owners,
    reaction::{Consequence, mail_later},
};

/// How long the outcome of a command may take. Then its cause is redelivered.
const OUTCOME_WITHIN: Duration = Duration::from_secs(8);

/// What the owners of tenants learn of the commits of an area.
pub(crate) trait OwnerMail: Send + Sync {
    type Area: Area<Id = TenantKey>;

    /// Part of the ids of the commands that request the mails, so it never changes.
    const NAME: &'static str;

    /// Returns the mails that follow from a commit. Each owner gets each of them.
    fn mails(
        &self,
        log: &EventLog,
        commit: &Commit<Self::Area>,
    ) -> impl Future<Output = anyhow::Result<Vec<Mail>>> + Send;
}

/// A mail to each owner.
pub(crate) struct Mail {
    /// Identifies the mail: each owner gets one, however often its occasion is recorded.
    pub(crate) occasion: Vec<Vec<u8>>,
    pub(crate) template: Template,
    /// `None` for at once.
    pub(crate) not_before: Option<Time>,
}

/// Requests the mails that follow from the commits of a consumer.
struct Requests<M> {
    log: EventLog,
    owners: Owners,
    sender: CommandSender,
    mails: M,
}

/// Requests the mails that follow from the commits of a consumer, until `shutdown`.
///
/// # Errors
/// Never: failures are retried. The result fits the other loops.
pub(crate) async fn run<M: OwnerMail>(
    consumer: Consumer,
    shared: Shared,
    sender: CommandSender,
    mails: M,
) -> anyhow::Result<()> {
    let log = EventLog::new(shared.client.clone());
    let requests = Requests {
        owners: Owners::new(log.clone()),
        log,
        sender,
        mails,
    };
    handle_all(consumer, shared, &requests).await;
    Ok(())
}

impl<M: OwnerMail> Handler for Requests<M> {
    async fn handle(&self, received: &Received) -> anyhow::Result<Handled> {
        let message = &received.message;
        let commit = match decode::commit::<M::Area>(&message.subject, &message.payload) {
            Ok(commit) => commit,
            Err(reason) => return delivery::undecoded(reason),
        };
        if may_have_expired::<email::Area>(commit.time) {
            return Ok(Handled::Done);
        }
        let mails = self.mails.mails(&self.log, &commit).await?;
        if !mails.is_empty() {
            self.request(&commit, &mails, received.trace).await?;
        }
        Ok(Handled::Done)
    }
}

impl<M: OwnerMail> Requests<M> {
    /// Requests the mails to the owners that the tenant has now.
    async fn request(
        &self,
        commit: &Commit<M::Area>,
        mails: &[Mail],
        trace: Trace,
    ) -> anyhow::Result<()> {
        let owners = self.owners.of(commit.id).await?;
        let requests = requests(mails, &owners).into_iter();
        for (position, request) in requests.enumerate() {
            let command = command(M::NAME, commit, position, request);
            let deadline = Instant::now() + OUTCOME_WITHIN;
            let outcome = self.sender.send(command, trace, deadline).await;
            outcome.context("requesting a mail")?;
        }
        Ok(())
    }
}

/// Returns the requests of each mail to each owner.
fn requests(mails: &[Mail], owners: &[EmailAddress]) -> Vec<Consequence<email::Area>> {
    let mails = mails.iter().flat_map(|mail| {
        owners.iter().map(move |to| {
            let occasion = mail.occasion.iter().map(Vec::as_slice);
            let occasion: Vec<_> = occasion.chain([to.as_str().as_bytes()]).collect();
            mail_later(&occasion, to, mail.template.clone(), mail.not_before)
        })
    });
    mails.collect()
}

/// The same commit leads to the same commands, so a redelivery is answered from the history.
fn command<A: Area>(
    by: &str,
    commit: &Commit<A>,
    position: usize,
    mail: Consequence<email::Area>,
) -> Command<email::Area> {
    let subject = commit.subject().to_string();
    let (revision, position) = (commit.revision.to_be_bytes(), position.to_be_bytes());
    let cause: [&[u8]; 4] = [by.as_bytes(), subject.as_bytes(), &revision, &position];
    Command::by_system(
        CommandId(derived_id(&cause)),
        mail.tenant,
        mail.aggregate,
        commit.time,
        mail.command,
    )
}
