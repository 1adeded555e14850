use super::*;

mod chaos;

const HOUR: Duration = Duration::from_secs(60 * 60);
const PLAIN: Failure = Failure {
    is_overloaded: false,
    retry_after: None,
};

fn event(sequence: u64) -> EventRef {
    EventRef {
        sequence,
        position: 0,
    }
}

/// A line and the log that it reads. The content of an event is its object.
struct Given {
    line: Line<String>,
    log: Vec<Item<String>>,
    is_ordered: bool,
    now: Time,
}

/// Makes a log with these lanes, beginning at sequence 1, and a line at its beginning.
fn log(lanes: &str) -> Given {
    let items = (1..).zip(lanes.chars()).map(|(sequence, lane)| Item {
        event: event(sequence),
        lane: lane.to_string(),
        time: Time(0),
        content: lane.to_string(),
    });
    let mut given = Given {
        line: Line::new(Cursor::after(0), false),
        log: items.collect(),
        is_ordered: false,
        now: Time(0),
    };
    given.read();
    given
}

impl Given {
    fn ordered(mut self) -> Self {
        self.change_ordering(true);
        self
    }

    fn change_ordering(&mut self, is_ordered: bool) {
        for item in &mut self.log {
            item.lane = if is_ordered {
                ALL.to_owned()
            } else {
                item.content.clone()
            };
        }
        self.is_ordered = is_ordered;
        self.restart();
    }

    /// Continues from the stored cursor, as after a kill.
    fn restart(&mut self) {
        let stored = serde_json::to_vec(&self.line.cursor()).unwrap();
        let cursor = serde_json::from_slice(&stored).unwrap();
        self.line = Line::new(cursor, self.is_ordered);
        self.read();
    }

    /// Reads what the line wants to read.
    fn read(&mut self) {
        while let Some((lane, from)) = self.line.due_lane(self.now) {
            let scanned = self.line.scanned_to();
            let items = self.log.iter().filter(|item| {
                let is_of_lane = lane == ALL || item.content == lane;
                is_of_lane && item.event >= from && item.event.sequence < scanned
            });
            let items = items.cloned().map(|item| Item {
                lane: lane.clone(),
                ..item
            });
            let items: Vec<_> = items.collect();
            self.line.retry(&lane, items);
        }
        if let Some(from) = self.line.reads_from() {
            let new = self.log.iter().filter(|item| item.event.sequence >= from);
            let new: Vec<_> = new.cloned().collect();
            self.line.read(self.log.len() as u64 + 1, new);
        }
    }

    /// Starts what can be sent now, at most eight events.
    fn start(&mut self) -> Vec<Item<String>> {
        self.read();
        let started = std::iter::from_fn(|| self.line.start(self.now));
        started.take(8).collect()
    }

    fn succeed(&mut self, item: &Item<String>) {
        self.now = self.now + Duration::from_millis(1);
        self.line.succeeded(item, self.now);
    }

    fn fail(&mut self, item: &Item<String>) -> Retry {
        self.now = self.now + Duration::from_millis(1);
        self.line.failed(item, PLAIN, 0.0, self.now)
    }

    /// Sends until nothing can be sent now; each event for which `fails` holds fails. Returns the
    /// attempts.
    fn run(&mut self, fails: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut attempts = Vec::new();
        loop {
            let started = self.start();
            if started.is_empty() {
                return attempts;
            }
            for item in started {
                attempts.push(item.event.sequence);
                if fails(item.event.sequence) {
                    self.fail(&item);
                } else {
                    self.succeed(&item);
                }
            }
        }
    }

    fn wait(&mut self, duration: Duration) {
        self.now = self.now + duration;
    }
}

fn sequences(items: &[Item<String>]) -> Vec<u64> {
    items.iter().map(|item| item.event.sequence).collect()
}

#[test]
fn events_of_different_objects_are_sent_at_once_and_those_of_one_object_in_order() {
    let mut given = log("aab");
    let started = given.start();
    assert_eq!(sequences(&started), [1, 3]);
    given.succeed(&started[0]);
    assert_eq!(sequences(&given.start()), [2]);
}

