//! Failures that a test asks for.

use serde::Deserialize;

/// What happens to requests.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// They get an answer with `status`, and nothing else happens.
    Answer,
    /// They get no answer until the failures are deleted, and nothing else happens.
    Hang,
    /// They get no answer until the failures are deleted, after all has happened.
    HangAfter,
    /// All happens, and the answer of then is kept back until the failures are deleted.
    Hold,
    /// The connection is closed before anything happens.
    CutBefore,
    /// The connection is closed in place of an answer, after all has happened.
    CutAfter,
}

/// Failures of the next requests.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// How many requests.
    next: u32,
    /// Only requests whose path begins like this.
    #[serde(default)]
    path: String,
    /// Only requests with this method.
    method: Option<String>,
    #[serde(default = "internal_error")]
    pub(super) status: u16,
    /// The value of `Retry-After`, in seconds.
    pub(super) retry_after: Option<u32>,
}

const fn internal_error() -> u16 {
    500
}

impl Fault {
    /// Whether it can happen.
    pub(super) const fn is_possible(&self) -> bool {
        self.status >= 400 && self.status < 600
    }

    fn hits(&self, method: &str, path: &str) -> bool {
        let is_method = self.method.as_ref().is_none_or(|wanted| wanted == method);
        self.next > 0 && is_method && path.starts_with(&self.path)
    }
}

/// All failures that are still to happen.
#[derive(Default)]
pub(super) struct Faults {
    faults: Vec<Fault>,
}

impl Faults {
    /// Adds failures, after those that are to happen before.
    pub(super) fn add(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Deletes all.
    pub(super) fn clear(&mut self) {
        self.faults.clear();
    }

    /// Returns what happens to a request, if anything.
    pub(super) fn take(&mut self, method: &str, path: &str) -> Option<Fault> {
        let fault = self
            .faults
            .iter_mut()
            .find(|fault| fault.hits(method, path))?;
        fault.next -= 1;
        let taken = fault.clone();
        self.faults.retain(|fault| fault.next > 0);
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fault(text: serde_json::Value) -> Fault {
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn a_fault_hits_as_many_requests_as_asked() {
        let mut faults = Faults::default();
        faults.add(fault(
            json!({ "kind": "answer", "next": 2, "path": "/v1/prices" }),
        ));
        assert!(faults.take("GET", "/v1/customers").is_none());
        assert_eq!(faults.take("GET", "/v1/prices").unwrap().status, 500);
        assert_eq!(faults.take("POST", "/v1/prices").unwrap().status, 500);
        assert!(faults.take("GET", "/v1/prices").is_none());
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let text = json!({ "kind": "hang", "next": 1, "pth": "/v1" });
        assert!(serde_json::from_value::<Fault>(text).is_err());
    }
}
