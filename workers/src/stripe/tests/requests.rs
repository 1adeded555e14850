//! Each request is the one that async-stripe makes: it is generated from Stripe's own description,
//! so a wrong path or parameter differs.

mod usage;

use std::collections::HashMap;

use events_schema::{
    Id, PromotionCode, StripeCardId, StripeCustomerId, StripeInvoiceId, StripeItemId,
    StripePriceId, StripeProductId, StripePromotionCodeId, StripeSetupIntentId,
    StripeSubscriptionId,
};
use stripe_billing::{
    billing_portal_session::CreateBillingPortalSession,
    invoice::{
        CreatePreviewInvoice, CreatePreviewInvoiceAutomaticTax, CreatePreviewInvoiceDiscounts,
        CreatePreviewInvoicePreviewMode, CreatePreviewInvoiceSubscriptionDetails,
        CreatePreviewInvoiceSubscriptionDetailsItems,
        CreatePreviewInvoiceSubscriptionDetailsProrationBehavior,
        CreatePreviewInvoiceSubscriptionDetailsTrialEnd, ListInvoice, RetrieveInvoice,
        VoidInvoiceInvoice,
    },
    subscription::{
        CancelSubscription, CreateSubscription, CreateSubscriptionAutomaticTax,
        CreateSubscriptionBillingMode, CreateSubscriptionBillingModeType, CreateSubscriptionItems,
        CreateSubscriptionPaymentBehavior, CreateSubscriptionTrialSettings,
        CreateSubscriptionTrialSettingsEndBehavior,
        CreateSubscriptionTrialSettingsEndBehaviorMissingPaymentMethod, DiscountsDataParam,
        ListSubscription, ListSubscriptionStatus, RetrieveSubscription, UpdateSubscription,
        UpdateSubscriptionAutomaticTax, UpdateSubscriptionItems, UpdateSubscriptionPaymentBehavior,
        UpdateSubscriptionProrationBehavior, UpdateSubscriptionTrialEnd,
    },
};
use stripe_client_core::{StripeMethod, StripeRequest};
use stripe_core::{
    customer::{
        CreateCustomer, ListCustomer, RetrieveCustomer, UpdateCustomer,
        UpdateCustomerInvoiceSettings,
    },
    setup_intent::{CreateSetupIntent, CreateSetupIntentUsage, RetrieveSetupIntent},
};
use stripe_payment::payment_method::{
    AttachPaymentMethod, DetachPaymentMethod, ListPaymentMethod, ListPaymentMethodType,
};
use stripe_product::{
    price::{
        CreatePrice, CreatePriceRecurring, CreatePriceRecurringInterval, ListPrice, UpdatePrice,
    },
    product::CreateProduct,
    promotion_code::ListPromotionCode,
};
use stripe_shared::{InvoiceStatus, SetupIntentAllowedPaymentMethodTypes};
use stripe_types::{Currency, RangeBoundsTs, RangeQueryTs};
use url::form_urlencoded;

use super::{TENANT, key, weaver};
use crate::stripe::{
    Change, Interval, NewDiscount, NewPrice, NewSubscription, OpenPayment, PreviewedChange,
    Proration, Rest, StripeTax, Timestamp, Trial, TrialChange, UnitAmount, cards, customers,
    invoices, portal, prices, promotions, request::Request, subscriptions, taxes,
};

const NOW: i64 = 1_795_000_000;

fn same(ours: &Request, theirs: &impl StripeRequest) {
    let theirs = theirs.build();
    let method = match theirs.method {
        StripeMethod::Get => "GET",
        StripeMethod::Post => "POST",
        StripeMethod::Delete => "DELETE",
    };
    assert_eq!(ours.method.as_str(), method);
    assert_eq!(ours.path, theirs.path);
    let forms = [theirs.query, theirs.body];
    let form = forms
        .iter()
        .flatten()
        .map(String::as_str)
        .collect::<String>();
    assert_eq!(sorted(&ours.form()), sorted(&form), "{}", ours.path);
}

