//! How many mails others can send to an address: registrations with it, and invitations. Counted in
//! buckets that all gateways share, for a day.

use std::time::Duration;

use async_nats::jetstream;
use events_schema::{
    AccountId, EmailAddress, Id, TenantKey, Time,
    secret::ServerKey,
    subject::{LOGINS_BUCKET, REGISTRATIONS_BUCKET},
};
use serde::{Deserialize, Serialize};

use crate::{backend::bucket::Bucket, clock::now, error::Error, identity::limits::LimitOptions};

/// The wait before the first mail that has to wait. It doubles with each further mail of the same
/// sender within a day.
const FIRST_WAIT: Duration = Duration::from_secs(60);
/// Senders that can each send as many mails to an address as one may.
const SENDERS: usize = 4;
/// Mails of one kind within a day about the log-ins, the codes, the credentials or the address of
/// an account.
const OF_ACCOUNT: u32 = 20;
/// Changes within a day of the connections of a tenant that its owners get a mail about: more than
/// it takes to set up all of them, with some domains each.
const OF_CONNECTIONS: u32 = 50;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A kind of mail that others send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MailKind {
    /// Asks to verify an address; the sender is the network of a client.
    Registration,
    /// Invites to a tenant; the sender is the account of the person who invites.
    Invitation,
    /// Has a code to log in with; the sender is the network of a client.
    LoginCode,
    /// Has a code that proves a new address; the sender is the network of a client.
    EmailChange,
}

impl MailKind {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Registration => b"registration",
            Self::Invitation => b"invitation",
            Self::LoginCode => b"login-code",
            Self::EmailChange => b"email-change",
        }
    }
}

/// How many mails of one kind an address gets within a day.
#[derive(Clone, Copy, Debug)]
struct Limit {
    of_all: usize,
    /// Those of one sender.
    of_sender: usize,
    /// Those of one sender that need not wait.
    free: usize,
}

impl Limit {
    /// A registration is repeated by its client, which waits for the mail before.
    const REGISTRATIONS: Self = Self {
        of_all: 20,
        of_sender: 5,
        free: 1,
    };
    /// All clients have the address of the proxy that hides them. Nobody waits for another then.
    const REGISTRATIONS_OF_HIDDEN: Self = Self {
        of_sender: Self::REGISTRATIONS.of_all,
        free: Self::REGISTRATIONS.of_all,
        ..Self::REGISTRATIONS
    };

    /// An invitation may be withdrawn and sent again with another role.
    const fn of_invitations(of_sender: usize) -> Self {
        Self {
            of_all: of_sender.saturating_mul(SENDERS),
            of_sender,
            free: of_sender.saturating_sub(2),
        }
    }
}

/// Counts mails.
#[derive(Clone, Debug)]
pub(crate) struct MailQuota {
    registrations: Bucket<Mails>,
    /// Old records give way to new ones here, so that nobody can fill the bucket.
    invitations_to: Bucket<Mails>,
    days: Bucket<DayCount>,
    /// What clients that have not logged in send.
    registrations_per_address: Limit,
    invitations_per_day: u32,
    invitations: Limit,
    secret: ServerKey,
}

/// The mails of one kind to an address within a day, the latest last.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Mails {
    sent: Vec<Mail>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Mail {
    at: Time,
    /// The registration or the command that the mail is about.
    about: Id,
    sender: Id,
}

/// What was sent within a day of the clock.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct DayCount {
    day: i64,
    count: u32,
}

impl Mails {
    /// Adds a mail, unless its sender or all senders have sent too many.
    fn add(&mut self, limit: Limit, mail: Mail) -> Result<(), Error> {
        let now = mail.at;
        self.sent.retain(|sent| now.since(sent.at) < DAY);
        let retry_after = self.wait(limit, mail.sender, now);
        if !retry_after.is_zero() {
            return Err(Error::RateLimited { retry_after });
        }
        self.sent.push(mail);
        Ok(())
    }

    fn wait(&self, limit: Limit, sender: Id, now: Time) -> Duration {
        let mut own = self.sent.iter().filter(|sent| sent.sender == sender);
        let until_older = |oldest: Option<&Mail>| {
            let oldest = oldest.map_or(now, |oldest| oldest.at);
            DAY.saturating_sub(now.since(oldest))
        };
        if self.sent.len() >= limit.of_all {
            return until_older(self.sent.first());
        }
        if own.clone().count() >= limit.of_sender {
            return until_older(own.next());
        }
        let Some(doublings) = own.clone().count().checked_sub(limit.free) else {
            return Duration::ZERO;
        };
        let doublings = u32::try_from(doublings).unwrap_or(u32::MAX);
        let wait = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(doublings));
        own.next_back().map_or(Duration::ZERO, |last| {
            wait.saturating_sub(now.since(last.at))
        })
    }
}

