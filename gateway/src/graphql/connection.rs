//! Lists by pages, as Relay has them: keyset pagination, so that cursors stay where they are
//! whatever is written meanwhile.

use anyhow::Context as _;
use async_graphql::{
    Context, OutputType, SimpleObject,
    connection::{self, Edge},
};
use data_encoding::BASE64URL_NOPAD;
use events_schema::{Id, View};
use mongodb::bson::{self, Bson, Document as Filter, doc};
use serde::{Deserialize, Serialize};

use crate::{
    backend::views::{Found, Scoped},
    error::Error,
};

/// Nodes on a page where nobody says how many.
const DEFAULT_SIZE: i64 = 50;
/// Nodes on a page at most.
const LARGEST_SIZE: i64 = 100;

/// A page of nodes.
pub(super) type Connection<N> = connection::Connection<String, N, Total>;

/// What a page tells beside its nodes.
#[derive(SimpleObject)]
pub(super) struct Total {
    /// How many there are on all pages.
    total_count: Option<u64>,
}

/// Which page is wanted.
pub(super) struct Page {
    pub(super) first: Option<i64>,
    pub(super) after: Option<String>,
    pub(super) last: Option<i64>,
    pub(super) before: Option<String>,
}

/// Which views, in which order. An index serves it: see `INDEXES` in `workers/src/view/`.
pub(super) struct Listing {
    pub(super) filter: Filter,
    /// A field of the view that never changes, or one that the client chose knowing that it may.
    pub(super) order: &'static str,
    pub(super) descending: bool,
}

/// Where a node stands: the field that orders the list, its value there, and its id.
#[derive(Serialize, Deserialize)]
struct Cursor(String, serde_json::Value, Id);

impl Cursor {
    fn of<V: View>(found: &Found<V>, order: &str) -> anyhow::Result<Self> {
        let view = serde_json::to_value(&found.view)?;
        Ok(Self(
            order.to_owned(),
            view.get(order).cloned().unwrap_or_default(),
            found.id,
        ))
    }

    fn write(&self) -> anyhow::Result<String> {
        Ok(BASE64URL_NOPAD.encode(&serde_json::to_vec(self)?))
    }

    fn read(field: &'static str, order: &str, text: &str) -> Result<Self, Error> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok();
        let cursor: Option<Self> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let of_this_list =
            |Self(of, value, _): &Self| of == order && (value.is_string() || value.is_i64());
        cursor
            .filter(of_this_list)
            .ok_or_else(|| Error::input(field, format!("{field} must be a cursor of this list.")))
    }
}

impl Page {
    /// Whether it is read from the end, and how many nodes it has.
    fn size(&self) -> Result<(bool, i64), Error> {
        let (backward, field, size) = match (self.first, self.last) {
            (Some(_), Some(_)) => {
                return Err(Error::input("last", "Give first or last, not both."));
            }
            (None, Some(last)) => (true, "last", last),
            (first, None) => (false, "first", first.unwrap_or(DEFAULT_SIZE)),
        };
        if (0..=LARGEST_SIZE).contains(&size) {
            Ok((backward, size))
        } else {
            Err(Error::input(
                field,
                format!("{field} must be 0 to {LARGEST_SIZE}."),
            ))
        }
    }
}

/// Reads one page.
pub(super) async fn page<V: View, N: OutputType>(
    ctx: &Context<'_>,
    scope: &Scoped,
    page: Page,
    listing: Listing,
    node: impl Fn(Found<V>) -> N,
) -> Result<Connection<N>, Error> {
    let (found, previous, next) = read::<V>(scope, &page, &listing).await?;
    let total = if ctx.look_ahead().field("totalCount").exists() {
        Some(scope.count::<V>(listing.filter).await?)
    } else {
        None
    };
    let mut connection =
        Connection::with_additional_fields(previous, next, Total { total_count: total });
    for found in found {
        let cursor = Cursor::of(&found, listing.order)
            .and_then(|cursor| cursor.write())
            .context("writing a cursor")?;
        connection.edges.push(Edge::new(cursor, node(found)));
    }
    Ok(connection)
}

/// The views of a page, and whether there are others before and behind it.
async fn read<V: View>(
    scope: &Scoped,
    page: &Page,
    listing: &Listing,
) -> Result<(Vec<Found<V>>, bool, bool), Error> {
    let (backward, size) = page.size()?;
    let field = format!("view.{}", listing.order);
    let mut bounds = vec![listing.filter.clone()];
    for (name, cursor, behind) in [
        ("after", &page.after, true),
        ("before", &page.before, false),
    ] {
        let Some(cursor) = cursor else { continue };
        let Cursor(_, value, id) = Cursor::read(name, listing.order, cursor)?;
        let value = bson::serialize_to_bson(&value).context("reading a cursor")?;
        let side = if behind == listing.descending {
            "$lt"
        } else {
            "$gt"
        };
        bounds.push(doc! { "$or": [{ &field: { side: &value } }, { &field: &value, "_id": { side: id.to_string() } }] });
    }
    let direction = if listing.descending == backward {
        1
    } else {
        -1
    };
    let filter = doc! { "$and": bounds };
    let mut found = scope
        .list::<V>(
            filter,
            doc! { "tenant": direction, field: direction, "_id": direction },
            size + 1,
        )
        .await?;
    let more = found.len() as i64 > size;
    found.truncate(usize::try_from(size).unwrap_or(0));
    if backward {
        found.reverse();
        Ok((found, more, page.before.is_some()))
    } else {
        Ok((found, page.after.is_some(), more))
    }
}

/// A filter that a field is one of several texts, if any were named.
pub(super) fn one_of(filter: &mut Filter, field: &str, values: Option<Vec<String>>) {
    if let Some(values) = values {
        filter.insert(
            field,
            doc! { "$in": values.into_iter().map(Bson::String).collect::<Vec<_>>() },
        );
    }
}
