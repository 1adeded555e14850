//! The caller of a request: the only source of tenant ids, actors and command ids.

use std::sync::Arc;

use bytes::Bytes;
use event_store::{Trace, random_id};
use events_schema::{
    Access, AccessTokenId, AccountId, Actor, CommandId, Origin, Permissions, Proof, Proved,
    SessionId, Slug, TenantId, Time, account, member, secret::ServerKey, tenant,
};
use tokio::sync::OnceCell;

use crate::{
    access::{Credentials, Rights, RolePermissions, fresh, guard},
    backend::{
        commands::Sender,
        plans::{Plans, TenantPlan},
        views::{TenantViews, ViewDocument},
    },
    clock::now,
    error::Error,
    method::Method,
};

/// Who sends a request, and for which tenant.
#[derive(Debug)]
pub(crate) struct Caller {
    /// `None` for a client without valid credentials.
    pub(crate) identity: Option<Identity>,
    /// The tenant that the request names, if the caller is a member of it.
    pub(crate) membership: Result<Membership, NoTenant>,
    pub(crate) origin: Origin,
    /// The proofs that the client keeps in cookies. They may be forged.
    pub(crate) kept: Kept,
    /// The sub-domain of a tenant that the request came to, if sub-domains name tenants. There may
    /// be no such tenant.
    pub(crate) subdomain: Option<Slug>,
    pub(crate) trace: Trace,
    pub(crate) idempotency: Option<Idempotency>,
}

/// What a client keeps beside its session.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The token of a device.
    pub(crate) device: Option<String>,
    /// The token of a registration.
    pub(crate) registration: Option<String>,
    /// The token of a code to log in.
    pub(crate) login_code: Option<String>,
    /// The token of a change of the address.
    pub(crate) email_change: Option<String>,
    /// A log-in that waits for its second factor.
    pub(crate) challenge: Option<String>,
    /// A request for a passkey.
    pub(crate) passkey: Option<String>,
    /// The token of a log-in by another party.
    pub(crate) flow: Option<String>,
    /// An identity that waits for a proof.
    pub(crate) waiting: Option<String>,
}

/// A person or machine with valid credentials.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) by: By,
    /// The person's account. For an access token, the account of its creator.
    pub(crate) account: ViewDocument<account::View>,
    /// What the person has proved in the session; nothing for an access token.
    pub(crate) proofs: Vec<Proof>,
}

/// The credentials of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// A session: the caller is a person.
    Session { id: SessionId, started_at: Time },
    /// An access token: the caller is a machine.
    AccessToken(AccessTokenId),
}

/// The caller as a member of the tenant.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) tenant: ViewDocument<tenant::View>,
    pub(crate) member: ViewDocument<member::View>,
    /// What the caller may do in the tenant: for an access token, no more than its scopes.
    pub(crate) permissions: Permissions,
    /// What each role of the tenant holds.
    pub(crate) roles: Arc<RolePermissions>,
    /// The tenant's views.
    pub(crate) views: TenantViews,
    /// The plan of the tenant, once an operation depends on it.
    pub(crate) plan: OnceCell<Arc<TenantPlan>>,
    pub(crate) plans: Plans,
}

/// Why a request has no tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoTenant {
    /// The request names none. The text says how to name one.
    Unnamed(Arc<str>),
    /// The tenant does not exist, or the caller is not a member of it. Both get the same answer.
    NotFound,
}

/// What identifies a repeated request.
#[derive(Debug)]
pub(crate) struct Idempotency {
    /// Derives command ids that no client can choose.
    pub(crate) secret: ServerKey,
    /// The client's key.
    pub(crate) key: String,
    pub(crate) body: Bytes,
}

impl Caller {
    /// Returns the person or machine that sends the request.
    ///
    /// # Errors
    /// `Unauthenticated` without valid credentials.
    pub(crate) fn identity(&self) -> Result<&Identity, Error> {
        self.identity.as_ref().ok_or_else(Error::not_logged_in)
    }

    /// Returns the person who sends the request.
    ///
    /// # Errors
    /// `Unauthenticated` without valid credentials; `Forbidden` for an access token.
    pub(crate) fn person(&self) -> Result<&Identity, Error> {
        let identity = self.identity()?;
        match identity.by {
            By::Session { .. } => Ok(identity),
            By::AccessToken(_) => Err(Error::Forbidden),
        }
    }

