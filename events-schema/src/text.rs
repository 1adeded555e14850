//! Text from outside, checked once: a value of one of these types is always valid.
//!
//! There is no type for passwords, since they never leave the gateway.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text was refused: the end of a sentence that begins with the name of the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub &'static str);

/// Implements what all text types share. The rule of each type is in its `parse`.
macro_rules! text {
    ($($name:ident)+) => {$(
        impl $name {
            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;
            fn try_from(text: String) -> Result<Self, Invalid> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }
    )+};
}

pub(crate) use text;

text! {
    EmailAddress PersonName PasswordHash Device Name Description SettingKey SettingValue
    Address Reason ProviderName PromotionCode
}

/// An e-mail address, lower-cased as a whole, so that one mailbox has one spelling.
///
/// ASCII only, at most 254 characters (RFC 5321): a dot-atom, `@`, and a host name with a dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct EmailAddress(String);

impl EmailAddress {
    /// Trims, lower-cases and checks an address.
    ///
    /// # Errors
    /// If it is no e-mail address, or longer than 254 characters.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const WRONG: Invalid = Invalid("must be an e-mail address such as ada@example.com");
        let text = text.trim_matches(' ');
        if text.len() > 254 {
            return Err(Invalid("must have at most 254 characters"));
        }
        let (local, host) = text.rsplit_once('@').ok_or(WRONG)?;
        let atom = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&c);
        let local_ok = local.len() <= 64
            && local
                .split('.')
                .all(|part| !part.is_empty() && part.bytes().all(atom));
        let label_ok = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|c| c.is_ascii_alphanumeric() || c == b'-')
        };
        if local_ok && host.contains('.') && host.split('.').all(label_ok) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(WRONG)
        }
    }

    /// Returns the mailbox, such as `ada@example.com` of `ada+news@example.com`: many providers
    /// deliver to it whatever follows the plus sign.
    pub fn mailbox(&self) -> String {
        match self.0.split_once('@') {
            Some((local, domain)) => {
                let name = local.split_once('+').map_or(local, |(name, _)| name);
                let name = if name.is_empty() { local } else { name };
                format!("{name}@{domain}")
            }
            None => self.0.clone(),
        }
    }

    /// Returns the host, such as `example.com`.
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, host)| host)
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a text has something in it that a mail client may turn into a link: a scheme, or a host
/// name such as `evil.example`. It also finds names such as `Node.js`, which look like one.
pub fn has_link(text: &str) -> bool {
    let is_separator = |c: char| c.is_whitespace() || "@,;()<>[]|\"':/?#&=_-".contains(c);
    let is_host = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric());
        let (names, top) = word.rsplit_once('.').unwrap_or_default();
        !names.is_empty() && top.chars().count() >= 2 && top.chars().all(char::is_alphabetic)
    };
    text.contains("://") || text.split(is_separator).any(is_host)
}

/// The name of a party that identifies people, such as `google`: 1 to 32 lower-case letters, digits
/// and hyphens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct ProviderName(String);

impl ProviderName {
    /// Checks a name.
    ///
    /// # Errors
    /// If it is empty, too long or has other characters.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let is_allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let is_name = (1..=32).contains(&text.len()) && text.bytes().all(is_allowed);
        is_name.then(|| Self(text.to_owned())).ok_or(Invalid(
            "must have 1 to 32 lower-case letters, digits and hyphens",
        ))
    }
}

/// A first or last name: 1 to 100 characters, no control characters, trimmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct PersonName(String);

impl PersonName {
    /// Trims and checks a name of 1 to 100 characters.
    ///
    /// # Errors
    /// If it is empty, too long or has unprintable characters.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        line(text).map(Self)
    }
}

/// The name of a tenant, project, role or token: 1 to 100 characters on one line, trimmed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct Name(String);

impl Name {
    /// Trims and checks a name of 1 to 100 characters.
    ///
    /// # Errors
    /// If it is empty, too long or has unprintable characters.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        line(text).map(Self)
    }

    /// Makes a name of a text that somebody else has written: drops unprintable characters, and
    /// cuts what is longer. `None` if nothing is left.
    pub fn shortened(text: &str) -> Option<Self> {
        let printable: String = text.chars().filter(|c| !is_unprintable(*c)).collect();
        let printable = printable.trim();
        let name = if printable.chars().count() > 100 {
            let head: String = printable.chars().take(99).collect();
            head + "…"
        } else {
            printable.to_owned()
        };
        Self::parse(&name).ok()
    }
}

/// The value of a setting: up to 1,000 characters on one line, trimmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct SettingValue(String);

