//! The workers: they decide commands, keep views, react to events and act on the outside world.
//!
//! Workers keep no state of their own, so an operator scales them by starting more. The pure rules
//! are in `domain` and `reaction`; the loops that run them, in `loops`.

mod account_members;
pub mod aggregate;
pub mod areas;
mod billing_mail;
mod catalogue;
pub mod config;
mod connection_notices;
mod decode;
pub mod domain;
pub mod effect;
mod inbound;
mod log_tenants;
mod loops;
mod memberships;
mod operate;
mod owner_mail;
mod owners;
mod payments;
mod placements;
pub mod reaction;
mod readiness;
mod reconcile;
mod record;
mod run;
mod seats;
mod streams;
pub mod stripe;
mod usage;
mod views;
mod webhooks;

pub use operate::{
    REBUILD_MEMORY_MIB, Recount, adopt_stripe_account, drop_deleted, migrate, move_tenant,
    rebuild_views, reconcile_billing, recount_usage, reseal, reset_webhooks, set_platform_admin,
};
pub use reconcile::{Difference, DifferenceKind};
pub use run::run;
