//! The cross-tenant matrix, derived from the schema: every operation with every id that it takes,
//! by every role, with foreign, missing and malformed ids. It covers a new operation as soon as the
//! gateway has it.
//!
//! `MATRIX_REQUESTS` sets how many requests the random part sends, `MATRIX_SEED` repeats one.

mod plans;
mod schema;
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

pub use schema::{Operation, Schema, create_everything};

use crate::support::{Browser, MISSING};
use world::{MARKER, World};

const TABLE: &str = include_str!("../../gateway/src/access/operations.txt");
/// Random requests where `MATRIX_REQUESTS` is not set: some fifty for each operation.
const REQUESTS: u64 = 2_000;

const MALFORMED: [&str; 10] = [
    "",
    "x",
    "../",
    "*",
    "evt.>",
    "0123456789ABCDEF0123456789ABCDEF",
    "0123456789abcdef0123456789abcdef0",
    "{\"$ne\": null}",
    "ümläut",
    "\u{0}",
];

/// An answer without the parts that differ between two requests.
fn timeless(mut answer: Value, sent: &str) -> String {
    fn strip(value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(strip),
            Value::Object(fields) => {
                for (key, value) in fields {
                    let volatile = key.ends_with("At")
                        || key.ends_with("ursor")
                        || matches!(key.as_str(), "at" | "token" | "revision");
                    if volatile && !value.is_object() {
                        *value = Value::Null
                    } else {
                        strip(value)
                    }
                }
            }
            Value::String(text) => {
                let counted = text.starts_with("thing-");
                if counted || events_schema::Id::parse(text).is_ok() {
                    *value = json!("…");
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    strip(&mut answer);
    // Fields are resolved side by side, so their errors have no order.
    if let Some(errors) = answer["errors"].as_array_mut() {
        errors.sort_by_key(|error| error["path"].to_string());
    }
    answer.to_string().replace(sent, "…")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_another_tenant_is_answered_like_one_that_does_not_exist() {
    let world = World::start().await;
    let before = world.stored_of_the_rival().await;
    let mut cases = Vec::new();
    for (role, browser) in &world.callers {
        for operation in &world.operations {
            let positions = 0..operation.ids(&world.schema);
            cases.extend(positions.map(|position| (*role, browser, operation, position)));
        }
    }
    let positions = cases.len() / world.callers.len();
    assert!(
        world.operations.len() > 40 && positions > 15,
        "{positions} ids"
    );
    let asked = AtomicUsize::new(0);
    let answer = async |browser: &Browser, operation: &Operation, position: usize, id: &str| {
        let request = operation.request(&world.schema, &mut |at, name| {
            if at == position {
                json!(id)
            } else {
                world.own(operation, name)
            }
        });
        asked.fetch_add(1, Ordering::Relaxed);
        timeless(world.ask(browser, &request, &[id.to_owned()]).await, id)
    };
    let try_case = async |(role, browser, operation, position): (_, _, &Operation, _)| {
        let missing = answer(browser, operation, position, MISSING).await;
        for id in &world.foreign {
            let what = format!("{role} {} argument {position}: {id}", operation.name);
            assert_eq!(
                answer(browser, operation, position, id).await,
                missing,
                "{what}"
            );
        }
        for id in MALFORMED {
            answer(browser, operation, position, id).await;
        }
    };
    stream::iter(cases).for_each_concurrent(16, try_case).await;
    assert!(asked.load(Ordering::Relaxed) > 1_000, "{asked:?}");
    assert_eq!(world.stored_of_the_rival().await, before);
    let mails = world.callers[0].1.mails().await;
    let theirs = mails
        .iter()
        .filter(|mail| !mail["to"][0].as_str().unwrap().starts_with(MARKER));
    assert!(theirs.clone().count() > 0);
    assert!(
        theirs
            .into_iter()
            .all(|mail| !mail.to_string().contains(MARKER))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_another_tenant_is_answered_like_one_in_a_tenant_that_does_not_exist() {
    let world = World::start().await;
    let before = world.stored_of_the_rival().await;
    let mut cases = world.cases();
    cases.retain(|(_, role, _)| *role != "MACHINE");
    let try_case = async |(operation, role, browser): (&Operation, &str, &Browser)| {
        let request = operation.request(&world.schema, &mut |_, _| json!(MISSING));
        let answer = async |tenant: &str| {
            let browser = browser.in_tenant(tenant);
            timeless(
                world.ask(&browser, &request, &[tenant.to_owned()]).await,
                tenant,
            )
        };
        let missing = answer(MISSING).await;
        for tenant in [world.rival.as_str(), MARKER] {
            assert_eq!(
                answer(tenant).await,
                missing,
                "{role} {} in {tenant}",
                operation.name
            );
        }
    };
    stream::iter(cases).for_each_concurrent(16, try_case).await;
    assert_eq!(world.stored_of_the_rival().await, before);
}

/// The codes that the reviewed table allows for a role; none if the role may use the operation.
fn expected_codes(row: &str, conditions: &str, role: &str) -> &'static [&'static str] {
    let mut conditions = conditions.split("; ");
    let who = conditions.next().unwrap_or_default();
    let people_only = conditions.any(|condition| condition == "no access tokens");
    let (roles, _) = who.split_once(" (").unwrap_or((who, ""));
    let is_listed = |roles: &str| {
        let mut roles = roles.split(", ");
        roles.any(|allowed| allowed.eq_ignore_ascii_case(role))
    };
    match (who, role) {
        ("anyone", _) => &[],
        (_, "NOBODY") => &["UNAUTHENTICATED"],
        ("logged in", "MACHINE") | ("platform administrators", _) => &["FORBIDDEN"],
        ("logged in", _) => &[],
        (_, "STRANGER") => &["NOT_FOUND"],
        (_, "MACHINE") if people_only => &["FORBIDDEN"],
        ("every member", _) | (_, "MACHINE") => &[],
        _ => match roles.strip_prefix("own, or ") {
            Some(roles) if is_listed(roles) => &[],
            // A guest may not even learn which members exist.
            Some(_) if row == "member.delete" => &["FORBIDDEN"],
            Some(_) => &["FORBIDDEN", "NOT_FOUND"],
            None if is_listed(roles) => &[],
            None => &["FORBIDDEN"],
        },
    }
}

/// The row that an operation stands for: `project.create` for `project { create }`, `project.read`
/// for `projects`, `account.profile_update` for `profile { update }`.
pub fn row_of<'t>(table: &BTreeMap<&'t str, &str>, operation: &Operation) -> &'t str {
    let field = snake_case(&operation.field);
    let (exact, verb) = match operation.group.as_deref().map(snake_case) {
        Some(group) => (format!("{group}.{field}"), format!(".{group}_{field}")),
        None => {
            let area = field.strip_suffix('s').unwrap_or(&field);
            (format!("{area}.read"), format!(".{field}"))
        }
    };
    let mut rows = table.keys().copied();
    let found = rows.find(|row| *row == exact || row.ends_with(&verb));
    found.unwrap_or_else(|| panic!("{} has no row", operation.name))
}

fn snake_case(camel: &str) -> String {
    let mut snake = String::new();
    for c in camel.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// The rows of the reviewed table of operations, by the name of the operation.
pub fn operations_table() -> BTreeMap<&'static str, &'static str> {
    let rows = TABLE.lines().filter_map(|line| line.split_once(": "));
    rows.filter(|(name, _)| name.contains('.')).collect()
}

/// Whether a row says that the operation needs a fresh session.
pub fn is_fresh(row: &str) -> bool {
    row.split("; ").any(|condition| condition == "fresh")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_what_the_reviewed_table_says_and_nothing_else() {
    let world = World::start().await;
    let table = operations_table();
    let operations = world.operations.iter();
    let used: BTreeSet<&str> = operations.map(|one| row_of(&table, one)).collect();
    // The only subscription is tried in `feed.rs`.
    let mut unused: Vec<_> = table.keys().filter(|row| !used.contains(*row)).collect();
    unused.retain(|row| **row != "tenant.events");
    assert!(unused.is_empty(), "no operation for {unused:?}");
    let try_case = async |(operation, role, browser): (&Operation, &str, &Browser)| {
        let request = operation.request(&world.schema, &mut |_, _| json!(MISSING));
        let answer = world.ask(browser, &request, &[]).await;
        let code = operation.code(&answer);
        let what = format!("{role} {}: {answer}", operation.name);
        let row = row_of(&table, operation);
        match expected_codes(row, table[row], role) {
            [] => assert!(!matches!(code, "FORBIDDEN" | "UNAUTHENTICATED"), "{what}"),
            codes => assert!(codes.contains(&code), "{what}"),
        }
    };
    stream::iter(world.cases())
        .for_each_concurrent(8, try_case)
        .await;
}

/// SplitMix64: every request has numbers of its own, in whatever order the requests are sent.
struct Random(u64);

impl Random {
    fn of_request(seed: u64, at: u64) -> Self {
        Self(seed.wrapping_add(at.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
    }

    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    fn choose<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.below(among.len())]
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn random_requests_show_and_change_nothing_of_another_tenant() {
    let world = World::start().await;
    let before = world.stored_of_the_rival().await;
    let clock = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let seed = setting("MATRIX_SEED").unwrap_or(clock.as_nanos() as u64);
    println!("MATRIX_SEED={seed}");
    let operations = world.repeatable();
    let mut ids: Vec<&str> = world.foreign.iter().map(String::as_str).collect();
    ids.extend(MALFORMED);
    ids.push(MISSING);
    let tenants = [world.acme.as_str(), world.rival.as_str(), MARKER, MISSING];
    let ask = async |at: u64| {
        let mut random = Random::of_request(seed, at);
        let operation = *random.choose(&operations);
        let mut browser = random.choose(&world.callers).1.clone();
        let tenant = *random.choose(&tenants);
        if random.below(3) == 0 {
            browser = browser.in_tenant(tenant);
        }
        let mut sent = vec![tenant.to_owned()];
        let request = operation.request(&world.schema, &mut |_, _| {
            let id = *random.choose(&ids);
            sent.push(id.to_owned());
            json!(id)
        });
        world.ask(&browser, &request, &sent).await;
    };
    let requests = setting("MATRIX_REQUESTS").unwrap_or(REQUESTS);
    stream::iter(0..requests).for_each_concurrent(32, ask).await;
    assert_eq!(world.stored_of_the_rival().await, before);
}
