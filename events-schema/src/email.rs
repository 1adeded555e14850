//! Mail: what was asked for, and what became of it. Belongs to the tenant `platform`.
//!
//! A mail's text is not stored: it is rendered when it is sent, so that no code or link is in the
//! log.

use serde::{Deserialize, Serialize};

use crate::{
    AccountId, Area, ChallengeId, EmailAddress, Home, MemberId, Name, PersonName, TenantId, Time,
};

/// Which mail, with what it needs to be rendered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Template {
    /// "Confirm your address": a code and a link.
    Verification {
        /// Whose address.
        account: AccountId,
        /// Names code and link.
        challenge: ChallengeId,
        /// Whom it greets.
        firstname: PersonName,
    },
    /// "Somebody tried to register with your address."
    AlreadyRegistered,
    /// "Set a new password": a link.
    PasswordReset {
        /// Whose password.
        account: AccountId,
        /// Names the link.
        challenge: ChallengeId,
        /// Whom it greets.
        firstname: PersonName,
    },
    /// "You are invited": a link.
    Invitation {
        /// To which tenant.
        tenant: TenantId,
        /// What it is called.
        tenant_name: Name,
        /// Who is invited.
        member: MemberId,
        /// Names the link.
        challenge: ChallengeId,
    },
    /// "Your password was changed."
    PasswordChanged {
        /// Whom it greets.
        firstname: PersonName,
    },
}

/// What may be asked of a mail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Send it.
    Request {
        /// To whom.
        to: EmailAddress,
        /// Which mail.
        template: Template,
    },
    /// Note that the mail server took it.
    RecordSent,
    /// Note that it was given up.
    RecordFailed {
        /// What the mail server said last.
        reason: String,
    },
}

/// What happened to a mail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// It was asked for.
    Requested {
        /// To whom.
        to: EmailAddress,
        /// Which mail.
        template: Template,
    },
    /// The mail server took it.
    Sent,
    /// It was given up.
    Failed {
        /// What the mail server said last.
        reason: String,
    },
}

/// How far a mail has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Status {
    /// Not sent yet.
    Requested,
    /// The mail server took it.
    Sent,
    /// It was given up.
    Failed,
}

/// A mail as it is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    /// To whom.
    pub to: EmailAddress,
    /// Which mail.
    pub template: Template,
    /// How far it has come.
    pub status: Status,
    /// What the mail server said, if it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was asked for.
    pub requested_at: Time,
    /// When its status last changed.
    pub updated_at: Time,
}

impl crate::View for View {
    const NAME: &'static str = "email";
    const AREA: Area = Area::Email;
    const HOME: Home = Home::Platform;
}