#[test]
fn an_ordered_webhook_gets_one_event_at_a_time() {
    let mut given = log("abc").ordered();
    for sequence in 1..=3 {
        let started = given.start();
        assert_eq!(sequences(&started), [sequence]);
        given.succeed(&started[0]);
    }
    assert!(given.start().is_empty());
}

#[test]
fn a_failed_event_holds_up_its_object_only() {
    let mut given = log("aabb");
    assert_eq!(given.run(|sequence| sequence == 1), [1, 3, 4]);
    given.wait(Duration::from_secs(5));
    assert_eq!(given.run(|_| false), [1, 2]);
    assert_eq!(given.line.cursor().next, 5);
    assert!(given.line.cursor().parked.is_empty());
}

#[test]
fn a_failed_event_holds_up_all_of_an_ordered_webhook() {
    let mut given = log("abab").ordered();
    assert_eq!(given.run(|sequence| sequence == 2), [1, 2]);
    given.wait(Duration::from_secs(5));
    assert_eq!(given.run(|_| false), [2, 3, 4]);
}

#[test]
fn later_events_of_a_parked_object_wait_also_if_they_are_read_later() {
    let mut given = log("a");
    given.run(|_| true);
    let more = log("aab").log.split_off(1);
    given.log.extend(more);
    assert_eq!(given.run(|_| true), [3]);
    given.wait(Duration::from_secs(5));
    assert_eq!(given.run(|_| false), [1, 3, 2]);
}

#[test]
fn an_event_is_given_up_after_eight_attempts_if_others_succeed() {
    let mut given = log("aab");
    given.run(|sequence| sequence == 1);
    for _ in 1..8 {
        given.wait(11 * HOUR);
        let sent = given.run(|sequence| sequence == 1);
        assert_eq!(sent.first(), Some(&1));
    }
    let cursor = given.line.cursor();
    assert!(cursor.parked.is_empty(), "{cursor:?}");
    assert_eq!(cursor.probe_at, None);
    // The second event of the object was sent.
    assert_eq!(cursor.next, 4);
}

#[test]
fn a_webhook_that_never_works_is_probed_every_hour_and_loses_nothing() {
    let mut given = log("ab");
    for _ in 0..8 {
        given.run(|_| true);
        given.wait(11 * HOUR);
    }
    let sent_per_hour: Vec<usize> = (0..4)
        .map(|_| {
            given.wait(HOUR);
            given.run(|_| true).len()
        })
        .collect();
    assert_eq!(sent_per_hour, [1, 1, 1, 1]);
    given.wait(HOUR);
    let mut sent = given.run(|_| false);
    sent.sort_unstable();
    assert_eq!(sent, [1, 2]);
}

#[test]
fn a_poisonous_event_does_not_keep_a_webhook_from_working_again() {
    let mut given = log("ab");
    for _ in 0..8 {
        given.run(|_| true);
        given.wait(11 * HOUR);
    }
    let mut sent = Vec::new();
    for _ in 0..3 {
        given.wait(HOUR);
        sent.extend(given.run(|sequence| sequence == 1));
    }
    assert!(sent.contains(&2), "{sent:?}");
    assert_eq!(given.line.cursor().probe_at, None);
}

#[test]
fn a_thousand_failing_objects_are_a_webhook_that_does_not_work() {
    let mut given = log("");
    for lane in 0..3_000 {
        given.log.push(Item {
            event: event(lane + 1),
            lane: lane.to_string(),
            time: Time(0),
            content: lane.to_string(),
        });
    }
    given.restart();
    let attempts = given.run(|_| true).len();
    assert!(attempts < 1_010, "{attempts}");
    assert!(given.line.cursor().probe_at.is_some());
}

#[test]
fn a_webhook_is_failing_from_its_first_failure_to_its_next_success() {
    let mut given = log("ab");
    let started = given.start();
    given.fail(&started[0]);
    let since = given.line.failing().map(|failing| failing.since);
    assert_eq!(since, Some(Time(1)));
    given.succeed(&started[1]);
    assert_eq!(given.line.failing(), None);
}

#[test]
fn each_attempt_has_its_number() {
    let mut given = log("a");
    let mut attempt = || {
        let started = given.start();
        let retry = given.fail(&started[0]);
        given.wait(11 * HOUR);
        retry.attempt
    };
    assert_eq!([attempt(), attempt(), attempt()], [1, 2, 3]);
}

