//! Parsed queries that are used again: clients send the same few documents, with other variables.

use std::sync::{Mutex, PoisonError};

use async_graphql::{ServerError, parser::types::ExecutableDocument};
use lru::LruCache;

use super::limits;

/// Bytes of queries that are kept. A parsed query takes some ten times as much.
const MAX_BYTES: usize = 512 * 1024;
/// The longest query that is kept. Queries of programs are shorter.
const MAX_QUERY: usize = 8 * 1024;

/// Recently used queries.
#[derive(Debug)]
pub(super) struct Documents(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    documents: LruCache<String, ExecutableDocument>,
    /// The sum of the lengths of the queries.
    bytes: usize,
}

impl Documents {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Kept {
            documents: LruCache::unbounded(),
            bytes: 0,
        }))
    }

    /// Parses a query, and checks that it is within the limits.
    ///
    /// # Errors
    /// If it is not valid GraphQL, exceeds a limit, or has an unknown directive.
    pub(super) fn parse(&self, query: &str) -> Result<ExecutableDocument, ServerError> {
        if let Some(document) = self.kept().documents.get(query) {
            return Ok(document.clone());
        }
        let document = limits::parse(query)?;
        if query.len() <= MAX_QUERY {
            self.kept().keep(query, document.clone());
        }
        Ok(document)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn keep(&mut self, query: &str, document: ExecutableDocument) {
        if self.documents.put(query.to_owned(), document).is_none() {
            self.bytes += query.len();
        }
        while self.bytes > MAX_BYTES {
            let Some((oldest, _)) = self.documents.pop_lru() else {
                return;
            };
            self.bytes -= oldest.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_query_is_the_parsed_one_and_a_refused_one_stays_refused() {
        let documents = Documents::new();
        for _ in 0..2 {
            let document = documents.parse("query Q { profile { id } }").unwrap();
            assert_eq!(document.operations.iter().count(), 1);
            assert!(documents.parse("{ profile { id ").is_err());
            assert!(documents.parse("{ profile @aa { id } }").is_err());
        }
        assert_eq!(documents.kept().documents.len(), 1);
    }

    #[test]
    fn kept_queries_are_bounded_by_bytes() {
        let documents = Documents::new();
        let filler = " ".repeat(5_000);
        for number in 0..500 {
            let query = format!("query Q{number} {{ profile {{ id }} }}{filler}");
            documents.parse(&query).unwrap();
        }
        let long = format!("{{ profile {{ id }} }}{}", " ".repeat(MAX_QUERY));
        documents.parse(&long).unwrap();
        let kept = documents.kept();
        let sum: usize = kept.documents.iter().map(|(query, _)| query.len()).sum();
        assert!(kept.bytes == sum && sum <= MAX_BYTES && sum > MAX_BYTES - 6_000);
        assert!(!kept.documents.contains(&long));
    }
}
