//! Mail: requested once, then sent or failed.

use events_schema::{
    EmailAddress, Reject, RejectionKind, Time,
    email::{Area, Command, Event, Template},
};
use serde::Serialize;

use crate::aggregate::{Aggregate, Decision, Facts};

/// The longest part of a mail server's answer that is kept, in characters. It fits the enhanced
/// status code and a few lines of explanation.
const MAX_REASON: usize = 500;

/// One mail.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Email {
    /// Not requested yet.
    #[default]
    Absent,
    /// Requested and not sent yet.
    Pending {
        to: EmailAddress,
        template: Template,
        not_before: Option<Time>,
    },
    /// Accepted by the mail server.
    Sent,
    /// All attempts have failed.
    Failed,
    /// Nobody wanted it any more when it was to be sent.
    Withdrawn,
}

/// Why a command to a mail is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// The mail was not requested.
    #[error("There is no such mail.")]
    NotFound,
}

impl Reject for Rejection {
    fn kind(&self) -> RejectionKind {
        match self {
            Self::NotFound => RejectionKind::NotFound,
        }
    }
}

impl Email {
    /// Returns the recipient, the template and the time before which the mail is not sent, if it is
    /// still to be sent.
    pub fn pending(&self) -> Option<(&EmailAddress, &Template, Option<Time>)> {
        match self {
            Self::Pending {
                to,
                template,
                not_before,
            } => Some((to, template, *not_before)),
            Self::Absent | Self::Sent | Self::Failed | Self::Withdrawn => None,
        }
    }
}

impl Aggregate for Email {
    type Area = Area;
    type Rejection = Rejection;

    fn decide(&self, command: &Command, _: &Facts<Area>) -> Result<Decision<Event>, Rejection> {
        let events = match (self, command) {
            // What nobody wanted then may be wanted now.
            (
                Self::Absent | Self::Withdrawn,
                Command::Request {
                    to,
                    template,
                    not_before,
                },
            ) => vec![Event::Requested {
                to: to.clone(),
                template: template.clone(),
                not_before: *not_before,
            }],
            (
                Self::Absent,
                Command::AskToVerify {
                    to,
                    account,
                    challenge,
                    firstname,
                },
            ) => {
                let template = Template::Verification {
                    account: *account,
                    challenge: *challenge,
                    firstname: firstname.clone(),
                };
                vec![requested(to, template)]
            }
            (Self::Absent, Command::WarnOfRegistration { to }) => {
                vec![requested(to, Template::AlreadyRegistered)]
            }
            (Self::Absent, Command::WarnOfFailedLogins { to }) => {
                vec![requested(to, Template::LoginsFailed)]
            }
            (Self::Absent, Command::SendLoginCode { to, challenge }) => {
                let challenge = *challenge;
                vec![requested(to, Template::LoginCode { challenge })]
            }
            (Self::Absent, Command::WarnOfSecondFactor { to }) => {
                vec![requested(to, Template::SecondFactorFailed)]
            }
            (Self::Absent, Command::TellOfNewDevice { to, device, at }) => {
                let (device, at) = (device.clone(), *at);
                vec![requested(to, Template::NewDevice { device, at })]
            }
            // An id stands for one occasion, so a second request changes nothing.
            (Self::Pending { .. } | Self::Sent | Self::Failed, Command::Request { .. })
            | (
                Self::Pending { .. } | Self::Sent | Self::Failed | Self::Withdrawn,
                Command::AskToVerify { .. }
                | Command::WarnOfRegistration { .. }
                | Command::WarnOfFailedLogins { .. }
                | Command::SendLoginCode { .. }
                | Command::WarnOfSecondFactor { .. }
                | Command::TellOfNewDevice { .. },
            ) => vec![],
            (
                Self::Absent,
                Command::RecordSent | Command::RecordFailed { .. } | Command::RecordWithdrawn,
            ) => return Err(Rejection::NotFound),
            (Self::Pending { .. } | Self::Failed | Self::Withdrawn, Command::RecordSent) => {
                vec![Event::Sent]
            }
            (Self::Pending { .. }, Command::RecordWithdrawn) => vec![Event::Withdrawn],
            (Self::Pending { .. }, Command::RecordFailed { reason }) => vec![Event::Failed {
                reason: one_short_line(reason),
            }],
            (Self::Sent, Command::RecordSent)
            | (
                Self::Sent | Self::Failed | Self::Withdrawn,
                Command::RecordFailed { .. } | Command::RecordWithdrawn,
            ) => vec![],
        };
        Ok(Decision::events(events))
    }

    fn evolve(&mut self, event: &Event, _at: Time) {
        *self = match event {
            Event::Requested {
                to,
                template,
                not_before,
            } => Self::Pending {
                to: to.clone(),
                template: template.clone(),
                not_before: *not_before,
            },
            Event::Sent => Self::Sent,
            Event::Failed { .. } => Self::Failed,
            Event::Withdrawn => Self::Withdrawn,
        };
    }
}

fn requested(to: &EmailAddress, template: Template) -> Event {
    Event::Requested {
        to: to.clone(),
        template,
        not_before: None,
    }
}

