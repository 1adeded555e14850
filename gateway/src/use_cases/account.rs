//! Passwords and the profile.
//!
//! Neither an answer nor its timing reveals whether an address has an account. Only its owner
//! learns, by mail.

use std::time::Duration;

use anyhow::anyhow;
use events_schema::{
    AccountId, CommandId, EmailAddress, PasswordHash, PersonName, ProofKind, TenantId,
    account::{self, Command},
    proof,
    secret::{Purpose, ServerKey},
};

use crate::{
    backend::{
        commands::{CommandRequest, Commands},
        filter::Filter,
        views::{ViewDocument, Views},
    },
    clock::now,
    error::Error,
    identity::{Caller, login_throttle::LoginThrottle, network::Network, passwords::Passwords},
    security::{SecurityEvent, SecurityEvents},
    use_cases::{
        list::{FilterBy, List, Listed, OrderBy, Page, Selection, Wanted, read},
        session::{Sessions, Started},
        tenant::first_tenants,
    },
};

/// Minimum time of answers that must not reveal whether an address has an account. It is longer
/// than hashing a password and deciding a command take together, unless the machine is overloaded.
const MIN_ANSWER_TIME: Duration = Duration::from_millis(300);

/// Tenants of a person whose names are no part of a password. The estimate of a password takes
/// longer with each word.
const MAX_KNOWN_TENANTS: i64 = 20;

const WRONG_PASSWORD: &str = "The old password is wrong.";

/// All accounts.
pub(crate) const ACCOUNTS: List<account::View> = List::new(&[EMAIL], &[BY_CREATION]);
const EMAIL: FilterBy<account::View> = FilterBy::field("email");
const BY_CREATION: OrderBy<account::View> = OrderBy::field("created_at");

/// Registers accounts and changes them.
#[derive(Clone, Debug)]
pub(crate) struct Accounts {
    pub(crate) commands: Commands,
    pub(crate) views: Views,
    pub(crate) passwords: Passwords,
    pub(crate) logins: LoginThrottle,
    pub(crate) sessions: Sessions,
    pub(crate) security: SecurityEvents,
    pub(crate) secret: ServerKey,
}

impl Accounts {
    /// Sends a mail with a link to set a new password, if the address has an account.
    ///
    /// # Errors
    /// If there is no connection to NATS.
    pub(crate) async fn request_password_reset(
        &self,
        caller: &Caller,
        id: CommandId,
        email: &EmailAddress,
    ) -> Result<(), Error> {
        if !self.commands.is_connected() {
            return Err(Error::Unavailable(anyhow!("not connected to NATS")));
        }
        with_min_answer_time(async {
            let account = by_email(&self.views, email).await?;
            let id_if_known = account.as_ref().map(|account| account.id);
            let requested = SecurityEvent::ResetRequested;
            self.security.record(requested, caller, id_if_known);
            if let Some(account) = account {
                // The outcome is not awaited: a refusal or a delay would reveal that there is an
                // account.
                let request = request(account.id, id, Command::RequestPasswordReset);
                self.commands.send_in_background(caller.sender(), request);
            }
            Ok(())
        })
        .await
    }

    /// Sets a new password by the link in the mail, revokes all sessions and starts a new one. So
    /// an owner needs no login after a guesser has locked the address. `None` if the account has a
    /// second factor, which the link does not prove: its owner must log in.
    ///
    /// # Errors
    /// `BadUserInput` if the link is wrong or no longer valid, or the password is not acceptable;
    /// `Unauthenticated` if the password was changed but no session could be started.
    pub(crate) async fn reset_password(
        &self,
        caller: &Caller,
        id: CommandId,
        token: &str,
        password: String,
    ) -> Result<Option<Started>, Error> {
        let opened = self.secret.open_link_token(Purpose::PasswordReset, token);
        let (account, challenge) = opened.ok_or_else(wrong_link)?;
        self.passwords.check_length("password", &password)?;
        let known = self.known_about(account).await?;
        let admission = self.passwords.admit(&caller.origin).await?;
        let hashed = self.passwords.hash(&admission, "password", password, known);
        let password_hash = hashed.await?;
        drop(admission);
        let reset = Command::ResetPassword {
            challenge,
            password_hash: password_hash.clone(),
        };
        let sent = self.send(caller, account, id, reset).await;
        sent.map_err(|error| error.if_rejected(wrong_link))?;
        let reset = SecurityEvent::PasswordReset;
        self.security.record(reset, caller, Some(account));
        let owner = self.owner_of(caller, account, &password_hash).await;
        let owner = owner.map_err(after_the_change)?;
        if owner.view.second_factor.is_some() {
            return Ok(None);
        }
        let proofs = vec![owner.view.proof(ProofKind::EmailCode, now())];
        let started = self.sessions.start(caller, &owner, proofs).await;
        started.map(Some).map_err(after_the_change)
    }

