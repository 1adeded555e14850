//! The domains of a connection. One counts once its owner has published a record in DNS.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use url::Host;

use crate::{EmailAddress, Invalid, Time, text::text};

/// How often the record of a domain that counts is looked for.
pub const CHECKED_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// A domain whose record is missing counts for this long after it was found last.
pub const LOST_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// A domain whose servers do not answer counts for this long after its record was found last: our
/// own resolver may be at fault.
pub const SILENT_AFTER: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// What is in front of a domain in the name of its record.
const RECORD: &str = "_ub-challenge";
/// Longest domain, in characters, so that the name of its record fits into DNS.
const MAX_LENGTH: usize = 253 - RECORD.len() - 1;

text! { DomainName }

/// The name of a domain, in lower case and in the ASCII form of DNS, with a dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct DomainName(String);

impl DomainName {
    /// Trims a name and writes it as DNS does: lower case, and Punycode for other letters.
    ///
    /// # Errors
    /// If it is no name of a domain, or too long.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const WRONG: Invalid = Invalid("must be a domain such as example.com");
        let Ok(Host::Domain(name)) = Host::parse(text.trim()) else {
            return Err(WRONG);
        };
        if name.len() > MAX_LENGTH || !name.contains('.') || !name.split('.').all(is_label) {
            return Err(WRONG);
        }
        Ok(Self(name))
    }

    /// Returns the domain of an address; `None` if it is no name that a connection may have.
    pub fn of(email: &EmailAddress) -> Option<Self> {
        Self::parse(email.domain()).ok()
    }

    /// Returns the name of the record that proves who owns the domain.
    pub fn record(&self) -> String {
        format!("{RECORD}.{}", self.0)
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_label(label: &str) -> bool {
    let is_allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(is_allowed)
}

/// What was found where the record of a domain should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Finding {
    /// The record.
    Found,
    /// No such record.
    Missing,
    /// DNS does not answer.
    Unavailable,
}

/// What the last look for the record of a domain has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum CheckOutcome {
    /// The record is there.
    Found,
    /// There is no such record.
    Missing,
    /// DNS does not answer.
    Unavailable,
    /// The record is there, and the domain counts for another connection.
    Taken,
}

/// A domain of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Domain {
    pub name: DomainName,
    /// What the record must say.
    pub challenge: String,
    pub added_at: Time,
    /// When the domain began to count; `None` if it does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Time>,
    /// When the record was last found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found_at: Option<Time>,
    /// When the record was last looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<CheckOutcome>,
    /// When the record is looked for next; `None` if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_check_at: Option<Time>,
}

impl Domain {
    /// Whether the addresses of the domain count as proved.
    pub const fn is_verified(&self) -> bool {
        self.verified_at.is_some()
    }

    /// Whether a domain that counts would do so no longer if this was found now.
    pub fn is_lost_by(&self, finding: Finding, now: Time) -> bool {
        let found_at = self.found_at.unwrap_or(self.added_at);
        let longest = match finding {
            Finding::Found => return false,
            Finding::Missing => LOST_AFTER,
            Finding::Unavailable => SILENT_AFTER,
        };
        self.is_verified() && now.since(found_at) >= longest
    }

    /// Returns until when a domain counts whose record is missing.
    pub fn counts_until(&self) -> Option<Time> {
        let is_missing = self.outcome == Some(CheckOutcome::Missing) && self.is_verified();
        self.found_at
            .filter(|_| is_missing)
            .map(|at| at + LOST_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_written_as_dns_writes_it() {
        for (text, expected) in [
            ("example.com", "example.com"),
            (" Example.COM ", "example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("a.b.example.com", "a.b.example.com"),
        ] {
            assert_eq!(DomainName::parse(text).unwrap().as_str(), expected);
        }
        let long = format!("{}.com", "a".repeat(64));
        for wrong in [
            "",
            "com",
            "example.com.",
            "10.0.0.1",
            "[::1]",
            "*.example.com",
            "a_b.example.com",
            "https://example.com",
            "example.com/a",
            "-a.com",
            "a..com",
            &long,
        ] {
            assert!(DomainName::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_belongs_to_its_own_domain_only() {
        let of = |text| DomainName::of(&EmailAddress::parse(text).unwrap()).unwrap();
        assert_eq!(of("Ada@Example.com").as_str(), "example.com");
        assert_eq!(of("ada@mail.example.com").as_str(), "mail.example.com");
    }

    #[test]
    fn the_name_of_a_record_is_that_of_its_domain_with_a_label_in_front() {
        let domain = DomainName::parse("example.com").unwrap();
        assert_eq!(domain.record(), "_ub-challenge.example.com");
    }
}
