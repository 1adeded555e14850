//! `workers reseal` seals every secret again with the current one, whatever holds it.

use events_schema::{
    AccountId, AreaName, CommandId, Id, InboundSourceId, Name, Slug,
    inbound_source::{self, Provider},
    sealed::Sealed,
    secret::{Secret, ServerKey},
    tenant, webhook,
};
use serde_json::Value;
use tokio::process::Child;

use super::{
    COMMANDS,
    customer::{Customer, settings},
};
use crate::support::{SECRET, World, id};

const SECOND: &str = "k2:fedcba9876543210fedcba9876543210";
const THIRD: &str = "k3:00112233445566778899aabbccddeeff";
const OF_SOURCE: &[u8] = b"the secret of a source";

impl Customer {
    /// Creates an inbound source; returns its id.
    async fn inbound_source(&self) -> InboundSourceId {
        let source = InboundSourceId(id());
        let server = ServerKey::new(Secret::parse(SECRET).unwrap(), Vec::new());
        let bound_to = [self.tenant.0.bytes().as_slice(), source.0.bytes()];
        let create = inbound_source::Command::Create {
            name: Name::parse("Code").unwrap(),
            provider: Provider::StandardWebhooks,
            secret: server.seal(inbound_source::SEALED_FOR, &bound_to, [7; 12], OF_SOURCE),
            creator: AccountId(id()),
        };
        let command = CommandId(source.0);
        self.send_as::<inbound_source::Area>(command, self.tenant, create)
            .await;
        source
    }

    /// Opens a value with the third secret alone.
    fn open(&self, purpose: &str, object: Id, sealed: &Value) -> Option<Vec<u8>> {
        let server = ServerKey::new(Secret::parse(THIRD).unwrap(), Vec::new());
        let sealed = Sealed::parse(sealed.as_str()?).ok()?;
        server.open_sealed(purpose, &[self.tenant.0.bytes(), object.bytes()], &sealed)
    }
}

/// The values that an area has sealed last.
async fn sealed_last(world: &World, area: AreaName) -> Value {
    let commits = world.commits::<Value>(area).await;
    let events = commits.iter().map(|(_, commit)| &commit["events"][0]);
    let mut resealed = events.filter(|event| event["type"] == "resealed");
    resealed.next_back().unwrap()["values"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_sealed_again_with_each_new_secret() {
    let world = World::start().await;
    let _deciding: [Child; 1] = world.workers(COMMANDS).await;
    let (acme, gone) = (Customer::new(&world).await, Customer::new(&world).await);
    let wanted = || settings("http://127.0.0.1:9/hooks");
    let (webhook, key) = acme.webhook(wanted()).await;
    let source = acme.inbound_source().await;
    gone.webhook(wanted()).await;
    gone.inbound_source().await;
    let slug = Slug::parse(&format!("acme-{}", gone.tenant)).unwrap();
    gone.send::<tenant::Area>(gone.tenant, tenant::Command::Delete { slug })
        .await;

    // The former secret of each step is accepted no more in the next. What belongs to a deleted
    // tenant stays under the first one.
    for (secret, former) in [(SECOND, SECRET), (THIRD, SECOND)] {
        let environment = [("UB_SECRET", secret), ("UB_ACCEPTED_SECRETS", former)];
        world.run_with(&["reseal"], &environment).await;
    }

    let values = sealed_last(&world, AreaName::Webhook).await;
    let opened = acme.open(webhook::SEALED_FOR, webhook.0, &values[0]["current"]);
    assert_eq!(opened.as_deref(), Some(key.secret().as_bytes()));
    let values = sealed_last(&world, AreaName::InboundSource).await;
    let purpose = inbound_source::SEALED_FOR;
    let opened = acme.open(purpose, source.0, &values[0]["current"]);
    assert_eq!(opened.as_deref(), Some(OF_SOURCE));
}
