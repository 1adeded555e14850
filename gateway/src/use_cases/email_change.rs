//! Changing the address of an account.
//!
//! Both owners are asked: that of the new address by a code, which is valid once in the browser
//! that has asked, and that of the present one by a link. Whether the new address has an account,
//! only its owner learns, by mail.

use std::time::Duration;

use event_store::random_id;
use events_schema::{
    AccountId, ChallengeId, CommandId, EmailAddress,
    account::{self, Command},
    email_change,
    proof::{self, TWO_FACTORS, aal},
    secret::Purpose,
};

use super::{
    account::{Accounts, by_email, request, with_min_answer_time, wrong_link},
    login_code::{LoginCodes, SentCodes},
};
use crate::{
    clock::now,
    config::AccountOptions,
    error::Error,
    identity::{
        Caller, caller::new_command_id, limits::Limits, mail_quota::MailQuota, network::Network,
    },
    security::{SecurityEvent, SecurityEvents},
};

/// Changes the addresses of accounts.
#[derive(Clone, Debug)]
pub(crate) struct EmailChanges {
    accounts: Accounts,
    sent: SentCodes,
    mails: MailQuota,
    limits: Limits,
    /// How long the present address must be silent, if the session has proved two factors, and how
    /// long the account must have had the second one before.
    silence: Duration,
}

/// How far a change has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The account has the new address.
    Changed,
    /// The owner of the new address is still to answer.
    AwaitsNewAddress,
    /// The owner of the present address is still to answer.
    AwaitsPresentAddress,
}

impl EmailChanges {
    /// Changes addresses as the operator has chosen, with what codes to log in need, too.
    pub(crate) fn new(accounts: &Accounts, codes: &LoginCodes, options: &AccountOptions) -> Self {
        Self {
            accounts: accounts.clone(),
            sent: codes.sent.clone(),
            mails: codes.mails.clone(),
            limits: codes.limits.clone(),
            silence: Duration::from_secs(options.email_change_silence_s),
        }
    }

    /// Asks the owners of both addresses. Returns the token that the browser keeps.
    ///
    /// # Errors
    /// `BadUserInput` if it is the present address; `RateLimited` after too many mails to the
    /// address or requests of the account.
    pub(crate) async fn request(&self, caller: &Caller, to: EmailAddress) -> Result<String, Error> {
        let identity = caller.person()?;
        let account = identity.account_id();
        self.limits.count_address(caller, &to)?;
        // Random: a repeated command must not bring back a code that is no longer valid.
        let challenge = ChallengeId(random_id()?);
        // An issuer that a tenant has chosen vouches in that tenant, and not for the account.
        let own = proof::own(&identity.proofs);
        let view = &identity.account.view;
        let established = view.established(own, self.silence, now());
        let has_two_factors = aal(&established) >= TWO_FACTORS;
        with_min_answer_time(async {
            self.mails.count_email_changes(account).await?;
            let sender = Network::of(&caller.origin).id(&self.accounts.secret);
            let counted = self.mails.count_email_change(&to, sender, challenge.0);
            counted.await?;
            self.sent.add(challenge).await?;
            let holder = by_email(&self.accounts.views, &to).await?;
            let holder = holder.filter(|holder| holder.view.verified && holder.id != account);
            let request = Command::RequestEmailChange {
                to,
                is_held: holder.is_some(),
                silent_until: has_two_factors.then(|| now() + self.silence),
            };
            let id = CommandId(challenge.0);
            self.accounts.send(caller, account, id, request).await
        })
        .await?;
        let requested = SecurityEvent::EmailChangeRequested;
        self.security().record(requested, caller, Some(account));
        Ok(self.accounts.secret.email_change_token(challenge))
    }

    /// Agrees to a change: by the code for the new address, in the browser and session that have
    /// asked for it, or by the link for the present one.
    ///
    /// # Errors
    /// `BadUserInput` if the code or link is wrong or no longer valid; `Rejected` if another
    /// account has got the address.
    pub(crate) async fn confirm(
        &self,
        caller: &Caller,
        id: CommandId,
        token: &str,
    ) -> Result<Progress, Error> {
        let link = self
            .accounts
            .secret
            .open_link_token(Purpose::EmailChange, token);
        let (account, challenge, agree) = match link {
            Some((account, challenge)) => {
                let confirm = Command::ConfirmEmailChange { challenge };
                (account, challenge, confirm)
            }
            None => {
                let (account, challenge) = self.prove(caller, token).await?;
                (account, challenge, Command::ProveNewEmail { challenge })
            }
        };
        let (sender, platform) = (caller.sender(), self.accounts.views.platform());
        let request = request(account, id, agree);
        let agreed = self
            .accounts
            .commands
            .send_and_get(&sender, &platform, request);
        let agreed = agreed
            .await
            .map_err(|error| error.if_missing(wrong_token))?;
        let progress = progress_of(&agreed.view, challenge).ok_or_else(wrong_token)?;
        if progress == Progress::Changed {
            let changed = SecurityEvent::EmailChanged;
            self.security().record(changed, caller, Some(agreed.id));
        }
        Ok(progress)
    }