impl MailQuota {
    /// Counts in buckets. Addresses are stored under ids that nobody can guess without `secret`.
    /// `hides_clients` says that the networks of clients are not known.
    pub(crate) fn new(
        jetstream: jetstream::Context,
        secret: ServerKey,
        options: &LimitOptions,
        hides_clients: bool,
    ) -> Self {
        Self {
            registrations_per_address: if hides_clients {
                Limit::REGISTRATIONS_OF_HIDDEN
            } else {
                Limit::REGISTRATIONS
            },
            registrations: Bucket::new(jetstream.clone(), REGISTRATIONS_BUCKET),
            invitations_to: Bucket::new(jetstream.clone(), LOGINS_BUCKET),
            days: Bucket::new(jetstream, LOGINS_BUCKET),
            invitations_per_day: options.invitations_per_day,
            invitations: Limit::of_invitations(options.invitations_per_address.into()),
            secret,
        }
    }

    /// Counts a mail of a registration. One about the same registration is counted once, so that a
    /// repeated request is not refused.
    ///
    /// # Errors
    /// `RateLimited` if the client or all clients have sent too many to the address.
    pub(crate) async fn count_registration(
        &self,
        to: &EmailAddress,
        client: Id,
        about: Id,
    ) -> Result<(), Error> {
        self.add(MailKind::Registration, to, client, about).await
    }

    /// Counts a further mail of the same registration.
    ///
    /// # Errors
    /// `RateLimited` if the client or all clients have sent too many to the address.
    pub(crate) async fn count_again(
        &self,
        to: &EmailAddress,
        client: Id,
        about: Id,
    ) -> Result<(), Error> {
        let add = |mails: Option<Mails>| {
            let (mut mails, at) = (mails.unwrap_or_default(), now());
            let sender = client;
            mails.add(self.registrations_per_address, Mail { at, about, sender })?;
            Ok((mails, ()))
        };
        let key = self.key(MailKind::Registration, to);
        self.registrations.change(&key, add).await
    }

    /// Counts a mail with a code to log in with. A repeated command counts once.
    ///
    /// # Errors
    /// `RateLimited` if the client or all clients have sent too many to the address.
    pub(crate) async fn count_login_code(
        &self,
        to: &EmailAddress,
        client: Id,
        about: Id,
    ) -> Result<(), Error> {
        self.add(MailKind::LoginCode, to, client, about).await
    }

    /// Counts a mail to an address that an account may get.
    ///
    /// # Errors
    /// `RateLimited` if the client or all clients have sent too many to the address.
    pub(crate) async fn count_email_change(
        &self,
        to: &EmailAddress,
        client: Id,
        about: Id,
    ) -> Result<(), Error> {
        self.add(MailKind::EmailChange, to, client, about).await
    }

    /// Counts a request of an account for another address.
    ///
    /// # Errors
    /// `RateLimited` if there were too many within the day.
    pub(crate) async fn count_email_changes(&self, account: AccountId) -> Result<(), Error> {
        self.count_day(b"email_changes_of_account", account.0, OF_ACCOUNT)
            .await
    }

    /// Counts a request to delete an account.
    ///
    /// # Errors
    /// `RateLimited` if there were too many within the day.
    pub(crate) async fn count_deletion(&self, account: AccountId) -> Result<(), Error> {
        self.count_day(b"deletions_of_account", account.0, OF_ACCOUNT)
            .await
    }

    /// Counts an invitation that an account sends in a tenant. A repeated command counts once.
    ///
    /// # Errors
    /// `RateLimited` if the tenant or the account has sent as many as it may within a day, or the
    /// address gets too many.
    pub(crate) async fn count_invitation(
        &self,
        tenant: TenantKey,
        account: AccountId,
        to: &EmailAddress,
        about: Id,
    ) -> Result<(), Error> {
        let kind = MailKind::Invitation;
        if self.about(kind, to).await?.contains(&about) {
            return Ok(());
        }
        // The day first: what it refuses must not use up what the address gets.
        let most = self.invitations_per_day;
        self.count_day(b"invitations_of_tenant", tenant.0, most)
            .await?;
        self.count_day(b"invitations_of_account", account.0, most)
            .await?;
        self.add(kind, to, account.0, about).await
    }

