//! How an account begins: by a registration with a password, or by an identity.

use events_schema::{
    Claim,
    account::{Area, Command, Event},
};

use super::{Rejection, identities};
use crate::aggregate::{Decision, Facts};

/// Begins an account, unless another one has the address or the identity.
///
/// # Errors
/// If another account has them.
pub(super) fn begin(command: &Command, facts: &Facts<Area>) -> Result<Decision<Event>, Rejection> {
    if let Command::CompleteRegistration {
        email,
        firstname,
        lastname,
        password_hash,
    } = command
    {
        let registered = Event::Registered {
            email: email.clone(),
            firstname: firstname.clone(),
            lastname: lastname.clone(),
            password_hash: password_hash.clone(),
        };
        return Ok(Decision {
            take: vec![free(Claim::email(email), facts)?],
            ..Decision::events(vec![registered, Event::Verified])
        });
    }
    let Command::OpenByIdentity {
        email,
        firstname,
        lastname,
        identity,
    } = command
    else {
        return Err(Rejection::NotFound);
    };
    identities::must_be_free(identity, facts)?;
    let opened = Event::Opened {
        email: email.clone(),
        firstname: firstname.clone(),
        lastname: lastname.clone(),
    };
    let linked = identities::linked(identity, email);
    Ok(Decision {
        take: vec![
            free(Claim::email(email), facts)?,
            Claim::identity(identity.id),
        ],
        ..Decision::events(vec![opened, linked])
    })
}

fn free(email: Claim, facts: &Facts<Area>) -> Result<Claim, Rejection> {
    if facts.is_taken(&email) {
        Err(Rejection::EmailTaken)
    } else {
        Ok(email)
    }
}
