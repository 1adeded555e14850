//! Why Stripe has not done what was asked.

use std::time::Duration;

use hyper::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::effect::outbound;

/// Longest text of Stripe that is kept, in characters.
const MAX_TEXT: usize = 300;
/// When it is worth a look whether Stripe is back, and whether its key was replaced.
const AFTER_OUTAGE: Duration = Duration::from_secs(15);
const AFTER_KEY: Duration = Duration::from_secs(60);
/// What a word has that is a key, or shows a part of one, or is a client secret.
const SECRETS: [&str; 5] = ["sk_", "rk_", "pk_", "whsec_", "_secret_"];

/// Why a request to Stripe failed. No text shows a key or a client secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StripeError {
    /// The bank or Stripe declines the card.
    #[error("the card was declined ({code}): {message}")]
    Declined {
        /// Stripe's code, such as `insufficient_funds`.
        code: String,
        /// Stripe's text for the owner of the card.
        message: String,
    },
    /// The request is wrong, such as for an object that does not exist. A repetition is refused,
    /// too.
    #[error("Stripe refuses the request ({code}): {message}")]
    Refused {
        /// Stripe's code, such as `resource_missing`, or the status of the answer.
        code: String,
        /// Stripe's text for developers.
        message: String,
    },
    /// The key was revoked, or lacks a permission.
    #[error("Stripe does not accept UB_STRIPE_KEY: {0}")]
    Key(String),
    /// Too many requests were sent.
    #[error("Stripe wants no request for {0:?}")]
    RateLimited(Duration),
    /// There is no answer, or none that tells whether the request was done. A repetition with the
    /// same key does it once.
    #[error("Stripe is not available: {0}")]
    Unavailable(String),
    /// Stripe has kept its failure for the key of the request, and repeats it for a day. What was
    /// done is not known. A further key may do it.
    #[error("Stripe repeats a failure: {0}")]
    Repeated(String),
}

impl StripeError {
    /// Whether the object of a request does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "resource_missing")
    }

    /// Whether Stripe cannot compute taxes, since it does not know where the customer is.
    pub fn needs_address(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "customer_tax_location_invalid")
    }

    /// Whether an object with the id of the request exists already.
    pub fn is_there_already(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "resource_already_exists")
    }

    /// Whether a subscription will have no further invoice, since it has ended or will.
    pub(super) fn is_nothing_upcoming(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "invoice_upcoming_none")
    }

    /// Returns the time after which the request is worth a repetition. `None` if time does not
    /// help.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Key(_) => Some(AFTER_KEY),
            Self::RateLimited(pause) => Some(*pause),
            Self::Unavailable(_) | Self::Repeated(_) => Some(AFTER_OUTAGE),
            Self::Declined { .. } | Self::Refused { .. } => None,
        }
    }

    /// Returns the name of the kind, for metrics.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Declined { .. } => "declined",
            Self::Refused { .. } => "refused",
            Self::Key(_) => "key",
            Self::RateLimited(_) => "rate_limited",
            Self::Unavailable(_) => "unavailable",
            Self::Repeated(_) => "repeated",
        }
    }

    pub(super) fn unavailable(reason: impl ToString) -> Self {
        Self::Unavailable(short(&reason.to_string()))
    }

    /// Reads an answer that is no success.
    pub(super) fn of(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let Answer { error } = serde_json::from_slice(body).unwrap_or_default();
        let code = error.code.unwrap_or_else(|| status.as_u16().to_string());
        let text = error.message.unwrap_or_else(|| status.to_string());
        let message = short(&match request_id(headers) {
            Some(request) => format!("{text} [{request}]"),
            None => text.clone(),
        });
        match status.as_u16() {
            // Another request holds the object, or the same key. That ends within seconds.
            409 | 429 if ["lock_timeout", "idempotency_key_in_use"].contains(&code.as_str()) => {
                Self::Unavailable(message)
            }
            402 => Self::Declined {
                code: short(&error.decline_code.unwrap_or(code)),
                message: short(&text),
            },
            400 | 404 => Self::Refused {
                code: short(&code),
                message,
            },
            401 | 403 => Self::Key(message),
            429 => Self::RateLimited(pause(headers)),
            500.. if is_repeated(headers) => Self::Repeated(message),
            _ => Self::Unavailable(format!("{}: {message}", status.as_u16())),
        }
    }
}

/// How long no request is sent if Stripe does not say, and at most.
const USUAL_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

fn pause(headers: &HeaderMap) -> Duration {
    let asked = outbound::retry_after(headers, jiff::Timestamp::now());
    asked.unwrap_or(USUAL_PAUSE).min(LONGEST_PAUSE)
}

