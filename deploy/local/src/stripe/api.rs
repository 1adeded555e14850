//! The API: who asks, what for, and the answer.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    account::{Account, Cause},
    customer, event, expand,
    form::Form,
    idempotency::Answer,
    invoice, invoice_actions, meter, payment_intent, payment_method, portal, price, product,
    promotion,
    refusal::Refusal,
    setup_intent, subscription, subscription_create, subscription_update, webhook_endpoint,
};

/// The releases of the API with this name are compatible with each other.
const RELEASES: &str = ".endive";

/// A request, as far as the API is concerned.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Call {
    pub(super) method: String,
    /// Such as `/v1/customers/cus_1`.
    pub(super) path: String,
    pub(super) query: String,
    /// A form. Bytes that are no text would make no valid one.
    pub(super) body: String,
    /// The key of the caller.
    pub(super) key: Option<String>,
    pub(super) idempotency_key: Option<String>,
    pub(super) version: Option<String>,
}

/// The keys that are accepted.
pub(super) struct Keys {
    pub(super) secret: String,
    /// A browser has it. It may confirm, with the client secret of what it confirms.
    pub(super) publishable: String,
}

/// The answer to a request, and whether it is a repetition.
pub(super) struct Answered {
    pub(super) answer: Answer,
    pub(super) is_replayed: bool,
}

/// Answers a request.
pub(super) fn answer(account: &mut Account, keys: &Keys, call: &Call) -> Answered {
    match checked(account, keys, call) {
        Ok(answered) => answered,
        Err(refusal) => Answered {
            answer: (refusal.status, refusal.body()),
            is_replayed: false,
        },
    }
}

/// Keeps a failure that a test has ordered, as Stripe keeps its own ones: a request with the same key
/// gets it again. What Stripe refuses before it begins is not kept.
pub(super) fn keep_failure(account: &mut Account, call: &Call, answer: Answer) {
    let (Some(key), Ok(form)) = (key_of(call), Form::parse(&call.query, call.body.as_bytes()))
    else {
        return;
    };
    if answer.0 >= 500 {
        let request = shown(call, &form);
        let now = account.now;
        account.answers.keep(key, &request, answer, now);
    }
}

fn key_of(call: &Call) -> Option<&String> {
    let key = call.idempotency_key.as_ref();
    key.filter(|_| call.method == "POST")
}

/// Returns what requests with the same key must have in common.
fn shown(call: &Call, form: &Form) -> String {
    format!("{} {} {}", call.method, call.path, form.canonical())
}

fn checked(account: &mut Account, keys: &Keys, call: &Call) -> Result<Answered, Refusal> {
    let mut form = Form::parse(&call.query, call.body.as_bytes())?;
    authorize(account, keys, call, &mut form)?;
    if let Some(version) = call
        .version
        .as_ref()
        .filter(|version| !version.ends_with(RELEASES))
    {
        return Err(Refusal::invalid(format!(
            "Invalid Stripe API version: {version}"
        )));
    }
    let key = key_of(call);
    let request = shown(call, &form);
    if let Some(key) = key {
        let earlier = account.answers.earlier(key, &request, account.now)?;
        if let Some(answer) = earlier {
            return Ok(Answered {
                answer,
                is_replayed: true,
            });
        }
    }
    account.cause = Cause {
        request: Some(account.new_id("req")),
        idempotency_key: key.cloned(),
    };
    let (answer, is_kept) = match act(account, call, form) {
        Ok(answer) => ((200, answer), true),
        Err(refusal) => ((refusal.status, refusal.body()), refusal.is_kept()),
    };
    if let Some(key) = key.filter(|_| is_kept) {
        account
            .answers
            .keep(key, &request, answer.clone(), account.now);
    }
    Ok(Answered {
        answer,
        is_replayed: false,
    })
}

/// Checks the key of the caller.
fn authorize(account: &Account, keys: &Keys, call: &Call, form: &mut Form) -> Result<(), Refusal> {
    let Some(key) = &call.key else {
        return Err(Refusal::wrong_key("You did not provide an API key."));
    };
    if *key == keys.secret {
        return Ok(());
    }
    if *key != keys.publishable {
        let end = key.get(key.len().saturating_sub(4)..).unwrap_or_default();
        let message = format!("Invalid API Key provided: ****{end}");
        return Err(Refusal::wrong_key(&message));
    }
    let parts: Vec<&str> = parts(&call.path);
    let given = form.text("client_secret")?;
    let secret = match parts.as_slice() {
        ["setup_intents", id] | ["setup_intents", id, "confirm"] => {
            let intent = account.setup_intents.get(*id);
            intent.map(|intent| &intent.client_secret)
        }
        ["payment_intents", id] | ["payment_intents", id, "confirm"] => {
            let intent = account.payment_intents.get(*id);
            intent.map(|intent| &intent.client_secret)
        }
        _ => None,
    };
    if secret.is_some() && secret == given.as_ref() {
        return Ok(());
    }
    Err(Refusal::wrong_key(
        "This API call cannot be made with a publishable API key, or its client secret is wrong.",
    ))
}

fn parts(path: &str) -> Vec<&str> {
    path.trim_start_matches("/v1/").split('/').collect()
}

fn act(account: &mut Account, call: &Call, mut form: Form) -> Result<Value, Refusal> {
    let paths = form.texts("expand");
    expand::ensure_possible(&paths)?;
    let parts = parts(&call.path);
    let done = match call.method.as_str() {
        "GET" => get(account, &parts, form),
        "POST" => post(account, &parts, form),
        "DELETE" => delete(account, &parts, form),
        _ => None,
    };
    let done = done.unwrap_or_else(|| Err(Refusal::no_such_url(&call.method, &call.path)));
    let mut answer = done?;
    expand::expand(account, &mut answer, &paths);
    Ok(answer)
}

