//! The reminder that an access token expires.

use std::time::Duration;

use events_schema::{
    Commit, Time,
    access_token::{Area, Event, NewToken},
    email::{self, Template},
};

use super::{Consequence, Reaction, mail_later};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long before the end of a token its creator is reminded: time to replace it wherever it is
/// used.
const REMINDED_BEFORE: Duration = DAY.saturating_mul(7);
/// The end of a token that lives no longer than this comes as no surprise.
const SHORT_LIFE: Duration = DAY.saturating_mul(14);

/// Reminds the creator of an access token of its end. A reaction of its own, so that it also reads
/// the tokens of earlier releases.
#[derive(Debug)]
pub struct AccessTokenReminder;

impl Reaction for AccessTokenReminder {
    type Source = Area;
    type Target = email::Area;
    const NAME: &'static str = "access_token_reminder";

    fn react(commit: &Commit<Area>) -> Vec<Consequence<email::Area>> {
        let events = commit.events.iter();
        let reminders = events.filter_map(|event| match event {
            Event::Created(token) | Event::CreatedForService { token, .. } => {
                reminder(commit, token)
            }
            Event::Restricted { .. } | Event::Deleted => None,
        });
        reminders.collect()
    }
}

/// The mail is requested now and sent later. By then, the effect knows whether the token has ended.
fn reminder(commit: &Commit<Area>, token: &NewToken) -> Option<Consequence<email::Area>> {
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
    let occasion = [b"access_token_expires", commit.id.0.bytes().as_slice()];
    let to = token.email.as_ref()?;
    Some(mail_later(&occasion, to, template, Some(due_at)))
}

#[cfg(test)]
mod tests {
    use events_schema::{
        AccessTokenId, AccountId, Area as _, EmailAddress, Id, Name, Permissions, email::Command,
        secret::derived_id,
    };

    use super::*;
    use crate::{
        domain::access_token::MAX_LIFETIME,
        reaction::testing::{ID, TENANT, requested, when},
    };

    const DAY_MS: i64 = 24 * 60 * 60 * 1000;

    /// A token that is created at time zero and expires after these days.
    fn lasting(days: i64) -> Event {
        Event::Created(NewToken {
            name: Name::parse("CI").unwrap(),
            scopes: Permissions::new(),
            expires_at: Time(days * DAY_MS),
            creator: AccountId(Id::from_bytes([2; 16])),
            email: Some(ada()),
            epoch: None,
        })
    }

    fn ada() -> EmailAddress {
        EmailAddress::parse("ada@example.com").unwrap()
    }

    #[test]
    fn the_creator_of_a_token_is_reminded_a_week_before_it_expires() {
        let id = derived_id(&[b"email", b"access_token_expires", ID.bytes()]);
        let template = Template::AccessTokenExpires {
            tenant: TENANT,
            token: AccessTokenId(ID),
            name: Name::parse("CI").unwrap(),
            expires_at: Time(15 * DAY_MS),
        };
        let reminder = Consequence {
            command: Command::Request {
                to: ada(),
                template: template.clone(),
                not_before: Some(Time(8 * DAY_MS)),
            },
            ..requested(id, ada(), template)
        };
        when::<AccessTokenReminder>([lasting(15)]).then([reminder]);
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
