use super::*;

fn mail(sender: u8, minute: i64) -> Mail {
    Mail {
        at: Time(minute * 60_000),
        about: Id::from_bytes([sender; 16]),
        sender: Id::from_bytes([sender; 16]),
    }
}

#[test]
fn the_mails_of_one_sender_are_ever_further_apart_and_five_a_day() {
    for (limit, waits) in [
        (Limit::REGISTRATIONS, &[1, 2, 4, 8, 24 * 60 - 15][..]),
        (Limit::of_invitations(5), &[1, 2, 24 * 60 - 3]),
    ] {
        let mut mails = Mails::default();
        for _ in 0..limit.free {
            mails.add(limit, mail(1, 0)).unwrap();
        }
        let mut minute = 0;
        for wait in waits {
            assert!(
                mails.add(limit, mail(1, minute + wait - 1)).is_err(),
                "{wait}"
            );
            minute += wait;
            mails.add(limit, mail(1, minute)).unwrap();
        }
    }
}

#[test]
fn a_sender_does_not_keep_another_from_sending() {
    let mut mails = Mails::default();
    mails.add(Limit::REGISTRATIONS, mail(1, 0)).unwrap();
    mails.add(Limit::REGISTRATIONS, mail(2, 0)).unwrap();
}

#[test]
fn a_client_that_a_proxy_hides_does_not_wait_for_another() {
    let (mut mails, limit) = (Mails::default(), Limit::REGISTRATIONS_OF_HIDDEN);
    for _ in 0..20 {
        mails.add(limit, mail(1, 0)).unwrap();
    }
    assert!(mails.add(limit, mail(1, 1)).is_err());
}

#[test]
fn an_address_gets_twenty_mails_a_day() {
    let mut mails = Mails::default();
    let limit = Limit::REGISTRATIONS;
    for sender in 0..20 {
        mails.add(limit, mail(sender, sender.into())).unwrap();
    }
    let refused = mails.add(limit, mail(20, 20));
    let Err(Error::RateLimited { retry_after }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(retry_after, Duration::from_secs((24 * 60 - 20) * 60));
    mails.add(limit, mail(20, 24 * 60)).unwrap();
}
