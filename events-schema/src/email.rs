//! Mails: requests and their results. Belongs to the platform.
//!
//! The text of a mail is not stored. It is rendered when the mail is sent, so that no code or link
//! is in the log.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    Access, AccessTokenId, AccountId, AreaName, ChallengeId, Commit, Device, DomainName,
    EmailAddress, Home, Index, MemberId, Name, Permission, PersonName, ProviderName, Reason,
    TenantId, TenantKey, Time, area::FOR_INVESTIGATIONS, id::typed_id, outbound::WebhookUrl,
    published::Private,
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
    const INTERNAL: &'static [&'static str] = &[
        "request",
        "record_sent",
        "record_failed",
        "record_withdrawn",
    ];
    const FEED: Option<Permission> = None;
    const RETENTION: Option<Duration> = Some(FOR_INVESTIGATIONS);
    type Id = EmailId;
    type Command = Command;
    type Event = Event;
    type Public = Private<View>;
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
    /// Contains a code to log in with.
    LoginCode { challenge: ChallengeId },
    /// Tells the owner of an account that its credentials have changed.
    CredentialsChanged { change: CredentialChange },
    /// Tells the owner of an account that somebody knows the password, and gives wrong codes of the
    /// second factor.
    SecondFactorFailed,
    /// Tells the owner of an account that somebody has logged in on a device that it does not know.
    NewDevice { device: Device, at: Time },
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
    /// Tells the owners of a tenant, and who has created it, about an access token of a service.
    ServiceTokenCreated {
        name: Name,
        tenant_name: Name,
        service_name: Name,
    },
    /// Reminds of the end of an access token: its creator, or the owners of the tenant for one of a
    /// service.
    AccessTokenExpires {
        tenant: TenantId,
        token: AccessTokenId,
        name: Name,
        expires_at: Time,
    },
    /// Tells the owner of an account that the password was changed.
    PasswordChanged { firstname: PersonName },
    /// Tells the owner of a tenant that a webhook does not work.
    WebhookFailing { url: WebhookUrl, since: Time },
    /// Tells the owner of a tenant that a webhook does not work and was disabled.
    WebhookDisabled { url: WebhookUrl, is_gone: bool },
    /// Asks and tells about a change of the address of an account.
    EmailChange {
        account: AccountId,
        challenge: ChallengeId,
        notice: EmailChangeNotice,
    },
    /// Tells the owner of an account about its deletion.
    Deletion { notice: DeletionNotice },
    /// Tells a person that an administrator of the platform acts as them in a tenant.
    Impersonated {
        tenant_name: Name,
        reason: Reason,
        at: Time,
        ends_at: Time,
    },
    /// Tells the owner of a tenant that the record of a domain is missing.
    DomainMissing {
        domain: DomainName,
        /// Until when the domain counts without it.
        until: Time,
    },
    /// Tells the owner of a tenant that the DNS servers of a domain do not answer.
    DomainSilent { domain: DomainName, since: Time },
    /// Tells the owner of a tenant that a domain does not count any more.
    DomainLost { domain: DomainName },
    /// Tells the owner of a tenant about a connection.
    Connection {
        name: Name,
        notice: ConnectionNotice,
    },
    /// Tells the owner of a tenant about its plan.
    Billing {
        tenant: TenantKey,
        tenant_name: Name,
        notice: BillingNotice,
    },
}

/// What the owners of a tenant learn about a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum ConnectionNotice {
    /// It was created.
    Created,
    /// Its issuer, its client, its role or what it is trusted with has changed.
    Changed,
    /// It was deleted.
    Deleted,
    /// Everybody in the tenant needs it.
    EnforcementBegun,
    /// Nobody needs it any more.
    EnforcementEnded,
    /// The addresses of the domain count as proved if its issuer names them.
    DomainVerified { domain: DomainName },
}

/// What the owners of a tenant learn about its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum BillingNotice {
    /// A payment is missing since this time.
    PaymentFailed { since: Time },
    /// The trial ends soon.
    TrialEnds { at: Time },
    /// The tenant creates nothing any more.
    Restricted { since: Time },
    /// The plan has ended, and the tenant has the default plan.
    Ended { since: Time },
}

