//! Turns errors into GraphQL errors: the only place that knows their codes.
//!
//! The cause of a failure on our side is logged once and never answered.

use std::{sync::Arc, time::Duration};

use async_graphql::{ErrorExtensionValues, Pos, ServerError, Value};
use events_schema::{Name, Rejection, RejectionKind};

use super::names::camel_case;
use crate::error::{Error, OwnedTenant};

const NOT_FOUND: &str = "Not found.";
/// How long a client waits before it repeats a change that could not be sent: a server restarts, or
/// a cluster elects a leader, within some seconds.
const RETRY_AFTER_SECONDS: u64 = 2;

impl From<Error> for async_graphql::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Unauthenticated(message) => answer("UNAUTHENTICATED", message),
            Error::Forbidden => answer("FORBIDDEN", "You are not allowed to do this."),
            Error::StepUpRequired { methods } => {
                let message = "Prove again who you are: use stepUp with one of these methods.";
                let names = methods.iter().map(|method| Value::from(method.name()));
                let names = Value::List(names.collect());
                with(answer("STEP_UP_REQUIRED", message), "methods", Some(names))
            }
            Error::SecondFactorRequired => {
                let message =
                    "Add a second factor to your account first: use credential.startTotp.";
                answer("SECOND_FACTOR_REQUIRED", message)
            }
            Error::SsoRequired { start_url } => {
                let message = "Log in by the tenant's own issuer, at startUrl.";
                with(answer("SSO_REQUIRED", message), "startUrl", Some(start_url))
            }
            Error::NotFound => answer("NOT_FOUND", NOT_FOUND),
            Error::BadUserInput { field, message } => {
                with(answer("BAD_USER_INPUT", message), "field", field)
            }
            Error::RateLimited { retry_after } => {
                let seconds = whole_seconds(retry_after);
                let message = format!("Too many attempts. Try again in {seconds} s.");
                with(answer("RATE_LIMITED", message), "retryAfter", Some(seconds))
            }
            Error::Pending(id) => {
                let message = "This takes longer than usual. Check later whether it is done.";
                with(
                    answer("PENDING", message),
                    "commandId",
                    Some(id.to_string()),
                )
            }
            Error::Unavailable(cause) => {
                let message = "The server cannot do this now. Try again in a few seconds.";
                let error = with(
                    answer("UNAVAILABLE", message),
                    "retryAfter",
                    Some(RETRY_AFTER_SECONDS),
                );
                Self {
                    source: Some(Arc::new(cause)),
                    ..error
                }
            }
            Error::ClientSecretLost(cause) => {
                let message = "The client secret of this connection cannot be read any more. An \
                               administrator of the tenant must enter it again.";
                Self {
                    source: Some(Arc::new(cause)),
                    ..answer("UNAVAILABLE", message)
                }
            }
            Error::PaymentsAway { retry_after } => {
                let seconds = whole_seconds(retry_after);
                let message = format!("Payments do not work now. Try again in {seconds} s.");
                with(answer("UNAVAILABLE", message), "retryAfter", Some(seconds))
            }
            Error::FeatureNotInPlan { feature, plans } => {
                let message = format!("The plan does not have the feature {feature}.");
                let error = answer("FEATURE_NOT_IN_PLAN", message);
                let error = with(error, "feature", Some(feature.as_str()));
                with(error, "plans", Some(named(&plans)))
            }
            Error::LimitReached {
                limit,
                allowed,
                used,
                plans,
            } => {
                let message = format!("The plan allows {allowed} {limit}; {used} are in use.");
                let error = with(
                    answer("LIMIT_REACHED", message),
                    "limit",
                    Some(limit.as_str()),
                );
                let error = with(with(error, "allowed", Some(allowed)), "used", Some(used));
                with(error, "plans", Some(named(&plans)))
            }
            Error::PaymentRequired => {
                let message = "Nothing can be created until the tenant pays or chooses a plan.";
                answer("PAYMENT_REQUIRED", message)
            }
            Error::SoleOwner { tenants } => {
                let message = "You are the only owner of tenants. Make somebody else an owner \
                               there, or delete them.";
                let tenants = tenants.into_iter().map(owned_tenant).collect();
                let tenants = Some(Value::List(tenants));
                with(answer("SOLE_OWNER", message), "tenants", tenants)
            }
            Error::Rejected(rejection) => rejected(rejection),
            Error::Internal(cause) => Self {
                source: Some(Arc::new(cause)),
                ..answer("INTERNAL", "The server failed. Try again later.")
            },
        }
    }
}

/// Rounds up to seconds, at least one.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs_f64().ceil().max(1.0) as u64
}

fn rejected(rejection: Rejection) -> async_graphql::Error {
    let Rejection {
        kind,
        code,
        message,
        used,
    } = rejection;
    let error = match kind {
        RejectionKind::NotFound => answer("NOT_FOUND", NOT_FOUND),
        RejectionKind::Conflict => answer("CONFLICT", message),
        RejectionKind::Invalid { field } => {
            let error = answer("BAD_USER_INPUT", message);
            with(error, "field", Some(camel_case(&field)))
        }
        RejectionKind::Limit => with(answer("LIMIT_REACHED", message), "used", used),
        RejectionKind::Forbidden => answer("FORBIDDEN", message),
    };
    with(error, "reason", Some(code))
}

