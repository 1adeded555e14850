//! Customers.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    account::Account,
    form::{Form, Metadata},
    object::{self, Created, Object, Page},
    payment_method,
    refusal::Refusal,
    subscription,
};

/// Who pays.
#[derive(Clone, Default, Serialize)]
pub(super) struct Customer {
    id: String,
    created: i64,
    email: Option<String>,
    pub(super) name: Option<String>,
    description: Option<String>,
    phone: Option<String>,
    address: Option<Address>,
    metadata: Metadata,
    /// What we owe the customer, as a negative amount, in minor units.
    pub(super) balance: i64,
    pub(super) currency: Option<String>,
    #[serde(skip)]
    pub(super) default_payment_method: Option<String>,
    #[serde(skip)]
    pub(super) is_deleted: bool,
    /// The part of an invoice's number that names the customer.
    pub(super) invoice_prefix: String,
    pub(super) next_invoice_sequence: i64,
}

/// Where a customer lives, for taxes.
#[derive(Clone, Default, PartialEq, Serialize)]
struct Address {
    city: Option<String>,
    country: Option<String>,
    line1: Option<String>,
    line2: Option<String>,
    postal_code: Option<String>,
    state: Option<String>,
}

impl Customer {
    /// Whether taxes can be computed.
    pub(super) fn has_tax_location(&self) -> bool {
        self.address
            .as_ref()
            .is_some_and(|address| address.country.is_some())
    }

    pub(super) fn email(&self) -> Option<&str> {
        self.email.as_deref()
    }

    fn read(&mut self, form: &mut Form) -> Result<(), Refusal> {
        form.set("email", &mut self.email)?;
        form.set("name", &mut self.name)?;
        form.set("description", &mut self.description)?;
        form.set("phone", &mut self.phone)?;
        form.metadata(&mut self.metadata)?;
        if form.change("address")? == Some(None) {
            self.address = None;
        }
        let mut address = form.nested("address");
        if !address.is_empty() {
            self.address.get_or_insert_default().read(&mut address)?;
        }
        address.end()
    }
}

impl Address {
    fn read(&mut self, form: &mut Form) -> Result<(), Refusal> {
        form.set("city", &mut self.city)?;
        form.set("country", &mut self.country)?;
        form.set("line1", &mut self.line1)?;
        form.set("line2", &mut self.line2)?;
        form.set("postal_code", &mut self.postal_code)?;
        form.set("state", &mut self.state)
    }
}

impl Object for Customer {
    const NAME: &'static str = "customer";

    fn id(&self) -> &str {
        &self.id
    }

    fn derived(&self) -> Value {
        json!({
            "default_source": null,
            "delinquent": false,
            "discount": null,
            "invoice_settings": {
                "custom_fields": null,
                "default_payment_method": self.default_payment_method,
                "footer": null,
                "rendering_options": null,
            },
            "preferred_locales": [],
            "shipping": null,
            "tax_exempt": "none",
            "test_clock": null,
        })
    }
}

/// Creates a customer.
///
/// # Errors
/// If a parameter is refused, or the card is declined.
pub(super) fn create(account: &mut Account, mut form: Form) -> Result<Value, Refusal> {
    let mut customer = Customer::default();
    customer.read(&mut form)?;
    let card = form.text("payment_method")?;
    let mut settings = form.nested("invoice_settings");
    let default_card = settings.text("default_payment_method")?;
    settings.end()?;
    form.end()?;
    if default_card.is_some() && default_card != card {
        let param = "invoice_settings[default_payment_method]";
        return Err(Refusal::invalid("It must be the `payment_method`.").param(param));
    }
    // Judged first: a declined card leaves no customer behind.
    let card = card.map(|id| payment_method::attachable(account, &id));
    let card = card.transpose()?;
    customer.id = account.new_id("cus");
    customer.created = account.now;
    customer.invoice_prefix = customer.id[4..12].to_owned();
    customer.next_invoice_sequence = 1;
    let id = customer.id.clone();
    account.customers.insert(id.clone(), customer);
    if let Some(card) = card {
        let card = payment_method::attach_to(account, card, &id);
        if default_card.is_some() {
            object::find_mut(&mut account.customers, &id)?.default_payment_method = Some(card);
        }
    }
    let shown = existing(account, &id)?.shown();
    account.happened("customer.created", shown.clone());
    Ok(shown)
}

/// Changes a customer.
///
/// # Errors
/// If a parameter is refused, or the customer does not exist.
pub(super) fn update(account: &mut Account, id: &str, mut form: Form) -> Result<Value, Refusal> {
    let before = existing(account, id)?.clone();
    let mut customer = before.clone();
    customer.read(&mut form)?;
    let mut settings = form.nested("invoice_settings");
    if let Some(card) = settings.change("default_payment_method")? {
        if let Some(card) = &card {
            let param = "invoice_settings[default_payment_method]";
            payment_method::owned(account, card, id, param)?;
        }
        customer.default_payment_method = card;
    }
    settings.end()?;
    form.end()?;
    let shown = customer.shown();
    account.customers.insert(id.to_owned(), customer);
    account.changed("customer.updated", &before.shown(), shown.clone());
    Ok(shown)
}

/// Returns a customer, also a deleted one.
///
/// # Errors
/// If it does not exist.
pub(super) fn retrieve(account: &Account, id: &str) -> Result<Value, Refusal> {
    let customer = object::find(&account.customers, id)?;
    if customer.is_deleted {
        return Ok(json!({ "id": id, "object": Customer::NAME, "deleted": true }));
    }
    Ok(customer.shown())
}

/// Deletes a customer, and cancels the subscriptions.
///
/// # Errors
/// If the customer does not exist.
pub(super) fn delete(account: &mut Account, id: &str) -> Result<Value, Refusal> {
    let shown = existing(account, id)?.shown();
    let subscriptions = account.subscriptions.values();
    let of_customer = subscriptions.filter(|subscription| subscription.customer == id);
    let ids: Vec<String> = of_customer.map(|found| found.id.clone()).collect();
    for subscription in ids {
        subscription::end(account, &subscription, "canceled");
    }
    object::find_mut(&mut account.customers, id)?.is_deleted = true;
    account.happened("customer.deleted", shown);
    Ok(json!({ "id": id, "object": Customer::NAME, "deleted": true }))
}

/// Lists customers that are not deleted.
///
/// # Errors
/// If a parameter is refused.
pub(super) fn list(account: &Account, mut form: Form) -> Result<Value, Refusal> {
    let (page, created) = (Page::read(&mut form)?, Created::read(&mut form)?);
    let email = form.text("email")?;
    form.end()?;
    let is_wanted = |customer: &Customer| {
        let is_named = email.is_none() || customer.email == email;
        !customer.is_deleted && is_named && created.contains(customer.created)
    };
    page.of("/v1/customers", &account.customers, is_wanted)
}

/// Returns a customer of a path that is not deleted.
///
/// # Errors
/// If there is none.
pub(super) fn existing<'a>(account: &'a Account, id: &str) -> Result<&'a Customer, Refusal> {
    let customer = object::find(&account.customers, id)?;
    if customer.is_deleted {
        return Err(Refusal::not_found(Customer::NAME, id));
    }
    Ok(customer)
}

/// Returns the customer of a parameter.
///
/// # Errors
/// If there is none, or it is deleted.
pub(super) fn named<'a>(account: &'a Account, id: &str) -> Result<&'a Customer, Refusal> {
    let customer = account.customers.get(id).filter(|found| !found.is_deleted);
    customer.ok_or_else(|| Refusal::missing(Customer::NAME, id, "customer"))
}
