//! Logging in and out, and the sessions of the caller.
//!
//! What a session is worth on later requests is decided in `caller.rs`.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use events_schema::{AccountId, EmailAddress, SessionId, account, session};
use mongodb::bson::doc;

use super::{DateTime, Field, Success, profile::User};
use crate::{
    backend::commands::Wish, backend::views::Found, error::Error, identity::caller::new_command_id,
    identity::cookie::Token, now,
};

/// Sessions shown at once, the latest first: more than anybody has devices.
const MAX_LISTED: i64 = 100;

/// How to prove who one is.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
enum ServiceType {
    /// By address and password.
    #[graphql(name = "Password")]
    Password,
}

#[derive(InputObject)]
struct LoginParamsInput {
    email: String,
    #[graphql(secret)]
    password: String,
}

#[derive(InputObject)]
struct LoginInput {
    service: ServiceType,
    params: LoginParamsInput,
}

/// Who is logged in now, and where.
#[derive(SimpleObject)]
struct Login {
    user: User,
    session: Session,
}

/// Where somebody is logged in.
pub(super) struct Session {
    id: SessionId,
    view: session::View,
    current: bool,
}

#[Object]
impl Session {
    async fn id(&self) -> ID {
        self.id.to_string().into()
    }

    /// What the client said that it is.
    async fn device(&self) -> &str {
        self.view.device.as_str()
    }

    async fn started_at(&self) -> DateTime {
        DateTime(self.view.started_at)
    }

    /// Up to ten minutes ago may stand for now.
    async fn last_used_at(&self) -> DateTime {
        DateTime(self.view.last_used_at)
    }

    /// Whether this request came by it.
    async fn current(&self) -> bool {
        self.current
    }
}

#[derive(Default)]
pub(crate) struct SessionQuery;

#[Object]
impl SessionQuery {
    /// Where the caller is logged in, the latest first.
    async fn sessions(&self, ctx: &Context<'_>) -> Result<Option<Vec<Session>>, Error> {
        let field = Field::of(ctx);
        let identity = field.caller.person()?;
        let (account, epoch, now) = (identity.account_id(), identity.account.view.epoch, now());
        let filter = doc! {
            "view.account": account.to_string(),
            "view.epoch": epoch,
            // Before the limit: sessions that ended by themselves are still there.
            "view.last_used_at": { "$gt": now.0 - session::IDLE.as_millis() as i64 },
        };
        let found = field
            .platform()
            .list::<session::View>(filter, doc! { "view.started_at": -1 }, MAX_LISTED)
            .await?;
        let live = found
            .into_iter()
            .filter(|session| session.view.is_live(now, epoch));
        let shown = live.map(|Found { id, view, .. }| Session {
            id: SessionId(id),
            view,
            current: Some(SessionId(id)) == identity.session(),
        });
        Ok(Some(shown.collect()))
    }
}

#[derive(Default)]
pub(crate) struct SessionMutation;

#[Object(serial)]
impl SessionMutation {
    /// Logs in and sets the session cookie. Each login makes a new session, whatever its
    /// `Idempotency-Key`: the token is random and handed out once.
    async fn login(&self, ctx: &Context<'_>, input: LoginInput) -> Result<Option<Login>, Error> {
        let LoginInput {
            service: ServiceType::Password,
            params,
        } = input;
        let field = Field::of(ctx);
        let email = EmailAddress::parse(&params.email).map_err(Error::invalid("email"))?;
        let account = check_password(&field, &email, params.password).await?;
        let session = start(&field, &account).await?;
        end_current(&field).await;
        Ok(Some(Login {
            user: User(account),
            session,
        }))
    }

    /// Logs out and clears the session cookie; nobody in particular may do so, too.
    async fn logout(&self, ctx: &Context<'_>) -> Result<Option<Success>, Error> {
        let field = Field::of(ctx);
        if let Some((session, account)) = current(&field) {
            let end = session::Command::End { account };
            field
                .send::<session::View>(&field.platform(), session.0, end)
                .await
                .or_else(ended_already)?;
        }
        // Only now: who has no cookie any more could not try again.
        field.clear_cookie();
        Success::yes()
    }