/// Whether this is the answer to an earlier request with the same key.
fn is_repeated(headers: &HeaderMap) -> bool {
    let repeated = headers.get("idempotent-replayed");
    repeated.is_some_and(|repeated| repeated == "true")
}

/// Stripe's support asks for this id.
fn request_id(headers: &HeaderMap) -> Option<&str> {
    headers.get("request-id")?.to_str().ok()
}

/// Returns the beginning of a text, without words that are secret.
fn short(text: &str) -> String {
    let is_secret = |word: &str| SECRETS.iter().any(|part| word.contains(part));
    let words = text.split_whitespace();
    let words = words.map(|word| if is_secret(word) { "…" } else { word });
    let text = words.collect::<Vec<_>>().join(" ");
    text.chars().take(MAX_TEXT).collect()
}

#[derive(Default, Deserialize)]
struct Answer {
    #[serde(default)]
    error: Fault,
}

#[derive(Default, Deserialize)]
struct Fault {
    code: Option<String>,
    decline_code: Option<String>,
    message: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(status: u16, error: serde_json::Value) -> StripeError {
        let mut headers = HeaderMap::new();
        headers.insert("request-id", "req_1".parse().unwrap());
        headers.insert("retry-after", "3".parse().unwrap());
        let status = StatusCode::from_u16(status).unwrap();
        let body = json!({ "error": error }).to_string();
        StripeError::of(status, &headers, body.as_bytes())
    }

    #[test]
    fn a_declined_card_has_the_code_of_the_bank_and_the_text_for_its_owner() {
        let declined = of(
            402,
            json!({
                "type": "card_error", "code": "card_declined",
                "decline_code": "insufficient_funds", "message": "Your card has no funds."
            }),
        );
        let expected = StripeError::Declined {
            code: "insufficient_funds".to_owned(),
            message: "Your card has no funds.".to_owned(),
        };
        assert_eq!(declined, expected);
        assert_eq!(declined.retry_after(), None);
    }

    #[test]
    fn the_status_tells_what_a_failure_means() {
        let refused = |code: &str| of(400, json!({ "code": code, "message": "No." }));
        assert_eq!(
            refused("parameter_unknown").to_string(),
            "Stripe refuses the request (parameter_unknown): No. [req_1]"
        );
        assert!(of(404, json!({ "code": "resource_missing" })).is_missing());
        assert!(refused("resource_already_exists").is_there_already());
        let limited = StripeError::RateLimited(Duration::from_secs(3));
        assert_eq!(of(429, json!({ "code": "rate_limit" })), limited);
        for (status, code, name) in [
            (401, "api_key_expired", "key"),
            (403, "", "key"),
            (409, "idempotency_key_in_use", "unavailable"),
            (429, "lock_timeout", "unavailable"),
            (302, "", "unavailable"),
            (424, "", "unavailable"),
            (500, "", "unavailable"),
            (503, "", "unavailable"),
        ] {
            let error = of(status, json!({ "code": code }));
            assert_eq!(error.name(), name, "{status}");
            assert!(error.retry_after().is_some());
        }
    }

    #[test]
    fn only_a_kept_failure_of_stripe_needs_a_further_key() {
        let mut headers = HeaderMap::new();
        headers.insert("idempotent-replayed", "true".parse().unwrap());
        for (status, name) in [(500, "repeated"), (402, "declined")] {
            let status = StatusCode::from_u16(status).unwrap();
            let kept = StripeError::of(status, &headers, b"{}");
            assert_eq!(kept.name(), name);
        }
    }

    #[test]
    fn an_answer_that_is_no_json_is_judged_by_its_status() {
        let page = StripeError::of(StatusCode::BAD_GATEWAY, &HeaderMap::new(), b"<html>");
        assert_eq!(
            page.to_string(),
            "Stripe is not available: 502: 502 Bad Gateway"
        );
    }

    #[test]
    fn no_error_shows_a_secret() {
        for secret in [
            "sk_test_51abc",
            "rk_live_*****abc",
            "'pk_live_abc'",
            "whsec_abc",
            "seti_1_secret_abc",
        ] {
            for status in [400, 401, 402, 403, 404, 500] {
                let message = format!("Invalid: {secret} here {}", "x".repeat(1000));
                let error = of(status, json!({ "message": message }));
                let text = format!("{error} {error:?}");
                assert!(!text.contains("abc"), "{text}");
                assert!(text.contains("here"), "{text}");
                assert!(text.len() < 2 * MAX_TEXT + 200);
            }
        }
    }
}
