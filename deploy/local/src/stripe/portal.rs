//! Sessions of the billing portal. The portal itself is one page that says that it is none.

use serde_json::{Value, json};

use super::{account::Account, customer, form::Form, refusal::Refusal};

/// Creates a session.
///
/// # Errors
/// If a parameter is refused.
pub(super) fn create(account: &mut Account, mut form: Form) -> Result<Value, Refusal> {
    let (customer, return_url) = (form.required("customer")?, form.text("return_url")?);
    let locale = form.text("locale")?;
    form.end()?;
    customer::named(account, &customer)?;
    let is_link = |url: &String| url.starts_with("http://") || url.starts_with("https://");
    if !return_url.as_ref().is_none_or(is_link) {
        return Err(Refusal::invalid("Not a valid URL")
            .code("url_invalid")
            .param("return_url"));
    }
    let id = account.new_id("bps");
    let shown = json!({
        "id": id,
        "object": "billing_portal.session",
        "configuration": "bpc_development",
        "created": account.now,
        "customer": customer,
        "flow": null,
        "livemode": false,
        "locale": locale,
        "on_behalf_of": null,
        "return_url": return_url,
        "url": format!("{}/portal/{id}", account.url),
    });
    account.happened("billing_portal.session.created", shown.clone());
    Ok(shown)
}
