//! Logging in and out, and the sessions of the caller. The mutations are part of `account`.

use async_graphql::{Context, ID, InputObject, Json, Object, SimpleObject};
use events_schema::{EmailAddress, Name, SessionId, Time, account, session};
use serde_json::Value;

use super::{
    account::EmailInput,
    authentication::{Authentication, ChallengeView, LoginParamsInput, ServiceType},
    field::FieldContext,
    profile::User,
    scalars::{DateTime, Success, id_of, parsed, to_id},
};
use crate::{
    backend::views::ViewDocument,
    error::Error,
    identity::cookie::Kind,
    use_cases::{
        list::IndexCheck,
        second_factor::SecondMethod,
        session::{LoggedIn, Started},
    },
};

pub(super) const INDEX_CHECKS: &[IndexCheck] = &[];

pub(super) use async_graphql::EmptyMutation as Mutations;

/// A new name of a session.
#[derive(InputObject)]
struct RenameSessionInput {
    /// Id of the session.
    id: ID,
    /// The name, such as `Phone`: 1 to 100 characters.
    name: String,
}

/// A login.
#[derive(InputObject)]
struct LoginInput {
    /// The way to log in.
    service: ServiceType,
    /// The credentials.
    params: LoginParamsInput,
}

/// A login, or the first part of one.
#[derive(SimpleObject)]
struct Login {
    /// The person who is logged in now. Null if the second factor is still to be proved.
    user: Option<User>,
    /// The new session. Null if the second factor is still to be proved.
    session: Option<Session>,
    /// Not null if the second factor is still to be proved, by another `login` in this browser.
    challenge: Option<ChallengeView>,
    /// Whether the password was found in a data leak: ask the person to change it. False for other
    /// services, and if the operator has no file of such passwords.
    password_compromised: bool,
}

impl Login {
    /// Shows a session that was just started.
    fn of(account: ViewDocument<account::View>, started: Started) -> Self {
        let current = Some(started.session.id);
        let session = Session::new(&account.view, current, started.session);
        Self {
            user: Some(User(account)),
            session: Some(session),
            challenge: None,
            password_compromised: false,
        }
    }
}

/// Returns the address that a code was mailed to: the one that the client names, or that of the
/// identity that waits in the browser. A provider has told only us.
fn mailed_to(field: &FieldContext<'_>, params: &LoginParamsInput) -> Result<EmailAddress, Error> {
    match params.email() {
        Ok(email) => parsed("email", email, EmailAddress::parse),
        Err(missing) => {
            let openings = &field.use_cases.provider_logins.openings;
            let waiting = openings.waiting(field.caller);
            waiting.map(|waiting| waiting.email).ok_or(missing)
        }
    }
}

/// Hands what a login has led to to the client.
fn answer(field: &FieldContext<'_>, logged_in: LoggedIn) -> Login {
    match logged_in {
        LoggedIn::Session(account, started) => {
            field.start_session(&started);
            if field.caller.kept.challenge.is_some() {
                field.clear_cookie(Kind::Challenge);
            }
            if field.caller.kept.passkey.is_some() {
                field.clear_cookie(Kind::Passkey);
            }
            let openings = &field.use_cases.provider_logins.openings;
            if openings.are_over(field.caller, &account.view) {
                field.clear_cookie(Kind::Waiting);
            }
            Login::of(*account, started)
        }
        LoggedIn::Challenge(challenge) => {
            field.hand_over(Kind::Challenge, &challenge.token);
            Login {
                user: None,
                session: None,
                challenge: Some((&challenge).into()),
                password_compromised: false,
            }
        }
    }
}

pub(super) struct Session {
    document: ViewDocument<session::View>,
    last_used_at: Time,
    current: Option<SessionId>,
    authentication: Authentication,
}

impl Session {
    /// Shows a session of this account. `current` is that of the request.
    pub(super) fn new(
        account: &account::View,
        current: Option<SessionId>,
        document: ViewDocument<session::View>,
    ) -> Self {
        Self {
            last_used_at: document.view.last_used_at,
            current,
            authentication: Authentication::new(
                account,
                &account.counting(document.view.proofs().into_owned()),
                document.view.impersonator.as_ref(),
            ),
            document,
        }
    }
}

