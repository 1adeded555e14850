//! Publishes commands, and waits for their outcomes and for the views that show them.
//!
//! A command may be published twice: workers decide each command id once.

use std::{sync::Arc, time::Duration};

use async_nats::{
    Client,
    jetstream::{self, ContextBuilder},
};
use event_store::{CommandSender, NoOutcome, Trace, telemetry};
use events_schema::{
    Actor, Area, Command, CommandId, Origin, Outcome, Permissions, Rejection, TenantId, TenantKey,
    View,
};
use tokio::time::Instant;
use tracing::{Instrument as _, debug_span};

use crate::{
    backend::{
        plans::TenantPlan,
        views::{TenantViews, ViewDocument},
    },
    clock::now,
    error::Error,
};

/// How long the broker may take to answer: long compared with a synced write (1 ms).
const BROKER_TIMEOUT: Duration = Duration::from_secs(2);

/// Publishes commands and awaits their outcomes.
#[derive(Clone, Debug)]
pub(crate) struct Commands {
    sender: CommandSender,
    timeout: Duration,
}

/// Who sends a command.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) actor: Actor,
    /// The sender's permissions, and the tenant in which they count.
    pub(crate) held: Option<(TenantKey, Permissions)>,
    /// What the plan of the tenant allows, if the operation depends on it.
    pub(crate) plan: Option<Arc<TenantPlan>>,
    /// Where the request came from.
    pub(crate) origin: Option<Origin>,
    pub(crate) trace: Trace,
}

/// A command to send, before it is wrapped in its envelope.
#[derive(Clone, Debug)]
pub(crate) struct CommandRequest<A: Area> {
    /// The tenant whose data the command changes.
    pub(crate) tenant: TenantId,
    pub(crate) aggregate: A::Id,
    pub(crate) id: CommandId,
    /// The revision that the client has seen, if it named one.
    pub(crate) expected: Option<u64>,
    pub(crate) payload: A::Command,
}

impl Commands {
    /// Sends commands this way. Each may take `timeout` until its view shows the outcome.
    pub(crate) fn new(sender: CommandSender, timeout: Duration) -> Self {
        Self { sender, timeout }
    }

    /// Returns the deadline of a command that is sent now.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Sends a command and waits until the view `V` shows the outcome. Returns the revision that
    /// the view has reached.
    ///
    /// # Errors
    /// `Rejected` if the domain refuses the command; `LimitReached` if the tenant has as many
    /// objects as its plan allows; `Pending` if the command may be stored but is not shown in time;
    /// `Unavailable` if it is certainly not stored.
    pub(crate) async fn send<V: View>(
        &self,
        sender: &Sender,
        views: &TenantViews,
        request: CommandRequest<V::Area>,
    ) -> Result<u64, Error> {
        let (revision, _is_new) = self.send_until_shown::<V>(sender, views, request).await?;
        Ok(revision)
    }

    /// Sends a command and waits until the view `V` shows the outcome. Returns whether the command
    /// has changed something now: it neither found everything as it wants it, nor repeats one that
    /// was decided before.
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    pub(crate) async fn change<V: View>(
        &self,
        sender: &Sender,
        views: &TenantViews,
        request: CommandRequest<V::Area>,
    ) -> Result<bool, Error> {
        let (_revision, is_new) = self.send_until_shown::<V>(sender, views, request).await?;
        Ok(is_new)
    }

    async fn send_until_shown<V: View>(
        &self,
        sender: &Sender,
        views: &TenantViews,
        request: CommandRequest<V::Area>,
    ) -> Result<(u64, bool), Error> {
        let (deadline, id) = (self.deadline(), request.id);
        let (tenant, aggregate) = (request.tenant, request.aggregate);
        let outcome = self.decide(sender, request, deadline).await?;
        let revision = outcome.revision();
        let refusal = |rejection: &Rejection| sender.refusal::<V::Area>(tenant, rejection.clone());
        let revision = revision.map_err(refusal)?;
        let is_new = matches!(outcome, Outcome::Committed { .. });
        let span = debug_span!("await view", view = V::NAME, revision);
        let shown = views.wait_for::<V>(aggregate, revision, is_new, deadline);
        if shown.instrument(span).await? {
            Ok((revision, is_new))
        } else {
            Err(Error::Pending(id))
        }
    }

