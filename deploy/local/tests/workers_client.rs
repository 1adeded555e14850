//! The client of the workers against the development Stripe, which refuses unknown parameters.
#![expect(
    clippy::unwrap_used,
    reason = "a test binary: it has no readers but its own, and panics when it fails"
)]

use events_schema::{
    Id, Name, PlanId, StripeCardId, StripeCustomerId, StripePriceId, TenantKey, Time,
    task::TASKS_CREATED,
};
use local::stripe::{SECRET_KEY, Stripe as DevelopmentStripe};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use workers::stripe::{
    Change, IdempotencyKey, Interval, NewCustomer, NewPrice, NewSubscription, OpenPayment,
    PreviewedChange, Proration, Rest, SetupIntentStatus, Stripe, StripeError, StripeOptions,
    StripeTax, Subscription, SubscriptionStatus, Timestamp, Trial, TrialChange, UnitAmount,
    UsageChange, product_id, product_of_meter,
};

const TENANT: TenantKey = TenantKey(Id::from_bytes([7; 16]));

/// The client, and the URL of the service.
struct World {
    stripe: Stripe,
    url: String,
    now: Timestamp,
}

impl World {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = DevelopmentStripe::new(&url);
        tokio::spawn(service.serve(listener, CancellationToken::new()));
        let options = StripeOptions {
            stripe_key: SECRET_KEY.parse().unwrap(),
            stripe_url: url.parse().unwrap(),
            stripe_tax: StripeTax::None,
            stripe_rate: 100,
        };
        Self {
            stripe: Stripe::new(&options).unwrap().unwrap(),
            url,
            now: Time::from(std::time::SystemTime::now()).into(),
        }
    }

    async fn customer(&self) -> StripeCustomerId {
        let name = Name::parse("Weavers").unwrap();
        let new = NewCustomer {
            tenant: TENANT,
            name,
        };
        let created = self.stripe.create_customer(key(1, "customer"), &new).await;
        created.unwrap().id
    }

    async fn price(&self, amount: i64) -> StripePriceId {
        let product = product_id(PlanId(Id::from_bytes([2; 16]))).unwrap();
        let made = self
            .stripe
            .create_product(key(2, "product"), &product, "Team");
        made.await.unwrap();
        let new = NewPrice {
            product,
            lookup_key: format!("ub_{amount}"),
            currency: "eur".to_owned(),
            amount: UnitAmount::Whole(amount),
            interval: Interval::Month,
        };
        let created = self.stripe.create_price(key(amount, "price"), &new).await;
        created.unwrap().id
    }

    /// Saves a card as the browser does, and makes it the default one.
    async fn save(&self, customer: &StripeCustomerId, card: &str) -> StripeCardId {
        let intent = self.stripe.create_setup_intent(customer).await.unwrap();
        assert!(intent.client_secret.is_some());
        let confirmed = reqwest::Client::new()
            .post(format!(
                "{}/v1/setup_intents/{}/confirm",
                self.url, intent.id
            ))
            .header("authorization", format!("Bearer {SECRET_KEY}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("payment_method={card}"));
        let confirmed = confirmed.send().await.unwrap();
        assert_eq!(confirmed.status().as_u16(), 200);
        let intent = self.stripe.setup_intent(&intent.id).await.unwrap();
        assert_eq!(intent.status, SetupIntentStatus::Succeeded);
        let card = intent.payment_method.unwrap();
        let key = key(3, card.as_str());
        let set = self.stripe.set_default_card(key, customer, &card).await;
        assert_eq!(set.unwrap().default_card(), Some(&card));
        card
    }

    async fn subscribe(
        &self,
        customer: &StripeCustomerId,
        price: &StripePriceId,
        trial: Trial,
    ) -> Result<Subscription, StripeError> {
        let new = NewSubscription {
            customer: customer.clone(),
            price: price.clone(),
            quantity: 2,
            usage: Vec::new(),
            trial,
            promotion_code: None,
            payment: OpenPayment::Decline,
            request: Id::from_bytes([4; 16]),
        };
        let key = key(4, customer.as_str());
        self.stripe.create_subscription(key, &new).await
    }
}

fn key(number: i64, step: &str) -> IdempotencyKey {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    IdempotencyKey::new(Id::from_bytes(bytes), step)
}

#[tokio::test]
async fn customers_and_prices_are_created_once_and_found() {
    let world = World::start().await;
    let customer = world.customer().await;
    assert_eq!(world.customer().await, customer);
    let found = world.stripe.find_customer(TENANT, world.now).await.unwrap();
    assert_eq!(found.unwrap().id, customer);
    let other = TenantKey(Id::from_bytes([8; 16]));
    let found = world.stripe.find_customer(other, world.now).await.unwrap();
    assert_eq!(found, None);
    assert!(!world.stripe.customer(&customer).await.unwrap().deleted);

    let price = world.price(900).await;
    assert_eq!(world.price(900).await, price);
    let keys = ["ub_900".to_owned(), "ub_901".to_owned()];
    let found = world.stripe.prices(&keys).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].id, found[0].unit_amount), (&price, Some(900)));
}

