//! The operator's commands, which run while everything else runs.

mod all_views;
mod drop_deleted;
mod migrate;
mod move_tenant;
mod platform_admin;
mod rebuild;
mod reconcile_billing;
mod recount_usage;
mod reseal;
mod reset_webhooks;

pub use drop_deleted::drop_deleted;
pub use migrate::migrate;
pub use move_tenant::move_tenant;
pub use platform_admin::set_platform_admin;
pub use rebuild::{REBUILD_MEMORY_MIB, rebuild_views};
pub use reconcile_billing::{adopt_stripe_account, reconcile_billing};
pub use recount_usage::{Recount, recount_usage};
pub use reseal::reseal;
pub use reset_webhooks::reset_webhooks;
