//! The reminder that an access token expires.

use std::time::Duration;

use events_schema::{
    Commit, EmailAddress, Time,
    access_token::{Area, Event, NewToken},
    email::{self, Template},
};

use super::{Consequence, Reaction, access_token_mail::recipients, mail_later};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long before the end of a token its creator is reminded: time to replace it wherever it is
/// used.
const REMINDED_BEFORE: Duration = DAY.saturating_mul(7);
/// The end of a token that lives no longer than this comes as no surprise.
const SHORT_LIFE: Duration = DAY.saturating_mul(14);

/// Reminds the creator of an access token of its end. Of one that belongs to a service, the owners
/// of the tenant are reminded, too: its creator may have left by then. A reaction of its own, so
/// that it also reads the tokens of earlier releases.
#[derive(Debug)]
pub struct AccessTokenReminder;

impl Reaction for AccessTokenReminder {
    type Source = Area;
    type Target = email::Area;
    const NAME: &'static str = "access_token_reminder";

    fn react(commit: &Commit<Area>) -> Vec<Consequence<email::Area>> {
        let events = commit.events.iter();
        events
            .flat_map(|event| match event {
                Event::CreatedForService {
                    token,
                    notice: Some(notice),
                    ..
                } => {
                    let recipients = recipients(token, notice);
                    let remind =
                        |to: &EmailAddress| reminder(commit, token, to, &[to.as_str().as_bytes()]);
                    recipients.filter_map(remind).collect()
                }
                Event::Created(token) | Event::CreatedForService { token, .. } => {
                    let creator = token.email.iter();
                    let remind = |to| reminder(commit, token, to, &[]);
                    creator.filter_map(remind).collect()
                }
                Event::Restricted { .. } | Event::Deleted => Vec::new(),
            })
            .collect()
    }
}

/// The mail is requested now and sent later. By then, the effect knows whether the token has ended,
/// whether its recipient has left, and the address that they have. `further` tells apart several
/// mails about one token.
fn reminder(
    commit: &Commit<Area>,
    token: &NewToken,
    to: &EmailAddress,
    further: &[&[u8]],
) -> Option<Consequence<email::Area>> {
    if token.expires_at.since(commit.time) <= SHORT_LIFE {
        return None;
    }
    let due_at = Time(token.expires_at.0 - i64::try_from(REMINDED_BEFORE.as_millis()).ok()?);
    let template = Template::AccessTokenExpires {
        tenant: commit.tenant,
        token: commit.id,
        name: token.name.clone(),
        expires_at: token.expires_at,
    };
    let token = [b"access_token_expires", commit.id.0.bytes().as_slice()];
    let occasion = [token.as_slice(), further].concat();
    Some(mail_later(&occasion, to, template, Some(due_at)))
}

#[cfg(test)]
mod tests {
    use events_schema::{
        AccessTokenId, AccountId, Area as _, Id, Name, Permissions, ServiceId,
        access_token::Notice, email::Command, secret::derived_id,
    };

    use super::*;
    use crate::{
        domain::access_token::MAX_LIFETIME,
        reaction::testing::{ID, TENANT, requested, when},
    };

    const DAY_MS: i64 = 24 * 60 * 60 * 1000;

    /// A token that expires after these days.
    fn token(days: i64) -> NewToken {
        NewToken {
            name: Name::parse("CI").unwrap(),
            scopes: Permissions::new(),
            expires_at: Time(days * DAY_MS),
            creator: AccountId(Id::from_bytes([2; 16])),
            email: Some(ada()),
            epoch: None,
        }
    }

    /// A token that is created at time zero and expires after these days.
    fn lasting(days: i64) -> Event {
        Event::Created(token(days))
    }

    /// The reminder of a token that lasts for 15 days.
    fn reminder(to: EmailAddress, further: &[&[u8]]) -> Consequence<email::Area> {
        let token: &[&[u8]] = &[b"email", b"access_token_expires", ID.bytes()];
        let id = derived_id(&[token, further].concat());
        let template = Template::AccessTokenExpires {
            tenant: TENANT,
            token: AccessTokenId(ID),
            name: Name::parse("CI").unwrap(),
            expires_at: Time(15 * DAY_MS),
        };
        Consequence {
            command: Command::Request {
                to: to.clone(),
                template: template.clone(),
                not_before: Some(Time(8 * DAY_MS)),
            },
            ..requested(id, to, template)
        }
    }

    fn ada() -> EmailAddress {
        EmailAddress::parse("ada@example.com").unwrap()
    }

    #[test]
    fn the_creator_of_a_token_is_reminded_a_week_before_it_expires() {
        when::<AccessTokenReminder>([lasting(15)]).then([reminder(ada(), &[])]);
    }

    #[test]
    fn the_owners_are_reminded_of_the_end_of_a_service_token_too() {
        let eve = EmailAddress::parse("eve@example.com").unwrap();
        let name = |text| Name::parse(text).unwrap();
        let created = Event::CreatedForService {
            token: token(15),
            service: ServiceId(ID),
            notice: Some(Notice {
                tenant_name: name("Acme"),
                service_name: name("Import"),
                owners: vec![eve.clone()],
            }),
        };
        let to_ada = reminder(ada(), &[b"ada@example.com"]);
        let to_eve = reminder(eve, &[b"eve@example.com"]);
        when::<AccessTokenReminder>([created]).then([to_ada, to_eve]);
    }

    #[test]
    fn nobody_is_reminded_of_the_end_of_a_short_life() {
        for days in [-1, 1, 7, 14] {
            when::<AccessTokenReminder>([lasting(days)]).then([]);
        }
    }

    #[test]
    fn the_log_keeps_a_reminder_until_it_is_sent() {
        assert!(Some(MAX_LIFETIME) < email::Area::RETENTION);
    }
}
