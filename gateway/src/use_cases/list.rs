//! Lists by pages. A page begins after the position of a document, not after a number of documents,
//! so that cursors stay valid under writes.

use std::marker::PhantomData;

use anyhow::{Context as _, anyhow, ensure};
use data_encoding::BASE64URL_NOPAD;
use events_schema::{Id, View};
use serde::{Deserialize, Serialize};

use crate::{
    backend::{
        filter::{Filter, Position, Sort},
        views::{TenantViews, ViewDocument},
    },
    error::Error,
};

/// Documents on a page if the client gives no size.
const DEFAULT_SIZE: i64 = 50;
/// Maximum documents on a page.
const LARGEST_SIZE: i64 = 100;

/// A list of views: the fields that a client may filter and sort it by.
#[derive(Debug)]
pub(crate) struct List<V: 'static> {
    /// A field whose value every request for the list must give.
    within: Option<FilterBy<V>>,
    filters: &'static [FilterBy<V>],
    /// The first one is the default.
    orders: &'static [OrderBy<V>],
}

/// A field of a view that a list can be filtered by.
#[derive(Debug)]
pub(crate) struct FilterBy<V> {
    field: &'static str,
    is_selective: bool,
    view: PhantomData<fn() -> V>,
}

/// A field of a view that a list can be sorted by.
#[derive(Debug)]
pub(crate) struct OrderBy<V> {
    field: &'static str,
    view: PhantomData<fn() -> V>,
}

impl<V> FilterBy<V> {
    /// Offers a filter by a field whose values many documents share.
    pub(crate) const fn field(field: &'static str) -> Self {
        Self {
            field,
            is_selective: false,
            view: PhantomData,
        }
    }

    /// Offers a filter by a field whose values few documents share. These are sorted without an
    /// index.
    pub(crate) const fn selective(field: &'static str) -> Self {
        Self {
            field,
            is_selective: true,
            view: PhantomData,
        }
    }
}

impl<V> OrderBy<V> {
    /// Offers an order by a field.
    pub(crate) const fn field(field: &'static str) -> Self {
        Self {
            field,
            view: PhantomData,
        }
    }
}

impl<V: View> List<V> {
    /// Makes a list of all documents of a view.
    pub(crate) const fn new(
        filters: &'static [FilterBy<V>],
        orders: &'static [OrderBy<V>],
    ) -> Self {
        Self {
            within: None,
            filters,
            orders,
        }
    }

    /// Makes a list of the documents that have one value in this field.
    pub(crate) const fn within(field: FilterBy<V>, orders: &'static [OrderBy<V>]) -> Self {
        Self {
            within: Some(field),
            filters: &[],
            orders,
        }
    }

    /// Checks that the view has the indexes that the list needs: for each order alone, for each
    /// filter alone, and for each filter that is not selective with each order.
    ///
    /// # Errors
    /// If an index is missing. The error says what to do.
    pub(crate) fn check_indexes(&self) -> anyhow::Result<()> {
        let missing = self.missing_indexes();
        let view = V::NAME;
        ensure!(
            missing.is_empty(),
            "the list of {view} needs indexes on {missing:?}; add them to INDEXES of the view in \
             events-schema, or offer fewer filters and orders"
        );
        Ok(())
    }

    fn missing_indexes(&self) -> Vec<Vec<&'static str>> {
        let mut sorted: Vec<_> = self
            .orders
            .iter()
            .map(|order| self.alone(order.field))
            .collect();
        let mut missing = Vec::new();
        for filter in self.filters {
            let alone = self.alone(filter.field);
            if !filter.is_selective {
                let orders = self.orders.iter().map(|order| order.field);
                let others = orders.filter(|order| *order != filter.field);
                sorted.extend(others.map(|order| [alone.clone(), vec![order]].concat()));
            }
            if !V::INDEXES
                .iter()
                .any(|index| index.fields.starts_with(&alone))
            {
                missing.push(alone);
            }
        }
        // No further field may follow: documents with the same value are ordered by their ids.
        sorted.retain(|fields| !V::INDEXES.iter().any(|index| index.fields == fields));
        [missing, sorted].concat()
    }

    /// Returns the fields of the index that a filter or order needs alone.
    fn alone(&self, field: &'static str) -> Vec<&'static str> {
        let within = self.within.as_ref().map(|within| within.field);
        within.into_iter().chain([field]).collect()
    }
}

/// Checks the indexes of a list.
pub(crate) type IndexCheck = fn() -> anyhow::Result<()>;

/// The documents of a list that a client asks for, and their order.
#[derive(Debug)]
pub(crate) struct Selection<V: 'static> {
    list: &'static List<V>,
    filter: Filter,
    sort: Sort,
}

impl<V: View> Selection<V> {
    /// Selects all documents, in the list's default order.
    pub(crate) fn of(list: &'static List<V>) -> Self {
        let field = list.orders.first().map_or("_id", |order| order.field);
        Self {
            list,
            filter: Filter::default(),
            sort: Sort {
                field,
                descending: false,
            },
        }
    }

