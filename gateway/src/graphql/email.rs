//! Emails have no API: other areas request them, and workers send them.

use crate::use_cases::list::IndexCheck;

pub(super) const INDEX_CHECKS: &[IndexCheck] = &[];

pub(super) use async_graphql::{EmptyMutation as Queries, EmptyMutation as Mutations};
