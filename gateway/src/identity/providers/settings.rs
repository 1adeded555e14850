//! The operator's file of providers.

use std::{collections::HashSet, sync::Arc};

use anyhow::{Context as _, anyhow, bail, ensure};
use events_schema::{Name, ProviderName, identity::OF_CONNECTIONS};
use serde::Deserialize;

use super::{
    ClientSecret, Endpoints, Kind, Provider, built_in::Urls, discovery::Discovery, profile::GOOGLE,
    requests::Requests,
};

/// The most providers: more than fit on a page to log in.
const MAX_PROVIDERS: usize = 32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    providers: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: ProviderName,
    title: Option<Name>,
    /// By default, the kind that has the name of the provider, or OpenID Connect.
    kind: Option<Kind>,
    /// The issuer of OpenID Connect, or the server of a built-in kind.
    issuer: Option<String>,
    client_id: String,
    client_secret: Option<String>,
    /// The environment variable that has the secret.
    client_secret_env: Option<String>,
    scope: Option<String>,
    email: Option<EmailRule>,
}

/// Whether the word of a provider proves an address.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EmailRule {
    Authoritative,
    Unproved,
}

/// Reads the file.
///
/// # Errors
/// If it is wrong. The error shows no secret.
pub(super) fn read(text: &str, requests: &Requests) -> anyhow::Result<Vec<Provider>> {
    let file: File = serde_json::from_str(text).map_err(|error| without_values(&error))?;
    ensure!(
        file.providers.len() <= MAX_PROVIDERS,
        "there are more than {MAX_PROVIDERS}"
    );
    let mut names = HashSet::new();
    let providers = file.providers.into_iter().map(|entry| {
        let name = entry.name.clone();
        ensure!(
            names.insert(name.clone()),
            "{} is there twice",
            name.as_str()
        );
        ensure!(
            name.as_str() != OF_CONNECTIONS,
            "{OF_CONNECTIONS} is what the issuers of tenants are called"
        );
        let provider = entry.into_provider(requests);
        provider.with_context(|| format!("the provider {}", name.as_str()))
    });
    providers.collect()
}

/// The text of an error may quote a value, which may be a secret.
fn without_values(error: &serde_json::Error) -> anyhow::Error {
    let (line, column) = (error.line(), error.column());
    anyhow!("the file has an error in line {line}, column {column}; see identity-providers.md")
}

impl Entry {
    fn into_provider(self, requests: &Requests) -> anyhow::Result<Provider> {
        let kind = self.kind.unwrap_or_else(|| kind_of(&self.name));
        let endpoints = endpoints(kind, self.issuer.as_deref())?;
        if let Endpoints::Fixed(urls) = &endpoints {
            let checked = urls.all().try_for_each(|url| requests.check(url));
            checked.map_err(|refusal| anyhow!("{refusal}"))?;
        }
        let is_authoritative = self.email == Some(EmailRule::Authoritative);
        ensure!(
            !is_authoritative || kind == Kind::Oidc,
            "only a provider of the kind oidc can be authoritative"
        );
        ensure!(!self.client_id.is_empty(), "client_id is empty");
        let title = self.title.as_ref().map(Name::as_str);
        Ok(Provider {
            title: title
                .unwrap_or_else(|| title_of(kind, &self.name))
                .to_owned(),
            client_secret: client_secret(self.client_secret, self.client_secret_env)?,
            scope: self.scope.unwrap_or_else(|| scope_of(kind).to_owned()),
            name: self.name,
            kind,
            client_id: self.client_id,
            is_authoritative,
            endpoints,
            requests: requests.clone(),
        })
    }
}

fn endpoints(kind: Kind, issuer: Option<&str>) -> anyhow::Result<Endpoints> {
    let issuer = issuer.map(|issuer| issuer.trim_end_matches('\u{20}'));
    let invalid = |invalid| anyhow!("issuer {invalid}");
    Ok(match (kind, issuer) {
        (Kind::Google, issuer) => {
            let discovery = Discovery::of(issuer.unwrap_or(GOOGLE));
            Endpoints::Discovered(Arc::new(discovery.map_err(invalid)?))
        }
        (Kind::Oidc, Some(issuer)) => {
            Endpoints::Discovered(Arc::new(Discovery::of(issuer).map_err(invalid)?))
        }
        (Kind::Oidc, None) => bail!("issuer is missing"),
        (Kind::GitHub, server) => {
            Endpoints::Fixed(Box::new(Urls::of_github(server).map_err(invalid)?))
        }
        (Kind::Facebook, server) => {
            Endpoints::Fixed(Box::new(Urls::of_facebook(server).map_err(invalid)?))
        }
    })
}

fn client_secret(
    secret: Option<String>,
    variable: Option<String>,
) -> anyhow::Result<Option<ClientSecret>> {
    let secret = match (secret, variable) {
        (Some(_), Some(_)) => bail!("there are client_secret and client_secret_env"),
        (None, Some(name)) => {
            let secret = std::env::var(&name);
            Some(secret.map_err(|_| anyhow!("the environment has no {name}"))?)
        }
        (secret, None) => secret,
    };
    ensure!(secret.as_deref() != Some(""), "the client secret is empty");
    Ok(secret.map(ClientSecret))
}

fn kind_of(name: &ProviderName) -> Kind {
    match name.as_str() {
        "google" => Kind::Google,
        "github" => Kind::GitHub,
        "facebook" => Kind::Facebook,
        _ => Kind::Oidc,
    }
}

fn title_of(kind: Kind, name: &ProviderName) -> &str {
    match kind {
        Kind::Google => "Google",
        Kind::GitHub => "GitHub",
        Kind::Facebook => "Facebook",
        Kind::Oidc => name.as_str(),
    }
}

const fn scope_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Google | Kind::Oidc => "openid email profile",
        Kind::GitHub => "read:user user:email",
        Kind::Facebook => "email public_profile",
    }
}

#[cfg(test)]
mod tests;