/// Answers a GET request. `None` if the path is unknown.
fn get(account: &mut Account, parts: &[&str], form: Form) -> Option<Result<Value, Refusal>> {
    let list = match parts {
        ["customers"] => customer::list(account, form),
        ["customers", id, "payment_methods"] => payment_method::list(account, Some(*id), form),
        ["products"] => product::list(account, form),
        ["prices"] => price::list(account, form),
        ["payment_methods"] => payment_method::list(account, None, form),
        ["setup_intents"] => setup_intent::list(account, form),
        ["subscriptions"] => subscription::list(account, form),
        ["invoices"] => invoice::list(account, form),
        ["invoices", id, "lines"] => invoice_actions::lines(account, id, form),
        ["promotion_codes"] => promotion::list_codes(account, form),
        ["billing", "meters"] => meter::list(account, form),
        ["billing", "meters", id, "event_summaries"] => meter::summaries(account, id, form),
        ["events"] => event::list(account, form),
        ["webhook_endpoints"] => webhook_endpoint::list(account, form),
        _ => return retrieve(account, parts, form),
    };
    Some(list)
}

fn retrieve(account: &Account, parts: &[&str], form: Form) -> Option<Result<Value, Refusal>> {
    let found = match parts {
        ["account"] => Ok(own_account()),
        ["customers", id] => customer::retrieve(account, id),
        ["customers", _, "payment_methods", id] | ["payment_methods", id] => {
            payment_method::retrieve(account, id)
        }
        ["products", id] => product::retrieve(account, id),
        ["prices", id] => price::retrieve(account, id),
        ["setup_intents", id] => setup_intent::retrieve(account, id),
        ["payment_intents", id] => payment_intent::retrieve(account, id),
        ["subscriptions", id] => subscription::retrieve(account, id),
        ["invoices", id] => invoice::retrieve(account, id),
        ["coupons", id] => promotion::retrieve(&account.coupons, id),
        ["promotion_codes", id] => promotion::retrieve(&account.promotion_codes, id),
        ["billing", "meters", id] => meter::retrieve(account, id),
        ["events", id] => event::retrieve(account, id),
        ["webhook_endpoints", id] => webhook_endpoint::retrieve(account, id),
        _ => return None,
    };
    Some(form.end().and(found))
}

/// Answers a POST request. `None` if the path is unknown.
fn post(account: &mut Account, parts: &[&str], form: Form) -> Option<Result<Value, Refusal>> {
    Some(match parts {
        ["customers"] => customer::create(account, form),
        ["customers", id] => customer::update(account, id, form),
        ["products"] => product::create(account, form),
        ["products", id] => product::update(account, id, form),
        ["prices"] => price::create(account, form),
        ["prices", id] => price::update(account, id, form),
        ["subscriptions"] => subscription_create::create(account, form),
        ["subscriptions", id] => subscription_update::update(account, id, form),
        ["invoices", "create_preview"] => invoice_actions::preview(account, form),
        ["invoices", id, "pay"] => invoice_actions::pay(account, id, form),
        ["invoices", id, "void"] => invoice_actions::void(account, id, form),
        ["coupons"] => promotion::create_coupon(account, form),
        ["promotion_codes"] => promotion::create_code(account, form),
        ["billing_portal", "sessions"] => portal::create(account, form),
        ["billing", "meters"] => meter::create(account, form),
        ["billing", "meters", id, "deactivate"] => meter::set_active(account, id, false),
        ["billing", "meters", id, "reactivate"] => meter::set_active(account, id, true),
        ["billing", "meter_events"] => meter::report(account, form),
        ["webhook_endpoints"] => webhook_endpoint::create(account, form),
        ["webhook_endpoints", id] => webhook_endpoint::update(account, id, form),
        _ => return post_card(account, parts, form),
    })
}

fn post_card(account: &mut Account, parts: &[&str], form: Form) -> Option<Result<Value, Refusal>> {
    Some(match parts {
        ["payment_methods"] => payment_method::create(account, form),
        ["payment_methods", id] => payment_method::update(account, id, form),
        ["payment_methods", id, "attach"] => payment_method::attach(account, id, form),
        ["payment_methods", id, "detach"] => payment_method::detach(account, id, form),
        ["setup_intents"] => setup_intent::create(account, form),
        ["setup_intents", id, "confirm"] => setup_intent::confirm(account, id, form),
        ["setup_intents", id, "cancel"] => setup_intent::cancel(account, id, form),
        ["payment_intents", id, "confirm"] => payment_intent::confirm(account, id, form),
        _ => return None,
    })
}

/// Answers a DELETE request. `None` if the path is unknown.
fn delete(account: &mut Account, parts: &[&str], form: Form) -> Option<Result<Value, Refusal>> {
    if let ["subscriptions", id] = parts {
        return Some(subscription::cancel(account, id, form));
    }
    let end = form.end();
    Some(match parts {
        ["customers", id] => end.and_then(|()| customer::delete(account, id)),
        ["products", id] => end.and_then(|()| product::delete(account, id)),
        ["webhook_endpoints", id] => end.and_then(|()| webhook_endpoint::delete(account, id)),
        _ => return None,
    })
}

/// The account that the secret key belongs to. It is the same after each start.
fn own_account() -> Value {
    json!({
        "id": "acct_development",
        "object": "account",
        "charges_enabled": true,
        "country": "US",
        "default_currency": "usd",
        "details_submitted": true,
        "email": null,
        "metadata": {},
        "payouts_enabled": true,
        "type": "standard",
    })
}
