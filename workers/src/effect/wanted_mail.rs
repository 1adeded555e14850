//! Whether a mail is still wanted when it is to be sent. The log shows that without delay.

use std::time::SystemTime;

use event_store::EventLog;
use events_schema::{
    AccessTokenId, AccountId, Area, Claim, ClaimHolder, EmailAddress, MemberId, RecipientId,
    Standing, Subject, TenantId, TenantKey, Time, View, access_token, account,
    billing::{self, PaidStatus},
    email::{BillingNotice, Template},
    entitlements, member, plan, recipient, tenant,
};

use crate::{decode, owners::Owners};

/// Whether a mail to this address is still wanted.
///
/// # Errors
/// If the log does not answer, or has a commit that cannot be decoded.
pub(super) async fn is_wanted(
    log: &EventLog,
    to: &EmailAddress,
    template: &Template,
) -> anyhow::Result<bool> {
    match template {
        Template::AccessTokenExpires { tenant, token, .. } => {
            is_valid_token(log, *tenant, *token).await
        }
        Template::Invitation { .. } => {
            let recipient = RecipientId::of(to);
            let found = current::<recipient::View>(log, TenantId::Platform, recipient).await?;
            Ok(found.is_none_or(|found| found.wants_invitations))
        }
        Template::Billing { tenant, notice, .. } => is_due(log, to, *tenant, *notice).await,
        Template::Verification { .. }
        | Template::AlreadyRegistered
        | Template::LoginsFailed
        | Template::LoginCode { .. }
        | Template::CredentialsChanged { .. }
        | Template::SecondFactorFailed
        | Template::NewDevice { .. }
        | Template::PasswordReset { .. }
        | Template::PasswordChanged { .. }
        | Template::AccessTokenCreated { .. }
        | Template::WebhookFailing { .. }
        | Template::WebhookDisabled { .. } => Ok(true),
    }
}

/// Whether a notice about the plan of a tenant is still true, and goes to an owner.
async fn is_due(
    log: &EventLog,
    to: &EmailAddress,
    key: TenantKey,
    notice: BillingNotice,
) -> anyhow::Result<bool> {
    let tenant = TenantId::Tenant(key);
    if !exists(log, tenant).await? || !Owners::new(log.clone()).of(key).await?.contains(to) {
        return Ok(false);
    }
    let billing = current::<billing::View>(log, tenant, key).await?;
    let catalogue = current::<plan::View>(log, TenantId::Platform, plan::CATALOGUE).await?;
    let now = Time::from(SystemTime::now());
    Ok(is_true(notice, catalogue.as_ref(), billing.as_ref(), now))
}

fn is_true(
    notice: BillingNotice,
    catalogue: Option<&plan::View>,
    billing: Option<&billing::View>,
    now: Time,
) -> bool {
    let chosen = billing.and_then(|billing| billing.subscription.as_ref());
    let chosen = chosen.filter(|chosen| !chosen.has_ended(now));
    match notice {
        BillingNotice::PaymentFailed { since } => {
            chosen.is_some_and(|chosen| chosen.past_due_since == Some(since))
        }
        BillingNotice::TrialEnds { at } => chosen.is_some_and(|chosen| {
            let paid = billing.and_then(|billing| billing.payment.lasting());
            let of_stripe = paid.filter(|paid| paid.status == PaidStatus::Trialing);
            let ends = [chosen.trial_end, of_stripe.and_then(|paid| paid.trial_end)];
            ends.contains(&Some(at)) && chosen.cancel_at.is_none() && now < at
        }),
        BillingNotice::Restricted { .. } => {
            entitlements(catalogue, billing, now).standing == Standing::Restricted
        }
    }
}

/// Whether the gateway would accept an access token now or after the end of a suspension.
async fn is_valid_token(
    log: &EventLog,
    tenant: TenantId,
    id: AccessTokenId,
) -> anyhow::Result<bool> {
    let Some(token) = current::<access_token::View>(log, tenant, id).await? else {
        return Ok(false);
    };
    let account = current::<account::View>(log, TenantId::Platform, token.creator).await?;
    let member = member_of(log, tenant, token.creator).await?;
    let (Some(account), Some(mut member)) = (account, member) else {
        return Ok(false);
    };
    if member.status == member::Status::Suspended {
        // They may be restored before the token expires.
        member.status = member::Status::Accepted;
    }
    let now = Time::from(SystemTime::now());
    Ok(token.is_valid(now, &account, &member) && exists(log, tenant).await?)
}

/// Returns the membership of an account in this tenant.
async fn member_of(
    log: &EventLog,
    tenant: TenantId,
    account: AccountId,
) -> anyhow::Result<Option<member::View>> {
    let claim = Claim::member_account(tenant, account);
    let Some(claimed) = log.last(&claim.to_string()).await? else {
        return Ok(None);
    };
    let claimed: ClaimHolder = serde_json::from_slice(&claimed.payload)?;
    match claimed.holder {
        Some(member) => current(log, tenant, MemberId(member)).await,
        None => Ok(None),
    }
}

async fn exists(log: &EventLog, tenant: TenantId) -> anyhow::Result<bool> {
    match tenant {
        TenantId::Platform => Ok(false),
        TenantId::Tenant(key) => {
            let tenant = current::<tenant::View>(log, tenant, key).await?;
            Ok(tenant.is_some())
        }
    }
}

/// Folds a document from the log; `None` if there is nothing to show.
pub(crate) async fn current<V: View>(
    log: &EventLog,
    tenant: TenantId,
    id: <V::Area as Area>::Id,
) -> anyhow::Result<Option<V>> {
    let subject = Subject::Event {
        tenant,
        area: V::Area::NAME,
        id: id.into(),
    };
    let mut view = None;
    for message in log.read_all(&subject.to_string(), 1).await? {
        let commit = decode::commit(&message.subject, &message.payload)?;
        view = V::fold(view, &commit);
    }
    Ok(view)
}
