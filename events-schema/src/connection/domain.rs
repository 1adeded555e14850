//! The domains of a connection. One counts once its owner has published a record in DNS.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use url::Host;

use crate::{EmailAddress, Invalid, Time, text::text};

/// How often the record of a domain that counts is looked for.
pub const CHECKED_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// A domain whose record is missing counts for this long after that was seen first.
pub const LOST_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The owners learn that the servers of a domain have not answered for this long. The domain counts
/// on: our own resolver may be at fault.
pub const SILENT_AFTER: Duration = Duration::from_secs(3 * 24 * 60 * 60);
/// How often a finding is recorded that changes nothing, so that the log does not grow each day.
const RECORDED_EVERY: Duration = Duration::from_secs(7 * 24 * 60 * 60);

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

impl Finding {
    /// Returns what this means for a domain that counts.
    const fn of_verified(self) -> CheckOutcome {
        match self {
            Self::Found => CheckOutcome::Found,
            Self::Missing => CheckOutcome::Missing,
            Self::Unavailable => CheckOutcome::Unavailable,
        }
    }
}

/// What the owners of a tenant are warned of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Warning {
    /// The record is missing.
    Missing {
        /// Until when the domain counts without it.
        until: Time,
    },
    /// DNS does not answer.
    Silent { since: Time },
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
    /// Since when the record is missing; `None` if it was found since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<Time>,
    /// Since when DNS does not answer; `None` if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_since: Option<Time>,
    /// When the record was last looked for, as far as that is recorded.
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
        let is_over = self.counts_until().is_some_and(|until| until <= now);
        finding == Finding::Missing && is_over
    }

    /// Returns until when a domain counts whose record is missing.
    pub fn counts_until(&self) -> Option<Time> {
        let since = self.missing_since.filter(|_| self.is_verified());
        since.map(|since| since + LOST_AFTER)
    }

    /// Returns what the owners are warned of if this is found now. They are warned once of each
    /// time that the record is missing, and once of each time that DNS does not answer.
    pub fn warning(&self, finding: Finding, now: Time) -> Option<Warning> {
        if !self.is_verified() {
            return None;
        }
        match finding {
            Finding::Found => None,
            Finding::Missing => self.missing_since.is_none().then_some(Warning::Missing {
                until: now + LOST_AFTER,
            }),
            Finding::Unavailable => {
                let since = self.silent_since?;
                let at = since + SILENT_AFTER;
                let was_before = self.checked_at.is_some_and(|checked_at| checked_at < at);
                (was_before && at <= now).then_some(Warning::Silent { since })
            }
        }
    }

    /// Whether a finding is worth a record: somebody waits for it, it is another one than before,
    /// it has a consequence, or the last record is a week old.
    pub fn is_news(&self, finding: Finding, now: Time) -> bool {
        let by_itself = self.checked_at.map(|at| at + CHECKED_EVERY);
        let is_awaited = !self.is_verified() || self.next_check_at != by_itself;
        let is_other = self.outcome != Some(finding.of_verified());
        let is_old = self
            .checked_at
            .is_none_or(|at| now.since(at) >= RECORDED_EVERY);
        let is_lost = self.is_lost_by(finding, now);
        is_awaited || is_other || is_old || is_lost || self.warning(finding, now).is_some()
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
