//! Coupons, promotion codes, and the discounts that they give.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    account::Account,
    form::{Form, Metadata},
    object::{self, Object, Page, Table},
    period::share,
    price::MAX_AMOUNT,
    refusal::Refusal,
};

/// A rebate.
#[derive(Clone, Serialize)]
pub(super) struct Coupon {
    id: String,
    created: i64,
    name: Option<String>,
    percent_off: Option<i64>,
    amount_off: Option<i64>,
    currency: Option<String>,
    /// `once` or `forever`.
    duration: &'static str,
    metadata: Metadata,
}

/// A code that gives a coupon.
#[derive(Clone, Serialize)]
pub(super) struct PromotionCode {
    id: String,
    created: i64,
    code: String,
    active: bool,
    metadata: Metadata,
    #[serde(skip)]
    coupon: String,
}

/// A coupon that a subscription got.
#[derive(Clone, Serialize)]
pub(super) struct Discount {
    id: String,
    start: i64,
    customer: String,
    promotion_code: Option<String>,
    #[serde(skip)]
    pub(super) coupon: Coupon,
}

impl Coupon {
    /// Returns what is taken off an amount.
    pub(super) fn off(&self, amount: i64) -> i64 {
        let percent = self
            .percent_off
            .map(|percent| share(amount, percent.into(), 100));
        let off = percent.or(self.amount_off).unwrap_or(0);
        off.clamp(0, amount.max(0))
    }

    /// Whether it counts for one invoice only.
    pub(super) fn is_once(&self) -> bool {
        self.duration == "once"
    }
}

impl Object for Coupon {
    const NAME: &'static str = "coupon";

    fn id(&self) -> &str {
        &self.id
    }

    fn derived(&self) -> Value {
        json!({
            "duration_in_months": null,
            "max_redemptions": null,
            "redeem_by": null,
            "times_redeemed": 0,
            "valid": true,
        })
    }
}

impl Object for PromotionCode {
    const NAME: &'static str = "promotion_code";

    fn id(&self) -> &str {
        &self.id
    }

    fn derived(&self) -> Value {
        json!({
            "customer": null,
            "expires_at": null,
            "max_redemptions": null,
            "promotion": { "coupon": self.coupon, "type": "coupon" },
            "restrictions": {
                "first_time_transaction": false,
                "minimum_amount": null,
                "minimum_amount_currency": null,
            },
            "times_redeemed": 0,
        })
    }
}

impl Object for Discount {
    const NAME: &'static str = "discount";

    fn id(&self) -> &str {
        &self.id
    }

    fn derived(&self) -> Value {
        json!({
            "checkout_session": null,
            "end": null,
            "invoice": null,
            "invoice_item": null,
            "source": { "coupon": self.coupon.id, "type": "coupon" },
            "subscription_item": null,
        })
    }
}

/// Creates a coupon.
///
/// # Errors
/// If a parameter is refused, or the id is taken.
pub(super) fn create_coupon(account: &mut Account, mut form: Form) -> Result<Value, Refusal> {
    let id = form.text("id")?;
    if id
        .as_ref()
        .is_some_and(|id| account.coupons.contains_key(id))
    {
        return Err(Refusal::invalid("Coupon already exists.").code("resource_already_exists"));
    }
    let mut coupon = Coupon {
        id: id.unwrap_or_else(|| account.new_id("coupon")),
        created: account.now,
        name: form.text("name")?,
        percent_off: form.integer_in("percent_off", 1..=100)?,
        amount_off: form.integer_in("amount_off", 1..=MAX_AMOUNT)?,
        currency: form.text("currency")?,
        duration: form
            .choice("duration", &["once", "forever"])?
            .unwrap_or("once"),
        metadata: Metadata::new(),
    };
    form.metadata(&mut coupon.metadata)?;
    form.end()?;
    if coupon.percent_off.is_some() == coupon.amount_off.is_some() {
        return Err(Refusal::invalid(
            "A coupon has either `percent_off` or `amount_off`.",
        ));
    }
    if coupon.amount_off.is_some() != coupon.currency.is_some() {
        return Err(Refusal::invalid(
            "`amount_off` and `currency` need each other.",
        ));
    }
    let shown = coupon.shown();
    account.coupons.insert(coupon.id.clone(), coupon);
    account.happened("coupon.created", shown.clone());
    Ok(shown)
}