fn sorted(form: &str) -> Vec<(String, String)> {
    let pairs = form_urlencoded::parse(form.as_bytes());
    let mut pairs: Vec<_> = pairs.into_owned().collect();
    pairs.sort();
    pairs
}

fn customer() -> StripeCustomerId {
    StripeCustomerId::parse("cus_1").unwrap()
}

fn card() -> StripeCardId {
    StripeCardId::parse("pm_1").unwrap()
}

fn subscription() -> StripeSubscriptionId {
    StripeSubscriptionId::parse("sub_1").unwrap()
}

fn item() -> StripeItemId {
    StripeItemId::parse("si_1").unwrap()
}

fn price() -> StripePriceId {
    StripePriceId::parse("price_1").unwrap()
}

fn since() -> RangeQueryTs {
    RangeQueryTs::Bounds(RangeBoundsTs {
        gte: Some(NOW),
        ..RangeBoundsTs::default()
    })
}

#[test]
fn requests_about_customers_are_as_generated() {
    let metadata = HashMap::from([("ub_tenant".to_owned(), TENANT.to_string())]);
    let theirs = CreateCustomer::new().name("Ada & Söhne").metadata(metadata);
    same(&customers::create(key(), &weaver()), &theirs);

    let theirs = ListCustomer::new().created(since());
    same(&customers::list(Timestamp(NOW)), &theirs);
    same(
        &customers::retrieve(&customer()),
        &RetrieveCustomer::new("cus_1"),
    );

    let mut settings = UpdateCustomerInvoiceSettings::new();
    settings.default_payment_method = Some("pm_1".to_owned());
    let theirs = UpdateCustomer::new("cus_1").invoice_settings(settings);
    same(
        &customers::default_card(key(), &customer(), &card()),
        &theirs,
    );
}

#[test]
fn requests_about_prices_are_as_generated() {
    let product = StripeProductId::parse("ub_1").unwrap();
    let theirs = CreateProduct::new("Loom").id("ub_1");
    same(&prices::create_product(key(), &product, "Loom"), &theirs);

    let ours = NewPrice {
        product,
        lookup_key: "ub_1_2_eur_month".to_owned(),
        currency: "eur".to_owned(),
        amount: UnitAmount::Whole(9_007_199_254_740_991),
        interval: Interval::Month,
    };
    let recurring = CreatePriceRecurring::new(CreatePriceRecurringInterval::Month);
    let theirs = CreatePrice::new(Currency::EUR)
        .lookup_key("ub_1_2_eur_month")
        .product("ub_1")
        .recurring(recurring)
        .unit_amount(9_007_199_254_740_991_i64);
    same(&prices::create_price(key(), &ours), &theirs);

    let id = StripePriceId::parse("price_1").unwrap();
    let theirs = UpdatePrice::new("price_1").active(true);
    same(&prices::activate_price(key(), &id), &theirs);

    let keys = ["a".to_owned(), "b".to_owned()];
    let theirs = ListPrice::new().lookup_keys(keys.clone());
    same(&prices::list_prices(&keys), &theirs);
}

fn new_subscription(trial: Trial, promotion_code: Option<&str>) -> NewSubscription {
    NewSubscription {
        customer: customer(),
        price: price(),
        quantity: 3,
        usage: Vec::new(),
        trial,
        promotion_code: promotion_code.map(|code| StripePromotionCodeId::parse(code).unwrap()),
        payment: OpenPayment::Decline,
        request: Id::from_bytes([7; 16]),
    }
}

fn their_subscription() -> CreateSubscription {
    let mut item = CreateSubscriptionItems::new();
    item.price = Some("price_1".to_owned());
    item.quantity = Some(3);
    let request = Id::from_bytes([7; 16]).to_string();
    CreateSubscription::new()
        .customer("cus_1")
        .items([item])
        .billing_mode(CreateSubscriptionBillingMode::new(
            CreateSubscriptionBillingModeType::Flexible,
        ))
        .payment_behavior(CreateSubscriptionPaymentBehavior::ErrorIfIncomplete)
        .metadata(HashMap::from([("ub_request".to_owned(), request)]))
}

