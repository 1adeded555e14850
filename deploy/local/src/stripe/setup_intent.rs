//! Setup intents: a person shows that a card may be charged later.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    account::Account,
    card::{self, Bank, Decline},
    customer,
    form::{Form, Metadata},
    object::{self, Created, Object, Page},
    payment_method,
    refusal::Refusal,
};

/// How a card comes to a customer.
#[derive(Clone, Serialize)]
pub(super) struct SetupIntent {
    id: String,
    created: i64,
    customer: Option<String>,
    description: Option<String>,
    metadata: Metadata,
    payment_method: Option<String>,
    status: &'static str,
    usage: &'static str,
    pub(super) client_secret: String,
    last_setup_error: Option<Value>,
}

impl Object for SetupIntent {
    const NAME: &'static str = "setup_intent";

    fn id(&self) -> &str {
        &self.id
    }

    fn derived(&self) -> Value {
        json!({
            "application": null,
            "automatic_payment_methods": null,
            "cancellation_reason": null,
            "flow_directions": null,
            "latest_attempt": null,
            "mandate": null,
            "next_action": next_action(self.status),
            "on_behalf_of": null,
            "payment_method_options": { "card": { "request_three_d_secure": "automatic" } },
            "payment_method_types": ["card"],
            "single_use_mandate": null,
        })
    }
}

/// Returns what Stripe's script in the browser has to do.
pub(super) fn next_action(status: &str) -> Value {
    if status == "requires_action" {
        json!({ "type": "use_stripe_sdk", "use_stripe_sdk": { "type": "three_d_secure_redirect" } })
    } else {
        Value::Null
    }
}

/// Creates a setup intent.
///
/// # Errors
/// If a parameter is refused, or the bank declines the card.
pub(super) fn create(account: &mut Account, mut form: Form) -> Result<Value, Refusal> {
    let customer = form.text("customer")?;
    if let Some(customer) = &customer {
        customer::named(account, customer)?;
    }
    let usage = form.choice("usage", &["off_session", "on_session"])?;
    let mut metadata = Metadata::new();
    form.metadata(&mut metadata)?;
    let (confirm, description) = (form.boolean("confirm")?, form.text("description")?);
    let card = form.text("payment_method")?;
    let mut automatic = form.nested("automatic_payment_methods");
    automatic.boolean("enabled")?;
    automatic.choice("allow_redirects", &["always", "never"])?;
    automatic.end()?;
    only_cards(&mut form)?;
    let return_url = form.text("return_url")?;
    form.end()?;
    if return_url.is_some() && confirm != Some(true) {
        return Err(Refusal::invalid("It needs `confirm=true`.").param("return_url"));
    }
    let id = account.new_id("seti");
    let mut intent = SetupIntent {
        client_secret: account.new_client_secret(&id),
        id: id.clone(),
        created: account.now,
        customer,
        description,
        metadata,
        payment_method: None,
        status: "requires_payment_method",
        usage: usage.unwrap_or("off_session"),
        last_setup_error: None,
    };
    if let Some(card) = card {
        choose(account, &mut intent, &card)?;
    }
    let shown = intent.shown();
    account.setup_intents.insert(id.clone(), intent);
    account.happened("setup_intent.created", shown.clone());
    if confirm == Some(true) {
        return confirmed(account, &id);
    }
    Ok(shown)
}

/// Reads the kinds of payment.
///
/// # Errors
/// If there is another than `card`.
fn only_cards(form: &mut Form) -> Result<(), Refusal> {
    for name in ["payment_method_types", "allowed_payment_method_types"] {
        if form.texts(name).iter().any(|kind| kind != "card") {
            return Err(Refusal::invalid("Only `card` is supported.").param(name));
        }
    }
    Ok(())
}

fn choose(account: &mut Account, intent: &mut SetupIntent, card: &str) -> Result<(), Refusal> {
    let card = payment_method::resolve(account, card, "payment_method")?;
    if card.customer.is_some() && card.customer != intent.customer {
        return Err(
            Refusal::invalid("The card belongs to another customer.").param("payment_method")
        );
    }
    intent.payment_method = Some(card.id.clone());
    intent.status = "requires_confirmation";
    account.payment_methods.insert(card.id.clone(), card);
    Ok(())
}

/// Confirms a setup intent.
///
/// # Errors
/// If a parameter is refused, or the bank declines the card.
pub(super) fn confirm(account: &mut Account, id: &str, mut form: Form) -> Result<Value, Refusal> {
    let card = form.text("payment_method")?;
    form.text("return_url")?;
    form.end()?;
    let mut intent = object::find(&account.setup_intents, id)?.clone();
    ensure_open(&intent)?;
    if let Some(card) = card {
        choose(account, &mut intent, &card)?;
        account.setup_intents.insert(id.to_owned(), intent);
    }
    confirmed(account, id)
}

