//! The mails that follow from what happens to an account.

use events_schema::{
    AccountId, Area, Commit,
    account::Event,
    email::{Command, Template},
};

use super::{Consequence, Reaction, mail};

/// An owner is told of registrations with their address once in each such span of the clock,
/// however many are tried.
const WARN_EVERY_MS: i64 = 60 * 60 * 1000;

/// See the module.
#[derive(Debug)]
pub struct AccountMail;

impl Reaction for AccountMail {
    type Event = Event;
    type Command = Command;
    const NAME: &'static str = "account_mail";
    const SOURCE: Area = Area::Account;
    const TARGET: Area = Area::Email;

    fn react(commit: &Commit<Event>) -> Vec<Consequence<Command>> {
        commit
            .events
            .iter()
            .filter_map(|event| wanted(commit, event))
            .collect()
    }
}

fn wanted(commit: &Commit<Event>, event: &Event) -> Option<Consequence<Command>> {
    let account = AccountId(commit.id);
    match event {
        Event::VerificationRequested {
            challenge,
            email,
            firstname,
        } => {
            let template = Template::Verification {
                account,
                challenge: *challenge,
                firstname: firstname.clone(),
            };
            Some(mail(
                &[b"verification", challenge.0.bytes()],
                email,
                template,
            ))
        }
        Event::RegistrationRefused { email, holder } => {
            let hour = commit.time.0.div_euclid(WARN_EVERY_MS).to_be_bytes();
            Some(mail(
                &[b"already_registered", holder.bytes(), &hour],
                email,
                Template::AlreadyRegistered,
            ))
        }
        Event::PasswordResetRequested {
            challenge,
            email,
            firstname,
        } => {
            let template = Template::PasswordReset {
                account,
                challenge: *challenge,
                firstname: firstname.clone(),
            };
            Some(mail(
                &[b"password_reset", challenge.0.bytes()],
                email,
                template,
            ))
        }
        Event::PasswordChanged {
            email, firstname, ..
        } => {
            let template = Template::PasswordChanged {
                firstname: firstname.clone(),
            };
            Some(mail(
                &[
                    b"password_changed",
                    commit.id.bytes(),
                    &commit.revision.to_be_bytes(),
                ],
                email,
                template,
            ))
        }
        Event::Registered { .. }
        | Event::VerificationFailed { .. }
        | Event::Verified
        | Event::SessionsRevoked
        | Event::ProfileUpdated { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{
        Actor, ChallengeId, CommandId, EmailAddress, Id, PasswordHash, PersonName, TenantId, Time,
        secret::derived_id,
    };

    use super::*;

    const ID: Id = Id::from_bytes([1; 16]);

    fn react(time: i64, events: Vec<Event>) -> Vec<Consequence<Command>> {
        let (actor, time) = (Actor::Anonymous, Time(time));
        let commit = Commit {
            tenant: TenantId::Platform,
            area: Area::Account,
            id: ID,
            revision: 2,
            command: CommandId(ID),
            actor,
            time,
            origin: None,
            events,
        };
        AccountMail::react(&commit)
    }
    fn email() -> EmailAddress {
        EmailAddress::parse("ada@example.com").unwrap()
    }
    fn ada() -> PersonName {
        PersonName::parse("Ada").unwrap()
    }

    #[test]
    fn each_mail_that_is_asked_for_goes_to_its_address() {
        let challenge = ChallengeId(ID);
        let password_hash = PasswordHash::parse("$x").unwrap();
        let mails = react(
            0,
            vec![
                Event::VerificationRequested {
                    challenge,
                    email: email(),
                    firstname: ada(),
                },
                Event::PasswordResetRequested {
                    challenge,
                    email: email(),
                    firstname: ada(),
                },
                Event::PasswordChanged {
                    password_hash,
                    email: email(),
                    firstname: ada(),
                },
                Event::Verified,
            ],
        );
        let account = AccountId(ID);
        let wanted = [
            Template::Verification {
                account,
                challenge,
                firstname: ada(),
            },
            Template::PasswordReset {
                account,
                challenge,
                firstname: ada(),
            },
            Template::PasswordChanged { firstname: ada() },
        ];
        let commands: Vec<Command> = mails.iter().map(|mail| mail.command.clone()).collect();
        assert_eq!(
            commands,
            wanted.map(|template| Command::Request {
                to: email(),
                template
            })
        );
        let ids: std::collections::BTreeSet<Id> = mails.iter().map(|mail| mail.aggregate).collect();
        assert_eq!(ids.len(), 3, "different occasions, different mails");
        assert_eq!(
            mails[0].aggregate,
            derived_id(&[b"email", b"verification", ID.bytes()]),
            "ids in the log stay what they are"
        );
        assert!(mails.iter().all(|mail| mail.tenant == TenantId::Platform));
    }

    #[test]
    fn a_replay_asks_for_the_same_mail() {
        let asked = || {
            react(
                5,
                vec![Event::VerificationRequested {
                    challenge: ChallengeId(ID),
                    email: email(),
                    firstname: ada(),
                }],
            )
        };
        assert_eq!(asked(), asked());
    }

    #[test]
    fn an_owner_is_warned_once_an_hour() {
        let id = |time| {
            react(
                time,
                vec![Event::RegistrationRefused {
                    email: email(),
                    holder: ID,
                }],
            )[0]
            .aggregate
        };
        assert_eq!(id(0), id(WARN_EVERY_MS - 1));
        assert_ne!(id(0), id(WARN_EVERY_MS));
    }
}
