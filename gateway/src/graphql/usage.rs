//! What a tenant has used. Clients see it as a part of their billing.

use async_graphql::SimpleObject;
use events_schema::usage::View;

use super::scalars::{DateTime, Long};
use crate::use_cases::list::IndexCheck;

pub(super) const INDEX_CHECKS: &[IndexCheck] = &[];

pub(super) use async_graphql::{EmptyMutation as Queries, EmptyMutation as Mutations};

/// What a tenant has used, as of the last count. It is counted about once an hour, so what was used
/// after `until` is not included.
#[derive(SimpleObject)]
pub(super) struct Usage {
    /// Name of the meter, such as `tasks_created`.
    meter: String,
    /// When counting began: with the first count after the last payment was due. Null if everything
    /// since the creation of the tenant is included.
    since: Option<DateTime>,
    /// When it was last counted.
    until: DateTime,
    /// What was counted between the two.
    quantity: Long,
}

impl From<View> for Usage {
    fn from(view: View) -> Self {
        Self {
            meter: view.meter.to_string(),
            since: view.since.map(DateTime),
            until: DateTime(view.until),
            quantity: view.quantity.into(),
        }
    }
}
