//! The settings of a provider, as clients choose them: each kind has its own.

use events_schema::{
    ProjectId,
    inbound_source::{Encoding, HeaderName, HmacScheme, Provider},
};

use crate::error::Error;

/// The kinds of providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    StandardWebhooks,
    Stripe,
    Hmac,
    Github,
}

/// The settings of all kinds. A provider takes those of its own kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProviderSettings {
    pub(crate) project: Option<ProjectId>,
    pub(crate) signature_header: Option<HeaderName>,
    pub(crate) encoding: Option<Encoding>,
    pub(crate) timestamp_header: Option<HeaderName>,
    pub(crate) id_header: Option<HeaderName>,
}

impl Kind {
    /// Returns the kind of a provider.
    pub(crate) const fn of(provider: &Provider) -> Self {
        match provider {
            Provider::StandardWebhooks => Self::StandardWebhooks,
            Provider::Stripe => Self::Stripe,
            Provider::Hmac(_) => Self::Hmac,
            Provider::Github { .. } => Self::Github,
        }
    }
}

impl ProviderSettings {
    /// Makes a provider of this kind.
    ///
    /// # Errors
    /// `BadUserInput` if a setting is missing, or is not one of this kind.
    pub(crate) fn provider(self, kind: Kind) -> Result<Provider, Error> {
        self.ensure_of(kind)?;
        Ok(match kind {
            Kind::StandardWebhooks => Provider::StandardWebhooks,
            Kind::Stripe => Provider::Stripe,
            Kind::Github => Provider::Github {
                project: needed("project", self.project)?,
            },
            Kind::Hmac => Provider::Hmac(HmacScheme {
                signature_header: needed("signatureHeader", self.signature_header)?,
                encoding: self.encoding.unwrap_or(Encoding::Hex),
                timestamp_header: self.timestamp_header,
                id_header: self.id_header,
            }),
        })
    }

    /// Returns the provider with these settings. What is absent keeps its value.
    ///
    /// # Errors
    /// `BadUserInput` if a setting is not one of the provider's kind.
    pub(crate) fn change(self, present: &Provider) -> Result<Provider, Error> {
        self.ensure_of(Kind::of(present))?;
        Ok(match present {
            Provider::StandardWebhooks => Provider::StandardWebhooks,
            Provider::Stripe => Provider::Stripe,
            Provider::Github { project } => Provider::Github {
                project: self.project.unwrap_or(*project),
            },
            Provider::Hmac(scheme) => {
                let scheme = scheme.clone();
                Provider::Hmac(HmacScheme {
                    signature_header: self.signature_header.unwrap_or(scheme.signature_header),
                    encoding: self.encoding.unwrap_or(scheme.encoding),
                    timestamp_header: self.timestamp_header.or(scheme.timestamp_header),
                    id_header: self.id_header.or(scheme.id_header),
                })
            }
        })
    }

    fn ensure_of(&self, kind: Kind) -> Result<(), Error> {
        let given = [
            ("project", self.project.is_some(), Kind::Github),
            (
                "signatureHeader",
                self.signature_header.is_some(),
                Kind::Hmac,
            ),
            ("encoding", self.encoding.is_some(), Kind::Hmac),
            (
                "timestampHeader",
                self.timestamp_header.is_some(),
                Kind::Hmac,
            ),
            ("idHeader", self.id_header.is_some(), Kind::Hmac),
        ];
        let mut foreign = given.into_iter();
        match foreign.find(|(_, is_given, of)| *is_given && *of != kind) {
            Some((name, ..)) => {
                let message = format!("{name} is not a setting of this kind of source.");
                Err(Error::input(name, message))
            }
            None => Ok(()),
        }
    }
}

fn needed<T>(name: &'static str, value: Option<T>) -> Result<T, Error> {
    value.ok_or_else(|| Error::input(name, format!("{name} is needed for this kind of source.")))
}

#[cfg(test)]
mod tests {
    use events_schema::Id;

    use super::*;

    const PROJECT: ProjectId = ProjectId(Id::from_bytes([1; 16]));

    fn header(name: &str) -> Option<HeaderName> {
        Some(HeaderName::parse(name).unwrap())
    }
    fn of_project() -> ProviderSettings {
        ProviderSettings {
            project: Some(PROJECT),
            ..ProviderSettings::default()
        }
    }
    fn signed_in(name: &str) -> ProviderSettings {
        ProviderSettings {
            signature_header: header(name),
            ..ProviderSettings::default()
        }
    }
    fn wrong_field(refused: Result<Provider, Error>) -> Option<&'static str> {
        match refused {
            Err(Error::BadUserInput { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_provider_takes_the_settings_of_its_kind_only() {
        let github = Provider::Github { project: PROJECT };
        assert_eq!(of_project().provider(Kind::Github).unwrap(), github);
        for kind in [Kind::StandardWebhooks, Kind::Stripe, Kind::Hmac] {
            assert_eq!(wrong_field(of_project().provider(kind)), Some("project"));
        }
        let refused = signed_in("x-signature").change(&github);
        assert_eq!(wrong_field(refused), Some("signatureHeader"));
    }

    #[test]
    fn a_setting_that_a_kind_needs_is_asked_for() {
        let none = ProviderSettings::default;
        assert_eq!(wrong_field(none().provider(Kind::Github)), Some("project"));
        assert_eq!(
            wrong_field(none().provider(Kind::Hmac)),
            Some("signatureHeader")
        );
        assert!(none().provider(Kind::Stripe).is_ok());
    }

    #[test]
    fn a_change_keeps_what_is_absent() {
        let created = ProviderSettings {
            encoding: Some(Encoding::Base64),
            timestamp_header: header("x-time"),
            ..signed_in("x-signature")
        };
        let created = created.provider(Kind::Hmac).unwrap();
        let changed = signed_in("x-other").change(&created).unwrap();
        let expected = HmacScheme {
            signature_header: header("x-other").unwrap(),
            encoding: Encoding::Base64,
            timestamp_header: header("x-time"),
            id_header: None,
        };
        assert_eq!(changed, Provider::Hmac(expected));
    }
}