#[tokio::test]
async fn a_subscription_is_paid_changed_and_ended() {
    let world = World::start().await;
    let stripe = &world.stripe;
    let (customer, cheap) = (world.customer().await, world.price(900).await);
    let card = world.save(&customer, "pm_card_visa").await;
    let begun = world.subscribe(&customer, &cheap, Trial::None).await;
    let begun = begun.unwrap();
    assert_eq!(begun.status, SubscriptionStatus::Active);
    assert!(begun.was_requested_by(Id::from_bytes([4; 16])));
    let invoice = begun.latest_invoice.as_ref().unwrap();
    let invoice = stripe.invoice(invoice).await.unwrap();
    assert_eq!((invoice.total, invoice.tax()), (1800, 0));

    let dear = world.price(2000).await;
    let item = begun.item().unwrap().id.clone();
    let previewed = PreviewedChange {
        customer: Some(customer.clone()),
        subscription: Some((begun.id.clone(), item.clone())),
        price: dear.clone(),
        quantity: 3,
        usage: Vec::new(),
        trial: TrialChange::Keep,
        promotion_code: None,
        proration_date: world.now,
    };
    assert_eq!(stripe.preview_next(&previewed).await.unwrap().total, 6000);
    assert!(stripe.preview_now(&previewed).await.unwrap().total > 0);
    for payment in [OpenPayment::Decline, OpenPayment::Wait] {
        let change = Change {
            item: item.clone(),
            price: dear.clone(),
            quantity: 3,
            usage: Vec::new(),
            proration: Proration::Now { from: None },
            trial: TrialChange::Keep,
            payment,
            discount: None,
        };
        let key = key(5, &format!("{payment:?}"));
        let changed = stripe.change_subscription(key, &begun.id, &change).await;
        let changed = changed.unwrap();
        assert_eq!(changed.item().unwrap().price.id, dear);
        assert!(!changed.has_pending_update());
    }
    for (number, ends) in [(6, true), (7, false)] {
        let changed = stripe
            .end_with_period(key(number, "end"), &begun.id, ends)
            .await;
        assert_eq!(changed.unwrap().cancel_at.is_some(), ends);
    }
    let canceled = stripe
        .cancel_subscription(&begun.id, Rest::Charged)
        .await
        .unwrap();
    assert_eq!(canceled.status, SubscriptionStatus::Canceled);
    let again = stripe
        .cancel_subscription(&begun.id, Rest::Charged)
        .await
        .unwrap_err();
    assert!(again.is_missing(), "{again}");
    let all = stripe.subscriptions(&customer).all().await.unwrap();
    assert_eq!(all.len(), 1);
    assert!(all[0].ended_at.is_some());
    assert!(!stripe.invoices(&customer).all().await.unwrap().is_empty());

    let cards = stripe.cards(&customer).all().await.unwrap();
    assert_eq!(cards[0].card.as_ref().unwrap().last4, "4242");
    let detached = stripe.detach_card(key(8, "detach"), &card).await.unwrap();
    assert_eq!(detached.customer, None);
}

