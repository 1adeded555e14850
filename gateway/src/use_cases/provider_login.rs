//! Logging in by another party, and linking its identities to accounts.
//!
//! What a browser brings back counts once, in the browser that has begun. An address alone never
//! links anything: see [`opening`](super::opening).

mod flows;
mod linking;
mod party;

use std::sync::Arc;

use events_schema::{
    ConnectionId, IdentityId, Proof, ProvedIdentity, ProviderName, Time, account,
    identity::OF_CONNECTIONS, secret::ServerKey,
};

use self::flows::{Flow, Purpose, ended};
pub(crate) use self::flows::{Flows, local_path};
use self::party::Party;
use super::{
    account::by_email,
    login_code::LoginCodes,
    opening::{Openings, Waiting, Word, accepts_logins, held_as, proved_by},
    session::{LoggedIn, Sessions},
};
use crate::{
    backend::{
        commands::Commands,
        filter::Filter,
        views::{ViewDocument, Views},
    },
    clock::now,
    error::Error,
    identity::{
        Caller, Callers,
        find::start_url,
        providers::{FlowToken, Identified, Profile, Provider, Providers, Redemption, Refusal},
    },
    security::{SecurityEvent, SecurityEvents},
};

/// Logs people in by other parties.
#[derive(Clone, Debug)]
pub(crate) struct ProviderLogins {
    pub(crate) commands: Commands,
    pub(crate) views: Views,
    pub(crate) providers: Providers,
    pub(crate) flows: Flows,
    pub(crate) openings: Openings,
    pub(crate) codes: LoginCodes,
    pub(crate) sessions: Sessions,
    pub(crate) callers: Callers,
    pub(crate) security: SecurityEvents,
    pub(crate) secret: ServerKey,
    pub(crate) public_url: String,
}

/// A log-in that has begun.
pub(crate) struct Begun {
    /// What only the browser keeps.
    pub(crate) kept: String,
    /// Where the browser goes: to the provider, or back if it does not answer.
    pub(crate) to: Result<String, (String, Failed)>,
}

/// Somebody whom no account knows, as far as a party has told.
struct Met {
    identity: ProvedIdentity,
    word: Option<Word>,
    logged_in_at: Option<Time>,
}

/// What a provider has sent the browser back with.
pub(crate) struct Answer {
    pub(crate) code: Option<String>,
    pub(crate) state: String,
    pub(crate) issuer: Option<String>,
}

/// A log-in that has ended, well or not.
pub(crate) struct Finished {
    pub(crate) return_to: String,
    pub(crate) outcome: Result<Outcome, Failed>,
}

/// What a log-in has led to.
pub(crate) enum Outcome {
    LoggedIn(LoggedIn),
    /// The identity is linked to the account of the session.
    Linked,
    /// The address has an account, and the provider's word proves the address. Its owner must log
    /// in as before.
    MustLink {
        waiting: String,
    },
    /// The provider names no address, so there can be no account.
    NoAddress,
    /// The provider's word does not prove the address. A code was mailed there.
    CodeSent {
        waiting: String,
        code: String,
    },
}

/// Why a log-in has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The person or the provider has refused it.
    Declined,
    /// The provider does not answer.
    Unavailable,
    /// What the provider says is not to be trusted, or the account takes no log-ins.
    Refused,
    /// The session that an identity was to be linked in has ended.
    SessionEnded,
    /// The session that an identity was to be linked in is not fresh any more.
    StepUpRequired,
    /// There are too many log-ins, or new identities of an account.
    RateLimited,
    /// The domain refuses it, for this reason.
    Rejected(String),
}

impl Failed {
    /// Returns the name that pages know.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Declined => "declined",
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
            Self::SessionEnded => "session_ended",
            Self::StepUpRequired => "step_up_required",
            Self::RateLimited => "rate_limited",
            Self::Rejected(reason) => reason,
        }
    }

    fn of(error: Error) -> Self {
        match error {
            Error::RateLimited { .. } => Self::RateLimited,
            Error::Rejected(rejection) => Self::Rejected(rejection.code),
            Error::LimitReached { .. } => Self::Rejected("limit_reached".to_owned()),
            Error::StepUpRequired { .. } => Self::StepUpRequired,
            Error::Unauthenticated(_)
            | Error::Forbidden
            | Error::SecondFactorRequired
            | Error::SsoRequired { .. }
            | Error::NotFound
            | Error::BadUserInput { .. }
            | Error::FeatureNotInPlan { .. }
            | Error::SoleOwner { .. }
            | Error::PaymentRequired => Self::Refused,
            Error::Pending(_)
            | Error::Unavailable(_)
            | Error::ClientSecretLost(_)
            | Error::PaymentsAway { .. }
            | Error::Internal(_) => {
                tracing::warn!(?error, "a log-in by a provider failed");
                Self::Unavailable
            }
        }
    }
}

