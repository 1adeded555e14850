//! Parsed queries that are used again: clients send the same few documents, with other variables.

use std::sync::{Mutex, PoisonError};

use async_graphql::{ServerError, parser::types::ExecutableDocument};
use lru::LruCache;

use super::limits;

/// Bytes of parsed queries that are kept, about.
const MAX_BYTES: usize = 32 * 1024 * 1024;
/// What a parsed query takes for itself, and for each byte of its text, at most.
const ENTRY_BYTES: usize = 1_000;
const BYTES_PER_BYTE: usize = 100;
/// The longest query that is kept. Queries of programs are shorter.
const MAX_QUERY: usize = 8 * 1024;

/// Recently used queries.
#[derive(Debug)]
pub(super) struct Documents(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    documents: LruCache<String, ExecutableDocument>,
    /// What all of them take.
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
        // A text in a query may be a password. Programs send such as variables.
        if query.len() <= MAX_QUERY && !query.contains('"') {
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
            self.bytes += cost(query);
        }
        while self.bytes > MAX_BYTES {
            let Some((oldest, _)) = self.documents.pop_lru() else {
                return;
            };
            self.bytes -= cost(&oldest);
        }
    }
}

fn cost(query: &str) -> usize {
    ENTRY_BYTES + BYTES_PER_BYTE * query.len()
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
        let sum: usize = kept.documents.iter().map(|(query, _)| cost(query)).sum();
        assert!(kept.bytes == sum && sum <= MAX_BYTES && sum > MAX_BYTES / 2);
        assert!(!kept.documents.contains(&long));
    }

    #[test]
    fn a_query_with_a_text_is_not_kept() {
        let documents = Documents::new();
        documents
            .parse("{ project(id: \"secret\") { id } }")
            .unwrap();
        assert!(documents.kept().documents.is_empty());
    }
}