/// A session: one login of the caller in one client.
#[Object]
impl Session {
    /// Id of the session: 32 lower-case hex digits. It is no secret.
    async fn id(&self) -> ID {
        to_id(self.document.id)
    }

    /// The name that the person has given to the session. Null until then. A session that replaces
    /// this one, such as after a step-up, keeps it.
    async fn name(&self) -> Option<&str> {
        self.document.view.name.as_ref().map(Name::as_str)
    }

    /// The client's description of itself (its `User-Agent`), up to 200 characters.
    async fn device(&self) -> &str {
        self.document.view.device.as_str()
    }

    /// When the session was started. It expires 30 days later at the latest, or half an hour if an
    /// administrator of the platform acts as the person.
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

    /// What the person has proved in the session.
    async fn authentication(&self) -> &Authentication {
        &self.authentication
    }
}

#[derive(Default)]
pub(super) struct Queries;

#[Object(name = "SessionQueries")]
impl Queries {
    /// The caller's valid sessions, the newest first, at most 100.
    async fn sessions(&self, ctx: &Context<'_>) -> Result<Option<Vec<Session>>, Error> {
        let field = FieldContext::of(ctx);
        let identity = field.caller.person()?;
        let (account, current) = (&identity.account.view, Some(identity.session));
        let sessions = field.use_cases.sessions.list(field.caller).await?;
        let shown = sessions.into_iter().map(|found| Session {
            last_used_at: found.last_used_at,
            ..Session::new(account, current, found.session)
        });
        Ok(Some(shown.collect()))
    }
}

#[derive(Default)]
pub(super) struct SessionMutation;

#[Object(serial)]
impl SessionMutation {
    /// Logs in and sets the session cookie. Each login starts a new session, even with an
    /// `Idempotency-Key`. If the account has a second factor, `Password` and `EmailCode` answer a
    /// `challenge` instead, and a further `login` by `Totp` or `RecoveryCode` completes it. A
    /// `Passkey` needs no second factor.
    /// `UNAUTHENTICATED` if the address or the password is wrong, the address is not verified, or
    /// the challenge has ended; `BAD_USER_INPUT` if a code or the answer of a passkey is wrong;
    /// `RATE_LIMITED` after too many failures.
    async fn login(&self, ctx: &Context<'_>, input: LoginInput) -> Result<Option<Login>, Error> {
        let field = FieldContext::of(ctx);
        let LoginInput { service, params } = input;
        let sessions = &field.use_cases.sessions;
        let mut password_compromised = false;
        let logged_in = match service {
            ServiceType::Password => {
                let email = parsed("email", params.email()?, EmailAddress::parse)?;
                let logged_in = sessions.log_in(field.caller, &email, params.password()?);
                let (logged_in, is_compromised) = logged_in.await?;
                password_compromised = is_compromised;
                logged_in
            }
            ServiceType::EmailCode => {
                let email = mailed_to(&field, &params)?;
                let codes = &field.use_cases.login_codes;
                codes.log_in(field.caller, &email, params.code()?).await?
            }
            ServiceType::Passkey => {
                let passkeys = &field.use_cases.passkeys;
                passkeys.log_in(field.caller, params.response()?).await?
            }
            ServiceType::Totp => {
                let (method, code) = (SecondMethod::Totp, params.code()?);
                let completed = sessions.complete_challenge(field.caller, method, code);
                completed.await?
            }
            ServiceType::RecoveryCode => {
                let (method, code) = (SecondMethod::RecoveryCode, params.code()?);
                let completed = sessions.complete_challenge(field.caller, method, code);
                completed.await?
            }
        };
        Ok(Some(Login {
            password_compromised,
            ..answer(&field, logged_in)
        }))
    }