#[tokio::test]
async fn usage_is_added_to_a_subscription_and_removed() {
    let world = World::start().await;
    let stripe = &world.stripe;
    let (customer, price) = (world.customer().await, world.price(900).await);
    world.save(&customer, "pm_card_visa").await;
    let begun = world.subscribe(&customer, &price, Trial::None).await;
    let begun = begun.unwrap();
    let product = product_of_meter(TASKS_CREATED).unwrap();
    let made = stripe.create_product(key(9, "product"), &product, "Tasks created");
    made.await.unwrap();
    let meter = stripe.meter(TASKS_CREATED).await.unwrap().id;
    let new = NewPrice {
        product,
        lookup_key: "ub_tasks".to_owned(),
        currency: "eur".to_owned(),
        amount: UnitAmount::Metered {
            decimal: "0.5".to_owned(),
            meter,
        },
        interval: Interval::Month,
    };
    let usage = stripe.create_price(key(10, "price"), &new).await.unwrap();
    assert_eq!(usage.unit_amount_decimal.as_deref(), Some("0.5"));
    assert!(usage.is_metered());
    let add = [UsageChange::Add(usage.id.clone())];
    let added = stripe.change_usage(key(11, "add"), &begun.id, &add).await;
    let added = added.unwrap();
    assert_eq!(added.item().unwrap().price.id, price);
    let item = added.usage_items().next().unwrap();
    assert_eq!((&item.price.id, item.quantity), (&usage.id, None));
    let remove = [UsageChange::Remove(item.id.clone())];
    let removed = stripe
        .change_usage(key(12, "remove"), &begun.id, &remove)
        .await;
    assert_eq!(removed.unwrap().usage_items().count(), 0);
}

#[tokio::test]
async fn a_declined_card_leaves_no_subscription() {
    let world = World::start().await;
    let (customer, price) = (world.customer().await, world.price(900).await);
    world.save(&customer, "pm_card_chargeCustomerFail").await;
    let declined = world.subscribe(&customer, &price, Trial::None).await;
    let declined = declined.unwrap_err();
    assert!(
        matches!(declined, StripeError::Declined { .. }),
        "{declined:?}"
    );
    let all = world.stripe.subscriptions(&customer).all().await.unwrap();
    assert_eq!(all, []);
}

#[tokio::test]
async fn a_trial_needs_no_card() {
    let world = World::start().await;
    let (customer, price) = (world.customer().await, world.price(900).await);
    let end = Timestamp(world.now.0 + 14 * 24 * 60 * 60);
    let trial = world.subscribe(&customer, &price, Trial::Days(14)).await;
    let trial = trial.unwrap();
    assert_eq!(trial.status, SubscriptionStatus::Trialing);
    let late = trial.trial_end.unwrap().0 - end.0;
    assert!((0..60).contains(&late), "{late} s");
}

#[tokio::test]
async fn links_are_read() {
    let world = World::start().await;
    let customer = world.customer().await;
    let back = "http://127.0.0.1:9900/billing";
    let link = world.stripe.portal_link(&customer, back).await.unwrap();
    assert!(link.reveal().starts_with("http"));
}

#[tokio::test]
async fn a_wrong_key_is_not_accepted() {
    let world = World::start().await;
    let options = StripeOptions {
        stripe_key: "sk_test_wrong".parse().unwrap(),
        stripe_url: world.url.parse().unwrap(),
        stripe_tax: StripeTax::None,
        stripe_rate: 100,
    };
    let stripe = Stripe::new(&options).unwrap().unwrap();
    let refused = stripe.find_customer(TENANT, world.now).await.unwrap_err();
    assert!(matches!(refused, StripeError::Key(_)), "{refused:?}");
    assert!(!refused.to_string().contains("sk_test"), "{refused}");
}
