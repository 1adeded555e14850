//! When trials begin and end.

use super::*;

/// The parameters of the last request that changes something.
fn parameters(requests: &[String]) -> Vec<(String, String)> {
    let mut changes = requests.iter().rev();
    let last = changes.find(|it| it.starts_with("POST")).unwrap();
    let (_, form) = last.split_once("\r\n\r\n").unwrap();
    let pairs = url::form_urlencoded::parse(form.as_bytes());
    pairs.into_owned().collect()
}

fn trial_of(parameters: &[(String, String)]) -> Option<(&str, &str)> {
    let mut all = parameters.iter();
    let found = all.find(|(name, _)| name.starts_with("trial_end") || name.contains("period_days"));
    found.map(|(name, value)| (name.as_str(), value.as_str()))
}

#[tokio::test]
async fn a_trial_begins_when_stripe_gives_it_however_long_ago_it_was_asked_for() {
    // It was asked for in 2026, and its end of that time may be over.
    let task = task([known()], wants_trial(Some(14)));
    let acts = [list(&[]), present("trialing")];
    let (recorded, requests) = perform(&task, acts).await;
    assert_eq!(recorded.unwrap(), done(PaidStatus::Trialing));
    let parameters = parameters(&requests);
    assert_eq!(trial_of(&parameters), Some(("trial_period_days", "14")));
}

#[tokio::test]
async fn a_trial_does_not_carry_over_to_another_plan() {
    let change = async |price: &str, days: Option<u16>| {
        let trying = subscription("trialing", price, OTHER);
        let task = task([known(), pays()], wants_trial(days));
        let acts = [list(&[trying]), present("active")];
        let (recorded, requests) = perform(&task, acts).await;
        recorded.unwrap();
        parameters(&requests)
    };
    // Only the catalogue knows the plan of `price_2`. The tenant has chosen the plan of the others.
    let ended = change("price_2", None).await;
    assert_eq!(trial_of(&ended), Some(("trial_end", "now")));
    let now = Timestamp::from(Time::from(SystemTime::now())).0;
    let another = change("price_2", Some(7)).await;
    let (name, end) = trial_of(&another).unwrap();
    let left = end.parse::<i64>().unwrap() - now;
    assert_eq!((name, left / (24 * 60 * 60)), ("trial_end", 7));
    let same_plan = change("price_0", None).await;
    assert_eq!(trial_of(&same_plan), None);
}
