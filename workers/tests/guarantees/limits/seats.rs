//! Members and invitations: each takes a seat while it is live.

use std::time::{Duration, SystemTime};

use events_schema::{
    Actor, Area as _, BuiltInRole, ChallengeId, CommandId, Commit, Id, MemberId, Name, Outcome,
    Permissions, Time, member,
};
use futures_util::future::join_all;

use super::{
    COMMANDS, kill_at_each_commit,
    tenant::{Tenant, assert_won, email_of},
};
use crate::support::{DEADLINE, World, id};

const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Invites a new address under a limit; returns the member and whether there was a seat.
async fn invite(acme: &Tenant, limit: u64) -> (Id, bool) {
    let member = id();
    let outcome = acme.invite(member, member, BuiltInRole::Guest, limit).await;
    (member, outcome.revision().is_ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_invitations_for_three_seats_three_are_sent() {
    let world = World::start().await;
    let _workers = world.workers::<2>(COMMANDS).await;
    let acme = Tenant::new(&world).await;
    let members: Vec<Id> = (0..100).map(|_| id()).collect();
    let invited = members
        .iter()
        .map(|member| acme.invite(*member, *member, BuiltInRole::Guest, 3));
    assert_won(&join_all(invited).await, 3, 3);
}

/// Invites a new address for one of three seats. A command that waits for a killed worker for a
/// minute expires; then it is sent again, as a client with an idempotency key does.
async fn invite_patiently(acme: &Tenant, member: Id) -> Outcome {
    let deadline = tokio::time::Instant::now() + 3 * DEADLINE;
    loop {
        let outcome = acme.invite(member, member, BuiltInRole::Guest, 3).await;
        let is_expired = matches!(
            &outcome,
            Outcome::Rejected(rejection) if rejection.code == "expired"
        );
        if !is_expired {
            return outcome;
        }
        assert!(tokio::time::Instant::now() < deadline, "it always expires");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_are_killed_at_each_invitation_leave_three_seats_taken() {
    let world = World::start().await;
    let mut workers = world.workers::<2>(COMMANDS).await;
    for _ in 0..2 {
        let acme = Tenant::new(&world).await;
        let invitations = format!("evt.{}.member.*", acme.id);
        let invitations = world.announced(&invitations).await;
        let members: Vec<Id> = (0..100).map(|_| id()).collect();
        let each = members.iter();
        let invited = each.map(|member| invite_patiently(&acme, *member));
        let outcomes = tokio::select! {
            outcomes = join_all(invited) => outcomes,
            () = kill_at_each_commit(&world, invitations, &mut workers) => unreachable!(),
        };
        assert_won(&outcomes, 3, 3);
        let mut stored: Vec<(u64, Commit<member::Area>)> = world.commits(member::Area::NAME).await;
        stored.retain(|(_, commit)| commit.tenant == acme.id);
        assert_eq!(stored.len(), 3);
        for (_, commit) in stored {
            let at = members.iter().position(|member| *member == commit.id.0);
            assert!(outcomes[at.unwrap()].revision().is_ok());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_takes_one_seat_until_it_is_rejected_or_withdrawn() {
    let world = World::start().await;
    let _worker = world.workers::<1>(COMMANDS).await;
    let acme = Tenant::new(&world).await;
    let (first, _) = invite(&acme, 1).await;
    // It is sent again with another role, and takes no second seat.
    let challenge = id();
    let again = acme.invite(first, challenge, BuiltInRole::Member, 1).await;
    assert_eq!(again.revision(), Ok(2));
    let reject = member::Command::Reject {
        challenge: ChallengeId(challenge),
        email: email_of(first),
    };
    acme.change_member(first, reject).await;

    let (second, is_sent) = invite(&acme, 1).await;
    assert!(is_sent, "the seat is free");
    let again = acme.invite(first, id(), BuiltInRole::Guest, 1).await;
    assert_won(&[again], 0, 1);
    let remove = member::Command::Remove {
        member_holds: Permissions::new(),
        other_owner: None,
    };
    acme.change_member(second, remove).await;
    let again = acme.invite(first, id(), BuiltInRole::Guest, 1).await;
    assert_eq!(again.revision(), Ok(4));
    assert!(!invite(&acme, 1).await.1, "it has the seat again");
    // It keeps the seat under a lower limit, too.
    assert!(invite(&acme, 2).await.1);
    let again = acme.invite(first, id(), BuiltInRole::Member, 1).await;
    assert_eq!(again.revision(), Ok(5));
}

/// Writes an invitation of this age to the log.
async fn write_invitation(world: &World, acme: &Tenant, age: Duration) -> Id {
    let member = id();
    let commit = Commit::<member::Area> {
        tenant: acme.id,
        area: member::Area::NAME,
        id: MemberId(member),
        revision: 1,
        command: CommandId(member),
        actor: Actor::System,
        time: Time::from(SystemTime::now() - age),
        origin: None,
        events: vec![member::Event::Invited {
            email: email_of(member),
            role: BuiltInRole::Guest,
            challenge: ChallengeId(member),
            tenant_name: Name::parse("Acme").unwrap(),
            inviter: None,
        }],
    };
    let payload = serde_json::to_vec(&commit).unwrap();
    let subject = commit.subject().to_string();
    let published = world.operator.publish(subject, payload.into());
    published.await.unwrap().await.unwrap();
    member
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_invitation_has_no_seat_and_needs_one_to_be_sent_again() {
    const HOUR: Duration = Duration::from_secs(60 * 60);
    let world = World::start().await;
    let _worker = world.workers::<1>(COMMANDS).await;
    let acme = Tenant::new(&world).await;
    write_invitation(&world, &acme, WEEK - HOUR).await;
    let expired = write_invitation(&world, &acme, WEEK + HOUR).await;
    // It can still be on its way to be accepted.
    let just_now = write_invitation(&world, &acme, WEEK + Duration::from_secs(60)).await;
    assert!(!invite(&acme, 2).await.1, "two are counted");
    assert!(invite(&acme, 3).await.1, "the expired one is not");
    let again = acme.invite(expired, id(), BuiltInRole::Guest, 3).await;
    assert_won(&[again], 0, 3);
    // It has no seat either, but counts as long as it may get one.
    let again = acme.invite(just_now, id(), BuiltInRole::Guest, 2).await;
    assert_won(&[again], 0, 2);
    let again = acme.invite(just_now, id(), BuiltInRole::Guest, 3).await;
    assert_eq!(again.revision(), Ok(2));
}
