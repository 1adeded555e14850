//! `workers reseal` seals every secret again with the current one, whatever holds it.

use events_schema::{
    AccountId, AreaName, BuiltInRole, CommandId, ConnectionId, Id, InboundSourceId, Name,
    Permissions, Slug, TenantId,
    connection::{self, ClientId, Issuer, Settings},
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
const OF_CONNECTION: &[u8] = b"the secret of a connection";

impl Customer {
    /// Creates an inbound source; returns its id.
    async fn inbound_source(&self) -> InboundSourceId {
        self.inbound_source_under(SECRET).await
    }

    /// Creates an inbound source whose secret is sealed under this one; returns its id.
    async fn inbound_source_under(&self, secret: &str) -> InboundSourceId {
        let source = InboundSourceId(id());
        let server = ServerKey::new(Secret::parse(secret).unwrap(), Vec::new());
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

    /// Creates a connection whose client secret is sealed under this secret; returns its id.
    async fn connection(&self, secret: &str) -> ConnectionId {
        let connection = ConnectionId(id());
        let server = ServerKey::new(Secret::parse(secret).unwrap(), Vec::new());
        let bound_to = [self.tenant.0.bytes().as_slice(), connection.0.bytes()];
        let sealed = server.seal(connection::SEALED_FOR, &bound_to, [7; 12], OF_CONNECTION);
        let role = BuiltInRole::Guest;
        let create = connection::Command::Create {
            settings: Settings {
                name: Name::parse("Acme").unwrap(),
                issuer: Issuer::parse("https://login.example.com").unwrap(),
                client_id: ClientId::parse("0oa1").unwrap(),
                client_secret: sealed,
                role,
                trusts_two_factors: false,
            },
            actor_holds: Permissions::from_iter(role.permissions()),
        };
        let (platform, command) = (TenantId::Platform, CommandId(connection.0));
        self.send_in::<connection::Area>(platform, command, self.tenant, create)
            .await;
        connection
    }

    /// Opens a value with this secret alone.
    fn open(&self, secret: &str, purpose: &str, object: Id, sealed: &Value) -> Option<Vec<u8>> {
        let server = ServerKey::new(Secret::parse(secret).unwrap(), Vec::new());
        let sealed = Sealed::parse(sealed.as_str()?).ok()?;
        server.open_sealed(purpose, &[self.tenant.0.bytes(), object.bytes()], &sealed)
    }
}

/// The last event of an area that says what was sealed.
async fn sealed_last(world: &World, area: AreaName) -> Value {
    let commits = world.commits::<Value>(area).await;
    let events = commits.iter().map(|(_, commit)| &commit["events"][0]);
    let mut resealed = events.filter(|event| event["type"] == "resealed");
    resealed.next_back().unwrap().clone()
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

    let sealed = sealed_last(&world, AreaName::Webhook).await;
    let current = &sealed["values"][0]["current"];
    let opened = acme.open(THIRD, webhook::SEALED_FOR, webhook.0, current);
    assert_eq!(opened.as_deref(), Some(key.secret().as_bytes()));
    let sealed = sealed_last(&world, AreaName::InboundSource).await;
    let current = &sealed["values"][0]["current"];
    let opened = acme.open(THIRD, inbound_source::SEALED_FOR, source.0, current);
    assert_eq!(opened.as_deref(), Some(OF_SOURCE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_does_not_open_keeps_no_other_one_from_being_sealed_again() {
    let world = World::start().await;
    let _deciding: [Child; 1] = world.workers(COMMANDS).await;
    let mut both = [Customer::new(&world).await, Customer::new(&world).await];
    // In the order of their ids, as they are sealed.
    both.sort_by_key(|customer| customer.tenant);
    let [first, second] = both;
    first.connection(THIRD).await;
    first.inbound_source_under(THIRD).await;
    let connection = second.connection(SECRET).await;
    let source = second.inbound_source().await;

    let environment = [("UB_SECRET", SECOND), ("UB_ACCEPTED_SECRETS", SECRET)];
    let mut reseal = world.process(&["reseal"]);
    let status = reseal.envs(environment).status().await;
    assert!(!status.unwrap().success());
    let sealed = sealed_last(&world, AreaName::Connection).await;
    let (purpose, current) = (connection::SEALED_FOR, &sealed["current"]);
    let opened = second.open(SECOND, purpose, connection.0, current);
    assert_eq!(opened.as_deref(), Some(OF_CONNECTION));
    let sealed = sealed_last(&world, AreaName::InboundSource).await;
    let current = &sealed["values"][0]["current"];
    let opened = second.open(SECOND, inbound_source::SEALED_FOR, source.0, current);
    assert_eq!(opened.as_deref(), Some(OF_SOURCE));
}
