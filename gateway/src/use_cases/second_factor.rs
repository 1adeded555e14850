//! The second factor of an account: adding, replacing and removing it, and checking its codes.
//!
//! Seeds and recovery codes derive from a secret of the deployment, and are stored nowhere. The
//! domain decides that each code is used once.

use std::time::Duration;

use async_nats::jetstream;
use event_store::random_id;
use events_schema::{
    AccountId, CommandId, ConnectionId, CredentialId, EmailId, Id, ProofKind, SecondFactor,
    TenantId, Time,
    account::{self, Command},
    email,
    secret::{ServerKey, derived_id},
    subject::LOGINS_BUCKET,
    totp::Seed,
};
use serde::{Deserialize, Serialize};

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
        code_throttle::{CodeAttempt, CodeGuesser, CodeThrottle, Within},
        mail_quota::MailQuota,
    },
    security::{SecurityEvent, SecurityEvents},
};

/// An authenticator app must be confirmed within this time.
const SETUP: Duration = Duration::from_secs(10 * 60);
pub(super) const ENDED: Error =
    Error::Unauthenticated("This log-in is no longer valid. Begin again.");
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Adds, removes and checks second factors.
#[derive(Clone, Debug)]
pub(crate) struct SecondFactors {
    commands: Commands,
    views: Views,
    setups: Bucket<Setup>,
    codes: CodeThrottle,
    mails: MailQuota,
    security: SecurityEvents,
    secret: ServerKey,
    /// What authenticator apps show: the host of the public URL.
    issuer: String,
}

/// An authenticator app that is not confirmed yet. The latest of an account counts.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Setup {
    credential: CredentialId,
    secret_id: String,
    begun_at: Time,
}

/// What an authenticator app needs to know.
pub(crate) struct TotpSetup {
    pub(crate) uri: String,
    pub(crate) secret: String,
}

/// A code of a second factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SecondMethod {
    Totp,
    RecoveryCode,
}

impl SecondFactors {
    /// Keeps what waits for its confirmation in the bucket of failed logins, where old records give
    /// way to new ones.
    pub(crate) fn new(
        jetstream: jetstream::Context,
        commands: Commands,
        views: Views,
        mails: MailQuota,
        security: SecurityEvents,
        secret: ServerKey,
        public_url: &str,
    ) -> Self {
        Self {
            commands,
            views,
            setups: Bucket::new(jetstream.clone(), LOGINS_BUCKET),
            codes: CodeThrottle::new(jetstream, secret.clone()),
            mails,
            security,
            secret,
            issuer: host(public_url).to_owned(),
        }
    }

    /// Begins to add an authenticator app. Nothing changes until its first code confirms it.
    ///
    /// # Errors
    /// If the bucket cannot be written.
    pub(crate) async fn start_totp(&self, caller: &Caller) -> Result<TotpSetup, Error> {
        let account = &caller.person()?.account;
        let setup = Setup {
            credential: CredentialId(random_id()?),
            secret_id: self.secret.current_id().to_owned(),
            begun_at: now(),
        };
        let seed = self.seed(account.id, &setup)?;
        let replace = |_: Option<Setup>| Ok((setup.clone(), ()));
        let key = self.setup_key(account.id);
        self.setups.change(&key, replace).await?;
        Ok(TotpSetup {
            uri: seed.uri(&self.issuer, &account.view.email),
            secret: seed.text(),
        })
    }

    /// Adds the authenticator app by its first code. Returns the recovery codes.
    ///
    /// # Errors
    /// `BadUserInput` if the code is wrong, or there is no app to confirm; `RateLimited` after too
    /// many wrong codes, or new credentials within a day; `Rejected` if the account has an app
    /// already.
    pub(crate) async fn confirm_totp(
        &self,
        caller: &Caller,
        code: &str,
    ) -> Result<Vec<String>, Error> {
        let identity = caller.person()?;
        let account = identity.account_id();
        let setup = self.setups.get(&self.setup_key(account)).await?;
        let is_open = |setup: &Setup| {
            now().since(setup.begun_at) < SETUP && setup.secret_id == self.secret.current_id()
        };
        let setup = setup.filter(is_open).ok_or_else(nothing_to_confirm)?;
        let attempt = self.begin(caller, account, guesser(caller)?).await?;
        let Some(step) = self.seed(account, &setup)?.step_of(code, now()) else {
            return Err(self.wrong(caller, &identity.account, &attempt));
        };
        self.codes.take_back(attempt).await;
        self.mails.count_new_credential(account).await?;
        let id = new_command_id()?;
        let recovery_codes = CredentialId(id.0);
        let enrol = Command::EnrolTotp {
            credential: setup.credential,
            secret_id: setup.secret_id,
            step,
            recovery_codes,
        };
        self.send(caller, account, id, enrol).await?;
        let enrolled = SecurityEvent::SecondFactorEnrolled;
        self.security.record(enrolled, caller, Some(account));
        Ok(self.secret.recovery_codes(account, recovery_codes))
    }