/// Creates a promotion code.
///
/// # Errors
/// If a parameter is refused, or the code is taken.
pub(super) fn create_code(account: &mut Account, mut form: Form) -> Result<Value, Refusal> {
    let mut promotion = form.nested("promotion");
    promotion.choice("type", &["coupon"])?;
    let coupon = promotion.required("coupon")?;
    promotion.end()?;
    object::named(&account.coupons, &coupon, "promotion[coupon]")?;
    let (code, active) = (form.required("code")?, form.boolean("active")?);
    let mut metadata = Metadata::new();
    form.metadata(&mut metadata)?;
    form.end()?;
    let is_same = |other: &PromotionCode| other.active && is_code(other, &code);
    if account.promotion_codes.values().any(is_same) {
        let message = "An active promotion code with `code` already exists.";
        return Err(Refusal::invalid(message).param("code"));
    }
    let promotion_code = PromotionCode {
        id: account.new_id("promo"),
        created: account.now,
        code,
        active: active.unwrap_or(true),
        metadata,
        coupon,
    };
    let shown = promotion_code.shown();
    let id = promotion_code.id.clone();
    account.promotion_codes.insert(id, promotion_code);
    account.happened("promotion_code.created", shown.clone());
    Ok(shown)
}

fn is_code(promotion: &PromotionCode, code: &str) -> bool {
    promotion.code.eq_ignore_ascii_case(code)
}

/// Lists promotion codes.
///
/// # Errors
/// If a parameter is refused.
pub(super) fn list_codes(account: &Account, mut form: Form) -> Result<Value, Refusal> {
    let page = Page::read(&mut form)?;
    let (code, active) = (form.text("code")?, form.boolean("active")?);
    form.end()?;
    let is_wanted = |found: &PromotionCode| {
        let is_named = code.as_ref().is_none_or(|code| is_code(found, code));
        is_named && active.is_none_or(|active| active == found.active)
    };
    page.of("/v1/promotion_codes", &account.promotion_codes, is_wanted)
}

/// Returns an object of a path.
///
/// # Errors
/// If it does not exist.
pub(super) fn retrieve<T: Object>(table: &Table<T>, id: &str) -> Result<Value, Refusal> {
    Ok(object::find(table, id)?.shown())
}

/// Reads the discounts that a subscription shall have. `None` keeps those that it has.
///
/// # Errors
/// If there is more than one, or one that does not exist.
pub(super) fn read_discounts(
    account: &mut Account,
    form: &mut Form,
    customer: &str,
) -> Result<Option<Vec<Discount>>, Refusal> {
    let is_cleared = form.change("discounts")?.is_some();
    let mut forms = form.forms("discounts");
    if forms.len() > 1 {
        return Err(Refusal::invalid("Only one discount is supported.").param("discounts"));
    }
    let Some(mut form) = forms.pop() else {
        return Ok(is_cleared.then(Vec::new));
    };
    let (code, coupon, kept) = (
        form.text("promotion_code")?,
        form.text("coupon")?,
        form.text("discount")?,
    );
    form.end()?;
    if let Some(kept) = kept {
        let kept = object::named(&account.discounts, &kept, "discounts[0][discount]")?;
        return Ok(Some(vec![kept.clone()]));
    }
    let coupon = match (&code, coupon) {
        (Some(code), None) => {
            let param = "discounts[0][promotion_code]";
            let code = object::named(&account.promotion_codes, code, param)?;
            if !code.active {
                return Err(Refusal::invalid("This promotion code is not active.").param(param));
            }
            code.coupon.clone()
        }
        (None, Some(coupon)) => coupon,
        (Some(_), Some(_)) | (None, None) => {
            return Err(Refusal::invalid("Exactly one is needed.").param("discounts[0]"));
        }
    };
    let coupon = object::named(&account.coupons, &coupon, "discounts[0][coupon]")?.clone();
    let discount = Discount {
        id: account.new_id("di"),
        start: account.now,
        customer: customer.to_owned(),
        promotion_code: code,
        coupon,
    };
    Ok(Some(vec![discount]))
}
