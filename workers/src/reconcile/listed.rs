//! What Stripe lists of a customer, and how long a list counts.

use crate::stripe::Subscription;

/// What Stripe lists of a customer.
#[derive(Clone, Default)]
pub(super) struct ListedCustomer {
    /// All subscriptions, also ended ones, the latest first.
    pub(super) subscriptions: Vec<Subscription>,
    /// Whether the customer is deleted.
    pub(super) is_deleted: bool,
}

/// A list that has led to a record.
pub(super) struct Known {
    /// The revision of that record.
    pub(super) revision: u64,
    pub(super) listed: ListedCustomer,
}

impl Known {
    /// Returns the list, unless another record has followed: that may have seen a later one.
    pub(super) fn at(self, revision: u64) -> Option<ListedCustomer> {
        (self.revision == revision).then_some(self.listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_counts_until_another_record_follows() {
        let known = || Known {
            revision: 3,
            listed: ListedCustomer::default(),
        };
        assert!(known().at(3).is_some());
        assert!(known().at(4).is_none());
    }
}
