//! Recipients of mail: the owner of a mailbox stops invitations, and resumes them.

use events_schema::{
    Reject, RejectionKind, Time,
    recipient::{Area, Command, Event},
};
use serde::Serialize;

use crate::aggregate::{Aggregate, Decision, Facts};

/// One recipient.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipient {
    wants_invitations: bool,
}

impl Default for Recipient {
    /// A recipient that was never asked gets invitations.
    fn default() -> Self {
        Self {
            wants_invitations: true,
        }
    }
}

/// Why a command to a recipient is rejected: none is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub enum Rejection {}

impl Reject for Rejection {
    fn kind(&self) -> RejectionKind {
        match *self {}
    }
}

impl Aggregate for Recipient {
    type Area = Area;
    type Rejection = Rejection;

    fn decide(&self, command: &Command, _: &Facts<Area>) -> Result<Decision<Event>, Rejection> {
        let events = match (self.wants_invitations, command) {
            (true, Command::StopInvitations) => vec![Event::InvitationsStopped],
            (false, Command::ResumeInvitations) => vec![Event::InvitationsResumed],
            (false, Command::StopInvitations) | (true, Command::ResumeInvitations) => vec![],
        };
        Ok(Decision::events(events))
    }

    fn evolve(&mut self, event: &Event, _at: Time) {
        self.wants_invitations = match event {
            Event::InvitationsStopped => false,
            Event::InvitationsResumed => true,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{Given, given};

    fn new() -> Given<Recipient> {
        given([])
    }
    fn stopped() -> Given<Recipient> {
        given([Event::InvitationsStopped])
    }
    fn resumed() -> Given<Recipient> {
        stopped().and([Event::InvitationsResumed])
    }

    #[test]
    fn a_recipient_stops_invitations_once() {
        for recipient in [new(), resumed()] {
            let when = recipient.when(Command::StopInvitations);
            when.then([Event::InvitationsStopped]);
        }
        stopped().when(Command::StopInvitations).changes_nothing();
    }

    #[test]
    fn a_recipient_resumes_invitations_once() {
        let when = stopped().when(Command::ResumeInvitations);
        when.then([Event::InvitationsResumed]);
        for recipient in [new(), resumed()] {
            let when = recipient.when(Command::ResumeInvitations);
            when.changes_nothing();
        }
    }
}
