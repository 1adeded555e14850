//! Passkeys of the caller. The mutations are part of `credential`.

use async_graphql::{Context, ID, Json, Object, SimpleObject};
use data_encoding::HEXLOWER;
use events_schema::{Name, ProofKind, passkey};
use serde_json::Value;

use super::{
    field::FieldContext,
    scalars::{DateTime, id_of, parsed, to_id},
};
use crate::{error::Error, identity::cookie::Kind, use_cases::passkey::Removal};

/// A passkey: a person logs in by it without a password, and proves two factors at once.
#[derive(SimpleObject)]
pub(super) struct Passkey {
    /// Id of the passkey: 32 lower-case hex digits.
    id: ID,
    /// Name, 1 to 100 characters.
    name: String,
    /// When it was added.
    added_at: DateTime,
    /// When somebody last logged in or stepped up by it. Null if nobody has.
    last_used_at: Option<DateTime>,
    /// When it was suspended, since its counter did not rise: somebody may have copied it. Nobody
    /// can log in by it then. Null if it was not.
    suspended_at: Option<DateTime>,
    /// Whether it had copies on other devices when it was last used.
    backed_up: bool,
    /// How browsers reach it, such as `internal`, `hybrid` or `usb`.
    transports: Vec<String>,
    /// The model of the authenticator, a UUID, as it says; zeros if it does not tell.
    aaguid: String,
}

impl From<&passkey::Passkey> for Passkey {
    fn from(passkey: &passkey::Passkey) -> Self {
        let transports = passkey.transports.iter();
        Self {
            id: to_id(passkey.id),
            name: passkey.name.as_str().to_owned(),
            added_at: DateTime(passkey.added_at),
            last_used_at: passkey.last_used_at.map(DateTime),
            suspended_at: passkey.suspended_at.map(DateTime),
            backed_up: passkey.is_backed_up,
            transports: transports.map(|one| one.as_str().to_owned()).collect(),
            aaguid: uuid(passkey.aaguid.bytes()),
        }
    }
}

/// What the browser must learn after a passkey was removed, so that it offers it no more.
#[derive(SimpleObject)]
struct PasskeyRemoval {
    /// The argument of `PublicKeyCredential.signalUnknownCredential`. Null if a repeated request
    /// finds the passkey removed.
    unknown_credential: Option<Json<Value>>,
    /// The argument of `PublicKeyCredential.signalAllAcceptedCredentials`.
    all_accepted_credentials: Json<Value>,
}

impl From<Removal> for PasskeyRemoval {
    fn from(removal: Removal) -> Self {
        Self {
            unknown_credential: removal.unknown_credential.map(Json),
            all_accepted_credentials: Json(removal.all_accepted_credentials),
        }
    }
}

#[derive(Default)]
pub(super) struct PasskeyMutation;

#[Object(serial)]
impl PasskeyMutation {
    /// Begins to add a passkey, and sets a cookie: only this browser can add it, within five
    /// minutes. Returns what `PublicKeyCredential.parseCreationOptionsFromJSON` reads.
    async fn start_passkey(&self, ctx: &Context<'_>) -> Result<Option<Json<Value>>, Error> {
        let field = FieldContext::of(ctx);
        let request = field.use_cases.passkeys.ask_for_new(field.caller)?;
        field.hand_over(Kind::Passkey, &request.token);
        Ok(Some(Json(request.options)))
    }

    /// Adds a passkey by the answer of the browser, the `toJSON()` of its credential, and sets the
    /// cookie of a new session that has it as a proof. `BAD_USER_INPUT` if the answer proves
    /// nothing; `CONFLICT` if the passkey is known; `LIMIT_REACHED` if there are 20 already;
    /// `RATE_LIMITED` after 20 new credentials a day.
    async fn add_passkey(
        &self,
        ctx: &Context<'_>,
        name: String,
        #[graphql(secret)] response: Json<Value>,
    ) -> Result<Option<Passkey>, Error> {
        let field = FieldContext::of(ctx);
        let name = parsed("name", &name, Name::parse)?;
        let (passkeys, id) = (&field.use_cases.passkeys, field.command_id()?);
        let added = passkeys.add(field.caller, id, name, response.0).await?;
        field.clear_cookie(Kind::Passkey);
        let sessions = &field.use_cases.sessions;
        let kind = ProofKind::Passkey { passkey: added.id };
        let started = sessions.add_first_proof(field.caller, kind);
        if let Some(started) = started.await {
            field.start_session(&started);
        }
        Ok(Some((&added).into()))
    }

    /// Renames a passkey. `NOT_FOUND` if there is none with this id.
    async fn rename_passkey(
        &self,
        ctx: &Context<'_>,
        id: ID,
        name: String,
    ) -> Result<Option<Passkey>, Error> {
        let field = FieldContext::of(ctx);
        let name = parsed("name", &name, Name::parse)?;
        let (passkeys, command) = (&field.use_cases.passkeys, field.command_id()?);
        let renamed = passkeys.rename(field.caller, command, id_of(&id)?, name);
        Ok(Some((&renamed.await?).into()))
    }

    /// Removes a passkey: nobody can log in by it any more, and sessions that nothing else has proved
    /// end, this one, too. Returns what the browser must learn. `NOT_FOUND` if there is none with this
    /// id; `CONFLICT` if nothing else is left to log in by.
    async fn remove_passkey(
        &self,
        ctx: &Context<'_>,
        id: ID,
    ) -> Result<Option<PasskeyRemoval>, Error> {
        let field = FieldContext::of(ctx);
        let (passkeys, command) = (&field.use_cases.passkeys, field.command_id()?);
        let removed = passkeys.remove(field.caller, command, id_of(&id)?);
        Ok(Some(removed.await?.into()))
    }
}

/// Writes the 16 bytes as a UUID is written.
fn uuid(bytes: &[u8; 16]) -> String {
    let parts = [
        &bytes[..4],
        &bytes[4..6],
        &bytes[6..8],
        &bytes[8..10],
        &bytes[10..],
    ];
    parts.map(|part| HEXLOWER.encode(part)).join("-")
}

#[cfg(test)]
mod tests {
    use super::uuid;

    #[test]
    fn the_model_of_an_authenticator_is_written_as_a_uuid() {
        let bytes: [u8; 16] = std::array::from_fn(|at| u8::try_from(at).unwrap());
        assert_eq!(uuid(&bytes), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }
}
