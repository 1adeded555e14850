//! Mails: requests and their results. Belongs to the platform.
//!
//! The text of a mail is not stored. It is rendered when the mail is sent, so that no code or link
//! is in the log.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    Access, AccountId, AreaName, ChallengeId, Commit, EmailAddress, Home, Index, MemberId, Name,
    Permission, PersonName, TenantId, Time, area::FOR_INVESTIGATIONS, id::typed_id,
};

typed_id! {
    /// Identifies a mail. Derives from the occasion of the mail, so that a replay requests no
    /// second one.
    EmailId
}

/// The area of mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area;

impl crate::Area for Area {
    const NAME: AreaName = AreaName::Email;
    const ACCESS: &'static [Access] = &[];
    const INTERNAL: &'static [&'static str] = &["request", "record_sent", "record_failed"];
    const FEED: Option<Permission> = None;
    const RETENTION: Option<Duration> = Some(FOR_INVESTIGATIONS);
    type Id = EmailId;
    type Command = Command;
    type Event = Event;
}

/// A kind of mail, with the values in its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Template {
    /// Asks to verify an address, by code or link.
    Verification {
        account: AccountId,
        challenge: ChallengeId,
        firstname: PersonName,
    },
    /// Tells the owner of an account that somebody tried to register with its address.
    AlreadyRegistered,
    /// Tells the owner of an account that many logins have failed.
    LoginsFailed,
    /// Contains a link to set a new password.
    PasswordReset {
        account: AccountId,
        challenge: ChallengeId,
        firstname: PersonName,
    },
    /// Invites to a tenant, by a link.
    Invitation {
        tenant: TenantId,
        tenant_name: Name,
        member: MemberId,
        challenge: ChallengeId,
        /// The name of the person who invited.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inviter: Option<PersonName>,
    },
    /// Tells the owner of an account that an access token was created.
    AccessTokenCreated { name: Name },
    /// Tells the owner of an account that the password was changed.
    PasswordChanged { firstname: PersonName },
}

/// A request to send a mail, or to record the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Send the mail.
    Request {
        to: EmailAddress,
        template: Template,
    },
    /// Send a mail that asks to verify an address. A gateway sends this for a registration that is
    /// not in the log yet.
    AskToVerify {
        to: EmailAddress,
        account: AccountId,
        challenge: ChallengeId,
        firstname: PersonName,
    },
    /// Tell the owner of an account that somebody tried to register with its address.
    WarnOfRegistration { to: EmailAddress },
    /// Tell the owner of an account that many logins have failed.
    WarnOfFailedLogins { to: EmailAddress },
    /// Record that the mail server accepted the mail.
    RecordSent,
    /// Record that all attempts to send the mail have failed.
    RecordFailed {
        /// The last answer of the mail server.
        reason: String,
    },
}

/// A change to a mail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// The mail was requested.
    Requested {
        to: EmailAddress,
        template: Template,
    },
    /// The mail server accepted the mail.
    Sent,
    /// All attempts to send the mail have failed.
    Failed {
        /// The last answer of the mail server.
        reason: String,
    },
}

/// The state of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Status {
    /// The mail is not sent yet.
    Requested,
    /// The mail server accepted the mail.
    Sent,
    /// All attempts have failed.
    Failed,
}

/// The view of a mail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    pub to: EmailAddress,
    pub template: Template,
    pub status: Status,
    /// The last answer of the mail server, if all attempts have failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub requested_at: Time,
    /// When the status last changed.
    pub updated_at: Time,
}

impl crate::View for View {
    type Area = Area;
    const NAME: &'static str = "email";
    const HOME: Home = Home::Platform;
    const INDEXES: &'static [Index] = &[Index::on(&["to"]), Index::on(&["status", "requested_at"])];

    fn fold(view: Option<Self>, commit: &Commit<Area>) -> Option<Self> {
        let at = commit.time;
        commit.events.iter().fold(view, |view, event| match event {
            Event::Requested { to, template } => Some(Self {
                to: to.clone(),
                template: template.clone(),
                status: Status::Requested,
                reason: None,
                requested_at: at,
                updated_at: at,
            }),
            Event::Sent => view.map(|view| Self {
                status: Status::Sent,
                reason: None,
                updated_at: at,
                ..view
            }),
            Event::Failed { reason } => view.map(|view| Self {
                status: Status::Failed,
                reason: Some(reason.clone()),
                updated_at: at,
                ..view
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::testing::fold;

    #[test]
    fn a_mail_shows_what_became_of_it() {
        let requested = Event::Requested {
            to: EmailAddress::parse("ada@example.com").unwrap(),
            template: Template::AlreadyRegistered,
        };
        let failed = Event::Failed {
            reason: "550 no".to_owned(),
        };
        let shown: View = fold([(10, requested.clone()), (20, failed.clone())]).unwrap();
        assert_eq!(shown.status, Status::Failed);
        assert_eq!(shown.reason.as_deref(), Some("550 no"));
        assert_eq!((shown.requested_at, shown.updated_at), (Time(10), Time(20)));
        let shown: View = fold([(10, requested), (20, failed), (30, Event::Sent)]).unwrap();
        assert_eq!((shown.status, shown.reason), (Status::Sent, None));
    }
}
