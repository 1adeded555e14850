//! Whether a mail is still wanted when it is to be sent. The log shows that without delay.

use std::time::SystemTime;

use event_store::EventLog;
use events_schema::{
    AccessTokenId, Area, Claim, ClaimHolder, EmailAddress, GRACE, MemberId, RecipientId, ServiceId,
    Standing, Subject, TenantId, TenantKey, Time, View, access_token, account,
    billing::{self, PaidStatus},
    email::{BillingNotice, Template},
    entitlements, member, plan, recipient, service, tenant,
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
            is_valid_token(log, to, *tenant, *token).await
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
        | Template::Impersonated { .. }
        | Template::PasswordReset { .. }
        | Template::PasswordChanged { .. }
        | Template::AccessTokenCreated { .. }
        | Template::ServiceTokenCreated { .. }
        | Template::DomainMissing { .. }
        | Template::DomainSilent { .. }
        | Template::DomainLost { .. }
        | Template::Connection { .. }
        | Template::WebhookFailing { .. }
        | Template::WebhookDisabled { .. }
        | Template::EmailChange { .. }
        | Template::Deletion { .. } => Ok(true),
    }
}

/// Returns the address that a mail goes to, which was requested for another one long ago perhaps: a
/// reminder follows the account of its reader.
///
/// # Errors
/// If the log does not answer, or has a commit that cannot be decoded.
pub(super) async fn recipient(
    log: &EventLog,
    requested: &EmailAddress,
    template: &Template,
) -> anyhow::Result<EmailAddress> {
    let Template::AccessTokenExpires { tenant, token, .. } = template else {
        return Ok(requested.clone());
    };
    let present = match current::<access_token::View>(log, *tenant, *token).await? {
        Some(token) if token.service.is_none() => {
            let creator = current::<account::View>(log, TenantId::Platform, token.creator);
            creator.await?.map(|creator| creator.email)
        }
        Some(_) => present_address(log, *tenant, requested).await?,
        None => None,
    };
    Ok(present.unwrap_or_else(|| requested.clone()))
}

/// Returns the present address of the member who had this one; `None` if they have left.
async fn present_address(
    log: &EventLog,
    tenant: TenantId,
    email: &EmailAddress,
) -> anyhow::Result<Option<EmailAddress>> {
    match tenant {
        TenantId::Platform => Ok(None),
        TenantId::Tenant(tenant) => {
            let owners = Owners::new(log.clone());
            owners.present_address(tenant, email).await
        }
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
    let standing = entitlements(catalogue, billing, now).standing;
    let lost = billing.and_then(|billing| lost_since(billing, now));
    // An earlier date is that of an earlier plan.
    let stands = |as_told, since| standing == as_told && lost.is_none_or(|lost| lost <= since);
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
        BillingNotice::Restricted { since } => stands(Standing::Restricted, since),
        BillingNotice::Ended { since } => stands(Standing::Ended, since),
    }
}

/// Returns since when a tenant has not had what it has chosen: its plan has ended, or a payment has
/// been missing for too long. `None` if neither is known.
fn lost_since(billing: &billing::View, now: Time) -> Option<Time> {
    let chosen = billing.subscription.as_ref()?;
    let missing = chosen.past_due_since.map(|since| since + GRACE);
    let dates = [chosen.trial_end, chosen.cancel_at, missing];
    dates
        .into_iter()
        .flatten()
        .filter(|date| *date <= now)
        .min()
}

/// Whether the gateway would accept an access token now or after the end of a suspension. For one
/// of a service, the recipient must be a member still.
async fn is_valid_token(
    log: &EventLog,
    to: &EmailAddress,
    tenant: TenantId,
    id: AccessTokenId,
) -> anyhow::Result<bool> {
    let Some(token) = current::<access_token::View>(log, tenant, id).await? else {
        return Ok(false);
    };
    let now = Time::from(SystemTime::now());
    if let Some(service) = token.service {
        let is_member = present_address(log, tenant, to).await?.is_some();
        let is_of_use = is_member && has_service(log, tenant, service).await?;
        return Ok(is_of_use && now < token.expires_at);
    }
    // Nobody reads the mailbox of an account that was deleted, or somebody else does.
    let account = current::<account::View>(log, TenantId::Platform, token.creator).await?;
    let claim = Claim::member_account(tenant, token.creator);
    let member = member_of(log, tenant, claim).await?;
    let (Some(account), Some(mut member)) = (account, member) else {
        return Ok(false);
    };
    if member.status == member::Status::Suspended {
        // They may be restored before the token expires.
        member.status = member::Status::Accepted;
    }
    Ok(token.is_valid(now, &account, &member) && exists(log, tenant).await?)
}