    /// Refuses a change that waits, or restores the address before one that was made, by the link
    /// in the mail to the present or former address.
    ///
    /// # Errors
    /// `BadUserInput` if the link is wrong or no longer valid; `Rejected` if another account has
    /// the former address by now.
    pub(crate) async fn undo(
        &self,
        caller: &Caller,
        id: CommandId,
        token: &str,
    ) -> Result<(), Error> {
        let opened = |purpose| self.accounts.secret.open_link_token(purpose, token);
        let (account, undo, event) = if let Some((account, challenge)) = opened(Purpose::EmailUndo)
        {
            let undo = Command::UndoEmailChange { challenge };
            (account, undo, SecurityEvent::EmailRestored)
        } else {
            let (account, challenge) = opened(Purpose::EmailChange).ok_or_else(wrong_link)?;
            let refuse = Command::RefuseEmailChange { challenge };
            (account, refuse, SecurityEvent::EmailChangeRefused)
        };
        let undone = self.accounts.send(caller, account, id, undo).await;
        undone.map_err(|error| error.if_missing(wrong_link))?;
        self.security().record(event, caller, Some(account));
        Ok(())
    }

    /// Checks the code that was mailed to the new address, and uses it up.
    async fn prove(&self, caller: &Caller, code: &str) -> Result<(AccountId, ChallengeId), Error> {
        let (account, challenge, to) = self.asked(caller).ok_or_else(wrong_token)?;
        let is_right = self
            .accounts
            .secret
            .code_matches(Purpose::EmailChange, challenge, code);
        if !self.sent.try_once(challenge, is_right).await? {
            self.security()
                .record(SecurityEvent::CodeWrong, caller, None);
            return Err(wrong_token());
        }
        self.close_unproved(caller, &to).await?;
        Ok((account, challenge))
    }

    /// Returns the change that this browser has asked for, if it is the one that the account of its
    /// session waits for.
    fn asked(&self, caller: &Caller) -> Option<(AccountId, ChallengeId, EmailAddress)> {
        let identity = caller.person().ok()?;
        let token = caller.kept.email_change.as_ref()?;
        let challenge = self.accounts.secret.open_email_change_token(token)?;
        let waiting = identity.account.view.email_change.as_ref();
        let waiting = waiting.filter(|waiting| waiting.challenge == challenge)?;
        Some((identity.account_id(), challenge, waiting.to.clone()))
    }

    /// Deletes an account of an earlier release whose owner has never proved this address. Somebody
    /// else just has.
    async fn close_unproved(&self, caller: &Caller, email: &EmailAddress) -> Result<(), Error> {
        let holder = by_email(&self.accounts.views, email).await?;
        let Some(holder) = holder.filter(|holder| !holder.view.verified) else {
            return Ok(());
        };
        let id = new_command_id()?;
        self.accounts
            .send(caller, holder.id, id, Command::CloseUnproved)
            .await
    }

    const fn security(&self) -> &SecurityEvents {
        &self.accounts.security
    }
}

/// Returns how far this change has got; `None` if it was refused, replaced or undone.
fn progress_of(view: &account::View, challenge: ChallengeId) -> Option<Progress> {
    let made = view.email_change_made;
    if made.is_some_and(|made| made.challenge == challenge) {
        return Some(Progress::Changed);
    }
    let waiting = view.email_change.as_ref();
    let waiting = waiting.filter(|waiting| waiting.challenge == challenge);
    Some(match waiting?.status {
        email_change::Status::Proved => Progress::AwaitsPresentAddress,
        email_change::Status::Requested | email_change::Status::Confirmed => {
            Progress::AwaitsNewAddress
        }
    })
}

fn wrong_token() -> Error {
    let message = "The code or link is wrong or no longer valid, or another browser has asked for \
                   the code. Request a new mail.";
    Error::input("token", message)
}
