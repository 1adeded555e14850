//! Answers that are kept for `Idempotency-Key`.

use std::collections::HashMap;

use serde_json::Value;

use super::refusal::Refusal;

/// Maximum length of a key, in characters.
const KEY_CHARS: usize = 255;
/// How long an answer is kept, in seconds. Stripe forgets keys after a day.
const KEPT: i64 = 24 * 60 * 60;

/// An answer: its status and body.
pub(super) type Answer = (u16, Value);

/// Answers by key.
#[derive(Default)]
pub(super) struct Answers {
    by_key: HashMap<String, Kept>,
}

struct Kept {
    at: i64,
    /// Method, path and parameters.
    request: String,
    answer: Answer,
}

impl Answers {
    /// Returns the answer that this request got before, if any.
    ///
    /// # Errors
    /// If the key is too long, or was used for another request.
    pub(super) fn earlier(
        &mut self,
        key: &str,
        request: &str,
        now: i64,
    ) -> Result<Option<Answer>, Refusal> {
        if key.is_empty() || key.chars().count() > KEY_CHARS {
            let message = format!("An idempotency key has 1 to {KEY_CHARS} characters.");
            return Err(Refusal::invalid(message));
        }
        self.by_key.retain(|_, kept| now - kept.at < KEPT);
        match self.by_key.get(key) {
            Some(kept) if kept.request != request => Err(Refusal::other_request(key)),
            Some(kept) => Ok(Some(kept.answer.clone())),
            None => Ok(None),
        }
    }

    /// Keeps an answer.
    pub(super) fn keep(&mut self, key: &str, request: &str, answer: Answer, at: i64) {
        let request = request.to_owned();
        let kept = Kept {
            at,
            request,
            answer,
        };
        self.by_key.insert(key.to_owned(), kept);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_belongs_to_one_request_for_a_day() {
        let (mut answers, answer) = (Answers::default(), (200, json!({ "id": "cus_1" })));
        assert_eq!(answers.earlier("k", "a", 0).unwrap(), None);
        answers.keep("k", "a", answer.clone(), 0);
        assert_eq!(answers.earlier("k", "a", 10).unwrap(), Some(answer));
        let refusal = answers.earlier("k", "b", 10).unwrap_err();
        assert_eq!(refusal.status, 400);
        assert_eq!(refusal.body()["error"]["type"], "idempotency_error");
        assert_eq!(answers.earlier("k", "b", KEPT).unwrap(), None);
    }

    #[test]
    fn a_key_has_at_most_255_characters() {
        assert!(
            Answers::default()
                .earlier(&"k".repeat(256), "a", 0)
                .is_err()
        );
        assert!(Answers::default().earlier("", "a", 0).is_err());
    }
}
