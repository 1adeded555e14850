//! Logging in by a code that is mailed. It is valid once, in the browser that has asked for it.
//!
//! Neither an answer nor its timing reveals whether an address has an account.

use std::time::Duration;

use async_nats::jetstream;
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
/// Codes that may be tried for one mail. An address gets 20 mails a day, so a guesser with a hundred
/// codes a day succeeds once in 10,000 days.
const MAX_TRIES: u32 = 5;

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

/// The codes that were asked for, whether or not there is an account.
#[derive(Clone, Debug)]
pub(crate) struct SentCodes(Bucket<Sent>);

/// A code that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Sent {
    at: Time,
    tries: u32,
    is_used: bool,
}

impl Sent {
    fn is_valid(self, now: Time) -> bool {
        now.since(self.at) < LIFETIME && self.tries <= MAX_TRIES && !self.is_used
    }
}

impl SentCodes {
    /// Keeps them in the bucket of failed logins, where old records give way to new ones.
    pub(crate) fn new(jetstream: jetstream::Context) -> Self {
        Self(Bucket::new(jetstream, LOGINS_BUCKET))
    }

    async fn add(&self, id: ChallengeId) -> Result<(), Error> {
        let new = Sent {
            at: now(),
            tries: 0,
            is_used: false,
        };
        let add = |present: Option<Sent>| Ok((present.unwrap_or(new), ()));
        self.0.change(&id.0.to_string(), add).await
    }

    /// Counts a try before the code is compared. Returns whether it may be.
    async fn count_try(&self, id: ChallengeId) -> Result<bool, Error> {
        self.change_valid(id, |sent| sent.tries += 1).await
    }

    /// Uses a code up. Returns whether nobody has done so before.
    async fn use_up(&self, id: ChallengeId) -> Result<bool, Error> {
        self.change_valid(id, |sent| sent.is_used = true).await
    }

    /// Changes a code if it is valid. Returns whether it was, within the tries it has.
    async fn change_valid(
        &self,
        id: ChallengeId,
        change: impl Fn(&mut Sent),
    ) -> Result<bool, Error> {
        let change = |present: Option<Sent>| {
            let sent = present.filter(|sent| sent.is_valid(now()));
            let mut sent = sent.ok_or(Error::NotFound)?;
            change(&mut sent);
            Ok((sent, sent.tries <= MAX_TRIES))
        };
        match self.0.change(&id.0.to_string(), change).await {
            Ok(is_valid) => Ok(is_valid),
            Err(Error::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl LoginCodes {
    /// Mails a code to an address, if it has an account. Returns the token that the browser keeps.
    ///
    /// # Errors
    /// `RateLimited` after too many mails to the address.
    pub(crate) async fn send(
        &self,
        caller: &Caller,
        id: CommandId,
        email: &EmailAddress,
    ) -> Result<String, Error> {
        self.send_if(caller, id, email, |account| account.is_some_and(accepts))
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
        id: CommandId,
        email: &EmailAddress,
    ) -> Result<String, Error> {
        self.send_if(caller, id, email, |account| {
            account.is_none_or(|account| !account.view.is_disabled)
        })
        .await
    }

    async fn send_if(
        &self,
        caller: &Caller,
        id: CommandId,
        email: &EmailAddress,
        gets_it: impl FnOnce(Option<&ViewDocument<account::View>>) -> bool,
    ) -> Result<String, Error> {
        self.limits.count_address(caller, email)?;
        let challenge = ChallengeId(id.0);
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
    /// `BadUserInput` if the code is wrong or no longer valid, or another browser has asked for it.
    pub(crate) async fn log_in(
        &self,
        caller: &Caller,
        email: &EmailAddress,
        code: &str,
    ) -> Result<LoggedIn, Error> {
        self.limits.count_address(caller, email)?;
        let checked = with_min_answer_time(self.check(caller, email, code));
        let kind = ProofKind::EmailCode;
        match checked.await? {
            Proved::Account(account) => self.sessions.proceed(caller, *account, kind).await,
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
        let waiting = self.openings.waiting(caller);
        let waiting = waiting.filter(|waiting| waiting.email == *email);
        match (account, waiting) {
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

    async fn is_right(
        &self,
        caller: &Caller,
        email: &EmailAddress,
        code: &str,
    ) -> Result<bool, Error> {
        let token = caller.kept.login_code.as_ref();
        let challenge = token.and_then(|token| self.secret.open_login_code_token(token, email));
        let Some(challenge) = challenge else {
            return Ok(false);
        };
        let may_try = self.sent.count_try(challenge).await?;
        let purpose = Purpose::LoginCode;
        let matches = self.secret.code_matches(purpose, challenge, code);
        Ok(may_try && matches && self.sent.use_up(challenge).await?)
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
    fn a_code_is_valid_for_ten_minutes_and_five_tries_until_it_is_used() {
        let sent = |tries, is_used| Sent {
            at: Time(0),
            tries,
            is_used,
        };
        let end = 10 * 60 * 1000;
        // The fifth try is counted before its code is used up.
        assert!(sent(5, false).is_valid(Time(end - 1)));
        assert!(!sent(0, false).is_valid(Time(end)));
        assert!(!sent(6, false).is_valid(Time(0)));
        assert!(!sent(0, true).is_valid(Time(0)));
    }
}
