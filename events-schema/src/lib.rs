//! The language of the system: everything that may be said on NATS and stored in a view.
//!
//! No tokio, no NATS, no MongoDB, no clock and no randomness live here, so that a message means the
//! same to whoever reads it, whenever.
//!
//! # Glossary
//! - **Tenant**: an organisation whose data is apart from all others'; `platform` holds what
//!   belongs to none.
//! - **Area**: a part of the business with its own commands, events and view, such as [`account`].
//! - **Command**: a wish, one [`Command`] message, decided once.
//! - **Aggregate**: what a command is decided against; its history is the commits on one subject.
//! - **Commit**: one decision's [events](Commit), stored as one message. Revisions count 1, 2, 3 …
//!   per aggregate.
//! - **Claim**: the holder of a name that must be unique, such as an e-mail address.
//! - **Outcome**: the answer to a command.
//! - **View**: a document folded from the commits of one aggregate, there to be read.
//!
//! # Versions
//! What was once stored must decode for ever, and old readers must survive new writers. So a change
//! is either *additive* (a new optional field, with `#[serde(default)]`) or *a new variant*; a
//! field is never renamed, retyped or removed, and the rules of a `parse` are loosened, never
//! tightened. Unknown fields are ignored. `tests/golden.rs` holds an example of each variant ever
//! released.

pub mod access_token;
pub mod account;
mod challenge;
mod claim;
pub mod email;
mod envelope;
mod id;
pub mod member;
mod permission;
pub mod project;
pub mod role;
pub mod secret;
pub mod session;
pub mod subject;
pub mod tenant;
mod text;
mod time;
mod view;

#[cfg(test)]
mod schemas;

pub use challenge::Challenge;
pub use claim::{Claim, ClaimHolder, ClaimKind};
pub use envelope::{
    Actor, Command, Commit, Document, Origin, Outcome, Rejected, TRACEPARENT, verb,
};
pub use id::{
    AccessTokenId, AccountId, ChallengeId, CommandId, EmailId, Id, MemberId, ProjectId, RoleId,
    SessionId, TenantId,
};
pub use permission::{Action, BuiltInRole, Permission, Permissions, Resource};
pub use subject::{Area, Subject};
pub use text::{
    Address, Description, Device, EmailAddress, Invalid, Name, PasswordHash, PersonName,
    SettingKey, SettingValue, Slug,
};
pub use time::Time;
pub use view::{Home, HostName, Place, View, founder_id};
