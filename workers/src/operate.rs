//! The operator's commands, which run while everything else runs.

mod any_view;
mod drop_deleted;
mod move_tenant;
mod rebuild;

pub use drop_deleted::drop_deleted;
pub use move_tenant::move_tenant;
pub use rebuild::{REBUILD_MEMORY_MIB, rebuild_views};