fn ensure_open(intent: &SetupIntent) -> Result<(), Refusal> {
    if ["succeeded", "canceled"].contains(&intent.status) {
        let message = format!(
            "You cannot confirm this SetupIntent because it has already {}.",
            intent.status
        );
        return Err(Refusal::invalid(message).code("setup_intent_unexpected_state"));
    }
    Ok(())
}

fn confirmed(account: &mut Account, id: &str) -> Result<Value, Refusal> {
    let intent = object::find(&account.setup_intents, id)?;
    let Some(card) = intent.payment_method.clone() else {
        return Err(Refusal::invalid("The SetupIntent needs a payment method.")
            .code("setup_intent_unexpected_state"));
    };
    let card = object::named(&account.payment_methods, &card, "payment_method")?;
    match card.card.bank.clone() {
        Bank::Accepts | Bank::DeclinesCharges(_) => succeed(account, id),
        Bank::AsksAlways | Bank::AsksOnce => {
            let intent = object::find_mut(&mut account.setup_intents, id)?;
            intent.status = "requires_action";
            let shown = intent.shown();
            account.happened("setup_intent.requires_action", shown.clone());
            Ok(shown)
        }
        Bank::Declines(decline) => Err(fail(account, id, &decline)),
    }
}

/// The owner confirms, or not.
///
/// # Errors
/// If nobody asked, or the owner does not confirm.
pub(super) fn authenticate(
    account: &mut Account,
    id: &str,
    succeeds: bool,
) -> Result<Value, Refusal> {
    let intent = object::find(&account.setup_intents, id)?;
    if intent.status != "requires_action" {
        return Err(Refusal::invalid(
            "The SetupIntent asks for no confirmation.",
        ));
    }
    if succeeds {
        succeed(account, id)
    } else {
        Err(fail(account, id, &card::NOT_AUTHENTICATED))
    }
}

fn succeed(account: &mut Account, id: &str) -> Result<Value, Refusal> {
    let intent = object::find_mut(&mut account.setup_intents, id)?;
    intent.status = "succeeded";
    intent.last_setup_error = None;
    let (shown, customer) = (intent.shown(), intent.customer.clone());
    let card = intent.payment_method.clone().unwrap_or_default();
    let mut card = object::find(&account.payment_methods, &card)?.clone();
    card.is_set_up = true;
    match customer {
        Some(customer) if card.customer.is_none() => {
            payment_method::attach_to(account, card, &customer);
        }
        Some(_) | None => {
            account.payment_methods.insert(card.id.clone(), card);
        }
    }
    account.happened("setup_intent.succeeded", shown.clone());
    Ok(shown)
}

fn fail(account: &mut Account, id: &str, decline: &Decline) -> Refusal {
    let Some(intent) = account.setup_intents.get_mut(id) else {
        return Refusal::not_found(SetupIntent::NAME, id);
    };
    intent.status = "requires_payment_method";
    intent.payment_method = None;
    intent.last_setup_error = Some(decline.shown());
    let shown = intent.shown();
    account.happened("setup_intent.setup_failed", shown.clone());
    Refusal::declined(decline).with("setup_intent", shown)
}

/// Cancels a setup intent.
///
/// # Errors
/// If it has succeeded, or was canceled before.
pub(super) fn cancel(account: &mut Account, id: &str, form: Form) -> Result<Value, Refusal> {
    form.end()?;
    let intent = object::find_mut(&mut account.setup_intents, id)?;
    ensure_open(intent)?;
    intent.status = "canceled";
    let shown = intent.shown();
    account.happened("setup_intent.canceled", shown.clone());
    Ok(shown)
}

/// Returns a setup intent.
///
/// # Errors
/// If it does not exist.
pub(super) fn retrieve(account: &Account, id: &str) -> Result<Value, Refusal> {
    Ok(object::find(&account.setup_intents, id)?.shown())
}

/// Lists setup intents.
///
/// # Errors
/// If a parameter is refused.
pub(super) fn list(account: &Account, mut form: Form) -> Result<Value, Refusal> {
    let (page, created) = (Page::read(&mut form)?, Created::read(&mut form)?);
    let customer = form.text("customer")?;
    form.end()?;
    let is_wanted = |intent: &SetupIntent| {
        let is_named = customer.is_none() || intent.customer == customer;
        is_named && created.contains(intent.created)
    };
    page.of("/v1/setup_intents", &account.setup_intents, is_wanted)
}