impl ProviderLogins {
    /// Begins to log in, or to link an identity if there is a ticket.
    ///
    /// # Errors
    /// `NotFound` if there is no such provider here; `BadUserInput` if the ticket is not valid.
    pub(crate) async fn start(
        &self,
        caller: &Caller,
        provider: &str,
        return_to: &str,
        ticket: Option<&str>,
    ) -> Result<Begun, Error> {
        if !caller.is_at_public_url() {
            return Err(Error::NotFound);
        }
        let party = self.party(provider).await?;
        let provider = party.provider.as_ref();
        let purpose = match ticket {
            Some(ticket) => self.use_ticket(caller, provider, ticket).await?,
            None => Purpose::LogIn,
        };
        let flow = Flow {
            token: FlowToken::mint()?,
            provider: provider.name.clone(),
            purpose,
            return_to: local_path(return_to).to_owned(),
            begun_at: now(),
        };
        let (secrets, uri) = (flow.token.secrets(), self.redirect_uri(provider));
        let to = provider.authorization_url(&secrets, &uri).await;
        Ok(Begun {
            kept: self.flows.seal(&flow)?,
            to: to.map_err(|refusal| (flow.return_to, refused(provider, &refusal))),
        })
    }

    /// Completes a log-in by what the provider has sent the browser back with.
    ///
    /// # Errors
    /// `NotFound` if there is no such provider; `BadUserInput` if this browser has not begun it, or
    /// it has ended.
    pub(crate) async fn finish(
        &self,
        caller: &Caller,
        provider: &str,
        answer: Answer,
    ) -> Result<Finished, Error> {
        let party = self.party(provider).await?;
        let provider = party.provider.as_ref();
        let flow = self.flows.open(caller).ok_or_else(ended)?;
        let is_answer = flow.token.secrets().has_state(&answer.state);
        if !is_answer || !flow.is_of(&provider.name, caller) {
            return Err(ended());
        }
        // Before the code is redeemed: of several copies, one gets further.
        self.flows.end(&flow).await?;
        let outcome = self.conclude(caller, &party, &flow, answer).await;
        Ok(Finished {
            return_to: flow.return_to,
            outcome,
        })
    }

    async fn conclude(
        &self,
        caller: &Caller,
        party: &Party,
        flow: &Flow,
        answer: Answer,
    ) -> Result<Outcome, Failed> {
        let provider = party.provider.as_ref();
        let code = answer.code.as_deref().ok_or(Failed::Declined)?;
        let redemption = Redemption {
            code,
            issuer: answer.issuer.as_deref(),
            secrets: &flow.token.secrets(),
            redirect_uri: &self.redirect_uri(provider),
        };
        let identified = provider.identify(redemption).await;
        let identified = identified.map_err(|refusal| refused(provider, &refusal))?;
        let identity = self.proved_identity(party, &identified)?;
        if let Purpose::Link { session, .. } = flow.purpose {
            let linked = self.link_in_session(caller, session, identity).await;
            return linked.map(|()| Outcome::Linked);
        }
        let outcome = match self.holder(&identity).await.map_err(Failed::of)? {
            Some(account) => {
                let logged_in = self.log_in(caller, party, account, &identified, identity);
                logged_in.await
            }
            None => {
                let word = party.word(&identified, &identity);
                let logged_in_at = identified.logged_in_at;
                let profile = provider.profile(identified).await;
                let profile = profile.map_err(|refusal| refused(provider, &refusal))?;
                let met = Met {
                    identity,
                    word,
                    logged_in_at,
                };
                self.meet(caller, party, profile, met).await
            }
        };
        outcome.map_err(Failed::of)
    }

    /// Logs in to the account that has the identity.
    async fn log_in(
        &self,
        caller: &Caller,
        party: &Party,
        account: ViewDocument<account::View>,
        identified: &Identified,
        identity: ProvedIdentity,
    ) -> Result<Outcome, Error> {
        self.must_accept(caller, &account)?;
        let called = held_as(&account.view, &identity).unwrap_or(identity.id);
        let word = party.word(identified, &identity);
        let kind = proved_by(&identity, called, word.as_ref());
        let proof = Proof::by_other_party(kind, identified.logged_in_at, now());
        let logged_in = self.sessions.proceed(caller, account, proof, word).await;
        logged_in.map(Outcome::LoggedIn)
    }