    /// Sends a command, waits until the view `V` shows the outcome, and reads the view.
    ///
    /// # Errors
    /// Those of [`send`](Self::send); `NotFound` if the view shows nothing.
    pub(crate) async fn send_and_get<V: View>(
        &self,
        sender: &Sender,
        views: &TenantViews,
        request: CommandRequest<V::Area>,
    ) -> Result<ViewDocument<V>, Error> {
        let aggregate = request.aggregate;
        self.send::<V>(sender, views, request).await?;
        views.get::<V>(aggregate).await?.ok_or(Error::NotFound)
    }

    /// Sends a command and waits for its outcome, but not for its view.
    ///
    /// # Errors
    /// `Pending` if the command may be stored; `Unavailable` if it is certainly not stored.
    pub(crate) async fn decide<A: Area>(
        &self,
        sender: &Sender,
        request: CommandRequest<A>,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let id = request.id;
        let trace = sender.trace;
        let outcome = self.sender.send(command(sender, request), trace, deadline);
        outcome.await.map_err(|error| match error {
            NoOutcome::NotKnown => Error::Pending(id),
            NoOutcome::NotSent(cause) => Error::Unavailable(cause.context("sending a command")),
        })
    }

    /// Sends a command without waiting for its outcome. A failure is logged.
    pub(crate) fn send_in_background<A: Area>(&self, sender: Sender, request: CommandRequest<A>) {
        let (commands, deadline) = (self.clone(), self.deadline());
        let (trace, id) = (sender.trace, request.id);
        tokio::spawn(telemetry::in_trace(trace, async move {
            if let Err(error) = commands.decide(&sender, request, deadline).await {
                let (area, error) = (A::NAME, format!("{error:?}"));
                tracing::warn!(%area, command = %id, error, "a command was not decided");
            }
        }));
    }

    /// Whether there is a connection to NATS.
    pub(crate) fn is_connected(&self) -> bool {
        self.sender.is_connected()
    }
}

impl Sender {
    /// Returns the plan that counts in this tenant. That of another one must not.
    fn plan_in(&self, tenant: TenantId) -> Option<&TenantPlan> {
        let plan = self.plan.as_deref();
        plan.filter(|plan| TenantId::Tenant(plan.tenant) == tenant)
    }

    fn refusal<A: Area>(&self, tenant: TenantId, rejection: Rejection) -> Error {
        match self.plan_in(tenant) {
            Some(plan) => plan.refusal::<A>(rejection),
            None => Error::Rejected(rejection),
        }
    }
}

impl<A: Area> CommandRequest<A> {
    /// Makes a request that holds at any revision of the aggregate.
    pub(crate) fn new(
        tenant: TenantId,
        aggregate: A::Id,
        id: CommandId,
        payload: A::Command,
    ) -> Self {
        Self {
            tenant,
            aggregate,
            id,
            expected: None,
            payload,
        }
    }

    /// Restricts the request to this revision of the aggregate, if one is given.
    pub(crate) fn expecting(mut self, expected: Option<u64>) -> Self {
        self.expected = expected;
        self
    }
}

/// Returns JetStream over a connection, with bounded waits for its answers.
pub(crate) fn jetstream(nats: Client) -> jetstream::Context {
    ContextBuilder::new().timeout(BROKER_TIMEOUT).build(nats)
}

