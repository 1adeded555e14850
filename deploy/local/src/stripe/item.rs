//! The items of a subscription: what is paid for, and how many of it.

use serde_json::{Value, json};

use super::{
    account::Account,
    form::{Form, Metadata},
    object::{self, Object},
    period::{Interval, Period},
    price::{MAX_AMOUNT, Price},
    refusal::Refusal,
};

/// Maximum items of a subscription.
const ITEMS: usize = 20;

/// What is paid for.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) id: String,
    created: i64,
    pub(super) metadata: Metadata,
    pub(super) price: Price,
    /// `None` for usage, which a meter counts.
    pub(super) quantity: Option<i64>,
    /// The name of the product.
    pub(super) product: String,
    /// Since when usage has this price.
    pub(super) since: i64,
}

impl Item {
    /// Returns what a period costs, in minor units; 0 for usage.
    pub(super) fn amount(&self) -> i64 {
        let amount = self.price.unit.times(self.quantity.unwrap_or(0));
        i64::try_from(amount).unwrap_or(MAX_AMOUNT)
    }

    /// Whether a period costs the same.
    pub(super) fn costs_like(&self, other: &Self) -> bool {
        self.price.id == other.price.id && self.quantity == other.quantity
    }

    /// Returns the length of a period.
    pub(super) fn interval(&self) -> Option<Interval> {
        let recurring = self.price.recurring.as_ref();
        recurring.map(|recurring| recurring.interval)
    }

    /// Returns the item as an answer has it.
    pub(super) fn shown(&self, subscription: &str, period: Period) -> Value {
        let mut shown = json!({
            "id": self.id,
            "object": "subscription_item",
            "billing_thresholds": null,
            "created": self.created,
            "current_period_end": period.end,
            "current_period_start": period.start,
            "discounts": [],
            "metadata": self.metadata,
            "plan": self.price.plan(),
            "price": self.price.shown(),
            "subscription": subscription,
            "tax_rates": [],
        });
        if let Some(quantity) = self.quantity {
            shown["quantity"] = quantity.into();
        }
        shown
    }
}

/// Reads the items that a subscription shall have; `None` if the parameters do not change them.
///
/// # Errors
/// If a parameter is refused, or the items do not fit together.
pub(super) fn read(
    account: &mut Account,
    form: &mut Form,
    existing: &[Item],
) -> Result<Option<Vec<Item>>, Refusal> {
    let forms = form.forms("items");
    if forms.is_empty() {
        return Ok(None);
    }
    let mut items = existing.to_vec();
    for mut form in forms {
        let deleted = form.boolean("deleted")?.unwrap_or(false);
        match form.text("id")? {
            Some(id) => {
                let Some(at) = items.iter().position(|item| item.id == id) else {
                    let param = form.name("id");
                    return Err(Refusal::missing("subscription_item", &id, &param));
                };
                if deleted {
                    items.remove(at);
                } else {
                    change(account, &mut items[at], &mut form)?;
                }
            }
            None => items.push(new(account, &mut form)?),
        }
        form.end()?;
    }
    ensure_fit(&items)?;
    Ok(Some(items))
}

fn new(account: &mut Account, form: &mut Form) -> Result<Item, Refusal> {
    let price = form.required("price")?;
    let (price, product) = usable_price(account, &price, &form.name("price"))?;
    let mut item = Item {
        id: account.new_id("si"),
        created: account.now,
        metadata: Metadata::new(),
        quantity: (!price.is_metered()).then_some(1),
        price,
        product,
        since: account.now,
    };
    set_quantity(&mut item, form)?;
    form.metadata(&mut item.metadata)?;
    Ok(item)
}

fn change(account: &Account, item: &mut Item, form: &mut Form) -> Result<(), Refusal> {
    if let Some(price) = form.text("price")?.filter(|price| *price != item.price.id) {
        let (price, product) = usable_price(account, &price, &form.name("price"))?;
        item.quantity = (!price.is_metered()).then_some(item.quantity.unwrap_or(1));
        (item.price, item.product, item.since) = (price, product, account.now);
    }
    set_quantity(item, form)?;
    form.metadata(&mut item.metadata)
}

fn set_quantity(item: &mut Item, form: &mut Form) -> Result<(), Refusal> {
    let param = form.name("quantity");
    if let Some(quantity) = form.integer_in("quantity", 0..=MAX_AMOUNT)? {
        if item.price.is_metered() {
            return Err(Refusal::invalid("Usage has no quantity.").param(&param));
        }
        item.quantity = Some(quantity);
    }
    let amount = item.price.unit.times(item.quantity.unwrap_or(0));
    if amount > i128::from(MAX_AMOUNT) {
        return Err(Refusal::invalid("The amount is too large.")
            .code("amount_too_large")
            .param(&param));
    }
    Ok(())
}

/// Returns a price that a new item may have, and the name of its product.
fn usable_price(account: &Account, id: &str, param: &str) -> Result<(Price, String), Refusal> {
    let price = object::named(&account.prices, id, param)?;
    if !price.active {
        let message =
            "The price specified is inactive. This field only accepts active prices.".to_owned();
        return Err(Refusal::invalid(message).param(param));
    }
    if price.recurring.is_none() {
        return Err(Refusal::invalid(
            "The price specified is set to `type=one_time` but this field only accepts prices \
             with `type=recurring`.",
        )
        .param(param));
    }
    let product = object::named(&account.products, &price.product, param)?;
    Ok((price.clone(), product.name().to_owned()))
}

fn ensure_fit(items: &[Item]) -> Result<(), Refusal> {
    let refuse = |message: &str| Err(Refusal::invalid(message).param("items"));
    let Some(first) = items.first() else {
        return refuse("A subscription must have at least one active item.");
    };
    if items.len() > ITEMS {
        return refuse("A subscription has at most 20 items.");
    }
    let fits = |item: &Item| {
        item.price.currency == first.price.currency && item.interval() == first.interval()
    };
    if !items.iter().all(fits) {
        return refuse("All prices must have the same currency and the same interval.");
    }
    let occurs_once = |item: &&Item| {
        let same = items.iter().filter(|other| other.price.id == item.price.id);
        same.count() == 1
    };
    if items.iter().filter(occurs_once).count() != items.len() {
        return refuse("You cannot add multiple subscription items with the same price.");
    }
    Ok(())
}
