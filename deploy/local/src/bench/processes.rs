//! CPU time and memory of the processes, from `/proc`. On systems without it, nothing is known.

use std::{collections::HashMap, fs, time::Duration};

use serde::Serialize;

/// Linux counts CPU time for programs in hundredths of a second on every machine that runs this.
const TICK: Duration = Duration::from_millis(10);

/// What is known of each process.
#[derive(Clone, Copy, Default, Serialize)]
pub(super) struct PerProcess<T> {
    /// Gateway and workers; for a limit, the program that answers.
    pub(super) backend: T,
    pub(super) nats_server: T,
    pub(super) mongod: T,
    /// The load generator.
    pub(super) load: T,
}

impl<T> PerProcess<T> {
    /// Changes what is known of each process.
    pub(super) fn map<U>(self, change: impl Fn(T) -> U) -> PerProcess<U> {
        PerProcess {
            backend: change(self.backend),
            nats_server: change(self.nats_server),
            mongod: change(self.mongod),
            load: change(self.load),
        }
    }

    /// Returns all in the order of the columns.
    pub(super) fn columns(self) -> [T; 4] {
        [self.backend, self.nats_server, self.mongod, self.load]
    }
}

/// The ids of the processes that are measured.
#[derive(Clone)]
pub(super) struct Processes(PerProcess<Option<u32>>);

impl Processes {
    /// Finds the servers among the descendants of the backend.
    pub(super) fn of(backend: u32) -> Self {
        let all = all();
        let server = |name: &str| {
            let mut found = all.iter().filter(|(_, stat)| stat.name.starts_with(name));
            let found = found.find(|(id, _)| descends(**id, backend, &all));
            found.map(|(id, _)| *id)
        };
        Self(PerProcess {
            backend: Some(backend),
            nats_server: server("nats-server"),
            mongod: server("mongod"),
            load: Some(std::process::id()),
        })
    }

    /// Reads what all of them have used until now.
    pub(super) fn read(&self) -> Used {
        let all = self.0.map(|id| id.and_then(of_one));
        Used {
            cpu: all.map(|used| used.map(|used| used.cpu)),
            memory_mib: all.map(|used| used.map(|used| used.memory_mib)),
        }
    }
}

/// CPU time and memory of each process; `None` if it is not known.
#[derive(Clone)]
pub(super) struct Used {
    pub(super) cpu: PerProcess<Option<Duration>>,
    /// Resident memory in MiB.
    pub(super) memory_mib: PerProcess<Option<f64>>,
}

impl Used {
    /// Returns the CPU time since an earlier reading, and the memory of this one.
    pub(super) fn since(mut self, earlier: &Self) -> Self {
        let less = |now: Option<Duration>, then: Option<Duration>| now?.checked_sub(then?);
        let (now, then) = (self.cpu, earlier.cpu);
        self.cpu = PerProcess {
            backend: less(now.backend, then.backend),
            nats_server: less(now.nats_server, then.nats_server),
            mongod: less(now.mongod, then.mongod),
            load: less(now.load, then.load),
        };
        self
    }
}

/// CPU time and memory of one process.
#[derive(Clone, Copy)]
pub(super) struct UsedByOne {
    pub(super) cpu: Duration,
    /// Resident memory in MiB.
    pub(super) memory_mib: f64,
    /// The most resident memory until now, in MiB.
    pub(super) peak_mib: f64,
}

/// Reads what a process has used until now; `None` if it is not known.
pub(super) fn of_one(id: u32) -> Option<UsedByOne> {
    let stat = Stat::parse(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)?;
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let mib = |name| Some(kib(&status, name)? as f64 / 1_024.0);
    Some(UsedByOne {
        cpu: stat.cpu,
        memory_mib: mib("VmRSS:")?,
        peak_mib: mib("VmHWM:")?,
    })
}

/// A line of `/proc/<id>/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    name: String,
    parent: u32,
    cpu: Duration,
}

impl Stat {
    /// Reads a line. The name is in brackets and may have spaces and brackets itself.
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        let fields: Vec<&str> = after.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u32>().ok();
        Some(Self {
            name: name.to_owned(),
            parent: number(1)?,
            cpu: TICK * number(11)?.saturating_add(number(12)?),
        })
    }
}

fn all() -> HashMap<u32, Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let stat = |entry: fs::DirEntry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read_to_string(entry.path().join("stat")).ok()?;
        Some((id, Stat::parse(&line)?))
    };
    entries.filter_map(stat).collect()
}

fn descends(mut id: u32, ancestor: u32, all: &HashMap<u32, Stat>) -> bool {
    while let Some(stat) = all.get(&id) {
        if stat.parent == ancestor {
            return true;
        }
        id = stat.parent;
    }
    false
}

/// Returns the value of a line in `/proc/<id>/status`, which is in KiB.
fn kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let line = "42 (a (b) c) S 7 42 42 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 8 0 1 2 3";
        let expected = Stat {
            name: "a (b) c".to_owned(),
            parent: 7,
            cpu: Duration::from_secs(2),
        };
        assert_eq!(Stat::parse(line), Some(expected));
        assert_eq!(Stat::parse("42"), None);
    }

    #[test]
    fn memory_is_read_from_its_line() {
        let status = "VmPeak:\t  900 kB\nVmHWM:\t  700 kB\nVmRSS:\t   512 kB\n";
        assert_eq!(kib(status, "VmRSS:"), Some(512));
        assert_eq!(kib(status, "VmHWM:"), Some(700));
        assert_eq!(kib("Name:\tkthreadd\n", "VmRSS:"), None);
    }

    #[test]
    fn a_grandchild_descends_from_its_grandparent_and_not_from_a_stranger() {
        let stat = |parent| Stat {
            name: String::new(),
            parent,
            cpu: Duration::ZERO,
        };
        let all = HashMap::from([(1, stat(0)), (2, stat(1)), (3, stat(2)), (4, stat(1))]);
        assert!(descends(3, 2, &all) && descends(3, 1, &all));
        assert!(!descends(4, 2, &all) && !descends(2, 2, &all));
    }
}
