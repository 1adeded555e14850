use std::time::Duration;

use events_schema::{CommandId, Id, Invalid, Name, project, webhook};
use serde_json::json;

use super::*;
use crate::method::SECOND;

fn answered(error: impl Into<ServerError>) -> serde_json::Value {
    let mut errors = [error.into()];
    finish(&mut errors, "r1", false);
    serde_json::to_value(&errors[0]).unwrap()
}

fn rejection(kind: RejectionKind) -> Error {
    Error::Rejected(Rejection {
        kind,
        code: "why_not".to_owned(),
        message: "From the domain.".to_owned(),
        used: None,
    })
}

#[test]
fn who_can_enter_a_lost_client_secret_is_told() {
    let lost = || Error::ClientSecretLost(anyhow::anyhow!("the reason"));
    let error = answered(lost());
    let expected = json!({ "code": "UNAVAILABLE", "requestId": "r1" });
    assert_eq!(error["extensions"], expected);
    let message = error["message"].as_str().unwrap();
    assert!(message.ends_with("must enter it again."), "{message}");
}

#[test]
fn every_error_has_its_documented_code() {
    let pending = CommandId(Id::from_bytes([0xab; 16]));
    let retry_after = Duration::from_millis(1_200);
    for (error, expected) in [
        (Error::not_logged_in(), json!({ "code": "UNAUTHENTICATED" })),
        (Error::Forbidden, json!({ "code": "FORBIDDEN" })),
        (Error::NotFound, json!({ "code": "NOT_FOUND" })),
        (
            Error::StepUpRequired { methods: SECOND },
            json!({ "code": "STEP_UP_REQUIRED", "methods": ["Totp", "RecoveryCode"] }),
        ),
        (
            Error::SecondFactorRequired,
            json!({ "code": "SECOND_FACTOR_REQUIRED" }),
        ),
        (
            Error::SsoRequired {
                start_url: "https://example.com/oauth/1/start".to_owned(),
            },
            json!({
                "code": "SSO_REQUIRED", "startUrl": "https://example.com/oauth/1/start",
            }),
        ),
        (
            Error::invalid("email")(Invalid("is odd")),
            json!({ "code": "BAD_USER_INPUT", "field": "email" }),
        ),
        (Error::request("No."), json!({ "code": "BAD_USER_INPUT" })),
        (
            Error::RateLimited { retry_after },
            json!({ "code": "RATE_LIMITED", "retryAfter": 2 }),
        ),
        (
            Error::PaymentsAway { retry_after },
            json!({ "code": "UNAVAILABLE", "retryAfter": 2 }),
        ),
        (
            Error::Pending(pending),
            json!({ "code": "PENDING", "commandId": "ab".repeat(16) }),
        ),
        (
            Error::FeatureNotInPlan {
                feature: webhook::FEATURE,
                plans: vec![Name::parse("Team").unwrap()],
            },
            json!({
                "code": "FEATURE_NOT_IN_PLAN", "feature": "webhooks",
                "plans": ["Team"],
            }),
        ),
        (
            Error::LimitReached {
                limit: project::PROJECTS,
                allowed: 3,
                used: 4,
                plans: Vec::new(),
            },
            json!({
                "code": "LIMIT_REACHED", "limit": "projects", "allowed": 3, "used": 4,
                "plans": [],
            }),
        ),
        (
            Error::PaymentRequired,
            json!({ "code": "PAYMENT_REQUIRED" }),
        ),
        (
            Error::Unavailable(anyhow::anyhow!("no stream")),
            json!({ "code": "UNAVAILABLE", "retryAfter": 2, "requestId": "r1" }),
        ),
    ] {
        assert_eq!(answered(error)["extensions"], expected);
    }
}

#[test]
fn a_rejection_is_answered_by_its_kind() {
    let own = "From the domain.";
    let field = RejectionKind::invalid("expires_at");
    for (kind, code, field, message) in [
        (RejectionKind::NotFound, "NOT_FOUND", None, NOT_FOUND),
        (RejectionKind::Conflict, "CONFLICT", None, own),
        (field, "BAD_USER_INPUT", Some("expiresAt"), own),
        (RejectionKind::Limit, "LIMIT_REACHED", None, own),
        (RejectionKind::Forbidden, "FORBIDDEN", None, own),
    ] {
        let mut extensions = json!({ "code": code, "reason": "why_not" });
        if let Some(field) = field {
            extensions["field"] = field.into();
        }
        let expected = json!({ "message": message, "extensions": extensions });
        assert_eq!(answered(rejection(kind)), expected);
    }
}

#[test]
fn a_limit_that_is_counted_shows_how_many_there_are() {
    let counted = Error::Rejected(Rejection {
        kind: RejectionKind::Limit,
        code: "limit_reached".to_owned(),
        message: "No more.".to_owned(),
        used: Some(3),
    });
    let expected = json!({ "code": "LIMIT_REACHED", "used": 3, "reason": "limit_reached" });
    assert_eq!(answered(counted)["extensions"], expected);
}

#[test]
fn the_text_of_a_driver_is_never_answered() {
    let cause = anyhow::anyhow!("mongodb://user:hunter2@host refused");
    let answer = answered(Error::from(cause));
    assert!(!answer.to_string().contains("mongodb"), "{answer}");
    let expected = json!({ "code": "INTERNAL", "requestId": "r1" });
    assert_eq!(answer["extensions"], expected);
}

#[test]
fn an_error_of_the_library_is_bad_input_without_a_suggestion() {
    let answer = answered(ServerError::new(r#"Unknown x. Did you mean "y"?"#, None));
    assert_eq!(answer["extensions"]["code"], "BAD_USER_INPUT");
    assert_eq!(answer["message"], "Unknown x.");
}

#[test]
fn no_error_of_the_library_repeats_a_value() {
    let found = r#"Expected input type "LoginInput", found "hunter2"."#;
    let answer = answered(ServerError::new(found, None));
    assert_eq!(answer["message"], r#"Expected input type "LoginInput"."#);
}
