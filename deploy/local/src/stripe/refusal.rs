//! Answers that are not a success, in Stripe's shape.

use serde_json::{Value, json};

use super::card::Decline;

/// An answer that is not a success. Nothing has changed, unless [`Refusal::is_kept`].
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    error: Value,
}

impl Refusal {
    /// Refuses a request that is wrong.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", message.into())
    }

    fn new(status: u16, kind: &str, message: String) -> Self {
        let error = json!({ "type": kind, "message": message });
        Self { status, error }
    }

    /// A page of another site has sent the request.
    pub(super) fn of_another_site() -> Self {
        let message = "Other sites must not use the development Stripe.";
        Self::new(403, "invalid_request_error", message.to_owned())
    }

    /// Adds the parameter that is wrong.
    pub(super) fn param(self, name: &str) -> Self {
        self.with("param", name)
    }

    /// Adds a code for programs.
    pub(super) fn code(self, code: &str) -> Self {
        self.with("code", code)
    }

    /// Adds a further field.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.error[name] = value.into();
        self
    }

    /// Refuses a parameter that this service does not know.
    pub(super) fn unknown(param: &str) -> Self {
        Self::invalid(format!("Received unknown parameter: {param}"))
            .code("parameter_unknown")
            .param(param)
    }

    /// Refuses a request without this parameter.
    pub(super) fn required(param: &str) -> Self {
        Self::invalid(format!("Missing required param: {param}."))
            .code("parameter_missing")
            .param(param)
    }

    /// Refuses an id in the path.
    pub(super) fn not_found(name: &str, id: &str) -> Self {
        Self {
            status: 404,
            ..Self::missing(name, id, "id")
        }
    }

    /// Refuses an id in a parameter.
    pub(super) fn missing(name: &str, id: &str, param: &str) -> Self {
        Self::invalid(format!("No such {name}: '{id}'"))
            .code("resource_missing")
            .param(param)
    }

    /// Refuses a path or method.
    pub(super) fn no_such_url(method: &str, path: &str) -> Self {
        let message = format!("Unrecognized request URL ({method}: {path}).");
        Self::new(404, "invalid_request_error", message)
    }

    /// Refuses a caller whose key is not the right one.
    pub(super) fn wrong_key(message: &str) -> Self {
        Self::new(401, "invalid_request_error", message.to_owned())
    }

    /// Refuses a key for idempotency that was used for another request.
    pub(super) fn other_request(key: &str) -> Self {
        let message = format!(
            "Keys for idempotent requests can only be used with the same parameters they were \
             first used with. Try using a key other than '{key}' if you meant to execute a \
             different request."
        );
        Self::new(400, "idempotency_error", message)
    }

    /// Tells that the bank refused a card.
    pub(super) fn declined(decline: &Decline) -> Self {
        Self {
            status: 402,
            error: decline.shown(),
        }
    }

    /// An answer that a test asked for.
    pub(super) fn ordered(status: u16) -> Self {
        let refusal = |kind, message: &str| Self::new(status, kind, message.to_owned());
        match status {
            401 => refusal("invalid_request_error", "Expired API Key provided."),
            403 => refusal("invalid_request_error", "The key may not do this."),
            409 => refusal("idempotency_error", "A request with this key is running.")
                .code("idempotency_key_in_use"),
            429 => {
                refusal("invalid_request_error", "Request rate limit exceeded.").code("rate_limit")
            }
            500.. => refusal("api_error", "An unknown error occurred."),
            _ => refusal("invalid_request_error", "A test asked for this answer."),
        }
    }

    /// Whether a repeated request gets this answer again. Stripe keeps what the bank said, and
    /// forgets requests that were wrong.
    pub(super) const fn is_kept(&self) -> bool {
        self.status == 402
    }

    /// Returns the body.
    pub(super) fn body(&self) -> Value {
        json!({ "error": self.error })
    }
}
