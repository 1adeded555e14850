//! Logging in and out, and the sessions of the caller. The mutations are part of `account`.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use events_schema::{EmailAddress, SessionId, Time, session};

use super::{
    field::FieldContext,
    profile::User,
    scalars::{DateTime, Success, id_of, parsed, to_id},
};
use crate::{backend::views::ViewDocument, error::Error, use_cases::list::IndexCheck};

pub(super) const INDEX_CHECKS: &[IndexCheck] = &[];

pub(super) use async_graphql::EmptyMutation as Mutations;

/// The way to log in.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
enum ServiceType {
    /// By e-mail address and password.
    #[graphql(name = "Password")]
    Password,
}

/// The credentials of a person.
#[derive(InputObject)]
struct LoginParamsInput {
    /// The e-mail address of the account.
    email: String,
    /// The password.
    #[graphql(secret)]
    password: String,
}

/// A login.
#[derive(InputObject)]
struct LoginInput {
    /// The way to log in.
    service: ServiceType,
    /// The credentials.
    params: LoginParamsInput,
}

/// A successful login.
#[derive(SimpleObject)]
struct Login {
    /// The person who is logged in now.
    user: User,
    /// The new session.
    session: Session,
}

pub(super) struct Session {
    document: ViewDocument<session::View>,
    last_used_at: Time,
    current: Option<SessionId>,
}

/// A session: one login of the caller in one client.
#[Object]
impl Session {
    /// Id of the session: 32 lower-case hex digits. It is no secret.
    async fn id(&self) -> ID {
        to_id(self.document.id)
    }

    /// The client's description of itself (its `User-Agent`), up to 200 characters.
    async fn device(&self) -> &str {
        self.document.view.device.as_str()
    }

    /// When the session was started. It expires 30 days later at the latest.
    async fn started_at(&self) -> DateTime {
        DateTime(self.document.view.started_at)
    }

    /// When the session was last used, up to ten minutes behind. The session expires after 12 hours
    /// without use.
    async fn last_used_at(&self) -> DateTime {
        DateTime(self.last_used_at)
    }

    /// Whether this request belongs to the session.
    async fn current(&self) -> bool {
        self.current == Some(self.document.id)
    }
}

#[derive(Default)]
pub(super) struct Queries;

#[Object(name = "SessionQueries")]
impl Queries {
    /// The caller's valid sessions, the newest first, at most 100.
    async fn sessions(&self, ctx: &Context<'_>) -> Result<Option<Vec<Session>>, Error> {
        let field = FieldContext::of(ctx);
        let current = field.caller.person()?.session();
        let sessions = field.use_cases.sessions.list(field.caller).await?;
        let shown = sessions.into_iter().map(|found| Session {
            document: found.session,
            last_used_at: found.last_used_at,
            current,
        });
        Ok(Some(shown.collect()))
    }
}

#[derive(Default)]
pub(super) struct SessionMutation;

#[Object(serial)]
impl SessionMutation {
    /// Logs in and sets the session cookie. Each login starts a new session, even with an
    /// `Idempotency-Key`. `UNAUTHENTICATED` if the address or the password is wrong, or the address
    /// is not verified; `RATE_LIMITED` after too many failures.
    async fn login(&self, ctx: &Context<'_>, input: LoginInput) -> Result<Option<Login>, Error> {
        let field = FieldContext::of(ctx);
        let LoginInput {
            service: ServiceType::Password,
            params,
        } = input;
        let email = parsed("email", &params.email, EmailAddress::parse)?;
        let sessions = &field.use_cases.sessions;
        let logged_in = sessions.log_in(field.caller, &email, params.password);
        let (account, started) = logged_in.await?;
        field.start_session(&started);
        let current = Some(started.session.id);
        Ok(Some(Login {
            user: User(account),
            session: Session {
                last_used_at: started.session.view.last_used_at,
                document: started.session,
                current,
            },
        }))
    }

    /// Logs out and deletes the session cookie. Succeeds even without a session.
    async fn logout(&self, ctx: &Context<'_>) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let (sessions, id) = (&field.use_cases.sessions, field.command_id()?);
        sessions.log_out(field.caller, id).await?;
        // Not before: without its cookie the client could not try again.
        field.clear_cookie();
        Success::yes()
    }

    /// Revokes one of the caller's sessions. `NOT_FOUND` if it does not exist or belongs to another
    /// account.
    async fn revoke_session(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let (sessions, command) = (&field.use_cases.sessions, field.command_id()?);
        if sessions.revoke(field.caller, command, id_of(&id)?).await? {
            field.clear_cookie();
        }
        Success::yes()
    }

    /// Revokes all of the caller's sessions, the current one included.
    async fn revoke_all_sessions(&self, ctx: &Context<'_>) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let (sessions, id) = (&field.use_cases.sessions, field.command_id()?);
        sessions.revoke_all(field.caller, id).await?;
        field.clear_cookie();
        Success::yes()
    }
}
