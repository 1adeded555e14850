//! The language of the system: every message on NATS and every view in MongoDB.
//!
//! The crate is pure: no I/O, no clock, no randomness. So every program reads a message the same
//! way, today and later. A glossary is in `ARCHITECTURE.md`.
//!
//! # Versions
//! A stored message must decode for ever, and old readers must survive new writers. So a change is
//! either a new optional field with `#[serde(default)]`, or a new variant. A field is never
//! renamed, retyped or removed, and the rules of a `parse` are relaxed, never tightened. Unknown
//! fields are ignored. `golden/` has an example of each variant.

mod access;
pub mod access_token;
pub mod account;
mod area;
mod base64url;
pub mod billing;
mod challenge;
mod claim;
pub mod connection;
pub mod email;
pub mod email_change;
mod entitlement;
mod envelope;
mod id;
pub mod identity;
pub mod inbound_source;
mod ip_network;
mod life;
pub mod member;
mod meter;
mod money;
mod names;
pub mod outbound;
pub mod passkey;
mod permission;
mod permissions;
mod placement;
pub mod plan;
pub mod project;
pub mod proof;
pub mod published;
pub mod recipient;
mod rejection;
pub mod role;
pub mod sealed;
pub mod second_factor;
pub mod secret;
mod security;
mod sensitive;
pub mod service;
pub mod session;
mod slug;
mod stripe_hook;
mod stripe_id;
pub mod subject;
pub mod support;
pub mod task;
pub mod tenant;
mod text;
mod time;
pub mod totp;
pub mod usage;
mod view;
pub mod webhook;
pub mod webhook_signature;

#[cfg(test)]
mod golden;

pub use access::{Access, Who};
pub use access_token::AccessTokenId;
pub use account::AccountId;
pub use area::{AggregateId, Area, AreaName, Payload};
pub use base64url::Base64Url;
pub use challenge::Challenge;
pub use claim::{Claim, ClaimHolder, ClaimKind};
pub use connection::{ConnectionId, DomainName};
pub use email::EmailId;
pub use email_change::EmailChange;
pub use entitlement::{
    Entitlements, Feature, GRACE, Limit, MAX_LIMIT, Meter, Standing, allowed, entitlements,
    paid_seats,
};
pub use envelope::{
    Actor, Command, Commit, CommitSummary, Document, EventName, Origin, Outcome, TRACEPARENT,
    variant_name,
};
pub use id::{ChallengeId, CommandId, Id, TenantId, TenantKey};
pub use identity::{Identity, IdentityId, ProvedIdentity};
pub use inbound_source::InboundSourceId;
pub use ip_network::IpNetwork;
pub use life::Life;
pub use member::MemberId;
pub use meter::Counter;
pub use money::{Currency, MAX_AMOUNT, Money};
pub use passkey::PasskeyId;
pub use permission::{BuiltInRole, Permission};
pub use permissions::Permissions;
pub use placement::{HostName, Placement};
pub use plan::{PlanId, PlanVersion, PriceId};
pub use project::ProjectId;
pub use proof::{Proof, ProofKind, Proved, Scope};
pub use recipient::RecipientId;
pub use rejection::{Reject, Rejection, RejectionKind};
pub use role::RoleId;
pub use second_factor::{CredentialId, SecondFactor};
pub use security::SecurityEntry;
pub use sensitive::Sensitive;
pub use service::ServiceId;
pub use session::SessionId;
pub use slug::Slug;
pub use stripe_hook::StripeHook;
pub use stripe_id::{
    StripeAccountId, StripeCardId, StripeCustomerId, StripeEventId, StripeInvoiceId, StripeItemId,
    StripeObjectId, StripePriceId, StripeProductId, StripePromotionCodeId, StripeSetupIntentId,
    StripeSubscriptionId,
};
pub use subject::Subject;
pub use text::{
    Address, Description, Device, EmailAddress, Invalid, Name, PasswordHash, PersonName,
    PromotionCode, ProviderName, Reason, SettingKey, SettingValue, has_link,
};
pub use time::Time;
pub use usage::UsageId;
pub use view::{Child, Home, Index, View};
pub use webhook::WebhookId;
