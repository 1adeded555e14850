//! What is sent to a webhook next. Pure: the delivery reads the log, sends, and reports here.
//!
//! Events of one *lane* are sent one after the other: a lane is an object, or all events if the
//! webhook wants them in order. The main line reads the log forward. If an event fails, its lane is
//! parked: the main line passes over the lane's further events, up to where it has read
//! (`scan`). When the lane is due, its events from the failed one up to `scan` are read again,
//! and then it is a lane like all others.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    time::Duration,
};

use events_schema::{
    Time,
    webhook::{Cursor, EventRef, Failing, Parked},
};

use super::retries::{self, Failure};

/// The lane of a webhook that wants all events in order.
pub const ALL: &str = "*";
/// The most events beyond the first one that is not done. They would be sent again after a kill.
const MAX_AHEAD: usize = 512;
/// With so many lanes parked, the webhook does not work at all.
const MAX_PARKED: usize = 1_000;
/// How often a webhook is tried that does not work at all.
const PROBE_EVERY: Duration = Duration::from_secs(60 * 60);
/// How long an event waits that could not be attempted.
const PUT_OFF: Duration = Duration::from_secs(5);

/// An event to send.
#[derive(Clone, Debug, PartialEq)]
pub struct Item<T> {
    pub event: EventRef,
    /// The events that it must not overtake.
    pub lane: String,
    pub time: Time,
    pub content: T,
}

/// The events of one webhook that wait or are being sent.
#[derive(Debug)]
pub struct Line<T> {
    cursor: Cursor,
    is_ordered: bool,
    /// The next sequence of the log to read.
    scan: u64,
    /// Events of the main line that are read and not done, with their times.
    open: BTreeMap<EventRef, Time>,
    queues: HashMap<String, VecDeque<Item<T>>>,
    /// Lanes with a queue that are not busy, in the order in which they are served.
    ready: VecDeque<String>,
    /// Lanes of which an event is being sent.
    busy: HashSet<String>,
}

/// What follows from a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// Counts the attempts for this event.
    pub attempt: u32,
    /// When the next one is due; `None` if the event is given up.
    pub at: Option<Time>,
}

impl<T> Line<T> {
    /// Goes on at a cursor. If `is_ordered`, all events are one lane. Objects that were parked before
    /// catch up first.
    pub fn new(mut cursor: Cursor, is_ordered: bool) -> Self {
        if !is_ordered {
            go_back(&mut cursor);
        }
        Self {
            scan: cursor.next,
            cursor,
            is_ordered,
            open: BTreeMap::new(),
            queues: HashMap::new(),
            ready: VecDeque::new(),
            busy: HashSet::new(),
        }
    }

    /// Returns the lane of an object.
    pub fn lane_of(&self, object: String) -> String {
        if self.is_ordered {
            ALL.to_owned()
        } else {
            object
        }
    }

    /// Returns the cursor as it is to be stored, without a lease.
    pub fn cursor(&self) -> Cursor {
        let happened = |parked: &Parked| parked.happened_at.unwrap_or(parked.since);
        let parked = self.cursor.parked.values().map(happened);
        Cursor {
            next: self.next(),
            oldest: self.open.values().copied().chain(parked).min(),
            ..self.cursor.clone()
        }
    }

    /// Returns the first sequence with an event of the main line that is not done.
    fn next(&self) -> u64 {
        let first = self.open.first_key_value();
        first.map_or(self.scan, |(event, _)| event.sequence)
    }

    /// Returns the sequence from which the log is to be read; `None` if enough is waiting, or if
    /// the further events must wait for a parked one.
    pub fn reads_from(&self) -> Option<u64> {
        let must_wait = self.cursor.parked.contains_key(ALL)
            || self.is_ordered && !self.cursor.parked.is_empty()
            || self.cursor.probe_at.is_some();
        let has_room = self.open.len() + self.cursor.done.len() < MAX_AHEAD;
        (!must_wait && has_room).then_some(self.scan)
    }

    /// Adds the events of a page that was read from the log; `end` is the next sequence to read.
    pub fn read(&mut self, end: u64, items: Vec<Item<T>>) {
        self.scan = self.scan.max(end);
        for item in items {
            let is_parked = self.cursor.parked.contains_key(&item.lane);
            if !is_parked && !self.cursor.done.contains(&item.event) {
                self.open.insert(item.event, item.time);
                self.push(item);
            }
        }
        self.forget_done();
    }

