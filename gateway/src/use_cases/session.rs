//! Logging in and out, and the sessions of the caller.

mod beginning;
mod challenge;
mod device;
mod ending;
mod step_up;

use std::{future::ready, time::Duration};

use events_schema::{
    AccountId, CommandId, EmailAddress, EmailId, Name, Proof, ProofKind, SessionId, TenantId, Time,
    account, email,
    secret::{ServerKey, derived_id},
    session::{self, Command, epoch_of_impersonator},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

pub(crate) use self::challenge::Challenge;
use crate::{
    backend::{
        commands::{CommandRequest, Commands},
        filter::{Filter, Sort},
        views::{TenantViews, ViewDocument, Views},
    },
    clock::now,
    error::Error,
    identity::{
        Caller, Uses,
        admission::Admission,
        caller::new_command_id,
        cookie::SessionToken,
        find::vouches_still,
        impersonation::may_impersonate,
        limits::Limits,
        login_throttle::{Attempt, Guesser, LoginThrottle},
        mail_quota::MailQuota,
        network::Network,
        passwords::Passwords,
    },
    security::{SecurityEvent, SecurityEvents},
    use_cases::{account::by_email, joining::Joins, second_factor::SecondFactors},
};

/// Maximum sessions that are listed: more than anybody has devices.
const MAX_LISTED: usize = 100;
/// Maximum sessions that are read for that, since idle ones are not listed.
const MAX_READ: i64 = 200;
/// Sessions whose last use is looked up at once.
const LOOKUPS: usize = 16;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The only answer to a refused login. A separate answer for an address that is not verified would
/// reveal to a client that has just tried to register whether the address was free.
const LOGIN_REFUSED: Error = Error::Unauthenticated(
    "The e-mail address or the password is wrong, or the address is not verified yet.",
);

/// Starts, lists and revokes sessions.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    pub(crate) commands: Commands,
    pub(crate) views: Views,
    pub(crate) passwords: Passwords,
    pub(crate) logins: LoginThrottle,
    pub(crate) uses: Uses,
    pub(crate) limits: Limits,
    pub(crate) second_factors: SecondFactors,
    pub(crate) mails: MailQuota,
    pub(crate) joins: Joins,
    pub(crate) security: SecurityEvents,
    pub(crate) secret: ServerKey,
}

/// A valid session, and when it was last used.
pub(crate) struct InUse {
    pub(crate) session: ViewDocument<session::View>,
    pub(crate) last_used_at: Time,
}

/// How far a log-in has got.
pub(crate) enum LoggedIn {
    /// The person is logged in.
    Session(Box<ViewDocument<account::View>>, Started),
    /// The second factor is still to be proved.
    Challenge(Challenge),
}

/// A session that was just started.
pub(crate) struct Started {
    /// The secret that only the client keeps.
    pub(crate) token: SessionToken,
    /// Proves at the next login that somebody has logged in on this device. The word of a
    /// connection alone does not.
    pub(crate) device: Option<String>,
    pub(crate) session: ViewDocument<session::View>,
}

impl Sessions {
    /// Logs in by address and password. Each login starts a new session, since the token is random
    /// and shown once. Also returns whether the password is compromised.
    ///
    /// # Errors
    /// `Unauthenticated` if the login is refused; `RateLimited` after too many failures.
    pub(crate) async fn log_in(
        &self,
        caller: &Caller,
        email: &EmailAddress,
        password: String,
    ) -> Result<(LoggedIn, bool), Error> {
        let account = by_email(&self.views, email).await?;
        let device = account
            .as_ref()
            .and_then(|account| self.device(caller, account));
        if device.is_none() {
            self.limits.count_address(caller, email)?;
        }
        let guesser = device.map_or_else(
            || Guesser::Stranger(Network::of(&caller.origin)),
            Guesser::Device,
        );
        // Before the attempt is counted: one that is refused here was no guess.
        let admission = self.passwords.admit(&caller.origin).await?;
        let id = account.as_ref().map(|account| account.id);
        let attempt = self
            .logins
            .begin(email, guesser)
            .await
            .inspect_err(|error| {
                if matches!(error, Error::RateLimited { .. }) {
                    let limited = SecurityEvent::LoginLimited;
                    self.security.record(limited, caller, id);
                }
            })?;
        let proved = password.clone();
        let account = self.check_password(caller, &admission, attempt, account, password);
        let account = account.await?;
        let hash = account.view.password_hash.as_ref();
        if hash.is_some_and(Passwords::is_outdated) {
            self.renew_hash(caller, &admission, &account, proved.clone())
                .await;
        }
        let is_compromised = self.passwords.is_compromised(&admission, proved).await;
        drop(admission);
        let proof = account.view.proof(ProofKind::Password, now());
        let logged_in = self.proceed(caller, account, proof, None).await?;
        Ok((logged_in, is_compromised))
    }

