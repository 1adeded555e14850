//! The whole backend as its users meet it: over HTTP, WebSocket and SMTP, on real servers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test binary panics when it fails, and prints what was measured"
)]

mod access_tokens;
mod audit;
mod billing;
mod cargo_dev;
mod cursors;
mod deletion;
mod dying_workers;
mod email_change;
mod errors;
mod faults;
mod feed;
mod fields;
mod full_disk;
mod hostile;
mod impersonation;
mod inbound;
mod invitations;
mod limits;
mod login_codes;
mod mail;
mod matrix;
mod members;
mod moves;
mod paging;
mod passkeys;
mod passwords;
mod payments;
mod permissions;
mod placement;
mod posture;
mod projects;
mod providers;
mod races;
mod readme;
mod registration;
mod required_factor;
mod resolvers;
mod revocation;
mod roles;
mod rotation;
mod second_factor;
mod secrets;
mod security_events;
mod services;
mod sessions;
mod sso;
mod sso_audit;
mod sso_hosts;
mod sso_identities;
mod sso_revocation;
mod sso_scope;
mod sso_throttles;
mod step_up;
mod stripe;
#[path = "../support/mod.rs"]
mod support;
mod tasks;
mod telemetry;
mod tenants;
mod usage;
mod webhook_access;
mod webhook_order;
mod webhooks;
