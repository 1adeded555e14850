//! Taxes, as the development Stripe computes them: 20 %.

use serde_json::{Value, json};

use super::{CHANGE, INVOICES, PREVIEW, attach, listed, pending, priced, root, stripe};
use crate::support::{Browser, ada_in_acme, input, start_with_workers, text};

/// Subtotal, tax and total of an invoice.
fn amounts(invoice: &Value) -> [i64; 3] {
    ["subtotal", "tax", "total"].map(|name| invoice[name]["amount"].as_i64().unwrap())
}

async fn latest_invoice(ada: &Browser) -> [i64; 3] {
    let invoices = ada.data(INVOICES, ()).await;
    amounts(&invoices["billing"]["invoices"][0])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_is_taxed_as_its_preview_says_also_if_the_subscription_began_without_taxes() {
    let backend = start_with_workers(&["--stripe-tax", "automatic"]).await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    attach(&backend, &ada, "pm_card_visa").await;
    let customer = text(&listed(&backend, "customers").await[0], "/id");
    let country = [("address[country]", "DE")];
    stripe(&backend, &format!("/v1/customers/{customer}"), &country).await;
    let small = priced(&root, &ada, 1_000, "EUR").await;
    let large = priced(&root, &ada, 2_000, "EUR").await;
    ada.data(CHANGE, input(small)).await;
    pending(&ada, Value::Null).await;
    assert_eq!(latest_invoice(&ada).await, [1_000, 200, 1_200]);

    // As if it had begun before the setting was made.
    let subscription = text(&listed(&backend, "subscriptions").await[0], "/id");
    let path = format!("/v1/subscriptions/{subscription}");
    let untaxed = stripe(&backend, &path, &[("automatic_tax[enabled]", "false")]).await;
    assert_eq!(untaxed["automatic_tax"]["enabled"], false, "{untaxed}");
    let preview = ada.data(PREVIEW, input(large.clone())).await;
    let preview = &preview["billing"]["previewChange"];
    assert_eq!(preview["next"]["amount"], 2_400, "{preview}");

    ada.data(CHANGE, input(large)).await;
    pending(&ada, Value::Null).await;
    let [subtotal, tax, total] = latest_invoice(&ada).await;
    // The difference for nearly the whole period.
    assert!((990..=1_000).contains(&subtotal), "{subtotal}");
    assert_eq!((tax, total), ((subtotal + 2) / 5, subtotal + tax));
    let due_now = preview["dueNow"]["amount"].as_i64().unwrap();
    assert!((due_now - total).abs() <= 1, "{due_now} {total}");
    let upcoming = "{
        billing {
            upcomingInvoice { subtotal { amount } tax { amount } total { amount } }
        }
    }";
    let upcoming = ada.data(upcoming, ()).await;
    let upcoming = &upcoming["billing"]["upcomingInvoice"];
    assert_eq!(amounts(upcoming), [2_000, 400, 2_400]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_country_a_preview_and_a_change_ask_for_the_address() {
    let backend = start_with_workers(&["--stripe-tax", "automatic"]).await;
    let (root, ada) = tokio::join!(root(&backend), ada_in_acme(&backend));
    attach(&backend, &ada, "pm_card_visa").await;
    let customer = text(&listed(&backend, "customers").await[0], "/id");
    let path = format!("/v1/customers/{customer}");
    stripe(&backend, &path, &[("address[country]", "DE")]).await;
    let team = priced(&root, &ada, 900, "EUR").await;
    stripe(&backend, &path, &[("address", "")]).await;
    let refused = ada.gql(PREVIEW, input(team.clone())).await;
    let expected = json!({ "code": "CONFLICT", "reason": "address_missing" });
    assert_eq!(refused["errors"][0]["extensions"], expected, "{refused}");
    ada.data(CHANGE, input(team)).await;
    let failed = pending(&ada, json!("FAILED")).await;
    assert_eq!(failed["pendingChange"]["code"], "address_missing");
    let message = failed["pendingChange"]["message"].as_str().unwrap();
    assert!(message.contains("billing portal"), "{message}");
    assert!(listed(&backend, "subscriptions").await.is_empty());
}