    /// Checks a login. An unknown address costs the same work and gets the same answer as a wrong
    /// password.
    async fn check_password(
        &self,
        caller: &Caller,
        admission: &Admission,
        attempt: Attempt,
        account: Option<ViewDocument<account::View>>,
        password: String,
    ) -> Result<ViewDocument<account::View>, Error> {
        let id = account.as_ref().map(|account| account.id);
        let hash = account
            .as_ref()
            .and_then(|account| account.view.password_hash.as_ref());
        let matches = self.passwords.matches(admission, password, hash).await?;
        if let Some(account) = account.as_ref().filter(|_| !matches && attempt.warns) {
            self.warn_of_failed_logins(caller, account);
        }
        let is_accepted = |view: &account::View| matches && view.verified && !view.is_disabled;
        let account = account.filter(|account| is_accepted(&account.view));
        let Some(account) = account else {
            let failed = SecurityEvent::LoginFailed;
            self.security.record(failed, caller, id);
            return Err(LOGIN_REFUSED);
        };
        self.logins.succeeded(attempt).await;
        Ok(account)
    }

    /// Replaces a hash with parameters of an earlier release, now that the password is known. An
    /// error is only logged, since the login stands.
    async fn renew_hash(
        &self,
        caller: &Caller,
        admission: &Admission,
        account: &ViewDocument<account::View>,
        password: String,
    ) {
        let Some(old_hash) = account.view.password_hash.clone() else {
            return;
        };
        let renewed = async {
            let renew = account::Command::RenewPasswordHash {
                old_hash,
                password_hash: self.passwords.rehash(admission, password).await?,
            };
            let id = new_command_id()?;
            let platform = TenantId::Platform;
            let request = CommandRequest::<account::Area>::new(platform, account.id, id, renew);
            self.commands.send_in_background(caller.sender(), request);
            Ok::<_, Error>(())
        };
        if let Err(error) = renewed.await {
            tracing::warn!(?error, "the hash of a password was not renewed");
        }
    }

    /// Tells the owner of an account by mail, at most once a day. The answer does not wait for it:
    /// that would reveal that there is an account.
    fn warn_of_failed_logins(&self, caller: &Caller, account: &ViewDocument<account::View>) {
        let day = now().0.div_euclid(DAY_MS).to_be_bytes();
        let id = derived_id(&[b"email", b"logins_failed", account.id.0.bytes(), &day]);
        let warn = email::Command::WarnOfFailedLogins {
            to: account.view.email.clone(),
        };
        let request = CommandRequest::<email::Area>::new(
            TenantId::Platform,
            EmailId(id),
            CommandId(id),
            warn,
        );
        self.commands.send_in_background(caller.sender(), request);
    }

    /// Starts a session for a client that has proved that it owns the account.
    ///
    /// # Errors
    /// `Rejected` if the domain refuses the command; `Pending` if its outcome is not known in time.
    pub(crate) async fn start(
        &self,
        caller: &Caller,
        account: &ViewDocument<account::View>,
        proofs: Vec<Proof>,
    ) -> Result<Started, Error> {
        let token = SessionToken::mint()?;
        let platform = self.views.platform();
        let is_of_account = account.view.scope_of(&proofs).is_none();
        let start = Command::Start {
            account: account.id,
            epoch: account.view.epoch,
            device: caller.origin.device.clone(),
            proofs: Some(proofs),
            name: previous_name(&platform, caller, account.id).await?,
        };
        let request = request(token.session_id(), new_command_id()?, start);
        let sender = caller.sender();
        let session = self.commands.send_and_get(&sender, &platform, request);
        let session = session.await?;
        let device = is_of_account.then(|| self.device_token(caller, account));
        Ok(Started {
            token,
            device: device.transpose()?,
            session,
        })
    }

