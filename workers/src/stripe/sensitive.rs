//! Texts of Stripe that nobody may store or log.

use std::fmt;

use serde::Deserialize;

/// A client secret or a link: who has it may pay with a card or see an invoice. It is passed on to
/// the person who asks, and goes nowhere else.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Sensitive(String);

impl Sensitive {
    /// Returns the text, to be shown to the person who asks.
    pub fn reveal(self) -> String {
        self.0
    }
}

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sensitive")
    }
}
