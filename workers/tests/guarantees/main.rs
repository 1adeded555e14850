//! The guarantees that ARCHITECTURE.md lists under "Invariants", held against real servers and real
//! worker processes: races, repeats, kills, restarts, replays and garbage.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test binary: it has no readers but its own, and panics when it fails"
)]

mod cluster;
mod commands;
mod effects;
mod fill;
mod garbage;
mod hosts;
mod inbound;
mod kills;
mod limits;
mod loops;
mod monitor;
mod outages;
mod posture;
mod rebuilds;
mod retention;
mod stripe;
mod support;
mod usage;
mod views;
mod webhooks;
