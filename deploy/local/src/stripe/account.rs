//! Everything that this Stripe knows: one account in test mode.

use events_schema::secret::derived_id;
use serde_json::{Value, json};

use super::{
    customer::Customer,
    event::Event,
    idempotency::Answers,
    invoice::Invoice,
    meter::{Meter, MeterEvent},
    object::{Object, Table},
    payment_intent::PaymentIntent,
    payment_method::PaymentMethod,
    price::Price,
    product::Product,
    promotion::{Coupon, Discount, PromotionCode},
    setup_intent::SetupIntent,
    subscription::Subscription,
    webhook_endpoint::WebhookEndpoint,
};

/// The objects, and the time.
pub(super) struct Account {
    /// Seconds since 1970. It runs with the machine's clock, and tests advance it.
    pub(super) now: i64,
    /// The address of this service, for links, without a slash at the end.
    pub(super) url: String,
    /// Differs for each account, so that ids of an earlier one are unknown and not mistaken.
    pub(super) run: String,
    /// The number of ids that were given out.
    pub(super) created: u64,
    pub(super) answers: Answers,
    pub(super) customers: Table<Customer>,
    pub(super) products: Table<Product>,
    pub(super) prices: Table<Price>,
    pub(super) payment_methods: Table<PaymentMethod>,
    pub(super) setup_intents: Table<SetupIntent>,
    pub(super) payment_intents: Table<PaymentIntent>,
    pub(super) subscriptions: Table<Subscription>,
    pub(super) invoices: Table<Invoice>,
    pub(super) coupons: Table<Coupon>,
    pub(super) promotion_codes: Table<PromotionCode>,
    pub(super) discounts: Table<Discount>,
    pub(super) meters: Table<Meter>,
    pub(super) meter_events: Vec<MeterEvent>,
    pub(super) webhook_endpoints: Table<WebhookEndpoint>,
    pub(super) events: Table<Event>,
    /// Ids of events that are not on their way to the webhooks yet.
    pub(super) undelivered: Vec<String>,
    /// What caused the events of the current request.
    pub(super) cause: Cause,
}

/// The request that causes events; empty for those that time causes.
#[derive(Clone, Default)]
pub(super) struct Cause {
    pub(super) request: Option<String>,
    pub(super) idempotency_key: Option<String>,
}

impl Account {
    /// Returns an account without any object.
    pub(super) fn new(now: i64) -> Self {
        Self {
            now,
            url: String::new(),
            run: random(),
            created: 0,
            answers: Answers::default(),
            customers: Table::new(),
            products: Table::new(),
            prices: Table::new(),
            payment_methods: Table::new(),
            setup_intents: Table::new(),
            payment_intents: Table::new(),
            subscriptions: Table::new(),
            invoices: Table::new(),
            coupons: Table::new(),
            promotion_codes: Table::new(),
            discounts: Table::new(),
            meters: Table::new(),
            meter_events: Vec::new(),
            webhook_endpoints: Table::new(),
            events: Table::new(),
            undelivered: Vec::new(),
            cause: Cause::default(),
        }
    }

    /// Returns an id that is above all earlier ones of this kind.
    pub(super) fn new_id(&mut self, prefix: &str) -> String {
        self.created += 1;
        format!("{prefix}_{:08}{}", self.created, self.run)
    }

    /// Returns a secret with which a browser may confirm this object.
    pub(super) fn new_client_secret(&self, id: &str) -> String {
        format!("{id}_secret_{}", self.secret_of(id))
    }

    /// Returns a secret that follows from the account and this id: a journal that is read again
    /// leads to the same.
    pub(super) fn secret_of(&self, id: &str) -> String {
        derived_id(&[self.run.as_bytes(), id.as_bytes()]).to_string()
    }

    /// Records that an object was created, or that something happened to it.
    pub(super) fn happened(&mut self, kind: &str, object: Value) {
        self.record(kind, json!({ "object": object }));
    }

    /// Records that an object has changed, if it has.
    pub(super) fn changed(&mut self, kind: &str, before: &Value, after: Value) {
        let previous = previous(before, &after);
        if previous != json!({}) {
            let data = json!({ "object": after, "previous_attributes": previous });
            self.record(kind, data);
        }
    }

    fn record(&mut self, kind: &str, data: Value) {
        let event = Event {
            id: self.new_id("evt"),
            created: self.now,
            kind: kind.to_owned(),
            data,
            request: self.cause.clone(),
        };
        self.undelivered.push(event.id.clone());
        self.events.insert(event.id.clone(), event);
    }

    /// Returns an object by its id, of whatever kind.
    pub(super) fn find(&self, id: &str) -> Option<Value> {
        fn shown<T: Object>(table: &Table<T>, id: &str) -> Option<Value> {
            table.get(id).map(Object::shown)
        }
        match id.split('_').next().unwrap_or_default() {
            "cus" => shown(&self.customers, id),
            "price" => shown(&self.prices, id),
            "pm" => shown(&self.payment_methods, id),
            "seti" => shown(&self.setup_intents, id),
            "pi" => shown(&self.payment_intents, id),
            "sub" => shown(&self.subscriptions, id),
            "in" => shown(&self.invoices, id),
            "di" => shown(&self.discounts, id),
            "promo" => shown(&self.promotion_codes, id),
            // Products and coupons may have ids that the caller chose.
            _ => shown(&self.products, id).or_else(|| shown(&self.coupons, id)),
        }
    }
}

/// Returns the earlier values of the fields that differ.
fn previous(before: &Value, after: &Value) -> Value {
    let mut previous = json!({});
    for (name, value) in before.as_object().into_iter().flatten() {
        if after.get(name) != Some(value) {
            previous[name] = value.clone();
        }
    }
    previous
}

/// Returns 16 hexadecimal digits.
pub(super) fn random() -> String {
    let mut bytes = [0; 8];
    // Without random bytes the ids are only less different from those of another start.
    getrandom::fill(&mut bytes).unwrap_or_default();
    data_encoding::HEXLOWER.encode(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_a_change_has_the_earlier_values() {
        let mut account = Account::new(5);
        let before = json!({ "name": "Ada", "email": "a@example.com", "phone": null });
        let after = json!({ "name": "Eve", "email": "a@example.com", "phone": "1" });
        account.changed("customer.updated", &before, after.clone());
        account.changed("customer.updated", &after, after.clone());
        let events: Vec<&Event> = account.events.values().collect();
        assert_eq!(events.len(), 1);
        assert_eq!(
            events[0].data["previous_attributes"],
            json!({ "name": "Ada", "phone": null })
        );
        assert_eq!(events[0].created, 5);
    }

    #[test]
    fn ids_rise_and_are_unknown_after_a_restart() {
        let (mut first, mut second) = (Account::new(0), Account::new(0));
        let ids = [first.new_id("cus"), first.new_id("cus")];
        assert!(ids[0] < ids[1]);
        assert_ne!(ids[0], second.new_id("cus"));
    }
}
