//! Persons and machines with valid credentials.

use events_schema::{
    AccessTokenId, AccountId, Actor, Proof, Proved, ServiceId, SessionId, TenantKey, Time, account,
    proof::TWO_FACTORS, session::Impersonator, tenant,
};

use crate::{
    access::{Credentials, fresh},
    backend::views::ViewDocument,
    clock::now,
    error::Error,
    identity::caller::NoTenant,
    method::Method,
};

/// A person or machine with valid credentials.
#[derive(Debug)]
pub(crate) enum Identity {
    Person(Box<Person>),
    Machine(Machine),
}

/// A person with a session, or an administrator of the platform who acts as one.
#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) session: SessionId,
    pub(crate) started_at: Time,
    pub(crate) account: ViewDocument<account::View>,
    /// What the person has proved in the session.
    pub(crate) proofs: Vec<Proof>,
    /// The administrator of the platform who acts as the person, if one does.
    pub(crate) impersonator: Option<Impersonator>,
}

/// A machine with an access token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    pub(crate) token: AccessTokenId,
    pub(crate) owner: TokenOwner,
}

/// For whom an access token acts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TokenOwner {
    /// The person who has created it.
    Creator(AccountId),
    Service(ServiceId),
}

impl Identity {
    /// Returns the id of the person's account. For the access token of a person, it is that of its
    /// creator. A service has an id that stands for it.
    pub(crate) fn account_id(&self) -> AccountId {
        match self {
            Self::Person(person) => person.account.id,
            Self::Machine(machine) => match machine.owner {
                TokenOwner::Creator(creator) => creator,
                TokenOwner::Service(service) => service.as_account(),
            },
        }
    }

    /// Returns the session that the request came with; `None` for an access token.
    pub(crate) fn session(&self) -> Option<SessionId> {
        match self {
            Self::Person(person) => Some(person.session),
            Self::Machine(_) => None,
        }
    }

    pub(super) fn credentials(&self) -> Credentials {
        match self {
            Self::Person(person) => person.credentials(),
            Self::Machine(_) => Credentials::AccessToken,
        }
    }

    pub(super) fn actor(&self) -> Actor {
        match self {
            Self::Person(person) => match &person.impersonator {
                Some(impersonator) => Actor::Impersonated {
                    account: person.account.id,
                    by: impersonator.account,
                },
                None => Actor::Account(person.account.id),
            },
            Self::Machine(Machine { token, owner }) => match *owner {
                TokenOwner::Creator(_) => Actor::AccessToken(*token),
                TokenOwner::Service(service) => Actor::Service {
                    service,
                    token: *token,
                },
            },
        }
    }
}

impl Person {
    /// Returns the account's id.
    pub(crate) fn account_id(&self) -> AccountId {
        self.account.id
    }

    /// Returns what the person has proved in the session, and what they could prove.
    pub(crate) fn proved(&self) -> Proved {
        Proved::new(&self.proofs, self.account.view.best_aal())
    }

    /// Whether the session is valid in this tenant.
    pub(crate) fn acts_in(&self, tenant: TenantKey) -> bool {
        let impersonator = self.impersonator.as_ref();
        impersonator.is_none_or(|impersonator| impersonator.tenant == tenant)
    }

    /// Checks that the person has proved the factors that a tenant requires of its members. An
    /// administrator of the platform who acts as the person has proved two to begin.
    ///
    /// # Errors
    /// What is missing.
    pub(crate) fn satisfies(&self, tenant: &tenant::View) -> Result<(), NoTenant> {
        if !tenant.requires_second_factor || self.impersonator.is_some() {
            return Ok(());
        }
        let proved = self.proved();
        match (proved.aal >= TWO_FACTORS, proved.best_aal >= TWO_FACTORS) {
            (true, _) => Ok(()),
            (false, true) => Err(NoTenant::StepUpRequired(self.methods())),
            (false, false) => Err(NoTenant::SecondFactorRequired),
        }
    }

    /// Returns the ways to reach the highest level of the account in this session.
    fn methods(&self) -> &'static [Method] {
        Method::of_step_up(&self.account.view, &self.proofs)
    }

    /// Checks that the person has proved within ten minutes who they are, with two factors if the
    /// account has two.
    ///
    /// # Errors
    /// `StepUpRequired` if the session is not fresh.
    pub(crate) fn must_be_fresh(&self) -> Result<(), Error> {
        fresh(self.credentials())
    }

    fn credentials(&self) -> Credentials {
        if self.impersonator.is_some() {
            return Credentials::Impersonated;
        }
        let proved = self.proved();
        Credentials::Session {
            is_platform_admin: self.account.view.is_platform_admin,
            aal: proved.aal,
            best_aal: proved.best_aal,
            methods: self.methods(),
            is_fresh: proved.is_fresh(now()),
        }
    }
}