    /// Proves again who the caller is, so that the session is fresh: for ten minutes, operations
    /// that need it are allowed. Starts a new session, ends the old one and sets the cookie.
    /// `BAD_USER_INPUT` if the password, the code or the answer is wrong; `RATE_LIMITED` after too many.
    async fn step_up(&self, ctx: &Context<'_>, input: LoginInput) -> Result<Option<Login>, Error> {
        let field = FieldContext::of(ctx);
        let LoginInput { service, params } = input;
        let (sessions, caller) = (&field.use_cases.sessions, field.caller);
        let started = match service {
            ServiceType::Password => {
                let started = sessions.step_up_by_password(caller, params.password()?);
                started.await?
            }
            ServiceType::EmailCode => {
                let codes = &field.use_cases.login_codes;
                codes.step_up(caller, params.code()?).await?
            }
            ServiceType::Passkey => {
                let passkeys = &field.use_cases.passkeys;
                passkeys.step_up(caller, params.response()?).await?
            }
            ServiceType::Totp => {
                let started = sessions.step_up_by_code(caller, SecondMethod::Totp, params.code()?);
                started.await?
            }
            ServiceType::RecoveryCode => {
                let method = SecondMethod::RecoveryCode;
                let started = sessions.step_up_by_code(caller, method, params.code()?);
                started.await?
            }
        };
        field.start_session(&started);
        Ok(Some(Login::of(caller.person()?.account.clone(), started)))
    }

    /// Begins to log in or to step up by a passkey, and sets a cookie: only this browser can complete
    /// it, once and within five minutes. Returns what
    /// `PublicKeyCredential.parseRequestOptionsFromJSON` reads. The passkey names the account.
    async fn start_passkey(&self, ctx: &Context<'_>) -> Result<Option<Json<Value>>, Error> {
        let field = FieldContext::of(ctx);
        let request = field.use_cases.passkeys.ask()?;
        field.hand_over(Kind::Passkey, &request.token);
        Ok(Some(Json(request.options)))
    }

    /// Mails a code to log in with, if the address has an account, and sets a cookie: only this
    /// browser can use the code, for ten minutes and once. The answer is always the same.
    /// `RATE_LIMITED` after too many mails to the address: the wait is a minute at first, and
    /// doubles.
    async fn send_login_code(
        &self,
        ctx: &Context<'_>,
        input: EmailInput,
    ) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let email = parsed("email", &input.email, EmailAddress::parse)?;
        let codes = &field.use_cases.login_codes;
        let token = codes.send(field.caller, &email).await?;
        field.hand_over(Kind::LoginCode, &token);
        Success::yes()
    }

    /// Logs out and deletes the session cookie. Succeeds even without a session.
    async fn logout(&self, ctx: &Context<'_>) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let (sessions, id) = (&field.use_cases.sessions, field.command_id()?);
        sessions.log_out(field.caller, id).await?;
        // Not before: without its cookie the client could not try again.
        field.clear_cookie(Kind::Session);
        Success::yes()
    }

    /// Revokes one of the caller's sessions. `NOT_FOUND` if it does not exist or belongs to another
    /// account.
    async fn revoke_session(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let (sessions, command) = (&field.use_cases.sessions, field.command_id()?);
        if sessions.revoke(field.caller, command, id_of(&id)?).await? {
            field.clear_cookie(Kind::Session);
        }
        Success::yes()
    }

    /// Names one of the caller's sessions, so that they know it again. `NOT_FOUND` if it does not
    /// exist, has ended, or belongs to another account.
    async fn rename_session(
        &self,
        ctx: &Context<'_>,
        input: RenameSessionInput,
    ) -> Result<Option<Session>, Error> {
        let field = FieldContext::of(ctx);
        let (id, name) = (id_of(&input.id)?, parsed("name", &input.name, Name::parse)?);
        let sessions = &field.use_cases.sessions;
        let renamed = sessions.rename(field.caller, field.command_id()?, id, name);
        let renamed = renamed.await?;
        let identity = field.caller.person()?;
        Ok(Some(Session {
            last_used_at: renamed.last_used_at,
            ..Session::new(
                &identity.account.view,
                Some(identity.session),
                renamed.session,
            )
        }))
    }

    /// Revokes all of the caller's sessions, the current one included.
    async fn revoke_all_sessions(&self, ctx: &Context<'_>) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let (sessions, id) = (&field.use_cases.sessions, field.command_id()?);
        sessions.revoke_all(field.caller, id).await?;
        field.clear_cookie(Kind::Session);
        Success::yes()
    }
}
