//! The indexes of a view's collection.

use events_schema::{Index, View};
use mongodb::{
    IndexModel,
    bson::{self, doc},
    options::IndexOptions,
};

/// Returns the indexes that a view's collection needs.
pub(super) fn indexes<V: View>() -> Vec<IndexModel> {
    // A move reads all documents of a tenant; everybody else reads only those that show something.
    let all = index(&Index::on(&[]), None);
    let shown = doc! { "view": { "$type": "object" } };
    let shown = V::INDEXES.iter().map(|on| index(on, Some(shown.clone())));
    std::iter::once(all).chain(shown).collect()
}

/// Returns an index of the documents that meet the condition. So deleted objects cost a list
/// nothing.
fn index(index: &Index, condition: Option<bson::Document>) -> IndexModel {
    // The tenant comes first, since every read names it; the id last, so that pages have one order.
    let mut keys = doc! { "tenant": 1 };
    for field in index.fields {
        keys.insert(format!("view.{field}"), 1);
    }
    keys.insert("_id", 1);
    let mut name = [&["tenant"], index.fields, &["id"]].concat();
    name.extend(condition.is_some().then_some("shown"));
    let mut options = IndexOptions::builder().name(name.join("_")).build();
    options.partial_filter_expression = condition;
    IndexModel::builder().keys(keys).options(options).build()
}
