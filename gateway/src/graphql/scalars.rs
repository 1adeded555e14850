//! Types that several areas use, and the parsing of inputs.

use async_graphql::{
    ID, InputValueError, InputValueResult, Scalar, ScalarType, SimpleObject, Value,
};
use events_schema::{Id, Invalid, Time};
use jiff::Timestamp;

use crate::error::Error;

/// The answer to a change that returns no object.
#[derive(SimpleObject)]
pub(super) struct Success {
    /// Always true. A change that fails is null, and `errors` says why.
    success: bool,
}

impl Success {
    /// Returns the answer of a change that succeeded.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "every resolver that may fail answers a nullable field"
    )]
    pub(super) const fn yes() -> Result<Option<Self>, Error> {
        Ok(Some(Self { success: true }))
    }
}

pub(super) struct DateTime(pub(super) Time);

/// A point in time: RFC 3339, with a precision of milliseconds. Answers are in UTC, such as
/// `2023-11-14T22:13:20.123Z`.
#[Scalar]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        let time = if let Value::String(text) = &value {
            text.parse::<Timestamp>().ok()
        } else {
            None
        };
        let time = time.map(|time| Self(Time(time.as_millisecond())));
        time.ok_or_else(|| InputValueError::expected_type(value))
    }

    fn to_value(&self) -> Value {
        self.0.to_rfc3339().map_or(Value::Null, Value::String)
    }
}

/// Writes an id as clients see it.
pub(super) fn to_id(id: impl ToString) -> ID {
    ID(id.to_string())
}

/// Parses an id.
///
/// # Errors
/// `NotFound` if it is malformed, as if it did not exist.
pub(super) fn id_of<T: From<Id>>(text: &str) -> Result<T, Error> {
    Id::parse(text).map(T::from).map_err(|_| Error::NotFound)
}

/// Parses an input.
///
/// # Errors
/// `BadUserInput` with the reason of `parse`.
pub(super) fn parsed<T>(
    field: &'static str,
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, Invalid>,
) -> Result<T, Error> {
    parse(text).map_err(Error::invalid(field))
}

/// Parses an input that may be absent.
///
/// # Errors
/// `BadUserInput` with the reason of `parse`.
pub(super) fn optional<T>(
    field: &'static str,
    text: Option<String>,
    parse: impl FnOnce(&str) -> Result<T, Invalid>,
) -> Result<Option<T>, Error> {
    text.map(|text| parsed(field, &text, parse)).transpose()
}

/// Parses the revision that a client has seen, if it names one.
///
/// # Errors
/// `BadUserInput` if it is negative.
pub(super) fn expected(revision: Option<i64>) -> Result<Option<u64>, Error> {
    let revision = revision.map(u64::try_from).transpose();
    revision.map_err(|_| Error::input("revision", "revision must not be negative."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_rfc_3339() {
        let text = Value::String("2023-11-14T22:13:20.123Z".to_owned());
        assert_eq!(DateTime(Time(1_700_000_000_123)).to_value(), text);
        assert_eq!(
            DateTime::parse(text).ok().map(|time| time.0),
            Some(Time(1_700_000_000_123))
        );
    }

    #[test]
    fn a_revision_is_not_negative() {
        assert_eq!(expected(Some(3)).unwrap(), Some(3));
        assert_eq!(expected(None).unwrap(), None);
        assert!(expected(Some(-1)).is_err());
    }
}
