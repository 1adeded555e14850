//! Mail: asked for once, then sent or given up.

use events_schema::{
    Area, EmailAddress, Rejected, Time,
    email::{Command, Event, Template},
};

use crate::aggregate::{Aggregate, Decision, Facts};

/// What a mail server said is kept up to this many characters.
const LONGEST_REASON: usize = 500;

/// One mail.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Email {
    /// Nothing has happened yet.
    #[default]
    Absent,
    /// Asked for, not sent yet.
    Pending {
        /// To whom.
        to: EmailAddress,
        /// Which mail.
        template: Template,
    },
    /// The mail server took it.
    Sent,
    /// It was given up.
    Failed,
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Nobody asked for it.
    #[error("There is no such mail.")]
    NotFound,
}

impl From<Rejection> for Rejected {
    fn from(rejection: Rejection) -> Self {
        let code = match rejection {
            Rejection::NotFound => "not_found",
        };
        Self {
            code: code.to_owned(),
            message: rejection.to_string(),
        }
    }
}

impl Email {
    /// What is still to be sent.
    pub fn pending(&self) -> Option<(&EmailAddress, &Template)> {
        match self {
            Self::Pending { to, template } => Some((to, template)),
            Self::Absent | Self::Sent | Self::Failed => None,
        }
    }
}

impl Aggregate for Email {
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;
    const AREA: Area = Area::Email;

    fn decide(&self, command: &Command, _facts: &Facts) -> Result<Decision<Event>, Rejection> {
        let events = match (self, command) {
            (Self::Absent, Command::Request { to, template }) => vec![Event::Requested {
                to: to.clone(),
                template: template.clone(),
            }],
            // One mail per id: whoever asks again for the same is served.
            (Self::Pending { .. } | Self::Sent | Self::Failed, Command::Request { .. }) => {
                Vec::new()
            }
            (Self::Absent, Command::RecordSent | Command::RecordFailed { .. }) => {
                return Err(Rejection::NotFound);
            }
            (Self::Pending { .. } | Self::Failed, Command::RecordSent) => vec![Event::Sent],
            (Self::Pending { .. }, Command::RecordFailed { reason }) => {
                vec![Event::Failed {
                    reason: reason
                        .chars()
                        .filter(|c| !c.is_control())
                        .take(LONGEST_REASON)
                        .collect(),
                }]
            }
            (Self::Sent, Command::RecordSent)
            | (Self::Sent | Self::Failed, Command::RecordFailed { .. }) => Vec::new(),
        };
        Ok(Decision::events(events))
    }

    fn evolve(&mut self, event: &Event, _at: Time) {
        *self = match event {
            Event::Requested { to, template } => Self::Pending {
                to: to.clone(),
                template: template.clone(),
            },
            Event::Sent => Self::Sent,
            Event::Failed { .. } => Self::Failed,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{decide, given};

    fn to() -> EmailAddress {
        EmailAddress::parse("ada@example.com").unwrap()
    }
    fn request() -> Command {
        Command::Request {
            to: to(),
            template: Template::AlreadyRegistered,
        }
    }
    fn requested() -> Event {
        Event::Requested {
            to: to(),
            template: Template::AlreadyRegistered,
        }
    }
    fn failed(reason: &str) -> Event {
        Event::Failed {
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn a_mail_is_asked_for_once() {
        assert_eq!(decide(&Email::Absent, &request(), 0), Ok(vec![requested()]));
        for events in [
            vec![requested()],
            vec![requested(), Event::Sent],
            vec![requested(), failed("x")],
        ] {
            assert_eq!(decide(&given::<Email>(events), &request(), 0), Ok(vec![]));
        }
    }

    #[test]
    fn it_is_sent_also_after_it_was_given_up() {
        assert_eq!(
            decide(&given::<Email>([requested()]), &Command::RecordSent, 0),
            Ok(vec![Event::Sent])
        );
        assert_eq!(
            decide(
                &given::<Email>([requested(), failed("x")]),
                &Command::RecordSent,
                0
            ),
            Ok(vec![Event::Sent])
        );
        assert_eq!(
            decide(
                &given::<Email>([requested(), Event::Sent]),
                &Command::RecordSent,
                0
            ),
            Ok(vec![])
        );
        assert_eq!(
            decide(&Email::Absent, &Command::RecordSent, 0),
            Err(Rejection::NotFound)
        );
    }

    #[test]
    fn it_is_given_up_with_a_reason_of_bounded_length() {
        let fail = |reason: &str| Command::RecordFailed {
            reason: reason.to_owned(),
        };
        assert_eq!(
            decide(&given::<Email>([requested()]), &fail("550\nno"), 0),
            Ok(vec![failed("550no")])
        );
        assert_eq!(
            decide(&given::<Email>([requested()]), &fail(&"x".repeat(501)), 0),
            Ok(vec![failed(&"x".repeat(500))])
        );
        assert_eq!(
            decide(
                &given::<Email>([requested(), Event::Sent]),
                &fail("late"),
                0
            ),
            Ok(vec![])
        );
        assert_eq!(
            decide(&Email::Absent, &fail("x"), 0),
            Err(Rejection::NotFound)
        );
    }

    #[test]
    fn only_what_is_neither_sent_nor_given_up_is_pending() {
        assert_eq!(
            given::<Email>([requested()]).pending(),
            Some((&to(), &Template::AlreadyRegistered))
        );
        assert_eq!(given::<Email>([requested(), Event::Sent]).pending(), None);
        assert_eq!(given::<Email>([requested(), failed("x")]).pending(), None);
    }
}