#[test]
fn an_event_that_could_not_be_attempted_waits_with_its_object_and_counts_no_attempt() {
    let mut given = log("aab");
    let started = given.start();
    given.line.put_off(&started[0], given.now);
    given.succeed(&started[1]);
    assert!(given.run(|_| false).is_empty());
    assert_eq!(given.line.failing(), None);
    given.wait(PUT_OFF);
    let again = given.start();
    assert_eq!(sequences(&again), [1]);
    assert_eq!(given.fail(&again[0]).attempt, 1);
}

#[test]
fn a_probe_that_could_not_be_attempted_is_tried_again_soon() {
    let mut given = log("a");
    for _ in 0..8 {
        given.run(|_| true);
        given.wait(11 * HOUR);
    }
    let probe = given.start();
    given.line.put_off(&probe[0], given.now);
    assert!(given.run(|_| false).is_empty());
    given.wait(PUT_OFF);
    assert_eq!(given.run(|_| false), [1]);
}

#[test]
fn a_webhook_with_nothing_left_to_try_works_again() {
    let mut given = log("a");
    for _ in 0..8 {
        given.run(|_| true);
        given.wait(11 * HOUR);
    }
    assert!(!given.line.works());
    // The customer does not want the event any more.
    given.log.clear();
    given.read();
    assert!(given.line.works());
    assert_eq!(given.line.cursor().due(), None);
}

#[test]
fn a_change_of_the_ordering_sends_the_rest_once() {
    for (from_ordered, sent_first, sent_later) in [
        (false, vec![1, 2, 3, 5], vec![2, 4, 6]),
        (true, vec![1, 2], vec![2, 3, 4, 5, 6]),
    ] {
        let mut given = log("ababab");
        given.change_ordering(from_ordered);
        assert_eq!(given.run(|sequence| sequence == 2), sent_first);
        given.change_ordering(!from_ordered);
        given.wait(Duration::from_secs(5));
        let mut sent = given.run(|_| false);
        sent.sort_unstable();
        assert_eq!(sent, sent_later);
        let cursor = given.line.cursor();
        assert!(cursor.next == 7 && cursor.parked.is_empty(), "{cursor:?}");
    }
}

#[test]
fn objects_that_were_parked_catch_up_one_at_a_time_before_all_are_in_order() {
    let mut given = log("abab");
    given.run(|_| true);
    given.change_ordering(true);
    let more = log("ababba").log.split_off(4);
    given.log.extend(more);
    given.change_ordering(true);
    given.wait(Duration::from_secs(5));
    let mut sent = Vec::new();
    while let [item] = given.start().as_slice() {
        sent.push(item.event.sequence);
        given.succeed(item);
    }
    assert_eq!(sent.len(), 6);
    assert_eq!(sent[4..], [5, 6]);
}

#[test]
fn a_long_lane_without_events_is_read_piece_by_piece() {
    let mut given = log("ab");
    given.run(|sequence| sequence == 1);
    given.wait(Duration::from_secs(5));
    given.line.pass_over("a", 2);
    assert_eq!(
        given.line.due_lane(given.now),
        Some(("a".to_owned(), event(2)))
    );
}

#[test]
fn a_replay_and_the_line_take_turns_with_an_object() {
    let mut given = log("ab");
    assert!(given.line.lock("a"));
    assert!(!given.line.lock("a"));
    let started = given.start();
    assert_eq!(sequences(&started), [2]);
    assert!(!given.line.lock("b"), "it is being sent");
    given.line.unlock("a");
    assert_eq!(sequences(&given.start()), [1]);
}

#[test]
fn the_oldest_event_that_waits_is_as_old_as_its_change_whenever_it_failed() {
    let mut given = log("aa");
    given.wait(HOUR);
    given.run(|_| true);
    assert_eq!(given.line.cursor().oldest, Some(Time(0)));
    given.wait(HOUR);
    given.run(|sequence| sequence == 2);
    assert_eq!(given.line.cursor().oldest, Some(Time(0)));
    given.wait(HOUR);
    given.run(|_| false);
    assert_eq!(given.line.cursor().oldest, None);
}
