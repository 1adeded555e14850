//! The view of an account.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Area, Event, deletion, epoch};
use crate::{
    Commit, EmailAddress, EmailChange, Home, Identity, Index, PasswordHash, PersonName, ProofKind,
    SecondFactor, Time,
    email_change::{self, MadeChange},
    identity,
    passkey::{self, Passkey},
    proof::{self, ONE_FACTOR, Proof, Proved, Scope, TWO_FACTORS},
    second_factor, session,
};

/// The view of an account. The gateway never shows all of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    pub email: EmailAddress,
    pub firstname: PersonName,
    pub lastname: PersonName,
    /// Whether the address is verified.
    pub verified: bool,
    /// Absent if the owner logs in by other means only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<PasswordHash>,
    /// Since when the account has its present password. Absent without one, and in a view that an
    /// earlier release has written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_set_at: Option<Time>,
    /// Counts the events that revoke all sessions. A session of an older epoch is not valid.
    pub epoch: i64,
    /// When the epoch last began. Access tokens that were created before are not valid.
    #[serde(default)]
    pub epoch_began_at: Time,
    /// Whether the account is one of the platform's administrators.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_platform_admin: bool,
    /// Whether the account is disabled: it has no session and no access token, and gets none.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_disabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_factor: Option<SecondFactor>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<Identity>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passkeys: Vec<Passkey>,
    /// The change of the address that waits for its owners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_change: Option<EmailChange>,
    /// The change that gave the account its address; `None` if it has the first one, or one that
    /// was restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_change_made: Option<MadeChange>,
    /// When the account is deleted, if its owner wants that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closes_at: Option<Time>,
    pub created_at: Time,
    pub updated_at: Time,
}

impl crate::View for View {
    type Area = Area;
    const NAME: &'static str = "account";
    const HOME: Home = Home::Platform;
    const INDEXES: &'static [Index] = &[
        Index::on(&["email"]),
        Index::on(&["created_at"]),
        Index::on(&["email", "created_at"]),
        Index::on(&["identities.id"]),
        // For workers that have lost what is to be done at these times.
        Index::on(&["email_change.status", "email_change.silent_until"]),
        Index::on(&["closes_at"]),
    ];

    fn fold(view: Option<Self>, commit: &Commit<Area>) -> Option<Self> {
        let events = commit.events.iter();
        let folded = events.fold(view, |view, event| step(view, event, commit.time));
        folded.map(|view| Self {
            updated_at: commit.time,
            ..view
        })
    }
}

impl View {
    /// Returns the highest level that a session of the account can reach.
    pub fn best_aal(&self) -> u8 {
        if self.second_factor.is_some() || self.has_passkey() {
            TWO_FACTORS
        } else {
            ONE_FACTOR
        }
    }

    /// Returns those of these proofs that still count. None does of a mailbox that is no longer
    /// that of the account, nor of a password, a second factor, a passkey or an identity that was
    /// removed, replaced or suspended, since a thief may have it.
    pub fn counting(&self, mut proofs: Vec<Proof>) -> Vec<Proof> {
        proofs.retain(|proof| self.counts(proof));
        proofs
    }

    /// Returns the proofs of a session that still count. `None` if none does: nobody knows who uses
    /// it. One in which somebody acts as the person has none from the beginning. The word of a
    /// connection counts if `is_live`. A session that has lost it ends unless the person's own
    /// proofs suffice.
    pub fn proved_in(&self, session: &session::View, is_live: bool) -> Option<Vec<Proof>> {
        let begun = session.proofs();
        let mut counting = self.counting(begun.to_vec());
        counting.retain(|proof| is_live || proof.scope().is_none());
        let has_word = |proofs: &[Proof]| proofs.iter().any(|proof| proof.scope().is_some());
        let stands = if has_word(&begun) && !has_word(&counting) {
            proof::suffices(&counting, self.second_factor.is_some())
        } else {
            session.impersonator.is_some() || !counting.is_empty()
        };
        stands.then_some(counting)
    }

    /// Returns what the proofs of a session are worth. The word of a connection is worth something
    /// only while the session is valid in its tenant alone.
    pub fn worth(&self, proofs: &[Proof]) -> Proved {
        match self.scope_of(proofs) {
            // The account may have one factor where the issuer has checked two.
            Some(_) => Proved::new(proofs, self.best_aal().max(proof::aal(proofs))),
            None => Proved::new(&proof::own(proofs), self.best_aal()),
        }
    }

