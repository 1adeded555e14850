//! Questions for Stripe: requests that a worker answers and no stream stores.

use crate::{AreaName, Id, TenantKey, billing::ask::Question};

/// The group of the workers that answer questions: each goes to one of them.
pub const ANSWERERS: &str = "effects";

/// Returns the subject of a question about the payments of a tenant.
pub fn ask<Q: Question>(tenant: TenantKey) -> String {
    format!("ask.{tenant}.{}.{}", AreaName::Billing, Q::VERB)
}

/// Returns the filter for all questions.
pub fn asks() -> String {
    format!("ask.*.{}.*", AreaName::Billing)
}

/// Reads the subject of a question: the tenant and the verb. `None` if it is not one.
pub fn parse_ask(subject: &str) -> Option<(TenantKey, &str)> {
    let mut tokens = subject.strip_prefix("ask.")?.split('.');
    let tenant = Id::parse(tokens.next()?).ok()?;
    let is_of_billing = tokens.next()? == AreaName::Billing.as_str();
    let verb = tokens.next()?;
    let is_whole = is_of_billing && tokens.next().is_none();
    is_whole.then_some((TenantKey(tenant), verb))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::billing::ask::Cards;

    #[test]
    fn a_question_names_its_tenant_and_its_verb() {
        let tenant = TenantKey(Id::from_bytes([1; 16]));
        let subject = ask::<Cards>(tenant);
        assert_eq!(parse_ask(&subject), Some((tenant, "cards")));
        for other in [
            "ask.platform.billing.cards".to_owned(),
            format!("ask.{tenant}.plan.cards"),
            format!("ask.{tenant}.billing"),
            format!("{subject}.x"),
            format!("cmd.{tenant}.billing.cards"),
        ] {
            assert_eq!(parse_ask(&other), None, "{other}");
        }
    }
}
