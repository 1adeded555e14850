//! What one unit costs: minor units with up to twelve decimals.

use std::fmt;

use serde::{Serialize, Serializer};

use super::price::MAX_AMOUNT;

/// How many decimals there may be, as at Stripe.
const DECIMALS: usize = 12;
/// One minor unit.
const ONE: i128 = 10_i128.pow(12);

/// An amount of minor units that need not be whole, 0 or more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Decimal(i128);

impl Decimal {
    pub(super) fn whole(amount: i64) -> Self {
        Self(i128::from(amount) * ONE)
    }

    /// Parses a number such as `0.05`; `None` if it is none, or too large.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let is_number = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
        if whole.is_empty() || !is_number(whole) || !is_number(decimals) {
            return None;
        }
        let padded = (decimals.len() <= DECIMALS).then(|| format!("{decimals:0<DECIMALS$}"))?;
        let whole = whole.parse::<i64>().ok()?;
        let exact = i128::from(whole) * ONE + padded.parse::<i128>().ok()?;
        (whole <= MAX_AMOUNT).then_some(Self(exact))
    }

    /// Returns the amount if it has no decimals.
    pub(super) fn as_whole(self) -> Option<i64> {
        (self.0 % ONE == 0).then(|| i64::try_from(self.0 / ONE).unwrap_or(i64::MAX))
    }

    /// Returns what so many units cost, rounded to the nearest minor unit.
    pub(super) fn times(self, quantity: i64) -> i128 {
        let exact = self.0.saturating_mul(i128::from(quantity));
        exact.saturating_add(ONE / 2) / ONE
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = format!("{:0>DECIMALS$}", self.0 % ONE);
        match decimals.trim_end_matches('0') {
            "" => write!(f, "{}", self.0 / ONE),
            decimals => write!(f, "{}.{decimals}", self.0 / ONE),
        }
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_cost_an_exact_amount_that_is_rounded_once() {
        let price = Decimal::parse("0.05").unwrap();
        assert_eq!(price.to_string(), "0.05");
        assert_eq!(
            [9, 10, 20, 29].map(|units| price.times(units)),
            [0, 1, 1, 1]
        );
        assert_eq!(
            (price.as_whole(), Decimal::whole(7).as_whole()),
            (None, Some(7))
        );
        assert_eq!(Decimal::parse("7.0"), Some(Decimal::whole(7)));
        for wrong in ["", ".5", "-1", "1e3", "0.0000000000001", "9007199254740992"] {
            assert_eq!(Decimal::parse(wrong), None, "{wrong}");
        }
    }
}
