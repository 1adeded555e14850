//! Many logs with failures, events that are put off, and kills.

use super::*;

/// A generator of numbers that look random, the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % end
    }
}

/// Sends a log of 60 events of 4 objects, with failures and kills, until all are done.
fn chaos(seed: u64, is_ordered: bool) {
    let mut random = Random(seed);
    let lanes: String = (0..60)
        .map(|_| char::from(b'a' + random.below(4) as u8))
        .collect();
    let mut given = log(&lanes);
    let objects: Vec<String> = given.log.iter().map(|item| item.lane.clone()).collect();
    if is_ordered {
        given = given.ordered();
    }
    let (mut flying, mut sent) = (Vec::new(), Vec::new());
    for _ in 0..100_000 {
        flying.extend(given.start());
        let count = flying.len() as u64;
        if random.below(40) == 0 {
            flying.clear();
            given.restart();
        } else if count == 0 {
            given.wait(Duration::from_secs(5));
        } else {
            let item = flying.swap_remove(random.below(count) as usize);
            if random.below(20) == 0 {
                given.line.put_off(&item, given.now);
                continue;
            }
            // The eighth failure would give the event up.
            if random.below(4) == 0 && given.line.attempt(&item) < 8 {
                given.fail(&item);
            } else {
                given.succeed(&item);
                sent.push(item.event.sequence);
            }
        }
        if given.line.cursor().next == 61 && given.line.cursor().parked.is_empty() {
            break;
        }
    }
    check(&sent, &objects, is_ordered);
}

/// Each event was sent, and no event for the first time before an earlier one of its lane.
fn check(sent: &[u64], objects: &[String], is_ordered: bool) {
    let mut firsts: Vec<u64> = Vec::new();
    for sequence in sent {
        if !firsts.contains(sequence) {
            firsts.push(*sequence);
        }
    }
    assert_eq!(firsts.len(), objects.len(), "{sent:?}");
    let lane = |sequence: &u64| {
        let index = usize::try_from(*sequence).unwrap() - 1;
        if is_ordered {
            ""
        } else {
            objects[index].as_str()
        }
    };
    for (at, later) in firsts.iter().enumerate() {
        let mut earlier = firsts[..at].iter().filter(|one| lane(one) == lane(later));
        assert!(earlier.all(|one| one < later), "{firsts:?}");
    }
}

#[test]
fn no_event_is_lost_or_overtaken_whatever_fails_or_is_killed() {
    for seed in 0..200 {
        chaos(seed, false);
        chaos(seed, true);
    }
}
