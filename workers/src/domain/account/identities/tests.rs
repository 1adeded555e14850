use events_schema::{
    AccountId, ChallengeId, Id, PasswordHash, PersonName, ProviderName, account::Command,
    identity::OF_CONNECTIONS,
};

use super::*;
use crate::domain::{
    account::Account,
    testing::{Given, OWN, given},
};

const OTHER: AccountId = AccountId(Id::from_bytes([5; 16]));

fn email() -> EmailAddress {
    EmailAddress::parse("ada@example.com").unwrap()
}
fn name() -> PersonName {
    PersonName::parse("Ada").unwrap()
}
fn hash() -> PasswordHash {
    PasswordHash::parse("$x").unwrap()
}
fn id(byte: u8) -> IdentityId {
    IdentityId(Id::from_bytes([byte; 16]))
}
fn identity(byte: u8) -> ProvedIdentity {
    ProvedIdentity {
        id: id(byte),
        former: Vec::new(),
        provider: ProviderName::parse("google").unwrap(),
    }
}
fn formerly(byte: u8, former: u8) -> ProvedIdentity {
    ProvedIdentity {
        former: vec![id(former)],
        ..identity(byte)
    }
}
fn registered() -> Event {
    Event::Registered {
        email: email(),
        firstname: name(),
        lastname: name(),
        password_hash: hash(),
    }
}
fn opened() -> Event {
    Event::Opened {
        email: email(),
        firstname: name(),
        lastname: name(),
    }
}
fn is_linked(byte: u8) -> Event {
    linked(&identity(byte), &email())
}
fn is_unlinked(byte: u8) -> Event {
    Event::IdentityUnlinked {
        identity: id(byte),
        provider: identity(byte).provider,
        email: email(),
    }
}
fn open(identity: ProvedIdentity) -> Command {
    Command::OpenByIdentity {
        email: email(),
        firstname: name(),
        lastname: name(),
        identity,
    }
}
fn link(identity: ProvedIdentity) -> Command {
    Command::LinkIdentity {
        identity,
        epoch: None,
    }
}
fn unlink(byte: u8) -> Command {
    Command::UnlinkIdentity { identity: id(byte) }
}
fn set_password() -> Command {
    Command::SetPassword {
        password_hash: hash(),
    }
}
fn password_set() -> Event {
    Event::PasswordSet {
        password_hash: hash(),
        email: email(),
    }
}
fn absent() -> Given<Account> {
    given([])
}
fn by_password() -> Given<Account> {
    given([registered(), Event::Verified])
}
fn by_identity() -> Given<Account> {
    given([opened(), is_linked(1)])
}

#[test]
fn an_identity_opens_an_account_and_takes_the_address_and_itself() {
    absent().when(open(identity(1))).decides(Decision {
        take: vec![Claim::email(&email()), Claim::identity(id(1))],
        ..Decision::events(vec![opened(), is_linked(1)])
    });
    for account in [by_password(), by_identity()] {
        account
            .when(open(identity(1)))
            .rejects(Rejection::AlreadyExists);
    }
}

#[test]
fn an_account_is_not_opened_with_the_address_or_the_identity_of_another() {
    let when = absent().when(open(identity(1)));
    let taken = when.clone().while_held(Claim::email(&email()), OTHER);
    taken.rejects(Rejection::EmailTaken);
    let taken = when.while_held(Claim::identity(id(1)), OTHER);
    taken.rejects(Rejection::IdentityTaken);
    let when = absent().when(open(formerly(1, 2)));
    let taken = when.while_held(Claim::identity(id(2)), OTHER);
    taken.rejects(Rejection::IdentityTaken);
}

#[test]
fn an_account_that_was_registered_by_somebody_else_keeps_nothing() {
    let asked = Event::PasswordResetRequested {
        challenge: ChallengeId(OTHER.0),
        email: email(),
        firstname: name(),
    };
    let unverified: Given<Account> = given([registered(), asked]);
    let own = unverified.when(open(identity(1)));
    own.while_held(Claim::email(&email()), AccountId(OWN))
        .then([opened(), is_linked(1)]);
    let own = unverified.and([opened(), is_linked(1)]);
    own.is(by_identity().and([Event::SessionsRevoked]).state());
    let unproved: Given<Account> = given([registered()]);
    let when = unproved.when(link(identity(1)));
    when.rejects(Rejection::NotVerified);
}

#[test]
fn an_identity_is_linked_once_and_belongs_to_one_account() {
    let when = by_password().when(link(identity(1)));
    when.clone().decides(Decision {
        take: vec![Claim::identity(id(1))],
        ..Decision::events(vec![is_linked(1)])
    });
    when.while_held(Claim::identity(id(1)), OTHER)
        .rejects(Rejection::IdentityTaken);
    let when = by_password().when(link(formerly(1, 2)));
    when.while_held(Claim::identity(id(2)), OTHER)
        .rejects(Rejection::IdentityTaken);
    by_identity().when(link(identity(1))).changes_nothing();
    by_identity().when(link(formerly(2, 1))).changes_nothing();
}

