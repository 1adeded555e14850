//! When a commit has these events, then these commands follow:
//!
//! ```text
//! when::<Founder>([created()]).then([add_founder()]);
//! ```

use events_schema::{
    Actor, Area, CommandId, Commit, EmailAddress, Id, TenantId, TenantKey, Time, email,
    email::Template,
};

use super::{Consequence, Reaction};

/// The tenant, the aggregate and the command of all commits.
pub(super) const ID: Id = Id::from_bytes([1; 16]);
/// The tenant whose data has changed.
pub(super) const TENANT: TenantId = TenantId::Tenant(TenantKey(ID));
/// The revision of all commits.
pub(super) const REVISION: u64 = 2;

type EventOf<R> = <<R as Reaction>::Source as Area>::Event;

/// A commit that a reaction reads.
pub(super) struct When<R: Reaction>(Commit<R::Source>);

/// A commit of these events at time zero.
pub(super) fn when<R: Reaction>(events: impl IntoIterator<Item = EventOf<R>>) -> When<R> {
    When(Commit {
        tenant: TENANT,
        area: R::Source::NAME,
        id: ID.into(),
        revision: REVISION,
        command: CommandId(ID),
        actor: Actor::Anonymous,
        time: Time(0),
        origin: None,
        events: events.into_iter().collect(),
    })
}

impl<R: Reaction> When<R> {
    /// The commit's time, in milliseconds.
    pub(super) fn at(mut self, ms: i64) -> Self {
        self.0.time = Time(ms);
        self
    }

    /// Asserts the commands that follow.
    #[track_caller]
    pub(super) fn then(self, expected: impl IntoIterator<Item = Consequence<R::Target>>) {
        let expected: Vec<_> = expected.into_iter().collect();
        assert_eq!(R::react(&self.0), expected, "{:?}", self.0.events);
    }
}

/// The request of the mail with this id.
pub(super) fn requested(id: Id, to: EmailAddress, template: Template) -> Consequence<email::Area> {
    Consequence {
        tenant: TenantId::Platform,
        aggregate: id.into(),
        command: email::Command::Request {
            to,
            template,
            not_before: None,
        },
    }
}
