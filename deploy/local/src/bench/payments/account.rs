//! Tenants that pay, made without the API: what Stripe tells is measured and not the gateway.

use std::{net::SocketAddr, time::SystemTime};

use anyhow::{Context as _, ensure};
use event_store::{CommandSender, NatsOptions, Trace, random_id};
use events_schema::{
    Area, Command, CommandId, Currency, Money, Name, Outcome, PlanId, StripeCustomerId, TenantId,
    TenantKey, Time,
    billing::{self, Command::RecordCustomer},
    plan::{self, CATALOGUE, Interval, Per, Price, Version},
    project::PROJECTS,
};
use mongodb::bson::doc;
use serde_json::Value;
use servers::Role;
use tokio::time::{Duration, Instant, sleep};

use crate::{
    bench::{http::Connection, stage::Stage},
    stripe::SECRET_KEY,
};

/// Time limit of a command, and of what follows from it.
const WITHIN: Duration = Duration::from_secs(20);
/// Pause between two looks at a document.
const POLL: Duration = Duration::from_millis(5);
/// More projects than any tenant of a benchmark has.
const MANY: u64 = 1_000_000;
const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// Changes plans, and what the development Stripe has.
pub(super) struct Account {
    stripe: SocketAddr,
    connection: Connection,
    /// Sends what clients send, and what only workers and operators send.
    client: CommandSender,
    operator: CommandSender,
    /// The price of a plan at Stripe.
    price: String,
}

/// A tenant that pays.
pub(super) struct Payer {
    pub(super) tenant: TenantKey,
    pub(super) subscription: String,
}

impl Account {
    /// Creates a plan that costs something, and waits until Stripe knows its price.
    ///
    /// # Errors
    /// If a server does not answer in time.
    pub(super) async fn open(stage: &Stage, stripe: SocketAddr) -> anyhow::Result<Self> {
        let mut account = Self {
            stripe,
            connection: Connection::open(stripe).await?,
            client: sender(stage, Role::Gateway).await?,
            operator: sender(stage, Role::Migrator).await?,
            price: String::new(),
        };
        let price = Price {
            amount: Money::new(900, Currency::parse("EUR")?)?,
            interval: Interval::Month,
            per: Per::Tenant,
        };
        let version = Version {
            prices: vec![price],
            ..Version::default()
        };
        account.create_plan("Paid", version).await?;
        account.price = known_price(stage).await?;
        Ok(account)
    }

    /// Makes a free plan the default one that allows more projects than anybody makes.
    ///
    /// # Errors
    /// If there is no outcome in time.
    pub(super) async fn limit_projects(&self) -> anyhow::Result<()> {
        let version = Version {
            limits: [(PROJECTS, MANY)].into(),
            ..Version::default()
        };
        let plan = self.create_plan("Limited", version).await?;
        self.change_catalogue(random_command()?, plan::Command::SetDefault { plan })
            .await
    }

    async fn create_plan(&self, name: &str, version: Version) -> anyhow::Result<PlanId> {
        let (id, name) = (random_command()?, Name::parse(name)?);
        let create = plan::Command::Create { name, version };
        self.change_catalogue(id, create).await?;
        Ok(PlanId(id.0))
    }

    async fn change_catalogue(&self, id: CommandId, change: plan::Command) -> anyhow::Result<()> {
        let of = TenantId::Platform;
        let command = Command::<plan::Area>::by_system(id, of, CATALOGUE, now(), change);
        send(&self.client, command).await
    }

    /// Gives a tenant a customer with a card and a subscription.
    ///
    /// # Errors
    /// If a server refuses it or does not answer.
    pub(super) async fn pay(&mut self, tenant: TenantKey) -> anyhow::Result<Payer> {
        let customer = self.post("/v1/customers", "").await?;
        let customer = text(&customer, "id")?;
        let card = format!("customer={customer}");
        let path = "/v1/payment_methods/pm_card_visa/attach";
        let card = text(&self.post(path, &card).await?, "id")?;
        let default = format!("invoice_settings[default_payment_method]={card}");
        self.post(&format!("/v1/customers/{customer}"), &default)
            .await?;
        let record = RecordCustomer {
            customer: StripeCustomerId::parse(&customer)?,
        };
        let (id, of) = (random_command()?, TenantId::Tenant(tenant));
        let command = Command::<billing::Area>::by_system(id, of, tenant, now(), record);
        send(&self.operator, command).await?;
        let form = format!("customer={customer}&items[0][price]={}", self.price);
        let subscription = self.post("/v1/subscriptions", &form).await?;
        let subscription = text(&subscription, "id")?;
        Ok(Payer {
            tenant,
            subscription,
        })
    }

