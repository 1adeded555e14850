//! Which database holds a tenant's views.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Invalid, TenantId, text::is_label};

/// Where a tenant keeps its views. [`Placement::database`] returns the database.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Placement {
    /// In the platform's database, beside other tenants.
    #[default]
    Shared,
    /// In a database of the tenant's own.
    Database {
        /// The name that the operator gave to the MongoDB host; `None` for the platform's host.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<HostName>,
    },
}

impl Placement {
    /// Checks the name of the platform's database: 1 to 30 characters, since the names of tenants'
    /// databases begin with it and have at most 63 bytes.
    ///
    /// # Errors
    /// If the name is empty or too long, or has other characters than `a-z`, `A-Z`, `0-9`, `_` and
    /// `-`.
    pub fn parse_platform_database(text: &str) -> Result<String, Invalid> {
        let legal = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
        if (1..=30).contains(&text.len()) && text.bytes().all(legal) {
            Ok(text.to_owned())
        } else {
            Err(Invalid("must have 1 to 30 of a-z, A-Z, 0-9, _ and -"))
        }
    }

    /// Returns the host and the database that hold the tenant's views. `platform` is the name of
    /// the platform's database.
    pub fn database(&self, platform: &str, tenant: TenantId) -> (Option<&HostName>, String) {
        match (self, tenant) {
            (Self::Shared, _) | (_, TenantId::Platform) => (None, platform.to_owned()),
            (Self::Database { host }, TenantId::Tenant(key)) => {
                (host.as_ref(), format!("{platform}_{key}"))
            }
        }
    }
}

/// An operator's name for a MongoDB host: 1 to 32 of `a-z`, `0-9`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct HostName(String);

impl HostName {
    /// Checks the name of a host.
    ///
    /// # Errors
    /// If the name is empty or too long, or has other characters than `a-z`, `0-9`, `_` and `-`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if is_label(text, 32) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid("must have 1 to 32 of a-z, 0-9, _ and -"))
        }
    }

    /// Returns the text.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Id, TenantKey};

    #[test]
    fn a_tenants_own_database_belongs_to_no_other_tenant() {
        let tenant = |byte| TenantId::Tenant(TenantKey(Id::from_bytes([byte; 16])));
        let own = Placement::Database {
            host: Some(HostName::parse("eu").unwrap()),
        };
        let (host, database) = own.database("ub", tenant(1));
        assert_eq!(host.map(HostName::as_str), Some("eu"));
        assert_eq!(database, "ub_01010101010101010101010101010101");
        assert_ne!(own.database("ub", tenant(2)).1, database);
        let shared = (None, "ub".to_owned());
        assert_eq!(Placement::Shared.database("ub", tenant(1)), shared);
        assert_eq!(own.database("ub", TenantId::Platform), shared);
    }
}
