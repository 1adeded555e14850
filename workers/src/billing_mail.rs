//! Mails to the owners of a tenant about its plan: a payment has failed, a trial ends, nothing can
//! be created any more. They follow from dates that were recorded. A mail about a later date is
//! requested now; by then, the effect that sends it knows whether it is still true.

mod notices;

use std::time::SystemTime;

use event_store::EventLog;
use events_schema::{
    Commit, TenantId,
    billing::{Area, Event, View},
    tenant,
};

use self::notices::notices;
use crate::{
    effect::wanted_mail::current,
    owner_mail::{Mail, OwnerMail},
};

pub(crate) struct BillingMail;

impl OwnerMail for BillingMail {
    type Area = Area;

    const NAME: &'static str = "billing_mail";

    async fn mails(&self, log: &EventLog, commit: &Commit<Area>) -> anyhow::Result<Vec<Mail>> {
        let (key, of_tenant) = (commit.id, TenantId::Tenant(commit.id));
        let billing = billing(log, commit).await?;
        let notices = notices(commit, billing.as_ref(), SystemTime::now().into());
        if notices.is_empty() {
            return Ok(Vec::new());
        }
        let Some(tenant) = current::<tenant::View>(log, of_tenant, key).await? else {
            return Ok(Vec::new());
        };
        let mails = notices.iter().map(|due| Mail {
            occasion: due.occasion(key).into(),
            template: due.template(key, &tenant.name),
            not_before: due.not_before,
        });
        Ok(mails.collect())
    }
}

/// Returns what is known of the billing now, if the commit alone does not tell what follows.
async fn billing(log: &EventLog, commit: &Commit<Area>) -> anyhow::Result<Option<View>> {
    let key = commit.id;
    let is_needed = commit.events.contains(&Event::Resumed);
    match is_needed {
        true => current(log, TenantId::Tenant(key), key).await,
        false => Ok(None),
    }
}