    /// Selects documents with this value, if one is given.
    ///
    /// # Errors
    /// If the list does not offer the filter.
    pub(crate) fn is(
        mut self,
        filter: &FilterBy<V>,
        value: Option<impl Serialize>,
    ) -> Result<Self, Error> {
        let field = self.offered(filter)?;
        if let Some(value) = value {
            self.filter = self.filter.is(field, value)?;
        }
        Ok(self)
    }

    /// Selects documents with one of these values, if any are given.
    ///
    /// # Errors
    /// If the list does not offer the filter.
    pub(crate) fn one_of<T: Serialize>(
        mut self,
        filter: &FilterBy<V>,
        values: Option<Vec<T>>,
    ) -> Result<Self, Error> {
        let field = self.offered(filter)?;
        if let Some(values) = values {
            self.filter = self.filter.one_of(field, &values)?;
        }
        Ok(self)
    }

    /// Sorts the documents.
    ///
    /// # Errors
    /// If the list does not offer the order.
    pub(crate) fn sorted_by(mut self, order: &OrderBy<V>, descending: bool) -> Result<Self, Error> {
        let field = order.field;
        let mut offered = self.list.orders.iter();
        if !offered.any(|offered| offered.field == field) {
            return Err(anyhow!("the list of {} has no order by {field}", V::NAME).into());
        }
        self.sort = Sort { field, descending };
        Ok(self)
    }

    fn offered(&self, filter: &FilterBy<V>) -> Result<&'static str, Error> {
        let field = filter.field;
        let mut offered = self.list.filters.iter().chain(&self.list.within);
        if offered.any(|offered| offered.field == field) {
            Ok(field)
        } else {
            Err(anyhow!("the list of {} has no filter by {field}", V::NAME).into())
        }
    }
}

/// Which page of a list a client asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    pub(crate) first: Option<i64>,
    pub(crate) after: Option<String>,
    pub(crate) last: Option<i64>,
    pub(crate) before: Option<String>,
}

/// The parts of a page that take time, and that a client does not always ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// The number of documents on all pages.
    pub(crate) total: bool,
    pub(crate) cursors: bool,
}

/// One page of a list.
#[derive(Debug)]
pub(crate) struct Listed<V: View> {
    /// The documents, each with its cursor, which is empty if it was not asked for.
    pub(crate) documents: Vec<(String, ViewDocument<V>)>,
    pub(crate) has_previous: bool,
    pub(crate) has_next: bool,
    /// The number of documents on all pages, if it was asked for.
    pub(crate) total: Option<u64>,
}

/// The text of a cursor: the field that the list is sorted by, its value, and the document's id.
#[derive(Serialize, Deserialize)]
struct Cursor(String, serde_json::Value, Id);

impl Page {
    /// Returns whether the page is at the end of the list, and its size.
    fn size(&self) -> Result<(bool, i64), Error> {
        let (from_end, field, size) = match (self.first, self.last) {
            (Some(_), Some(_)) => {
                let message = "last and first exclude each other. Give one of them.";
                return Err(Error::input("last", message));
            }
            (None, Some(last)) => (true, "last", last),
            (first, None) => (false, "first", first.unwrap_or(DEFAULT_SIZE)),
        };
        if (0..=LARGEST_SIZE).contains(&size) {
            return Ok((from_end, size));
        }
        let message = format!("{field} must be between 0 and {LARGEST_SIZE}.");
        Err(Error::input(field, message))
    }

    fn bounded(&self, mut filter: Filter, sort: Sort) -> Result<Filter, Error> {
        if let Some(after) = &self.after {
            filter = filter.beyond(sort, &read_cursor("after", sort, after)?, true)?;
        }
        if let Some(before) = &self.before {
            filter = filter.beyond(sort, &read_cursor("before", sort, before)?, false)?;
        }
        Ok(filter)
    }
}

/// Reads one page of a list.
///
/// # Errors
/// `BadUserInput` if there is no such page.
pub(crate) async fn read<V: View>(
    views: &TenantViews,
    selection: Selection<V>,
    page: &Page,
    wanted: Wanted,
) -> Result<Listed<V>, Error> {
    let (from_end, size) = page.size()?;
    let Selection { filter, sort, .. } = selection;
    let bounded = page.bounded(filter.clone(), sort)?;
    let mut documents = views.list::<V>(bounded, sort, from_end, size + 1).await?;
    let total = if wanted.total {
        Some(views.count::<V>(filter).await?)
    } else {
        None
    };
    let has_more = documents.len() as i64 > size;
    documents.truncate(usize::try_from(size).unwrap_or(0));
    let (has_previous, has_next) = if from_end {
        documents.reverse();
        (has_more, page.before.is_some())
    } else {
        (page.after.is_some(), has_more)
    };
    let documents = documents.into_iter().map(|found| {
        let cursor = if wanted.cursors {
            write_cursor(&found, sort)?
        } else {
            String::new()
        };
        anyhow::Ok((cursor, found))
    });
    Ok(Listed {
        documents: documents.collect::<Result<_, _>>()?,
        has_previous,
        has_next,
        total,
    })
}

