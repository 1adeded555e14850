//! What is counted of a tenant, and who pays for it.

use std::collections::BTreeSet;

use events_schema::{Meter, Time, billing, entitlements, plan, usage::Payer};

/// What is counted of a tenant at some time, and who pays for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) meters: BTreeSet<Meter>,
    payer: Option<Payer>,
}

impl Terms {
    /// Returns who pays for what this meter counts.
    pub(super) fn payer_of(&self, meter: Meter) -> Option<Payer> {
        let payer = self.payer.as_ref();
        payer.filter(|_| self.meters.contains(&meter)).cloned()
    }
}

/// Returns what the plan of a tenant counts now. Only who pays Stripe for that plan pays for usage,
/// so a plan without payment has usage without payment.
pub(super) fn terms(catalogue: &plan::View, billing: &billing::View, now: Time) -> Terms {
    let plan = entitlements(Some(catalogue), Some(billing), now).plan;
    let version = plan.and_then(|plan| catalogue.version(plan));
    let chosen = billing.subscription.as_ref();
    let chosen = chosen.map(|chosen| chosen.plan_at(now));
    let is_granted = billing.grant.as_ref().is_some_and(|it| it.is_valid(now));
    let payment = &billing.payment;
    let paid = payment.customer.clone().zip(payment.lasting());
    let paid = paid.filter(|_| chosen == plan && !is_granted);
    Terms {
        meters: version.map_or_else(BTreeSet::new, |version| version.meters.clone()),
        payer: paid.map(|(customer, paid)| Payer {
            customer,
            period_end: paid.period_end,
        }),
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{
        CommandId, Id, Name, PlanId, PlanVersion, PriceId, Reason, StripeCustomerId, StripeItemId,
        StripePriceId, StripeSubscriptionId,
        billing::{ChangeTime, Event, Grant, Paid, PaidStatus, Wanted},
        plan::Version,
        project::PROJECTS_CREATED,
        task::TASKS_CREATED,
    };

    use super::*;

    const NOW: Time = Time(1_000);
    const TEAM: PlanId = PlanId(Id::from_bytes([2; 16]));

    fn team(number: u32) -> PlanVersion {
        PlanVersion { plan: TEAM, number }
    }

    /// A plan whose first version counts tasks, and the second one nothing.
    fn catalogue() -> plan::View {
        let metered = Version {
            meters: [TASKS_CREATED].into(),
            ..Version::default()
        };
        let created = plan::Event::Created {
            plan: TEAM,
            name: Name::parse("Team").unwrap(),
            version: metered,
        };
        let added = plan::Event::VersionAdded {
            plan: TEAM,
            version: Version::default(),
        };
        let mut catalogue = plan::View::default();
        for event in [created, added] {
            plan::apply(&mut catalogue, &event, Time(0));
        }
        catalogue
    }

    fn customer() -> Event {
        let customer = StripeCustomerId::parse("cus_1").unwrap();
        Event::CustomerRecorded { customer }
    }

    fn subscribed(plan: PlanVersion, status: PaidStatus) -> Event {
        Event::SubscriptionRecorded {
            plan,
            price: PriceId(Id::from_bytes([3; 16])),
            subscription: Paid {
                id: StripeSubscriptionId::parse("sub_1").unwrap(),
                item: StripeItemId::parse("si_1").unwrap(),
                status,
                price: StripePriceId::parse("price_1").unwrap(),
                quantity: 1,
                period_end: Time(9_000),
                trial_end: None,
                cancel_at: None,
            },
            past_due_since: None,
            request: None,
        }
    }

    fn granted(until: i64) -> Event {
        Event::Granted(Grant {
            plan: team(1),
            until: Some(Time(until)),
            reason: Reason::parse("A school").unwrap(),
        })
    }

    fn after<const N: usize>(events: [Event; N]) -> (Vec<Meter>, Option<Payer>) {
        let mut billing = billing::View::default();
        for event in events {
            billing::apply(&mut billing, &event);
        }
        let terms = terms(&catalogue(), &billing, NOW);
        assert_eq!(terms.payer_of(PROJECTS_CREATED), None, "it is not counted");
        let payer = terms.payer_of(TASKS_CREATED);
        (terms.meters.into_iter().collect(), payer)
    }

    fn payer() -> Option<Payer> {
        Some(Payer {
            customer: StripeCustomerId::parse("cus_1").unwrap(),
            period_end: Time(9_000),
        })
    }

    #[test]
    fn a_tenant_pays_for_what_the_version_of_its_plan_counts() {
        for status in [
            PaidStatus::Active,
            PaidStatus::Trialing,
            PaidStatus::PastDue,
        ] {
            let paid = after([customer(), subscribed(team(1), status)]);
            assert_eq!(paid, (vec![TASKS_CREATED], payer()), "{status:?}");
        }
        let other = after([customer(), subscribed(team(2), PaidStatus::Active)]);
        assert_eq!(other, (vec![], None));
        assert_eq!(after([customer()]), (vec![], None));
    }

    #[test]
    fn usage_of_a_plan_without_payment_is_counted_and_not_paid() {
        let changed = Event::Changed {
            plan: team(1),
            price: None,
        };
        assert_eq!(after([changed]), (vec![TASKS_CREATED], None));
        let paid = || subscribed(team(1), PaidStatus::Active);
        let free = after([customer(), paid(), granted(1_001)]);
        assert_eq!(free, (vec![TASKS_CREATED], None));
        let again = after([customer(), paid(), granted(1_000)]);
        assert_eq!(again, (vec![TASKS_CREATED], payer()));
        let other = subscribed(team(2), PaidStatus::Active);
        let granted = after([customer(), other, granted(1_001)]);
        assert_eq!(granted, (vec![TASKS_CREATED], None));
    }

    /// The tenant has the second version and asks for the first, from the end of the period on.
    fn postpones_the_first_version() -> [Event; 4] {
        let wanted = Wanted {
            plan: team(1),
            price: PriceId(Id::from_bytes([4; 16])),
            stripe_price: StripePriceId::parse("price_2").unwrap(),
            quantity: 1,
            name: Name::parse("Acme").unwrap(),
            proration_date: None,
            at: ChangeTime::PeriodEnd,
            once_paid: false,
            promotion_code: None,
        };
        let request = CommandId(Id::from_bytes([5; 16]));
        let asked = Event::ChangeRequested {
            request,
            at: Time(1),
            wanted,
            trial_end: None,
        };
        let mut done = subscribed(team(1), PaidStatus::Active);
        if let Event::SubscriptionRecorded {
            price,
            request: of,
            subscription,
            ..
        } = &mut done
        {
            *price = PriceId(Id::from_bytes([4; 16]));
            *of = Some(request);
            subscription.price = StripePriceId::parse("price_2").unwrap();
        }
        let before = subscribed(team(2), PaidStatus::Active);
        [customer(), before, asked, done]
    }

    #[test]
    fn usage_of_a_smaller_plan_is_paid_from_its_first_moment_on() {
        let at = |now| {
            let mut billing = billing::View::default();
            for event in postpones_the_first_version() {
                billing::apply(&mut billing, &event);
            }
            let terms = terms(&catalogue(), &billing, Time(now));
            let payer = terms.payer_of(TASKS_CREATED);
            (terms.meters.contains(&TASKS_CREATED), payer)
        };
        assert_eq!(at(8_999), (false, None));
        assert_eq!(at(9_000), (true, payer()));
    }

    #[test]
    fn nobody_pays_for_a_subscription_that_has_ended() {
        let ended = subscribed(team(1), PaidStatus::Ended);
        let (_, payer) = after([customer(), ended]);
        assert_eq!(payer, None);
    }
}
