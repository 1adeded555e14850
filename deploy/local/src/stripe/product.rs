//! Products: what is sold.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    account::Account,
    form::{Form, Metadata},
    object::{self, Created, Object, Page},
    refusal::Refusal,
};

/// What is sold.
#[derive(Clone, Serialize)]
pub(super) struct Product {
    id: String,
    created: i64,
    updated: i64,
    active: bool,
    name: String,
    description: Option<String>,
    metadata: Metadata,
    tax_code: Option<String>,
    unit_label: Option<String>,
}

impl Product {
    /// Returns the name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Object for Product {
    const NAME: &'static str = "product";

    fn id(&self) -> &str {
        &self.id
    }

    fn derived(&self) -> Value {
        json!({
            "default_price": null,
            "images": [],
            "marketing_features": [],
            "package_dimensions": null,
            "shippable": null,
            "statement_descriptor": null,
            "type": "service",
            "url": null,
        })
    }
}

/// Creates a product.
///
/// # Errors
/// If a parameter is refused, or the id is taken.
pub(super) fn create(account: &mut Account, mut form: Form) -> Result<Value, Refusal> {
    let product = read_new(account, &mut form)?;
    form.end()?;
    Ok(keep(account, product))
}

/// Reads a product that does not exist yet.
///
/// # Errors
/// If a parameter is refused, or the id is taken.
pub(super) fn read_new(account: &mut Account, form: &mut Form) -> Result<Product, Refusal> {
    let name = form.required("name")?;
    let id = form.text("id")?;
    if id
        .as_ref()
        .is_some_and(|id| account.products.contains_key(id))
    {
        return Err(Refusal::invalid("Product already exists.")
            .code("resource_already_exists")
            .param("id"));
    }
    let mut metadata = Metadata::new();
    form.metadata(&mut metadata)?;
    Ok(Product {
        id: id.unwrap_or_else(|| account.new_id("prod")),
        created: account.now,
        updated: account.now,
        active: form.boolean("active")?.unwrap_or(true),
        name,
        description: form.text("description")?,
        metadata,
        tax_code: form.text("tax_code")?,
        unit_label: form.text("unit_label")?,
    })
}

/// Adds a product.
pub(super) fn keep(account: &mut Account, product: Product) -> Value {
    let shown = product.shown();
    account.products.insert(product.id.clone(), product);
    account.happened("product.created", shown.clone());
    shown
}

/// Changes a product.
///
/// # Errors
/// If a parameter is refused, or the product does not exist.
pub(super) fn update(account: &mut Account, id: &str, mut form: Form) -> Result<Value, Refusal> {
    let mut product = object::find(&account.products, id)?.clone();
    let before = product.shown();
    product.name = form.text("name")?.unwrap_or(product.name);
    product.active = form.boolean("active")?.unwrap_or(product.active);
    form.set("description", &mut product.description)?;
    form.set("tax_code", &mut product.tax_code)?;
    form.set("unit_label", &mut product.unit_label)?;
    form.metadata(&mut product.metadata)?;
    form.end()?;
    product.updated = account.now;
    let shown = product.shown();
    account.products.insert(id.to_owned(), product);
    account.changed("product.updated", &before, shown.clone());
    Ok(shown)
}

/// Deletes a product without prices.
///
/// # Errors
/// If it has a price, or does not exist.
pub(super) fn delete(account: &mut Account, id: &str) -> Result<Value, Refusal> {
    let shown = object::find(&account.products, id)?.shown();
    if account.prices.values().any(|price| price.product == id) {
        return Err(Refusal::invalid(
            "This product cannot be deleted because it has one or more user-created prices.",
        ));
    }
    account.products.remove(id);
    account.happened("product.deleted", shown);
    Ok(json!({ "id": id, "object": Product::NAME, "deleted": true }))
}

/// Returns a product.
///
/// # Errors
/// If it does not exist.
pub(super) fn retrieve(account: &Account, id: &str) -> Result<Value, Refusal> {
    Ok(object::find(&account.products, id)?.shown())
}

/// Lists products.
///
/// # Errors
/// If a parameter is refused.
pub(super) fn list(account: &Account, mut form: Form) -> Result<Value, Refusal> {
    let (page, created) = (Page::read(&mut form)?, Created::read(&mut form)?);
    let (active, ids) = (form.boolean("active")?, form.texts("ids"));
    form.end()?;
    let is_wanted = |product: &Product| {
        let is_named = ids.is_empty() || ids.contains(&product.id);
        let is_as_active = active.is_none_or(|active| active == product.active);
        is_named && is_as_active && created.contains(product.created)
    };
    page.of("/v1/products", &account.products, is_wanted)
}
