//! Payment methods: cards only.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    account::Account,
    card::{Bank, TestCard},
    customer,
    form::{Form, Metadata},
    object::{self, Object, Page},
    refusal::Refusal,
};

/// A card, which may belong to a customer.
#[derive(Clone, Serialize)]
pub(super) struct PaymentMethod {
    pub(super) id: String,
    created: i64,
    pub(super) customer: Option<String>,
    metadata: Metadata,
    #[serde(skip)]
    pub(super) card: &'static TestCard,
    /// Whether its owner has confirmed that it may be charged later.
    #[serde(skip)]
    pub(super) is_set_up: bool,
    /// A card that was detached cannot be attached again.
    #[serde(skip)]
    is_detached: bool,
}

impl Object for PaymentMethod {
    const NAME: &'static str = "payment_method";

    fn id(&self) -> &str {
        &self.id
    }

    fn derived(&self) -> Value {
        let address = json!({
            "city": null, "country": null, "line1": null,
            "line2": null, "postal_code": null, "state": null,
        });
        json!({
            "type": "card",
            "allow_redisplay": "unspecified",
            "billing_details": {
                "address": address, "email": null, "name": null, "phone": null, "tax_id": null,
            },
            "card": {
                "brand": self.card.brand,
                "checks": {
                    "address_line1_check": null,
                    "address_postal_code_check": null,
                    "cvc_check": "pass",
                },
                "country": "US",
                "display_brand": self.card.brand,
                "exp_month": 12,
                "exp_year": 2040,
                "fingerprint": format!("fingerprint{}", self.card.last4),
                "funding": "credit",
                "generated_from": null,
                "last4": self.card.last4,
                "networks": { "available": [self.card.brand], "preferred": null },
                "three_d_secure_usage": { "supported": true },
                "wallet": null,
            },
        })
    }
}

/// Creates a card from a token, such as `tok_visa`. Numbers are refused: they have no place here.
///
/// # Errors
/// If a parameter is refused.
pub(super) fn create(account: &mut Account, mut form: Form) -> Result<Value, Refusal> {
    if form.choice("type", &["card"])?.is_none() {
        return Err(Refusal::required("type"));
    }
    let mut card = form.nested("card");
    let token = card.required("token")?;
    card.end()?;
    let mut metadata = Metadata::new();
    form.metadata(&mut metadata)?;
    form.end()?;
    let Some(card) = TestCard::by_id(&token) else {
        return Err(Refusal::missing("token", &token, "card[token]"));
    };
    let created = PaymentMethod {
        metadata,
        ..new(account, card)
    };
    let shown = created.shown();
    account.payment_methods.insert(created.id.clone(), created);
    Ok(shown)
}

fn new(account: &mut Account, card: &'static TestCard) -> PaymentMethod {
    PaymentMethod {
        id: account.new_id("pm"),
        created: account.now,
        customer: None,
        metadata: Metadata::new(),
        card,
        is_set_up: false,
        is_detached: false,
    }
}

/// Returns a card by its id. The name of a test card is a new card each time.
///
/// # Errors
/// If there is none.
pub(super) fn resolve(
    account: &mut Account,
    id: &str,
    param: &str,
) -> Result<PaymentMethod, Refusal> {
    match TestCard::by_id(id) {
        Some(card) => Ok(new(account, card)),
        None => object::named(&account.payment_methods, id, param).cloned(),
    }
}

/// Returns a card that a customer may get.
///
/// # Errors
/// If there is none, it belongs to a customer already, or the bank declines it.
pub(super) fn attachable(account: &mut Account, id: &str) -> Result<PaymentMethod, Refusal> {
    let found = resolve(account, id, "payment_method")?;
    if found.is_detached {
        return Err(Refusal::invalid(
            "This PaymentMethod was previously detached from a customer, and cannot be used again.",
        ));
    }
    if found.customer.is_some() {
        return Err(Refusal::invalid(
            "The payment method you provided has already been attached to a customer.",
        ));
    }
    match &found.card.bank {
        Bank::Declines(decline) => Err(Refusal::declined(decline)),
        Bank::Accepts | Bank::DeclinesCharges(_) | Bank::AsksAlways | Bank::AsksOnce => Ok(found),
    }
}

