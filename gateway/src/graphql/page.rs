//! Lists as Relay connections.

use async_graphql::{
    OutputType, SimpleObject,
    connection::{self, Edge},
};
use events_schema::View;

use crate::{backend::views::ViewDocument, use_cases::list::Listed};

/// A page of nodes.
pub(super) type Connection<N> = connection::Connection<String, N, Total>;

/// The field of a connection besides its nodes.
#[derive(SimpleObject)]
pub(super) struct Total {
    /// The number of items on all pages. Counting takes time; ask for it only if you need it.
    total_count: Option<u64>,
}

/// Turns a page into a connection.
pub(super) fn connection<V: View, N: OutputType>(
    listed: Listed<V>,
    node: impl Fn(ViewDocument<V>) -> N,
) -> Connection<N> {
    let total = Total {
        total_count: listed.total,
    };
    let (previous, next) = (listed.has_previous, listed.has_next);
    let mut connection = Connection::with_additional_fields(previous, next, total);
    let documents = listed.documents.into_iter();
    let edges = documents.map(|(cursor, found)| Edge::new(cursor, node(found)));
    connection.edges.extend(edges);
    connection
}
