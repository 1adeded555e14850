//! Which tenant a request names, by sub-domain, header, query, cookie or path, as the operator has
//! configured.
//!
//! Only the name is read here. `find.rs` checks whether the tenant exists and whether the caller is
//! a member of it.

use axum::http::{
    HeaderMap, HeaderName, Uri,
    header::{COOKIE, HOST},
};
use events_schema::{Slug, TenantKey, tenant};

use crate::{backend::views::ViewDocument, config::Resolver};

/// The header that [`Resolver::Header`] reads.
const HEADER: HeaderName = HeaderName::from_static("x-tenant");
/// The parameter and the cookie that [`Resolver::Query`] and [`Resolver::Cookie`] read.
const PARAMETER: &str = "tenant";

/// The tenant that a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NamedTenant {
    /// The request names none.
    None,
    Slug(Slug),
    Id(TenantKey),
    /// The request names more than one tenant, or the name is malformed. The next resolver is not
    /// tried.
    Malformed,
}

impl NamedTenant {
    /// Whether the request names this tenant or none at all.
    pub(crate) fn is_none_or(&self, tenant: &ViewDocument<tenant::View>) -> bool {
        match self {
            Self::None => true,
            Self::Id(id) => *id == tenant.id,
            Self::Slug(slug) => *slug == tenant.view.slug,
            Self::Malformed => false,
        }
    }

    fn parse(text: &str) -> Self {
        match (TenantKey::parse(text), Slug::parse(text)) {
            (Ok(id), _) => Self::Id(id),
            (Err(_), Ok(slug)) => Self::Slug(slug),
            (Err(_), Err(_)) => Self::Malformed,
        }
    }
}

/// Where requests name their tenant.
#[derive(Clone, Debug)]
pub(crate) struct TenantResolvers {
    /// Tried in this order.
    resolvers: Vec<Resolver>,
    public_url: String,
}

impl TenantResolvers {
    /// Tries these resolvers in order. Sub-domains are those of the public URL.
    pub(crate) fn new(resolvers: &[Resolver], public_url: &str) -> Self {
        Self {
            resolvers: resolvers.to_vec(),
            public_url: public_url.to_owned(),
        }
    }

    /// Reads the tenant that a request names. The first resolver that finds anything decides.
    pub(crate) fn named(&self, headers: &HeaderMap, uri: &Uri) -> NamedTenant {
        for resolver in &self.resolvers {
            match self.found(*resolver, headers, uri).as_slice() {
                [] => {}
                [one] => return NamedTenant::parse(one),
                _ => return NamedTenant::Malformed,
            }
        }
        NamedTenant::None
    }

    fn found(&self, resolver: Resolver, headers: &HeaderMap, uri: &Uri) -> Vec<String> {
        match resolver {
            Resolver::Subdomain => self.subdomains(headers),
            Resolver::Header => texts(headers, &HEADER),
            Resolver::Query => pairs(uri.query().unwrap_or_default(), '&'),
            Resolver::Cookie => {
                let cookies = texts(headers, &COOKIE);
                let named = cookies.iter().map(|value| pairs(value, ';'));
                named.flatten().collect()
            }
            Resolver::Path => path(uri).into_iter().collect(),
        }
    }

    /// Returns the sub-domain that a request came to, if sub-domains name tenants and this may be
    /// the name of one.
    pub(crate) fn subdomain(&self, headers: &HeaderMap) -> Option<Slug> {
        if !self.resolvers.contains(&Resolver::Subdomain) {
            return None;
        }
        match self.subdomains(headers).as_slice() {
            [one] => Slug::parse(one).ok(),
            _ => None,
        }
    }

    fn subdomains(&self, headers: &HeaderMap) -> Vec<String> {
        match texts(headers, &HOST).as_slice() {
            [] => Vec::new(),
            [host] => subdomain(&self.public_url, host).into_iter().collect(),
            hosts => hosts.to_vec(),
        }
    }

    /// Returns the sentence that tells a client how to name a tenant.
    pub(crate) fn advice(&self) -> String {
        let ways: Vec<String> = self.resolvers.iter().map(|way| self.way(*way)).collect();
        if ways.is_empty() {
            "The request names no tenant, and UB_TENANT_RESOLVERS allows no way to name one."
                .to_owned()
        } else {
            format!(
                "The request names no tenant. Name one by {}.",
                ways.join(" or ")
            )
        }
    }

    fn way(&self, resolver: Resolver) -> String {
        let host = authority(&self.public_url);
        match resolver {
            Resolver::Subdomain => format!("the host `<slug>.{host}`"),
            Resolver::Header => "the header `x-tenant: <slug>`".to_owned(),
            Resolver::Query => "the query `/graphql?tenant=<slug>`".to_owned(),
            Resolver::Cookie => "the cookie `tenant=<slug>`".to_owned(),
            Resolver::Path => "the path `/t/<slug>/graphql`".to_owned(),
        }
    }
}

/// Returns the values of a header. A value that is not text is kept, so that it counts as a
/// malformed name.
fn texts(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter();
    values
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect()
}

fn pairs(text: &str, separator: char) -> Vec<String> {
    let pairs = text
        .split(separator)
        .map(|pair| pair.trim().split_once('=').unwrap_or((pair.trim(), "")));
    pairs
        .filter(|(name, _)| *name == PARAMETER)
        .map(|(_, value)| value.to_owned())
        .collect()
}