    /// Returns the caller's membership of the tenant that the request is for.
    ///
    /// # Errors
    /// `Unauthenticated` without valid credentials; `BadUserInput` if the request names no tenant;
    /// `NotFound` if the tenant does not exist or the caller is not a member of it.
    pub(crate) fn membership(&self) -> Result<&Membership, Error> {
        self.identity()?;
        self.membership.as_ref().map_err(|reason| match reason {
            NoTenant::Unnamed(advice) => Error::request(advice.as_ref()),
            NoTenant::NotFound => Error::NotFound,
        })
    }

    /// Checks that the caller may use an operation now.
    ///
    /// # Errors
    /// Those of [`guard`].
    pub(crate) async fn may_use(&self, access: &Access) -> Result<(), Error> {
        let plan = async { self.membership()?.plan().await };
        guard(access, self.rights(), plan).await
    }

    /// Returns what the check of an operation needs to know about the caller.
    pub(crate) fn rights(&self) -> Rights<'_> {
        let credentials = match &self.identity {
            None => Credentials::None,
            Some(identity) => match identity.by {
                By::AccessToken(_) => Credentials::AccessToken,
                By::Session { .. } => identity.credentials(),
            },
        };
        Rights {
            credentials,
            held: self.membership().map(|membership| &membership.permissions),
        }
    }

    /// Checks that the person has proved within ten minutes who they are, with two factors if the
    /// account has two.
    ///
    /// # Errors
    /// `Unauthenticated` without valid credentials; `Forbidden` for an access token;
    /// `StepUpRequired` if the session is not fresh.
    pub(crate) fn must_be_fresh(&self) -> Result<(), Error> {
        fresh(self.rights().credentials)
    }

    /// Returns who sends the request.
    pub(crate) fn actor(&self) -> Actor {
        let identity = self.identity.as_ref();
        identity.map_or(Actor::Anonymous, Identity::actor)
    }

    /// Returns the sender of the commands that follow from the request.
    pub(crate) fn sender(&self) -> Sender {
        let membership = self.membership.as_ref().ok();
        Sender {
            actor: self.actor(),
            held: membership.map(|member| (member.tenant.id, member.permissions.clone())),
            plan: membership.and_then(|member| member.plan.get().cloned()),
            origin: Some(self.origin.clone()),
            trace: self.trace,
        }
    }

    /// Returns the id of the command that an operation sends. Without an `Idempotency-Key` it is a
    /// new one. With one, the same operation of the same request by the same caller always gets the
    /// same id. `path` identifies the operation within the request.
    ///
    /// # Errors
    /// If the operating system has no random bytes.
    pub(crate) fn command_id(&self, path: &str) -> Result<CommandId, Error> {
        let Some(request) = &self.idempotency else {
            return new_command_id();
        };
        let account = self.identity.as_ref().map(|identity| identity.account.id.0);
        let account: &[u8] = account.as_ref().map_or(b"anonymous", |id| id.bytes());
        // The body alone does not identify the tenant.
        let tenant = self.membership.as_ref().map(|member| member.tenant.id.0);
        let tenant: &[u8] = tenant.as_ref().map_or(b"platform", |id| id.bytes());
        let key = request.key.as_bytes();
        let path = path.as_bytes();
        let parts = [b"command", account, tenant, key, &request.body, path];
        Ok(CommandId(request.secret.id(&parts)))
    }
}

impl Identity {
    /// Returns the account's id.
    pub(crate) fn account_id(&self) -> AccountId {
        self.account.id
    }

    /// Returns the session that the request came with; `None` for an access token.
    pub(crate) fn session(&self) -> Option<SessionId> {
        match self.by {
            By::Session { id, .. } => Some(id),
            By::AccessToken(_) => None,
        }
    }

    /// Returns what the person has proved in the session, and what they could prove.
    pub(crate) fn proved(&self) -> Proved {
        Proved::new(&self.proofs, self.account.view.best_aal())
    }

    /// Checks that the person of a session has proved within ten minutes who they are, with two
    /// factors if the account has two.
    ///
    /// # Errors
    /// `StepUpRequired` if the session is not fresh.
    pub(crate) fn must_be_fresh(&self) -> Result<(), Error> {
        fresh(self.credentials())
    }

    fn credentials(&self) -> Credentials {
        let proved = self.proved();
        Credentials::Session {
            is_platform_admin: self.account.view.is_platform_admin,
            aal: proved.aal,
            best_aal: proved.best_aal,
            methods: Method::of_step_up(&self.account.view, &self.proofs),
            is_fresh: proved.is_fresh(now()),
        }
    }

    fn actor(&self) -> Actor {
        match self.by {
            By::Session { .. } => Actor::Account(self.account.id),
            By::AccessToken(id) => Actor::AccessToken(id),
        }
    }
}

