//! Events: what has happened, as it was then.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    API_VERSION,
    account::{Account, Cause},
    form::Form,
    object::{self, Created, Object, Page},
    refusal::Refusal,
};

/// Something has happened to an object.
#[derive(Clone, Serialize)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) created: i64,
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// The object as it was then, and the earlier values of what has changed.
    pub(super) data: Value,
    #[serde(skip)]
    pub(super) request: Cause,
}

impl Object for Event {
    const NAME: &'static str = "event";

    fn id(&self) -> &str {
        &self.id
    }

    fn derived(&self) -> Value {
        json!({
            "api_version": API_VERSION,
            "pending_webhooks": 0,
            "request": {
                "id": self.request.request,
                "idempotency_key": self.request.idempotency_key,
            },
        })
    }
}

/// Returns an event.
///
/// # Errors
/// If it does not exist.
pub(super) fn retrieve(account: &Account, id: &str) -> Result<Value, Refusal> {
    Ok(object::find(&account.events, id)?.shown())
}

/// Lists events.
///
/// # Errors
/// If a parameter is refused.
pub(super) fn list(account: &Account, mut form: Form) -> Result<Value, Refusal> {
    let (page, created) = (Page::read(&mut form)?, Created::read(&mut form)?);
    let (kind, kinds) = (form.text("type")?, form.texts("types"));
    form.end()?;
    let is_wanted = |event: &Event| {
        let is_kind = kind.as_ref().is_none_or(|kind| matches(kind, &event.kind));
        let is_one_of = kinds.is_empty() || kinds.iter().any(|kind| matches(kind, &event.kind));
        is_kind && is_one_of && created.contains(event.created)
    };
    page.of("/v1/events", &account.events, is_wanted)
}

/// Whether a type of event is meant by a name, such as `invoice.paid`, `invoice.*` or `*`.
pub(super) fn matches(name: &str, kind: &str) -> bool {
    match name.strip_suffix('*') {
        Some(prefix) => kind.starts_with(prefix),
        None => kind == name,
    }
}