fn one_short_line(reason: &str) -> String {
    let printable = reason.chars().filter(|c| !c.is_control());
    printable.take(MAX_REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{Given, given};

    fn to() -> EmailAddress {
        EmailAddress::parse("ada@example.com").unwrap()
    }
    fn request() -> Command {
        Command::Request {
            to: to(),
            template: Template::AlreadyRegistered,
            not_before: Some(Time(9)),
        }
    }
    fn requested() -> Event {
        Event::Requested {
            to: to(),
            template: Template::AlreadyRegistered,
            not_before: Some(Time(9)),
        }
    }
    fn record_failed(reason: &str) -> Command {
        Command::RecordFailed {
            reason: reason.to_owned(),
        }
    }
    fn failure(reason: &str) -> Event {
        Event::Failed {
            reason: reason.to_owned(),
        }
    }
    fn absent() -> Given<Email> {
        given([])
    }
    fn pending() -> Given<Email> {
        given([requested()])
    }
    fn sent() -> Given<Email> {
        given([requested(), Event::Sent])
    }
    fn failed() -> Given<Email> {
        given([requested(), failure("x")])
    }
    fn withdrawn() -> Given<Email> {
        given([requested(), Event::Withdrawn])
    }

    #[test]
    fn a_gateway_requests_no_other_mail_than_these() {
        let account = events_schema::AccountId(events_schema::Id::from_bytes([1; 16]));
        let challenge = events_schema::ChallengeId(account.0);
        let firstname = events_schema::PersonName::parse("Ada").unwrap();
        let device = events_schema::Device::from_user_agent("curl");
        let ask = Command::AskToVerify {
            to: to(),
            account,
            challenge,
            firstname: firstname.clone(),
        };
        let verification = Template::Verification {
            account,
            challenge,
            firstname,
        };
        for (command, template) in [
            (ask, verification),
            (
                Command::WarnOfRegistration { to: to() },
                Template::AlreadyRegistered,
            ),
            (
                Command::WarnOfFailedLogins { to: to() },
                Template::LoginsFailed,
            ),
            (
                Command::SendLoginCode {
                    to: to(),
                    challenge,
                },
                Template::LoginCode { challenge },
            ),
            (
                Command::WarnOfSecondFactor { to: to() },
                Template::SecondFactorFailed,
            ),
            (
                Command::TellOfNewDevice {
                    to: to(),
                    device: device.clone(),
                    at: Time(5),
                },
                Template::NewDevice {
                    device,
                    at: Time(5),
                },
            ),
        ] {
            absent()
                .when(command.clone())
                .then([super::requested(&to(), template)]);
            pending().when(command.clone()).changes_nothing();
            sent().when(command).changes_nothing();
        }
    }

    #[test]
    fn a_mail_is_requested() {
        absent().when(request()).then([requested()]);
    }

    #[test]
    fn requesting_a_mail_again_changes_nothing() {
        for mail in [pending(), sent(), failed()] {
            mail.when(request()).changes_nothing();
        }
    }

    #[test]
    fn a_mail_that_nobody_wanted_then_can_be_wanted_later() {
        withdrawn().when(request()).then([requested()]);
        let again = withdrawn().and([requested()]);
        again.when(Command::RecordSent).then([Event::Sent]);
    }

    #[test]
    fn only_a_pending_mail_is_withdrawn() {
        let withdraw = Command::RecordWithdrawn;
        pending().when(withdraw.clone()).then([Event::Withdrawn]);
        for mail in [sent(), failed(), withdrawn()] {
            mail.when(withdraw.clone()).changes_nothing();
        }
    }

    #[test]
    fn a_mail_is_sent_even_after_it_has_failed() {
        for mail in [pending(), failed(), withdrawn()] {
            mail.when(Command::RecordSent).then([Event::Sent]);
        }
    }

    #[test]
    fn a_mail_is_sent_only_once() {
        sent().when(Command::RecordSent).changes_nothing();
    }

    #[test]
    fn a_mail_fails_with_a_short_reason_in_one_line() {
        let fails = |reason: &str| pending().when(record_failed(reason));
        fails("550\nno").then([failure("550no")]);
        fails(&"x".repeat(501)).then([failure(&"x".repeat(500))]);
    }

    #[test]
    fn a_late_failure_changes_nothing() {
        for mail in [sent(), failed(), withdrawn()] {
            mail.when(record_failed("late")).changes_nothing();
        }
    }

    #[test]
    fn a_mail_that_was_not_requested_is_neither_sent_nor_failed() {
        let withdrawn = Command::RecordWithdrawn;
        for command in [Command::RecordSent, record_failed("x"), withdrawn] {
            absent().when(command).rejects(Rejection::NotFound);
        }
    }

    #[test]
    fn only_a_mail_without_a_result_is_pending() {
        let expected = (&to(), &Template::AlreadyRegistered, Some(Time(9)));
        assert_eq!(pending().state().pending(), Some(expected));
        for mail in [absent(), sent(), failed(), withdrawn()] {
            assert_eq!(mail.state().pending(), None);
        }
    }
}
