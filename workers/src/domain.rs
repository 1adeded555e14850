//! The rules, one file per area: state, `decide`, `evolve`, rejections and their tests. Pure.

pub mod access_token;
pub mod account;
pub mod billing;
pub mod connection;
pub mod email;
pub mod inbound_source;
pub mod member;
pub mod plan;
pub mod project;
pub mod recipient;
pub mod role;
pub mod service;
pub mod session;
pub mod support;
pub mod task;
pub mod tenant;
pub mod usage;
pub mod webhook;

#[cfg(test)]
pub(crate) mod testing;
