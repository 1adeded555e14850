//! The settings for Stripe.

use std::{fmt, net::IpAddr, num::NonZeroU32, str::FromStr};

use anyhow::ensure;
use clap::{Args, ValueEnum, value_parser};
use events_schema::Invalid;
use hyper::header::HeaderValue;
use url::{Host, Url};

/// How to reach Stripe.
#[derive(Args, Clone, Debug)]
pub struct StripeOptions {
    /// Key of Stripe: better a restricted one, `rk_…`, than a secret one, `sk_…`. Without it, no
    /// plan with a price can be chosen.
    #[arg(
        long,
        env = "UB_STRIPE_KEY",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub stripe_key: StripeKey,

    /// URL of Stripe. Plain HTTP goes to this machine only.
    #[arg(long, env = "UB_STRIPE_URL", default_value = "https://api.stripe.com")]
    pub stripe_url: StripeUrl,

    /// Whether Stripe adds taxes to invoices.
    #[arg(long, env = "UB_STRIPE_TAX", default_value = "none")]
    pub stripe_tax: StripeTax,

    /// Requests that this process sends to Stripe within a second, 1 to 100.
    #[arg(
        long,
        env = "UB_STRIPE_RATE",
        default_value_t = 20,
        value_parser = value_parser!(u32).range(1..=100)
    )]
    pub stripe_rate: u32,
}

impl StripeOptions {
    /// Returns the key, if there is one.
    ///
    /// # Errors
    /// If it is no secret and no restricted key. The error does not show it.
    pub(super) fn key(&self) -> anyhow::Result<Option<&StripeKey>> {
        let key = &self.stripe_key;
        if key.0.is_empty() {
            return Ok(None);
        }
        let is_known = ["sk_", "rk_"].iter().any(|kind| key.0.starts_with(kind));
        let is_word = key.0.bytes().all(|c| c.is_ascii_graphic());
        ensure!(
            is_known && is_word,
            "UB_STRIPE_KEY must begin with sk_ or rk_"
        );
        Ok(Some(key))
    }

    /// Whether the key is about real money.
    pub fn is_live(&self) -> bool {
        let key = &self.stripe_key.0;
        ["sk_live_", "rk_live_"]
            .iter()
            .any(|kind| key.starts_with(kind))
    }

    pub(super) fn rate(&self) -> NonZeroU32 {
        NonZeroU32::new(self.stripe_rate).unwrap_or(NonZeroU32::MIN)
    }
}

/// A secret or restricted key of Stripe.
#[derive(Clone, Default)]
pub struct StripeKey(String);

impl StripeKey {
    /// Returns the header that proves who asks.
    ///
    /// # Errors
    /// If the key has illegal characters.
    pub(super) fn authorization(&self) -> anyhow::Result<HeaderValue> {
        let mut header = HeaderValue::from_str(&format!("Bearer {}", self.0))?;
        header.set_sensitive(true);
        Ok(header)
    }
}

/// Never fails, since the error of an option shows its value. [`StripeOptions::key`] checks the key.
impl FromStr for StripeKey {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.trim().to_owned()))
    }
}

/// Hides the key.
impl fmt::Debug for StripeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StripeKey")
    }
}

/// Where Stripe is: a scheme and a host, without a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StripeUrl(Url);

impl StripeUrl {
    /// Returns the URL of a path such as `/customers`, with this query if it has one.
    pub(super) fn of(&self, path: &str, query: Option<&str>) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("/v1{path}"));
        url.set_query(query.filter(|query| !query.is_empty()));
        url
    }
}

impl FromStr for StripeUrl {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        const WRONG: Invalid = Invalid("must be a URL such as https://api.stripe.com");
        let url = Url::parse(text).map_err(|_| WRONG)?;
        let has_user = !url.username().is_empty() || url.password().is_some();
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        match url.scheme() {
            "https" | "http" if has_user || !is_bare => Err(WRONG),
            "https" => Ok(Self(url)),
            "http" if url.host().is_some_and(|host| is_local(&host)) => Ok(Self(url)),
            "http" => Err(Invalid("must begin with https://, except on this machine")),
            _ => Err(WRONG),
        }
    }
}

fn is_local(host: &Host<&str>) -> bool {
    match host {
        Host::Ipv4(address) => IpAddr::from(*address).is_loopback(),
        Host::Ipv6(address) => IpAddr::from(*address).is_loopback(),
        Host::Domain(name) => *name == "localhost",
    }
}

/// Who finds the taxes of an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StripeTax {
    /// Stripe Tax. It must be set up in Stripe's dashboard.
    Automatic,
    /// Nobody: prices are all that customers pay.
    None,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Options {
        #[command(flatten)]
        stripe: StripeOptions,
    }

    fn options(arguments: &[&str]) -> StripeOptions {
        let arguments = [&["program"], arguments].concat();
        Options::try_parse_from(arguments).unwrap().stripe
    }

    #[test]
    fn without_a_key_there_is_none() {
        assert!(options(&[]).key().unwrap().is_none());
        assert!(options(&["--stripe-key", " "]).key().unwrap().is_none());
    }

    #[test]
    fn a_wrong_key_is_refused_and_not_shown() {
        for (key, is_accepted) in [
            ("sk_test_51secret", true),
            ("rk_live_51secret", true),
            ("pk_live_51secret", false),
            ("whsec_51secret", false),
            ("sk_test_51\nsecret", false),
        ] {
            let options = options(&["--stripe-key", key]);
            let found = options.key();
            assert_eq!(found.is_ok(), is_accepted, "{key}");
            assert!(
                !format!("{options:?} {found:?}").contains("51"),
                "{found:?}"
            );
        }
    }

    #[test]
    fn plain_http_goes_to_this_machine_only() {
        for (url, is_accepted) in [
            ("https://api.stripe.com", true),
            ("http://127.0.0.1:12111", true),
            ("http://[::1]:12111/", true),
            ("http://localhost:12111", true),
            ("http://api.stripe.com", false),
            ("http://127.0.0.1.example", false),
            ("http://10.0.0.1", false),
            ("https://user@api.stripe.com", false),
            ("https://api.stripe.com/v1", false),
            ("https://api.stripe.com?a=b", false),
            ("ftp://127.0.0.1", false),
            ("stripe", false),
        ] {
            assert_eq!(url.parse::<StripeUrl>().is_ok(), is_accepted, "{url}");
        }
    }

    #[test]
    fn a_path_is_below_the_version() {
        let url: StripeUrl = "https://api.stripe.com".parse().unwrap();
        let found = url.of("/prices", Some("limit=100"));
        assert_eq!(found.as_str(), "https://api.stripe.com/v1/prices?limit=100");
        let found = url.of("/prices", Some(""));
        assert_eq!(found.as_str(), "https://api.stripe.com/v1/prices");
    }
}
