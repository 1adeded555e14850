//! What is common to all views: which area feeds one, and where it lives.

use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Area, Id, Invalid, TenantId, text::is_label};

/// A document that is read. How it is folded from commits is in `workers/src/view/`.
pub trait View: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Its collection, and its token in subjects.
    const NAME: &'static str;
    /// Whose commits it is folded from.
    const AREA: Area;
    /// Where it lives.
    const HOME: Home;
}

/// Where a view lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// In the platform's database: what is looked up before the tenant is known.
    Platform,
    /// Where the tenant's views are kept.
    Tenant,
}

/// Where a tenant's views are kept. The only place that knows is [`Place::database`].
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Place {
    /// In the platform's database, beside those of others.
    #[default]
    Shared,
    /// In a database of the tenant's own.
    Database {
        /// On which host, by the name that the operator gave it; none for the platform's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<HostName>,
    },
}

impl Place {
    /// Checks the name of the platform's database: short enough to be the head of those of tenants,
    /// which have at most 63 bytes.
    pub fn parse_platform(text: &str) -> Result<String, Invalid> {
        let legal = text
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-');
        let fits = (1..=30).contains(&text.len());
        if legal && fits {
            Ok(text.to_owned())
        } else {
            Err(Invalid("must have 1 to 30 of a-z, A-Z, 0-9, _ and -"))
        }
    }

    /// The host and the database that hold a tenant's views, where the platform's are in
    /// `platform`.
    pub fn database(&self, platform: &str, tenant: TenantId) -> (Option<&HostName>, String) {
        match (self, tenant) {
            (Self::Shared, _) | (_, TenantId::Platform) => (None, platform.to_owned()),
            (Self::Database { host }, TenantId::Tenant(id)) => {
                (host.as_ref(), format!("{platform}_{id}"))
            }
        }
    }
}

/// What an operator calls a MongoDB host: 1 to 32 of `a` to `z`, `0` to `9`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct HostName(String);

impl HostName {
    /// Checks a name.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if is_label(text, 32) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid("must have 1 to 32 of a-z, 0-9, _ and -"))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0
    }
}

impl TryFrom<String> for HostName {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

/// The id of the first owner of a tenant, so that whoever founds one knows where to look.
pub fn founder_id(tenant: Id) -> Id {
    crate::secret::derived_id(&[b"founder", tenant.bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_own_database_is_nobody_elses() {
        let id = |byte| TenantId::Tenant(Id::from_bytes([byte; 16]));
        let own = Place::Database {
            host: Some(HostName::parse("eu").unwrap()),
        };
        let (host, database) = own.database("ub", id(1));
        assert_eq!(
            (host.map(HostName::as_str), database.as_str()),
            (Some("eu"), "ub_01010101010101010101010101010101")
        );
        assert_ne!(own.database("ub", id(2)).1, database);
        assert_eq!(Place::Shared.database("ub", id(1)), (None, "ub".to_owned()));
        assert_eq!(
            own.database("ub", TenantId::Platform),
            (None, "ub".to_owned())
        );
    }
}
