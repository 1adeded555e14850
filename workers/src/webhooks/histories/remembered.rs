//! Histories that were folded before: the next event of an object reads only what is new, and a long
//! history is read in several tries.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use events_schema::published::Folded;
use lru::LruCache;

/// Room for folded histories, as bytes of JSON. In memory, they take some times as much.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// What an entry takes beside its JSON.
const ENTRY_BYTES: usize = 256;
/// Histories of one object: webhooks and replays of it stand at different revisions.
const OF_OBJECT: usize = 4;

/// The history of an object from its beginning.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub folded: Folded,
    /// The sequence of the log from which it goes on.
    pub next: u64,
}

/// The histories that were used last.
pub struct Remembered(Mutex<Histories>);

struct Histories {
    objects: LruCache<String, VecDeque<(History, usize)>>,
    bytes: usize,
}

impl Remembered {
    /// Remembers nothing yet.
    pub fn new() -> Self {
        Self(Mutex::new(Histories {
            objects: LruCache::unbounded(),
            bytes: 0,
        }))
    }

    /// Takes the longest history of an object that goes up to this revision at most. Without any, it
    /// is empty.
    pub fn take(&self, object: &str, revision: u64) -> History {
        let mut all = self.all();
        let Some(histories) = all.objects.get_mut(object) else {
            return History::default();
        };
        let fitting = histories.iter().enumerate();
        let fitting = fitting.map(|(at, (history, _))| (history.folded.revision(), at));
        let longest = fitting.filter(|(last, _)| *last <= revision).max();
        let taken = longest.and_then(|(_, at)| histories.remove(at));
        let (history, bytes) = taken.unwrap_or_default();
        all.bytes -= bytes;
        history
    }

    /// Remembers a history, and forgets those that were not used for long.
    pub fn keep(&self, object: String, history: History) {
        let bytes = object.len() + ENTRY_BYTES + history.folded.json_bytes();
        let mut all = self.all();
        all.bytes += bytes;
        let histories = all.objects.get_or_insert_mut(object, VecDeque::new);
        histories.push_back((history, bytes));
        let forgotten = if histories.len() > OF_OBJECT {
            histories.pop_front()
        } else {
            None
        };
        all.bytes -= forgotten.map_or(0, |(_, bytes)| bytes);
        while all.bytes > MAX_BYTES
            && let Some((_, forgotten)) = all.objects.pop_lru()
        {
            all.bytes -= forgotten.iter().map(|(_, bytes)| bytes).sum::<usize>();
        }
    }

    fn all(&self) -> MutexGuard<'_, Histories> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use events_schema::published::{PublicEvent, events_of};
    use serde_json::{Value, json};

    use super::*;

    const ID: &str = "00112233445566778899aabbccddeeff";

    fn commit(revision: u64) -> Value {
        let event = match revision {
            1 => json!({
                "type": "created", "name": "Loom", "description": "", "status": "on_hold",
                "creator": ID,
            }),
            _ => json!({
                "type": "updated", "name": format!("Loom {revision}"), "description": "",
                "status": "active",
            }),
        };
        json!({
            "tenant": ID, "area": "project", "id": ID, "revision": revision, "command": ID,
            "actor": { "kind": "system" }, "time": 0, "events": [event],
        })
    }

    fn payloads(revisions: u64) -> impl Iterator<Item = Vec<u8>> {
        (1..=revisions).map(|revision| serde_json::to_vec(&commit(revision)).unwrap())
    }

    fn event(revision: u64) -> PublicEvent {
        let subject = format!("evt.{ID}.project.{ID}");
        let payload = payloads(revision).last().unwrap();
        events_of(&subject, &payload).unwrap().remove(0)
    }

    /// A history up to this revision, whose commits have the sequences 1, 2, 3 …
    fn history(revision: u64) -> History {
        let mut history = History::default();
        let event = event(revision);
        assert!(
            history
                .extend(&event, payloads(revision), revision + 1)
                .unwrap()
        );
        history
    }

    fn taken(remembered: &Remembered, revision: u64) -> u64 {
        remembered.take("a", revision).folded.revision()
    }

    #[test]
    fn a_history_goes_on_where_it_ended_and_shows_the_same() {
        let (mut begun, whole) = (history(2), history(4));
        let rest = payloads(4).skip(2);
        assert!(begun.extend(&event(4), rest, 5).unwrap());
        let shown = |history: History| event(4).object(history.folded).unwrap().unwrap();
        let object = shown(begun);
        assert_eq!(object["name"], "Loom 4");
        assert_eq!(object, shown(whole));
    }

    #[test]
    fn the_longest_history_is_taken_that_does_not_go_too_far() {
        let remembered = Remembered::new();
        for revision in [2, 4] {
            remembered.keep("a".to_owned(), history(revision));
        }
        let taken: Vec<u64> = [1, 3, 5, 5].map(|up_to| taken(&remembered, up_to)).into();
        assert_eq!(taken, [0, 2, 4, 0]);
    }

    #[test]
    fn the_history_of_an_object_that_was_used_least_is_forgotten_first() {
        let remembered = Remembered::new();
        for revision in [5, 1, 2, 3, 4] {
            remembered.keep("a".to_owned(), history(revision));
        }
        assert_eq!(taken(&remembered, 9), 4);
    }

    #[test]
    fn histories_take_bounded_room() {
        let (remembered, history) = (Remembered::new(), history(1));
        let objects = MAX_BYTES / ENTRY_BYTES;
        for object in 0..objects {
            remembered.keep(object.to_string(), history.clone());
        }
        let revision = |object: usize| {
            let taken = remembered.take(&object.to_string(), 1);
            taken.folded.revision()
        };
        assert_eq!((revision(0), revision(objects - 1)), (0, 1));
        let all = remembered.all();
        assert!(all.bytes <= MAX_BYTES && all.objects.len() > 1_000);
    }
}
