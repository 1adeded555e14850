//! The subjects of `INBOX` and `STRIPE`.

use crate::{Id, InboundSourceId, StripeEventId, StripeHook, TenantKey, inbound_source::HookId};

/// The stream of hooks that other services have sent, kept for 30 days.
pub const INBOX: &str = "INBOX";
/// The stream of Stripe's events, kept for a week. No hook of a tenant pushes them out.
pub const STRIPE: &str = "STRIPE";

/// Returns the subjects of INBOX.
pub fn of_inbox_stream() -> Vec<String> {
    vec![hooks(), "ink.*.*.*".to_owned(), "inr.*.*.*".to_owned()]
}

/// Returns the subjects of STRIPE.
pub fn of_stripe_stream() -> Vec<String> {
    vec![stripe_hooks(), "rcn.*".to_owned()]
}

/// Returns the subject on which the process that compares billings in a night says so.
pub fn comparison_of(night: i64) -> String {
    format!("rcn.{night}")
}

/// Returns the filter for all hooks.
pub fn hooks() -> String {
    "in.*.*".to_owned()
}

/// Returns the subject of the hooks of a source. The stream keeps the latest of each source.
pub fn hooks_of(tenant: TenantKey, source: InboundSourceId) -> String {
    format!("in.{tenant}.{source}")
}

/// Reads the subject of a hook; `None` if it is not one.
pub fn parse_hook(subject: &str) -> Option<(TenantKey, InboundSourceId)> {
    let (tenant, source) = subject.strip_prefix("in.")?.split_once('.')?;
    let (tenant, source) = (Id::parse(tenant).ok()?, Id::parse(source).ok()?);
    Some((TenantKey(tenant), InboundSourceId(source)))
}

/// Returns the subject of the receipt of a hook. At most one is stored.
pub fn receipt(tenant: TenantKey, source: InboundSourceId, hook: HookId) -> String {
    format!("ink.{tenant}.{source}.{hook}")
}

/// Returns the filter for the receipts of a source.
pub fn receipts_of(tenant: TenantKey, source: InboundSourceId) -> String {
    format!("ink.{tenant}.{source}.*")
}

/// Returns the filter for all events of Stripe about tenants' payments.
pub fn stripe_hooks() -> String {
    "ins.*".to_owned()
}

/// Returns the subject of an event of Stripe. At most one is stored.
pub fn stripe_hook(event: &StripeEventId) -> String {
    format!("ins.{}", StripeHook::key(event))
}

/// Returns the subject of what became of a hook.
pub fn handling(tenant: TenantKey, source: InboundSourceId, hook: HookId) -> String {
    format!("inr.{tenant}.{source}.{hook}")
}

/// Returns the filter for what became of the hooks of a source.
pub fn handlings_of(tenant: TenantKey, source: InboundSourceId) -> String {
    format!("inr.{tenant}.{source}.*")
}

/// Returns the id of a hook at the end of the subject of its receipt or handling.
pub fn hook_in(subject: &str) -> Option<HookId> {
    let (_, hook) = subject.rsplit_once('.')?;
    HookId::parse(hook).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantKey = TenantKey(Id::from_bytes([1; 16]));
    const SOURCE: InboundSourceId = InboundSourceId(Id::from_bytes([2; 16]));

    #[test]
    fn the_subject_of_a_hook_names_its_source() {
        let subject = hooks_of(TENANT, SOURCE);
        assert_eq!(parse_hook(&subject), Some((TENANT, SOURCE)));
        for wrong in ["", "in", "in.x.y", "in.*.*", &format!("{subject}.x")] {
            assert_eq!(parse_hook(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_event_of_stripe_has_a_subject_of_its_own_whatever_its_id_is() {
        let subject = |id: &str| stripe_hook(&StripeEventId::parse(id).unwrap());
        assert_ne!(subject("evt_1"), subject("evt_2"));
        for id in ["evt_1", "evt.1.x", "evt-1"] {
            assert_eq!(subject(id).split('.').count(), 2);
        }
    }

    #[test]
    fn receipts_and_handlings_name_their_hook() {
        let hook = HookId::of(SOURCE, "evt.1 *>");
        for subject in [
            receipt(TENANT, SOURCE, hook),
            handling(TENANT, SOURCE, hook),
        ] {
            assert_eq!(hook_in(&subject), Some(hook));
        }
    }
}
