//! Accounts that begin with an identity, and identities that wait for a proof.
//!
//! An identity is never linked because an address is the same. It waits in the browser, sealed,
//! until its owner logs in as before, or proves by a code that the address is theirs.

use std::time::Duration;

use event_store::{random_bytes, random_id};
use events_schema::{
    AccountId, EmailAddress, IdentityId, PersonName, Proof, ProofKind, ProvedIdentity, Scope,
    TenantId, Time,
    account::{self, Command},
    sealed::{NONCE_BYTES, Sealed},
    secret::ServerKey,
};
use serde::{Deserialize, Serialize};

use super::{
    account::by_email,
    second_factor::ENDED,
    session::{LoggedIn, Sessions},
};
use crate::{
    backend::{
        commands::{CommandRequest, Commands},
        views::Views,
    },
    clock::now,
    error::Error,
    identity::{Caller, caller::new_command_id, find::vouches, limits::Limits},
};

/// How long an identity waits.
const LIFETIME: Duration = Duration::from_secs(10 * 60);
const PURPOSE: &str = "waiting-identity";
/// For one that a connection has identified. A gateway of an earlier release would ignore the
/// connection, and let its word count everywhere.
const PURPOSE_BY_CONNECTION: &str = "waiting-identity-by-connection";

/// Opens accounts for people whom a provider has identified.
#[derive(Clone, Debug)]
pub(crate) struct Openings {
    pub(crate) commands: Commands,
    pub(crate) views: Views,
    pub(crate) limits: Limits,
    pub(crate) sessions: Sessions,
    pub(crate) secret: ServerKey,
}

/// An identity that waits for a proof, in the browser of the person whom a provider has identified.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) identity: ProvedIdentity,
    pub(crate) email: EmailAddress,
    /// Whether the provider's word proves the address.
    pub(crate) is_proved: bool,
    pub(crate) firstname: PersonName,
    pub(crate) lastname: PersonName,
    pub(crate) since: Time,
    /// When the person has logged in at the provider, if it says so.
    #[serde(default)]
    pub(crate) logged_in_at: Option<Time>,
    /// The word of a connection, if one has identified the person.
    #[serde(default)]
    pub(crate) word: Option<Word>,
}

/// The word of a tenant's connection about a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Word {
    pub(crate) scope: Scope,
    /// The epoch of the connection in which the issuer has given its word.
    pub(crate) epoch: i64,
    /// Whether the issuer has checked two factors, and the tenant lets its word count for both.
    pub(crate) is_two_factors: bool,
    /// Whether the person is of the tenant's organization there, so that an address of a verified
    /// domain makes them a member. An account at Google may be anybody's.
    pub(crate) is_insider: bool,
    /// All names of the identity, the present one first. Empty in the word that a gateway of an
    /// earlier release has sealed.
    #[serde(default)]
    pub(crate) identities: Vec<IdentityId>,
}

impl Waiting {
    pub(crate) fn expires_at(&self) -> Time {
        self.since + LIFETIME
    }

    /// Whether the owner of this account may link the identity to it: the address is the same, and
    /// the account does not have the identity yet.
    pub(crate) fn is_for(&self, account: &account::View) -> bool {
        self.email == account.email && !self.is_held_by(account)
    }

    fn is_held_by(&self, account: &account::View) -> bool {
        held_as(account, &self.identity).is_some()
    }
}

impl Openings {
    /// Counts an account that is going to be opened.
    ///
    /// # Errors
    /// `RateLimited` after too many registrations of the client.
    pub(crate) fn count(&self, caller: &Caller) -> Result<(), Error> {
        self.limits.count_registration(caller)
    }

