//! People to test with. Ada has an account with a password.

use events_schema::{ConnectionId, Id, IdentityId, Time, connection};
use serde_json::json;

use super::*;

pub(in crate::identity) const TENANT: TenantKey = TenantKey(Id::from_bytes([1; 16]));
pub(in crate::identity) const OTHER_TENANT: TenantKey = TenantKey(Id::from_bytes([2; 16]));
pub(in crate::identity) const FIRST: ConnectionId = ConnectionId(Id::from_bytes([3; 16]));
pub(in crate::identity) const SECOND: ConnectionId = ConnectionId(Id::from_bytes([4; 16]));
pub(in crate::identity) const GOOGLE: &str = "https://accounts.google.com";
pub(in crate::identity) const OKTA: &str = "https://corp.okta.example";

/// Ada, in a session with these proofs.
pub(in crate::identity) fn ada(kinds: &[ProofKind]) -> Person {
    let view: account::View = serde_json::from_value(json!({
        "email": "ada@example.com", "firstname": "Ada", "lastname": "Lovelace", "verified": true,
        "epoch": 0, "created_at": 0, "updated_at": 0,
    }))
    .unwrap();
    let proofs = kinds.iter().map(|kind| Proof::new(kind.clone(), Time(0)));
    let proofs: Vec<_> = proofs.collect();
    Person {
        session: SessionId(Id::from_bytes([5; 16])),
        started_at: Time(0),
        scope: view.scope_of(&proofs),
        account: ViewDocument {
            id: AccountId(Id::from_bytes([6; 16])),
            revision: 1,
            view,
        },
        proofs,
        impersonator: None,
    }
}

/// The word of a connection of [`TENANT`], in its epoch 5.
pub(in crate::identity) fn word(connection: ConnectionId, is_insider: Option<bool>) -> ProofKind {
    let tenant = TENANT;
    ProofKind::Connection {
        scope: Scope { tenant, connection },
        epoch: 5,
        identity: IdentityId(Id::from_bytes([7; 16])),
        is_two_factors: false,
        is_insider,
    }
}

pub(in crate::identity) fn passkey() -> ProofKind {
    let passkey = events_schema::PasskeyId(Id::from_bytes([8; 16]));
    ProofKind::Passkey { passkey }
}

/// Connections of these issuers, which everybody in the tenant needs one of.
pub(in crate::identity) fn connections(of: &[(ConnectionId, &str)]) -> connection::View {
    let connection = |(id, issuer): &(ConnectionId, &str)| {
        let secret = format!("k1:{}", "A".repeat(40));
        json!({
            "id": id, "is_enforced": true, "epoch": 5, "domains": [],
            "settings": {
                "name": "Acme", "issuer": issuer, "client_id": "us", "client_secret": secret,
                "role": "guest", "trusts_two_factors": true,
            },
            "created_at": 0, "updated_at": 0,
        })
    };
    let connections: Vec<_> = of.iter().map(connection).collect();
    let view = json!({ "connections": connections, "verified_domains": [] });
    serde_json::from_value(view).unwrap()
}
