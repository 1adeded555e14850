//! The one place where an error becomes a public code.
//!
//! What a library or driver says is logged, once, and never answered.

use std::{sync::Arc, time::Duration};

use async_graphql::{ErrorExtensionValues, ServerError, Value};
use events_schema::{CommandId, Invalid, Rejected};

/// Why a request, or one field of it, is not answered. Each becomes one `extensions.code`.
#[derive(Debug)]
pub(crate) enum Error {
    /// Nobody is logged in, or the password is wrong.
    Unauthenticated(&'static str),
    /// Somebody is logged in, and may not.
    Forbidden,
    /// There is no such thing, or it is somebody else's: the same answer.
    NotFound,
    /// The client must say something else; where it is one input's fault, its name.
    BadUserInput {
        field: Option<&'static str>,
        message: String,
    },
    /// Try again after a while.
    RateLimited { retry_after: Duration },
    /// Published, but not known to be decided and shown yet.
    Pending(CommandId),
    /// The domain said no.
    Rejected(Rejected),
    /// Our fault.
    Internal(anyhow::Error),
}

impl Error {
    /// An input is wrong; the reason continues a sentence that begins with the field.
    pub(crate) fn invalid(field: &'static str) -> impl FnOnce(Invalid) -> Self {
        move |reason| Self::input(field, format!("{field} {reason}."))
    }

    /// An input is wrong, in a whole sentence.
    pub(crate) fn input(field: &'static str, message: impl Into<String>) -> Self {
        Self::BadUserInput {
            field: Some(field),
            message: message.into(),
        }
    }

    /// The request as a whole is wrong.
    pub(crate) fn request(message: impl Into<String>) -> Self {
        Self::BadUserInput {
            field: None,
            message: message.into(),
        }
    }

    /// Nobody is logged in.
    pub(crate) const fn not_logged_in() -> Self {
        Self::Unauthenticated("You are not logged in.")
    }

    /// Where a rejection has a meaning of its own, that meaning; any other error as it is.
    pub(crate) fn if_rejected(self, meaning: impl FnOnce() -> Self) -> Self {
        if let Self::Rejected(_) = self {
            meaning()
        } else {
            self
        }
    }
}

impl Error {
    /// Where what was named is missing or no longer valid, what that means; any other error as it
    /// is.
    pub(crate) fn if_missing(self, meaning: impl FnOnce() -> Self) -> Self {
        let missing =
            |rejected: &Rejected| matches!(rejected.code.as_str(), "not_found" | "challenge_ended");
        if let Self::Rejected(rejected) = &self
            && missing(rejected)
        {
            return meaning();
        }
        self
    }
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        Self::Internal(error)
    }
}

impl From<Error> for async_graphql::Error {
    fn from(error: Error) -> Self {
        let answer = |code: &str, message: String, extra: Option<(&str, Value)>| {
            let mut extensions = ErrorExtensionValues::default();
            extensions.set("code", code);
            if let Some((key, value)) = extra {
                extensions.set(key, value);
            }
            Self {
                message,
                source: None,
                extensions: Some(extensions),
            }
        };
        match error {
            Error::Unauthenticated(message) => answer("UNAUTHENTICATED", message.to_owned(), None),
            Error::Forbidden => answer(
                "FORBIDDEN",
                "You are not allowed to do this.".to_owned(),
                None,
            ),
            Error::NotFound => answer("NOT_FOUND", "There is no such thing.".to_owned(), None),
            Error::BadUserInput { field, message } => answer(
                "BAD_USER_INPUT",
                message,
                field.map(|name| ("field", name.into())),
            ),
            Error::RateLimited { retry_after } => {
                let seconds = retry_after.as_secs_f64().ceil().max(1.0) as u64;
                answer(
                    "RATE_LIMITED",
                    format!("Too many attempts; try again in {seconds} s."),
                    Some(("retryAfter", seconds.into())),
                )
            }
            Error::Pending(id) => {
                let message = "This takes longer than usual; it may still be done.".to_owned();
                answer(
                    "PENDING",
                    message,
                    Some(("commandId", id.to_string().into())),
                )
            }
            Error::Rejected(Rejected { code, message }) => match code.as_str() {
                "not_found" => Error::NotFound.into(),
                "challenge_ended"
                | "too_many_settings"
                | "scopes_missing"
                | "expiry_out_of_bounds" => answer("BAD_USER_INPUT", message, None),
                "forbidden" => answer("FORBIDDEN", message, None),
                // `already_exists`, `password_changed_meanwhile` and the rest: the state of things
                // is against it.
                _ => answer("CONFLICT", message, None),
            },
            Error::Internal(cause) => {
                let internal = answer(
                    "INTERNAL",
                    "Something went wrong on our side.".to_owned(),
                    None,
                );
                Self {
                    source: Some(Arc::new(cause)),
                    ..internal
                }
            }
        }
    }
}

impl From<Error> for ServerError {
    fn from(error: Error) -> Self {
        let async_graphql::Error {
            message,
            source,
            extensions,
        } = error.into();
        Self {
            message,
            source,
            locations: Vec::new(),
            path: Vec::new(),
            extensions,
        }
    }
}

