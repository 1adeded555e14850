//! Registering an account. Until its address is proved, a registration is no fact: it is in a
//! bucket for a day, and not in the log.
//!
//! Several registrations of one address may wait side by side, since anybody can name any address.
//! Each is completed only by its own mail together with its own browser or password. So nobody can
//! make an owner confirm the password of a stranger.
//!
//! Neither an answer nor its timing reveals whether an address has an account. Only its owner
//! learns, by mail.

mod pending;

use events_schema::{
    AccountId, ChallengeId, CommandId, EmailAddress, EmailId, PersonName, TenantId,
    account::{self, Command},
    email,
    secret::{Purpose, ServerKey, derived_id},
};

pub(crate) use self::pending::PendingRegistrations;
use self::pending::{Means, Pending};
use super::account::{by_email, with_min_answer_time, wrong_link};
use crate::{
    backend::{
        commands::{CommandRequest, Commands},
        views::{ViewDocument, Views},
    },
    clock::now,
    error::Error,
    identity::{
        Caller, limits::Limits, mail_quota::MailQuota, network::Network, passwords::Passwords,
    },
    security::{SecurityEvent, SecurityEvents},
};

/// In each hour of the clock, the owner of an account gets at most one warning that somebody tries
/// to register with its address.
const WARN_INTERVAL_MS: i64 = 60 * 60 * 1000;

/// Registers accounts.
#[derive(Clone, Debug)]
pub(crate) struct Registrations {
    pub(crate) commands: Commands,
    pub(crate) views: Views,
    pub(crate) pending: PendingRegistrations,
    pub(crate) mails: MailQuota,
    pub(crate) passwords: Passwords,
    pub(crate) limits: Limits,
    pub(crate) security: SecurityEvents,
    pub(crate) secret: ServerKey,
}

/// The data of a new account.
pub(crate) struct Registration {
    pub(crate) email: EmailAddress,
    pub(crate) firstname: PersonName,
    pub(crate) lastname: PersonName,
    pub(crate) password: String,
}

impl Registrations {
    /// Keeps a registration and mails a code and a link to its address. If the address has an
    /// account already, its owner gets another mail and the answer is the same. Returns the token
    /// that the browser keeps.
    ///
    /// # Errors
    /// `BadUserInput` if the password is not acceptable; `RateLimited` after too many registrations
    /// of the client, the address or its domain.
    pub(crate) async fn register(
        &self,
        caller: &Caller,
        id: CommandId,
        registration: Registration,
    ) -> Result<String, Error> {
        let Registration {
            email,
            firstname,
            lastname,
            password,
        } = registration;
        self.passwords.check_length("password", &password)?;
        self.limits.count_registration(caller)?;
        self.limits.count_address(caller, &email)?;
        let challenge = ChallengeId(id.0);
        with_min_answer_time(async {
            let admission = self.passwords.admit(&caller.origin).await?;
            let known = [email.as_str(), firstname.as_str(), lastname.as_str()];
            let known = known.map(str::to_owned).to_vec();
            let hashed = self.passwords.hash(&admission, "password", password, known);
            let password_hash = hashed.await?;
            drop(admission);
            // Not before: a registration that is refused for the load has no mail.
            // The totals first: what they refuse must not be stored.
            self.limits.count_registration_mail(&email)?;
            let sender = Network::of(&caller.origin).id(&self.secret);
            let counted = self.mails.count_registration(&email, sender, challenge.0);
            counted.await?;
            let pending = Pending::new(email, firstname, lastname, password_hash);
            self.pending.add(challenge, pending.clone()).await?;
            self.send_mail(caller, challenge, &pending).await
        })
        .await?;
        Ok(self.secret.registration_token(challenge))
    }

