//! What a provider knows about somebody.

use events_schema::{DomainName, EmailAddress, Name, PersonName};
use serde::Deserialize;

/// The issuer at which everybody may have an account, of an organization or their own.
pub(super) const GOOGLE: &str = "https://accounts.google.com";
/// What takes the place of a last name that a provider does not know.
const NO_NAME: &str = "-";

/// What a provider knows about somebody.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Profile {
    pub(crate) email: Option<EmailAddress>,
    /// Whether the provider's word proves that the person owns the address.
    pub(crate) is_proved: bool,
    pub(crate) firstname: PersonName,
    pub(crate) lastname: PersonName,
}

/// The claims of OpenID Connect about a person.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Person {
    pub(super) email: Option<String>,
    #[serde(default)]
    pub(super) email_verified: Flag,
    /// The organisation that the account belongs to at Google.
    pub(super) hd: Option<String>,
    pub(super) name: Option<String>,
    pub(super) given_name: Option<String>,
    pub(super) family_name: Option<String>,
}

/// A yes or no, which some providers write as a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "serde_json::Value")]
pub(super) enum Flag {
    Yes,
    No,
    #[default]
    Unknown,
}

impl From<serde_json::Value> for Flag {
    fn from(value: serde_json::Value) -> Self {
        match (value.as_bool(), value.as_str()) {
            (Some(true), _) | (_, Some("true")) => Self::Yes,
            (Some(false), _) | (_, Some("false")) => Self::No,
            _ => Self::Unknown,
        }
    }
}

impl Person {
    /// Returns the address, if it is one that an account may have.
    pub(super) fn email(&self) -> Option<EmailAddress> {
        EmailAddress::parse(self.email.as_deref()?).ok()
    }

    /// Whether the person is of an organization at Google with such a domain. Google says by `hd`
    /// whose an account is: one of their own may have an address of the organization, too.
    pub(super) fn is_of(&self, is_own: impl Fn(&DomainName) -> bool) -> bool {
        let organization = self.hd.as_deref().map(DomainName::parse);
        organization.is_some_and(|name| name.is_ok_and(|name| is_own(&name)))
    }

    /// Returns what is known of a person about whom the provider was asked again. The address stays
    /// that of the first answer. If the second one names another, it is not verified.
    pub(super) fn completed(self, info: Self) -> Self {
        if self.email.is_none() {
            return info;
        }
        let is_same = info.email.is_none() || info.email() == self.email();
        let email_verified = if is_same {
            info.email_verified
        } else {
            Flag::No
        };
        Self {
            email_verified,
            ..self
        }
    }

    /// Returns first and last name, or what comes closest.
    pub(super) fn names(&self) -> (PersonName, PersonName) {
        let given = (self.given_name.as_deref(), self.family_name.as_deref());
        let whole = self.name.as_deref().unwrap_or_default().trim();
        let (first, last) = whole.rsplit_once(' ').unwrap_or((whole, ""));
        let local = self.email.as_deref().and_then(|it| it.split('@').next());
        (
            first_usable([
                given.0.unwrap_or_default(),
                first,
                local.unwrap_or_default(),
            ]),
            first_usable([given.1.unwrap_or_default(), last, ""]),
        )
    }
}

/// Whether anybody may have an account at this issuer, and not only the people of an organization.
pub(crate) fn knows_strangers(issuer: &str) -> bool {
    issuer == GOOGLE
}

/// Returns the first of these texts that a name can be made of.
fn first_usable(texts: [&str; 3]) -> PersonName {
    let mut names = texts.into_iter().filter_map(name);
    names.next().unwrap_or_else(placeholder)
}

/// Makes a name of a text that somebody else has written.
fn name(text: &str) -> Option<PersonName> {
    let shortened = Name::shortened(text)?;
    PersonName::parse(shortened.as_str()).ok()
}

fn placeholder() -> PersonName {
    PersonName::parse(NO_NAME).unwrap_or_else(|_| unreachable!("it is a name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(person: &Person) -> (String, String) {
        let (first, last) = person.names();
        (first.as_str().to_owned(), last.as_str().to_owned())
    }

    #[test]
    fn a_name_is_made_of_what_the_provider_knows() {
        let text = |text: &str| Some(text.to_owned());
        let mut person = Person {
            email: text("ada@example.com"),
            ..Person::default()
        };
        assert_eq!(names(&person), ("ada".into(), "-".into()));
        person.name = text("Augusta Ada Lovelace\u{202e}");
        assert_eq!(names(&person), ("Augusta Ada".into(), "Lovelace".into()));
        person.given_name = text("Ada");
        person.family_name = text("L".repeat(200).as_str());
        let (first, last) = names(&person);
        assert_eq!((first.as_str(), last.chars().count()), ("Ada", 100));
        assert_eq!(names(&Person::default()), ("-".into(), "-".into()));
    }

    #[test]
    fn a_second_answer_tells_whether_the_address_of_the_first_is_verified() {
        let person = |email: Option<&str>, email_verified| Person {
            email: email.map(str::to_owned),
            email_verified,
            ..Person::default()
        };
        let known = || person(Some("ada@example.com"), Flag::Unknown);
        for (info, expected) in [
            (person(Some("ADA@example.com"), Flag::No), Flag::No),
            (person(Some("ada@example.com"), Flag::Yes), Flag::Yes),
            (
                person(Some("ada@example.com"), Flag::Unknown),
                Flag::Unknown,
            ),
            (person(Some("eve@example.com"), Flag::Yes), Flag::No),
            (person(Some("no address"), Flag::Yes), Flag::No),
            (person(None, Flag::No), Flag::No),
        ] {
            let completed = known().completed(info);
            assert_eq!(completed.email_verified, expected);
            assert_eq!(completed.email.as_deref(), Some("ada@example.com"));
        }
        let info = person(Some("ada@example.com"), Flag::Yes);
        let completed = person(None, Flag::Unknown).completed(info);
        assert_eq!(completed.email_verified, Flag::Yes);
    }

    #[test]
    fn a_google_account_is_of_the_organization_that_google_names() {
        let person = |hd: Option<&str>| Person {
            email: Some("ada@corp.example".to_owned()),
            hd: hd.map(str::to_owned),
            ..Person::default()
        };
        let is_own = |name: &DomainName| name.as_str() == "corp.example";
        for (hd, expected) in [
            (Some("corp.example"), true),
            (Some("Corp.example"), true),
            (Some("other.example"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(person(hd).is_of(is_own), expected, "{hd:?}");
        }
    }

    #[test]
    fn a_flag_may_be_a_text() {
        let flag = |text| serde_json::from_str::<Flag>(text).unwrap();
        assert_eq!(flag("true"), Flag::Yes);
        assert_eq!(flag("\"true\""), Flag::Yes);
        assert_eq!(flag("false"), Flag::No);
        for unknown in ["1", "\"yes\"", "null", "{}"] {
            assert_eq!(flag(unknown), Flag::Unknown, "{unknown}");
        }
    }
}
