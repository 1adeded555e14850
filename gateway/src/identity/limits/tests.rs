use clap::Parser;
use events_schema::Id;

use super::*;

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    limits: LimitOptions,
}

fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

#[test]
fn a_rate_is_a_number_and_a_period() {
    for text in ["1/second", "60/minute", "20/hour", "1000000/day"] {
        assert_eq!(rate(text).to_string(), text);
    }
    for wrong in [
        "",
        "60",
        "0/minute",
        "-1/day",
        "60/week",
        "1000001/day",
        "60 /minute",
    ] {
        assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
    }
}

#[test]
fn a_bucket_is_full_at_first_and_each_key_has_its_own() {
    let bucket = Bucket::new("test", rate("3/hour"));
    for remaining in [2, 1, 0] {
        let budget = bucket.take(&"a").unwrap();
        assert_eq!((budget.limit, budget.remaining), (3, remaining));
    }
    let (error, budget) = bucket.take(&"a").unwrap_err();
    let Error::RateLimited { retry_after } = error else {
        panic!("{error:?}");
    };
    assert!(
        retry_after <= Duration::from_secs(20 * 60),
        "{retry_after:?}"
    );
    assert!(
        retry_after > Duration::from_secs(19 * 60),
        "{retry_after:?}"
    );
    assert_eq!((budget.remaining, budget.reset_secs), (0, 60 * 60));
    assert!(bucket.take(&"b").is_ok());
}

#[test]
fn the_sources_of_a_tenant_share_its_hooks_and_leave_those_of_others() {
    let arguments = "gateway --inbound-source-limit 2/hour --inbound-tenant-limit 3/hour";
    let options = Program::parse_from(arguments.split(' ')).limits;
    let limits = Limits::new(&options);
    let [first, second, third] = [1, 2, 3].map(|id| InboundSourceId(Id::from_bytes([id; 16])));
    let [acme, other] = [4, 5].map(|id| TenantKey(Id::from_bytes([id; 16])));
    for (tenant, source, is_accepted) in [
        (acme, first, true),
        (acme, first, true),
        // What a source is refused is not taken from its tenant.
        (acme, first, false),
        (acme, second, true),
        (acme, second, false),
        (other, third, true),
    ] {
        let counted = limits.count_verified_hook(tenant, source);
        assert_eq!(counted.is_ok(), is_accepted, "{tenant} {source}");
    }
}

#[test]
fn an_account_and_a_tenant_ask_stripe_so_often_and_a_tenant_saves_so_many_cards() {
    let arguments = "gateway --payment-limit 2/hour --card-limit 1/hour";
    let limits = Limits::new(&Program::parse_from(arguments.split(' ')).limits);
    let [ada, bob, eve] = [1, 2, 3].map(|id| AccountId(Id::from_bytes([id; 16])));
    let [acme, burger, other] = [4, 5, 6].map(|id| TenantKey(Id::from_bytes([id; 16])));
    for (account, tenant, is_accepted) in [
        (ada, acme, true),
        (ada, burger, true),
        // In whichever tenant.
        (ada, other, false),
        (bob, acme, true),
        // Whoever asks, and what a person is refused is not taken from the tenant.
        (eve, acme, false),
        (eve, other, true),
    ] {
        let counted = limits.count_question(account, tenant);
        assert_eq!(counted.is_ok(), is_accepted, "{account} {tenant}");
    }
    let cards = [acme, acme, burger].map(|tenant| limits.count_card(tenant).is_ok());
    assert_eq!(cards, [true, false, true]);
}

#[test]
fn full_buckets_are_forgotten() {
    let bucket = Bucket::new("test", rate("1000000/second"));
    for key in 0..3 * TIDY_EVERY {
        bucket.take(&key).unwrap();
    }
    assert!(bucket.limiter.len() < 2 * TIDY_EVERY as usize);
}
