//! What this Stripe must not forget: its requests, in a file. A start makes them again, each at its
//! time, and gets the same objects with the same ids.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Keys, State,
    account::Account,
    api::{self, Answered, Call},
    delivery, payment_intent,
    refusal::Refusal,
    setup_intent,
};

/// The first line: the account at its beginning.
#[derive(Deserialize, Serialize)]
struct Beginning {
    run: String,
    now: i64,
}

/// A later line: something that has changed the account.
#[derive(Deserialize, Serialize)]
struct Entry {
    /// The ids that the account had given out before.
    created: u64,
    /// Seconds since 1970, by the account's clock.
    now: i64,
    /// Seconds that tests had let pass.
    ahead: i64,
    act: Act,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Act {
    /// Only time has passed.
    Time,
    Call(Call),
    /// The owner of a card has confirmed, or not.
    Authenticate {
        id: String,
        succeeds: bool,
    },
}

/// The file; none for a service that forgets.
#[derive(Default)]
pub(super) struct Journal(Option<File>);

impl Journal {
    /// Appends a line. A failure is logged: this Stripe goes on, and forgets more.
    fn append(&mut self, line: &impl Serialize) {
        let Some(file) = &mut self.0 else {
            return;
        };
        let written = serde_json::to_string(line).map_err(std::io::Error::from);
        let written = written.and_then(|line| file.write_all(format!("{line}\n").as_bytes()));
        if let Err(error) = written {
            tracing::warn!(%error, "the development Stripe cannot write its journal any more");
            self.0 = None;
        }
    }
}

impl State {
    /// Makes the requests of a journal again, and continues it. Without the file, begins one.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub(super) fn continued(mut self, keys: &Keys, path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let text = if path.exists() {
            std::fs::read_to_string(path).with_context(|| format!("reading {shown}"))?
        } else {
            String::new()
        };
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("opening {shown}"))?;
        // A kill may have torn the last line.
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        file.set_len(whole.len() as u64)
            .with_context(|| format!("writing {shown}"))?;
        let mut lines = whole.lines();
        if let Some(line) = lines.next() {
            let Beginning { run, now } = read(line, path)?;
            self.account.run = run;
            self.account.now = now;
            for line in lines {
                self.repeat(keys, read(line, path)?);
            }
            // They were sent before.
            self.account.undelivered.clear();
            self.journal = Journal(Some(file));
        } else {
            self.journal = Journal(Some(file));
            let (run, now) = (self.account.run.clone(), self.account.now);
            self.journal.append(&Beginning { run, now });
        }
        Ok(self)
    }

    fn repeat(&mut self, keys: &Keys, entry: Entry) {
        self.account.created = entry.created;
        self.ahead = entry.ahead;
        match entry.act {
            Act::Time => self.account.pass_time(entry.now),
            Act::Call(call) => {
                self.account.pass_time(entry.now);
                api::answer(&mut self.account, keys, &call);
            }
            Act::Authenticate { id, succeeds } => {
                // It was answered before.
                _ = confirm(&mut self.account, &id, succeeds);
            }
        }
    }

    /// Answers a request at the present time.
    pub(super) fn answer(&mut self, keys: &Keys, call: &Call) -> Answered {
        self.pass_time(delivery::now() + self.ahead);
        let created = self.account.created;
        let answered = api::answer(&mut self.account, keys, call);
        let changes = call.method != "GET" && !answered.is_replayed;
        // A wrong key has changed nothing. It may be one of Stripe itself, which no file must have.
        if changes && answered.answer.0 != 401 {
            self.record(created, Act::Call(call.clone()));
        }
        answered
    }

    /// The owner of a card confirms, or not.
    pub(super) fn authenticate(&mut self, id: &str, succeeds: bool) -> Result<Value, Refusal> {
        let created = self.account.created;
        let answer = confirm(&mut self.account, id, succeeds);
        let id = id.to_owned();
        self.record(created, Act::Authenticate { id, succeeds });
        answer
    }

    /// Lets time pass, and what is due by then happen.
    pub(super) fn pass_time(&mut self, to: i64) {
        let created = self.account.created;
        self.account.pass_time(to);
        // Whatever happens has an event with an id.
        if self.account.created != created {
            self.record(created, Act::Time);
        }
    }

    fn record(&mut self, created: u64, act: Act) {
        let (now, ahead) = (self.account.now, self.ahead);
        self.journal.append(&Entry {
            created,
            now,
            ahead,
            act,
        });
    }
}

fn confirm(account: &mut Account, id: &str, succeeds: bool) -> Result<Value, Refusal> {
    if id.starts_with("seti_") {
        setup_intent::authenticate(account, id, succeeds)
    } else {
        payment_intent::authenticate(account, id, succeeds)
    }
}

fn read<T: DeserializeOwned>(line: &str, path: &Path) -> anyhow::Result<T> {
    serde_json::from_str(line).with_context(|| {
        format!(
            "{} has a line that this release cannot read. Delete the folder with the data, or \
             this file to forget what the development Stripe has",
            path.display()
        )
    })
}