    /// Sets a new password, revokes all sessions and starts a new one.
    ///
    /// # Errors
    /// `BadUserInput` if the old password is wrong or the new one is not acceptable; `RateLimited`
    /// after too many failures; `Unauthenticated` if the password was changed but no session could
    /// be started.
    pub(crate) async fn change_password(
        &self,
        caller: &Caller,
        id: CommandId,
        old: String,
        new: String,
    ) -> Result<Started, Error> {
        let identity = caller.person()?;
        let ViewDocument {
            id: account, view, ..
        } = &identity.account;
        self.passwords.check_length("newPassword", &new)?;
        let proved = self
            .sessions
            .prove_password(caller, "oldPassword", WRONG_PASSWORD, old);
        proved.await?;
        let known = self.known_about(*account).await?;
        let admission = self.passwords.admit(&caller.origin).await?;
        let hashed = self.passwords.hash(&admission, "newPassword", new, known);
        let password_hash = hashed.await?;
        drop(admission);
        // The password was right, so there is one.
        let old_hash = view.password_hash.clone();
        let change = Command::ChangePassword {
            old_hash: old_hash.ok_or_else(wrong_password)?,
            password_hash: password_hash.clone(),
        };
        self.send(caller, *account, id, change).await?;
        let changed = SecurityEvent::PasswordChanged;
        self.security.record(changed, caller, Some(*account));
        let owner = self.owner_of(caller, *account, &password_hash).await;
        let owner = owner.map_err(after_the_change)?;
        let proof = owner.view.proof(ProofKind::Password, now());
        let proofs = proof::with(identity.proofs.clone(), proof);
        let started = self.sessions.start(caller, &owner, proofs).await;
        started.map_err(after_the_change)
    }

    /// Sets the password of an account that has none. No session ends.
    ///
    /// # Errors
    /// `BadUserInput` if the password is not acceptable; `Rejected` if there is one; `RateLimited`
    /// after too many new credentials within a day.
    pub(crate) async fn set_password(
        &self,
        caller: &Caller,
        id: CommandId,
        password: String,
    ) -> Result<(), Error> {
        let account = caller.person()?.account_id();
        self.passwords.check_length("password", &password)?;
        let known = self.known_about(account).await?;
        let admission = self.passwords.admit(&caller.origin).await?;
        let hashed = self.passwords.hash(&admission, "password", password, known);
        let password_hash = hashed.await?;
        drop(admission);
        self.sessions.mails.count_new_credential(account).await?;
        let set = Command::SetPassword { password_hash };
        self.send(caller, account, id, set).await?;
        let set = SecurityEvent::PasswordSet;
        self.security.record(set, caller, Some(account));
        Ok(())
    }

    /// Removes the password. If nothing else has proved the session, it ends.
    ///
    /// # Errors
    /// `Rejected` if nothing else would be left to log in by.
    pub(crate) async fn remove_password(
        &self,
        caller: &Caller,
        id: CommandId,
    ) -> Result<(), Error> {
        let account = caller.person()?.account_id();
        let remove = Command::RemovePassword;
        self.send(caller, account, id, remove).await?;
        let removed = SecurityEvent::PasswordRemoved;
        self.security.record(removed, caller, Some(account));
        Ok(())
    }

    /// Returns what others may know about the owner of an account: names, address and tenants.
    async fn known_about(&self, account: AccountId) -> Result<Vec<String>, Error> {
        let found = self.views.platform().get::<account::View>(account).await?;
        let Some(ViewDocument { view, .. }) = found else {
            return Ok(Vec::new());
        };
        let tenants = first_tenants(&self.views, account, MAX_KNOWN_TENANTS).await?;
        let tenants = tenants.iter().flat_map(|found| {
            let tenant = &found.view;
            [tenant.name.as_str(), tenant.slug.as_str()]
        });
        let names = [&view.firstname, &view.lastname].map(PersonName::as_str);
        let known = [view.email.as_str()].into_iter().chain(names);
        Ok(known.chain(tenants).map(str::to_owned).collect())
    }

    /// Returns the account whose password was just set, and clears its failed logins. If it has
    /// another password by now, a later client has set it, perhaps to keep this one out.
    async fn owner_of(
        &self,
        caller: &Caller,
        account: AccountId,
        password: &PasswordHash,
    ) -> Result<ViewDocument<account::View>, Error> {
        let account = self.views.platform().get::<account::View>(account).await?;
        let account = account.ok_or(Error::NotFound)?;
        if account.view.password_hash.as_ref() != Some(password) {
            return Err(Error::not_logged_in());
        }
        let network = Network::of(&caller.origin);
        self.logins.clear(&account.view.email, network).await;
        Ok(account)
    }

