//! Passkeys: logging in and stepping up by one, adding, renaming and removing them.
//!
//! A browser gets a challenge, and keeps it sealed in a cookie. So no gateway stores those that
//! nobody answers, and no other browser can use the answer. The domain decides which uses count.

use async_nats::jetstream;
use event_store::random_bytes;
use events_schema::{
    AccountId, Base64Url, CommandId, Name, PasskeyId, Proof, ProofKind, TenantId, Time,
    account::{self, Command},
    passkey::Passkey,
    sealed::{NONCE_BYTES, Sealed},
    secret::{ServerKey, derived_id},
    subject::LOGINS_BUCKET,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    opening::accepts_logins,
    session::{LoggedIn, Sessions, Started},
};
use crate::{
    backend::{
        bucket::Bucket,
        commands::{CommandRequest, Commands},
        views::{ViewDocument, Views},
    },
    clock::now,
    error::Error,
    identity::{
        Caller,
        caller::new_command_id,
        webauthn::{Assertion, Challenge, Flaw, LIFETIME, Registration, RelyingParty, Used},
    },
    security::{SecurityEvent, SecurityEvents},
};

const PURPOSE: &str = "passkey";

/// Logs in by passkeys, and changes those of the caller.
#[derive(Clone, Debug)]
pub(crate) struct Passkeys {
    pub(crate) commands: Commands,
    pub(crate) views: Views,
    pub(crate) answered: Answered,
    pub(crate) sessions: Sessions,
    pub(crate) security: SecurityEvents,
    pub(crate) secret: ServerKey,
    pub(crate) relying_party: RelyingParty,
}

/// The challenges that were answered.
#[derive(Clone, Debug)]
pub(crate) struct Answered(Bucket<CommandId>);

/// What a browser is asked for.
pub(crate) struct Request {
    pub(crate) options: Value,
    /// What only the browser keeps.
    pub(crate) token: String,
}

/// What a browser learns after a passkey was removed, so that it offers it no more.
pub(crate) struct Removal {
    /// For `signalUnknownCredential`; `None` if a repeated request finds the passkey removed.
    pub(crate) unknown_credential: Option<Value>,
    /// For `signalAllAcceptedCredentials`.
    pub(crate) all_accepted_credentials: Value,
}

/// What the browser keeps, sealed.
#[derive(Serialize, Deserialize)]
struct Asked {
    challenge: Base64Url,
    at: Time,
    /// The account that a passkey is added to; `None` to log in.
    adding_to: Option<AccountId>,
}

impl Answered {
    /// Keeps them in the bucket of failed logins, whose records outlive every challenge.
    pub(crate) fn new(jetstream: jetstream::Context) -> Self {
        Self(Bucket::new(jetstream, LOGINS_BUCKET))
    }

    /// Uses a challenge up, for one command. Its record has the same name whichever secret a
    /// gateway derives from: gateways with a former and a new one run together.
    ///
    /// # Errors
    /// `BadUserInput` if another command has used it.
    async fn add(&self, challenge: &Challenge, command: CommandId) -> Result<(), Error> {
        let add = |present: Option<CommandId>| match present {
            Some(first) if first != command => Err(ended()),
            Some(_) | None => Ok((command, ())),
        };
        let name = derived_id(&[b"passkey-challenge", challenge]).to_string();
        self.0.change(&name, add).await
    }
}

impl Passkeys {
    /// Asks for any passkey of this site, to log in or to step up.
    ///
    /// # Errors
    /// If the operating system has no random bytes.
    pub(crate) fn ask(&self) -> Result<Request, Error> {
        let challenge = random_bytes()?;
        Ok(Request {
            options: self.relying_party.request_options(&challenge),
            token: self.seal(&challenge, None)?,
        })
    }

    /// Logs in by the answer of a browser. The passkey names the account.
    ///
    /// # Errors
    /// `BadUserInput` if the answer proves nothing, the passkey is not known or it is suspended.
    pub(crate) async fn log_in(&self, caller: &Caller, answer: Value) -> Result<LoggedIn, Error> {
        let (account, kind) = self.prove(caller, answer, None).await?;
        let proof = Proof::new(kind, now());
        self.sessions.proceed(caller, account, proof, None).await
    }

    /// Proves again who the caller is.
    ///
    /// # Errors
    /// `BadUserInput` if the answer proves nothing, or the caller has no such passkey.
    pub(crate) async fn step_up(&self, caller: &Caller, answer: Value) -> Result<Started, Error> {
        let own = caller.person()?.account_id();
        let (_, kind) = self.prove(caller, answer, Some(own)).await?;
        self.sessions.add_proof(caller, kind).await
    }

