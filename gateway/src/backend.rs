//! Sends commands, reads views and the log.

pub(crate) mod asks;
pub(crate) mod bucket;
pub(crate) mod commands;
pub(crate) mod deliveries;
pub(crate) mod filter;
mod follow;
pub(crate) mod inbox;
pub(crate) mod log;
mod memory;
pub(crate) mod plans;
pub(crate) mod security_log;
pub(crate) mod tail;
pub(crate) mod views;
