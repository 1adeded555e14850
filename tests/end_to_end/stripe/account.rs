//! A backend with a plan that costs money, and the development Stripe as its operator's account.

use std::{process::Stdio, time::SystemTime};

use events_schema::{
    Command, CommandId, StripeCustomerId, TenantId, TenantKey,
    billing::{self, Command::RecordCustomer},
};
use local::{Local, stripe::SECRET_KEY};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use servers::Role;
use tokio::process::Command as Process;
use workers::{Difference, stripe::StripeOptions};

use crate::{
    billing::{create_plan, free, root, set_default},
    support::{
        Browser, documents_of, eventually, operator, operator_nats, send_command_of_operator,
        start, text,
    },
};

/// A tenant, as its owner uses it, and its customer.
pub struct Tenant {
    pub owner: Browser,
    pub key: TenantKey,
    pub customer: String,
}

pub struct Account {
    pub backend: Local,
    ada: Browser,
    /// The price of the plan "Team" at Stripe.
    pub price: String,
    url: String,
}

impl Account {
    pub async fn open() -> Self {
        let backend = start().await;
        let root = root(&backend).await;
        set_default(&root, free("Free", &[], &[])).await;
        let price = json!({
            "amount": { "amount": 900, "currency": "EUR" }, "interval": "MONTH", "per": "TENANT",
        });
        let mut team = free("Team", &["webhooks"], &[]);
        team["prices"] = json!([price]);
        create_plan(&root, team).await;
        let price = async || {
            let plans = documents_of(&backend, "plan").await;
            let prices = plans[0]["view"]["stripe_prices"].as_object()?.values();
            prices
                .map(|price| price.as_str().unwrap().to_owned())
                .next()
        };
        eventually("the price at Stripe", || async { price().await.is_some() }).await;
        let (price, url) = (
            price().await.unwrap(),
            backend.stripe_url().unwrap().to_owned(),
        );
        let ada = Browser::signed_up(&backend, "ada@example.com").await;
        Self {
            backend,
            ada,
            price,
            url,
        }
    }

    /// A tenant with a customer that has a card.
    pub async fn tenant(&self, slug: &str) -> Tenant {
        let (owner, key) = self.stranger(slug).await;
        let customer = self.customer(slug).await;
        self.record_customer(key, &customer).await;
        Tenant {
            owner,
            key,
            customer,
        }
    }

    /// A tenant without a customer.
    pub async fn stranger(&self, slug: &str) -> (Browser, TenantKey) {
        self.ada.create_tenant(slug).await;
        let owner = self.ada.in_tenant(slug);
        let key = owner.data("{ tenant { id } }", ()).await;
        (owner, TenantKey::parse(&text(&key, "/tenant/id")).unwrap())
    }

    /// A customer that has a card.
    pub async fn customer(&self, name: &str) -> String {
        let customer = self.post("customers", &[("name", name)]).await;
        let customer = text(&customer, "/id");
        self.use_card(&customer, "pm_card_visa").await;
        customer
    }

    pub async fn record_customer(&self, tenant: TenantKey, customer: &str) {
        let customer = StripeCustomerId::parse(customer).unwrap();
        self.send(tenant, RecordCustomer { customer }).await;
    }

    /// Sends a command as a worker does.
    pub async fn send(&self, tenant: TenantKey, payload: billing::Command) {
        let command = Command::<billing::Area>::by_system(
            CommandId(event_store::random_id().unwrap()),
            TenantId::Tenant(tenant),
            tenant,
            SystemTime::now().into(),
            payload,
        );
        send_command_of_operator(&self.backend, command).await;
    }

    pub async fn use_card(&self, customer: &str, card: &str) {
        let path = format!("payment_methods/{card}/attach");
        let card = self.post(&path, &[("customer", customer)]).await;
        let card = text(&card, "/id");
        let default = [("invoice_settings[default_payment_method]", card.as_str())];
        self.post(&format!("customers/{customer}"), &default).await;
    }

    /// Subscribes a tenant to the plan "Team"; returns the subscription's id.
    pub async fn subscribe(&self, tenant: &Tenant, quantity: u32) -> String {
        let quantity = quantity.to_string();
        let form = [
            ("customer", tenant.customer.as_str()),
            ("items[0][price]", &self.price),
            ("items[0][quantity]", &quantity),
        ];
        text(&self.post("subscriptions", &form).await, "/id")
    }

    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> Value {
        self.call(Method::POST, &format!("v1/{path}"), form).await
    }

    pub async fn get(&self, path: &str) -> Value {
        self.call(Method::GET, &format!("v1/{path}"), &[]).await
    }

    pub async fn delete(&self, path: &str) -> Value {
        self.call(Method::DELETE, &format!("v1/{path}"), &[]).await
    }