/// Gives a card to a customer, and returns its id.
pub(super) fn attach_to(account: &mut Account, mut card: PaymentMethod, customer: &str) -> String {
    card.customer = Some(customer.to_owned());
    let (id, shown) = (card.id.clone(), card.shown());
    account.payment_methods.insert(id.clone(), card);
    account.happened("payment_method.attached", shown);
    id
}

/// Checks that a card belongs to a customer.
///
/// # Errors
/// If it does not.
pub(super) fn owned(
    account: &Account,
    id: &str,
    customer: &str,
    param: &str,
) -> Result<(), Refusal> {
    let card = object::named(&account.payment_methods, id, param)?;
    if card.customer.as_deref() == Some(customer) {
        return Ok(());
    }
    let message = format!(
        "The customer does not have a payment method with the ID {id}. The payment method must \
         be attached to the customer."
    );
    Err(Refusal::invalid(message)
        .code("resource_missing")
        .param(param))
}

/// Gives a card to a customer.
///
/// # Errors
/// If a parameter is refused, or the bank declines the card.
pub(super) fn attach(account: &mut Account, id: &str, mut form: Form) -> Result<Value, Refusal> {
    let customer = form.required("customer")?;
    form.end()?;
    customer::named(account, &customer)?;
    let card = attachable(account, id)?;
    let id = attach_to(account, card, &customer);
    retrieve(account, &id)
}

/// Takes a card from its customer.
///
/// # Errors
/// If it belongs to none.
pub(super) fn detach(account: &mut Account, id: &str, form: Form) -> Result<Value, Refusal> {
    form.end()?;
    let card = object::find_mut(&mut account.payment_methods, id)?;
    let before = card.shown();
    let Some(owner) = card.customer.take() else {
        return Err(Refusal::invalid(
            "The payment method you provided is not attached to a customer so detachment is \
             impossible.",
        ));
    };
    card.is_detached = true;
    let shown = card.shown();
    if let Some(owner) = account.customers.get_mut(&owner) {
        owner
            .default_payment_method
            .take_if(|default| default == id);
    }
    for subscription in account.subscriptions.values_mut() {
        let default = &mut subscription.default_payment_method;
        default.take_if(|default| default == id);
    }
    account.changed("payment_method.detached", &before, shown.clone());
    Ok(shown)
}

/// Changes the metadata of a card.
///
/// # Errors
/// If a parameter is refused, or the card does not exist.
pub(super) fn update(account: &mut Account, id: &str, mut form: Form) -> Result<Value, Refusal> {
    let mut card = object::find(&account.payment_methods, id)?.clone();
    let before = card.shown();
    form.metadata(&mut card.metadata)?;
    form.end()?;
    let shown = card.shown();
    account.payment_methods.insert(id.to_owned(), card);
    account.changed("payment_method.updated", &before, shown.clone());
    Ok(shown)
}

/// Returns a card.
///
/// # Errors
/// If it does not exist.
pub(super) fn retrieve(account: &Account, id: &str) -> Result<Value, Refusal> {
    Ok(object::find(&account.payment_methods, id)?.shown())
}

/// Lists the cards of a customer.
///
/// # Errors
/// If a parameter is refused, or the customer does not exist.
pub(super) fn list(
    account: &Account,
    customer: Option<&str>,
    mut form: Form,
) -> Result<Value, Refusal> {
    let page = Page::read(&mut form)?;
    form.choice("type", &["card"])?;
    let customer = match customer {
        Some(customer) => Some(customer.to_owned()),
        None => form.text("customer")?,
    };
    form.end()?;
    let Some(customer) = customer else {
        return Err(Refusal::required("customer"));
    };
    customer::named(account, &customer)?;
    let is_wanted = |card: &PaymentMethod| card.customer.as_ref() == Some(&customer);
    page.of("/v1/payment_methods", &account.payment_methods, is_wanted)
}
