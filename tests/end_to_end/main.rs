//! The whole backend as its users meet it: by HTTP and SMTP only, on real servers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test binary panics when it fails"
)]

mod accounts;
mod cargo_dev;
mod feed;
mod hostile;
mod mail;
mod matrix;
mod members;
mod projects;
mod readme;
mod resolvers;
mod revocation;
mod rights;
mod strategies;
mod support;
mod tenants;
