//! Persons and machines with valid credentials.

use events_schema::{
    AccessTokenId, AccountId, Actor, Proof, ProofKind, Proved, Scope, ServiceId, SessionId,
    TenantKey, Time, account,
    connection::Connection,
    proof::{self, TWO_FACTORS},
    session::Impersonator,
    tenant,
};

use crate::{
    access::{Credentials, fresh},
    backend::views::ViewDocument,
    clock::now,
    error::Error,
    identity::{caller::NoTenant, providers::knows_strangers},
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
    /// Where the session is valid, if only a tenant's connection vouches for the person.
    pub(crate) scope: Option<Scope>,
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
        self.account.view.worth(&self.proofs)
    }

    /// Whether the session is valid in this tenant.
    pub(crate) fn acts_in(&self, tenant: TenantKey) -> bool {
        let impersonated_in = self.impersonator.map(|impersonator| impersonator.tenant);
        let vouched_in = self.scope.map(|scope| scope.tenant);
        let only_in = impersonated_in.or(vouched_in);
        only_in.is_none_or(|only| only == tenant)
    }

    /// Returns the epoch of a tenant's connection in which it has identified the person in this
    /// session as one of the tenant's own people; `None` if it has not.
    pub(crate) fn came_by(&self, tenant: TenantKey, connection: &Connection) -> Option<i64> {
        let here = Scope {
            tenant,
            connection: connection.id,
        };
        let of = |proof: &Proof| match &proof.kind {
            ProofKind::Connection {
                scope,
                epoch,
                is_insider,
                ..
            } => {
                // In a proof of an earlier release, anybody may be meant where there are strangers.
                let knows_strangers = knows_strangers(connection.settings.issuer.as_str());
                let is_insider = is_insider.unwrap_or(!knows_strangers);
                (*scope == here && is_insider).then_some(*epoch)
            }
            ProofKind::Password
            | ProofKind::EmailCode
            | ProofKind::Passkey { .. }
            | ProofKind::Totp
            | ProofKind::RecoveryCode
            | ProofKind::Identity { .. }
            | ProofKind::Unknown(_) => None,
        };
        self.proofs.iter().find_map(of)
    }

    /// Whether the person has used a passkey in this session.
    pub(crate) fn has_used_passkey(&self) -> bool {
        let is_passkey = |proof: &Proof| matches!(proof.kind, ProofKind::Passkey { .. });
        self.proofs.iter().any(is_passkey)
    }

    /// Checks that the person has proved the factors that a tenant requires of its members. The
    /// word of its own issuer counts for both here, whatever else was proved since. An
    /// administrator of the platform who acts as the person has proved two to begin.
    ///
    /// # Errors
    /// What is missing.
    pub(crate) fn satisfies(&self, tenant: &ViewDocument<tenant::View>) -> Result<(), NoTenant> {
        if !tenant.view.requires_second_factor || self.impersonator.is_some() {
            return Ok(());
        }
        let mut vouched = self.proofs.iter().filter_map(Proof::vouched_two_factors);
        if vouched.any(|scope| scope.tenant == tenant.id) {
            return Ok(());
        }
        let proved = self.proved();
        match (proved.aal >= TWO_FACTORS, proved.best_aal >= TWO_FACTORS) {
            (true, _) => Ok(()),
            (false, true) => Err(NoTenant::StepUpRequired(self.step_up_methods())),
            (false, false) => Err(NoTenant::SecondFactorRequired),
        }
    }

    /// Checks that the person has proved within ten minutes who they are, with two factors if the
    /// account has two. A connection does not vouch for the account.
    ///
    /// # Errors
    /// `StepUpRequired` if the session is not fresh, or only a connection vouches for the person.
    pub(crate) fn must_be_fresh(&self) -> Result<(), Error> {
        let methods = self.step_up_methods();
        if self.scope.is_some() {
            return Err(Error::StepUpRequired { methods });
        }
        fresh(self.credentials())
    }

    /// Returns the ways to reach the highest level of the account in this session.
    fn step_up_methods(&self) -> &'static [Method] {
        Method::of_step_up(&self.account.view, &proof::own(&self.proofs))
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
            methods: self.step_up_methods(),
            is_fresh: proved.is_fresh(now()),
            is_scoped: self.scope.is_some(),
        }
    }
}

#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
