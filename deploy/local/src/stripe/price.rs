//! Prices: what a product costs, once or again and again.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    account::Account,
    decimal::Decimal,
    form::{Form, Metadata},
    object::{self, Created, Object, Page},
    period::Interval,
    product,
    refusal::Refusal,
};

/// Maximum amount: the largest integer that every JSON parser reads exactly. Stripe's own maximum
/// is lower, and differs between accounts.
pub(super) const MAX_AMOUNT: i64 = (1 << 53) - 1;
/// Maximum lookup keys of one list.
const LOOKUP_KEYS: usize = 10;

/// What a product costs.
#[derive(Clone, Serialize)]
pub(super) struct Price {
    pub(super) id: String,
    created: i64,
    pub(super) active: bool,
    pub(super) currency: String,
    lookup_key: Option<String>,
    metadata: Metadata,
    nickname: Option<String>,
    pub(super) product: String,
    pub(super) recurring: Option<Recurring>,
    tax_behavior: &'static str,
    #[serde(rename = "unit_amount_decimal")]
    pub(super) unit: Decimal,
}

/// How often a price is due.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Recurring {
    #[serde(flatten)]
    pub(super) interval: Interval,
    /// The id of the meter that counts, if the price is per unit of usage.
    pub(super) meter: Option<String>,
    usage_type: &'static str,
    trial_period_days: Option<i64>,
}

impl Object for Price {
    const NAME: &'static str = "price";

    fn id(&self) -> &str {
        &self.id
    }

    fn derived(&self) -> Value {
        json!({
            "billing_scheme": "per_unit",
            "custom_unit_amount": null,
            "tiers_mode": null,
            "transform_quantity": null,
            "type": if self.recurring.is_some() { "recurring" } else { "one_time" },
            "unit_amount": self.unit.as_whole(),
        })
    }
}

impl Price {
    /// Whether it is per unit of usage.
    pub(super) fn is_metered(&self) -> bool {
        let meter = self.recurring.as_ref().map(|recurring| &recurring.meter);
        meter.is_some_and(Option::is_some)
    }

    /// Returns the plan, which the items of subscriptions still have.
    pub(super) fn plan(&self) -> Option<Value> {
        let recurring = self.recurring.as_ref()?;
        Some(json!({
            "id": self.id,
            "object": "plan",
            "active": self.active,
            "amount": self.unit.as_whole(),
            "amount_decimal": self.unit,
            "billing_scheme": "per_unit",
            "created": self.created,
            "currency": self.currency,
            "interval": recurring.interval.interval,
            "interval_count": recurring.interval.interval_count,
            "livemode": false,
            "metadata": self.metadata,
            "meter": recurring.meter,
            "nickname": self.nickname,
            "product": self.product,
            "tiers_mode": null,
            "transform_usage": null,
            "trial_period_days": null,
            "usage_type": recurring.usage_type,
        }))
    }
}

/// Creates a price, and its product if that is new.
///
/// # Errors
/// If a parameter is refused, or the lookup key is taken.
pub(super) fn create(account: &mut Account, mut form: Form) -> Result<Value, Refusal> {
    let currency = currency(&form.required("currency")?)?;
    let unit = unit(&mut form)?;
    form.choice("billing_scheme", &["per_unit"])?;
    let (product, mut new_product) = (form.text("product")?, form.nested("product_data"));
    let new_product = match &product {
        Some(id) => {
            object::named(&account.products, id, "product")?;
            None
        }
        None if new_product.is_empty() => return Err(Refusal::required("product")),
        None => Some(product::read_new(account, &mut new_product)?),
    };
    let recurring = recurring(account, form.nested("recurring"))?;
    let mut price = Price {
        id: String::new(),
        created: account.now,
        active: form.boolean("active")?.unwrap_or(true),
        currency,
        lookup_key: None,
        metadata: Metadata::new(),
        nickname: form.text("nickname")?,
        product: product.unwrap_or_default(),
        recurring,
        tax_behavior: tax_behavior(&mut form)?.unwrap_or("unspecified"),
        unit,
    };
    form.metadata(&mut price.metadata)?;
    let (key, transfer) = lookup_key(account, &mut form)?;
    form.end()?;
    if let Some(product) = new_product {
        object::Object::id(&product).clone_into(&mut price.product);
        product::keep(account, product);
    }
    price.id = account.new_id("price");
    if let Some(key) = key {
        take_key(account, &key, transfer);
        price.lookup_key = Some(key);
    }
    let shown = price.shown();
    account.prices.insert(price.id.clone(), price);
    account.happened("price.created", shown.clone());
    Ok(shown)
}

/// Reads what one unit costs.
fn unit(form: &mut Form) -> Result<Decimal, Refusal> {
    let whole = form.integer_in("unit_amount", 0..=MAX_AMOUNT)?;
    let decimal = form.text("unit_amount_decimal")?;
    match (whole, decimal) {
        (None, None) => Err(Refusal::required("unit_amount")),
        (Some(whole), None) => Ok(Decimal::whole(whole)),
        (None, Some(decimal)) => Decimal::parse(&decimal).ok_or_else(|| {
            Refusal::invalid(format!("Invalid decimal: {decimal}.")).param("unit_amount_decimal")
        }),
        (Some(_), Some(_)) => Err(Refusal::invalid("Only one of them is possible.")
            .code("parameters_exclusive")
            .param("unit_amount_decimal")),
    }
}

fn tax_behavior(form: &mut Form) -> Result<Option<&'static str>, Refusal> {
    form.choice("tax_behavior", &["exclusive", "unspecified"])
}