    /// Returns where a session with these proofs is valid: `None` for everywhere.
    pub fn scope_of(&self, proofs: &[Proof]) -> Option<Scope> {
        proof::scope(proofs, self.second_factor.is_some())
    }

    /// Returns those of these proofs that need no second factor, or one that the account has had
    /// for this long. A thief may have added a later one.
    pub fn established(&self, mut proofs: Vec<Proof>, age: Duration, now: Time) -> Vec<Proof> {
        proofs.retain(|proof| match self.second_factor_since(&proof.kind) {
            Some(since) => now.since(since) >= age,
            None => true,
        });
        proofs
    }

    /// Returns since when the account has the second factor of a proof; `None` if the proof is of
    /// none.
    fn second_factor_since(&self, kind: &ProofKind) -> Option<Time> {
        let factor = self.second_factor.as_ref();
        match kind {
            ProofKind::Password
            | ProofKind::EmailCode
            | ProofKind::Identity { .. }
            | ProofKind::Connection { .. }
            | ProofKind::Unknown(_) => None,
            ProofKind::Passkey { passkey } => {
                let own = self.passkeys.iter().find(|own| own.id == *passkey);
                own.map(|own| own.added_at)
            }
            ProofKind::Totp => factor.map(|factor| factor.totp.enrolled_at),
            ProofKind::RecoveryCode => factor.map(|factor| factor.recovery_codes.created_at),
        }
    }

    /// Makes a proof by what the account has.
    pub fn proof(&self, kind: ProofKind, at: Time) -> Proof {
        let of = match kind {
            ProofKind::Password => self.password_set_at,
            ProofKind::EmailCode => Some(self.mailbox_since()),
            ProofKind::Passkey { .. }
            | ProofKind::Totp
            | ProofKind::RecoveryCode
            | ProofKind::Identity { .. }
            | ProofKind::Connection { .. }
            | ProofKind::Unknown(_) => None,
        };
        Proof {
            of,
            ..Proof::new(kind, at)
        }
    }

    /// Returns since when the account has its address: 0 for its beginning.
    fn mailbox_since(&self) -> Time {
        self.email_change_made.map_or(Time(0), |made| made.at)
    }

    fn counts(&self, proof: &Proof) -> bool {
        let factor = self.second_factor.as_ref();
        let is_since = |begun| proof.is_since(begun);
        match &proof.kind {
            ProofKind::Password => {
                let is_of = |set_at| proof.of.map_or(is_since(set_at), |of| of == set_at);
                self.password_hash.is_some() && self.password_set_at.is_none_or(is_of)
            }
            ProofKind::EmailCode => {
                let since = self.mailbox_since();
                proof.of.map_or(is_since(since), |of| of == since)
            }
            ProofKind::Passkey { passkey } => {
                let mut own = self.passkeys.iter();
                own.any(|own| own.id == *passkey && !own.is_suspended())
            }
            ProofKind::Totp => factor.is_some_and(|factor| is_since(factor.totp.enrolled_at)),
            ProofKind::RecoveryCode => {
                factor.is_some_and(|factor| is_since(factor.recovery_codes.created_at))
            }
            ProofKind::Connection { identity, .. } => {
                let mut own = self.identities.iter();
                own.any(|own| own.id == *identity)
            }
            ProofKind::Identity { provider, identity } => {
                let mut own = self.identities.iter();
                own.any(|own| match identity {
                    Some(identity) => own.id == *identity,
                    None => own.provider == *provider,
                })
            }
            ProofKind::Unknown(_) => false,
        }
    }

    /// Whether the owner can log in by a passkey.
    pub fn has_passkey(&self) -> bool {
        self.passkeys.iter().any(|passkey| !passkey.is_suspended())
    }

