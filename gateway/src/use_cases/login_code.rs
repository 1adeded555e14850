//! Logging in by a code that is mailed. It is valid once, in the browser that has asked for it.
//!
//! Neither an answer nor its timing reveals whether an address has an account.

use std::time::Duration;

use async_nats::jetstream;
use event_store::random_id;
use events_schema::{
    ChallengeId, CommandId, EmailAddress, EmailId, ProofKind, TenantId, Time, account, email,
    secret::{Purpose, ServerKey, derived_id},
    subject::LOGINS_BUCKET,
};
use serde::{Deserialize, Serialize};

use super::{
    account::{by_email, with_min_answer_time},
    opening::{Openings, Waiting, accepts_logins},
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
    identity::{Caller, limits::Limits, mail_quota::MailQuota, network::Network},
    security::{SecurityEvent, SecurityEvents},
};

/// How long a code is valid.
const LIFETIME: Duration = Duration::from_secs(10 * 60);
/// Wrong codes after which a mailed one is void. An address gets 20 mails a day, so a guesser with
/// a hundred codes a day succeeds once in 10,000 days.
const MAX_WRONG: u32 = 5;

/// Sends and checks codes to log in with.
#[derive(Clone, Debug)]
pub(crate) struct LoginCodes {
    pub(crate) commands: Commands,
    pub(crate) views: Views,
    pub(crate) sent: SentCodes,
    pub(crate) mails: MailQuota,
    pub(crate) limits: Limits,
    pub(crate) sessions: Sessions,
    pub(crate) openings: Openings,
    pub(crate) security: SecurityEvents,
    pub(crate) secret: ServerKey,
}

/// What a code has proved.
enum Proved {
    /// The person owns this account.
    Account(Box<ViewDocument<account::View>>),
    /// The person owns the address of this identity, which has no account yet.
    Address(Box<Waiting>),
}

/// The codes that were mailed, to log in or to prove a new address, whether or not there is an
/// account.
#[derive(Clone, Debug)]
pub(crate) struct SentCodes(Bucket<Sent>);

/// A code that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Sent {
    at: Time,
    /// Wrong codes that were tried.
    wrong: u32,
    is_used: bool,
}

impl Sent {
    fn is_valid(self, now: Time) -> bool {
        now.since(self.at) < LIFETIME && self.wrong < MAX_WRONG && !self.is_used
    }

    fn tried(self, is_right: bool) -> Self {
        Self {
            wrong: self.wrong + u32::from(!is_right),
            is_used: is_right,
            ..self
        }
    }
}

impl SentCodes {
    /// Keeps them in the bucket of failed logins, where old records give way to new ones.
    pub(crate) fn new(jetstream: jetstream::Context) -> Self {
        Self(Bucket::new(jetstream, LOGINS_BUCKET))
    }

    /// Notes a code that is mailed now.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub(super) async fn add(&self, id: ChallengeId) -> Result<(), Error> {
        let new = Sent {
            at: now(),
            wrong: 0,
            is_used: false,
        };
        let add = |_: Option<Sent>| Ok((new, ()));
        self.0.change(&id.0.to_string(), add).await
    }

    /// Uses a code up if it is right, or else counts a wrong one. Both are one change, and nobody
    /// hears about the code before it is written: guesses at the same time all count, and copies of
    /// the right code do not spend its tries. Returns whether it was right, and still valid.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub(super) async fn try_once(&self, id: ChallengeId, is_right: bool) -> Result<bool, Error> {
        let change = |present: Option<Sent>| {
            let sent = present.filter(|sent| sent.is_valid(now()));
            let sent = sent.ok_or(Error::NotFound)?;
            Ok((sent.tried(is_right), is_right))
        };
        match self.0.change(&id.0.to_string(), change).await {
            Err(Error::NotFound) => Ok(false),
            tried => tried,
        }
    }
}

impl LoginCodes {
    /// Mails a code to an address, if it has an account. Returns the token that the browser keeps.
    ///
    /// # Errors
    /// `RateLimited` after too many mails to the address, or codes for all clients together.
    pub(crate) async fn send(
        &self,
        caller: &Caller,
        email: &EmailAddress,
    ) -> Result<String, Error> {
        self.send_if(caller, email, |account| account.is_some_and(accepts))
            .await
    }

    /// Mails a code to an address that may get an account by it, or has one. Returns the token that
    /// the browser keeps.
    ///
    /// # Errors
    /// `RateLimited` after too many mails to the address.
    pub(crate) async fn send_to_anybody(
        &self,
        caller: &Caller,
        email: &EmailAddress,
    ) -> Result<String, Error> {
        self.send_if(caller, email, |account| {
            account.is_none_or(|account| !account.view.is_disabled)
        })
        .await
    }

    async fn send_if(
        &self,
        caller: &Caller,
        email: &EmailAddress,
        gets_it: impl FnOnce(Option<&ViewDocument<account::View>>) -> bool,
    ) -> Result<String, Error> {
        self.limits.count_address(caller, email)?;
        self.limits.count_login_code()?;
        // Random: a repeated command must not bring back a code that is no longer valid.
        let challenge = ChallengeId(random_id()?);
        with_min_answer_time(async {
            let sender = Network::of(&caller.origin).id(&self.secret);
            let counted = self.mails.count_login_code(email, sender, challenge.0);
            counted.await?;
            self.sent.add(challenge).await?;
            let account = by_email(&self.views, email).await?;
            let about = account.as_ref().map(|account| account.id);
            let requested = SecurityEvent::LoginCodeRequested;
            self.security.record(requested, caller, about);
            if gets_it(account.as_ref()) {
                self.send_mail(caller, challenge, email);
            }
            Ok::<_, Error>(())
        })
        .await?;
        Ok(self.secret.login_code_token(challenge, email))
    }