    fn push(&mut self, item: Item<T>) {
        let queue = self.queues.entry(item.lane.clone()).or_default();
        if queue.is_empty() && !self.busy.contains(&item.lane) {
            self.ready.push_back(item.lane.clone());
        }
        queue.push_back(item);
    }

    /// Returns a parked lane that is due and whose events are to be read, with the first of them.
    /// Events are read up to the sequence that [`scanned_to`](Self::scanned_to) returns.
    pub fn due_lane(&self, now: Time) -> Option<(String, EventRef)> {
        let waiting = self.cursor.parked.iter().filter(|(lane, _)| {
            let has_items = self
                .queues
                .get(*lane)
                .is_some_and(|queue| !queue.is_empty());
            !has_items && !self.busy.contains(*lane)
        });
        let first = waiting.min_by_key(|(_, parked)| (parked.due, parked.next));
        let is_due = |parked: &Parked| match self.cursor.probe_at {
            Some(probe_at) => probe_at <= now && self.busy.is_empty() && self.ready.is_empty(),
            None => parked.due <= now,
        };
        let first = first.filter(|(_, parked)| is_due(parked));
        first.map(|(lane, parked)| (lane.clone(), parked.next))
    }

    /// Returns the first sequence that the main line has not read.
    pub fn scanned_to(&self) -> u64 {
        self.scan
    }

    /// Adds the events of a parked lane that were read from the log. Without any, the lane has
    /// caught up.
    pub fn retry(&mut self, lane: &str, items: Vec<Item<T>>) {
        if items.is_empty() {
            self.cursor.parked.remove(lane);
            if self.cursor.parked.is_empty() {
                // Nothing is left to try.
                self.cursor.probe_at = None;
            }
        }
        for item in items {
            self.push(item);
        }
    }

    /// Remembers that a parked lane has no event before this sequence.
    pub fn pass_over(&mut self, lane: &str, sequence: u64) {
        if let Some(parked) = self.cursor.parked.get_mut(lane) {
            parked.attempts = 0;
            parked.next = EventRef {
                sequence,
                position: 0,
            };
        }
    }

    /// Returns the next event to send. If the webhook is ordered or does not work, it is one at a
    /// time.
    pub fn start(&mut self, now: Time) -> Option<Item<T>> {
        if self.must_wait() {
            return None;
        }
        if let Some(probe_at) = self.cursor.probe_at
            && (now < probe_at || !self.busy.is_empty())
        {
            return None;
        }
        let lane = self.ready.pop_front()?;
        let item = self.queues.get_mut(&lane)?.pop_front()?;
        self.busy.insert(lane);
        Some(item)
    }

    /// Whether the event that is being sent must end before another begins.
    fn must_wait(&self) -> bool {
        self.is_ordered && !self.busy.is_empty()
    }

    /// Whether events are sent as usual, and not only one now and then to try.
    pub fn works(&self) -> bool {
        self.cursor.probe_at.is_none()
    }

    /// Whether an event of the main line waits or is being sent.
    pub fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether an event waits to be sent.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Keeps a lane from being sent to, so that a replay can send one of its events; false if one
    /// is being sent.
    pub fn lock(&mut self, lane: &str) -> bool {
        if self.must_wait() || !self.busy.insert(lane.to_owned()) {
            return false;
        }
        self.ready.retain(|ready| ready != lane);
        true
    }

    /// Lets a lane be sent to again.
    pub fn unlock(&mut self, lane: &str) {
        self.busy.remove(lane);
        if self.queues.get(lane).is_some_and(|queue| !queue.is_empty()) {
            self.ready.push_back(lane.to_owned());
        }
    }

    /// Returns how many events are being sent.
    pub fn in_flight(&self) -> usize {
        self.busy.len()
    }

    /// Whether nothing waits, is being sent or is due.
    pub fn is_at_rest(&self, now: Time) -> bool {
        let can_start =
            !self.ready.is_empty() && self.cursor.probe_at.is_none_or(|probe_at| probe_at <= now);
        self.busy.is_empty() && !can_start && self.due_lane(now).is_none()
    }

    /// Returns the number of this attempt for an event: 1, 2, 3 …
    pub fn attempt(&self, item: &Item<T>) -> u32 {
        let parked = self.cursor.parked.get(&item.lane);
        let same = parked.filter(|parked| parked.next == item.event);
        same.map_or(0, |parked| parked.attempts) + 1
    }

