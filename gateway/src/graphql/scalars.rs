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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Long(pub(super) i64);

impl Long {
    /// The greatest integer that every JSON parser reads exactly: 2^53 - 1.
    const MAX: i64 = (1 << 53) - 1;

    /// Returns an input that must not be negative.
    ///
    /// # Errors
    /// `BadUserInput` if it is.
    pub(super) fn not_negative(self, field: &'static str) -> Result<u64, Error> {
        let number = u64::try_from(self.0);
        number.map_err(|_| Error::input(field, format!("{field} must not be negative.")))
    }
}

impl From<u64> for Long {
    /// Writes a count. No count comes near the greatest integer.
    fn from(count: u64) -> Self {
        Self(i64::try_from(count).map_or(Self::MAX, |count| count.min(Self::MAX)))
    }
}

/// An integer from -9007199254740991 to 9007199254740991, which is beyond the range of `Int`: every
/// JSON parser reads it exactly.
#[Scalar]
impl ScalarType for Long {
    fn parse(value: Value) -> InputValueResult<Self> {
        let number = match &value {
            Value::Number(number) => number.as_i64(),
            Value::Null
            | Value::String(_)
            | Value::Boolean(_)
            | Value::Binary(_)
            | Value::Enum(_)
            | Value::List(_)
            | Value::Object(_) => None,
        };
        let is_exact = |number: &i64| (-Self::MAX..=Self::MAX).contains(number);
        let number = number.filter(is_exact).map(Self);
        number.ok_or_else(|| InputValueError::expected_type(value))
    }

    // So that the error of a wrong number names its field.
    fn is_valid(value: &Value) -> bool {
        Self::parse(value.clone()).is_ok()
    }

    fn to_value(&self) -> Value {
        self.0.into()
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

    // So that the error of a wrong time names its field.
    fn is_valid(value: &Value) -> bool {
        Self::parse(value.clone()).is_ok()
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
    fn a_long_is_an_integer_that_json_holds_exactly() {
        for number in [0, -1, i64::from(i32::MAX) + 1, Long::MAX, -Long::MAX] {
            assert_eq!(Long(number).to_value(), Value::from(number));
            assert_eq!(Long::parse(number.into()).ok(), Some(Long(number)));
        }
        let fraction = Value::Number(serde_json::Number::from_f64(1.5).unwrap());
        let beyond = [Value::from(Long::MAX + 1), Value::from(-Long::MAX - 1)];
        for wrong in [fraction, Value::from("1"), Value::Null]
            .into_iter()
            .chain(beyond)
        {
            assert!(Long::parse(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_revision_is_not_negative() {
        assert_eq!(expected(Some(3)).unwrap(), Some(3));
        assert_eq!(expected(None).unwrap(), None);
        assert!(expected(Some(-1)).is_err());
    }
}
