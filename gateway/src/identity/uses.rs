//! Records that a session or access token is in use.

use event_store::Trace;
use events_schema::{
    AccountId, Actor, CommandId, SessionId, TenantId, Time, secret::ServerKey, session,
};

use crate::{
    backend::commands::{CommandRequest, Commands, Sender},
    clock::now,
    identity::{Caller, caller::By, token_uses::TokenUses},
};

/// Records uses in the background. A failure is only logged, since it is no reason to refuse a
/// request.
#[derive(Clone, Debug)]
pub(crate) struct Uses {
    commands: Commands,
    tokens: TokenUses,
    secret: ServerKey,
}

impl Uses {
    /// Records the uses of sessions by commands, and those of access tokens in their bucket.
    pub(crate) fn new(commands: Commands, tokens: TokenUses, secret: ServerKey) -> Self {
        Self {
            commands,
            tokens,
            secret,
        }
    }

    /// Records that the caller's session or access token is in use now.
    pub(crate) fn record(&self, caller: &Caller) {
        let Some(identity) = &caller.identity else {
            return;
        };
        match identity.by {
            By::AccessToken(id) => self.tokens.record(id),
            By::Session { id, last_used_at }
                if now().since(last_used_at) > session::USE_RECORDED_EVERY =>
            {
                self.touch(id, last_used_at, identity.account_id(), caller.trace);
            }
            By::Session { .. } => {}
        }
    }

    /// Simultaneous requests send the same command, so the use is recorded once.
    fn touch(&self, id: SessionId, last_used_at: Time, account: AccountId, trace: Trace) {
        let last_use = last_used_at.0.to_be_bytes();
        let command = self.secret.id(&[b"touch", id.0.bytes(), &last_use]);
        let touch = session::Command::Touch;
        let request = CommandRequest::new(TenantId::Platform, id, CommandId(command), touch);
        let sender = Sender {
            actor: Actor::Account(account),
            held: None,
            origin: None,
            trace,
        };
        self.commands
            .send_in_background::<session::Area>(sender, request);
    }
}
