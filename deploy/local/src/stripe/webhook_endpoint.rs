//! Endpoints that get events.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    API_VERSION,
    account::Account,
    event,
    form::{Form, Metadata},
    object::{self, Object, Page},
    refusal::Refusal,
};

/// Who gets events.
#[derive(Clone, Serialize)]
pub(super) struct WebhookEndpoint {
    pub(super) id: String,
    created: i64,
    description: Option<String>,
    enabled_events: Vec<String>,
    metadata: Metadata,
    status: &'static str,
    pub(super) url: String,
    #[serde(skip)]
    pub(super) secret: String,
}

impl WebhookEndpoint {
    /// Whether it gets this type of event.
    pub(super) fn wants(&self, kind: &str) -> bool {
        let is_meant = |name: &String| event::matches(name, kind);
        self.status == "enabled" && self.enabled_events.iter().any(is_meant)
    }
}

impl Object for WebhookEndpoint {
    const NAME: &'static str = "webhook_endpoint";

    fn id(&self) -> &str {
        &self.id
    }

    fn derived(&self) -> Value {
        json!({ "api_version": API_VERSION, "application": null })
    }
}

/// Creates an endpoint. Only this answer has its secret.
///
/// # Errors
/// If a parameter is refused.
pub(super) fn create(account: &mut Account, mut form: Form) -> Result<Value, Refusal> {
    let (url, enabled_events) = (form.required("url")?, form.texts("enabled_events"));
    let description = form.text("description")?;
    form.text("api_version")?;
    let mut metadata = Metadata::new();
    form.metadata(&mut metadata)?;
    form.end()?;
    if enabled_events.is_empty() {
        return Err(Refusal::required("enabled_events"));
    }
    if !url.starts_with("http://") {
        return Err(Refusal::invalid("The development Stripe calls `http://` only.").param("url"));
    }
    let mut endpoint = WebhookEndpoint {
        description,
        metadata,
        ..new(account, url, enabled_events, String::new())
    };
    endpoint.secret = format!("whsec_{}", account.secret_of(&endpoint.id));
    let mut shown = endpoint.shown();
    shown["secret"] = endpoint.secret.clone().into();
    let id = endpoint.id.clone();
    account.webhook_endpoints.insert(id, endpoint);
    Ok(shown)
}

/// Returns an endpoint that is not kept yet.
pub(super) fn new(
    account: &mut Account,
    url: String,
    enabled_events: Vec<String>,
    secret: String,
) -> WebhookEndpoint {
    WebhookEndpoint {
        id: account.new_id("we"),
        created: account.now,
        description: None,
        enabled_events,
        metadata: Metadata::new(),
        status: "enabled",
        url,
        secret,
    }
}

/// Changes an endpoint.
///
/// # Errors
/// If a parameter is refused, or it does not exist.
pub(super) fn update(account: &mut Account, id: &str, mut form: Form) -> Result<Value, Refusal> {
    let mut endpoint = object::find(&account.webhook_endpoints, id)?.clone();
    let (events, disabled) = (form.texts("enabled_events"), form.boolean("disabled")?);
    form.end()?;
    if !events.is_empty() {
        endpoint.enabled_events = events;
    }
    endpoint.status = match disabled {
        Some(true) => "disabled",
        Some(false) => "enabled",
        None => endpoint.status,
    };
    let shown = endpoint.shown();
    account.webhook_endpoints.insert(id.to_owned(), endpoint);
    Ok(shown)
}

/// Deletes an endpoint.
///
/// # Errors
/// If it does not exist.
pub(super) fn delete(account: &mut Account, id: &str) -> Result<Value, Refusal> {
    object::find(&account.webhook_endpoints, id)?;
    account.webhook_endpoints.remove(id);
    Ok(json!({ "id": id, "object": WebhookEndpoint::NAME, "deleted": true }))
}

/// Returns an endpoint.
///
/// # Errors
/// If it does not exist.
pub(super) fn retrieve(account: &Account, id: &str) -> Result<Value, Refusal> {
    Ok(object::find(&account.webhook_endpoints, id)?.shown())
}

/// Lists endpoints.
///
/// # Errors
/// If a parameter is refused.
pub(super) fn list(account: &Account, mut form: Form) -> Result<Value, Refusal> {
    let page = Page::read(&mut form)?;
    form.end()?;
    let url = "/v1/webhook_endpoints";
    page.of(url, &account.webhook_endpoints, |_| true)
}