    /// Counts a mail about a log-in to an account on a new device.
    ///
    /// # Errors
    /// `RateLimited` if there were too many within the day.
    pub(crate) async fn count_new_device(&self, account: AccountId) -> Result<(), Error> {
        self.count_day(b"new_devices_of_account", account.0, OF_ACCOUNT)
            .await
    }

    /// Counts a mail about new recovery codes of an account.
    ///
    /// # Errors
    /// `RateLimited` if there were too many within the day.
    pub(crate) async fn count_recovery_codes(&self, account: AccountId) -> Result<(), Error> {
        self.count_day(b"recovery_codes_of_account", account.0, OF_ACCOUNT)
            .await
    }

    /// Counts a new credential of an account: a password, an authenticator app, a passkey or an
    /// identity. A mail tells of it, and another one of its removal, which is not counted: it must
    /// always be possible.
    ///
    /// # Errors
    /// `RateLimited` if there were too many within the day.
    pub(crate) async fn count_new_credential(&self, account: AccountId) -> Result<(), Error> {
        self.count_day(b"new_credentials_of_account", account.0, OF_ACCOUNT)
            .await
    }

    /// Counts a change of the connections of a tenant: a connection or a domain that is new, another
    /// setting, or a demand. Mails tell the owners of it, and of its end, which is not counted: it
    /// must always be possible.
    ///
    /// # Errors
    /// `RateLimited` if there were too many within the day.
    pub(crate) async fn count_connection_change(&self, tenant: TenantKey) -> Result<(), Error> {
        self.count_day(b"connections_of_tenant", tenant.0, OF_CONNECTIONS)
            .await
    }

    async fn add(
        &self,
        kind: MailKind,
        to: &EmailAddress,
        sender: Id,
        about: Id,
    ) -> Result<(), Error> {
        let limit = self.limit(kind);
        let add = |mails: Option<Mails>| {
            let mut mails = mails.unwrap_or_default();
            if mails.sent.iter().all(|sent| sent.about != about) {
                let at = now();
                mails.add(limit, Mail { at, about, sender })?;
            }
            Ok((mails, ()))
        };
        self.bucket(kind).change(&self.key(kind, to), add).await
    }

    /// Counts what a tenant or an account sends within a day of the clock, in UTC.
    async fn count_day(&self, what: &[u8], of: Id, most: u32) -> Result<(), Error> {
        let key = self.secret.id(&[what, of.bytes()]).to_string();
        let day_ms = i64::try_from(DAY.as_millis()).unwrap_or(i64::MAX);
        let (day, of_day) = (now().0.div_euclid(day_ms), now().0.rem_euclid(day_ms));
        let count_one = |known: Option<DayCount>| {
            let known = known.filter(|known| known.day == day);
            let known = known.unwrap_or_default();
            if known.count >= most {
                let retry_after = Duration::from_millis((day_ms - of_day).unsigned_abs());
                return Err(Error::RateLimited { retry_after });
            }
            let count = known.count + 1;
            Ok((DayCount { day, count }, ()))
        };
        self.days.change(&key, count_one).await
    }

    /// Returns the registrations that mails to this address were about, the latest first.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub(crate) async fn registrations(&self, to: &EmailAddress) -> Result<Vec<Id>, Error> {
        self.about(MailKind::Registration, to).await
    }

    async fn about(&self, kind: MailKind, to: &EmailAddress) -> Result<Vec<Id>, Error> {
        let mails = self.bucket(kind).get(&self.key(kind, to)).await?;
        let sent = mails.unwrap_or_default().sent.into_iter().rev();
        Ok(sent.map(|mail| mail.about).collect())
    }

    const fn bucket(&self, kind: MailKind) -> &Bucket<Mails> {
        match kind {
            MailKind::Registration => &self.registrations,
            MailKind::Invitation | MailKind::LoginCode | MailKind::EmailChange => {
                &self.invitations_to
            }
        }
    }

    const fn limit(&self, kind: MailKind) -> Limit {
        match kind {
            MailKind::Registration | MailKind::LoginCode | MailKind::EmailChange => {
                self.registrations_per_address
            }
            MailKind::Invitation => self.invitations,
        }
    }

    fn key(&self, kind: MailKind, to: &EmailAddress) -> String {
        let to = match kind {
            MailKind::Registration | MailKind::LoginCode | MailKind::EmailChange => to.to_string(),
            // To many spellings of one mailbox, too.
            MailKind::Invitation => to.mailbox(),
        };
        self.secret.id(&[kind.label(), to.as_bytes()]).to_string()
    }
}

#[cfg(test)]
mod tests;