impl SettingValue {
    /// Trims and checks a value.
    ///
    /// # Errors
    /// If it is longer than 1,000 characters or has unprintable ones.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        if text.chars().count() > 1_000 {
            Err(Invalid("must have at most 1000 characters"))
        } else if text.chars().any(is_unprintable) {
            Err(UNPRINTABLE)
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

/// Why somebody has decided something: 1 to 500 characters on one line, trimmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct Reason(String);

impl Reason {
    /// Trims and checks a reason of 1 to 500 characters.
    ///
    /// # Errors
    /// If it is empty, too long or has unprintable characters.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        if !(1..=500).contains(&text.chars().count()) {
            Err(Invalid("must have 1 to 500 characters"))
        } else if text.chars().any(is_unprintable) {
            Err(UNPRINTABLE)
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

/// The name of a setting: 1 to 50 of `a` to `z`, `0` to `9`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct SettingKey(String);

impl SettingKey {
    /// Checks the name of a setting.
    ///
    /// # Errors
    /// If it is empty, too long or has other characters.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if is_label(text, 50) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid("must have 1 to 50 of a-z, 0-9, _ and -"))
        }
    }
}

/// A text of up to 10,000 characters, which may have line breaks and tabs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct Description(String);

impl Description {
    /// Trims and checks a description.
    ///
    /// # Errors
    /// If it is longer than 10,000 characters or has unprintable ones.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        if text.chars().count() > 10_000 {
            Err(Invalid("must have at most 10000 characters"))
        } else if text
            .chars()
            .any(|c| is_unprintable(c) && !matches!(c, '\n' | '\r' | '\t'))
        {
            Err(UNPRINTABLE)
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

/// An IP address as text, at most 45 characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct Address(String);

impl Address {
    /// Checks an address.
    ///
    /// # Errors
    /// If it is no IP address.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let parsed = text
            .parse::<std::net::IpAddr>()
            .map_err(|_| Invalid("must be an IP address"))?;
        Ok(Self(parsed.to_string()))
    }

    /// Returns the address in its parts; `None` never happens to an address that was checked.
    pub fn ip(&self) -> Option<std::net::IpAddr> {
        self.0.parse().ok()
    }
}

const UNPRINTABLE: Invalid = Invalid("must not contain control or direction-changing characters");

fn line(text: &str) -> Result<String, Invalid> {
    let text = text.trim();
    if !(1..=100).contains(&text.chars().count()) {
        Err(Invalid("must have 1 to 100 characters"))
    } else if text.chars().any(is_unprintable) {
        Err(UNPRINTABLE)
    } else {
        Ok(text.to_owned())
    }
}

/// Whether the text is 1 to `longest` of `a` to `z`, `0` to `9`, `_` and `-`.
pub(crate) fn is_label(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_' || c == b'-')
}

/// Whether the character controls the terminal, or invisibly reorders or hides text.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{200B}'
                | '\u{200E}'
                | '\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2066}'..='\u{2069}'
                | '\u{FEFF}'
        )
}

/// A password hash in PHC string format, at most 512 bytes. It is not printed by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Checks a PHC string such as `$argon2id$v=19$…`.
    ///
    /// # Errors
    /// If it does not begin with `$`, is longer than 512 bytes or has unprintable characters.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.starts_with('$') && text.len() <= 512 && text.bytes().all(|c| c.is_ascii_graphic())
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid("must be a password hash in PHC string format"))
        }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// A client's description of itself (its `User-Agent`): at most 200 characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct Device(String);

impl Device {
    /// Drops unprintable characters and cuts the text; an empty result becomes `unknown`.
    ///
    /// # Errors
    /// Never: the result fits the other text types.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let clean: String = text
            .chars()
            .filter(|c| !is_unprintable(*c))
            .take(200)
            .collect();
        Ok(Self(if clean.trim().is_empty() {
            "unknown".to_owned()
        } else {
            clean
        }))
    }

    /// Cleans a `User-Agent` as [`parse`](Self::parse) does.
    pub fn from_user_agent(text: &str) -> Self {
        Self::parse(text).unwrap_or_else(|Invalid(_)| Self("unknown".to_owned()))
    }
}

/// A code that customers enter to pay less. Stripe knows which codes there are, and ignores case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct PromotionCode(String);

impl PromotionCode {
    /// Trims and checks a code: 1 to 100 letters, digits, hyphens and underscores. Many digits
    /// alone may be the number of a card, which must not be stored.
    ///
    /// # Errors
    /// If it has another form.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        let is_word = |c: u8| c.is_ascii_alphanumeric() || b"-_".contains(&c);
        let is_number = text.len() >= 12 && text.bytes().all(|c| c.is_ascii_digit() || c == b'-');
        if (1..=100).contains(&text.len()) && text.bytes().all(is_word) && !is_number {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid("must have 1 to 100 letters, digits, - and _"))
        }
    }
}

#[cfg(test)]
mod tests;