    /// Goes on with an identity that no account has.
    async fn meet(
        &self,
        caller: &Caller,
        party: &Party,
        profile: Profile,
        met: Met,
    ) -> Result<Outcome, Error> {
        let is_proved = party.proves(&profile, met.word.as_ref());
        let Some(email) = profile.email else {
            return Ok(Outcome::NoAddress);
        };
        let waiting = Waiting {
            identity: met.identity,
            word: met.word,
            email,
            is_proved,
            firstname: profile.firstname,
            lastname: profile.lastname,
            since: now(),
            logged_in_at: met.logged_in_at,
        };
        if !is_proved {
            let code = self.codes.send_to_anybody(caller, &waiting.email);
            let code = code.await?;
            let waiting = self.openings.seal(&waiting)?;
            return Ok(Outcome::CodeSent { waiting, code });
        }
        let account = by_email(&self.views, &waiting.email).await?;
        if let Some(account) = account.filter(|account| account.view.verified) {
            self.must_accept(caller, &account)?;
            let waiting = self.openings.seal(&waiting)?;
            return Ok(Outcome::MustLink { waiting });
        }
        self.openings.count(caller)?;
        let opened = self.openings.open(caller, waiting, None).await;
        opened.map(Outcome::LoggedIn)
    }

    /// Returns the providers that the caller can log in by. At the sub-domain of a tenant there are
    /// none.
    pub(crate) fn offered(&self, caller: &Caller) -> impl Iterator<Item = &Arc<Provider>> {
        let is_offered = caller.is_at_public_url();
        self.providers.iter().filter(move |_| is_offered)
    }

    /// Returns where the browser goes after the log-in that it has begun.
    pub(crate) fn return_path(&self, caller: &Caller) -> String {
        self.flows.return_path(caller)
    }

    /// Returns where a browser begins to log in by a provider.
    pub(crate) fn start_url(&self, provider: &Provider) -> String {
        format!("{}/oauth/{}/start", self.public_url, provider.name.as_str())
    }

    /// Returns where a browser begins to log in by a connection.
    pub(crate) fn start_url_of(&self, connection: ConnectionId) -> String {
        start_url(&self.public_url, connection)
    }

    /// The one URL that the operator registers at the provider.
    fn redirect_uri(&self, provider: &Provider) -> String {
        let name = provider.name.as_str();
        format!("{}/oauth/{name}/callback", self.public_url)
    }

    /// Finds the account that has an identity, under any of its names.
    async fn holder(
        &self,
        identity: &ProvedIdentity,
    ) -> Result<Option<ViewDocument<account::View>>, Error> {
        let ids: Vec<IdentityId> = identity.ids().collect();
        let filter = Filter::default().one_of("identities.id", &ids)?;
        self.views.platform().find(filter).await
    }

    fn must_accept(
        &self,
        caller: &Caller,
        account: &ViewDocument<account::View>,
    ) -> Result<(), Error> {
        if accepts_logins(&account.view) {
            return Ok(());
        }
        let failed = SecurityEvent::LoginFailed;
        self.security.record(failed, caller, Some(account.id));
        Err(Error::Forbidden)
    }

    fn proved_identity(
        &self,
        party: &Party,
        identified: &Identified,
    ) -> Result<ProvedIdentity, Failed> {
        let Identified {
            issuer, subject, ..
        } = identified;
        let ids = self.secret.identity_ids(party.scope(), issuer, subject);
        let mut ids = ids.into_iter();
        Ok(ProvedIdentity {
            id: ids.next().ok_or(Failed::Refused)?,
            former: ids.collect(),
            provider: if party.scope().is_some() {
                // As mails and the list of credentials call it.
                ProviderName::parse(OF_CONNECTIONS).map_err(|_| Failed::Refused)?
            } else {
                party.provider.name.clone()
            },
        })
    }
}

/// Tells the operator why a provider has identified nobody.
fn refused(provider: &Provider, refusal: &Refusal) -> Failed {
    let name = provider.name.as_str();
    tracing::warn!(provider = name, %refusal, "a provider has identified nobody");
    match refusal {
        Refusal::Away(_) => Failed::Unavailable,
        Refusal::Refused(_) | Refusal::Untrusted(_) => Failed::Refused,
    }
}