/// What the owners of two addresses learn about a change from one to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum EmailChangeNotice {
    /// To the new address: a code that proves it.
    Code,
    /// To the new address, which has an account: somebody wants it for another one.
    Held,
    /// To the present address: a link that confirms or refuses.
    Asked {
        /// When silence suffices. Absent if the link is needed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        silent_until: Option<Time>,
    },
    /// To the present address: it stays.
    Ended,
    /// To the former address: a link that restores it.
    ChangedFrom,
    /// To the new address.
    ChangedTo,
    /// To the former address: the account will be deleted, and a link restores the address.
    DeletionRequested { at: Time },
    /// To the later address, which the account has lost.
    RestoredFrom,
    /// To the address that the account has again.
    RestoredTo,
}

/// What the owner of an account learns about its deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum DeletionNotice {
    /// The account will be deleted at this time.
    Requested { at: Time },
    /// The account stays.
    Cancelled,
    /// The account stays, since it is the only owner of a tenant.
    Stopped,
    /// The account was deleted.
    Done,
}

/// How the credentials of an account have changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum CredentialChange {
    /// An authenticator app was added.
    TotpEnrolled,
    /// The authenticator app was removed.
    TotpRemoved,
    /// The recovery codes were replaced.
    RecoveryCodesRenewed,
    /// A recovery code was used.
    RecoveryCodeUsed,
    /// An identity was linked.
    IdentityLinked { provider: ProviderName },
    /// An identity was unlinked.
    IdentityUnlinked { provider: ProviderName },
    /// The account got a password.
    PasswordSet,
    /// The password was removed.
    PasswordRemoved,
    /// A passkey was added.
    PasskeyAdded { name: Name },
    /// A passkey was removed.
    PasskeyRemoved { name: Name },
    /// A passkey was suspended, since somebody may have copied it.
    PasskeySuspended { name: Name },
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
        /// The earliest time to send it. `None` for at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        not_before: Option<Time>,
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
    /// Send a mail with a code to log in with. A gateway sends this, since the code is no fact of
    /// the account.
    SendLoginCode {
        to: EmailAddress,
        challenge: ChallengeId,
    },
    /// Tell the owner of an account that somebody gives wrong codes of the second factor.
    WarnOfSecondFactor { to: EmailAddress },
    /// Tell the owner of an account that somebody has logged in on a device that it does not know.
    TellOfNewDevice {
        to: EmailAddress,
        device: Device,
        at: Time,
    },
    /// Record that the mail server accepted the mail.
    RecordSent,
    /// Record that all attempts to send the mail have failed.
    RecordFailed {
        /// The last answer of the mail server.
        reason: String,
    },
    /// Record that nobody wants the mail any more, and that it was not sent.
    RecordWithdrawn,
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
        /// It is not sent before this time. `None` for at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        not_before: Option<Time>,
    },
    /// The mail server accepted the mail.
    Sent,
    /// All attempts to send the mail have failed.
    Failed {
        /// The last answer of the mail server.
        reason: String,
    },
    /// Nobody wanted the mail any more when it was to be sent.
    Withdrawn,
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
    /// Nobody wanted the mail any more when it was to be sent.
    Withdrawn,
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
    /// When the mail was requested, or the later time before which it is not sent.
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
            Event::Requested {
                to,
                template,
                not_before,
            } => Some(Self {
                to: to.clone(),
                template: template.clone(),
                status: Status::Requested,
                reason: None,
                requested_at: not_before.unwrap_or(at),
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
            Event::Withdrawn => view.map(|view| Self {
                status: Status::Withdrawn,
                reason: None,
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
            not_before: None,
        };
        let failed = Event::Failed {
            reason: "550 no".to_owned(),
        };
        let shown: View = fold([(10, requested.clone()), (20, failed.clone())]).unwrap();
        assert_eq!(shown.status, Status::Failed);
        assert_eq!(shown.reason.as_deref(), Some("550 no"));
        assert_eq!((shown.requested_at, shown.updated_at), (Time(10), Time(20)));
        for (last, status) in [
            (Event::Sent, Status::Sent),
            (Event::Withdrawn, Status::Withdrawn),
        ] {
            let events = [(10, requested.clone()), (20, failed.clone()), (30, last)];
            let shown: View = fold(events).unwrap();
            assert_eq!((shown.status, shown.reason), (status, None));
        }
    }

    #[test]
    fn a_mail_that_is_to_be_sent_later_counts_as_requested_then() {
        let requested = Event::Requested {
            to: EmailAddress::parse("ada@example.com").unwrap(),
            template: Template::AlreadyRegistered,
            not_before: Some(Time(50)),
        };
        let shown: View = fold([(10, requested)]).unwrap();
        assert_eq!((shown.requested_at, shown.updated_at), (Time(50), Time(10)));
    }
}
