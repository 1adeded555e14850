//! `tell-apart`: tries to tell addresses that have an account from others, by the bytes of the
//! answers and by the time that they take.

use std::{net::SocketAddr, ops::RangeInclusive, sync::Arc, time::Instant};

use anyhow::{Context as _, ensure};
use clap::{Args, value_parser};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    backend,
    person::Person,
    print, progress,
    stranger::{LOGIN, PASSWORD, REGISTER, RESET},
};
use crate::{
    Local,
    bench::http::{Answer, Connection, post},
};

/// Pairs of one operation for each person with an account. Two operations ask for codes by mail, and
/// an address gets 20 of them within a day.
const PAIRS_OF_PERSON: u32 = 10;
/// Pairs that are sent at once.
const CONNECTIONS: u32 = 4;
/// How often a guess by the time alone may be right. Half of the time it is right by chance.
const BY_CHANCE: RangeInclusive<f64> = 0.45..=0.55;
const SEND_CODE: &str =
    "mutation($input: EmailInput!) { account { sendLoginCode(input: $input) { success } } }";

/// Tries to tell addresses that have an account from those that have none, as a stranger would.
///
/// Sends pairs of requests to a backend of its own: each pair names one address of either kind, and
/// comes from two clients that were never there before. Exits with an error if the answers of a pair
/// differ, or if a guess by the time alone is right more often than by chance (area under the ROC
/// curve outside 0.45 to 0.55). The time needs a release build on a machine that does nothing else.
#[derive(Args, Clone)]
pub(crate) struct Options {
    /// Pairs for each operation, 10 to 2000.
    #[arg(long, default_value_t = 2_000, value_parser = value_parser!(u32).range(10..=2_000))]
    pairs: u32,
    /// Do not fail because of the time, as with few pairs or on a machine that does other work, too.
    #[arg(long)]
    ignore_time: bool,
}

/// An operation that strangers may use with any address.
#[derive(Clone, Copy)]
struct Operation {
    name: &'static str,
    query: &'static str,
    input: fn(&str) -> Value,
    /// Whether the browser has asked for a code by mail before.
    has_asked: bool,
}

const OPERATIONS: [Operation; 5] = [
    Operation {
        name: "login with a wrong password",
        query: LOGIN,
        input: |email| {
            let params = json!({ "email": email, "password": "not the password at all" });
            json!({ "service": "Password", "params": params })
        },
        has_asked: false,
    },
    Operation {
        name: "sendLoginCode",
        query: SEND_CODE,
        input: |email| json!({ "email": email }),
        has_asked: false,
    },
    Operation {
        name: "login with a wrong code of a mail",
        query: LOGIN,
        input: |email| {
            let params = json!({ "email": email, "code": "000000" });
            json!({ "service": "EmailCode", "params": params })
        },
        has_asked: true,
    },
    Operation {
        name: "sendResetPasswordEmail",
        query: RESET,
        input: |email| json!({ "email": email }),
        has_asked: false,
    },
    Operation {
        name: "register",
        query: REGISTER,
        input: |email| {
            json!({
                "firstname": "Win", "lastname": "A Prize", "email": email, "password": PASSWORD,
            })
        },
        has_asked: false,
    },
];

/// How long the answers took, in microseconds: to addresses with an account, and to others.
#[derive(Default)]
struct Seen {
    known: Vec<u32>,
    unknown: Vec<u32>,
}

/// Compares answers until the end or `stop`, and prints how well they can be told apart.
///
/// # Errors
/// If they can be told apart, or a part cannot be started.
pub(crate) async fn run(options: Options, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let mut of_backend = backend();
    // All pairs name one mail domain, and more are sent than a deployment allows in an hour.
    for limit in [
        "--registration-domain-limit",
        "--registration-total-limit",
        "--login-code-limit",
    ] {
        let words = [limit, "1000000/second"].map(str::to_owned);
        of_backend.gateway.extend(words);
    }
    let local = Local::start(of_backend).await?;
    let result = tokio::select! {
        () = stop => Ok(()),
        result = compare(&options, &local) => result,
    };
    let stopped = local.stop().await;
    result.and(stopped)
}

async fn compare(options: &Options, local: &Local) -> anyhow::Result<()> {
    let (gateway, mailbox) = (local.address, local.mail_address);
    let people = options.pairs.div_ceil(PAIRS_OF_PERSON);
    progress(&format!("signing up {people} people"));
    let mut known = Vec::new();
    for number in 0..people {
        let person = Person::sign_up(gateway, mailbox, number.into()).await?;
        known.push(person.email);
    }
    let known = Arc::from(known);
    let mut told_apart = Vec::new();
    for (index, operation) in (0..).zip(OPERATIONS) {
        progress(&format!("{} pairs of {}", options.pairs, operation.name));
        let seen = send_all(gateway, operation, &known, index, options.pairs).await?;
        let by_time = seen.right_guesses();
        print(&format!("{by_time:.3}  {}\n", operation.name))?;
        if !options.ignore_time && !BY_CHANCE.contains(&by_time) {
            told_apart.push(operation.name);
        }
    }
    ensure!(
        told_apart.is_empty(),
        "the time tells whether there is an account: {told_apart:?}"
    );
    Ok(())
}

