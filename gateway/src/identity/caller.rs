//! The caller of a request: the only source of tenant ids, actors and command ids.

use std::sync::Arc;

use bytes::Bytes;
use event_store::{Trace, random_id};
use events_schema::{
    Access, Actor, CommandId, Origin, Permissions, ServiceId, Slug, TenantId, member,
    secret::ServerKey, tenant,
};
use tokio::sync::OnceCell;

use crate::{
    access::{Credentials, Rights, RolePermissions, fresh, guard},
    backend::{
        commands::Sender,
        plans::{Plans, TenantPlan},
        views::{TenantViews, ViewDocument},
    },
    error::Error,
    identity::{Identity, Person},
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

/// The caller as a member of the tenant.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) tenant: ViewDocument<tenant::View>,
    /// The caller as a member. For the access token of a person, its creator; `None` for a service.
    pub(crate) member: Option<ViewDocument<member::View>>,
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
    /// The tenant requires two factors of its members, and the session of this one has not proved
    /// them by these methods.
    StepUpRequired(&'static [Method]),
    /// The tenant requires two factors of its members, and this one has no second one.
    SecondFactorRequired,
    /// The tenant demands its own issuer. The text is where logging in by it begins.
    SsoRequired(String),
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
    pub(crate) fn person(&self) -> Result<&Person, Error> {
        match self.identity()? {
            Identity::Person(person) => Ok(person),
            Identity::Machine(_) => Err(Error::Forbidden),
        }
    }

    /// Whether an administrator of the platform acts as the person.
    pub(crate) fn is_impersonated(&self) -> bool {
        let person = self.person().ok();
        person.is_some_and(|person| person.impersonator.is_some())
    }

    /// Returns the service whose access token the request has, if it has one.
    pub(crate) fn service(&self) -> Option<ServiceId> {
        match self.identity.as_ref()?.actor() {
            Actor::Service { service, .. } => Some(service),
            Actor::Account(_)
            | Actor::AccessToken(_)
            | Actor::Impersonated { .. }
            | Actor::Anonymous
            | Actor::System => None,
        }
    }

    /// Whether the request came to the public URL, and not to the sub-domain of a tenant. A log-in
    /// by another party comes back to the public URL, whose cookies no other host has.
    pub(crate) const fn is_at_public_url(&self) -> bool {
        self.subdomain.is_none()
    }

    /// Returns the caller's membership of the tenant that the request is for.
    ///
    /// # Errors
    /// `Unauthenticated` without valid credentials; `BadUserInput` if the request names no tenant;
    /// `NotFound` if the tenant does not exist or the caller is not a member of it;
    /// `StepUpRequired` or `SecondFactorRequired` if the session has not proved two factors and the
    /// tenant requires them; `SsoRequired` if the session has not the proof that the tenant
    /// demands.
    pub(crate) fn membership(&self) -> Result<&Membership, Error> {
        self.identity()?;
        self.membership.as_ref().map_err(|reason| match reason {
            NoTenant::Unnamed(advice) => Error::request(advice.as_ref()),
            NoTenant::NotFound => Error::NotFound,
            NoTenant::StepUpRequired(methods) => Error::StepUpRequired { methods },
            NoTenant::SecondFactorRequired => Error::SecondFactorRequired,
            NoTenant::SsoRequired(start_url) => Error::SsoRequired {
                start_url: start_url.clone(),
            },
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
        let identity = self.identity.as_ref();
        Rights {
            credentials: identity.map_or(Credentials::None, Identity::credentials),
            held: self.membership().map(|membership| &membership.permissions),
        }
    }

    /// Checks that the person has proved within ten minutes who they are, with two factors if the
    /// account has two.
    ///
    /// # Errors
    /// `Unauthenticated` without valid credentials; `Forbidden` for an access token, and for
    /// somebody who acts as the person; `StepUpRequired` if the session is not fresh.
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
        let account = self.identity.as_ref().map(|caller| caller.account_id().0);
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
    use events_schema::{Device, Id, secret::Secret};

    use super::*;
    use crate::identity::identities::{Machine, TokenOwner};

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
        let id = Id::from_bytes([1; 16]);
        Identity::Machine(Machine {
            token: id.into(),
            owner: TokenOwner::Creator(id.into()),
        })
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
