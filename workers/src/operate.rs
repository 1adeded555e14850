//! What an operator starts by hand while everything runs.

mod any_view;
mod move_tenant;
mod rebuild;

pub use move_tenant::move_tenant;
pub use rebuild::rebuild_views;