    /// Records that an event was sent.
    pub fn succeeded(&mut self, item: &Item<T>, now: Time) {
        self.cursor.failing = None;
        self.cursor.succeeded_at = Some(now);
        if self.cursor.probe_at.take().is_some() {
            for parked in self.cursor.parked.values_mut() {
                parked.due = now;
            }
        }
        self.finish(item, now);
    }

    /// Records that an event was not sent. `random` is from -1 to 1.
    pub fn failed(&mut self, item: &Item<T>, failure: Failure, random: f64, now: Time) -> Retry {
        let attempt = self.attempt(item);
        let before = self.cursor.parked.get(&item.lane);
        let before = before.filter(|parked| parked.next == item.event && parked.attempts > 0);
        let since = before.map_or(now, |parked| parked.since);
        self.cursor.failing.get_or_insert(Failing {
            since: now,
            warned: false,
        });
        let is_last = retries::wait(attempt, failure, random).is_none();
        let others_succeed = self.cursor.succeeded_at.is_some_and(|at| at > since);
        if is_last && others_succeed {
            self.finish(item, now);
            return Retry { attempt, at: None };
        }
        let is_probe = self.cursor.probe_at.is_some();
        let wait = retries::wait(attempt, failure, random).filter(|_| !is_probe);
        let due = now + wait.unwrap_or(PROBE_EVERY);
        self.park(
            item,
            Parked {
                next: item.event,
                attempts: attempt,
                since,
                due,
                happened_at: Some(item.time),
            },
        );
        if is_last || is_probe || self.cursor.parked.len() >= MAX_PARKED {
            self.cursor.probe_at = Some(now + PROBE_EVERY);
        }
        let at = Some(self.cursor.probe_at.unwrap_or(due));
        Retry { attempt, at }
    }

    /// Records that an event could not be attempted. Its lane waits for a while, and no attempt
    /// counts.
    pub fn put_off(&mut self, item: &Item<T>, now: Time) {
        let due = now + PUT_OFF;
        let before = self.cursor.parked.get(&item.lane);
        let before = before.filter(|parked| parked.next == item.event);
        let parked = Parked {
            next: item.event,
            attempts: before.map_or(0, |parked| parked.attempts),
            since: before.map_or(now, |parked| parked.since),
            due,
            happened_at: Some(item.time),
        };
        self.park(item, parked);
        if let Some(probe_at) = &mut self.cursor.probe_at {
            *probe_at = due;
        }
    }

    fn park(&mut self, item: &Item<T>, parked: Parked) {
        self.busy.remove(&item.lane);
        self.open.remove(&item.event);
        for waiting in self.queues.remove(&item.lane).unwrap_or_default() {
            self.open.remove(&waiting.event);
        }
        self.cursor.parked.insert(item.lane.clone(), parked);
        self.forget_done();
    }

    /// Goes on in the lane after this event.
    fn finish(&mut self, item: &Item<T>, now: Time) {
        self.busy.remove(&item.lane);
        let waiting = self.queues.get(&item.lane).and_then(VecDeque::front);
        let happened_at = waiting.map(|next| next.time);
        if let Some(parked) = self.cursor.parked.get_mut(&item.lane) {
            *parked = Parked {
                next: item.event.following(),
                attempts: 0,
                since: now,
                due: now,
                happened_at,
            };
        } else {
            self.open.remove(&item.event);
            self.cursor.done.insert(item.event);
            self.forget_done();
        }
        match self.queues.get(&item.lane) {
            Some(queue) if !queue.is_empty() => self.ready.push_back(item.lane.clone()),
            Some(_) | None => {
                self.queues.remove(&item.lane);
            }
        }
    }

    /// Forgets events that the position itself says are done.
    fn forget_done(&mut self) {
        let next = self.next();
        let done = &mut self.cursor.done;
        while done.first().is_some_and(|first| first.sequence < next) {
            done.pop_first();
        }
    }
}

/// Goes back to the event for which all have waited: from now on, only its object waits.
fn go_back(cursor: &mut Cursor) {
    if let Some(parked) = cursor.parked.remove(ALL) {
        let EventRef { sequence, position } = parked.next;
        cursor.next = sequence;
        let before = (0..position).map(|position| EventRef { sequence, position });
        cursor.done = before.collect();
        cursor.probe_at = None;
    }
}

mod kept;
#[cfg(test)]
mod tests;
