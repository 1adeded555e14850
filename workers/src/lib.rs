//! The workers: they decide commands, keep views, react to events and act on the outside world.
//!
//! Workers keep no state of their own, so an operator scales them by starting more. The pure rules
//! are in `domain` and `reaction`; the loops that run them, in `loops`.

pub mod aggregate;
pub mod areas;
mod billing_mail;
mod catalogue;
pub mod config;
mod decode;
pub mod domain;
pub mod effect;
mod inbound;
mod loops;
mod operate;
mod owners;
mod payments;
mod placements;
pub mod reaction;
mod readiness;
mod reconcile;
mod run;
mod seats;
mod streams;
pub mod stripe;
mod views;
mod webhooks;

pub use operate::{
    Difference, DifferenceKind, REBUILD_MEMORY_MIB, drop_deleted, migrate, move_tenant,
    rebuild_views, reconcile_billing, reseal, reset_webhooks, set_platform_admin,
};
pub use run::run;
