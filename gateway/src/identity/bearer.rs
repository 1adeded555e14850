//! Access tokens as machines show them: `ub_` and 64 characters that hold the tenant, a secret and
//! a checksum.
//!
//! The prefix and the checksum let scanners find leaked ones without asking anybody; the tenant
//! says where to look. What is stored is the token's id, half of its SHA-256.

use axum::http::{HeaderMap, header::AUTHORIZATION};
use data_encoding::{Encoding, Specification};
use events_schema::{AccessTokenId, Id};
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

use crate::{error::Error, identity::cookie::random};

const PREFIX: &str = "ub_";
/// Tenant and secret.
const CONTENT: usize = 16 + 20;
const CHECKSUM: usize = 4;

/// Base 32 in lower case, as RFC 4648 has it, without padding: a double click selects all of it.
static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification
        .symbols
        .push_str("abcdefghijklmnopqrstuvwxyz234567");
    specification
        .encoding()
        .unwrap_or(data_encoding::BASE32_NOPAD)
});

/// A token as it is handed out.
pub(crate) struct Token {
    text: String,
    tenant: Id,
}

impl Token {
    /// A token for this tenant that nobody has seen.
    pub(crate) fn mint(tenant: Id) -> Result<Self, Error> {
        let secret: [u8; 20] = random()?;
        let mut bytes = tenant.bytes().to_vec();
        bytes.extend(secret);
        bytes.extend(checksum(&bytes));
        Ok(Self {
            text: format!("{PREFIX}{}", BASE32.encode(&bytes)),
            tenant,
        })
    }

    /// Reads a token; `None` for what was never one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = BASE32.decode(text.strip_prefix(PREFIX)?.as_bytes()).ok()?;
        let (content, sum) = bytes.split_at_checked(CONTENT)?;
        let tenant = Id::from_bytes(content.get(..16)?.try_into().ok()?);
        (sum == checksum(content)).then(|| Self {
            text: text.to_owned(),
            tenant,
        })
    }

    /// What is handed out, once.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whose it is.
    pub(crate) const fn tenant(&self) -> Id {
        self.tenant
    }

    /// Under which id it is stored.
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

/// What a request shows.
pub(crate) enum Bearer {
    /// No key at all.
    Absent,
    /// Something that was never one of ours, or more than one.
    Nonsense,
    /// One that may be good.
    Token(Token),
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
                .and_then(|(_, token)| Token::parse(token.trim()));
            token.map_or(Bearer::Nonsense, Bearer::Token)
        }
        (Some(_), Some(_)) => Bearer::Nonsense,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_no_character_of_it_can_be_another() {
        let tenant = Id::from_bytes([7; 16]);
        let token = Token::mint(tenant).unwrap();
        assert_eq!(token.text().len(), 67);
        let read = Token::parse(token.text()).unwrap();
        assert_eq!((read.tenant(), read.id()), (tenant, token.id()));
        for at in 0..token.text().len() {
            let mut forged = token.text().to_owned();
            let other = if &forged[at..=at] == "a" { "b" } else { "a" };
            forged.replace_range(at..=at, other);
            assert!(Token::parse(&forged).is_none(), "{at}");
        }
        for wrong in [
            "",
            "ub_",
            &token.text()[..66],
            &format!("{}a", token.text()),
            &token.text().to_uppercase(),
            "ub_ä",
        ] {
            assert!(Token::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn only_one_bearer_token_is_taken() {
        let token = Token::mint(Id::from_bytes([7; 16])).unwrap();
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
                matches!(bearer(&header(&wrong)), Bearer::Nonsense),
                "{wrong:?}"
            );
        }
    }
}
