//! Slugs: the short names of tenants.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Invalid, Name, text::text};

text! { Slug }

/// A tenant's short name in URLs: 3 to 40 of `a` to `z`, `0` to `9` and single dashes between them.
/// It is a DNS label and never looks like an id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct Slug(String);

/// Words that look like a part of the platform. They are checked where a slug is chosen, not where
/// one is read: this list grows, and a stored slug must decode for ever.
const RESERVED_SLUGS: [&str; 40] = [
    "about",
    "account",
    "accounts",
    "admin",
    "administrator",
    "api",
    "app",
    "assets",
    "auth",
    "billing",
    "blog",
    "cdn",
    "dashboard",
    "dev",
    "docs",
    "email",
    "ftp",
    "graphql",
    "help",
    "imap",
    "internal",
    "localhost",
    "login",
    "logout",
    "mail",
    "mailbox",
    "platform",
    "pop",
    "root",
    "security",
    "signup",
    "smtp",
    "staging",
    "static",
    "status",
    "support",
    "system",
    "test",
    "webhooks",
    "www",
];

impl Slug {
    /// Checks the form of a slug.
    ///
    /// # Errors
    /// If it is too short, too long, an id, or has other characters or misplaced dashes.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let legal = (3..=40).contains(&text.len())
            && text
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
            && text.split('-').all(|part| !part.is_empty());
        // 32 hex digits would be an id.
        if legal && crate::Id::parse(text).is_err() {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid(
                "must have 3 to 40 of a-z, 0-9 and single dashes between them",
            ))
        }
    }

    /// Checks a new slug, which must not be a reserved word.
    ///
    /// # Errors
    /// If it is malformed or reserved.
    pub fn choose(text: &str) -> Result<Self, Invalid> {
        if RESERVED_SLUGS.contains(&text) {
            Err(Invalid("is reserved; choose another"))
        } else {
            Self::parse(text)
        }
    }

    /// Derives a slug from a name: lower-cased, with a dash for everything but letters and digits.
    ///
    /// # Errors
    /// If the result is too short or reserved.
    pub fn of_name(name: &Name) -> Result<Self, Invalid> {
        let dashed: String = name
            .as_str()
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '-'
                }
            })
            .collect();
        let joined = dashed
            .split('-')
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("-");
        let cut: String = joined.chars().take(40).collect();
        Self::choose(cut.trim_end_matches('-'))
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_a_dns_label_and_no_id() {
        for good in ["abc", "acme", "acme-2", "0-0", &"a".repeat(40), "a1b2c3"] {
            assert_eq!(Slug::parse(good).unwrap().as_str(), good);
        }
        for wrong in [
            "",
            "ab",
            "Acme",
            "acme-",
            "-acme",
            "ac--me",
            "ac_me",
            "ac.me",
            "ac me",
            "äcme",
            &"a".repeat(41),
            &"0a".repeat(16),
            "xn--acme",
        ] {
            assert!(Slug::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(Slug::choose("admin").is_err());
        assert!(
            Slug::parse("admin").is_ok(),
            "what was stored before the word was reserved is still read"
        );
    }

    #[test]
    fn a_name_suggests_a_slug() {
        for (name, slug) in [
            ("Acme Inc.", "acme-inc"),
            ("  A.B & C  ", "a-b-c"),
            (&"x y ".repeat(20), &"x-y-".repeat(10)[..39]),
        ] {
            assert_eq!(
                Slug::of_name(&Name::parse(name).unwrap()).unwrap().as_str(),
                slug,
                "{name}"
            );
        }
        for wrong in ["李", "!!", "Admin"] {
            assert!(
                Slug::of_name(&Name::parse(wrong).unwrap()).is_err(),
                "{wrong}"
            );
        }
    }
}
