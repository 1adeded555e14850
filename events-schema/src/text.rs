//! Text from outside, bounded and cleaned once: who holds one of these types need not check again.
//!
//! Passwords are not among them: they never leave the gateway.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text was refused: the rest of a sentence that starts with the name of the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub &'static str);

/// Text types share their plumbing; the rule of each stands in its `parse`.
macro_rules! text {
    ($($name:ident)+) => {$(
        impl $name {
            /// The text.
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

text! { EmailAddress PersonName PasswordHash Device }

/// An e-mail address, lower-cased as a whole, so that one mailbox has one spelling.
///
/// ASCII only, at most 254 characters (RFC 5321), a dot-atom before the `@`, a host name with a dot behind it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct EmailAddress(String);

impl EmailAddress {
    /// Trims, lower-cases and checks an address.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const WRONG: Invalid = Invalid("must be an e-mail address such as ada@example.com");
        let text = text.trim_matches(' ');
        if text.len() > 254 {
            return Err(Invalid("must have at most 254 characters"));
        }
        let (local, host) = text.rsplit_once('@').ok_or(WRONG)?;
        let atom = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&c);
        let local_ok = local.len() <= 64 && local.split('.').all(|part| !part.is_empty() && part.bytes().all(atom));
        let label_ok = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
        };
        if local_ok && host.contains('.') && host.split('.').all(label_ok) { Ok(Self(text.to_ascii_lowercase())) } else { Err(WRONG) }
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A first or last name: 1 to 100 characters, no control characters, trimmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct PersonName(String);

impl PersonName {
    /// Trims and checks a name.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        if !(1..=100).contains(&text.chars().count()) {
            Err(Invalid("must have 1 to 100 characters"))
        } else if text.chars().any(is_unprintable) {
            Err(Invalid("must not contain control or direction-changing characters"))
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

/// Control characters, and the invisible ones that reorder or hide the text around them.
fn is_unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

/// A password hash in PHC string format, at most 512 bytes. It is not printed by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Takes a PHC string such as `$argon2id$v=19$…`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.starts_with('$') && text.len() <= 512 && text.bytes().all(|c| c.is_ascii_graphic()) {
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

/// What a client says that it is (its `User-Agent`): at most 200 characters, cleaned rather than refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct Device(String);

impl Device {
    /// Drops what cannot be printed and cuts what is too long; nothing left becomes `unknown`. Never fails.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let clean: String = text.chars().filter(|c| !is_unprintable(*c)).take(200).collect();
        Ok(Self(if clean.trim().is_empty() { "unknown".to_owned() } else { clean }))
    }

    /// As [`parse`](Self::parse), for callers that have a text in hand and nothing to refuse.
    pub fn from_user_agent(text: &str) -> Self {
        Self::parse(text).unwrap_or_else(|Invalid(_)| Self("unknown".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_lower_cased_and_trimmed() {
        assert_eq!(EmailAddress::parse(" Ada.Love+x@Example.COM ").unwrap().as_str(), "ada.love+x@example.com");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("{}@example.com", "a".repeat(65));
        let longer = format!("a@{}.com", "a.".repeat(130));
        for wrong in [
            "",
            "a",
            "@",
            "a@",
            "@b.c",
            "a@b",
            "a@b..c",
            "a@-b.c",
            "a@b-.c",
            "a b@c.d",
            "a@b.c\n",
            "a\u{0}@b.c",
            "a..b@c.d",
            ".a@b.c",
            "a@b@c.d ,x",
            "\"a\"@b.c",
            "ä@b.c",
            "a@bücher.de",
            "a@b.c,d@e.f",
            "a@[127.0.0.1]",
            "a@b.c\r\nBcc: x@y.z",
            &long,
            &longer,
        ] {
            assert!(EmailAddress::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_name_keeps_any_script_and_refuses_control_characters() {
        assert_eq!(PersonName::parse("  Zoë 李 ").unwrap().as_str(), "Zoë 李");
        for wrong in ["", "   ", "a\nb", "a\u{0}b", "a\u{202E}b", &"x".repeat(101)] {
            assert!(PersonName::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(PersonName::parse(&"李".repeat(100)).is_ok());
    }

    #[test]
    fn a_device_is_cleaned_never_refused() {
        assert_eq!(Device::from_user_agent("cu\u{0}rl\n").as_str(), "curl");
        assert_eq!(Device::from_user_agent(" ").as_str(), "unknown");
        assert_eq!(Device::from_user_agent(&"x".repeat(999)).as_str().len(), 200);
    }

    #[test]
    fn a_password_hash_is_not_printed() {
        let hash = PasswordHash::parse("$argon2id$v=19$secret").unwrap();
        assert!(!format!("{hash:?}").contains("secret"));
    }
}