    /// Ends one of the caller's sessions.
    async fn revoke_session(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Success>, Error> {
        let field = Field::of(ctx);
        let identity = field.caller.person()?;
        let account = identity.account_id();
        let id = SessionId::parse(&id).map_err(|_| Error::NotFound)?;
        let session = field.platform().get::<session::View>(id.0).await?;
        if session.is_none_or(|session| session.view.account != account) {
            return Err(Error::NotFound);
        }
        field
            .send::<session::View>(&field.platform(), id.0, session::Command::End { account })
            .await?;
        if Some(id) == identity.session() {
            field.clear_cookie();
        }
        Success::yes()
    }

    /// Ends all of the caller's sessions, this one too.
    async fn revoke_all_sessions(&self, ctx: &Context<'_>) -> Result<Option<Success>, Error> {
        let field = Field::of(ctx);
        let account = field.caller.person()?.account.id;
        field
            .send::<account::View>(&field.platform(), account, account::Command::RevokeSessions)
            .await?;
        field.clear_cookie();
        Success::yes()
    }
}

/// The account whose password this is. Unknown addresses cost the same work and get the same answer
/// as wrong passwords.
async fn check_password(
    field: &Field<'_>,
    email: &EmailAddress,
    password: String,
) -> Result<Found<account::View>, Error> {
    field.state.logins.begin(email).await?;
    let account = field
        .platform()
        .find_one::<account::View>(doc! { "view.email": email.as_str() })
        .await?;
    let hash = account.as_ref().map(|account| &account.view.password_hash);
    let matches = field.state.passwords.matches(password, hash).await?;
    // One answer, also for an address that is not verified: whoever has just tried to register with
    // it and knows that password would learn from another whether it was free.
    const REFUSED: Error = Error::Unauthenticated(
        "The e-mail address or the password is wrong, or the address is not verified yet.",
    );
    let account = account
        .filter(|account| matches && account.view.verified)
        .ok_or(REFUSED)?;
    field.state.logins.clear(email).await;
    Ok(account)
}

/// Starts a session for whoever has just proved to own the account, and hands its token to the
/// client.
pub(super) async fn start(
    field: &Field<'_>,
    account: &Found<account::View>,
) -> Result<Session, Error> {
    let token = Token::mint()?;
    let id = token.session_id();
    let device = field.caller.origin.device.clone();
    let start = session::Command::Start {
        account: AccountId(account.id),
        epoch: account.view.epoch,
        device,
    };
    let platform = field.platform();
    field
        .state
        .commands
        .send::<session::View, _>(
            field.caller,
            &platform,
            Wish::new(id.0, new_command_id()?, start),
        )
        .await?;
    let session = platform
        .get::<session::View>(id.0)
        .await?
        .ok_or(Error::NotFound)?;
    field.give_cookie(&token);
    Ok(Session {
        id,
        view: session.view,
        current: true,
    })
}

/// Ends the session that the request came by: a login renews it. The login stands even if that
/// fails.
async fn end_current(field: &Field<'_>) {
    let Some((session, account)) = current(field) else {
        return;
    };
    let end = session::Command::End { account };
    let ended = async {
        let wish = Wish::new(session.0, new_command_id()?, end);
        field
            .state
            .commands
            .send::<session::View, _>(field.caller, &field.platform(), wish)
            .await
    };
    if let Err(error) = ended.await.or_else(ended_already) {
        tracing::warn!(request_id = %field.caller.trace, ?error, "the session before a login was not ended");
    }
}

/// The session that the request came by, and whose it is.
fn current(field: &Field<'_>) -> Option<(SessionId, AccountId)> {
    let identity = field.caller.identity.as_ref()?;
    Some((identity.session()?, identity.account_id()))
}

fn ended_already(error: Error) -> Result<u64, Error> {
    if let Error::Rejected(_) = error {
        Ok(0)
    } else {
        Err(error)
    }
}