fn command<A: Area>(sender: &Sender, request: CommandRequest<A>) -> Command<A> {
    let tenant = request.tenant;
    // Permissions of one tenant must not count in another.
    let held = sender.held.as_ref();
    let held = held.filter(|(key, _)| TenantId::Tenant(*key) == tenant);
    // The origin is stored for ever with the commit, so it is sent only where an audit log shows
    // it.
    let origin = match tenant {
        TenantId::Platform => None,
        TenantId::Tenant(_) => sender.origin.clone(),
    };
    let limit = sender.plan_in(tenant);
    let limit = limit.and_then(|plan| plan.limit_of::<A>());
    Command {
        id: request.id,
        tenant,
        area: A::NAME,
        aggregate: request.aggregate,
        actor: sender.actor,
        held: held.map(|(_, held)| held.clone()).unwrap_or_default(),
        time: now(),
        expected: request.expected,
        limit: limit.map(|(_, allowed)| allowed),
        origin,
        reply: None,
        payload: request.payload,
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{
        Document, Id, Name, PlanId, RejectionKind, Time, member,
        plan::{self, CATALOGUE, Plan, Version},
        project,
    };

    use super::*;

    const ACME: TenantKey = TenantKey(Id::from_bytes([1; 16]));
    const OTHER: TenantKey = TenantKey(Id::from_bytes([2; 16]));

    /// A plan of acme that allows three projects.
    fn plan() -> TenantPlan {
        let id = PlanId(Id::from_bytes([4; 16]));
        let version = Version {
            limits: [(project::PROJECTS, 3)].into(),
            ..Version::default()
        };
        let plan = Plan {
            name: Name::parse("Small").unwrap(),
            versions: vec![version],
            archived: false,
            created_at: Time(0),
            updated_at: Time(0),
        };
        let catalogue = plan::View {
            plans: [(id, plan)].into(),
            default: Some(id),
            ..plan::View::default()
        };
        let document = Document {
            id: CATALOGUE,
            tenant: TenantId::Platform,
            revision: 1,
            sequence: 1,
            view: Some(catalogue),
        };
        TenantPlan::new(ACME, Some(Arc::new(document)), None, Time(0))
    }

    fn sender() -> Sender {
        Sender {
            actor: Actor::Anonymous,
            held: Some((ACME, Permissions::from([project::READ]))),
            plan: Some(Arc::new(plan())),
            origin: None,
            trace: Trace::begin(),
        }
    }

    fn sent<A: Area>(tenant: TenantId, payload: A::Command) -> Command<A> {
        let id = Id::from_bytes([3; 16]);
        let request = CommandRequest::<A>::new(tenant, id.into(), CommandId(id), payload);
        command(&sender(), request)
    }

    fn deleted(tenant: TenantId) -> Command<project::Area> {
        sent(tenant, project::Command::Delete)
    }

    #[test]
    fn permissions_are_sent_to_their_own_tenant_only() {
        let own = deleted(TenantId::Tenant(ACME));
        assert_eq!(own.held, Permissions::from([project::READ]));
        assert!(deleted(TenantId::Tenant(OTHER)).held.is_empty());
        assert!(deleted(TenantId::Platform).held.is_empty());
    }

    #[test]
    fn the_limit_of_an_area_is_sent_to_its_own_tenant_and_area_only() {
        assert_eq!(deleted(TenantId::Tenant(ACME)).limit, Some(3));
        assert_eq!(deleted(TenantId::Tenant(OTHER)).limit, None);
        let suspend = member::Command::Suspend {
            member_holds: Permissions::new(),
        };
        let unlimited = sent::<member::Area>(TenantId::Tenant(ACME), suspend);
        assert_eq!(unlimited.limit, None);
    }

    #[test]
    fn a_rejection_by_the_limit_names_it() {
        let rejection = |code: &str| Rejection {
            kind: RejectionKind::Limit,
            code: code.to_owned(),
            message: "Full.".to_owned(),
            used: Some(3),
        };
        let refusal = |tenant, code| {
            let tenant = TenantId::Tenant(tenant);
            sender().refusal::<project::Area>(tenant, rejection(code))
        };
        let reached = refusal(ACME, "limit_reached");
        let is_named = matches!(
            &reached,
            Error::LimitReached { limit, allowed: 3, used: 3, plans }
                if *limit == project::PROJECTS && plans.is_empty()
        );
        assert!(is_named, "{reached:?}");
        for (tenant, code) in [(OTHER, "limit_reached"), (ACME, "too_many_tags")] {
            assert!(
                matches!(refusal(tenant, code), Error::Rejected(_)),
                "{code}"
            );
        }
    }
}
