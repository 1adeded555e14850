//! An event of Stripe as it is stored in the stream `STRIPE`: which object has changed, and whose it
//! is. Gateways verify and store it. Workers then ask Stripe what has become of the object, so
//! nothing else of the event is kept.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Id, Invalid, StripeCustomerId, StripeEventId, StripeObjectId, Time, secret::derived_id,
};

/// Longest name of a type of event, in characters.
const MAX_KIND: usize = 200;

/// Tells that something has changed at Stripe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StripeHook {
    pub id: StripeEventId,
    /// The type, such as `customer.subscription.updated`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it is about real money.
    pub live: bool,
    /// The customer to whom the object belongs, or who it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<StripeCustomerId>,
    /// The object that has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<StripeObjectId>,
    pub received_at: Time,
}

#[derive(Deserialize)]
struct Body {
    id: StripeEventId,
    #[serde(rename = "type")]
    kind: String,
    livemode: bool,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    object: Value,
    #[serde(default)]
    id: Value,
    #[serde(default)]
    customer: Value,
}

impl StripeHook {
    /// Reads the body of a verified request of Stripe.
    ///
    /// # Errors
    /// If it is no event.
    pub fn read(body: &[u8], received_at: Time) -> Result<Self, Invalid> {
        let body: Body =
            serde_json::from_slice(body).map_err(|_| Invalid("must be an event of Stripe"))?;
        let is_name = |kind: &str| {
            (1..=MAX_KIND).contains(&kind.len()) && kind.bytes().all(|c| c.is_ascii_graphic())
        };
        if !is_name(&body.kind) {
            return Err(Invalid("must have a type"));
        }
        let Object {
            object: kind,
            id,
            customer,
        } = body.data.object;
        let customer = if kind == "customer" { &id } else { &customer };
        let customer = customer
            .as_str()
            .and_then(|id| StripeCustomerId::parse(id).ok());
        Ok(Self {
            id: body.id,
            kind: body.kind,
            live: body.livemode,
            customer,
            object: id.as_str().and_then(|id| StripeObjectId::parse(id).ok()),
            received_at,
        })
    }

    /// Returns the id by which the stream knows an event. Ids of Stripe may have dots, which
    /// subjects use otherwise.
    pub fn key(id: &StripeEventId) -> Id {
        derived_id(&[b"stripe-event", id.as_str().as_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(object: &Value) -> Result<StripeHook, Invalid> {
        let body = json!({
            "id": "evt_1", "type": "customer.subscription.updated", "livemode": false,
            "data": { "object": object, "previous_attributes": { "status": "trialing" } },
        });
        StripeHook::read(body.to_string().as_bytes(), Time(5))
    }

    #[test]
    fn an_event_tells_whose_object_has_changed_and_nothing_else() {
        let subscription = json!({
            "object": "subscription", "id": "sub_1", "customer": "cus_1", "status": "active",
        });
        let stored = serde_json::to_value(read(&subscription).unwrap()).unwrap();
        let expected = json!({
            "id": "evt_1", "type": "customer.subscription.updated", "live": false,
            "customer": "cus_1", "object": "sub_1", "received_at": 5,
        });
        assert_eq!(stored, expected);
    }

    #[test]
    fn a_customer_is_its_own_customer() {
        let event = read(&json!({ "object": "customer", "id": "cus_1" })).unwrap();
        assert_eq!(event.customer.unwrap().as_str(), "cus_1");
    }

    #[test]
    fn an_object_without_a_usable_id_or_customer_has_none() {
        for object in [
            json!({ "object": "price", "id": null, "customer": null }),
            json!({ "object": "invoice", "id": "pi_1_secret_2", "customer": { "id": "cus_1" } }),
        ] {
            let event = read(&object).unwrap();
            assert_eq!((event.customer, event.object), (None, None), "{object}");
        }
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let long = "x".repeat(MAX_KIND + 1);
        for body in [
            json!([]),
            json!({ "id": "evt_1", "type": "a", "livemode": true }),
            json!({ "id": "a/b", "type": "a", "livemode": true, "data": { "object": {} } }),
            json!({ "id": "evt_1", "type": "", "livemode": true, "data": { "object": {} } }),
            json!({ "id": "evt_1", "type": long, "livemode": true, "data": { "object": {} } }),
        ] {
            let read = StripeHook::read(body.to_string().as_bytes(), Time(0));
            assert!(read.is_err(), "{body}");
        }
    }
}
