//! Mail as operators read it.

use events_schema::{
    Commit,
    email::{Event, Status, View as Email},
};

use super::{Fold, Index};

impl Fold for Email {
    type Event = Event;
    const INDEXES: &'static [Index] = &[Index { fields: &["to"] }];

    fn fold(view: Option<Self>, commit: &Commit<Event>) -> Option<Self> {
        let at = commit.time;
        commit.events.iter().fold(view, |view, event| match event {
            Event::Requested { to, template } => Some(Self {
                to: to.clone(),
                template: template.clone(),
                status: Status::Requested,
                reason: None,
                requested_at: at,
                updated_at: at,
            }),
            Event::Sent => view.map(|view| Self {
                status: Status::Sent,
                reason: None,
                updated_at: at,
                ..view
            }),
            Event::Failed { reason } => view.map(|view| Self {
                status: Status::Failed,
                reason: Some(reason.clone()),
                updated_at: at,
                ..view
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{EmailAddress, Time, email::Template};

    use super::*;
    use crate::view::testing::fold;

    #[test]
    fn a_mail_shows_how_far_it_has_come() {
        let requested = Event::Requested {
            to: EmailAddress::parse("ada@example.com").unwrap(),
            template: Template::AlreadyRegistered,
        };
        let failed = Event::Failed {
            reason: "550 no".to_owned(),
        };
        let shown: Email = fold([(10, requested.clone()), (20, failed.clone())]).unwrap();
        assert_eq!(
            (
                shown.status,
                shown.reason.as_deref(),
                shown.requested_at,
                shown.updated_at
            ),
            (Status::Failed, Some("550 no"), Time(10), Time(20))
        );
        let shown: Email = fold([(10, requested), (20, failed), (30, Event::Sent)]).unwrap();
        assert_eq!((shown.status, shown.reason), (Status::Sent, None));
    }
}
