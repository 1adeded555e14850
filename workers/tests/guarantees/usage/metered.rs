//! A tenant that pays for what it uses.

use std::time::SystemTime;

use event_store::{CommandSender, Trace};
use events_schema::{
    AccountId, Actor, Area, AreaName, Command, CommandId, Commit, Id, Name, Outcome, PlanId,
    PlanVersion, PriceId, ProjectId, StripeCustomerId, StripeItemId, StripePriceId,
    StripeSubscriptionId, TenantId, TenantKey, Time, UsageId,
    billing::{self, Paid, PaidStatus},
    plan::{self, CATALOGUE, Version},
    task::{self, TASKS_CREATED, TaskId},
    usage::{self, Event, Payer},
};
use futures_util::future::join_all;
use mongodb::bson::{DateTime, Document, doc};
use servers::Role;

use crate::support::{DEADLINE, World, connect, eventually, id};

/// When the next payment is due: long after the test.
const PERIOD_END: Time = Time(4_000_000_000_000);

pub struct Metered {
    clients: CommandSender,
    workers: CommandSender,
    plan: PlanVersion,
    tenant: TenantKey,
}

/// A cut as the log has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    pub from: u64,
    pub to: u64,
    pub quantity: u64,
    pub is_due: bool,
}

impl Metered {
    /// A tenant whose plan counts tasks. Workers that decide commands must run.
    pub async fn new(world: &World) -> Self {
        let effects = connect(&world.servers, Role::Effects, "_INBOX_effects").await;
        let clients = CommandSender::start(world.gateway.clone()).await.unwrap();
        let plan = id();
        let create = plan::Command::Create {
            name: Name::parse("Team").unwrap(),
            version: Version {
                meters: [TASKS_CREATED].into(),
                ..Version::default()
            },
        };
        let (catalogue, command) = (CATALOGUE, CommandId(plan));
        let create = Command::by_system(command, TenantId::Platform, catalogue, now(), create);
        send::<plan::Area>(&clients, create).await;
        let plan = PlanVersion {
            plan: PlanId(plan),
            number: 1,
        };
        let workers = CommandSender::start(effects).await.unwrap();
        Self::subscribed(clients, workers, plan).await
    }

    /// Another tenant with the same plan.
    pub async fn neighbour(&self) -> Self {
        let (clients, workers) = (self.clients.clone(), self.workers.clone());
        Self::subscribed(clients, workers, self.plan).await
    }

    async fn subscribed(clients: CommandSender, workers: CommandSender, plan: PlanVersion) -> Self {
        let metered = Self {
            clients,
            workers,
            plan,
            tenant: TenantKey(id()),
        };
        let customer = metered.payer().customer;
        let customer = billing::Command::RecordCustomer { customer };
        for command in [customer, subscription(plan)] {
            let command = metered.command::<billing::Area>(metered.tenant, command);
            send(&metered.workers, command).await;
        }
        metered
    }

    fn of_tenant(&self) -> TenantId {
        TenantId::Tenant(self.tenant)
    }

    fn usage(&self) -> UsageId {
        UsageId::of(self.tenant, TASKS_CREATED)
    }

    fn payer(&self) -> Payer {
        let customer = format!("cus_{}", self.tenant);
        Payer {
            customer: StripeCustomerId::parse(&customer).unwrap(),
            period_end: PERIOD_END,
        }
    }

    fn command<A: Area>(&self, aggregate: A::Id, payload: A::Command) -> Command<A> {
        Command::by_system(CommandId(id()), self.of_tenant(), aggregate, now(), payload)
    }

    /// Creates so many tasks at once.
    pub async fn create_tasks(&self, count: usize) {
        let tasks = (0..count).map(|_| self.create_task(id()));
        join_all(tasks).await;
    }

    async fn create_task(&self, task: Id) {
        let create = task::Command::Create {
            project: ProjectId(task),
            title: Name::parse("Oil it").unwrap(),
            author: AccountId(task),
        };
        let command = Command::<task::Area> {
            actor: Actor::Account(AccountId(task)),
            ..self.command(TaskId(task), create)
        };
        send(&self.clients, command).await;
    }

    /// Stores a cut as a worker does. Returns whether it is stored.
    pub async fn cut(&self, from: u64, to: u64) -> bool {
        let cut = usage::Command::Cut {
            meter: TASKS_CREATED,
            from,
            to,
            quantity: 1,
            payer: Some(self.payer()),
        };
        let command = self.command::<usage::Area>(self.usage(), cut);
        matches!(
            send(&self.workers, command).await,
            Outcome::Committed { .. }
        )
    }

    /// All cuts, in order.
    pub async fn cuts(&self, world: &World) -> Vec<Cut> {
        let events = self.events(world).await.into_iter();
        let cuts = events.filter_map(|event| match event {
            Event::Cut {
                from,
                quantity,
                is_due,
                position,
                ..
            } => Some(Cut {
                from,
                to: position.to,
                quantity,
                is_due,
            }),
            Event::Reported { .. } | Event::ReportFailed { .. } => None,
        });
        cuts.collect()
    }

    /// Returns when so many tasks are counted.
    pub async fn counted(&self, world: &World, tasks: usize) {
        eventually("the count", || async {
            let cuts = self.cuts(world).await;
            cuts.iter().map(|cut| cut.quantity).sum::<u64>() == tasks as u64
        })
        .await;
    }

    /// Returns when the log says that Stripe knows of all cuts that are due. What a killed worker
    /// has claimed is released, as it would be after 90 seconds.
    pub async fn reported(&self, world: &World) {
        eventually("the reports", || async {
            release(world).await;
            let events = self.events(world).await;
            let due = |event: &&Event| matches!(event, Event::Cut { is_due: true, .. });
            let reported = |event: &&Event| matches!(event, Event::Reported { .. });
            events.iter().filter(due).count() == events.iter().filter(reported).count()
        })
        .await;
    }

    async fn events(&self, world: &World) -> Vec<Event> {
        let commits = world.commits::<Commit<usage::Area>>(AreaName::Usage).await;
        let own = commits
            .into_iter()
            .filter(|(_, commit)| commit.id == self.usage());
        own.flat_map(|(_, commit)| commit.events).collect()
    }
}

async fn release(world: &World) {
    let outbox = world.views.collection::<Document>("outbox");
    let due = doc! { "$set": { "due_at": DateTime::now() } };
    outbox.update_many(doc! {}, due).await.unwrap();
}

/// Sends a command until its outcome is known.
async fn send<A: Area>(sender: &CommandSender, command: Command<A>) -> Outcome {
    let deadline = tokio::time::Instant::now() + 3 * DEADLINE;
    loop {
        let sent = sender.send(command.clone(), Trace::begin(), deadline);
        if let Ok(outcome) = sent.await {
            return outcome;
        }
        assert!(tokio::time::Instant::now() < deadline, "no answer");
    }
}

fn now() -> Time {
    SystemTime::now().into()
}

fn subscription(plan: PlanVersion) -> billing::Command {
    billing::Command::RecordSubscription {
        plan,
        price: PriceId(id()),
        subscription: Paid {
            id: StripeSubscriptionId::parse("sub_1").unwrap(),
            item: StripeItemId::parse("si_1").unwrap(),
            status: PaidStatus::Active,
            price: StripePriceId::parse("price_1").unwrap(),
            quantity: 1,
            period_end: PERIOD_END,
            trial_end: None,
            cancel_at: None,
        },
        past_due_since: None,
        request: None,
    }
}
