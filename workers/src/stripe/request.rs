//! One request, before it is sent.

use hyper::Method;
use url::form_urlencoded;

use super::{IdempotencyKey, StripeTax};

/// A request to Stripe. Its parameters have Stripe's names, such as `items[0][price]`.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) method: Method,
    /// The path below the version, such as `/customers`.
    pub(super) path: String,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) key: Option<IdempotencyKey>,
}

impl Request {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    /// Begins a request that changes something. A repetition with this key changes nothing more.
    pub(super) fn post(path: impl Into<String>, key: IdempotencyKey) -> Self {
        Self {
            key: Some(key),
            ..Self::new(Method::POST, path)
        }
    }

    /// Begins a request whose answer is all that it makes, such as a preview or a link.
    pub(super) fn ask(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            parameters: Vec::new(),
            key: None,
        }
    }

    pub(super) fn set(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.parameters.push((name.into(), value.to_string()));
        self
    }

    /// Sets a parameter that may be absent.
    pub(super) fn set_some(self, name: impl Into<String>, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.set(name, value),
            None => self,
        }
    }

    /// Lets Stripe add taxes, if it is to.
    pub(super) fn with_tax(self, tax: StripeTax) -> Self {
        match tax {
            StripeTax::Automatic => self.set("automatic_tax[enabled]", true),
            StripeTax::None => self,
        }
    }

    /// Returns the parameters as a form.
    pub(super) fn form(&self) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(&self.parameters).finish()
    }
}
