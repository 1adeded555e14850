//! Which tenant a request names, and how: by sub-domain, header, query, cookie or path, whichever
//! the operator has configured.
//!
//! Only the name is read here. Whether there is such a tenant, and whether the caller belongs to
//! it, is found out in `caller.rs`.

use std::fmt;

use axum::http::{
    HeaderMap, HeaderName, Uri,
    header::{COOKIE, HOST},
};
use clap::ValueEnum;
use events_schema::{Id, Slug};

/// The header that [`Resolver::Header`] reads.
const HEADER: HeaderName = HeaderName::from_static("x-tenant");
/// The parameter or cookie that [`Resolver::Query`] and [`Resolver::Cookie`] read.
const PARAMETER: &str = "tenant";

/// Where a request may name its tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Resolver {
    /// `acme.example.com`, where the public URL is `example.com`.
    Subdomain,
    /// `x-tenant: acme`.
    Header,
    /// `/graphql?tenant=acme`.
    Query,
    /// A cookie `tenant=acme`.
    Cookie,
    /// `/t/acme/graphql`.
    Path,
}

impl fmt::Display for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Subdomain => "subdomain",
            Self::Header => "header",
            Self::Query => "query",
            Self::Cookie => "cookie",
            Self::Path => "path",
        })
    }
}

/// What a request says of its tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// Nothing.
    None,
    /// A slug.
    Slug(Slug),
    /// An id.
    Id(Id),
    /// Something that names no tenant, or more than one: never a reason to fall back on another.
    Nonsense,
}

/// The first resolver that finds anything decides, whatever it finds.
pub(crate) fn named(
    resolvers: &[Resolver],
    public_url: &str,
    headers: &HeaderMap,
    uri: &Uri,
) -> Named {
    for resolver in resolvers {
        let found: Vec<String> = match resolver {
            Resolver::Subdomain => match texts(headers, &HOST).as_slice() {
                [] => Vec::new(),
                [host] => subdomain(public_url, host).into_iter().collect(),
                hosts => hosts.to_vec(),
            },
            Resolver::Header => texts(headers, &HEADER),
            Resolver::Query => pairs(uri.query().unwrap_or_default(), '&'),
            Resolver::Cookie => texts(headers, &COOKIE)
                .iter()
                .flat_map(|value| pairs(value, ';'))
                .collect(),
            Resolver::Path => path(uri).into_iter().collect(),
        };
        match found.as_slice() {
            [] => {}
            [one] => return read(one),
            _ => return Named::Nonsense,
        }
    }
    Named::None
}

/// The values of a header. What is not even text is not passed over: it names no tenant.
fn texts(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect()
}

fn read(text: &str) -> Named {
    match (Id::parse(text), Slug::parse(text)) {
        (Ok(id), _) => Named::Id(id),
        (_, Ok(slug)) => Named::Slug(slug),
        _ => Named::Nonsense,
    }
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

/// What stands before the public host; nothing at the public host itself.
fn subdomain(public_url: &str, host: &str) -> Option<String> {
    let authority = public_url
        .split_once("://")
        .map_or(public_url, |(_, rest)| rest)
        .split('/')
        .next()?;
    let host = host.to_ascii_lowercase();
    let before = without_port(&host)
        .strip_suffix(&without_port(authority).to_ascii_lowercase())?
        .strip_suffix('.')?;
    Some(before.to_owned())
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

    fn acme() -> Named {
        Named::Slug(Slug::parse("acme").unwrap())
    }

    fn ask(resolvers: &[Resolver], headers: &[(&'static str, &str)], uri: &str) -> Named {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        named(
            resolvers,
            "https://example.com:8443",
            &headers,
            &uri.parse().unwrap(),
        )
    }

    #[test]
    fn each_resolver_reads_its_own_place_and_no_other() {
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
                    if at == place { acme() } else { Named::None },
                    "{resolver:?} {uri}"
                );
            }
        }
    }

    #[test]
    fn the_first_that_finds_anything_decides() {
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
            Named::Nonsense
        );
        assert_eq!(
            ask(&ALL, &[("host", "example.com")], "/graphql"),
            Named::None
        );
    }

    #[test]
    fn what_names_two_tenants_or_none_names_nothing() {
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
                Named::Nonsense,
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
                Named::None,
                "{host}"
            );
        }
    }
}
