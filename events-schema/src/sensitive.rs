//! Texts that nobody may store or log.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A client secret or a link of Stripe: who has it may pay with a card or see an invoice. It is
/// passed on to the person who asks, and goes nowhere else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sensitive(String);

impl Sensitive {
    /// Returns the text, to be shown to the person who asks.
    pub fn reveal(self) -> String {
        self.0
    }
}

/// Hides the text.
impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sensitive")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_sent_and_not_printed() {
        let secret: Sensitive = serde_json::from_str("\"seti_1_secret_2\"").unwrap();
        assert_eq!(format!("{secret:?}"), "Sensitive");
        assert_eq!(
            serde_json::to_string(&secret).unwrap(),
            "\"seti_1_secret_2\""
        );
        assert_eq!(secret.reveal(), "seti_1_secret_2");
    }
}