    /// Lets a subscription end with its period, or go on.
    ///
    /// # Errors
    /// If the development Stripe refuses it.
    pub(super) async fn end(&mut self, payer: &Payer, ends: bool) -> anyhow::Result<()> {
        let path = format!("/v1/subscriptions/{}", payer.subscription);
        let form = format!("cancel_at_period_end={ends}");
        self.post(&path, &form).await.map(drop)
    }

    /// Returns the ids of all events, the latest first.
    ///
    /// # Errors
    /// If the development Stripe does not list them.
    pub(super) async fn events(&mut self) -> anyhow::Result<Vec<String>> {
        let (mut all, mut path) = (Vec::new(), "/v1/events?limit=100".to_owned());
        loop {
            let page = self.ask("GET", &path, FORM, "").await?;
            let events = page["data"].as_array().context("no list of events")?;
            for event in events {
                all.push(text(event, "id")?);
            }
            match all.last().filter(|_| page["has_more"] == true) {
                Some(last) => path = format!("/v1/events?limit=100&starting_after={last}"),
                None => return Ok(all),
            }
        }
    }

    /// Asks for something that only a development Stripe does.
    ///
    /// # Errors
    /// If it is refused.
    pub(super) async fn control(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let path = format!("/_test/{path}");
        self.ask("POST", &path, JSON, &body.to_string()).await
    }

    async fn post(&mut self, path: &str, form: &str) -> anyhow::Result<Value> {
        self.ask("POST", path, FORM, form).await
    }

    async fn ask(
        &mut self,
        method: &str,
        path: &str,
        kind: &str,
        body: &str,
    ) -> anyhow::Result<Value> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {SECRET_KEY}\r\n\
             content-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
            self.stripe,
            body.len()
        );
        let answer = self.connection.send(request.as_bytes()).await?;
        ensure!(answer.status == 200, "{path}: {}", answer.excerpt());
        Ok(serde_json::from_slice(answer.body)?)
    }
}

async fn sender(stage: &Stage, role: Role) -> anyhow::Result<CommandSender> {
    let options = NatsOptions {
        nats_url: stage.servers.nats_url(role),
        ..NatsOptions::default()
    };
    CommandSender::start(event_store::connect(&options, "bench").await?).await
}

async fn send<A: Area>(sender: &CommandSender, command: Command<A>) -> anyhow::Result<()> {
    let outcome = sender.send(command, Trace::begin(), Instant::now() + WITHIN);
    let outcome = outcome.await.context("sending a command")?;
    let is_done = !matches!(outcome, Outcome::Rejected(_));
    ensure!(is_done, "a command ended with {outcome:?}");
    Ok(())
}

/// Waits until the catalogue has a price of Stripe.
async fn known_price(stage: &Stage) -> anyhow::Result<String> {
    let (plans, begin) = (stage.collection("plan").await?, Instant::now());
    loop {
        let found = plans.find_one(doc! {}).await?;
        let view = found
            .as_ref()
            .and_then(|found| found.get_document("view").ok());
        let prices = view.and_then(|view| view.get_document("stripe_prices").ok());
        let price = prices.and_then(|prices| prices.values().next()?.as_str());
        if let Some(price) = price {
            return Ok(price.to_owned());
        }
        ensure!(begin.elapsed() < WITHIN, "Stripe knows no price");
        sleep(POLL).await;
    }
}

fn text(value: &Value, name: &str) -> anyhow::Result<String> {
    let text = value[name].as_str();
    let text = text.with_context(|| format!("no {name} in {value}"))?;
    Ok(text.to_owned())
}

fn random_command() -> anyhow::Result<CommandId> {
    random_id().map(CommandId)
}

fn now() -> Time {
    SystemTime::now().into()
}
