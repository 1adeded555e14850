//! Amounts of money, as Stripe writes them: whole minor units of a currency.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::Invalid;

/// The largest amount in minor units: JSON readers that use floating point still read it exactly.
pub const MAX_AMOUNT: i64 = (1 << 53) - 1;

const BEYOND: Invalid = Invalid("must be an amount between -(2^53 - 1) and 2^53 - 1");

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Money {
    /// In minor units, such as cents.
    #[serde(deserialize_with = "within_bounds")]
    amount: i64,
    currency: Currency,
}

impl Money {
    /// Makes an amount of minor units.
    ///
    /// # Errors
    /// If it is beyond ±[`MAX_AMOUNT`].
    pub fn new(amount: i64, currency: Currency) -> Result<Self, Invalid> {
        if amount.unsigned_abs() <= MAX_AMOUNT.unsigned_abs() {
            Ok(Self { amount, currency })
        } else {
            Err(BEYOND)
        }
    }

    /// Returns the amount in minor units, such as cents.
    pub const fn amount(&self) -> i64 {
        self.amount
    }

    /// Returns the currency.
    pub const fn currency(&self) -> &Currency {
        &self.currency
    }
}

fn within_bounds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let amount = i64::deserialize(deserializer)?;
    let is_within = amount.unsigned_abs() <= MAX_AMOUNT.unsigned_abs();
    is_within.then_some(amount).ok_or(D::Error::custom(BEYOND))
}

/// A currency by its code of ISO 4217, such as `EUR`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct Currency(String);

/// The currencies in which Stripe charges cards.
const CURRENCIES: &str = "
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BWP BYN BZD
    CAD CDF CHF CLP CNY COP CRC CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GNF GTQ
    GYD HKD HNL HTG HUF IDR ILS INR ISK JMD JOD JPY KES KGS KHR KMF KRW KWD KYD KZT LAK LBP LKR LRD
    LSL MAD MDL MGA MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK
    PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SEK SGD SHP SLE SOS SRD STD SVC SZL THB TJS TND
    TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VND VUV WST XAF XCD XOF XPF YER ZAR ZMW";
/// Those without minor units. Stripe writes ISK and UGX with two decimals, although they have none.
const ZERO_DECIMALS: &str = "BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF";
/// Those with a thousand minor units.
const THREE_DECIMALS: &str = "BHD JOD KWD OMR TND";

impl Currency {
    /// Parses a code such as `EUR`.
    ///
    /// # Errors
    /// If Stripe charges in no currency with this code.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if CURRENCIES.split_whitespace().any(|code| code == text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid(
                "must be the code of a currency that Stripe charges in, such as EUR",
            ))
        }
    }

    /// Reads a code that was stored. A newer release may have stored one that this one does not
    /// know.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn from_stored(text: &str) -> Result<Self, Invalid> {
        if text.len() == 3 && text.bytes().all(|c| c.is_ascii_uppercase()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid("must be three capital letters"))
        }
    }

    /// Returns the code.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns how many decimals an amount has, by Stripe's table: 2 of euros, 0 of yen. So 500
    /// minor units are 5 euros or 500 yen.
    pub fn decimals(&self) -> u8 {
        let is_in = |codes: &str| codes.split(' ').any(|code| code == self.0);
        if is_in(ZERO_DECIMALS) {
            0
        } else if is_in(THREE_DECIMALS) {
            3
        } else {
            2
        }
    }
}

impl TryFrom<String> for Currency {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::from_stored(&text)
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.0
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn currency(code: &str) -> Currency {
        Currency::parse(code).unwrap()
    }

    #[test]
    fn each_currency_has_the_decimals_of_stripes_table() {
        for (code, decimals) in [
            ("EUR", 2),
            ("USD", 2),
            ("JPY", 0),
            ("KRW", 0),
            ("KWD", 3),
            ("TND", 3),
            ("ISK", 2),
            ("UGX", 2),
            ("HUF", 2),
        ] {
            assert_eq!(currency(code).decimals(), decimals, "{code}");
        }
        for code in ZERO_DECIMALS.split(' ').chain(THREE_DECIMALS.split(' ')) {
            assert_eq!(currency(code).as_str(), code);
        }
    }

    #[test]
    fn a_currency_is_a_code_in_capitals() {
        for wrong in ["", "eur", "EU", "EURO", " EUR", "XYZ", "EUR USD"] {
            assert!(Currency::parse(wrong).is_err(), "{wrong}");
        }
        let newer: Currency = serde_json::from_str("\"XYZ\"").unwrap();
        assert_eq!(newer.as_str(), "XYZ");
        serde_json::from_str::<Currency>("\"eur\"").unwrap_err();
    }

    #[test]
    fn the_largest_amounts_survive_and_larger_ones_are_refused() {
        for amount in [0, 1, MAX_AMOUNT, -MAX_AMOUNT] {
            let money = Money::new(amount, currency("JPY")).unwrap();
            let stored = serde_json::to_string(&money).unwrap();
            assert_eq!(stored, format!(r#"{{"amount":{amount},"currency":"JPY"}}"#));
            assert_eq!(serde_json::from_str::<Money>(&stored).unwrap(), money);
        }
        for amount in [MAX_AMOUNT + 1, -MAX_AMOUNT - 1, i64::MAX, i64::MIN] {
            assert_eq!(Money::new(amount, currency("JPY")), Err(BEYOND));
            let stored = format!(r#"{{"amount":{amount},"currency":"JPY"}}"#);
            serde_json::from_str::<Money>(&stored).unwrap_err();
        }
        serde_json::from_str::<Money>(r#"{"amount":1.5,"currency":"JPY"}"#).unwrap_err();
    }
}
