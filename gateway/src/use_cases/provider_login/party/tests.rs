use events_schema::{Id, IdentityId, PersonName, ProviderName};
use serde_json::json;

use super::*;
use crate::{config::ProviderOptions, identity::providers::Providers};

const TENANT: TenantKey = TenantKey(Id::from_bytes([1; 16]));
const GOOGLE: &str = "https://accounts.google.com";
const OKTA: &str = "https://corp.okta.example";

/// The issuer of a tenant that has verified `corp.example`.
fn party(issuer: &str, trusts_two_factors: bool) -> Party {
    let secret = format!("k1:{}", "A".repeat(40));
    let connection = json!({
        "id": ConnectionId(Id::from_bytes([2; 16])), "is_enforced": false, "epoch": 5,
        "domains": [
            { "name": "corp.example", "challenge": "x", "added_at": 0, "verified_at": 1 },
            { "name": "new.example", "challenge": "x", "added_at": 0 },
        ],
        "settings": {
            "name": "Acme", "issuer": issuer, "client_id": "us", "client_secret": secret,
            "role": "guest", "trusts_two_factors": trusts_two_factors,
        },
        "created_at": 0, "updated_at": 0,
    });
    let connection: Connection = serde_json::from_value(connection).unwrap();
    let providers = Providers::load(&ProviderOptions::default()).unwrap();
    let provider = providers.of_connection(&connection, "secret".to_owned());
    Party {
        provider: provider.unwrap(),
        is_google: providers.is_google(&connection.settings.issuer),
        connection: Some((TENANT, connection)),
    }
}

fn identity() -> ProvedIdentity {
    ProvedIdentity {
        id: IdentityId(Id::from_bytes([3; 16])),
        former: vec![IdentityId(Id::from_bytes([4; 16]))],
        provider: ProviderName::parse("sso").unwrap(),
    }
}

fn word(issuer: &str, organization: Option<&str>) -> Word {
    let identified = Identified::of(issuer, organization);
    let word = party(issuer, false).word(&identified, &identity());
    word.unwrap()
}

fn profile(email: &str, is_proved: bool) -> Profile {
    Profile {
        email: Some(EmailAddress::parse(email).unwrap()),
        is_proved,
        firstname: PersonName::parse("Ada").unwrap(),
        lastname: PersonName::parse("Lovelace").unwrap(),
    }
}

#[test]
fn google_vouches_for_an_account_of_a_verified_domain_and_other_issuers_for_all_of_theirs() {
    for (issuer, organization, expected) in [
        (GOOGLE, Some("corp.example"), true),
        (GOOGLE, Some("new.example"), false),
        (GOOGLE, None, false),
        (OKTA, None, true),
    ] {
        let word = word(issuer, organization);
        assert_eq!(word.is_insider, expected, "{issuer} {organization:?}");
    }
}

#[test]
fn the_word_names_the_identity_in_all_ways_and_two_factors_if_the_tenant_trusts_them() {
    for trusts in [true, false] {
        let word = party(OKTA, trusts).word(&Identified::of(OKTA, None), &identity());
        let word = word.unwrap();
        assert_eq!((word.epoch, word.is_two_factors), (5, trusts));
        let identities: Vec<_> = identity().ids().collect();
        assert_eq!(identities.len(), 2);
        assert_eq!(word.identities, identities);
    }
}

#[test]
fn an_address_is_proved_by_the_word_about_an_account_of_the_organization() {
    for (issuer, organization, email, is_proved, expected) in [
        (GOOGLE, Some("corp.example"), "ada@corp.example", true, true),
        (GOOGLE, None, "ada@corp.example", true, false),
        (OKTA, None, "ada@corp.example", true, true),
        (OKTA, None, "ada@corp.example", false, false),
        (OKTA, None, "ada@new.example", true, false),
        (OKTA, None, "ada@other.example", true, false),
    ] {
        let word = word(issuer, organization);
        let proves = party(issuer, false).proves(&profile(email, is_proved), Some(&word));
        assert_eq!(
            proves, expected,
            "{issuer} {organization:?} {email} {is_proved}"
        );
    }
}
