//! Other parties that identify people, such as Google. The operator names them in a file.
//!
//! A provider is trusted to say who somebody is there, and nothing else: whether its word proves an
//! address is a rule of each kind, and its answers are bounded and checked.

mod built_in;
mod connections;
mod details;
mod discovery;
mod id_token;
mod jws;
mod profile;
mod redeeming;
mod requests;
mod secrets;
mod settings;

use std::sync::Arc;

use anyhow::Context as _;
use event_store::outbound::Failure;
use events_schema::ProviderName;

use self::{connections::Issuers, discovery::Discovery, requests::Requests};
pub(crate) use self::{
    profile::{Profile, knows_strangers},
    redeeming::{Identified, Redemption},
    secrets::{FlowSecrets, FlowToken},
};
use crate::config::ProviderOptions;

/// All providers of the deployment, and the issuers of its tenants.
#[derive(Clone)]
pub(crate) struct Providers {
    named: Arc<[Arc<Provider>]>,
    issuers: Arc<Issuers>,
}

/// A party that identifies people.
pub(crate) struct Provider {
    pub(crate) name: ProviderName,
    /// The name that people know.
    pub(crate) title: String,
    kind: Kind,
    client_id: String,
    client_secret: Option<ClientSecret>,
    scope: String,
    /// Whether its word proves an address; only for a provider of no built-in kind.
    is_authoritative: bool,
    endpoints: Endpoints,
    requests: Requests,
}

/// How a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Google,
    GitHub,
    Facebook,
    /// OpenID Connect.
    Oidc,
}

/// Where a provider answers.
enum Endpoints {
    /// What its discovery document says.
    Discovered(Arc<Discovery>),
    /// URLs that never change.
    Fixed(Box<built_in::Urls>),
}

/// A secret that the provider has given to the operator. It is never shown.
struct ClientSecret(String);

/// Why a provider has not identified somebody. The texts are for the operator, and have no secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// It does not answer, or not in time.
    #[error("it does not answer: {0}")]
    Away(Failure),
    /// It refuses the request.
    #[error("it refuses: {0}")]
    Refused(String),
    /// Its answer is not to be trusted.
    #[error("its answer is not valid: {0}")]
    Untrusted(&'static str),
}

impl Providers {
    /// Reads the file of the operator; without one, there are no providers.
    ///
    /// # Errors
    /// If the file cannot be read or is wrong. The error shows no secret.
    pub(crate) fn load(options: &ProviderOptions) -> anyhow::Result<Self> {
        let dns = options.outbound_dns;
        let requests = Requests::new(dns, options.outbound_allow.clone())?;
        let named = match &options.providers_file {
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.with_context(|| format!("reading {}", path.display()))?;
                let named = settings::read(&text, &requests);
                named.with_context(|| format!("the providers in {}", path.display()))?
            }
            None => Vec::new(),
        };
        // What the operator may reach is no business of a tenant.
        let of_tenants = Requests::new(dns, options.sso_allow.clone())?;
        Ok(Self {
            named: named.into_iter().map(Arc::new).collect(),
            issuers: Arc::new(Issuers::new(of_tenants)),
        })
    }

    /// Returns those that the operator has named.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.named.iter()
    }

    /// Finds a provider that the operator has named.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Provider>> {
        self.iter().find(|provider| provider.name.as_str() == name)
    }
}

/// Shows the names.
impl std::fmt::Debug for Providers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.iter().map(|provider| &provider.name);
        f.debug_list().entries(names).finish()
    }
}
