//! Devices on which people have logged in before: which one a request comes from, what a browser
//! keeps of one, and the mail about a new one.

use event_store::random_id;
use events_schema::{CommandId, EmailId, Id, TenantId, account, email, secret::derived_id};

use super::{Sessions, Started};
use crate::{
    backend::{commands::CommandRequest, views::ViewDocument},
    error::Error,
    identity::Caller,
};

impl Sessions {
    /// Whether somebody has logged in to the account on the device, or has registered it there.
    fn is_known_device(&self, caller: &Caller, account: &ViewDocument<account::View>) -> bool {
        let token = caller.kept.registration.as_ref();
        let registered = token.and_then(|token| self.secret.open_registration_token(token));
        let has_registered = registered.is_some_and(|challenge| challenge.0 == account.id.0);
        has_registered || self.device(caller, account).is_some()
    }

    /// Tells the owner of an account by mail, up to 20 times a day: who knows the password must not
    /// bury other mails. The answer does not wait for the mail. A log-in by a connection alone
    /// makes no device one of the person, so each would be told of, and its issuer would bury the
    /// others.
    pub(super) async fn tell_if_new_device(
        &self,
        caller: &Caller,
        account: &ViewDocument<account::View>,
        started: &Started,
    ) {
        if started.device.is_none() || self.is_known_device(caller, account) {
            return;
        }
        if let Err(error) = self.mails.count_new_device(account.id).await {
            tracing::warn!(?error, "the owner is not told of a new device");
            return;
        }
        let session = started.session.id.0;
        let id = derived_id(&[b"email", b"new_device", session.bytes()]);
        let tell = email::Command::TellOfNewDevice {
            to: account.view.email.clone(),
            device: caller.origin.device.clone(),
            at: started.session.view.started_at,
        };
        let (platform, command) = (TenantId::Platform, CommandId(id));
        let request = CommandRequest::<email::Area>::new(platform, EmailId(id), command, tell);
        self.commands.send_in_background(caller.sender(), request);
    }

    /// Returns the device that the request comes from, if somebody has logged in to this account on
    /// it in the same epoch.
    pub(super) fn device(
        &self,
        caller: &Caller,
        account: &ViewDocument<account::View>,
    ) -> Option<Id> {
        let token = caller.kept.device.as_ref()?;
        let epoch = account.view.epoch;
        self.secret.open_device_token(token, account.id, epoch)
    }

    /// Returns what proves at the next login that somebody has logged in on this device: the same
    /// device with each login, so that its count of failures stays.
    pub(super) fn device_token(
        &self,
        caller: &Caller,
        account: &ViewDocument<account::View>,
    ) -> Result<String, Error> {
        let device = match self.device(caller, account) {
            Some(device) => device,
            None => random_id()?,
        };
        let epoch = account.view.epoch;
        Ok(self.secret.device_token(device, account.id, epoch))
    }
}
