//! Sends commands, reads views and the log.

pub(crate) mod commands;
pub(crate) mod filter;
pub(crate) mod log;
pub(crate) mod views;