    /// Returns an account as it begins. One without a password begins with a proved address.
    fn begin(
        email: EmailAddress,
        (firstname, lastname): (PersonName, PersonName),
        password_hash: Option<PasswordHash>,
        epoch: i64,
        at: Time,
    ) -> Self {
        Self {
            email,
            firstname,
            lastname,
            verified: password_hash.is_none(),
            password_set_at: password_hash.as_ref().map(|_| at),
            password_hash,
            epoch,
            epoch_began_at: at,
            is_platform_admin: false,
            is_disabled: false,
            second_factor: None,
            identities: Vec::new(),
            passkeys: Vec::new(),
            email_change: None,
            email_change_made: None,
            closes_at: None,
            created_at: at,
            updated_at: at,
        }
    }

    fn begin_epoch_if_new(&mut self, epoch: i64, at: Time) {
        if epoch != self.epoch {
            self.epoch = epoch;
            self.epoch_began_at = at;
        }
    }
}

const fn is_false(value: &bool) -> bool {
    !*value
}

fn step(view: Option<View>, event: &Event, at: Time) -> Option<View> {
    let epoch = epoch::after(view.as_ref().map(|view| view.epoch), event);
    if let Event::Registered {
        email,
        firstname,
        lastname,
        password_hash,
    } = event
    {
        let names = (firstname.clone(), lastname.clone());
        let password_hash = Some(password_hash.clone());
        return Some(View::begin(email.clone(), names, password_hash, epoch, at));
    }
    if let Event::Opened {
        email,
        firstname,
        lastname,
    } = event
    {
        let names = (firstname.clone(), lastname.clone());
        return Some(View::begin(email.clone(), names, None, epoch, at));
    }
    let mut view = view?;
    view.begin_epoch_if_new(epoch, at);
    view.second_factor = second_factor::step(view.second_factor, event, at);
    view.identities = identity::step(view.identities, event, at);
    view.passkeys = passkey::step(view.passkeys, event, at);
    view.email_change = email_change::step(view.email_change, event, at);
    view.closes_at = deletion::after(view.closes_at, event, at);
    match event {
        Event::Registered { .. }
        | Event::Opened { .. }
        | Event::IdentityLinked { .. }
        | Event::IdentityUnlinked { .. }
        | Event::VerificationRequested { .. }
        | Event::VerificationFailed { .. }
        | Event::PasswordResetRequested { .. }
        | Event::TotpEnrolled { .. }
        | Event::TotpUsed { .. }
        | Event::RecoveryCodeUsed { .. }
        | Event::TotpRemoved { .. }
        | Event::RecoveryCodesRenewed { .. }
        | Event::PasskeyAdded { .. }
        | Event::PasskeyUsed { .. }
        | Event::PasskeyRenamed { .. }
        | Event::PasskeySuspended { .. }
        | Event::PasskeyRemoved { .. }
        | Event::EmailChangeRequested { .. }
        | Event::NewEmailProved { .. }
        | Event::EmailChangeConfirmed { .. }
        | Event::EmailChangeEnded { .. }
        | Event::DeletionRequested { .. }
        | Event::DeletionCancelled { .. }
        | Event::DeletionStopped { .. }
        | Event::SessionsRevoked => {}
        Event::RegistrationRefused { .. } | Event::Closed { .. } => return None,
        Event::Verified => view.verified = true,
        Event::PasswordChanged { password_hash, .. } | Event::PasswordSet { password_hash, .. } => {
            view.password_hash = Some(password_hash.clone());
            view.password_set_at = Some(at);
        }
        // The same password.
        Event::PasswordHashRenewed { password_hash } => {
            view.password_hash = Some(password_hash.clone());
        }
        Event::PasswordRemoved { .. } => {
            view.password_hash = None;
            view.password_set_at = None;
        }
        Event::PlatformAdminGranted => view.is_platform_admin = true,
        Event::PlatformAdminRevoked => view.is_platform_admin = false,
        Event::Disabled => view.is_disabled = true,
        Event::Enabled => view.is_disabled = false,
        Event::ProfileUpdated {
            firstname,
            lastname,
        } => {
            view.firstname = firstname.clone();
            view.lastname = lastname.clone();
        }
        Event::EmailChanged { challenge, to, .. } => {
            view.email = to.clone();
            let challenge = *challenge;
            view.email_change_made = Some(MadeChange { challenge, at });
        }
        Event::EmailRestored { to, .. } => {
            view.email = to.clone();
            view.email_change_made = None;
        }
    }
    Some(view)
}

#[cfg(test)]
mod tests;