/// Reads how often a price is due.
fn recurring(account: &Account, mut form: Form) -> Result<Option<Recurring>, Refusal> {
    if form.is_empty() {
        return Ok(None);
    }
    let interval = form.choice("interval", &["day", "week", "month", "year"])?;
    let interval = interval.ok_or_else(|| Refusal::required("recurring[interval]"))?;
    let interval_count = form.integer_in("interval_count", 1..=36)?.unwrap_or(1);
    let usage_type = form.choice("usage_type", &["licensed", "metered"])?;
    let usage_type = usage_type.unwrap_or("licensed");
    let meter = form.text("meter")?;
    form.end()?;
    if meter.is_some() != (usage_type == "metered") {
        return Err(
            Refusal::invalid("A meter and `usage_type=metered` need each other.")
                .param("recurring[meter]"),
        );
    }
    if let Some(meter) = &meter {
        object::named(&account.meters, meter, "recurring[meter]")?;
    }
    Ok(Some(Recurring {
        interval: Interval {
            interval,
            interval_count,
        },
        meter,
        usage_type,
        trial_period_days: None,
    }))
}

/// Reads the lookup key, and whether another price may lose it.
fn lookup_key(account: &Account, form: &mut Form) -> Result<(Option<String>, bool), Refusal> {
    let key = form.text("lookup_key")?;
    let transfer = form.boolean("transfer_lookup_key")?.unwrap_or(false);
    let holder = key.as_ref().and_then(|key| holder(account, key));
    match holder {
        Some(id) if !transfer => {
            let message = format!("A price (`{id}`) already uses that lookup key.");
            Err(Refusal::invalid(message).param("lookup_key"))
        }
        Some(_) | None => Ok((key, transfer)),
    }
}

fn holder(account: &Account, key: &str) -> Option<String> {
    let mut prices = account.prices.values();
    let price = prices.find(|price| price.lookup_key.as_deref() == Some(key))?;
    Some(price.id.clone())
}

fn take_key(account: &mut Account, key: &str, transfer: bool) {
    if !transfer {
        return;
    }
    let holder = holder(account, key);
    if let Some(price) = holder.and_then(|id| account.prices.get_mut(&id)) {
        let before = price.shown();
        price.lookup_key = None;
        let shown = price.shown();
        account.changed("price.updated", &before, shown);
    }
}

/// Changes a price. Its amount never changes.
///
/// # Errors
/// If a parameter is refused, or the price does not exist.
pub(super) fn update(account: &mut Account, id: &str, mut form: Form) -> Result<Value, Refusal> {
    let mut price = object::find(&account.prices, id)?.clone();
    let before = price.shown();
    price.active = form.boolean("active")?.unwrap_or(price.active);
    price.tax_behavior = tax_behavior(&mut form)?.unwrap_or(price.tax_behavior);
    form.set("nickname", &mut price.nickname)?;
    form.metadata(&mut price.metadata)?;
    let (key, transfer) = lookup_key(account, &mut form)?;
    form.end()?;
    if let Some(key) = key {
        take_key(account, &key, transfer);
        price.lookup_key = Some(key);
    }
    let shown = price.shown();
    account.prices.insert(id.to_owned(), price);
    account.changed("price.updated", &before, shown.clone());
    Ok(shown)
}

/// Returns a price.
///
/// # Errors
/// If it does not exist.
pub(super) fn retrieve(account: &Account, id: &str) -> Result<Value, Refusal> {
    Ok(object::find(&account.prices, id)?.shown())
}

/// Lists prices.
///
/// # Errors
/// If a parameter is refused.
pub(super) fn list(account: &Account, mut form: Form) -> Result<Value, Refusal> {
    let (page, created) = (Page::read(&mut form)?, Created::read(&mut form)?);
    let (active, product) = (form.boolean("active")?, form.text("product")?);
    let (currency, keys) = (form.text("currency")?, form.texts("lookup_keys"));
    let kind = form.choice("type", &["one_time", "recurring"])?;
    form.end()?;
    if keys.len() > LOOKUP_KEYS {
        let message = format!("At most {LOOKUP_KEYS} lookup keys.");
        return Err(Refusal::invalid(message).param("lookup_keys"));
    }
    let is_wanted = |price: &Price| {
        let has_key = price
            .lookup_key
            .as_ref()
            .is_some_and(|key| keys.contains(key));
        let has_kind = kind.is_none_or(|kind| (kind == "recurring") == price.recurring.is_some());
        (keys.is_empty() || has_key)
            && has_kind
            && active.is_none_or(|active| active == price.active)
            && product
                .as_ref()
                .is_none_or(|product| *product == price.product)
            && currency
                .as_ref()
                .is_none_or(|currency| *currency == price.currency)
            && created.contains(price.created)
    };
    page.of("/v1/prices", &account.prices, is_wanted)
}

/// Currencies of payments at Stripe.
const CURRENCIES: &str = "\
    aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp \
    byn bzd cad cdf chf clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel \
    gip gmd gnf gtq gyd hkd hnl hrk htg huf idr ils inr isk jmd jod jpy kes kgs khr kmf krw \
    kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr mwk mxn myr mzn nad \
    ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek \
    sgd shp sle sos srd std svc szl thb tjs tnd top try ttd twd tzs uah ugx usd uyu uzs vnd \
    vuv wst xaf xcd xof xpf yer zar zmw";

/// Returns a currency as answers have it.
///
/// # Errors
/// If there is none of this name.
fn currency(name: &str) -> Result<String, Refusal> {
    let name = name.to_ascii_lowercase();
    if CURRENCIES
        .split_whitespace()
        .any(|currency| currency == name)
    {
        return Ok(name);
    }
    Err(Refusal::invalid(format!("Invalid currency: {name}.")).param("currency"))
}