    /// Removes the authenticator app and the recovery codes.
    ///
    /// # Errors
    /// `Pending` if the outcome of the command is not known in time.
    pub(crate) async fn remove(&self, caller: &Caller, id: CommandId) -> Result<(), Error> {
        let account = caller.person()?.account_id();
        self.send(caller, account, id, Command::RemoveTotp).await?;
        let removed = SecurityEvent::SecondFactorRemoved;
        self.security.record(removed, caller, Some(account));
        Ok(())
    }

    /// Replaces the recovery codes, and returns the new ones.
    ///
    /// # Errors
    /// `Rejected` if the account has no second factor; `RateLimited` after too many renewals within
    /// a day, since each is told by mail.
    pub(crate) async fn renew_recovery_codes(&self, caller: &Caller) -> Result<Vec<String>, Error> {
        let account = caller.person()?.account_id();
        self.mails.count_recovery_codes(account).await?;
        let id = new_command_id()?;
        let credential = CredentialId(id.0);
        let renew = Command::RenewRecoveryCodes {
            credential,
            secret_id: self.secret.current_id().to_owned(),
        };
        self.send(caller, account, id, renew).await?;
        let renewed = SecurityEvent::RecoveryCodesRenewed;
        self.security.record(renewed, caller, Some(account));
        Ok(self.secret.recovery_codes(account, credential))
    }

    /// Checks a code of the second factor in a log-in, which only this connection vouches for if
    /// there is one, and uses it up. The owner gets a mail after five wrong ones.
    ///
    /// # Errors
    /// `Unauthenticated` if five codes were tried in this log-in; `BadUserInput` if the code is
    /// wrong or was used before; `RateLimited` after too many wrong ones.
    pub(crate) async fn check_in_log_in(
        &self,
        caller: &Caller,
        (challenge, connection): (Id, Option<ConnectionId>),
        account: &ViewDocument<account::View>,
        method: SecondMethod,
        code: &str,
    ) -> Result<ProofKind, Error> {
        let guesser = CodeGuesser {
            within: Within::LogIn(challenge),
            connection,
        };
        self.check(caller, guesser, account, method, code).await
    }

    /// Checks a code of the second factor of the person who sends the request, and uses it up. The
    /// owner gets a mail after five wrong ones.
    ///
    /// # Errors
    /// `BadUserInput` if the code is wrong or was used before; `RateLimited` after too many wrong
    /// ones.
    pub(crate) async fn check_in_session(
        &self,
        caller: &Caller,
        method: SecondMethod,
        code: &str,
    ) -> Result<ProofKind, Error> {
        let account = &caller.person()?.account;
        self.check(caller, guesser(caller)?, account, method, code)
            .await
    }

    async fn check(
        &self,
        caller: &Caller,
        guesser: CodeGuesser,
        account: &ViewDocument<account::View>,
        method: SecondMethod,
        code: &str,
    ) -> Result<ProofKind, Error> {
        let attempt = self.begin(caller, account.id, guesser).await?;
        let factor = account.view.second_factor.as_ref();
        let used = factor.and_then(|factor| self.compare(account.id, factor, method, code));
        let Some((command, kind)) = used else {
            return Err(self.wrong(caller, account, &attempt));
        };
        self.use_up(caller, account.id, command).await?;
        self.codes.take_back(attempt).await;
        Ok(kind)
    }

    /// Counts a code before it is compared.
    async fn begin(
        &self,
        caller: &Caller,
        account: AccountId,
        guesser: CodeGuesser,
    ) -> Result<CodeAttempt, Error> {
        let begun = self.codes.begin(account, guesser).await;
        let begun = begun.inspect_err(|error| {
            if matches!(error, Error::RateLimited { .. }) {
                let limited = SecurityEvent::LoginLimited;
                self.security.record(limited, caller, Some(account));
            }
        });
        begun?.ok_or(ENDED)
    }

    /// Records a wrong code, and returns the answer to it.
    fn wrong(
        &self,
        caller: &Caller,
        account: &ViewDocument<account::View>,
        attempt: &CodeAttempt,
    ) -> Error {
        let wrong = SecurityEvent::SecondFactorWrong;
        self.security.record(wrong, caller, Some(account.id));
        if attempt.warns {
            self.warn(caller, account);
        }
        wrong_code()
    }

