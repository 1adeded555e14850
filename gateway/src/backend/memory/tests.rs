use events_schema::{AccountId, Name, ProjectId, TenantKey, Time, project};

use super::*;

const ACME: TenantId = TenantId::Tenant(TenantKey(Id::from_bytes([9; 16])));

fn id(number: u8) -> ProjectId {
    ProjectId(Id::from_bytes([number; 16]))
}

fn key(number: u8) -> Key {
    ("project", ACME, id(number).0)
}

fn document(number: u8, revision: i64) -> Document<project::View> {
    let view = project::View {
        name: Name::parse("Loom").unwrap(),
        description: Default::default(),
        status: project::Status::Active,
        creator: AccountId(Id::from_bytes([1; 16])),
        created_at: Time(0),
        updated_at: Time(revision),
    };
    Document {
        id: id(number),
        tenant: ACME,
        revision,
        sequence: revision,
        view: Some(view),
    }
}

fn json(document: &Document<project::View>) -> Bytes {
    serde_json::to_vec(document).unwrap().into()
}

fn following() -> Memory {
    let memory = Memory::new();
    memory.heard(Instant::now());
    memory
}

/// The revision that memory knows.
fn known(memory: &Memory, number: u8) -> Option<i64> {
    match memory.get::<project::View>(ACME, id(number)).unwrap() {
        Known::Document(document) => Some(document.revision),
        Known::Unknown(_) => None,
    }
}

fn ticket(memory: &Memory, number: u8) -> Option<Ticket> {
    match memory.get::<project::View>(ACME, id(number)).unwrap() {
        Known::Document(_) => panic!("the document is known"),
        Known::Unknown(ticket) => ticket,
    }
}

#[test]
fn an_announced_document_is_known_and_never_replaced_by_an_older_one() {
    let memory = following();
    for revision in [2, 1, 3] {
        let json = json(&document(7, revision));
        memory.announce(key(7), json).unwrap();
    }
    assert_eq!(known(&memory, 7), Some(3));
    assert_eq!(known(&memory, 8), None);
    memory.announce(key(7), json(&document(7, 2))).unwrap();
    assert_eq!(known(&memory, 7), Some(3));
}

#[test]
fn nothing_is_known_or_kept_while_views_is_not_followed() {
    let memory = Memory::new();
    assert!(ticket(&memory, 7).is_none());
    memory.heard(Instant::now());
    let before = ticket(&memory, 7).unwrap();
    memory.announce(key(8), json(&document(8, 1))).unwrap();
    memory.forget_all();
    assert!(ticket(&memory, 8).is_none());
    memory.heard(Instant::now());
    assert_eq!(known(&memory, 8), None);
    // What was read before the gap may be stale.
    memory.keep(before, Arc::new(document(7, 1)));
    assert_eq!(known(&memory, 7), None);
}

#[test]
fn a_silence_ends_the_use_of_memory() {
    let memory = following();
    memory.announce(key(7), json(&document(7, 1))).unwrap();
    memory.state().heard = Instant::now().checked_sub(SILENCE);
    assert!(ticket(&memory, 7).is_none());
}

#[test]
fn a_document_that_was_read_while_a_newer_one_was_announced_is_not_kept() {
    let memory = following();
    let before = ticket(&memory, 7).unwrap();
    memory.announce(key(7), json(&document(7, 2))).unwrap();
    memory.keep(before, Arc::new(document(7, 1)));
    assert_eq!(known(&memory, 7), Some(2));
}

#[test]
fn a_document_is_not_kept_if_a_newer_one_was_announced_and_forgotten_since() {
    let memory = following();
    let before = ticket(&memory, 7).unwrap();
    memory.announce(key(7), json(&document(7, 2))).unwrap();
    {
        let mut state = memory.state();
        state.bytes = MAX_BYTES + 1;
        let other = Kept {
            revision: 1,
            announced: 0,
            bytes: 1,
            content: Content::Json(Bytes::new()),
        };
        state.put(key(8), other);
        state.bytes = 1;
    }
    assert_eq!(known(&memory, 7), None);
    memory.keep(before, Arc::new(document(7, 1)));
    assert_eq!(known(&memory, 7), None);
    let after = ticket(&memory, 7).unwrap();
    memory.keep(after, Arc::new(document(7, 2)));
    assert_eq!(known(&memory, 7), Some(2));
}

#[test]
fn a_document_that_mongodb_has_overtaken_is_forgotten() {
    let memory = following();
    memory.announce(key(7), json(&document(7, 1))).unwrap();
    memory.overtaken(key(7), 1);
    assert_eq!(known(&memory, 7), Some(1));
    let before = ticket(&memory, 8).unwrap();
    memory.overtaken(key(7), 2);
    assert_eq!(known(&memory, 7), None);
    // What was read before may be as old.
    memory.keep(before, Arc::new(document(7, 1)));
    assert_eq!(known(&memory, 7), None);
}

#[test]
fn memory_is_bounded_by_bytes() {
    let memory = following();
    let mut large = document(1, 1);
    if let Some(view) = &mut large.view {
        let text = "x".repeat(10_000);
        view.description = events_schema::Description::parse(&text).unwrap();
    }
    let large = json(&large);
    for number in 0..5_000_u32 {
        let bytes = [[0; 12].as_slice(), &number.to_be_bytes()].concat();
        let id = Id::from_bytes(bytes.try_into().unwrap());
        memory
            .announce(("project", ACME, id), large.clone())
            .unwrap();
    }
    let state = memory.state();
    assert!(state.bytes <= MAX_BYTES && state.documents.len() < 4_000);
    let sum: usize = state.documents.iter().map(|(_, kept)| kept.bytes).sum();
    assert_eq!(state.bytes, sum);
}

#[tokio::test]
async fn whoever_waits_for_a_revision_hears_of_it_or_of_the_loss_of_views() {
    let memory = following();
    let Some(Err(second)) = memory.wait_for(key(7), 2) else {
        panic!("nothing is announced yet");
    };
    memory.announce(key(7), json(&document(7, 1))).unwrap();
    assert!(matches!(memory.wait_for(key(7), 1), Some(Ok(()))));
    memory.announce(key(7), json(&document(7, 2))).unwrap();
    second.await.unwrap();
    let Some(Err(third)) = memory.wait_for(key(7), 3) else {
        panic!("revision 3 is not announced yet");
    };
    memory.forget_all();
    assert!(third.await.is_err());
    assert!(memory.wait_for(key(7), 3).is_none());
    assert!(memory.state().waiting.is_empty());
}

#[test]
fn a_listener_hears_of_its_topic_and_of_the_loss_of_views() {
    let memory = following();
    let mut tenant = memory.listen(Topic::Tenant(ACME));
    let mut other = memory.listen(Topic::Document(key(8)));
    memory.announce(key(7), json(&document(7, 1))).unwrap();
    assert!(tenant.has_changed().unwrap() && !other.has_changed().unwrap());
    tenant.mark_unchanged();
    memory.forget_all();
    assert!(tenant.has_changed().unwrap() && other.has_changed().unwrap());
    other.mark_unchanged();
}
