use events_schema::{ConnectionId, Id};
use serde_json::json;

use super::*;

const DAY: i64 = 24 * 60 * 60 * 1000;

fn email(text: &str) -> EmailAddress {
    EmailAddress::parse(text).unwrap()
}

/// A connection with a domain that counts and one that does not.
fn connection() -> Connection {
    let secret = format!("k1:{}", "A".repeat(40));
    let domain = |name: &str| json!({ "name": name, "challenge": "x", "added_at": 0 });
    let mut counts = domain("corp.example");
    counts["verified_at"] = json!(1);
    let connection = json!({
        "id": ConnectionId(Id::from_bytes([1; 16])), "is_enforced": false, "epoch": 0,
        "domains": [counts, domain("new.example")],
        "settings": {
            "name": "Acme", "issuer": "https://corp.okta.example", "client_id": "us",
            "client_secret": secret, "role": "guest", "trusts_two_factors": false,
        },
        "created_at": 0, "updated_at": 0,
    });
    serde_json::from_value(connection).unwrap()
}

fn invited(role: BuiltInRole, status: Status) -> member::View {
    let invitation = json!({ "id": Id::from_bytes([2; 16]), "requested_at": DAY, "failures": 0 });
    let member = json!({
        "email": "ada@corp.example", "account": null, "role": role, "roles": [], "status": status,
        "invitation": invitation, "created_at": 0, "updated_at": 0,
    });
    serde_json::from_value(member).unwrap()
}

#[test]
fn a_connection_lets_in_the_organizations_own_people_with_addresses_of_its_verified_domains() {
    let guest = Some(BuiltInRole::Guest);
    for (address, is_insider, expected) in [
        ("ada@corp.example", true, guest),
        ("ada@corp.example", false, None),
        ("ada@new.example", true, None),
        ("ada@other.example", true, None),
    ] {
        let role = role(&connection(), is_insider, &email(address));
        assert_eq!(role, expected, "{address} {is_insider}");
    }
}

#[test]
fn an_invitation_may_be_answered_for_seven_days() {
    let member = invited(BuiltInRole::Member, Status::Pending);
    for (day, is_open) in [(1, true), (7, true), (8, false), (30, false)] {
        let found = invitation(&member, Time(day * DAY));
        assert_eq!(found.is_some(), is_open, "{day}");
    }
    let owner = invited(BuiltInRole::Owner, Status::Pending);
    assert_eq!(invitation(&owner, Time(DAY)), Some(BuiltInRole::Owner));
    for status in [Status::Accepted, Status::Rejected, Status::Suspended] {
        let answered = invited(BuiltInRole::Member, status);
        assert_eq!(invitation(&answered, Time(DAY)), None, "{status:?}");
    }
}