fn owned_tenant(tenant: OwnedTenant) -> Value {
    let OwnedTenant { id, name } = tenant;
    let fields = [
        ("id", Value::from(id.to_string())),
        ("name", Value::from(name.as_str())),
    ];
    let fields = fields.map(|(key, value)| (async_graphql::Name::new(key), value));
    Value::Object(fields.into_iter().collect())
}

fn named(plans: &[Name]) -> Value {
    let names = plans.iter().map(|name| Value::from(name.as_str()));
    Value::List(names.collect())
}

fn answer(code: &str, message: impl Into<String>) -> async_graphql::Error {
    let mut extensions = ErrorExtensionValues::default();
    extensions.set("code", code);
    async_graphql::Error {
        message: message.into(),
        source: None,
        extensions: Some(extensions),
    }
}

/// Returns how many seconds a client is told to wait.
pub(crate) fn retry_after(error: &ServerError) -> Option<u64> {
    match error.extensions.as_ref()?.get("retryAfter")? {
        Value::Number(seconds) => seconds.as_u64(),
        Value::Null
        | Value::String(_)
        | Value::Boolean(_)
        | Value::Binary(_)
        | Value::Enum(_)
        | Value::List(_)
        | Value::Object(_) => None,
    }
}

fn with(
    mut error: async_graphql::Error,
    key: &str,
    value: Option<impl Into<Value>>,
) -> async_graphql::Error {
    if let Some(value) = value {
        error.extensions.get_or_insert_default().set(key, value);
    }
    error
}

impl From<Error> for ServerError {
    fn from(error: Error) -> Self {
        server_error(error.into(), None)
    }
}

/// Returns the error of an invalid input in a document.
pub(super) fn wrong_input(field: &str, message: String, position: Option<Pos>) -> ServerError {
    let error = with(answer("BAD_USER_INPUT", message), "field", Some(field));
    server_error(error, position)
}

fn server_error(error: async_graphql::Error, position: Option<Pos>) -> ServerError {
    let async_graphql::Error {
        message,
        source,
        extensions,
    } = error;
    ServerError {
        message,
        source,
        locations: position.into_iter().collect(),
        path: Vec::new(),
        extensions,
    }
}

/// Prepares errors for clients. An error without a code comes from the GraphQL library, which found
/// the request invalid. The cause of a failure on our side is logged under the id of the request.
pub(crate) fn finish(errors: &mut [ServerError], request_id: &str, may_suggest: bool) {
    for error in errors {
        let cause = error.source::<anyhow::Error>();
        let cause = cause.map(|cause| format!("{cause:#}"));
        let extensions = error.extensions.get_or_insert_default();
        if extensions.get("code").is_none() {
            extensions.set("code", "BAD_USER_INPUT");
            if let Some((field, message)) = wrong_input_of_library(&error.message) {
                extensions.set("field", field);
                error.message = message;
            } else if error.message.starts_with("Expected input type")
                && let Some(end) = error.message.find(", found ")
            {
                // What it has found instead may be a password.
                error.message.replace_range(end.., ".");
            }
        } else if let Some(cause) = cause {
            extensions.set("requestId", request_id);
            tracing::error!(path = ?error.path, error = cause, "a request failed");
        }
        if !may_suggest && let Some(end) = error.message.find(" Did you mean") {
            error.message.truncate(end);
        }
    }
}

/// Returns the field that the GraphQL library found missing or mistyped, and our message about it.
/// The library reports it in its message only. If its wording changes, the field is no longer
/// named, and a test fails.
fn wrong_input_of_library(message: &str) -> Option<(String, String)> {
    missing_input(message)
        .or_else(|| missing_variable(message))
        .or_else(|| mistyped_input(message))
}

/// Reads `Invalid value for argument "input", field "email" of type "String!" is required but not
/// provided` and `Field "register" argument "input" of type "AccountMutation" is required but not
/// provided`.
fn missing_input(message: &str) -> Option<(String, String)> {
    let before = message.strip_suffix(" is required but not provided")?;
    let (_, named) = before
        .rsplit_once(" field \"")
        .or_else(|| before.rsplit_once(" argument \""))?;
    let (field, _) = named.split_once('"')?;
    Some((field.to_owned(), format!("{field} is required.")))
}

/// Reads `Variable input is not defined.`
fn missing_variable(message: &str) -> Option<(String, String)> {
    let rest = message.strip_prefix("Variable ")?;
    let variable = rest.strip_suffix(" is not defined.")?;
    Some((variable.to_owned(), format!("{variable} is required.")))
}

/// Reads `Invalid value for argument "input.email", expected type "String"`, and messages that end
/// with another reason.
fn mistyped_input(message: &str) -> Option<(String, String)> {
    let rest = message.strip_prefix("Invalid value for argument \"")?;
    let (path, reason) = rest.split_once("\", ")?;
    let mut segments = path.rsplit('.');
    let field = segments.find(|segment| segment.parse::<usize>().is_err())?;
    if let Some(rest) = reason.strip_prefix("unknown field \"") {
        let name = rest.split('"').next()?;
        let message = format!("{field} has no field {name}.");
        return Some((name.to_owned(), message));
    }
    let expected = reason.strip_prefix("expected type \"");
    let message = match expected.map(|name| name.trim_end_matches(['"', '!'])) {
        Some("DateTime") => format!("{field} must be a time such as 2026-11-26T08:00:00Z."),
        Some(name) => format!("{field} must be of type {name}."),
        None => format!("{field} has a value that its type does not allow."),
    };
    Some((field.to_owned(), message))
}

#[cfg(test)]
mod tests;
