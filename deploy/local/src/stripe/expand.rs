//! Objects in place of their ids, as `expand[]=latest_invoice.payments` asks for.

use serde_json::Value;

use super::{account::Account, invoice, refusal::Refusal};

/// Maximum objects within each other.
const DEPTH: usize = 4;
/// The properties that a path may name.
const NAMES: [&str; 25] = [
    "confirmation_secret",
    "coupon",
    "customer",
    "data",
    "default_payment_method",
    "discounts",
    "invoice",
    "invoice_settings",
    "items",
    "latest_invoice",
    "lines",
    "parent",
    "payment",
    "payment_intent",
    "payment_method",
    "payments",
    "price",
    "price_details",
    "pricing",
    "product",
    "promotion",
    "promotion_code",
    "source",
    "subscription",
    "subscription_details",
];

/// Checks the paths before anything happens.
///
/// # Errors
/// If one names a property that cannot be expanded, or is too deep.
pub(super) fn ensure_possible(paths: &[String]) -> Result<(), Refusal> {
    for path in paths {
        let names = || path.split('.');
        if !names().all(|name| NAMES.contains(&name)) {
            let message = format!("This property cannot be expanded ({path}).");
            return Err(Refusal::invalid(message).param("expand"));
        }
        // `data` is the list itself, and not an object of it.
        if names().filter(|name| *name != "data").count() > DEPTH {
            let message = "You cannot expand more than 4 levels of a property.";
            return Err(Refusal::invalid(message).param("expand"));
        }
    }
    Ok(())
}

/// Puts the objects in place of their ids.
pub(super) fn expand(account: &Account, answer: &mut Value, paths: &[String]) {
    for path in paths {
        let names: Vec<&str> = path.split('.').collect();
        follow(account, answer, &names);
    }
}

fn follow(account: &Account, object: &mut Value, names: &[&str]) {
    let Some((name, rest)) = names.split_first() else {
        return;
    };
    add_on_demand(account, object, name);
    let Some(property) = object.get_mut(*name) else {
        return;
    };
    match property {
        Value::Array(elements) => {
            for element in elements {
                put(account, element);
                follow(account, element, rest);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            put(account, property);
            follow(account, property, rest);
        }
    }
}

/// Adds what an invoice has only if it is asked for.
fn add_on_demand(account: &Account, object: &mut Value, name: &str) {
    if object["object"] != "invoice" {
        return;
    }
    let id = object["id"].as_str().unwrap_or_default();
    let added = match name {
        "payments" => invoice::payments(account, id),
        "confirmation_secret" => invoice::confirmation_secret(account, id),
        _ => return,
    };
    object[name] = added.into();
}

fn put(account: &Account, property: &mut Value) {
    let found = property.as_str().and_then(|id| account.find(id));
    if let Some(found) = found {
        *property = found;
    }
}