    /// Asks for a new passkey of the caller.
    ///
    /// # Errors
    /// If the operating system has no random bytes.
    pub(crate) fn ask_for_new(&self, caller: &Caller) -> Result<Request, Error> {
        let account = &caller.person()?.account;
        let challenge = random_bytes()?;
        let (handle, view) = (account.id.0, &account.view);
        let party = &self.relying_party;
        Ok(Request {
            options: party.creation_options(&challenge, handle.bytes(), view),
            token: self.seal(&challenge, Some(account.id))?,
        })
    }

    /// Adds the passkey that a browser has made.
    ///
    /// # Errors
    /// `BadUserInput` if the answer proves nothing; `Rejected` if the passkey is known, or the
    /// account has too many; `RateLimited` after too many new credentials within a day.
    pub(crate) async fn add(
        &self,
        caller: &Caller,
        id: CommandId,
        name: Name,
        answer: Value,
    ) -> Result<Passkey, Error> {
        let account = caller.person()?.account_id();
        let (challenge, _) = self.open(caller, Some(account)).ok_or_else(ended)?;
        let answer = Registration::read(answer).map_err(flawed)?;
        let party = &self.relying_party;
        let origins = party.origins(caller.subdomain.as_ref());
        let registered = party.register(&challenge, &answer, &origins);
        let passkey = registered.map_err(flawed)?;
        self.sessions.mails.count_new_credential(account).await?;
        self.answered.add(&challenge, id).await?;
        let added = PasskeyId::of(&passkey.credential_id);
        let add = Command::AddPasskey { name, passkey };
        let account = self.send(caller, account, id, add).await?;
        let event = SecurityEvent::PasskeyAdded;
        self.security.record(event, caller, Some(account.id));
        find(&account.view, added).cloned().ok_or(Error::NotFound)
    }

    /// Renames a passkey of the caller.
    ///
    /// # Errors
    /// `Rejected` if the caller has no such passkey.
    pub(crate) async fn rename(
        &self,
        caller: &Caller,
        id: CommandId,
        passkey: PasskeyId,
        name: Name,
    ) -> Result<Passkey, Error> {
        let account = caller.person()?.account_id();
        let rename = Command::RenamePasskey { passkey, name };
        let account = self.send(caller, account, id, rename).await?;
        find(&account.view, passkey).cloned().ok_or(Error::NotFound)
    }

    /// Removes a passkey of the caller. If nothing else has proved the session, it ends.
    ///
    /// # Errors
    /// `Rejected` if the caller has no such passkey, or could not log in any more.
    pub(crate) async fn remove(
        &self,
        caller: &Caller,
        id: CommandId,
        passkey: PasskeyId,
    ) -> Result<Removal, Error> {
        let before = &caller.person()?.account;
        let remove = Command::RemovePasskey { passkey };
        let account = self.send(caller, before.id, id, remove).await?;
        let event = SecurityEvent::PasskeyRemoved;
        self.security.record(event, caller, Some(account.id));
        let (party, handle) = (&self.relying_party, account.id.0);
        let removed = find(&before.view, passkey);
        Ok(Removal {
            unknown_credential: removed.map(|removed| party.unknown_credential(removed)),
            all_accepted_credentials: party.all_accepted_credentials(handle.bytes(), &account.view),
        })
    }

    /// Checks the answer of a browser and uses its challenge up. Returns the account of the
    /// passkey, which must be `own` if that is given, and what the answer proves.
    async fn prove(
        &self,
        caller: &Caller,
        answer: Value,
        own: Option<AccountId>,
    ) -> Result<(ViewDocument<account::View>, ProofKind), Error> {
        let (challenge, asked_at) = self.open(caller, None).ok_or_else(ended)?;
        let answer = Assertion::read(answer).map_err(flawed)?;
        let account = self.owner(&answer).await?;
        let is_own =
            |account: &ViewDocument<account::View>| own.is_none_or(|own| own == account.id);
        let account = account.filter(is_own).ok_or_else(unknown)?;
        let (id, of_account) = (PasskeyId::of(answer.credential_id()), account.id);
        let used = self.check(caller, &challenge, &answer, find(&account.view, id));
        let used = used.inspect_err(|_| self.failed(caller, of_account))?;
        let command = new_command_id()?;
        self.answered.add(&challenge, command).await?;
        let note = Command::NotePasskeyUse {
            passkey: id,
            counter: used.counter,
            is_backed_up: used.is_backed_up,
            asked_at: Some(asked_at),
        };
        // It was removed, suspended or used elsewhere a moment ago. The next answer tells which.
        let noted = self.send(caller, of_account, command, note).await;
        let rejected = || {
            self.failed(caller, of_account);
            ended()
        };
        let account = noted.map_err(|error| error.if_rejected(rejected))?;
        if find(&account.view, id).is_none_or(Passkey::is_suspended) {
            let event = SecurityEvent::PasskeySuspended;
            self.security.record(event, caller, Some(account.id));
            return Err(suspended());
        }
        Ok((account, ProofKind::Passkey { passkey: id }))
    }

