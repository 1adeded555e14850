//! Stripe's test cards, which need no number: each has a name, such as `pm_card_visa`.

use serde_json::{Value, json};

/// Why a bank refuses a card.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Decline {
    code: &'static str,
    /// What the bank said, if anything.
    decline_code: Option<&'static str>,
    message: &'static str,
}

/// The bank gives no reason.
const DECLINED: Decline = Decline::by_bank("generic_decline", "Your card was declined.");
/// The person did not prove to be the owner.
pub(super) const NOT_AUTHENTICATED: Decline = Decline {
    code: "setup_intent_authentication_failure",
    decline_code: None,
    message: "The person could not be authenticated.",
};
/// The same for a payment.
pub(super) const PAYMENT_NOT_AUTHENTICATED: Decline = Decline {
    code: "payment_intent_authentication_failure",
    decline_code: None,
    message: "The person could not be authenticated.",
};
/// The owner has to confirm, and the caller wants no incomplete subscription.
pub(super) const NEEDS_CONFIRMATION: Decline = Decline {
    code: "subscription_payment_intent_requires_action",
    decline_code: None,
    message: "Payment for this subscription requires additional user action before it can be \
              completed successfully.",
};

impl Decline {
    const fn by_bank(decline_code: &'static str, message: &'static str) -> Self {
        Self {
            code: "card_declined",
            decline_code: Some(decline_code),
            message,
        }
    }

    const fn by_code(code: &'static str, message: &'static str) -> Self {
        Self {
            code,
            decline_code: None,
            message,
        }
    }

    /// Returns the error as an answer or an object has it.
    pub(super) fn shown(&self) -> Value {
        let mut error = json!({
            "type": "card_error",
            "code": self.code,
            "message": self.message,
        });
        if let Some(decline_code) = self.decline_code {
            error["decline_code"] = decline_code.into();
        }
        error
    }
}

/// What a bank says about a card.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Bank {
    /// Everything succeeds.
    Accepts,
    /// The card can be neither attached nor charged.
    Declines(Decline),
    /// The card can be attached, and each charge is declined.
    DeclinesCharges(Decline),
    /// The owner has to confirm each charge.
    AsksAlways,
    /// The owner has to confirm once, when the card is set up.
    AsksOnce,
}

/// A card that needs no number.
#[derive(Debug, PartialEq)]
pub(super) struct TestCard {
    /// The name after `pm_card_` and `tok_`.
    name: &'static str,
    pub(super) brand: &'static str,
    pub(super) last4: &'static str,
    pub(super) bank: Bank,
}

impl TestCard {
    const fn visa(name: &'static str, last4: &'static str, bank: Bank) -> Self {
        Self {
            name,
            brand: "visa",
            last4,
            bank,
        }
    }

    /// Returns the card of `pm_card_visa` or `tok_visa`, if there is one.
    pub(super) fn by_id(id: &str) -> Option<&'static Self> {
        let name = id
            .strip_prefix("pm_card_")
            .or_else(|| id.strip_prefix("tok_"))?;
        CARDS.iter().find(|card| card.name == name)
    }
}

/// The cards, with the names and last digits of Stripe's documentation.
static CARDS: [TestCard; 12] = [
    TestCard::visa("visa", "4242", Bank::Accepts),
    TestCard::visa("visa_debit", "5556", Bank::Accepts),
    TestCard {
        name: "mastercard",
        brand: "mastercard",
        last4: "4444",
        bank: Bank::Accepts,
    },
    TestCard {
        name: "amex",
        brand: "amex",
        last4: "0005",
        bank: Bank::Accepts,
    },
    TestCard::visa("chargeDeclined", "0002", Bank::Declines(DECLINED)),
    TestCard::visa(
        "chargeDeclinedInsufficientFunds",
        "9995",
        Bank::Declines(Decline::by_bank(
            "insufficient_funds",
            "Your card has insufficient funds.",
        )),
    ),
    TestCard::visa(
        "chargeDeclinedExpiredCard",
        "0069",
        Bank::Declines(Decline::by_code("expired_card", "Your card has expired.")),
    ),
    TestCard::visa(
        "chargeDeclinedIncorrectCvc",
        "0127",
        Bank::Declines(Decline::by_code(
            "incorrect_cvc",
            "Your card's security code is incorrect.",
        )),
    ),
    TestCard::visa(
        "chargeDeclinedProcessingError",
        "0119",
        Bank::Declines(Decline::by_code(
            "processing_error",
            "An error occurred while processing your card. Try again in a little bit.",
        )),
    ),
    TestCard::visa(
        "chargeCustomerFail",
        "0341",
        Bank::DeclinesCharges(DECLINED),
    ),
    TestCard::visa("authenticationRequired", "3184", Bank::AsksAlways),
    TestCard::visa("authenticationRequiredOnSetup", "3155", Bank::AsksOnce),
];
