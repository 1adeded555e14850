//! Recipients of mail: whether the owner of a mailbox wants to be invited. Belongs to the platform.
//!
//! A recipient is known by a hash of the address.

use serde::{Deserialize, Serialize};

use crate::{
    Access, AreaName, Commit, EmailAddress, Home, Index, Permission, Time, id::typed_id,
    published::Private, secret::derived_id,
};

typed_id! {
    /// Identifies a recipient: a hash of the mailbox.
    RecipientId
}

impl RecipientId {
    /// Returns the owner of the mailbox of this address. The secret is no part of the id: a new one
    /// must not forget who has stopped invitations.
    pub fn of(address: &EmailAddress) -> Self {
        Self(derived_id(&[b"recipient", address.mailbox().as_bytes()]))
    }
}

/// The area of recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area;

impl crate::Area for Area {
    const NAME: AreaName = AreaName::Recipient;
    const ACCESS: &'static [Access] = &[
        Access::signed_in("read"),
        // The link in the mail is the proof. Its holder may have no account.
        Access::anyone("stop_invitations"),
        Access::signed_in("resume_invitations"),
    ];
    const FEED: Option<Permission> = None;
    type Id = RecipientId;
    type Command = Command;
    type Event = Event;
    type Public = Private<View>;
}

/// A request to change what a recipient wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Command {
    /// Send no further invitations to the recipient, of any tenant.
    StopInvitations,
    /// Send invitations again.
    ResumeInvitations,
}

/// A change of what a recipient wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// The recipient wants no further invitations.
    InvitationsStopped,
    /// The recipient wants invitations again.
    InvitationsResumed,
}

/// The view of a recipient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    /// Whether the recipient wants invitations.
    pub wants_invitations: bool,
    pub updated_at: Time,
}

impl crate::View for View {
    type Area = Area;
    const NAME: &'static str = "recipient";
    const HOME: Home = Home::Platform;
    const INDEXES: &'static [Index] = &[];

    fn fold(view: Option<Self>, commit: &Commit<Area>) -> Option<Self> {
        commit.events.iter().fold(view, |_, event| {
            Some(Self {
                wants_invitations: match event {
                    Event::InvitationsStopped => false,
                    Event::InvitationsResumed => true,
                },
                updated_at: commit.time,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_mailbox_are_one_recipient() {
        let of = |address| RecipientId::of(&EmailAddress::parse(address).unwrap());
        let ada = of("ada@example.com");
        for same in [
            "Ada@Example.com",
            "ada+1@example.com",
            "ada+a+b@example.com",
        ] {
            assert_eq!(of(same), ada, "{same}");
        }
        for other in ["bob@example.com", "ada@example.org", "+ada@example.com"] {
            assert_ne!(of(other), ada, "{other}");
        }
    }
    use crate::view::testing::fold;

    #[test]
    fn a_recipient_shows_what_it_wanted_last() {
        let stopped = (10, Event::InvitationsStopped);
        let resumed = (20, Event::InvitationsResumed);
        let shown: View = fold([stopped.clone()]).unwrap();
        assert!(!shown.wants_invitations);
        let shown: View = fold([stopped, resumed]).unwrap();
        assert!(shown.wants_invitations);
        assert_eq!(shown.updated_at, Time(20));
    }
}
