//! Domains that belong to no organization alone: those of registries, and those of mail providers.

use events_schema::DomainName;

/// Mail providers whose addresses anybody can have. A provider that is missing here is no way in:
/// the owner of its domain would have to publish the record.
const MAIL_PROVIDERS: &[&str] = &[
    "126.com",
    "163.com",
    "aol.com",
    "att.net",
    "bluewin.ch",
    "btinternet.com",
    "comcast.net",
    "duck.com",
    "fastmail.com",
    "fastmail.fm",
    "free.fr",
    "freenet.de",
    "gmail.com",
    "gmx.at",
    "gmx.ch",
    "gmx.com",
    "gmx.de",
    "gmx.net",
    "googlemail.com",
    "hey.com",
    "hotmail.co.uk",
    "hotmail.com",
    "hotmail.de",
    "hotmail.fr",
    "icloud.com",
    "laposte.net",
    "libero.it",
    "live.com",
    "mac.com",
    "mail.com",
    "mail.ru",
    "mailbox.org",
    "me.com",
    "msn.com",
    "naver.com",
    "orange.fr",
    "outlook.com",
    "outlook.de",
    "outlook.fr",
    "pm.me",
    "posteo.de",
    "proton.me",
    "protonmail.com",
    "qq.com",
    "rediffmail.com",
    "rocketmail.com",
    "sina.com",
    "t-online.de",
    "tuta.com",
    "tutanota.com",
    "verizon.net",
    "web.de",
    "wp.pl",
    "yahoo.co.jp",
    "yahoo.co.uk",
    "yahoo.com",
    "yahoo.de",
    "yahoo.fr",
    "yandex.com",
    "yandex.ru",
    "ymail.com",
    "zoho.com",
];

/// Whether many organizations have addresses or domains below this one.
pub(super) fn is_public(domain: &DomainName) -> bool {
    match psl::domain_str(domain.as_str()) {
        Some(registered) => MAIL_PROVIDERS.contains(&registered),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_of_registries_and_domains_of_mail_providers_are_public() {
        let is_public = |text| is_public(&DomainName::parse(text).unwrap());
        for public in [
            "co.uk",
            "github.io",
            "gmail.com",
            "eve.gmail.com",
            "outlook.com",
        ] {
            assert!(is_public(public), "{public}");
        }
        for own in [
            "example.com",
            "example.co.uk",
            "mail.example.com",
            "acme.example",
        ] {
            assert!(!is_public(own), "{own}");
        }
    }

    #[test]
    fn each_mail_provider_is_a_domain_of_its_own() {
        assert!(MAIL_PROVIDERS.is_sorted());
        for provider in MAIL_PROVIDERS {
            assert_eq!(psl::domain_str(provider), Some(*provider));
        }
    }
}