#[test]
fn requests_for_new_subscriptions_are_as_generated() {
    let ours = new_subscription(Trial::None, None);
    let declining = subscriptions::create(key(), &ours, StripeTax::None);
    same(&declining, &their_subscription());

    let waiting = NewSubscription {
        payment: OpenPayment::Wait,
        ..ours
    };
    let waiting = subscriptions::create(key(), &waiting, StripeTax::None);
    let behavior = CreateSubscriptionPaymentBehavior::AllowIncomplete;
    same(&waiting, &their_subscription().payment_behavior(behavior));

    let ours = new_subscription(Trial::Days(14), Some("promo_1"));
    let mut discount = DiscountsDataParam::new();
    discount.promotion_code = Some("promo_1".to_owned());
    let mut end = CreateSubscriptionTrialSettingsEndBehavior::new();
    end.missing_payment_method =
        Some(CreateSubscriptionTrialSettingsEndBehaviorMissingPaymentMethod::Cancel);
    let theirs = their_subscription()
        .trial_period_days(14_u32)
        .trial_settings(CreateSubscriptionTrialSettings::new(end))
        .discounts([discount])
        .automatic_tax(CreateSubscriptionAutomaticTax::new(true));
    let ours = subscriptions::create(key(), &ours, StripeTax::Automatic);
    same(&ours, &theirs);
}

#[test]
fn requests_that_change_subscriptions_are_as_generated() {
    let mut change = Change {
        item: item(),
        price: price(),
        quantity: 3,
        usage: Vec::new(),
        proration: Proration::None,
        trial: TrialChange::Keep,
        payment: OpenPayment::Decline,
        discount: Some(discount()),
    };
    let mut item = UpdateSubscriptionItems::new();
    item.id = Some("si_1".to_owned());
    item.price = Some("price_1".to_owned());
    item.quantity = Some(3);
    let theirs = UpdateSubscription::new("sub_1").items([item]);
    let mut code = DiscountsDataParam::new();
    code.promotion_code = Some("promo_1".to_owned());
    let request = discount().request.to_string();
    let metadata = HashMap::from([("ub_discount_request".to_owned(), request)]);
    let unprorated = theirs
        .clone()
        .discounts([code.clone()])
        .metadata(metadata.clone())
        .payment_behavior(UpdateSubscriptionPaymentBehavior::ErrorIfIncomplete)
        .proration_behavior(UpdateSubscriptionProrationBehavior::None);
    let ours = subscriptions::update(key(), &subscription(), &change, StripeTax::None);
    same(&ours, &unprorated);
    let ours = subscriptions::update(key(), &subscription(), &change, StripeTax::Automatic);
    let tax = UpdateSubscriptionAutomaticTax::new(true);
    same(&ours, &unprorated.automatic_tax(tax.clone()));
    let taxed = UpdateSubscription::new("sub_1").automatic_tax(tax);
    same(&taxes::add(key(), &subscription()), &taxed);

    let cheaper = UpdateSubscription::new("sub_1")
        .discounts([code])
        .metadata(metadata);
    let ours = subscriptions::set_discount(key(), &subscription(), &discount());
    same(&ours, &cheaper);

    change.discount = None;
    change.payment = OpenPayment::Wait;
    change.proration = Proration::Now {
        from: Some(Timestamp(NOW)),
    };
    let prorated = theirs
        .proration_behavior(UpdateSubscriptionProrationBehavior::AlwaysInvoice)
        .payment_behavior(UpdateSubscriptionPaymentBehavior::PendingIfIncomplete)
        .proration_date(NOW);
    // Stripe takes no taxes together with a payment that waits.
    let ours = subscriptions::update(key(), &subscription(), &change, StripeTax::Automatic);
    same(&ours, &prorated);

    for (trial, theirs) in [
        (
            TrialChange::End,
            prorated.clone().trial_end(UpdateSubscriptionTrialEnd::Now),
        ),
        (
            TrialChange::Until(Timestamp(NOW)),
            prorated.trial_end(UpdateSubscriptionTrialEnd::Timestamp(NOW)),
        ),
    ] {
        change.trial = trial;
        let ours = subscriptions::update(key(), &subscription(), &change, StripeTax::None);
        same(&ours, &theirs);
    }
    let mut seats = UpdateSubscriptionItems::new();
    seats.id = Some("si_1".to_owned());
    seats.quantity = Some(4);
    let theirs = UpdateSubscription::new("sub_1")
        .items([seats])
        .proration_behavior(UpdateSubscriptionProrationBehavior::CreateProrations);
    let ours = subscriptions::set_quantity(key(), &subscription(), &change.item, 4);
    same(&ours, &theirs);

    for ends in [true, false] {
        let theirs = UpdateSubscription::new("sub_1").cancel_at_period_end(ends);
        same(
            &subscriptions::end_with_period(key(), &subscription(), ends),
            &theirs,
        );
    }
}