    /// Names one of the caller's sessions, and returns it.
    ///
    /// # Errors
    /// `Rejected` if the session does not exist, has ended, or belongs to another account.
    pub(crate) async fn rename(
        &self,
        caller: &Caller,
        command: CommandId,
        id: SessionId,
        name: Name,
    ) -> Result<InUse, Error> {
        let account = caller.person()?.account_id();
        let request = request(id, command, Command::Rename { account, name });
        let (sender, platform) = (caller.sender(), self.views.platform());
        let renamed = self
            .commands
            .send_and_get::<session::View>(&sender, &platform, request);
        let session = renamed.await?;
        let last_used_at = self.uses.of_session(&session).await?;
        Ok(InUse {
            session,
            last_used_at,
        })
    }

    /// Lists the caller's valid sessions, and those in which somebody acts as them, the latest
    /// first, at most 100.
    ///
    /// # Errors
    /// If the views cannot be read.
    pub(crate) async fn list(&self, caller: &Caller) -> Result<Vec<InUse>, Error> {
        let identity = caller.person()?;
        let (account, now) = (&identity.account.view, now());
        let epochs = [account.epoch, epoch_of_impersonator(account.epoch)];
        let filter = Filter::default()
            .is("account", identity.account_id())?
            .one_of("epoch", &epochs)?
            .greater_than("started_at", now.0 - millis(session::LIFETIME));
        let sort = Sort {
            field: "started_at",
            descending: true,
        };
        let platform = self.views.platform();
        let found = platform.list::<session::View>(filter, sort, false, MAX_READ);
        let is_valid =
            |session: &ViewDocument<session::View>| session.view.is_valid(now, account.epoch);
        stream::iter(found.await?.into_iter().filter(is_valid))
            .map(|session| self.in_use(session, account, now))
            .buffered(LOOKUPS)
            .try_filter_map(|found| ready(Ok(found)))
            .take(MAX_LISTED)
            .try_collect()
            .await
    }

    /// Returns a session of an account with its last use; `None` if it is idle, nothing proves any
    /// more who uses it, or somebody may no longer act as the person in it.
    async fn in_use(
        &self,
        session: ViewDocument<session::View>,
        account: &account::View,
        now: Time,
    ) -> Result<Option<InUse>, Error> {
        let is_live = vouches_still(&self.views, &session.view).await?;
        if account.proved_in(&session.view, is_live).is_none() {
            return Ok(None);
        }
        if let Some(by) = &session.view.impersonator
            && !may_impersonate(&self.views, session.id, by).await?
        {
            return Ok(None);
        }
        let last_used_at = self.uses.of_session(&session).await?;
        let is_idle = now.since(last_used_at) >= session::IDLE;
        Ok((!is_idle).then_some(InUse {
            session,
            last_used_at,
        }))
    }
}

/// Returns the name of the session that the request came with, if it is one of this account. The
/// session that replaces it keeps the name.
async fn previous_name(
    platform: &TenantViews,
    caller: &Caller,
    account: AccountId,
) -> Result<Option<Name>, Error> {
    let identity = caller.identity.as_ref();
    let own = identity.filter(|identity| identity.account_id() == account);
    let Some(session) = own.and_then(|identity| identity.session()) else {
        return Ok(None);
    };
    let previous = platform.get::<session::View>(session).await?;
    Ok(previous.and_then(|previous| previous.view.name))
}

fn request(id: SessionId, command: CommandId, payload: Command) -> CommandRequest<session::Area> {
    CommandRequest::new(TenantId::Platform, id, command, payload)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
