//! What all objects have in common, and lists of them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::{form::Form, refusal::Refusal};

/// An object of the API. Its fields are named as Stripe names them.
pub(super) trait Object: Clone + Serialize {
    /// The value of `object`.
    const NAME: &'static str;

    /// Returns the id.
    fn id(&self) -> &str;

    /// Returns the fields that follow from others, or are always the same.
    fn derived(&self) -> Value;

    /// Returns the object as an answer has it.
    fn shown(&self) -> Value {
        let mut shown = json!(self);
        shown["object"] = Self::NAME.into();
        shown["livemode"] = false.into();
        merge(&mut shown, self.derived());
        shown
    }
}

/// Objects by id. Ids rise, so their order is that of creation.
pub(super) type Table<T> = BTreeMap<String, T>;

/// Adds the fields of an object to another.
pub(super) fn merge(object: &mut Value, further: Value) {
    if let (Value::Object(object), Value::Object(further)) = (object, further) {
        object.extend(further);
    }
}

/// Returns an object that a path names.
///
/// # Errors
/// If there is none.
pub(super) fn find<'a, T: Object>(table: &'a Table<T>, id: &str) -> Result<&'a T, Refusal> {
    let found = table.get(id);
    found.ok_or_else(|| Refusal::not_found(&spoken::<T>(), id))
}

/// Returns an object that a path names, to change it.
///
/// # Errors
/// If there is none.
pub(super) fn find_mut<'a, T: Object>(
    table: &'a mut Table<T>,
    id: &str,
) -> Result<&'a mut T, Refusal> {
    let found = table.get_mut(id);
    found.ok_or_else(|| Refusal::not_found(&spoken::<T>(), id))
}

/// Returns an object that a parameter names.
///
/// # Errors
/// If there is none.
pub(super) fn named<'a, T: Object>(
    table: &'a Table<T>,
    id: &str,
    param: &str,
) -> Result<&'a T, Refusal> {
    let found = table.get(id);
    found.ok_or_else(|| Refusal::missing(&spoken::<T>(), id, param))
}

/// The kind of object as errors name it, such as `PaymentMethod`.
fn spoken<T: Object>() -> String {
    if T::NAME == "payment_method" {
        return "PaymentMethod".to_owned();
    }
    T::NAME.replace('.', " ")
}

/// Which part of a list to answer.
pub(super) struct Page {
    limit: usize,
    starting_after: Option<String>,
    ending_before: Option<String>,
}

impl Page {
    /// Reads the parameters that every list has.
    ///
    /// # Errors
    /// If one is invalid.
    pub(super) fn read(form: &mut Form) -> Result<Self, Refusal> {
        let limit = form.integer_in("limit", 1..=100)?.unwrap_or(10);
        Ok(Self {
            limit: usize::try_from(limit).unwrap_or(10),
            starting_after: form.text("starting_after")?,
            ending_before: form.text("ending_before")?,
        })
    }

    /// Returns the list, newest first.
    ///
    /// # Errors
    /// If the page begins at an object that does not exist.
    pub(super) fn of<T: Object>(
        self,
        url: &str,
        table: &Table<T>,
        is_wanted: impl Fn(&T) -> bool,
    ) -> Result<Value, Refusal> {
        if let Some(id) = &self.starting_after {
            named(table, id, "starting_after")?;
        }
        if let Some(id) = &self.ending_before {
            named(table, id, "ending_before")?;
        }
        let is_after = |id: &str| self.starting_after.as_deref().is_none_or(|at| id < at);
        let is_before = |id: &str| self.ending_before.as_deref().is_none_or(|at| id > at);
        let wanted = |object: &&T| is_after(object.id()) && is_before(object.id());
        let wanted = table
            .values()
            .filter(wanted)
            .filter(|object| is_wanted(object));
        let mut found: Vec<&T> = wanted.collect();
        let has_more = found.len() > self.limit;
        if self.ending_before.is_some() {
            // The page that ends directly before that object.
            found.truncate(self.limit);
        }
        let data: Vec<Value> = found
            .into_iter()
            .rev()
            .take(self.limit)
            .map(Object::shown)
            .collect();
        Ok(list(url, data, has_more))
    }
}

/// Returns a list as an answer has it.
pub(super) fn list(url: &str, data: Vec<Value>, has_more: bool) -> Value {
    json!({ "object": "list", "url": url, "data": data, "has_more": has_more })
}

/// Which times of creation a list has.
#[derive(Default)]
pub(super) struct Created {
    from: Option<i64>,
    to: Option<i64>,
}

impl Created {
    /// Reads `created`, `created[gte]` and the like.
    ///
    /// # Errors
    /// If one is no integer.
    pub(super) fn read(form: &mut Form) -> Result<Self, Refusal> {
        if let Some(at) = form.integer("created")? {
            return Ok(Self {
                from: Some(at),
                to: Some(at),
            });
        }
        let mut range = form.nested("created");
        let after = range.integer("gt")?.map(|at| at.saturating_add(1));
        let before = range.integer("lt")?.map(|at| at.saturating_sub(1));
        let created = Self {
            from: range.integer("gte")?.max(after),
            to: range.integer("lte")?.or(before),
        };
        range.end()?;
        Ok(created)
    }

    /// Whether this time is among them.
    pub(super) fn contains(&self, at: i64) -> bool {
        self.from.is_none_or(|from| from <= at) && self.to.is_none_or(|to| at <= to)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{account::Account, refusal::Refusal},
        *,
    };

    fn account() -> Account {
        let mut account = Account::new(0);
        for _ in 0..25 {
            super::super::customer::create(&mut account, Form::default()).unwrap();
        }
        account
    }

    fn page(account: &Account, query: &str) -> Result<(Vec<String>, bool), Refusal> {
        let page = Page::read(&mut Form::parse(query, b"").unwrap())?;
        let list = page.of("/v1/customers", &account.customers, |_| true)?;
        let ids = list["data"].as_array().unwrap().iter();
        let ids = ids.map(|object| object["id"].as_str().unwrap().to_owned());
        Ok((ids.collect(), list["has_more"].as_bool().unwrap()))
    }

    #[test]
    fn pages_lead_to_every_object_once_and_back() {
        let account = account();
        let newest_first: Vec<String> = account.customers.keys().rev().cloned().collect();
        let (first, more) = page(&account, "").unwrap();
        assert_eq!((first.as_slice(), more), (&newest_first[..10], true));
        let (second, more) = page(&account, &format!("starting_after={}", first[9])).unwrap();
        assert_eq!((second.as_slice(), more), (&newest_first[10..20], true));
        let (last, more) = page(&account, &format!("starting_after={}", second[9])).unwrap();
        assert_eq!((last.as_slice(), more), (&newest_first[20..], false));
        let (back, more) = page(&account, &format!("ending_before={}", last[0])).unwrap();
        assert_eq!((back, more), (second, true));
    }

    #[test]
    fn a_page_has_at_most_100_objects_and_begins_at_one_that_exists() {
        let account = account();
        assert!(page(&account, "limit=101").is_err());
        assert!(page(&account, "starting_after=cus_0").is_err());
    }
}