    /// Changes those names in the caller's profile that are given.
    ///
    /// # Errors
    /// `Rejected` if the domain refuses the command; `Pending` if its outcome is not known in time.
    pub(crate) async fn update_profile(
        &self,
        caller: &Caller,
        id: CommandId,
        firstname: Option<PersonName>,
        lastname: Option<PersonName>,
    ) -> Result<ViewDocument<account::View>, Error> {
        let account = caller.person()?.account_id();
        let update = Command::UpdateProfile {
            firstname,
            lastname,
        };
        let (sender, platform) = (caller.sender(), self.views.platform());
        let request = request(account, id, update);
        self.commands
            .send_and_get(&sender, &platform, request)
            .await
    }

    /// Disables an account, enables it again, ends its sessions, or removes its second factor or
    /// its passkeys.
    ///
    /// # Errors
    /// `Rejected` if there is no such account; `Forbidden` if it is the caller's own.
    pub(crate) async fn administer(
        &self,
        caller: &Caller,
        id: CommandId,
        account: AccountId,
        command: Command,
    ) -> Result<ViewDocument<account::View>, Error> {
        if caller.person()?.account_id() == account {
            return Err(Error::Forbidden);
        }
        let (sender, platform) = (caller.sender(), self.views.platform());
        let removed = removed_by(&command);
        let request = request(account, id, command);
        let sent = self.commands.send_and_get(&sender, &platform, request);
        let changed = sent.await?;
        if let Some(removed) = removed {
            self.security.record(removed, caller, Some(account));
        }
        Ok(changed)
    }

    /// Lists all accounts, the latest first, or those with one address.
    ///
    /// # Errors
    /// `BadUserInput` if there is no such page.
    pub(crate) async fn list(
        &self,
        email: Option<EmailAddress>,
        page: &Page,
        wanted: Wanted,
    ) -> Result<Listed<account::View>, Error> {
        let selection = Selection::of(&ACCOUNTS).is(&EMAIL, email)?;
        let selection = selection.sorted_by(&BY_CREATION, true)?;
        read(&self.views.platform(), selection, page, wanted).await
    }

    /// Returns a part of an account if the account is in memory.
    pub(crate) fn kept<T>(
        &self,
        id: AccountId,
        part: impl FnOnce(&account::View) -> T,
    ) -> Option<T> {
        self.views.platform().kept(id, part)
    }

    /// Reads those of these accounts that exist, in any order.
    ///
    /// # Errors
    /// If the views cannot be read.
    pub(crate) async fn get_all(
        &self,
        ids: &[AccountId],
    ) -> Result<Vec<ViewDocument<account::View>>, Error> {
        self.views.platform().get_all(ids.iter().copied()).await
    }

    /// Sends a command to an account.
    ///
    /// # Errors
    /// `Rejected` if the domain refuses the command; `Pending` if its outcome is not known in time.
    pub(super) async fn send(
        &self,
        caller: &Caller,
        account: AccountId,
        id: CommandId,
        payload: Command,
    ) -> Result<(), Error> {
        let (sender, platform) = (caller.sender(), self.views.platform());
        let request = request(account, id, payload);
        let sent = self
            .commands
            .send::<account::View>(&sender, &platform, request);
        sent.await.map(|_revision| ())
    }
}

/// Returns what is removed by a command of an administrator.
const fn removed_by(command: &Command) -> Option<SecurityEvent> {
    if matches!(command, Command::RemoveTotp) {
        Some(SecurityEvent::SecondFactorRemoved)
    } else if matches!(command, Command::RemovePasskeys) {
        Some(SecurityEvent::PasskeyRemoved)
    } else {
        None
    }
}

pub(super) fn request(
    account: AccountId,
    id: CommandId,
    payload: Command,
) -> CommandRequest<account::Area> {
    CommandRequest::new(TenantId::Platform, account, id, payload)
}

/// Finds the account with this address.
///
/// # Errors
/// If the views cannot be read.
pub(crate) async fn by_email(
    views: &Views,
    email: &EmailAddress,
) -> Result<Option<ViewDocument<account::View>>, Error> {
    let filter = Filter::default().is("email", email)?;
    views.platform().find(filter).await
}

fn wrong_password() -> Error {
    Error::input("oldPassword", WRONG_PASSWORD)
}

/// The answer to a link that leads nowhere.
pub(crate) fn wrong_link() -> Error {
    Error::input(
        "token",
        "The link is wrong or no longer valid. Request a new mail.",
    )
}

/// Returns the answer, but not before [`MIN_ANSWER_TIME`] has passed.
pub(crate) async fn with_min_answer_time<T>(answer: impl Future<Output = T>) -> T {
    tokio::join!(answer, tokio::time::sleep(MIN_ANSWER_TIME)).0
}

/// Turns `Unavailable` into a request to log in: the password is changed, and a repeated change
/// would be refused.
fn after_the_change(error: Error) -> Error {
    let Error::Unavailable(cause) = error else {
        return error;
    };
    let cause = format!("{cause:#}");
    tracing::warn!(
        cause,
        "no session was started after a change of the password"
    );
    Error::Unauthenticated("The password was changed. Log in with the new one.")
}
