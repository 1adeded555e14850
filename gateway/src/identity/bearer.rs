//! Access tokens as clients send them: `ub_` and 64 characters that hold the tenant, a secret and a
//! checksum.
//!
//! The prefix and the checksum let scanners recognize leaked tokens. The tenant shows where to
//! look. What is stored is the token's id: the first half of its SHA-256.

use std::sync::LazyLock;

use axum::http::{HeaderMap, header::AUTHORIZATION};
use data_encoding::{Encoding, Specification};
use event_store::random_bytes;
use events_schema::{AccessTokenId, Id, TenantKey};
use sha2::{Digest, Sha256};

use crate::error::Error;

const PREFIX: &str = "ub_";
/// Bytes of the tenant and the secret.
const CONTENT: usize = 16 + 20;
const CHECKSUM: usize = 4;

/// RFC 4648 base 32 in lower case, without padding: a double click selects all of it.
static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification
        .symbols
        .push_str("abcdefghijklmnopqrstuvwxyz234567");
    specification
        .encoding()
        .unwrap_or(data_encoding::BASE32_NOPAD)
});

/// The text of an access token.
pub(crate) struct AccessToken {
    text: String,
    tenant: TenantKey,
}

impl AccessToken {
    /// Makes a random token for this tenant.
    ///
    /// # Errors
    /// If the operating system has no random bytes.
    pub(crate) fn mint(tenant: TenantKey) -> Result<Self, Error> {
        let secret: [u8; 20] = random_bytes()?;
        let mut bytes = tenant.0.bytes().to_vec();
        bytes.extend(secret);
        bytes.extend(checksum(&bytes));
        Ok(Self {
            text: format!("{PREFIX}{}", BASE32.encode(&bytes)),
            tenant,
        })
    }

    /// Reads a token; `None` if the text is not a well-formed token.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = BASE32.decode(text.strip_prefix(PREFIX)?.as_bytes()).ok()?;
        let (content, sum) = bytes.split_at_checked(CONTENT)?;
        let tenant = Id::from_bytes(content.get(..16)?.try_into().ok()?);
        (sum == checksum(content)).then(|| Self {
            text: text.to_owned(),
            tenant: TenantKey(tenant),
        })
    }

    /// Returns the text, which is shown once.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the tenant in which the token is valid.
    pub(crate) const fn tenant(&self) -> TenantKey {
        self.tenant
    }

    /// Returns the id under which the token is stored.
    pub(crate) fn id(&self) -> AccessTokenId {
        let mut head = [0; 16];
        head.copy_from_slice(&Sha256::digest(&self.text)[..16]);
        AccessTokenId(Id::from_bytes(head))
    }
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM] {
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(&Sha256::digest(content)[..CHECKSUM]);
    sum
}

/// The bearer token of a request.
pub(crate) enum Bearer {
    /// The request has no `Authorization` header.
    Absent,
    /// The request has several such headers, or one without a well-formed access token.
    Malformed,
    /// The request has a well-formed access token.
    Token(AccessToken),
}

/// Reads the `Authorization` header.
pub(crate) fn bearer(headers: &HeaderMap) -> Bearer {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => Bearer::Absent,
        (Some(value), None) => {
            let text = value.to_str().ok().and_then(|text| text.split_once(' '));
            let token = text
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                .and_then(|(_, token)| AccessToken::parse(token.trim()));
            token.map_or(Bearer::Malformed, Bearer::Token)
        }
        (Some(_), Some(_)) => Bearer::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_parses_back_and_a_changed_character_is_noticed() {
        let tenant = TenantKey(Id::from_bytes([7; 16]));
        let token = AccessToken::mint(tenant).unwrap();
        assert_eq!(token.text().len(), 67);
        let read = AccessToken::parse(token.text()).unwrap();
        assert_eq!((read.tenant(), read.id()), (tenant, token.id()));
        for at in 0..token.text().len() {
            let mut forged = token.text().to_owned();
            let other = if &forged[at..=at] == "a" { "b" } else { "a" };
            forged.replace_range(at..=at, other);
            assert!(AccessToken::parse(&forged).is_none(), "{at}");
        }
        for wrong in [
            "",
            "ub_",
            &token.text()[..66],
            &format!("{}a", token.text()),
            &token.text().to_uppercase(),
            "ub_ä",
        ] {
            assert!(AccessToken::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn exactly_one_bearer_token_is_accepted() {
        let token = AccessToken::mint(TenantKey(Id::from_bytes([7; 16]))).unwrap();
        let header = |texts: &[String]| {
            texts
                .iter()
                .map(|text| (AUTHORIZATION, text.parse().unwrap()))
                .collect::<HeaderMap>()
        };
        let good = format!("Bearer {}", token.text());
        assert!(matches!(bearer(&header(&[])), Bearer::Absent));
        assert!(matches!(
            bearer(&header(std::slice::from_ref(&good))),
            Bearer::Token(_)
        ));
        for wrong in [
            vec![good.clone(), good.clone()],
            vec![format!("Basic {}", token.text())],
            vec![token.text().to_owned()],
            vec![String::new()],
        ] {
            assert!(
                matches!(bearer(&header(&wrong)), Bearer::Malformed),
                "{wrong:?}"
            );
        }
    }
}