fn write_cursor<V: View>(found: &ViewDocument<V>, sort: Sort) -> anyhow::Result<String> {
    let view = serde_json::to_value(&found.view).context("writing a cursor")?;
    let value = view.get(sort.field).cloned().unwrap_or_default();
    let cursor = Cursor(sort.field.to_owned(), value, found.id.into());
    let text = serde_json::to_vec(&cursor).context("writing a cursor")?;
    Ok(BASE64URL_NOPAD.encode(&text))
}

fn read_cursor(input: &'static str, sort: Sort, text: &str) -> Result<Position, Error> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok();
    let cursor = bytes.and_then(|bytes| serde_json::from_slice::<Cursor>(&bytes).ok());
    let cursor = cursor.filter(|Cursor(field, value, _)| {
        field == sort.field && (value.is_string() || value.is_i64())
    });
    let position = cursor.map(|Cursor(_, value, id)| Position {
        value,
        id: id.to_string(),
    });
    position.ok_or_else(|| {
        let message = format!("{input} must be a cursor of this list, in the same order.");
        Error::input(input, message)
    })
}

#[cfg(test)]
mod tests {
    use events_schema::project;

    use super::*;

    type Project = project::View;

    const STATUS: FilterBy<Project> = FilterBy::field("status");
    const CREATOR: FilterBy<Project> = FilterBy::field("creator");
    const BY_NAME: OrderBy<Project> = OrderBy::field("name");
    const BY_CREATION: OrderBy<Project> = OrderBy::field("created_at");
    const BY_UPDATE: OrderBy<Project> = OrderBy::field("updated_at");
    const PROJECTS: List<Project> = List::new(&[STATUS], &[BY_CREATION, BY_NAME]);

    #[test]
    fn a_filter_or_order_without_an_index_is_reported() {
        assert!(PROJECTS.check_indexes().is_ok());
        const BY_CREATOR: List<Project> = List::new(&[CREATOR], &[BY_NAME]);
        let needed = [vec!["creator"], vec!["creator", "name"]];
        assert_eq!(BY_CREATOR.missing_indexes(), needed);
        const UPDATED: List<Project> = List::new(&[], &[BY_UPDATE]);
        assert_eq!(UPDATED.missing_indexes(), [["updated_at"]]);
        const WITHIN: List<Project> = List::within(STATUS, &[BY_UPDATE]);
        assert_eq!(WITHIN.missing_indexes(), [["status", "updated_at"]]);
        const INDEXED: List<Project> = List::within(STATUS, &[BY_NAME]);
        assert!(INDEXED.missing_indexes().is_empty());
        // Of the index on status and creation, only the first field is needed here.
        const BY_STATUS: OrderBy<Project> = OrderBy::field("status");
        const SORTED: List<Project> = List::new(&[STATUS], &[BY_STATUS]);
        assert_eq!(SORTED.missing_indexes(), [["status"]]);
        let refusal = UPDATED.check_indexes().unwrap_err().to_string();
        assert!(
            refusal.contains("the list of project needs indexes"),
            "{refusal}"
        );
    }

    #[test]
    fn a_list_refuses_filters_and_orders_that_it_does_not_offer() {
        let select = || Selection::of(&PROJECTS);
        assert!(select().is(&STATUS, Some("active")).is_ok());
        assert!(select().is(&CREATOR, None::<&str>).is_err());
        assert!(select().one_of(&CREATOR, Some(vec!["x"])).is_err());
        assert!(select().sorted_by(&BY_NAME, true).is_ok());
        assert!(select().sorted_by(&BY_UPDATE, false).is_err());
    }

    #[test]
    fn a_page_has_a_bounded_size_and_one_direction() {
        let size = |first, last| {
            let page = Page {
                first,
                last,
                ..Page::default()
            };
            page.size().ok()
        };
        assert_eq!(size(None, None), Some((false, 50)));
        assert_eq!(size(Some(100), None), Some((false, 100)));
        assert_eq!(size(None, Some(0)), Some((true, 0)));
        for (first, last) in [(Some(101), None), (Some(-1), None), (Some(1), Some(1))] {
            assert_eq!(size(first, last), None);
        }
    }

    #[test]
    fn a_cursor_belongs_to_lists_of_one_order() {
        let sort = |field| Sort {
            field,
            descending: false,
        };
        let cursor = Cursor("name".to_owned(), "x".into(), Id::from_bytes([1; 16]));
        let text = BASE64URL_NOPAD.encode(&serde_json::to_vec(&cursor).unwrap());
        assert!(read_cursor("after", sort("name"), &text).is_ok());
        assert!(read_cursor("after", sort("created_at"), &text).is_err());
        let null = Cursor("name".to_owned(), serde_json::Value::Null, cursor.2);
        let null = BASE64URL_NOPAD.encode(&serde_json::to_vec(&null).unwrap());
        for wrong in ["", "!", &text[1..], &null] {
            assert!(
                read_cursor("after", sort("name"), wrong).is_err(),
                "{wrong}"
            );
        }
    }
}