    /// Uses a right code up. Nobody waits for the view: nothing reads it, and a code that is used
    /// up must lead to a session.
    async fn use_up(
        &self,
        caller: &Caller,
        account: AccountId,
        payload: Command,
    ) -> Result<(), Error> {
        let (platform, id) = (TenantId::Platform, new_command_id()?);
        let request = CommandRequest::<account::Area>::new(platform, account, id, payload);
        let deadline = self.commands.deadline();
        let sender = caller.sender();
        let outcome = self.commands.decide(&sender, request, deadline).await?;
        match outcome.revision() {
            Ok(_) => Ok(()),
            Err(_used_before) => Err(wrong_code()),
        }
    }

    /// Compares a code; returns the command that uses it up, and what it proves.
    fn compare(
        &self,
        account: AccountId,
        factor: &SecondFactor,
        method: SecondMethod,
        code: &str,
    ) -> Option<(Command, ProofKind)> {
        match method {
            SecondMethod::Totp => {
                let (credential, secret_id) = (factor.totp.id, &factor.totp.secret_id);
                let mut seeds = self.secret.totp_seeds(secret_id, account, credential);
                let step = seeds.find_map(|seed| seed.step_of(code, now()))?;
                Some((Command::UseTotp { credential, step }, ProofKind::Totp))
            }
            SecondMethod::RecoveryCode => {
                let codes = &factor.recovery_codes;
                let (credential, secret_id) = (codes.id, &codes.secret_id);
                let index = self
                    .secret
                    .recovery_code_index(secret_id, account, credential, code)?;
                let command = Command::UseRecoveryCode { credential, index };
                Some((command, ProofKind::RecoveryCode))
            }
        }
    }

    /// Tells the owner of an account by mail, at most once a day.
    fn warn(&self, caller: &Caller, account: &ViewDocument<account::View>) {
        let day = now().0.div_euclid(DAY_MS).to_be_bytes();
        let id = derived_id(&[
            b"email",
            b"second_factor_failed",
            account.id.0.bytes(),
            &day,
        ]);
        let warn = email::Command::WarnOfSecondFactor {
            to: account.view.email.clone(),
        };
        let (platform, command) = (TenantId::Platform, CommandId(id));
        let request = CommandRequest::<email::Area>::new(platform, EmailId(id), command, warn);
        self.commands.send_in_background(caller.sender(), request);
    }

    fn seed(&self, account: AccountId, setup: &Setup) -> Result<Seed, Error> {
        let Setup {
            credential,
            secret_id,
            ..
        } = setup;
        let mut seeds = self.secret.totp_seeds(secret_id, account, *credential);
        seeds.next().ok_or_else(nothing_to_confirm)
    }

    fn setup_key(&self, account: AccountId) -> String {
        let parts: [&[u8]; 2] = [b"totp-setup", account.0.bytes()];
        self.secret.id(&parts).to_string()
    }

    async fn send(
        &self,
        caller: &Caller,
        account: AccountId,
        id: CommandId,
        payload: Command,
    ) -> Result<(), Error> {
        let (sender, platform) = (caller.sender(), self.views.platform());
        let request = CommandRequest::new(TenantId::Platform, account, id, payload);
        let sent = self
            .commands
            .send::<account::View>(&sender, &platform, request);
        sent.await.map(|_revision| ())
    }
}

/// Returns the host of a URL without its port.
fn host(url: &str) -> &str {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split('/').next().unwrap_or(rest);
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|c| c.is_ascii_digit()) => host,
        Some(_) | None => authority,
    }
}

/// Returns who tries a code in a session.
fn guesser(caller: &Caller) -> Result<CodeGuesser, Error> {
    let person = caller.person()?;
    Ok(CodeGuesser {
        within: Within::Session(person.session),
        connection: person.scope.map(|scope| scope.connection),
    })
}

fn wrong_code() -> Error {
    Error::input("code", "The code is wrong or was used before.")
}

fn nothing_to_confirm() -> Error {
    let message = "There is no authenticator app to confirm. Begin again with startTotp.";
    Error::input("code", message)
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn an_app_shows_the_host_of_the_public_url() {
        for (url, expected) in [
            ("https://app.example.com", "app.example.com"),
            ("http://localhost:8080", "localhost"),
            ("https://app.example.com/api", "app.example.com"),
            ("http://[::1]:8080", "[::1]"),
            ("http://[::1]", "[::1]"),
        ] {
            assert_eq!(host(url), expected);
        }
    }
}