#[test]
fn requests_that_read_and_end_subscriptions_are_as_generated() {
    let ended = || CancelSubscription::new("sub_1");
    for (rest, theirs) in [
        (Rest::Dropped, ended()),
        (Rest::Charged, ended().invoice_now(true).prorate(false)),
        (Rest::Credited, ended().invoice_now(true).prorate(true)),
    ] {
        same(&subscriptions::cancel(&subscription(), rest), &theirs);
    }
    same(
        &subscriptions::retrieve(&subscription()),
        &RetrieveSubscription::new("sub_1"),
    );
    let theirs = ListSubscription::new()
        .customer("cus_1")
        .status(ListSubscriptionStatus::All);
    same(&subscriptions::list(&customer()), &theirs);
}

fn discount() -> NewDiscount {
    NewDiscount {
        code: promotion_code(),
        request: Id::from_bytes([9; 16]),
    }
}

fn promotion_code() -> StripePromotionCodeId {
    StripePromotionCodeId::parse("promo_1").unwrap()
}

#[test]
fn requests_about_promotion_codes_are_as_generated() {
    let code = PromotionCode::parse("SUMMER").unwrap();
    let theirs = ListPromotionCode::new()
        .active(true)
        .code("SUMMER")
        .limit(1);
    same(&promotions::find(&code), &theirs);
    let theirs = RetrieveSubscription::new("sub_1").expand(["discounts.source.coupon".to_owned()]);
    same(&promotions::discounts(&subscription()), &theirs);
}

#[test]
fn the_preview_of_the_next_invoice_is_as_generated() {
    let theirs = CreatePreviewInvoice::new().subscription("sub_1");
    same(&invoices::upcoming(&subscription()), &theirs);
}

#[test]
fn previews_of_new_subscriptions_are_as_generated() {
    let change = PreviewedChange {
        customer: None,
        subscription: None,
        price: price(),
        quantity: 3,
        usage: Vec::new(),
        trial: TrialChange::Keep,
        promotion_code: Some(promotion_code()),
        proration_date: Timestamp(NOW),
    };
    let mut discount = CreatePreviewInvoiceDiscounts::new();
    discount.promotion_code = Some("promo_1".to_owned());
    let theirs = CreatePreviewInvoice::new()
        .subscription_details(previewed(None))
        .discounts([discount])
        .automatic_tax(CreatePreviewInvoiceAutomaticTax::new(true));
    same(
        &invoices::preview_now(&change, StripeTax::Automatic),
        &theirs,
    );
}

