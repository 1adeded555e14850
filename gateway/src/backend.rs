//! Commands out, views and log in.

pub(crate) mod commands;
pub(crate) mod log;
pub(crate) mod views;
