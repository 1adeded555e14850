//! Accounts that begin with an identity, and identities that wait for a proof.
//!
//! An identity is never linked because an address is the same. It waits in the browser, sealed, until
//! its owner logs in as before, or proves by a code that the address is theirs.

use std::time::Duration;

use event_store::{random_bytes, random_id};
use events_schema::{
    AccountId, EmailAddress, PersonName, Proof, ProofKind, ProvedIdentity, TenantId, Time,
    account::{self, Command},
    sealed::{NONCE_BYTES, Sealed},
    secret::ServerKey,
};
use serde::{Deserialize, Serialize};

use super::{
    account::by_email,
    session::{LoggedIn, Sessions},
};
use crate::{
    backend::{
        commands::{CommandRequest, Commands},
        views::Views,
    },
    clock::now,
    error::Error,
    identity::{Caller, caller::new_command_id, limits::Limits},
};

/// How long an identity waits.
const LIFETIME: Duration = Duration::from_secs(10 * 60);
const PURPOSE: &str = "waiting-identity";

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
}

impl Waiting {
    pub(crate) fn expires_at(&self) -> Time {
        self.since + LIFETIME
    }
}

impl Openings {
    /// Opens an account for a person who has proved the address, and logs them in. One of an earlier
    /// release whose address nobody has proved is replaced, with all its credentials.
    ///
    /// # Errors
    /// `RateLimited` after too many registrations; `Rejected` if another account has the address or
    /// the identity.
    pub(crate) async fn open(
        &self,
        caller: &Caller,
        waiting: Waiting,
        further: Option<ProofKind>,
    ) -> Result<LoggedIn, Error> {
        self.limits.count_registration(caller)?;
        self.limits.count_registration_mail(&waiting.email)?;
        let unproved = by_email(&self.views, &waiting.email).await?;
        let unproved = unproved.filter(|account| !account.view.verified);
        let account = match unproved {
            Some(account) => account.id,
            None => AccountId(random_id()?),
        };
        let provider = waiting.identity.provider.clone();
        let open = Command::OpenByIdentity {
            email: waiting.email,
            firstname: waiting.firstname,
            lastname: waiting.lastname,
            identity: waiting.identity,
        };
        let id = new_command_id()?;
        let request = CommandRequest::new(TenantId::Platform, account, id, open);
        let (sender, platform) = (caller.sender(), self.views.platform());
        let opened = self.commands.send_and_get(&sender, &platform, request);
        let opened = opened.await?;
        let kinds = [Some(ProofKind::Identity { provider }), further];
        let proofs = kinds.into_iter().flatten();
        let proofs = proofs.map(|kind| Proof::new(kind, now())).collect();
        self.sessions.welcome(caller, opened, proofs).await
    }

    /// Seals an identity that waits, for the browser to keep.
    ///
    /// # Errors
    /// If the operating system has no random bytes.
    pub(crate) fn seal(&self, waiting: &Waiting) -> Result<String, Error> {
        let plain = serde_json::to_vec(waiting).map_err(anyhow::Error::from)?;
        let nonce: [u8; NONCE_BYTES] = random_bytes()?;
        Ok(self.secret.seal(PURPOSE, &[], nonce, &plain).into())
    }

    /// Opens the identity that waits in this browser, if it does not wait for too long. One that the
    /// caller has by now waits no more.
    pub(crate) fn waiting(&self, caller: &Caller) -> Option<Waiting> {
        let sealed = Sealed::parse(caller.kept.waiting.as_ref()?).ok()?;
        let plain = self.secret.open_sealed(PURPOSE, &[], &sealed)?;
        let waiting: Waiting = serde_json::from_slice(&plain).ok()?;
        let person = caller.person().ok();
        let mut held = person
            .into_iter()
            .flat_map(|it| &it.account.view.identities);
        let is_held = held.any(|held| held.id == waiting.identity.id);
        (now() < waiting.expires_at() && !is_held).then_some(waiting)
    }
}

/// Whether an account takes log-ins.
pub(crate) const fn accepts_logins(view: &account::View) -> bool {
    view.verified && !view.is_disabled
}
