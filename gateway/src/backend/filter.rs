//! Conditions on the fields of a view, and the order of a list.

use anyhow::Context as _;
use mongodb::bson::{self, Bson, Document, doc};
use serde::Serialize;

use crate::error::Error;

/// Conditions on the fields of a view. All of them must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    fields: Document,
    bounds: Vec<Document>,
}

/// The order of a list. Documents with the same value are ordered by their ids.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sort {
    /// A field of the view.
    pub(crate) field: &'static str,
    pub(crate) descending: bool,
}

/// The position of a document in a list: the value of the field that the list is sorted by, and the
/// document's id.
#[derive(Clone, Debug)]
pub(crate) struct Position {
    pub(crate) value: serde_json::Value,
    pub(crate) id: String,
}

impl Filter {
    /// Requires that a field has this value.
    ///
    /// # Errors
    /// If the value cannot be written as BSON.
    pub(crate) fn is(mut self, field: &str, value: impl Serialize) -> Result<Self, Error> {
        self.fields.insert(path(field), to_bson(&value)?);
        Ok(self)
    }

    /// Requires that a field has one of these values.
    ///
    /// # Errors
    /// If the value cannot be written as BSON.
    pub(crate) fn one_of(mut self, field: &str, values: &impl Serialize) -> Result<Self, Error> {
        let values = to_bson(values)?;
        self.fields.insert(path(field), doc! { "$in": values });
        Ok(self)
    }

    /// Requires that the value of a field is greater than this one.
    pub(crate) fn greater_than(mut self, field: &str, value: i64) -> Self {
        self.fields.insert(path(field), doc! { "$gt": value });
        self
    }

    /// Excludes the document with this id.
    pub(crate) fn except(mut self, id: impl ToString) -> Self {
        self.fields.insert("_id", doc! { "$ne": id.to_string() });
        self
    }

    /// Requires that a document comes after this position in the order, or before it if `after` is
    /// false.
    ///
    /// # Errors
    /// If the value of the position cannot be written as BSON.
    pub(crate) fn beyond(
        mut self,
        sort: Sort,
        position: &Position,
        after: bool,
    ) -> Result<Self, Error> {
        let field = path(sort.field);
        let value = to_bson(&position.value)?;
        let operator = if after == sort.descending {
            "$lt"
        } else {
            "$gt"
        };
        let tie = doc! { &field: &value, "_id": { operator: &position.id } };
        self.bounds
            .push(doc! { "$or": [{ &field: { operator: &value } }, tie] });
        Ok(self)
    }

    /// Returns the query document.
    pub(super) fn into_document(self) -> Document {
        let mut document = self.fields;
        if !self.bounds.is_empty() {
            document.insert("$and", self.bounds);
        }
        document
    }
}

impl Sort {
    /// Returns the sort document. The tenant leads, as in every index.
    pub(super) fn to_document(self, reversed: bool) -> Document {
        let direction = if self.descending == reversed { 1 } else { -1 };
        doc! { "tenant": direction, path(self.field): direction, "_id": direction }
    }
}

fn path(field: &str) -> String {
    format!("view.{field}")
}

fn to_bson(value: &impl Serialize) -> Result<Bson, Error> {
    Ok(bson::serialize_to_bson(value).context("writing a condition")?)
}
