//! Usage: what is counted is on invoices.

use serde_json::Value;

use super::running::{Running, id};

/// A meter and its price for a customer.
struct Metered {
    stripe: Running,
    customer: String,
    meter: String,
    price: String,
}

async fn metered_price(stripe: &Running, meter: &str, per_unit: &str) -> String {
    let form = format!(
        "currency=usd&{per_unit}&product_data[name]=Tasks&recurring[interval]=month\
         &recurring[usage_type]=metered&recurring[meter]={meter}"
    );
    id(&stripe.ok("/v1/prices", &form).await)
}

impl Metered {
    async fn start(per_unit: &str) -> Self {
        let stripe = Running::start().await;
        let customer = stripe.customer("pm_card_visa").await;
        let form = "display_name=Tasks&event_name=tasks&default_aggregation[formula]=sum";
        let meter = id(&stripe.ok("/v1/billing/meters", form).await);
        let price = metered_price(&stripe, &meter, per_unit).await;
        Self {
            stripe,
            customer,
            meter,
            price,
        }
    }

    /// Creates another price for the same usage.
    async fn other_price(&self, per_unit: &str) -> String {
        metered_price(&self.stripe, &self.meter, per_unit).await
    }

    /// Subscribes to usage and to something that costs five dollars a month.
    async fn subscribe(&self, further: &str) -> String {
        let fixed = self.stripe.price("usd", 500).await;
        let further = format!("&items[1][price]={}{further}", self.price);
        let subscription = self
            .stripe
            .subscribe(&self.customer, &fixed, &further)
            .await;
        id(&subscription)
    }

    fn report(&self, units: i64, identifier: &str) -> String {
        format!(
            "event_name=tasks&payload[stripe_customer_id]={}&payload[value]={units}\
             &identifier={identifier}",
            self.customer
        )
    }

    async fn use_units(&self, units: i64, identifier: &str) {
        let report = self.report(units, identifier);
        self.stripe.ok("/v1/billing/meter_events", &report).await;
    }

    async fn upcoming(&self, subscription: &str) -> Value {
        let form = format!("subscription={subscription}");
        let upcoming = self.stripe.ok("/v1/invoices/create_preview", &form).await;
        upcoming["total"].clone()
    }

    /// The totals of all invoices, the latest first.
    async fn totals(&self) -> Vec<i64> {
        let list = self.stripe.read("/v1/invoices?limit=100").await;
        let list = list["data"].as_array().unwrap().iter();
        let totals = list.map(|invoice| invoice["total"].as_i64().unwrap());
        totals.collect()
    }
}

#[tokio::test]
async fn usage_of_a_period_is_on_the_invoice_after_it() {
    let metered = Metered::start("unit_amount=7").await;
    let subscription = metered.subscribe("").await;
    metered.use_units(12, "a").await;
    metered.use_units(3, "b").await;
    let again = metered.report(3, "b");
    let error = metered
        .stripe
        .refused("/v1/billing/meter_events", &again)
        .await;
    assert_eq!(error["param"], "identifier");
    assert_eq!(metered.upcoming(&subscription).await, 605);
    metered.stripe.pass_days(32).await;
    assert_eq!(metered.totals().await, [605, 500]);
    metered.stripe.pass_days(31).await;
    assert_eq!(metered.totals().await, [500, 605, 500]);
}

#[tokio::test]
async fn a_unit_may_cost_a_part_of_a_cent_and_the_sum_is_rounded() {
    let metered = Metered::start("unit_amount_decimal=0.05").await;
    let price = metered
        .stripe
        .read(&format!("/v1/prices/{}", metered.price))
        .await;
    assert!(price["unit_amount"].is_null(), "{price}");
    assert_eq!(price["unit_amount_decimal"], "0.05");
    let subscription = metered.subscribe("").await;
    for (units, identifier, expected) in [(9, "a", 500), (1, "b", 501), (20, "c", 502)] {
        metered.use_units(units, identifier).await;
        assert_eq!(metered.upcoming(&subscription).await, expected);
    }
}

#[tokio::test]
async fn usage_during_a_trial_costs_nothing() {
    let metered = Metered::start("unit_amount=7").await;
    let subscription = metered.subscribe("&trial_period_days=14").await;
    metered.use_units(10, "a").await;
    assert_eq!(metered.upcoming(&subscription).await, 500);
    metered.stripe.pass_days(15).await;
    assert_eq!(metered.totals().await, [500, 0]);
    metered.use_units(10, "b").await;
    assert_eq!(metered.upcoming(&subscription).await, 570);
}

#[tokio::test]
async fn the_usage_of_the_last_period_is_paid_at_its_end() {
    let metered = Metered::start("unit_amount=7").await;
    let subscription = metered.subscribe("").await;
    metered.use_units(10, "a").await;
    let path = format!("/v1/subscriptions/{subscription}");
    metered.stripe.ok(&path, "cancel_at_period_end=true").await;
    assert_eq!(metered.upcoming(&subscription).await, 70);
    metered.stripe.pass_days(32).await;
    assert_eq!(metered.stripe.read(&path).await["status"], "canceled");
    assert_eq!(metered.totals().await, [70, 500]);
}

#[tokio::test]
async fn usage_before_another_price_is_charged_unless_nobody_wants_it_or_the_mode_is_classic() {
    for (mode, behavior, (upcoming, invoices)) in [
        ("flexible", "create_prorations", (570, &[570, 500][..])),
        ("flexible", "always_invoice", (500, &[500, 70, 500])),
        ("flexible", "none", (500, &[500, 500])),
        ("classic", "create_prorations", (500, &[500, 500])),
    ] {
        for is_replaced in [true, false] {
            let metered = Metered::start("unit_amount=7").await;
            let mode = format!("&billing_mode[type]={mode}");
            let subscription = metered.subscribe(&mode).await;
            metered.use_units(10, "a").await;
            metered.stripe.pass_days(1).await;
            let path = format!("/v1/subscriptions/{subscription}");
            let present = metered.stripe.read(&path).await;
            let item = id(&present["items"]["data"][1]);
            let change = match is_replaced {
                true => format!("price]={}", metered.other_price("unit_amount=9").await),
                false => "deleted]=true".to_owned(),
            };
            let form =
                format!("items[0][id]={item}&items[0][{change}&proration_behavior={behavior}");
            metered.stripe.ok(&path, &form).await;
            assert_eq!(metered.upcoming(&subscription).await, upcoming, "{form}");
            metered.stripe.pass_days(31).await;
            assert_eq!(metered.totals().await, invoices, "{form}");
        }
    }
}

#[tokio::test]
async fn an_end_at_once_asks_for_the_usage_only_if_it_is_wanted() {
    for (wanted, expected) in [("false", &[500][..]), ("true", &[70, 500])] {
        let metered = Metered::start("unit_amount=7").await;
        let subscription = metered.subscribe("").await;
        metered.use_units(10, "a").await;
        // The time of an event is before that of the end.
        metered.stripe.pass_days(1).await;
        let path = format!("/v1/subscriptions/{subscription}?invoice_now={wanted}");
        metered.stripe.delete(&path).await;
        assert_eq!(metered.totals().await, expected);
    }
}