    async fn call(&self, method: Method, path: &str, form: &[(&str, &str)]) -> Value {
        let request = self
            .ada
            .http()
            .request(method, format!("{}/{path}", self.url));
        // No value here needs an escape.
        let pairs = form.iter().map(|(name, value)| format!("{name}={value}"));
        let form = pairs.collect::<Vec<_>>().join("&");
        let request = request.basic_auth(SECRET_KEY, Some(""));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = request.body(form).send();
        let answer = answer.await.unwrap();
        let (status, body) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Asks for something that only a development Stripe does.
    pub async fn control(&self, path: &str, body: Value) -> Value {
        let request = self.ada.http().post(format!("{}/_test/{path}", self.url));
        let answer = request.body(body.to_string()).send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }

    pub async fn pass_days(&self, days: i64) {
        self.control("clock", json!({ "advance": days * 24 * 60 * 60 }))
            .await;
    }

    /// Ends the faults, and lets go what they hold.
    pub async fn release(&self) {
        let request = self.ada.http().delete(format!("{}/_test/faults", self.url));
        assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
    }

    /// All events, the latest first.
    pub async fn events(&self) -> Vec<Value> {
        let (mut all, mut path) = (Vec::<Value>::new(), "events?limit=100".to_owned());
        loop {
            let page = self.get(&path).await;
            all.extend(page["data"].as_array().unwrap().iter().cloned());
            if page["has_more"] == false {
                return all;
            }
            let last = text(all.last().unwrap(), "/id");
            path = format!("events?limit=100&starting_after={last}");
        }
    }

    /// How many requests to the API were made.
    pub async fn requests(&self) -> usize {
        self.seen().await.len()
    }

    /// The requests to the API, the earliest first.
    pub async fn seen(&self) -> Vec<Value> {
        let request = self.ada.http().get(format!("{}/_test/requests", self.url));
        let answer = request.send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    /// Waits until all stored events are handled.
    pub async fn settle(&self) {
        let context = operator(&self.backend).await;
        eventually("the events of Stripe to be handled", || async {
            let consumer = context
                .get_consumer_from_stream::<async_nats::jetstream::consumer::pull::Config, _, _>(
                    "stripe_hooks",
                    "STRIPE",
                );
            let consumer = consumer.await.unwrap();
            let state = consumer.cached_info();
            state.num_pending == 0 && state.num_ack_pending == 0
        })
        .await;
    }

    /// The view of a tenant's billing as it is stored; null if there is none.
    pub async fn view(&self, tenant: &Tenant) -> Value {
        let key = tenant.key.to_string();
        let billings = documents_of(&self.backend, "billing").await;
        let mut own = billings.iter().filter(|it| it["tenant"] == key);
        own.next().map_or(Value::Null, |own| own["view"].clone())
    }

    /// The settings of operators' commands.
    pub fn options(&self) -> StripeOptions {
        options(&self.backend)
    }

    /// Runs `workers reconcile-billing`. Returns the differences, and how many remain.
    pub async fn reconcile(&self, is_dry_run: bool) -> (Vec<Difference>, u64) {
        self.try_reconcile(is_dry_run).await.unwrap()
    }

    pub async fn try_reconcile(&self, is_dry_run: bool) -> anyhow::Result<(Vec<Difference>, u64)> {
        reconcile(&self.backend, is_dry_run).await
    }
}

fn options(backend: &Local) -> StripeOptions {
    StripeOptions {
        stripe_key: SECRET_KEY.parse().unwrap(),
        stripe_url: backend.stripe_url().unwrap().parse().unwrap(),
        stripe_tax: workers::stripe::StripeTax::None,
        stripe_rate: 100,
    }
}

/// Runs `workers reconcile-billing`. Returns the differences, and how many remain.
pub async fn reconcile(
    backend: &Local,
    is_dry_run: bool,
) -> anyhow::Result<(Vec<Difference>, u64)> {
    let found = std::sync::Mutex::new(Vec::new());
    let (stripe, nats) = (options(backend), operator_nats(backend));
    let collect = |difference: &Difference| found.lock().unwrap().push(difference.clone());
    let remaining =
        workers::reconcile_billing(&nats, &stripe, None, is_dry_run, &collect, &|_, _| {});
    let remaining = remaining.await?;
    Ok((found.into_inner().unwrap(), remaining))
}

/// A worker as a process of its own, which is killed when it is dropped.
pub fn worker(backend: &Local, arguments: &[&str]) -> Process {
    let servers = &backend.servers;
    let mut worker = Process::new(env!("CARGO_BIN_EXE_worker"));
    worker
        .args(arguments)
        .env("UB_NATS_URL", servers.nats_url(Role::Workers))
        .env("UB_MONGO_URL", servers.mongo_url(Role::Workers))
        .env("UB_SMTP_URL", "smtp://127.0.0.1:1")
        .env("UB_SECRET", "k".repeat(32))
        .env("UB_STRIPE_URL", backend.stripe_url().unwrap())
        .env("UB_STRIPE_KEY", SECRET_KEY)
        .env("UB_STRIPE_RATE", "100")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    worker
}

/// The plan and standing of a tenant, as its owner sees them.
pub async fn billing(tenant: &Tenant) -> Value {
    let billing = tenant
        .owner
        .data("{ billing { plan { name } standing } }", ());
    billing.await["billing"].clone()
}