impl Membership {
    /// Returns the tenant as the owner of commands and views.
    pub(crate) fn tenant_id(&self) -> TenantId {
        TenantId::Tenant(self.tenant.id)
    }

    /// Returns what the plan of the tenant allows. It is read once for all operations of a request.
    ///
    /// # Errors
    /// If a view cannot be read.
    pub(crate) async fn plan(&self) -> Result<&TenantPlan, Error> {
        let read = || async {
            let plan = self.plans.of(&self.views, self.tenant.id).await?;
            Ok::<_, Error>(Arc::new(plan))
        };
        Ok(self.plan.get_or_try_init(read).await?)
    }
}

/// Returns a random command id.
///
/// # Errors
/// If the operating system has no random bytes.
pub(crate) fn new_command_id() -> Result<CommandId, Error> {
    Ok(CommandId(random_id()?))
}

#[cfg(test)]
mod tests {
    use events_schema::{Device, EmailAddress, Id, PasswordHash, PersonName, secret::Secret};

    use super::*;

    fn nobody() -> Caller {
        Caller {
            identity: None,
            membership: Err(NoTenant::NotFound),
            origin: Origin {
                address: None,
                device: Device::from_user_agent(""),
            },
            kept: Kept::default(),
            subdomain: None,
            trace: Trace::begin(),
            idempotency: None,
        }
    }

    fn ada() -> Identity {
        let view = account::View {
            email: EmailAddress::parse("ada@example.com").unwrap(),
            firstname: PersonName::parse("Ada").unwrap(),
            lastname: PersonName::parse("Lovelace").unwrap(),
            verified: true,
            password_hash: Some(PasswordHash::parse("$x").unwrap()),
            epoch: 0,
            epoch_began_at: Time(0),
            is_platform_admin: false,
            is_disabled: false,
            second_factor: None,
            identities: Vec::new(),
            passkeys: Vec::new(),
            email_change: None,
            closes_at: None,
            created_at: Time(0),
            updated_at: Time(0),
        };
        let id = Id::from_bytes([1; 16]);
        Identity {
            by: By::AccessToken(id.into()),
            account: ViewDocument {
                id: id.into(),
                revision: 1,
                view,
            },
            proofs: Vec::new(),
        }
    }

    fn id(identity: Option<Identity>, key: &str, body: &'static str, path: &str) -> CommandId {
        let idempotency = Idempotency {
            secret: ServerKey::new(Secret::parse(&"k".repeat(32)).unwrap(), Vec::new()),
            key: key.to_owned(),
            body: Bytes::from(body),
        };
        let caller = Caller {
            identity,
            idempotency: Some(idempotency),
            ..nobody()
        };
        caller.command_id(path).unwrap()
    }

    #[test]
    fn only_the_same_operation_of_the_same_request_and_caller_is_the_same_command() {
        let first = id(None, "k", "body", "account.register");
        assert_eq!(first, id(None, "k", "body", "account.register"));
        for other in [
            id(None, "k2", "body", "account.register"),
            id(None, "k", "body2", "account.register"),
            id(None, "k", "body", "account.second"),
            id(Some(ada()), "k", "body", "account.register"),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn an_access_token_is_no_person() {
        let caller = Caller {
            identity: Some(ada()),
            ..nobody()
        };
        assert!(caller.identity().is_ok());
        assert!(matches!(caller.person(), Err(Error::Forbidden)));
        let rights = caller.rights();
        assert_eq!(rights.credentials, Credentials::AccessToken);
        assert!(matches!(rights.held, Err(Error::NotFound)));
    }

    #[test]
    fn a_request_that_names_no_tenant_is_told_how_to_name_one() {
        let caller = |membership| Caller {
            identity: Some(ada()),
            membership: Err(membership),
            ..nobody()
        };
        let unnamed = caller(NoTenant::Unnamed("Name one.".into()));
        let Err(Error::BadUserInput { field, message }) = unnamed.membership() else {
            panic!("{unnamed:?}");
        };
        assert_eq!((field, message.as_str()), (None, "Name one."));
        let foreign = caller(NoTenant::NotFound);
        assert!(matches!(foreign.membership(), Err(Error::NotFound)));
        let anonymous = nobody().membership().err();
        assert!(matches!(anonymous, Some(Error::Unauthenticated(_))));
    }

    #[test]
    fn without_an_idempotency_key_each_operation_is_a_new_command() {
        let caller = nobody();
        let first = caller.command_id("account.register").unwrap();
        assert_ne!(first, caller.command_id("account.register").unwrap());
    }
}
