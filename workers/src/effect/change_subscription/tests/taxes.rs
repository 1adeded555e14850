//! A change that waits for its payment cannot ask for taxes, so they are asked for before.

use super::*;

async fn perform_taxed<const N: usize>(acts: [Act; N]) -> Vec<String> {
    let server = Server::acts(acts).await;
    let options = StripeOptions {
        stripe_key: "sk_test_1".parse().unwrap(),
        stripe_url: server.url().parse().unwrap(),
        stripe_tax: StripeTax::Automatic,
        stripe_rate: 100,
    };
    let stripe = Stripe::new(&options).unwrap().unwrap();
    let recorded = attempt(stripe, &catalogue(), TENANT, &subscribe()).await;
    recorded.unwrap();
    server.requests()
}

/// For each change of the subscription, whether it asks for taxes.
fn asked(requests: &[String]) -> Vec<bool> {
    let changes = requests.iter().filter(|request| line(request) == CHANGE);
    let tax = "automatic_tax%5Benabled%5D=true";
    changes.map(|request| request.contains(tax)).collect()
}

#[tokio::test]
async fn a_change_asks_for_taxes_itself_and_one_that_waits_before() {
    let lasting = || subscription("active", "price_0", OTHER);
    let acts = [list(&[lasting()]), present("active"), present("active")];
    assert_eq!(asked(&perform_taxed(acts).await), [true]);

    let mut waiting = lasting();
    waiting["pending_update"] = pending_update("price_1");
    let acts = [
        list(&[lasting()]),
        declined("authentication_required"),
        ok(&lasting().to_string()),
        ok(&waiting.to_string()),
        ok(&waiting.to_string()),
        invoice(json!({ "status": "requires_action" })),
    ];
    assert_eq!(asked(&perform_taxed(acts).await), [true, true, false]);
}
