//! Reactions: an event in one area leads to a command in another. Pure; `loops/reaction.rs` reads
//! the events and sends the commands.

use events_schema::{
    Area, Commit, EmailAddress, TenantId, Time,
    email::{self, Command, Template},
    secret::derived_id,
};

pub mod access_token_mail;
pub mod access_token_reminder;
pub mod account_mail;
pub mod connection_mail;
pub mod deleted_tenant;
pub mod deleted_tenant_connections;
pub mod founder;
pub mod member_mail;
pub mod support_mail;
pub mod webhook_mail;

/// A command that follows from a commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Consequence<A: Area> {
    /// The tenant of the aggregate.
    pub tenant: TenantId,
    pub aggregate: A::Id,
    pub command: A::Command,
}

/// Turns events of one area into commands of another.
pub trait Reaction: Send + Sync + 'static {
    /// The area whose events it reads.
    type Source: Area;
    /// The area that its commands are for.
    type Target: Area;
    /// The name of the reaction and of its consumer. It never changes, since command ids derive
    /// from it.
    const NAME: &'static str;

    /// Returns the commands that follow from a commit.
    fn react(commit: &Commit<Self::Source>) -> Vec<Consequence<Self::Target>>;
}

/// Returns the command that requests a mail. The id of the mail derives from the occasion, so that
/// one occasion leads to one mail.
fn mail(occasion: &[&[u8]], to: &EmailAddress, template: Template) -> Consequence<email::Area> {
    mail_later(occasion, to, template, None)
}

/// Returns the command that requests a mail, as [`mail`] does, not to be sent before this time.
pub(crate) fn mail_later(
    occasion: &[&[u8]],
    to: &EmailAddress,
    template: Template,
    not_before: Option<Time>,
) -> Consequence<email::Area> {
    let id = derived_id(&[&[b"email".as_slice()], occasion].concat());
    let to = to.clone();
    Consequence {
        tenant: TenantId::Platform,
        aggregate: id.into(),
        command: Command::Request {
            to,
            template,
            not_before,
        },
    }
}

#[cfg(test)]
mod testing;
