use events_schema::{
    AccountId, Base64Url, ChallengeId, Id, Name, PasswordHash, ProviderName, secret::derived_id,
};

use super::*;
use crate::reaction::testing::{ID, REVISION, requested, when};

const CHALLENGE: ChallengeId = ChallengeId(Id::from_bytes([3; 16]));
const HOLDER: AccountId = AccountId(Id::from_bytes([4; 16]));

fn ada() -> EmailAddress {
    EmailAddress::parse("ada@example.com").unwrap()
}
fn name() -> PersonName {
    PersonName::parse("Ada").unwrap()
}
fn verification_requested() -> Event {
    Event::VerificationRequested {
        challenge: CHALLENGE,
        email: ada(),
        firstname: name(),
    }
}
fn reset_requested() -> Event {
    Event::PasswordResetRequested {
        challenge: CHALLENGE,
        email: ada(),
        firstname: name(),
    }
}
fn changed() -> Event {
    Event::PasswordChanged {
        password_hash: PasswordHash::parse("$x").unwrap(),
        email: ada(),
        firstname: name(),
    }
}
fn refused() -> Event {
    Event::RegistrationRefused {
        email: ada(),
        holder: HOLDER,
    }
}
fn reset() -> Consequence<email::Area> {
    let id = derived_id(&[b"email", b"password_reset", CHALLENGE.0.bytes()]);
    let template = Template::PasswordReset {
        account: AccountId(ID),
        challenge: CHALLENGE,
        firstname: name(),
    };
    requested(id, ada(), template)
}
fn change() -> Consequence<email::Area> {
    let revision = REVISION.to_be_bytes();
    let id = derived_id(&[b"email", b"password_changed", ID.bytes(), &revision]);
    requested(id, ada(), Template::PasswordChanged { firstname: name() })
}

#[test]
fn a_requested_password_reset_is_mailed() {
    when::<AccountMail>([reset_requested()]).then([reset()]);
}

#[test]
fn a_changed_password_is_mailed() {
    when::<AccountMail>([changed()]).then([change()]);
}

#[test]
fn a_change_of_the_second_factor_is_mailed_and_its_use_is_not() {
    let credential = events_schema::CredentialId(ID);
    let secret_id = "k1".to_owned();
    let enrolled = Event::TotpEnrolled {
        credential,
        secret_id: secret_id.clone(),
        step: 7,
        recovery_codes: credential,
        email: ada(),
    };
    let renewed = Event::RecoveryCodesRenewed {
        credential,
        secret_id,
        email: ada(),
    };
    let used = Event::RecoveryCodeUsed {
        credential,
        index: 0,
        email: ada(),
    };
    let email = ada();
    let removed = Event::TotpRemoved { credential, email };
    let revision = REVISION.to_be_bytes();
    let id = derived_id(&[b"email", b"credentials_changed", ID.bytes(), &revision]);
    for (event, change) in [
        (enrolled, CredentialChange::TotpEnrolled),
        (renewed, CredentialChange::RecoveryCodesRenewed),
        (used, CredentialChange::RecoveryCodeUsed),
        (removed, CredentialChange::TotpRemoved),
    ] {
        let template = Template::CredentialsChanged { change };
        when::<AccountMail>([event]).then([requested(id, ada(), template)]);
    }
    let step = 8;
    when::<AccountMail>([Event::TotpUsed { credential, step }]).then([]);
}

#[test]
fn a_change_of_how_to_log_in_is_mailed_except_when_the_account_begins() {
    let provider = ProviderName::parse("google").unwrap();
    let linked = Event::IdentityLinked {
        identity: events_schema::IdentityId(ID),
        provider: provider.clone(),
        email: ada(),
    };
    let unlinked = Event::IdentityUnlinked {
        identity: events_schema::IdentityId(ID),
        provider: provider.clone(),
        email: ada(),
    };
    let set = Event::PasswordSet {
        password_hash: PasswordHash::parse("$x").unwrap(),
        email: ada(),
    };
    let removed = Event::PasswordRemoved { email: ada() };
    let revision = REVISION.to_be_bytes();
    let id = derived_id(&[b"email", b"credentials_changed", ID.bytes(), &revision]);
    let google = || provider.clone();
    for (event, change) in [
        (
            linked.clone(),
            CredentialChange::IdentityLinked { provider: google() },
        ),
        (
            unlinked,
            CredentialChange::IdentityUnlinked { provider: google() },
        ),
        (set, CredentialChange::PasswordSet),
        (removed, CredentialChange::PasswordRemoved),
    ] {
        let template = Template::CredentialsChanged { change };
        when::<AccountMail>([event]).then([requested(id, ada(), template)]);
    }
    let opened = Event::Opened {
        email: ada(),
        firstname: name(),
        lastname: name(),
    };
    when::<AccountMail>([opened, linked]).then([]);
}

#[test]
fn each_passkey_that_is_added_removed_or_suspended_is_mailed() {
    let name = Name::parse("Phone").unwrap();
    let id = |byte| PasskeyId::of(&Base64Url::from_bytes(&[byte; 16]));
    let removed = |byte| Event::PasskeyRemoved {
        passkey: id(byte),
        name: name.clone(),
        email: ada(),
    };
    let suspended = Event::PasskeySuspended {
        passkey: id(1),
        name: name.clone(),
        email: ada(),
    };
    let mail = |byte, change| {
        let revision = REVISION.to_be_bytes();
        let passkey = id(byte);
        let passkey = passkey.0.bytes();
        let parts = [
            b"email",
            &b"credentials_changed"[..],
            ID.bytes(),
            &revision,
            passkey,
        ];
        requested(
            derived_id(&parts),
            ada(),
            Template::CredentialsChanged { change },
        )
    };
    let gone = || CredentialChange::PasskeyRemoved { name: name.clone() };
    when::<AccountMail>([removed(1), removed(2)]).then([mail(1, gone()), mail(2, gone())]);
    let copied = CredentialChange::PasskeySuspended { name: name.clone() };
    when::<AccountMail>([suspended]).then([mail(1, copied)]);
    let used = Event::PasskeyUsed {
        passkey: id(1),
        counter: 1,
        is_backed_up: true,
    };
    when::<AccountMail>([used]).then([]);
}

#[test]
fn each_occasion_has_its_own_mail() {
    let mails = [reset(), change()];
    when::<AccountMail>([reset_requested(), changed()]).then(mails.clone());
    assert_ne!(mails[0].aggregate, mails[1].aggregate);
}

#[test]
fn other_changes_are_not_mailed() {
    let earlier = [verification_requested(), refused()];
    when::<AccountMail>(earlier).then([]);
    when::<AccountMail>([Event::Verified, Event::SessionsRevoked, Event::Disabled]).then([]);
}
