//! Mails that follow from changes to an access token.

use events_schema::{
    Commit, EmailAddress,
    access_token::{Area, Event, NewToken, Notice},
    email::{self, Template},
};

use super::{Consequence, Reaction, mail};

/// Tells the creator of an access token about it, in case somebody else has created it with a
/// stolen session. Of one that belongs to a service, the owners of the tenant learn, too: it lasts,
/// whatever its creator does then.
#[derive(Debug)]
pub struct AccessTokenMail;

impl Reaction for AccessTokenMail {
    type Source = Area;
    type Target = email::Area;
    const NAME: &'static str = "access_token_mail";

    fn react(commit: &Commit<Area>) -> Vec<Consequence<email::Area>> {
        let events = commit.events.iter();
        events.flat_map(|event| created(commit, event)).collect()
    }
}

fn created(commit: &Commit<Area>, event: &Event) -> Vec<Consequence<email::Area>> {
    match event {
        Event::CreatedForService {
            token,
            notice: Some(notice),
            ..
        } => created_for_service(commit, token, notice),
        Event::Created(token) | Event::CreatedForService { token, .. } => {
            let name = token.name.clone();
            let template = Template::AccessTokenCreated { name };
            let occasion = [b"access_token_created", commit.id.0.bytes().as_slice()];
            let to = token.email.iter();
            to.map(|to| mail(&occasion, to, template.clone())).collect()
        }
        Event::Restricted { .. } | Event::Deleted => Vec::new(),
    }
}

fn created_for_service(
    commit: &Commit<Area>,
    token: &NewToken,
    notice: &Notice,
) -> Vec<Consequence<email::Area>> {
    let template = Template::ServiceTokenCreated {
        name: token.name.clone(),
        tenant_name: notice.tenant_name.clone(),
        service_name: notice.service_name.clone(),
    };
    let request = |to: &EmailAddress| {
        let (kind, id) = (b"service_token_created".as_slice(), commit.id.0.bytes());
        mail(&[kind, id, to.as_str().as_bytes()], to, template.clone())
    };
    recipients(token, notice).map(request).collect()
}

/// Returns who learns of the token of a service: its creator, and the other owners of the tenant.
pub(super) fn recipients<'a>(
    token: &'a NewToken,
    notice: &'a Notice,
) -> impl Iterator<Item = &'a EmailAddress> {
    let creator = token.email.as_ref();
    let owners = notice.owners.iter();
    let others = owners.filter(move |owner| Some(*owner) != creator);
    creator.into_iter().chain(others)
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
        let of_earlier_release = Event::CreatedForService {
            token: token.clone(),
            service: ServiceId(ID),
            notice: None,
        };
        for created in [Event::Created(token), of_earlier_release] {
            when::<AccessTokenMail>([created]).then([mail.clone()]);
        }
    }

    #[test]
    fn the_creator_of_a_token_of_a_service_and_all_owners_get_a_mail() {
        let [ada, eve] = ["ada@example.com", "eve@example.com"];
        let [ada, eve] = [ada, eve].map(|text| EmailAddress::parse(text).unwrap());
        let (acme, import) = (Name::parse("Acme").unwrap(), Name::parse("Import").unwrap());
        let created = |owners: &[&EmailAddress]| Event::CreatedForService {
            token: token(Some(ada.clone())),
            service: ServiceId(ID),
            notice: Some(Notice {
                tenant_name: acme.clone(),
                service_name: import.clone(),
                owners: owners.iter().copied().cloned().collect(),
            }),
        };
        let mail = |to: &EmailAddress| {
            let address = to.as_str().as_bytes();
            let id = derived_id(&[b"email", b"service_token_created", ID.bytes(), address]);
            let template = Template::ServiceTokenCreated {
                name: Name::parse("CI").unwrap(),
                tenant_name: acme.clone(),
                service_name: import.clone(),
            };
            requested(id, to.clone(), template)
        };
        let when = |owners: &[&EmailAddress]| when::<AccessTokenMail>([created(owners)]);
        when(&[&eve]).then([mail(&ada), mail(&eve)]);
        when(&[&ada, &eve]).then([mail(&ada), mail(&eve)]);
    }

    #[test]
    fn other_changes_are_not_mailed() {
        let unknown = Event::Created(token(None));
        when::<AccessTokenMail>([unknown, Event::Deleted]).then([]);
    }
}