/// Whether a tenant exists and has this service.
async fn has_service(log: &EventLog, tenant: TenantId, id: ServiceId) -> anyhow::Result<bool> {
    let TenantId::Tenant(key) = tenant else {
        return Ok(false);
    };
    let found = current::<service::View>(log, tenant, key).await?;
    let has = found.is_some_and(|found| found.services.contains_key(&id));
    Ok(has && exists(log, tenant).await?)
}

/// Returns the member of this tenant who holds an account or an address.
async fn member_of(
    log: &EventLog,
    tenant: TenantId,
    claim: Claim,
) -> anyhow::Result<Option<member::View>> {
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

#[cfg(test)]
mod tests {
    use events_schema::{
        Id, Name, PlanId, PlanVersion, PriceId, Reason,
        billing::{Event, Grant, apply},
        plan::{Plan, Version},
    };

    use super::*;

    const TEAM: PlanVersion = PlanVersion {
        plan: PlanId(Id::from_bytes([2; 16])),
        number: 1,
    };

    /// Whether owners are told at this time of a restriction since another one. Their plan is a
    /// trial until 100, and there is no default plan.
    fn is_told<const N: usize>(further: [Event; N], since: i64, now: i64) -> bool {
        let trial = Event::TrialStarted {
            plan: TEAM,
            price: PriceId(Id::from_bytes([3; 16])),
            until: Time(100),
        };
        let mut billing = billing::View::default();
        for event in [trial].into_iter().chain(further) {
            apply(&mut billing, &event);
        }
        let notice = BillingNotice::Restricted { since: Time(since) };
        is_true(notice, None, Some(&billing), Time(now))
    }

    /// A catalogue whose default plan is free.
    fn with_default_plan() -> plan::View {
        let free = PlanId(Id::from_bytes([4; 16]));
        let plan = Plan {
            name: Name::parse("Free").unwrap(),
            versions: vec![Version::default()],
            archived: false,
            created_at: Time(0),
            updated_at: Time(0),
        };
        plan::View {
            plans: [(free, plan)].into(),
            default: Some(free),
            ..plan::View::default()
        }
    }

    fn granted(until: i64) -> Event {
        Event::Granted(Grant {
            plan: TEAM,
            until: Some(Time(until)),
            reason: Reason::parse("A school").unwrap(),
        })
    }

    #[test]
    fn owners_learn_of_the_present_restriction_and_of_no_earlier_one() {
        assert!(is_told([], 100, 100));
        assert!(!is_told([], 99, 100), "it is about an earlier plan");
        assert!(!is_told([], 100, 99), "the trial goes on");
    }

    #[test]
    fn owners_learn_either_that_their_plan_has_ended_or_that_nothing_can_be_created() {
        let trial = Event::TrialStarted {
            plan: TEAM,
            price: PriceId(Id::from_bytes([3; 16])),
            until: Time(100),
        };
        let mut billing = billing::View::default();
        apply(&mut billing, &trial);
        let catalogue = with_default_plan();
        let since = Time(100);
        for (catalogue, now, ended, restricted) in [
            (Some(&catalogue), 99, false, false),
            (Some(&catalogue), 100, true, false),
            (None, 100, false, true),
        ] {
            let told = |notice| is_true(notice, catalogue, Some(&billing), Time(now));
            assert_eq!(told(BillingNotice::Ended { since }), ended);
            assert_eq!(told(BillingNotice::Restricted { since }), restricted);
        }
        let earlier = BillingNotice::Ended { since: Time(99) };
        let told = is_true(earlier, Some(&catalogue), Some(&billing), Time(100));
        assert!(!told, "it is about an earlier plan");
    }

    #[test]
    fn the_end_of_a_grant_is_the_beginning_of_a_restriction() {
        assert!(is_told([granted(200)], 200, 200));
        assert!(is_told([granted(200), Event::GrantEnded], 150, 150));
    }
}
