//! A card counts once Stripe has saved it.

use local::Local;
use serde_json::{Value, json};

use super::{ATTACH, CARDS, SETUP, attach, id_of, stripe};
use crate::support::{Browser, ada_in_acme, start, text};

/// Begins to save a card; returns the setup intent.
async fn begin(ada: &Browser) -> String {
    let setup = ada.data(SETUP, ()).await;
    id_of(&text(&setup, "/card/createSetupIntent/clientSecret")).to_owned()
}

/// Confirms a setup intent as a browser does; returns its status, or the code of the refusal.
async fn confirm(backend: &Local, intent: &str, card: &str) -> String {
    let path = format!("/v1/setup_intents/{intent}/confirm");
    let confirmed = stripe(backend, &path, &[("payment_method", card)]).await;
    let outcome = confirmed["status"].as_str();
    let outcome = outcome.or(confirmed["error"]["code"].as_str());
    outcome.unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_stripe_has_not_saved_is_not_attached() {
    let backend = start().await;
    let ada = ada_in_acme(&backend).await;
    let assert_refused = async |intent: &str, when: &str| {
        let refused = ada.gql(ATTACH, json!({ "id": intent })).await;
        let expected = json!({ "code": "CONFLICT", "reason": "card_not_saved" });
        assert_eq!(refused["errors"][0]["extensions"], expected, "{when}");
        assert_eq!(ada.data(CARDS, ()).await["cards"], json!([]), "{when}");
    };
    let intent = begin(&ada).await;
    assert_refused(&intent, "before it is confirmed").await;
    for (card, outcome) in [
        ("pm_card_chargeDeclined", "card_declined"),
        ("pm_card_authenticationRequired", "requires_action"),
    ] {
        assert_eq!(confirm(&backend, &intent, card).await, outcome);
        assert_refused(&intent, outcome).await;
    }
    // Another card saves it in the end.
    let card = attach(&backend, &ada, "pm_card_visa").await;
    assert_eq!(card["isDefault"], Value::Bool(true));
}