    /// Opens an account for a person who has proved the address, and logs them in. One of an
    /// earlier release whose address nobody has proved is replaced, with all its credentials.
    ///
    /// # Errors
    /// `Unauthenticated` if the word of the connection that has identified the person counts no
    /// more; `Rejected` if another account has the address or the identity, or only a connection
    /// vouches for the person, and its tenant does not let them in; `LimitReached` or
    /// `PaymentRequired` if that takes no further member.
    pub(crate) async fn open(
        &self,
        caller: &Caller,
        waiting: Waiting,
        further: Option<ProofKind>,
    ) -> Result<LoggedIn, Error> {
        if let Some(word) = &waiting.word
            && !vouches(&self.views, word.scope, word.epoch).await?
        {
            return Err(ENDED);
        }
        if let (Some(word), None) = (&waiting.word, &further) {
            let joins = &self.sessions.joins;
            joins.check(word, &waiting.email).await?;
        }
        let unproved = by_email(&self.views, &waiting.email).await?;
        let unproved = unproved.filter(|account| !account.view.verified);
        let account = match unproved {
            Some(account) => account.id,
            None => AccountId(random_id()?),
        };
        let (by_identity, word) = (proof(&waiting), waiting.word.clone());
        let open = Command::OpenByIdentity {
            email: waiting.email,
            firstname: waiting.firstname,
            lastname: waiting.lastname,
            identity: waiting.identity,
        };
        let id = new_command_id()?;
        let request = CommandRequest::new(TenantId::Platform, account, id, open);
        let (sender, platform) = (caller.sender(), self.views.platform());
        let opened = self
            .commands
            .send_and_get::<account::View>(&sender, &platform, request);
        let opened = opened.await?;
        let further = further.map(|kind| opened.view.proof(kind, now()));
        let proofs = [Some(by_identity), further].into_iter().flatten().collect();
        self.sessions.welcome(caller, opened, proofs, word).await
    }

    /// Seals an identity that waits, for the browser to keep.
    ///
    /// # Errors
    /// If the operating system has no random bytes.
    pub(crate) fn seal(&self, waiting: &Waiting) -> Result<String, Error> {
        let plain = serde_json::to_vec(waiting).map_err(anyhow::Error::from)?;
        let nonce: [u8; NONCE_BYTES] = random_bytes()?;
        let purpose = match waiting.word {
            Some(_) => PURPOSE_BY_CONNECTION,
            None => PURPOSE,
        };
        Ok(self.secret.seal(purpose, &[], nonce, &plain).into())
    }

    /// Opens the identity that waits in this browser, if it does not wait for too long. One that
    /// the caller has by now waits no more.
    pub(crate) fn waiting(&self, caller: &Caller) -> Option<Waiting> {
        let sealed = Sealed::parse(caller.kept.waiting.as_ref()?).ok()?;
        let mut purposes = [PURPOSE, PURPOSE_BY_CONNECTION].into_iter();
        let plain = purposes.find_map(|it| self.secret.open_sealed(it, &[], &sealed))?;
        let waiting: Waiting = serde_json::from_slice(&plain).ok()?;
        let person = caller.person().ok();
        let is_held = person.is_some_and(|it| waiting.is_held_by(&it.account.view));
        (now() < waiting.expires_at() && !is_held).then_some(waiting)
    }

    /// Whether a log-in to this account ends the wait of the identity in this browser: another
    /// account has the identity's address, or this one has the identity by now.
    pub(crate) fn are_over(&self, caller: &Caller, account: &account::View) -> bool {
        let awaits = |waiting: Waiting| waiting.is_for(account);
        caller.kept.waiting.is_some() && !self.waiting(caller).is_some_and(awaits)
    }
}

/// Returns what the identity proves once the account has it.
pub(crate) fn proof(waiting: &Waiting) -> Proof {
    let kind = proved_by(
        &waiting.identity,
        waiting.identity.id,
        waiting.word.as_ref(),
    );
    Proof::by_other_party(kind, waiting.logged_in_at, waiting.since)
}

/// Returns what is proved by an identity that the account calls so.
pub(crate) fn proved_by(
    identity: &ProvedIdentity,
    called: IdentityId,
    word: Option<&Word>,
) -> ProofKind {
    match word {
        Some(word) => ProofKind::Connection {
            scope: word.scope,
            epoch: word.epoch,
            identity: called,
            is_two_factors: word.is_two_factors,
            is_insider: Some(word.is_insider),
        },
        None => ProofKind::Identity {
            provider: identity.provider.clone(),
            identity: Some(called),
        },
    }
}

/// Returns what an account calls an identity that it has, under any of its names.
pub(crate) fn held_as(account: &account::View, identity: &ProvedIdentity) -> Option<IdentityId> {
    let mut held = account.identities.iter().map(|held| held.id);
    held.find(|held| identity.ids().any(|id| id == *held))
}

/// Whether an account takes log-ins.
pub(crate) const fn accepts_logins(view: &account::View) -> bool {
    view.verified && !view.is_disabled
}