#[test]
fn an_identity_is_not_linked_by_a_session_that_has_ended() {
    let link = |epoch| Command::LinkIdentity {
        identity: identity(1),
        epoch: Some(epoch),
    };
    let reset = Event::PasswordChanged {
        password_hash: hash(),
        email: email(),
        firstname: name(),
    };
    by_password().when(link(0)).then([is_linked(1)]);
    for ended in [reset, Event::SessionsRevoked] {
        let later = by_password().and([ended]);
        later.when(link(0)).rejects(Rejection::SessionEnded);
        later.when(link(1)).then([is_linked(1)]);
    }
    let disabled = by_password().and([Event::Disabled]);
    for command in [link(0), link(1), self::link(identity(1))] {
        disabled.when(command).rejects(Rejection::SessionEnded);
    }
    let enabled = disabled.and([Event::Enabled]);
    enabled.when(link(1)).rejects(Rejection::SessionEnded);
    enabled.when(link(2)).then([is_linked(1)]);
}

#[test]
fn an_account_has_at_most_twenty_identities() {
    let linked = |count| by_password().and((1..=count).map(is_linked));
    let when = |count| linked(count).when(link(identity(99)));
    when(19).then([is_linked(99)]);
    when(20).rejects(Rejection::TooManyIdentities);
}

#[test]
fn an_unlinked_identity_becomes_free() {
    let both = by_identity().and([is_linked(2)]);
    both.when(unlink(1)).decides(Decision {
        release: vec![Claim::identity(id(1))],
        ..Decision::events(vec![is_unlinked(1)])
    });
    both.when(unlink(3)).changes_nothing();
    let again = both.and([is_unlinked(1)]);
    again.when(link(identity(1))).then([is_linked(1)]);
}

#[test]
fn the_last_way_to_log_in_is_never_removed() {
    by_identity().when(unlink(1)).rejects(Rejection::LastLogIn);
    by_password()
        .when(Command::RemovePassword)
        .rejects(Rejection::LastLogIn);
    let removed = Event::PasswordRemoved { email: email() };
    let both = by_password().and([is_linked(1)]);
    both.when(Command::RemovePassword).then([removed.clone()]);
    both.when(unlink(1)).then([is_unlinked(1)]);
    let one = both.clone().and([removed]);
    one.when(unlink(1)).rejects(Rejection::LastLogIn);
    one.when(Command::RemovePassword).changes_nothing();
    let other = both.and([is_unlinked(1)]);
    other
        .when(Command::RemovePassword)
        .rejects(Rejection::LastLogIn);
}

#[test]
fn the_issuer_of_a_tenant_is_no_other_way_to_log_in() {
    let of_tenant = |byte| ProvedIdentity {
        provider: ProviderName::parse(OF_CONNECTIONS).unwrap(),
        ..identity(byte)
    };
    let linked = |byte| linked(&of_tenant(byte), &email());
    let unlinked = |byte| Event::IdentityUnlinked {
        identity: id(byte),
        provider: of_tenant(byte).provider,
        email: email(),
    };
    let both = by_password().and([linked(1)]);
    both.when(Command::RemovePassword)
        .rejects(Rejection::LastLogIn);
    both.when(unlink(1)).then([unlinked(1)]);
    let by_provider = by_identity().and([linked(2)]);
    by_provider.when(unlink(1)).rejects(Rejection::LastLogIn);
    by_provider.when(unlink(2)).then([unlinked(2)]);
    let by_tenant: Given<Account> = given([opened(), linked(1)]);
    by_tenant.when(unlink(1)).rejects(Rejection::LastLogIn);
    by_tenant
        .and([linked(2)])
        .when(unlink(1))
        .then([unlinked(1)]);
}

#[test]
fn only_an_account_without_a_password_gets_one() {
    by_identity().when(set_password()).then([password_set()]);
    let set = by_identity().and([password_set()]);
    for account in [set, by_password()] {
        account
            .when(set_password())
            .rejects(Rejection::PasswordSetAlready);
    }
}

#[test]
fn a_reset_mail_sets_a_first_password_unless_one_was_removed_since() {
    let challenge = ChallengeId(OTHER.0);
    let asked = Event::PasswordResetRequested {
        challenge,
        email: email(),
        firstname: name(),
    };
    let reset = Command::ResetPassword {
        challenge,
        password_hash: hash(),
    };
    let changed = Event::PasswordChanged {
        password_hash: hash(),
        email: email(),
        firstname: name(),
    };
    let asked = by_identity().and([asked]);
    asked.when(reset.clone()).then([changed]);
    let removed = Event::PasswordRemoved { email: email() };
    let removed = asked.and([password_set(), removed]);
    removed.when(reset).rejects(Rejection::ChallengeEnded);
}
