//! A tenant with webhooks and projects.

use std::time::SystemTime;

use event_store::{CommandSender, Trace};
use events_schema::{
    AccountId, Actor, Area, Command, CommandId, Description, EmailAddress, Id, Name, Outcome,
    Permissions, Placement, ProjectId, Slug, TenantId, TenantKey, Time, WebhookId,
    outbound::WebhookUrl,
    project,
    published::EventFilter,
    sealed::Sealed,
    secret::{Secret, ServerKey},
    tenant,
    webhook::{
        self, Algorithm, AuthKind, ContentType, Credentials, NewKey, Ordering, Payload, SEALED_FOR,
        SecretHeaders, Settings,
    },
    webhook_signature::SigningKey,
};

use crate::support::{DEADLINE, SECRET, World, id};

/// A tenant that sends commands.
#[derive(Clone)]
pub struct Customer {
    sender: CommandSender,
    pub tenant: TenantKey,
}

/// Returns settings for a server that wants all events of projects.
pub fn settings(url: &str) -> Settings {
    Settings {
        url: WebhookUrl::parse(url).unwrap(),
        description: None,
        event_types: [EventFilter::parse("project.*").unwrap()].into(),
        ordering: Ordering::Aggregate,
        payload: Payload::Thin,
        content_type: ContentType::Json,
        credentials: None,
        rate_limit: 0,
        concurrency: 8,
    }
}

impl Customer {
    /// Creates a tenant.
    pub async fn new<S>(world: &World<S>) -> Self {
        let customer = Self {
            sender: CommandSender::start(world.gateway.clone()).await.unwrap(),
            tenant: TenantKey(id()),
        };
        let create = tenant::Command::Create {
            name: Name::parse("Acme").unwrap(),
            slug: Slug::parse(&format!("acme-{}", customer.tenant)).unwrap(),
            owner: AccountId(id()),
            email: EmailAddress::parse("ada@example.com").unwrap(),
            plan: None,
            placement: Placement::Shared,
            places: None,
        };
        customer.send::<tenant::Area>(customer.tenant, create).await;
        customer
    }

    /// Sends a command until its outcome is known.
    pub async fn send<A: Area>(&self, aggregate: A::Id, payload: A::Command) -> CommandId {
        let command = CommandId(id());
        self.send_as::<A>(command, aggregate, payload).await;
        command
    }

    /// Sends a command with this id until its outcome is known.
    pub async fn send_as<A: Area>(
        &self,
        command: CommandId,
        aggregate: A::Id,
        payload: A::Command,
    ) {
        let own = TenantId::Tenant(self.tenant);
        self.send_in::<A>(own, command, aggregate, payload).await;
    }

    /// Sends a command to what belongs to the tenant or the platform, until its outcome is known.
    pub async fn send_in<A: Area>(
        &self,
        owner: TenantId,
        command: CommandId,
        aggregate: A::Id,
        payload: A::Command,
    ) {
        loop {
            let mut sent = Command::<A>::by_system(
                command,
                owner,
                aggregate,
                Time::from(SystemTime::now()),
                payload.clone(),
            );
            sent.actor = Actor::System;
            sent.held = Permissions::from([project::READ]);
            let deadline = tokio::time::Instant::now() + DEADLINE;
            match self.sender.send(sent, Trace::begin(), deadline).await {
                Ok(Outcome::Rejected(rejection)) => panic!("rejected: {rejection:?}"),
                Ok(_) => return,
                Err(_) => {}
            }
        }
    }

    /// Creates a webhook; returns its id and what it signs with.
    pub async fn webhook(&self, settings: Settings) -> (WebhookId, SigningKey) {
        let command = CommandId(id());
        let mut random = [7; 32];
        random[..16].copy_from_slice(command.0.bytes());
        let key = SigningKey::hmac(random);
        let create = webhook::Command::Create {
            settings,
            key: self.sealed(WebhookId(command.0), &key),
        };
        self.send_as::<webhook::Area>(command, self.tenant, create)
            .await;
        (WebhookId(command.0), key)
    }

    /// Seals a key as the gateway does.
    pub fn sealed(&self, webhook: WebhookId, key: &SigningKey) -> NewKey {
        NewKey {
            algorithm: Algorithm::Hmac,
            secret: self.seal(webhook, key.secret().as_bytes()),
            public: None,
        }
    }

    /// Seals headers as the gateway does.
    pub fn credentials(&self, webhook: WebhookId, headers: &[(&str, &str)]) -> Credentials {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let headers = SecretHeaders {
            headers: headers.iter().map(owned).collect(),
            oauth2: None,
        };
        Credentials {
            auth: AuthKind::None,
            header_names: headers
                .headers
                .iter()
                .map(|(name, _)| name.clone())
                .collect(),
            sealed: self.seal(webhook, &serde_json::to_vec(&headers).unwrap()),
        }
    }

    fn seal(&self, webhook: WebhookId, plain: &[u8]) -> Sealed {
        let server = ServerKey::new(Secret::parse(SECRET).unwrap(), Vec::new());
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&id().bytes()[4..]);
        server.seal(SEALED_FOR, &self.bound_to(&webhook), nonce, plain)
    }

    /// Returns what the secrets of a webhook are bound to.
    pub fn bound_to<'a>(&'a self, webhook: &'a WebhookId) -> [&'a [u8]; 2] {
        [self.tenant.0.bytes(), webhook.0.bytes()]
    }

    /// Sends a command to the tenant's webhooks.
    pub async fn change(&self, payload: webhook::Command) -> CommandId {
        self.send::<webhook::Area>(self.tenant, payload).await
    }

    /// Creates a project.
    pub async fn project(&self) -> ProjectId {
        let command = CommandId(id());
        let create = project::Command::Create {
            name: Name::parse("Loom").unwrap(),
            description: Description::parse("").unwrap(),
            status: project::Status::Active,
            creator: AccountId(id()),
        };
        self.send_as::<project::Area>(command, command.0.into(), create)
            .await;
        command.0.into()
    }

    /// Renames a project.
    pub async fn rename(&self, project: ProjectId) {
        let update = project::Command::Update {
            name: Some(Name::parse(&format!("Loom {}", id())).unwrap()),
            description: None,
            status: None,
        };
        self.send::<project::Area>(project, update).await;
    }
}

/// Returns the id as it is in a message.
pub fn text(id: impl Into<Id>) -> String {
    id.into().to_string()
}
