//! Rejections: the domain refuses a command. A rejection is an answer, not a failure.

use serde::{Deserialize, Serialize};

/// Why a command was rejected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Rejection {
    /// The kind of refusal, by which the sender knows how to react.
    pub kind: RejectionKind,
    /// The reason within the area, such as `last_owner`. Derives from the rejection's variant.
    pub code: String,
    /// A sentence that a user may read.
    pub message: String,
    /// How many there are already, if the change would exceed a limit that is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
}

/// The kind of a rejection. Each transport maps the kinds to its own codes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum RejectionKind {
    /// The object does not exist, or the sender must not learn that it does.
    NotFound,
    /// The present state does not allow the change.
    Conflict,
    /// A field has an unacceptable value.
    Invalid {
        /// The field's name in the command, in snake case.
        field: String,
    },
    /// The change would exceed a limit.
    Limit,
    /// The sender lacks a permission.
    Forbidden,
}

impl RejectionKind {
    /// A field has an unacceptable value.
    pub fn invalid(field: &str) -> Self {
        Self::Invalid {
            field: field.to_owned(),
        }
    }
}

/// The refusals of one area: an enum of unit variants, serialized in snake case, whose `Display` is
/// the sentence for users.
pub trait Reject: std::error::Error + Serialize {
    /// Returns the kind of the refusal.
    fn kind(&self) -> RejectionKind;

    /// Returns the rejection as the sender gets it. Its code is the variant's name.
    fn to_rejection(&self) -> Rejection {
        let name = serde_json::to_value(self).unwrap_or_default();
        Rejection {
            kind: self.kind(),
            code: name.as_str().unwrap_or("rejected").to_owned(),
            message: self.to_string(),
            used: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, thiserror::Error)]
    #[serde(rename_all = "snake_case")]
    enum Example {
        #[error("The slug is taken.")]
        SlugTaken,
    }

    impl Reject for Example {
        fn kind(&self) -> RejectionKind {
            RejectionKind::Conflict
        }
    }

    #[test]
    fn the_code_is_the_name_of_the_variant() {
        let rejection = Example::SlugTaken.to_rejection();
        assert_eq!(rejection.code, "slug_taken");
        assert_eq!(rejection.message, "The slug is taken.");
    }
}