#[test]
fn previews_of_changes_are_as_generated() {
    let mut change = PreviewedChange {
        customer: Some(customer()),
        subscription: Some((subscription(), item())),
        price: price(),
        quantity: 3,
        usage: Vec::new(),
        trial: TrialChange::Keep,
        promotion_code: None,
        proration_date: Timestamp(NOW),
    };
    let theirs = CreatePreviewInvoice::new()
        .customer("cus_1")
        .subscription("sub_1");
    let mut details = previewed(Some("si_1"));
    let next = theirs
        .clone()
        .subscription_details(details.clone())
        .preview_mode(CreatePreviewInvoicePreviewMode::Recurring);
    same(&invoices::preview_next(&change, StripeTax::None), &next);

    details.proration_behavior =
        Some(CreatePreviewInvoiceSubscriptionDetailsProrationBehavior::AlwaysInvoice);
    details.proration_date = Some(NOW);
    let now = theirs.clone().subscription_details(details.clone());
    same(&invoices::preview_now(&change, StripeTax::None), &now);

    for (trial, end) in [
        (
            TrialChange::End,
            CreatePreviewInvoiceSubscriptionDetailsTrialEnd::Now,
        ),
        (
            TrialChange::Until(Timestamp(NOW)),
            CreatePreviewInvoiceSubscriptionDetailsTrialEnd::Timestamp(NOW),
        ),
    ] {
        change.trial = trial;
        details.trial_end = Some(end);
        let now = theirs.clone().subscription_details(details.clone());
        same(&invoices::preview_now(&change, StripeTax::None), &now);
        same(&invoices::preview_next(&change, StripeTax::None), &next);
    }
}

fn previewed(id: Option<&str>) -> CreatePreviewInvoiceSubscriptionDetails {
    let mut item = CreatePreviewInvoiceSubscriptionDetailsItems::new();
    item.id = id.map(str::to_owned);
    item.price = Some("price_1".to_owned());
    item.quantity = Some(3);
    let mut details = CreatePreviewInvoiceSubscriptionDetails::new();
    details.items = Some(vec![item]);
    details
}

#[test]
fn requests_about_invoices_are_as_generated() {
    let id = StripeInvoiceId::parse("in_1").unwrap();
    let payments = "payments.data.payment.payment_intent".to_owned();
    let theirs = RetrieveInvoice::new("in_1").expand([payments]);
    same(&invoices::retrieve(&id), &theirs);
    same(
        &invoices::void(key(), &id),
        &VoidInvoiceInvoice::new("in_1"),
    );
    same(
        &invoices::list(&customer()),
        &ListInvoice::new().customer("cus_1"),
    );
    let subscription = StripeSubscriptionId::parse("sub_1").unwrap();
    let theirs = ListInvoice::new()
        .subscription("sub_1")
        .status(InvoiceStatus::Open);
    same(&invoices::list_open(&subscription), &theirs);
    let theirs = ListInvoice::new()
        .subscription("sub_1")
        .status(InvoiceStatus::Paid);
    same(&invoices::list_paid(&subscription), &theirs);
}

#[test]
fn requests_about_cards_are_as_generated() {
    let theirs = CreateSetupIntent::new()
        .customer("cus_1")
        .allowed_payment_method_types([SetupIntentAllowedPaymentMethodTypes::Card])
        .usage(CreateSetupIntentUsage::OffSession);
    same(&cards::create_setup_intent(&customer()), &theirs);
    let id = StripeSetupIntentId::parse("seti_1").unwrap();
    same(
        &cards::retrieve_setup_intent(&id),
        &RetrieveSetupIntent::new("seti_1"),
    );
    let theirs = AttachPaymentMethod::new("pm_1").customer("cus_1");
    same(&cards::attach(key(), &card(), &customer()), &theirs);
    same(
        &cards::detach(key(), &card()),
        &DetachPaymentMethod::new("pm_1"),
    );
    let theirs = ListPaymentMethod::new()
        .customer("cus_1")
        .type_(ListPaymentMethodType::Card);
    same(&cards::list(&customer()), &theirs);
}

#[test]
fn requests_for_links_are_as_generated() {
    let back = "https://app.example/t/acme?a=b";
    let theirs = CreateBillingPortalSession::new()
        .customer("cus_1")
        .return_url(back);
    same(&portal::create(&customer(), back), &theirs);
}