/// Sends all pairs of the operation with this index.
async fn send_all(
    gateway: SocketAddr,
    operation: Operation,
    known: &Arc<[String]>,
    index: u32,
    pairs: u32,
) -> anyhow::Result<Seen> {
    let mut connections = JoinSet::new();
    for first in 0..CONNECTIONS {
        let known = known.clone();
        connections.spawn(async move {
            let mut connection = Connection::open(gateway).await?;
            let mut seen = Seen::default();
            for pair in (first..pairs).step_by(CONNECTIONS as usize) {
                let id = index * pairs + pair;
                let sent = send_pair(gateway, &mut connection, operation, &known, id, &mut seen);
                sent.await.with_context(|| operation.name)?;
            }
            anyhow::Ok(seen)
        });
    }
    let mut all = Seen::default();
    while let Some(seen) = connections.join_next().await {
        let seen = seen??;
        all.known.extend(seen.known);
        all.unknown.extend(seen.unknown);
    }
    Ok(all)
}

/// Sends one pair and compares the answers. Each kind of address comes first in turn.
async fn send_pair(
    gateway: SocketAddr,
    connection: &mut Connection,
    operation: Operation,
    known: &[String],
    id: u32,
    seen: &mut Seen,
) -> anyhow::Result<()> {
    let account = &known[id as usize % known.len()];
    let nobody = format!("nobody{id}@people.example");
    let mut answers = Vec::new();
    let mut pair = [(true, account), (false, &nobody)];
    if id.is_multiple_of(2) {
        pair.reverse();
    }
    for (is_known, email) in pair {
        let [_, high, middle, low] = (2 * id + u32::from(is_known)).to_be_bytes();
        let mut headers = format!("x-client: 7.{high}.{middle}.{low}\r\n");
        if operation.has_asked {
            let variables = json!({ "input": { "email": email } });
            let ask = post(gateway, &headers, SEND_CODE, &variables);
            let asked = connection.send(&ask).await?;
            asked.ensure_success()?;
            let cookies = asked.header("set-cookie");
            let pairs: Vec<_> = cookies.filter_map(|it| it.split(';').next()).collect();
            headers += &format!("cookie: {}\r\n", pairs.join("; "));
        }
        let variables = json!({ "input": (operation.input)(email) });
        let request = post(gateway, &headers, operation.query, &variables);
        let begun = Instant::now();
        let answer = connection.send(&request).await?;
        let micros = u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX);
        let times = if is_known {
            &mut seen.known
        } else {
            &mut seen.unknown
        };
        times.push(micros);
        answers.push(shown(&answer));
    }
    let differ = || format!("the answers differ:\n{}\n{}", answers[0], answers[1]);
    ensure!(answers[0] == answers[1], differ());
    Ok(())
}

/// Returns what a stranger can compare of an answer: all of the body, and the names and lengths of
/// the headers, since tokens and dates differ anyway.
fn shown(answer: &Answer<'_>) -> String {
    let headers = answer.head.lines().map(|line| {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        format!("{name}: {} characters", value.len())
    });
    let headers: Vec<_> = headers.collect();
    let body = String::from_utf8_lossy(answer.body);
    format!("{}\n{body}", headers.join("\n"))
}

impl Seen {
    /// Returns how often the guess is right that the slower answer of two is about an account: the
    /// area under the ROC curve. 0.5 is chance.
    fn right_guesses(&self) -> f64 {
        let mut unknown = self.unknown.clone();
        unknown.sort_unstable();
        let slower = self.known.iter().map(|time| {
            let below = unknown.partition_point(|other| other < time);
            let not_above = unknown.partition_point(|other| other <= time);
            // Of two that took the same time, a guess is right by chance.
            (below + not_above) as f64 / 2.0
        });
        slower.sum::<f64>() / (self.known.len() * unknown.len()) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right_guesses(known: &[u32], unknown: &[u32]) -> f64 {
        let (known, unknown) = (known.to_vec(), unknown.to_vec());
        Seen { known, unknown }.right_guesses()
    }

    #[test]
    fn guesses_by_the_time_are_right_by_chance_if_the_times_are_alike() {
        assert_eq!(right_guesses(&[1, 2, 3], &[3, 1, 2]), 0.5);
        assert_eq!(right_guesses(&[7, 7], &[7]), 0.5);
        assert_eq!(right_guesses(&[5, 6], &[1, 2, 3]), 1.0);
        assert_eq!(right_guesses(&[1], &[2, 3]), 0.0);
        assert_eq!(right_guesses(&[1, 4], &[2, 3]), 0.5);
    }
}
