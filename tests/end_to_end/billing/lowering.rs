//! A limit that is lowered while many create.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use events_schema::CommitSummary;

use super::*;
use crate::support::{code_of, operator};

const HIGH: u64 = 30;
const LOW: u64 = 10;
/// Clients, and the projects that each of them creates one after the other.
const CLIENTS: usize = 8;
const EACH: usize = 6;

/// The projects of the log by their ids: which was created as the first one, the second one, …
async fn places(backend: &Local) -> HashMap<String, u64> {
    let events = operator(backend).await.get_stream("EVENTS").await.unwrap();
    let last = events.get_info().await.unwrap().state.last_sequence;
    let mut places = HashMap::new();
    for sequence in 1..=last {
        let message = events.get_raw_message(sequence).await.unwrap();
        let Ok(commit) = serde_json::from_slice::<CommitSummary>(&message.payload) else {
            continue;
        };
        if commit.area == "project" && commit.revision == 1 {
            places.insert(commit.id.to_string(), places.len() as u64 + 1);
        }
    }
    places
}

/// The limit is in the command, so a creation that was asked for before the change may still count
/// by the former limit, for a minute at most. One that is asked for after the answer never does.
#[tokio::test(flavor = "multi_thread")]
async fn a_creation_after_a_limit_was_lowered_counts_by_the_new_one_and_none_exceeds_the_former() {
    let backend = start().await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    let plan = set_default(&root, free("Small", &[], &[("projects", HIGH)])).await;
    let (is_lowered, created) = (AtomicBool::new(false), AtomicUsize::new(0));
    let create = async |client: usize| {
        let mut outcomes = Vec::new();
        for number in 0..EACH {
            let is_late = is_lowered.load(Ordering::SeqCst);
            let name = format!("{client}-{number}");
            let answer = ada.gql(CREATE_PROJECT, project(&name)).await;
            created.fetch_add(usize::from(succeeded(&answer)), Ordering::SeqCst);
            outcomes.push((is_late, answer));
        }
        outcomes
    };
    let lower = async {
        eventually("some projects", || async {
            created.load(Ordering::SeqCst) > 3
        })
        .await;
        let mut lower = free("Small", &[], &[("projects", LOW)]);
        lower["id"] = plan.clone().into();
        root.data(UPDATE_PLAN, input(lower)).await;
        is_lowered.store(true, Ordering::SeqCst);
    };
    let (outcomes, ()) = tokio::join!(join_all((0..CLIENTS).map(create)), lower);

    let outcomes: Vec<(bool, Value)> = outcomes.into_iter().flatten().collect();
    let places = places(&backend).await;
    assert!((LOW..=HIGH).contains(&(places.len() as u64)), "{places:?}");
    for (is_late, answer) in &outcomes {
        if succeeded(answer) {
            let place = places[&text(answer, "/data/project/create/id")];
            assert!(!is_late || place <= LOW, "place {place}");
            continue;
        }
        assert_eq!(code_of(answer), "LIMIT_REACHED", "{answer}");
        let allowed = answer["errors"][0]["extensions"]["allowed"].as_u64();
        let is_known = [Some(LOW), Some(HIGH)].contains(&allowed);
        assert!(is_known && (!is_late || allowed == Some(LOW)), "{answer}");
    }
    let late = outcomes.iter().filter(|(is_late, _)| *is_late);
    assert!(late.count() > 0, "the limit was lowered too late");
    let refused = ada.error(CREATE_PROJECT, project("One more")).await;
    assert_eq!(
        (&refused["allowed"], &refused["used"]),
        (&json!(LOW), &json!(places.len()))
    );
}
