//! Mails to the owners of a tenant about its plan: a payment has failed, a trial ends, nothing can
//! be created any more. They follow from dates that were recorded. A mail about a later date is
//! requested now; by then, the effect that sends it knows whether it is still true.

mod notices;

use std::time::SystemTime;

use event_store::{CommandSender, EventLog};
use events_schema::{
    Commit, TenantId,
    billing::{Area, Event, View},
    email, tenant,
};

use self::notices::{DueNotice, notices};
use crate::{
    decode,
    effect::wanted_mail::current,
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
struct BillingMail {
    log: EventLog,
    owners: Owners,
    sender: CommandSender,
}

/// Requests the mails that follow from commits of billing, until `shutdown`.
///
/// # Errors
/// Never: failures are retried. The result fits the other loops.
pub(crate) async fn run(shared: Shared, sender: CommandSender) -> anyhow::Result<()> {
    let log = EventLog::new(shared.client.clone());
    let mails = BillingMail {
        owners: Owners::new(log.clone()),
        log,
        sender,
    };
    handle_all(Consumer::billing_mail(), shared, mails).await;
    Ok(())
}

impl Handler for BillingMail {
    async fn handle(&self, received: &Received) -> anyhow::Result<Handled> {
        let message = &received.message;
        let commit = match decode::commit::<Area>(&message.subject, &message.payload) {
            Ok(commit) => commit,
            Err(reason) => return delivery::undecoded(reason),
        };
        if may_have_expired::<email::Area>(commit.time) {
            return Ok(Handled::Done);
        }
        let billing = self.billing(&commit).await?;
        let notices = notices(&commit, billing.as_ref(), SystemTime::now().into());
        if notices.is_empty() {
            return Ok(Handled::Done);
        }
        let mails = self.mails(&commit, &notices).await?;
        owner_mail::request(&self.sender, received.trace, "billing_mail", &commit, mails).await?;
        Ok(Handled::Done)
    }
}

impl BillingMail {
    /// Returns what is known of the billing now, if the commit alone does not tell what follows.
    async fn billing(&self, commit: &Commit<Area>) -> anyhow::Result<Option<View>> {
        let key = commit.id;
        let is_needed = commit.events.contains(&Event::Resumed);
        match is_needed {
            true => current(&self.log, TenantId::Tenant(key), key).await,
            false => Ok(None),
        }
    }

    /// Returns the mails to the owners that the tenant has now.
    async fn mails(
        &self,
        commit: &Commit<Area>,
        notices: &[DueNotice],
    ) -> anyhow::Result<Vec<Consequence<email::Area>>> {
        let (key, of_tenant) = (commit.id, TenantId::Tenant(commit.id));
        let Some(tenant) = current::<tenant::View>(&self.log, of_tenant, key).await? else {
            return Ok(Vec::new());
        };
        let owners = self.owners.of(key).await?;
        let mails = notices.iter().flat_map(|due| {
            let template = due.template(key, &tenant.name);
            owners.iter().map(move |to| {
                let occasion = due.occasion(key);
                let occasion: Vec<&[u8]> = occasion.iter().map(Vec::as_slice).collect();
                let occasion = [occasion, vec![to.as_str().as_bytes()]].concat();
                mail_later(&occasion, to, template.clone(), due.not_before)
            })
        });
        Ok(mails.collect())
    }
}
