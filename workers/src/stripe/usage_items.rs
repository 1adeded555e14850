//! The items of a subscription that pay for usage.

use events_schema::{StripeItemId, StripePriceId, StripeSubscriptionId};

use super::{IdempotencyKey, Stripe, StripeError, Subscription, request::Request};

/// A change of what a subscription pays for usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsageChange {
    /// Usage has this price from now on.
    Add(StripePriceId),
    /// The usage of this item has another price from now on.
    Replace(StripeItemId, StripePriceId),
    /// The usage of this item costs nothing from now on.
    Remove(StripeItemId),
}

impl Stripe {
    /// Changes what a subscription pays for usage, and nothing else. What was used before is on the
    /// next invoice, at the price that it had.
    ///
    /// # Errors
    /// If Stripe does not confirm it.
    pub async fn change_usage(
        &self,
        key: IdempotencyKey,
        id: &StripeSubscriptionId,
        changes: &[UsageChange],
    ) -> Result<Subscription, StripeError> {
        self.send(change(key, id, changes)).await
    }
}

/// Without prorations, what was used before would never be charged.
pub(super) fn change(
    key: IdempotencyKey,
    id: &StripeSubscriptionId,
    changes: &[UsageChange],
) -> Request {
    let request = Request::post(format!("/subscriptions/{id}"), key);
    with_changes(request, "items", 0, changes).set("proration_behavior", "create_prorations")
}

/// Adds changes to a list of items of which `first` are in the request.
pub(super) fn with_changes(
    request: Request,
    list: &str,
    first: usize,
    changes: &[UsageChange],
) -> Request {
    (first..)
        .zip(changes)
        .fold(request, |request, (at, change)| {
            let name = |field: &str| format!("{list}[{at}][{field}]");
            match change {
                UsageChange::Add(price) => request.set(name("price"), price),
                UsageChange::Replace(item, price) => {
                    request.set(name("id"), item).set(name("price"), price)
                }
                UsageChange::Remove(item) => {
                    request.set(name("id"), item).set(name("deleted"), true)
                }
            }
        })
}
