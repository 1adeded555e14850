//! Mails that follow from changes to an account.

use events_schema::{
    Commit, EmailAddress, PasskeyId, PersonName,
    account::{Area, Event},
    email::{self, CredentialChange, Template},
};

use super::{Consequence, Reaction, mail};

mod address;
mod deletion;

/// Requests the mails that follow from changes to an account.
#[derive(Debug)]
pub struct AccountMail;

impl Reaction for AccountMail {
    type Source = Area;
    type Target = email::Area;
    const NAME: &'static str = "account_mail";

    fn react(commit: &Commit<Area>) -> Vec<Consequence<email::Area>> {
        let events = commit.events.iter();
        let mails = events.flat_map(|event| {
            // One mail tells of all that a former owner has ended.
            let one = mail_for(commit, event).filter(|_| !address::is_restored_by(commit));
            let address = address::mails(commit, event);
            let deletion = deletion::mails(commit, event);
            one.into_iter().chain(address).chain(deletion)
        });
        mails.collect()
    }
}

fn mail_for(commit: &Commit<Area>, event: &Event) -> Option<Consequence<email::Area>> {
    match event {
        Event::PasswordResetRequested {
            challenge,
            email,
            firstname,
        } => {
            let template = Template::PasswordReset {
                account: commit.id,
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
        } => Some(password_changed(commit, email, firstname)),
        Event::TotpEnrolled { email, .. } => {
            let change = CredentialChange::TotpEnrolled;
            Some(credentials_changed(commit, email, change))
        }
        Event::TotpRemoved { email, .. } => {
            let change = CredentialChange::TotpRemoved;
            Some(credentials_changed(commit, email, change))
        }
        Event::RecoveryCodesRenewed { email, .. } => {
            let change = CredentialChange::RecoveryCodesRenewed;
            Some(credentials_changed(commit, email, change))
        }
        Event::RecoveryCodeUsed { email, .. } => {
            let change = CredentialChange::RecoveryCodeUsed;
            Some(credentials_changed(commit, email, change))
        }
        Event::IdentityLinked {
            email, provider, ..
        } if !opens(commit) => {
            let provider = provider.clone();
            let change = CredentialChange::IdentityLinked { provider };
            Some(credentials_changed(commit, email, change))
        }
        Event::IdentityUnlinked {
            email, provider, ..
        } => {
            let provider = provider.clone();
            let change = CredentialChange::IdentityUnlinked { provider };
            Some(credentials_changed(commit, email, change))
        }
        Event::PasskeyAdded {
            email,
            name,
            passkey,
        } => {
            let id = PasskeyId::of(&passkey.credential_id);
            let change = CredentialChange::PasskeyAdded { name: name.clone() };
            Some(passkey_changed(commit, id, email, change))
        }
        Event::PasskeySuspended {
            email,
            name,
            passkey,
        } => {
            let change = CredentialChange::PasskeySuspended { name: name.clone() };
            Some(passkey_changed(commit, *passkey, email, change))
        }
        Event::PasskeyRemoved {
            email,
            name,
            passkey,
        } => {
            let change = CredentialChange::PasskeyRemoved { name: name.clone() };
            Some(passkey_changed(commit, *passkey, email, change))
        }
        Event::PasswordSet { email, .. } => {
            let change = CredentialChange::PasswordSet;
            Some(credentials_changed(commit, email, change))
        }
        Event::PasswordRemoved { email } => {
            let change = CredentialChange::PasswordRemoved;
            Some(credentials_changed(commit, email, change))
        }
        Event::Registered { .. }
        | Event::Opened { .. }
        | Event::IdentityLinked { .. }
        | Event::RegistrationRefused { .. }
        | Event::VerificationRequested { .. }
        | Event::VerificationFailed { .. }
        | Event::Verified
        | Event::PasswordHashRenewed { .. }
        | Event::TotpUsed { .. }
        | Event::PasskeyUsed { .. }
        | Event::PasskeyRenamed { .. }
        | Event::SessionsRevoked
        | Event::PlatformAdminGranted
        | Event::PlatformAdminRevoked
        | Event::Disabled
        | Event::Enabled
        | Event::ProfileUpdated { .. }
        | Event::EmailChangeRequested { .. }
        | Event::NewEmailProved { .. }
        | Event::EmailChangeConfirmed { .. }
        | Event::EmailChangeEnded { .. }
        | Event::EmailChanged { .. }
        | Event::EmailRestored { .. }
        | Event::DeletionRequested { .. }
        | Event::DeletionCancelled { .. }
        | Event::DeletionStopped { .. }
        | Event::Closed { .. } => None,
    }
}

/// Whether the account begins here. Its owner has just chosen how to log in.
fn opens(commit: &Commit<Area>) -> bool {
    let mut events = commit.events.iter();
    events.any(|event| matches!(event, Event::Opened { .. }))
}

fn password_changed(
    commit: &Commit<Area>,
    email: &EmailAddress,
    firstname: &PersonName,
) -> Consequence<email::Area> {
    let firstname = firstname.clone();
    let revision = commit.revision.to_be_bytes();
    let occasion = [
        b"password_changed",
        commit.id.0.bytes().as_slice(),
        &revision,
    ];
    mail(&occasion, email, Template::PasswordChanged { firstname })
}

fn credentials_changed(
    commit: &Commit<Area>,
    email: &EmailAddress,
    change: CredentialChange,
) -> Consequence<email::Area> {
    let revision = commit.revision.to_be_bytes();
    let occasion = [
        b"credentials_changed",
        commit.id.0.bytes().as_slice(),
        &revision,
    ];
    mail(&occasion, email, Template::CredentialsChanged { change })
}

/// A commit may change several passkeys.
fn passkey_changed(
    commit: &Commit<Area>,
    passkey: PasskeyId,
    email: &EmailAddress,
    change: CredentialChange,
) -> Consequence<email::Area> {
    let revision = commit.revision.to_be_bytes();
    let occasion = [
        b"credentials_changed",
        commit.id.0.bytes().as_slice(),
        &revision,
        passkey.0.bytes(),
    ];
    mail(&occasion, email, Template::CredentialsChanged { change })
}

#[cfg(test)]
mod tests;
