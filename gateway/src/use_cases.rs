//! What callers can do, whatever the transport: send commands, wait for their outcomes, and read
//! views.
//!
//! [`plain`] serves every area that needs no more, and [`child`] those whose objects have a parent.
//! Other areas have a file of their own.

pub(crate) mod access_token;
pub(crate) mod account;
pub(crate) mod audit;
pub(crate) mod billing;
pub(crate) mod child;
pub(crate) mod connection;
pub(crate) mod deletion;
pub(crate) mod email_change;
pub(crate) mod feed;
pub(crate) mod inbound_source;
pub(crate) mod joining;
pub(crate) mod list;
pub(crate) mod login_code;
pub(crate) mod member;
pub(crate) mod opening;
pub(crate) mod passkey;
pub(crate) mod plain;
pub(crate) mod plan;
pub(crate) mod provider_login;
pub(crate) mod recipient;
pub(crate) mod registration;
pub(crate) mod role;
pub(crate) mod second_factor;
pub(crate) mod security;
pub(crate) mod service;
pub(crate) mod session;
pub(crate) mod stripe_hook;
pub(crate) mod support;
pub(crate) mod tenant;
pub(crate) mod webhook;

/// All use cases.
#[derive(Debug)]
pub(crate) struct UseCases {
    pub(crate) plain: plain::Plain,
    pub(crate) registrations: registration::Registrations,
    pub(crate) access_tokens: access_token::AccessTokens,
    pub(crate) accounts: account::Accounts,
    pub(crate) audit: audit::AuditLog,
    pub(crate) billings: billing::Billings,
    pub(crate) catalogue: plan::Catalogue,
    pub(crate) connections: connection::Connections,
    pub(crate) deletions: deletion::Deletions,
    pub(crate) email_changes: email_change::EmailChanges,
    pub(crate) feeds: feed::Feeds,
    pub(crate) inbound_sources: inbound_source::InboundSources,
    pub(crate) login_codes: login_code::LoginCodes,
    pub(crate) members: member::Members,
    pub(crate) passkeys: passkey::Passkeys,
    pub(crate) provider_logins: provider_login::ProviderLogins,
    pub(crate) recipients: recipient::Recipients,
    pub(crate) roles: role::Roles,
    pub(crate) second_factors: second_factor::SecondFactors,
    pub(crate) security: security::SecurityHistory,
    pub(crate) services: service::Services,
    pub(crate) sessions: session::Sessions,
    pub(crate) support: support::Support,
    pub(crate) tenants: tenant::Tenants,
    pub(crate) webhooks: webhook::Webhooks,
}
