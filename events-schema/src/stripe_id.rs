//! The ids that Stripe gives to its objects. The log may hold them. It must never hold a client
//! secret, which begins with the id of its object, nor the number of a card, which a client may send
//! by mistake. So `parse` refuses both.

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// Longest id, in characters. Stripe's own have at most 66.
const MAX_LENGTH: usize = 255;
/// What a client secret has between the id of its object and the secret.
const SECRET_MARK: &str = "_secret_";
/// The number of a card has at least so many digits.
const CARD_DIGITS: usize = 12;

/// Declares the id of one kind of object. A macro, since no function can declare a type.
macro_rules! stripe_id {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        #[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
        pub struct $name(String);

        impl $name {
            /// Checks an id: 1 to 255 letters, digits, dots, hyphens and underscores, of which the
            /// first is a letter or digit.
            ///
            /// # Errors
            /// If it has another form, or is a client secret or the number of a card.
            pub fn parse(text: &str) -> Result<Self, Invalid> {
                check(text).map(|()| Self(text.to_owned()))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+
        crate::text::text! { $($name)+ }
    };
}

stripe_id! {
    /// An account, such as `acct_1Qx`.
    StripeAccountId
    /// A customer, such as `cus_Rk3`.
    StripeCustomerId
    /// A product, such as `prod_Rk3`.
    StripeProductId
    /// A price, such as `price_1Qx`.
    StripePriceId
    /// A subscription, such as `sub_1Qx`.
    StripeSubscriptionId
    /// An item of a subscription, such as `si_Rk3`.
    StripeItemId
    /// An invoice, such as `in_1Qx`.
    StripeInvoiceId
    /// A payment method, such as `pm_1Qx`. Ours are cards.
    StripeCardId
    /// An attempt to save a card, such as `seti_1Qx`.
    StripeSetupIntentId
    /// A promotion code, such as `promo_1Qx`.
    StripePromotionCodeId
    /// An event, such as `evt_1Qx`.
    StripeEventId
    /// Any object, such as one that an event is about.
    StripeObjectId
}

fn check(text: &str) -> Result<(), Invalid> {
    if text.contains(SECRET_MARK) {
        return Err(Invalid("must be an id and no client secret"));
    }
    if text.len() >= CARD_DIGITS && text.bytes().all(|c| c.is_ascii_digit() || c == b'-') {
        return Err(Invalid("must be an id and not the number of a card"));
    }
    let fits = (1..=MAX_LENGTH).contains(&text.len());
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let legal = |c: u8| c.is_ascii_alphanumeric() || b"_-.".contains(&c);
    if fits && begins && text.bytes().all(legal) {
        Ok(())
    } else {
        Err(Invalid("must be an id that Stripe has given"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_word_that_fits_into_a_path() {
        let longest = "a".repeat(255);
        for id in ["cus_Rk3", "price-1.gold", "7", &longest] {
            assert_eq!(StripeCustomerId::parse(id).unwrap().as_str(), id);
        }
        let longer = "a".repeat(256);
        for other in [
            "", "..", ".", "_a", "a/b", "a?b", "a b", "a%2f", "ä", "a\n", &longer,
        ] {
            assert!(StripeCustomerId::parse(other).is_err(), "{other:?}");
        }
    }

    #[test]
    fn the_number_of_a_card_is_no_id() {
        for number in ["4242424242424242", "4242-4242-4242-4242", "501800000009"] {
            let refused = StripeSetupIntentId::parse(number).unwrap_err();
            assert_eq!(refused.0, "must be an id and not the number of a card");
        }
        assert!(StripeCardId::parse("pm_4242424242424242").is_ok());
    }

    #[test]
    fn a_client_secret_is_no_id() {
        let refused = StripeSetupIntentId::parse("seti_1Qx_secret_Rk3").unwrap_err();
        assert_eq!(refused.0, "must be an id and no client secret");
        assert!(serde_json::from_str::<StripeSetupIntentId>("\"seti_1_secret_2\"").is_err());
    }
}
