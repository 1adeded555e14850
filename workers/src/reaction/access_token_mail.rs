//! Mails that follow from changes to an access token.

use events_schema::{
    Commit,
    access_token::{Area, Event},
    email::{self, Template},
};

use super::{Consequence, Reaction, mail};

/// Tells the creator of an access token about it, in case somebody else has created it with a
/// stolen session.
#[derive(Debug)]
pub struct AccessTokenMail;

impl Reaction for AccessTokenMail {
    type Source = Area;
    type Target = email::Area;
    const NAME: &'static str = "access_token_mail";

    fn react(commit: &Commit<Area>) -> Vec<Consequence<email::Area>> {
        let events = commit.events.iter();
        events.filter_map(|event| created(commit, event)).collect()
    }
}

fn created(commit: &Commit<Area>, event: &Event) -> Option<Consequence<email::Area>> {
    match event {
        Event::Created(token) | Event::CreatedForService { token, .. } => {
            let name = token.name.clone();
            let template = Template::AccessTokenCreated { name };
            let occasion = [b"access_token_created", commit.id.0.bytes().as_slice()];
            Some(mail(&occasion, token.email.as_ref()?, template))
        }
        Event::Restricted { .. } | Event::Deleted => None,
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{
        AccountId, EmailAddress, Id, Name, Permissions, ServiceId, Time, access_token::NewToken,
        secret::derived_id,
    };

    use super::*;
    use crate::reaction::testing::{ID, requested, when};

    fn token(email: Option<EmailAddress>) -> NewToken {
        NewToken {
            name: Name::parse("CI").unwrap(),
            scopes: Permissions::new(),
            expires_at: Time(9),
            creator: AccountId(Id::from_bytes([2; 16])),
            email,
            epoch: None,
        }
    }

    #[test]
    fn the_creator_of_a_token_gets_a_mail() {
        let ada = EmailAddress::parse("ada@example.com").unwrap();
        let id = derived_id(&[b"email", b"access_token_created", ID.bytes()]);
        let name = Name::parse("CI").unwrap();
        let mail = requested(id, ada.clone(), Template::AccessTokenCreated { name });
        let token = token(Some(ada));
        let for_service = Event::CreatedForService {
            token: token.clone(),
            service: ServiceId(ID),
        };
        for created in [Event::Created(token), for_service] {
            when::<AccessTokenMail>([created]).then([mail.clone()]);
        }
    }

    #[test]
    fn other_changes_are_not_mailed() {
        let unknown = Event::Created(token(None));
        when::<AccessTokenMail>([unknown, Event::Deleted]).then([]);
    }
}