    /// Checks that an answer is one of this passkey, if the account has it, and that it counts.
    fn check(
        &self,
        caller: &Caller,
        challenge: &Challenge,
        answer: &Assertion,
        passkey: Option<&Passkey>,
    ) -> Result<Used, Error> {
        let passkey = passkey.ok_or_else(unknown)?;
        let party = &self.relying_party;
        let origins = party.origins(caller.subdomain.as_ref());
        let used = party.verify(challenge, answer, passkey, &origins);
        let used = used.map_err(flawed)?;
        if passkey.is_suspended() {
            return Err(suspended());
        }
        Ok(used)
    }

    /// Records that somebody has tried a passkey of an account in vain.
    fn failed(&self, caller: &Caller, account: AccountId) {
        let failed = SecurityEvent::LoginFailed;
        self.security.record(failed, caller, Some(account));
    }

    /// Finds the account that the passkey was made for, by what the browser says.
    async fn owner(
        &self,
        answer: &Assertion,
    ) -> Result<Option<ViewDocument<account::View>>, Error> {
        let handle = answer.user_handle().map(TryInto::try_into);
        let Some(Ok(handle)) = handle else {
            return Ok(None);
        };
        let id = AccountId(events_schema::Id::from_bytes(handle));
        let account = self.views.platform().get::<account::View>(id).await?;
        Ok(account.filter(|account| accepts_logins(&account.view)))
    }

    fn seal(&self, challenge: &Challenge, adding_to: Option<AccountId>) -> Result<String, Error> {
        let asked = Asked {
            challenge: Base64Url::from_bytes(challenge),
            at: now(),
            adding_to,
        };
        let plain = serde_json::to_vec(&asked).map_err(anyhow::Error::from)?;
        let nonce: [u8; NONCE_BYTES] = random_bytes()?;
        Ok(self.secret.seal(PURPOSE, &[], nonce, &plain).into())
    }

    /// Opens the challenge that this browser has got for this purpose, if it has not ended. Also
    /// returns when the browser was asked.
    fn open(&self, caller: &Caller, adding_to: Option<AccountId>) -> Option<(Challenge, Time)> {
        let sealed = Sealed::parse(caller.kept.passkey.as_ref()?).ok()?;
        let plain = self.secret.open_sealed(PURPOSE, &[], &sealed)?;
        let asked: Asked = serde_json::from_slice(&plain).ok()?;
        let is_open = now().since(asked.at) < LIFETIME && asked.adding_to == adding_to;
        let challenge = asked.challenge.bytes().try_into().ok()?;
        is_open.then_some((challenge, asked.at))
    }

    async fn send(
        &self,
        caller: &Caller,
        account: AccountId,
        id: CommandId,
        payload: Command,
    ) -> Result<ViewDocument<account::View>, Error> {
        let (sender, platform) = (caller.sender(), self.views.platform());
        let request = CommandRequest::new(TenantId::Platform, account, id, payload);
        let sent = self.commands.send_and_get(&sender, &platform, request);
        sent.await
    }
}

fn find(account: &account::View, id: PasskeyId) -> Option<&Passkey> {
    account.passkeys.iter().find(|passkey| passkey.id == id)
}

fn flawed(flaw: Flaw) -> Error {
    Error::input("response", flaw.to_string())
}

fn ended() -> Error {
    let message = "The request for a passkey has ended, was answered before, or another browser has \
                   sent it. Begin again with startPasskey.";
    Error::input("response", message)
}

fn unknown() -> Error {
    Error::input("response", "This passkey is not known here.")
}

fn suspended() -> Error {
    let message = "This passkey is suspended, since somebody may have copied it. Remove it, and add \
                   another one.";
    Error::input("response", message)
}
