//! Mails that follow from changes to an access token.

use std::time::Duration;

use events_schema::{
    Commit, Time,
    access_token::{Area, Event, NewToken},
    email::{self, Template},
};

use super::{Consequence, Reaction, mail, mail_later};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long before the end of a token its creator is reminded: time to replace it wherever it is
/// used.
const REMINDED_BEFORE: Duration = DAY.saturating_mul(7);
/// The end of a token that lives no longer than this comes as no surprise.
const SHORT_LIFE: Duration = DAY.saturating_mul(14);

/// Tells the creator of an access token about it, in case somebody else has created it with a
/// stolen session. Also reminds them of its end.
#[derive(Debug)]
pub struct AccessTokenMail;

impl Reaction for AccessTokenMail {
    type Source = Area;
    type Target = email::Area;
    const NAME: &'static str = "access_token_mail";

    fn react(commit: &Commit<Area>) -> Vec<Consequence<email::Area>> {
        let events = commit.events.iter();
        events.flat_map(|event| mails(commit, event)).collect()
    }
}

fn mails(commit: &Commit<Area>, event: &Event) -> Vec<Consequence<email::Area>> {
    match event {
        Event::Created(token) => [created(commit, token), reminder(commit, token)]
            .into_iter()
            .flatten()
            .collect(),
        Event::Restricted { .. } | Event::Deleted => Vec::new(),
    }
}

fn created(commit: &Commit<Area>, token: &NewToken) -> Option<Consequence<email::Area>> {
    let name = token.name.clone();
    let template = Template::AccessTokenCreated { name };
    let occasion = [b"access_token_created", commit.id.0.bytes().as_slice()];
    Some(mail(&occasion, token.email.as_ref()?, template))
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
    Some(mail_later(
        &occasion,
        token.email.as_ref()?,
        template,
        Some(due_at),
    ))
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

    fn created(email: Option<EmailAddress>) -> Event {
        lasting(9, email)
    }

    /// A token that is created at time zero and expires then.
    fn lasting(expires_at: i64, email: Option<EmailAddress>) -> Event {
        Event::Created(NewToken {
            name: Name::parse("CI").unwrap(),
            scopes: Permissions::new(),
            expires_at: Time(expires_at),
            creator: AccountId(Id::from_bytes([2; 16])),
            email,
            epoch: None,
        })
    }

    fn ada() -> EmailAddress {
        EmailAddress::parse("ada@example.com").unwrap()
    }

    fn mail_of_creation() -> Consequence<email::Area> {
        let id = derived_id(&[b"email", b"access_token_created", ID.bytes()]);
        let name = Name::parse("CI").unwrap();
        requested(id, ada(), Template::AccessTokenCreated { name })
    }

    #[test]
    fn the_creator_of_a_token_gets_a_mail() {
        when::<AccessTokenMail>([created(Some(ada()))]).then([mail_of_creation()]);
    }

    #[test]
    fn the_creator_of_a_token_is_reminded_a_week_before_it_expires() {
        let id = derived_id(&[b"email", b"access_token_expires", ID.bytes()]);
        let expires_at = Time(15 * DAY_MS);
        let template = Template::AccessTokenExpires {
            tenant: TENANT,
            token: AccessTokenId(ID),
            name: Name::parse("CI").unwrap(),
            expires_at,
        };
        let reminder = Consequence {
            command: Command::Request {
                to: ada(),
                template: template.clone(),
                not_before: Some(Time(8 * DAY_MS)),
            },
            ..requested(id, ada(), template)
        };
        let when = when::<AccessTokenMail>([lasting(15 * DAY_MS, Some(ada()))]);
        when.then([mail_of_creation(), reminder]);
    }

    #[test]
    fn nobody_is_reminded_of_the_end_of_a_short_life() {
        for days in [-1, 1, 7, 14] {
            let when = when::<AccessTokenMail>([lasting(days * DAY_MS, Some(ada()))]);
            when.then([mail_of_creation()]);
        }
    }

    #[test]
    fn the_log_keeps_a_reminder_until_it_is_sent() {
        assert!(Some(MAX_LIFETIME) < email::Area::RETENTION);
    }

    #[test]
    fn other_changes_are_not_mailed() {
        when::<AccessTokenMail>([created(None), Event::Deleted]).then([]);
    }
}