/// Returns what precedes the public host in `host`; `None` at the public host itself.
fn subdomain(public_url: &str, host: &str) -> Option<String> {
    let host = host.to_ascii_lowercase();
    let public = authority(public_url).to_ascii_lowercase();
    let before = without_port(&host)
        .strip_suffix(without_port(&public))?
        .strip_suffix('.')?;
    Some(before.to_owned())
}

fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|c| c.is_ascii_digit()) => host,
        _ => authority,
    }
}

fn path(uri: &Uri) -> Option<String> {
    let (tenant, _) = uri.path().strip_prefix("/t/")?.split_once('/')?;
    Some(tenant.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Resolver; 5] = [
        Resolver::Subdomain,
        Resolver::Header,
        Resolver::Query,
        Resolver::Cookie,
        Resolver::Path,
    ];

    fn acme() -> NamedTenant {
        NamedTenant::Slug(Slug::parse("acme").unwrap())
    }

    fn ask(resolvers: &[Resolver], headers: &[(&'static str, &str)], uri: &str) -> NamedTenant {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        let resolvers = TenantResolvers::new(resolvers, "https://example.com:8443");
        resolvers.named(&headers, &uri.parse().unwrap())
    }

    #[test]
    fn each_resolver_reads_its_own_part_of_a_request() {
        let asked: [(&[(&str, &str)], &str); 5] = [
            (&[("host", "acme.example.com:8443")], "/graphql"),
            (&[("x-tenant", "acme")], "/graphql"),
            (&[], "/graphql?a=b&tenant=acme"),
            (&[("cookie", "a=b; tenant=acme")], "/graphql"),
            (&[], "/t/acme/graphql"),
        ];
        for (at, resolver) in ALL.iter().enumerate() {
            for (place, (headers, uri)) in asked.iter().enumerate() {
                assert_eq!(
                    ask(&[*resolver], headers, uri),
                    if at == place {
                        acme()
                    } else {
                        NamedTenant::None
                    },
                    "{resolver:?} {uri}"
                );
            }
        }
    }

    #[test]
    fn the_first_resolver_that_finds_anything_decides() {
        assert_eq!(
            ask(
                &ALL,
                &[("x-tenant", "acme"), ("cookie", "tenant=other")],
                "/graphql?tenant=third"
            ),
            acme()
        );
        assert_eq!(
            ask(
                &ALL,
                &[("x-tenant", "no such thing!")],
                "/graphql?tenant=acme"
            ),
            NamedTenant::Malformed
        );
        assert_eq!(
            ask(&ALL, &[("host", "example.com")], "/graphql"),
            NamedTenant::None
        );
    }

    #[test]
    fn a_malformed_name_or_two_names_are_never_ignored() {
        for (headers, uri) in [
            (
                &[("x-tenant", "acme"), ("x-tenant", "acme")][..],
                "/graphql",
            ),
            (&[("x-tenant", "")], "/graphql"),
            (&[("x-tenant", "acme,other")], "/graphql"),
            (&[("x-tenant", "../platform")], "/graphql"),
            (&[("x-tenant", "ACME")], "/graphql"),
            (&[("x-tenant", "evt.*.>")], "/graphql"),
            (&[], "/graphql?tenant=acme&tenant=other"),
            (&[], "/graphql?tenant"),
            (&[], "/graphql?tenant=%61cme"),
            (&[], "/t//graphql"),
            (&[("cookie", "tenant=acme; tenant=other")], "/graphql"),
            (&[("host", "a.acme.example.com")], "/graphql"),
        ] {
            assert_eq!(
                ask(&ALL, headers, uri),
                NamedTenant::Malformed,
                "{headers:?} {uri}"
            );
        }
        for host in [
            "acme.example.org",
            "acmeexample.com",
            "example.com.evil.org",
            "",
        ] {
            assert_eq!(
                ask(&[Resolver::Subdomain], &[("host", host)], "/graphql"),
                NamedTenant::None,
                "{host}"
            );
        }
    }

    #[test]
    fn a_request_comes_to_the_sub_domain_of_a_tenant_only_if_sub_domains_name_tenants() {
        let subdomain = |resolvers: &[Resolver], hosts: &[&str]| {
            let hosts = hosts.iter().map(|host| (HOST, host.parse().unwrap()));
            let headers: HeaderMap = hosts.collect();
            let resolvers = TenantResolvers::new(resolvers, "https://example.com:8443");
            resolvers.subdomain(&headers)
        };
        let acme = ["acme.example.com:8443"];
        assert_eq!(subdomain(&ALL, &acme), Slug::parse("acme").ok());
        assert_eq!(subdomain(&[Resolver::Header], &acme), None);
        for hosts in [
            &[][..],
            &["example.com:8443"],
            &["a.acme.example.com:8443"],
            &["acme.example.org"],
            &["acme.example.com", "acme.example.com"],
        ] {
            assert_eq!(subdomain(&ALL, hosts), None, "{hosts:?}");
        }
    }

    #[test]
    fn the_advice_names_the_configured_resolvers() {
        let advice = |resolvers: &[Resolver]| {
            TenantResolvers::new(resolvers, "https://example.com:8443/x").advice()
        };
        assert_eq!(
            advice(&[Resolver::Header, Resolver::Path]),
            "The request names no tenant. Name one by the header `x-tenant: <slug>` or the path \
             `/t/<slug>/graphql`."
        );
        assert!(advice(&[Resolver::Subdomain]).contains("`<slug>.example.com:8443`"));
        assert!(!advice(&[Resolver::Cookie]).contains("x-tenant"));
        assert!(advice(&[]).contains("UB_TENANT_RESOLVERS"));
    }
}
