//! Sessions as they are read.

use events_schema::{
    Commit,
    session::{Event, View as Session},
};

use super::{Fold, Index};

impl Fold for Session {
    type Event = Event;
    const INDEXES: &'static [Index] = &[Index {
        fields: &["account", "epoch", "started_at"],
    }];

    fn fold(view: Option<Self>, commit: &Commit<Event>) -> Option<Self> {
        commit.events.iter().fold(view, |view, event| match event {
            Event::Started {
                account,
                epoch,
                device,
            } => Some(Self {
                account: *account,
                epoch: *epoch,
                device: device.clone(),
                started_at: commit.time,
                last_used_at: commit.time,
            }),
            Event::Used => view.map(|view| Self {
                last_used_at: commit.time,
                ..view
            }),
            Event::Ended => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{AccountId, Device, Id, Time};

    use super::*;
    use crate::view::testing::fold;

    #[test]
    fn a_session_shows_its_last_use_and_is_gone_when_it_ended() {
        let account = AccountId(Id::from_bytes([1; 16]));
        let started = Event::Started {
            account,
            epoch: 2,
            device: Device::from_user_agent("curl"),
        };
        let shown: Session = fold([(10, started.clone()), (20, Event::Used)]).unwrap();
        assert_eq!(
            (shown.epoch, shown.started_at, shown.last_used_at),
            (2, Time(10), Time(20))
        );
        assert_eq!(
            fold::<Session>([(10, started), (20, Event::Ended), (30, Event::Used)]),
            None
        );
    }
}