    /// Sends the mail of a registration again: the one of this browser, or the latest of the
    /// address. Nothing tells whether there is one.
    ///
    /// # Errors
    /// `RateLimited` after too many requests for the address.
    pub(crate) async fn send_again(
        &self,
        caller: &Caller,
        email: &EmailAddress,
    ) -> Result<(), Error> {
        self.limits.count_address(caller, email)?;
        with_min_answer_time(async {
            let Some((challenge, _)) = self.find(caller, email).await? else {
                return Ok(());
            };
            let sender = Network::of(&caller.origin).id(&self.secret);
            let counted = self.mails.count_again(email, sender, challenge.0);
            match counted.await {
                Ok(()) => {}
                // A wait would reveal that there is a registration.
                Err(Error::RateLimited { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
            match self.pending.mail_again(challenge).await? {
                Some(pending) => self.send_mail(caller, challenge, &pending).await,
                None => Ok(()),
            }
        })
        .await
    }

    /// Completes a registration by the code in its mail.
    ///
    /// # Errors
    /// `BadUserInput` if the request proves nothing, or the code or password is wrong or no longer
    /// valid; `RateLimited` after too many answers for the address.
    pub(crate) async fn complete_by_code(
        &self,
        caller: &Caller,
        email: &EmailAddress,
        code: &str,
        password: Option<String>,
    ) -> Result<(), Error> {
        if !self.is_from_browser(caller) && password.is_none() {
            return Err(proof_is_missing());
        }
        self.limits.count_address(caller, email)?;
        with_min_answer_time(async {
            let found = self.find(caller, email).await?;
            let password = password.map(|password| (password, Means::Code));
            let is_sender = self.is_sender(caller, found.as_ref(), password).await?;
            let Some((challenge, _)) = found.filter(|_| is_sender) else {
                self.security.record(SecurityEvent::CodeWrong, caller, None);
                return Err(wrong_code());
            };
            // Counted before it is compared, so that each of several simultaneous guesses counts.
            let pending = self.pending.count_guess(challenge, email).await?;
            let purpose = Purpose::Verification;
            if !self.secret.code_matches(purpose, challenge, code) {
                self.security.record(SecurityEvent::CodeWrong, caller, None);
                return Err(wrong_code());
            }
            let pending = pending.ok_or_else(wrong_code)?;
            self.pending.forgive_guess(challenge, email).await?;
            let completed = self.complete(caller, challenge, pending).await;
            completed.map_err(|error| error.if_rejected(wrong_code))
        })
        .await
    }

    /// Completes a registration by the link in its mail.
    ///
    /// # Errors
    /// `BadUserInput` if the link is wrong or no longer valid, the request proves nothing, or the
    /// password is wrong.
    pub(crate) async fn complete_by_link(
        &self,
        caller: &Caller,
        token: &str,
        password: Option<String>,
    ) -> Result<(), Error> {
        let opened = self.secret.open_link_token(Purpose::Verification, token);
        let (_, challenge) = opened.ok_or_else(wrong_link)?;
        let pending = self.pending.get(challenge).await?;
        let pending = pending.filter(|pending| pending.is_fresh(now()));
        let found = (challenge, pending.ok_or_else(wrong_link)?);
        if !self.is_browser_of(caller, challenge) && password.is_none() {
            return Err(proof_is_missing());
        }
        let password = password.map(|password| (password, Means::Link));
        if !self.is_sender(caller, Some(&found), password).await? {
            self.security.record(SecurityEvent::CodeWrong, caller, None);
            let message =
                "This is not the password of the registration, or it was wrong too often.";
            return Err(Error::input("password", message));
        }
        let (challenge, pending) = found;
        let completed = self.complete(caller, challenge, pending).await;
        completed.map_err(|error| error.if_rejected(wrong_link))
    }

    /// Finds the registration of this browser, if it is for this address, or the latest of the
    /// address.
    async fn find(
        &self,
        caller: &Caller,
        email: &EmailAddress,
    ) -> Result<Option<(ChallengeId, Pending)>, Error> {
        let token = caller.kept.registration.as_ref();
        let own = token.and_then(|token| self.secret.open_registration_token(token));
        let latest = self.mails.registrations(email).await?;
        for challenge in own.into_iter().chain(latest.into_iter().map(ChallengeId)) {
            let pending = self.pending.get(challenge).await?;
            if let Some(pending) = pending.filter(|pending| pending.email == *email) {
                return Ok(Some((challenge, pending)));
            }
        }
        Ok(None)
    }

    /// Whether the browser or the password proves that the caller has sent this registration. A
    /// password is hashed, even if there is no registration.
    async fn is_sender(
        &self,
        caller: &Caller,
        found: Option<&(ChallengeId, Pending)>,
        proof: Option<(String, Means)>,
    ) -> Result<bool, Error> {
        if let Some((challenge, _)) = found
            && self.is_browser_of(caller, *challenge)
        {
            return Ok(true);
        }
        let Some((password, means)) = proof else {
            return Ok(false);
        };
        let is_counted = match found {
            Some((challenge, _)) => self.pending.count_password(*challenge, means).await?,
            None => true,
        };
        let admission = self.passwords.admit(&caller.origin).await?;
        let hash = found.map(|(_, pending)| &pending.password_hash);
        let matches = self.passwords.matches(&admission, password, hash).await?;
        Ok(matches && is_counted)
    }

    fn is_from_browser(&self, caller: &Caller) -> bool {
        let token = caller.kept.registration.as_ref();
        token.is_some_and(|token| self.secret.open_registration_token(token).is_some())
    }

    fn is_browser_of(&self, caller: &Caller, challenge: ChallengeId) -> bool {
        let token = caller.kept.registration.as_ref();
        let own = token.and_then(|token| self.secret.open_registration_token(token));
        own == Some(challenge)
    }

    /// Registers the account. The registration stays in the bucket, so that a repeated answer gets
    /// the same outcome.
    async fn complete(
        &self,
        caller: &Caller,
        challenge: ChallengeId,
        pending: Pending,
    ) -> Result<(), Error> {
        let id = CommandId(self.secret.id(&[b"complete", challenge.0.bytes()]));
        // An earlier release has stored accounts whose address was never proved.
        let unproved = by_email(&self.views, &pending.email).await?;
        let unproved = unproved.filter(|account| !account.view.verified);
        let account = unproved.map_or(AccountId(challenge.0), |account| account.id);
        let complete = Command::CompleteRegistration {
            email: pending.email,
            firstname: pending.firstname,
            lastname: pending.lastname,
            password_hash: pending.password_hash,
        };
        let request = CommandRequest::new(TenantId::Platform, account, id, complete);
        let (sender, platform) = (caller.sender(), self.views.platform());
        let sent = self
            .commands
            .send::<account::View>(&sender, &platform, request);
        sent.await.map(|_revision| ())
    }

    /// Requests the mail of a registration: to an address without an account, one with code and
    /// link; else one that warns the owner. Both take as long.
    async fn send_mail(
        &self,
        caller: &Caller,
        challenge: ChallengeId,
        pending: &Pending,
    ) -> Result<(), Error> {
        let to = pending.email.clone();
        let account = by_email(&self.views, &to).await?;
        let account = account.filter(|account| account.view.verified);
        let (id, command) = if let Some(account) = account {
            let refused = SecurityEvent::RegistrationRefused;
            self.security.record(refused, caller, Some(account.id));
            warning(&account, to)
        } else {
            let mail = pending.mails.to_be_bytes();
            let id = derived_id(&[b"email", b"verification", challenge.0.bytes(), &mail]);
            let ask = email::Command::AskToVerify {
                to,
                account: AccountId(challenge.0),
                challenge,
                firstname: pending.firstname.clone(),
            };
            (EmailId(id), ask)
        };
        let (platform, command_id) = (TenantId::Platform, CommandId(id.0));
        let request = CommandRequest::<email::Area>::new(platform, id, command_id, command);
        let deadline = self.commands.deadline();
        let sender = caller.sender();
        let outcome = self.commands.decide(&sender, request, deadline).await?;
        let revision = outcome.revision();
        let revision = revision.map_err(|rejection| Error::Rejected(rejection.clone()));
        revision.map(|_revision| ())
    }
}

fn warning(account: &ViewDocument<account::View>, to: EmailAddress) -> (EmailId, email::Command) {
    let hour = now().0.div_euclid(WARN_INTERVAL_MS).to_be_bytes();
    let occasion = [
        b"email",
        b"already_registered".as_slice(),
        account.id.0.bytes(),
        &hour,
    ];
    let id = EmailId(derived_id(&occasion));
    (id, email::Command::WarnOfRegistration { to })
}

fn proof_is_missing() -> Error {
    let message = "Enter the password of the registration, or use the browser that has sent it.";
    Error::input("password", message)
}

fn wrong_code() -> Error {
    let message = "The code or the password is wrong, or the code is no longer valid. Use the link \
                   in the mail, or request a new mail.";
    Error::input("code", message)
}
