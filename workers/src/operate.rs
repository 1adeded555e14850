//! What an operator starts by hand, while everything runs.

pub mod move_tenant;