    /// Logs in by the code in the mail. If there is no account, and a provider has identified the
    /// person in this browser, the code opens one.
    ///
    /// # Errors
    /// `BadUserInput` if the code is wrong or no longer valid, or another browser has asked for it;
    /// `RateLimited` after too many tries or registrations, and then the code stays valid.
    pub(crate) async fn log_in(
        &self,
        caller: &Caller,
        email: &EmailAddress,
        code: &str,
    ) -> Result<LoggedIn, Error> {
        // A browser that has asked for a code has few tries anyway, and strangers must not use up
        // those of the owner.
        if self.challenge(caller, email).is_none() {
            self.limits.count_address(caller, email)?;
        }
        // Before the code is used up, and whether or not there is an account: a refusal must not
        // reveal that.
        if self.waiting(caller, email).is_some() {
            self.openings.count(caller)?;
        }
        let checked = with_min_answer_time(self.check(caller, email, code));
        let kind = ProofKind::EmailCode;
        match checked.await? {
            Proved::Account(account) => {
                let proof = account.view.proof(kind, now());
                self.sessions.proceed(caller, *account, proof, None).await
            }
            Proved::Address(waiting) => self.openings.open(caller, *waiting, Some(kind)).await,
        }
    }

    /// Proves again, by the code in a mail, that the person reads the mailbox of their account.
    ///
    /// # Errors
    /// `BadUserInput` if the code is wrong or no longer valid, or another browser has asked for it.
    pub(crate) async fn step_up(&self, caller: &Caller, code: &str) -> Result<Started, Error> {
        let email = caller.person()?.account.view.email.clone();
        let Proved::Account(_) = self.check(caller, &email, code).await? else {
            return Err(wrong_code());
        };
        self.sessions.add_proof(caller, ProofKind::EmailCode).await
    }

    /// Checks a code and uses it up. An unknown address takes the same path.
    async fn check(
        &self,
        caller: &Caller,
        email: &EmailAddress,
        code: &str,
    ) -> Result<Proved, Error> {
        let account = by_email(&self.views, email).await?;
        let about = account.as_ref().map(|account| account.id);
        let is_right = self.is_right(caller, email, code).await?;
        match (account, self.waiting(caller, email)) {
            (Some(account), _) if is_right && accepts(&account) => {
                Ok(Proved::Account(Box::new(account)))
            }
            (account, Some(waiting)) if is_right && account.as_ref().is_none_or(is_unproved) => {
                Ok(Proved::Address(Box::new(waiting)))
            }
            _ => {
                let failed = SecurityEvent::LoginFailed;
                self.security.record(failed, caller, about);
                Err(wrong_code())
            }
        }
    }

    /// Returns the identity with this address that waits in the browser.
    fn waiting(&self, caller: &Caller, email: &EmailAddress) -> Option<Waiting> {
        let waiting = self.openings.waiting(caller);
        waiting.filter(|waiting| waiting.email == *email)
    }

    async fn is_right(
        &self,
        caller: &Caller,
        email: &EmailAddress,
        code: &str,
    ) -> Result<bool, Error> {
        let Some(challenge) = self.challenge(caller, email) else {
            return Ok(false);
        };
        let purpose = Purpose::LoginCode;
        let is_right = self.secret.code_matches(purpose, challenge, code);
        self.sent.try_once(challenge, is_right).await
    }

    /// Returns what this browser has asked for, if it was a code for this address.
    fn challenge(&self, caller: &Caller, email: &EmailAddress) -> Option<ChallengeId> {
        let token = caller.kept.login_code.as_ref()?;
        self.secret.open_login_code_token(token, email)
    }

    /// The outcome is not awaited: a delay would reveal that there is an account.
    fn send_mail(&self, caller: &Caller, challenge: ChallengeId, email: &EmailAddress) {
        let id = derived_id(&[b"email", b"login_code", challenge.0.bytes()]);
        let send = email::Command::SendLoginCode {
            to: email.clone(),
            challenge,
        };
        let (platform, command) = (TenantId::Platform, CommandId(id));
        let request = CommandRequest::<email::Area>::new(platform, EmailId(id), command, send);
        self.commands.send_in_background(caller.sender(), request);
    }
}

fn accepts(account: &ViewDocument<account::View>) -> bool {
    accepts_logins(&account.view)
}

/// Whether nobody has proved the address of the account.
fn is_unproved(account: &ViewDocument<account::View>) -> bool {
    !account.view.verified && !account.view.is_disabled
}

fn wrong_code() -> Error {
    let message = "The code is wrong or no longer valid, or another browser has asked for it. \
                   Request a new mail.";
    Error::input("code", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_valid_for_ten_minutes_and_five_wrong_ones_until_it_is_used() {
        let sent = |wrong, is_used| Sent {
            at: Time(0),
            wrong,
            is_used,
        };
        let end = 10 * 60 * 1000;
        assert!(sent(4, false).is_valid(Time(end - 1)));
        assert!(!sent(0, false).is_valid(Time(end)));
        assert!(!sent(5, false).is_valid(Time(0)));
        assert!(!sent(0, true).is_valid(Time(0)));
        assert_eq!(sent(3, false).tried(false), sent(4, false));
        assert_eq!(sent(3, false).tried(true), sent(3, true));
    }
}
