//! What a connection is.

use serde::{Deserialize, Serialize};

use crate::{BuiltInRole, Invalid, Name, outbound::WebhookUrl, sealed::Sealed, text::text};

text! { ClientId Issuer }

/// The issuer of OpenID Connect, spelled as it calls itself: its ID tokens repeat each character.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct Issuer(String);

impl Issuer {
    /// Checks an issuer. Whether requests may go there is another question.
    ///
    /// # Errors
    /// If it is no URL, or has a query.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        WebhookUrl::parse(text)?;
        if text.contains('?') {
            return Err(Invalid("must have no query"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// What the issuer calls this deployment: 1 to 255 printable ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct ClientId(String);

impl ClientId {
    /// Trims and checks a client id.
    ///
    /// # Errors
    /// If it is empty, too long or has other characters.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        let is_printable = |c: u8| (b' '..=b'~').contains(&c);
        if (1..=255).contains(&text.len()) && text.bytes().all(is_printable) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid("must have 1 to 255 printable ASCII characters"))
        }
    }
}

/// What a connection is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Settings {
    /// The name for people, such as `Acme`.
    pub name: Name,
    pub issuer: Issuer,
    pub client_id: ClientId,
    /// The client secret. It is never shown.
    pub client_secret: Sealed,
    /// The role of people who log in for the first time.
    pub role: BuiltInRole,
    /// Whether two factors count as proved in the tenant if the issuer says that it has checked
    /// them.
    pub trusts_two_factors: bool,
}

/// Settings to change. An absent one keeps its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Changes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Issuer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<ClientId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Sealed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<BuiltInRole>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusts_two_factors: Option<bool>,
}

impl Settings {
    /// Whether the word of the issuer is worth the same by both settings.
    pub fn vouch_like(&self, other: &Self) -> bool {
        self.issuer == other.issuer
            && self.client_id == other.client_id
            && self.trusts_two_factors == other.trusts_two_factors
    }

    /// Returns the settings after these changes.
    #[must_use]
    pub fn changed(&self, changes: &Changes) -> Self {
        let changes = changes.clone();
        let client_secret = changes.client_secret;
        let trusts_two_factors = changes.trusts_two_factors;
        Self {
            name: changes.name.unwrap_or_else(|| self.name.clone()),
            issuer: changes.issuer.unwrap_or_else(|| self.issuer.clone()),
            client_id: changes.client_id.unwrap_or_else(|| self.client_id.clone()),
            client_secret: client_secret.unwrap_or_else(|| self.client_secret.clone()),
            role: changes.role.unwrap_or(self.role),
            trusts_two_factors: trusts_two_factors.unwrap_or(self.trusts_two_factors),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_keeps_its_spelling() {
        for issuer in ["https://login.example.com", "https://example.com/Tenant/"] {
            assert_eq!(Issuer::parse(issuer).unwrap().as_str(), issuer);
        }
        for wrong in [
            "",
            "example.com",
            "https://a:b@example.com",
            "https://example.com/?a=b",
        ] {
            assert!(Issuer::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_client_id_is_printable_and_bounded() {
        assert!(ClientId::parse(" 0oa1b2c3 ").is_ok());
        for wrong in ["", "ä", "a\nb", &"x".repeat(256)] {
            assert!(ClientId::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