/// Makes errors fit to be answered: what has no code is the query's fault, and what is our own is
/// logged.
pub(crate) fn finish(errors: &mut [ServerError], request_id: &str) {
    for error in errors {
        let cause = error
            .source::<anyhow::Error>()
            .map(|cause| format!("{cause:#}"));
        let extensions = error.extensions.get_or_insert_default();
        if extensions.get("code").is_none() {
            extensions.set("code", "BAD_USER_INPUT");
            if let Some((field, message)) = wrong_input(&error.message) {
                extensions.set("field", field);
                error.message = message;
            }
        } else if let Some(cause) = cause {
            extensions.set("requestId", request_id);
            tracing::error!(request_id, path = ?error.path, error = cause, "internal error");
        }
    }
}

/// The field that the GraphQL library found missing or mistyped, and what to say of it. The library
/// tells in words alone; should they change, the field is no longer named, which
/// `every_refused_field_is_named` notices.
fn wrong_input(library: &str) -> Option<(String, String)> {
    let required = " is required but not provided";
    // `Invalid value for argument "input", field "email" of type "String!" is required but not
    // provided`, `Field "register" argument "input" of type "AccountMutation" is required but not
    // provided`.
    if let Some(before) = library.strip_suffix(required) {
        let (_, named) = before
            .rsplit_once(" field \"")
            .or_else(|| before.rsplit_once(" argument \""))?;
        let (field, _) = named.split_once('"')?;
        return Some((field.to_owned(), format!("{field} is required.")));
    }
    // `Variable input is not defined.`
    if let Some(variable) = library
        .strip_prefix("Variable ")
        .and_then(|rest| rest.strip_suffix(" is not defined."))
    {
        return Some((variable.to_owned(), format!("{variable} is required.")));
    }
    // `Invalid value for argument "input.email", expected type "String"`.
    let (path, reason) = library
        .strip_prefix("Invalid value for argument \"")?
        .split_once("\", ")?;
    let field = path
        .rsplit('.')
        .find(|segment| segment.parse::<usize>().is_err())?;
    let message = if let Some(name) = reason
        .strip_prefix("unknown field \"")
        .and_then(|rest| rest.split('"').next())
    {
        return Some((name.to_owned(), format!("{name} is no field of {field}.")));
    } else if let Some(wanted) = reason.strip_prefix("expected type \"") {
        format!("{field} must be of type {}.", wanted.trim_end_matches('"'))
    } else {
        format!("{field} has a value that its type does not know.")
    };
    Some((field.to_owned(), message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(error: Error) -> String {
        let mut errors = [ServerError::from(error)];
        finish(&mut errors, "r1");
        serde_json::to_string(&errors[0]).unwrap()
    }

    fn rejected(code: &str) -> Error {
        Error::Rejected(Rejected {
            code: code.to_owned(),
            message: "Said the domain.".to_owned(),
        })
    }

    #[test]
    fn every_error_has_its_documented_code() {
        let id = CommandId(events_schema::Id::from_bytes([0xab; 16]));
        for (error, expected) in [
            (
                Error::not_logged_in(),
                r#""extensions":{"code":"UNAUTHENTICATED"}"#,
            ),
            (Error::NotFound, r#""extensions":{"code":"NOT_FOUND"}"#),
            (
                Error::invalid("email")(Invalid("is odd")),
                r#"{"message":"email is odd.","extensions":{"code":"BAD_USER_INPUT","field":"email"}}"#,
            ),
            (
                Error::RateLimited {
                    retry_after: Duration::from_millis(1_200),
                },
                r#""extensions":{"code":"RATE_LIMITED","retryAfter":2}"#,
            ),
            (
                Error::Pending(id),
                r#""extensions":{"code":"PENDING","commandId":"abababababababababababababababab"}"#,
            ),
            (
                rejected("not_found"),
                r#"{"message":"There is no such thing.","extensions":{"code":"NOT_FOUND"}}"#,
            ),
            (
                rejected("already_exists"),
                r#"{"message":"Said the domain.","extensions":{"code":"CONFLICT"}}"#,
            ),
            (
                rejected("password_changed_meanwhile"),
                r#""code":"CONFLICT""#,
            ),
            (rejected("challenge_ended"), r#""code":"BAD_USER_INPUT""#),
        ] {
            let json = answered(error);
            assert!(json.contains(expected), "{json} lacks {expected}");
        }
    }

    #[test]
    fn what_a_library_says_is_not_answered() {
        let json = answered(anyhow::anyhow!("mongodb://user:hunter2@host refused").into());
        assert!(!json.contains("mongodb"), "{json}");
        assert!(
            json.contains(r#""extensions":{"code":"INTERNAL","requestId":"r1"}"#),
            "{json}"
        );
    }

    #[test]
    fn what_the_library_finds_wrong_with_a_query_is_bad_input() {
        let mut errors = [ServerError::new("Unknown field", None)];
        finish(&mut errors, "r1");
        assert!(
            serde_json::to_string(&errors[0])
                .unwrap()
                .contains(r#""code":"BAD_USER_INPUT""#)
        );
    }
}
