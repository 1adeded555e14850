//! Events tell that an object has changed. What has become of it is then asked for, so their order
//! does not matter.

use events_schema::{StripeCustomerId, StripeEventId};
use serde::Deserialize;

use super::{Listed, Pages, Stripe, StripeError, Timestamp, request::Request};

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StripeEvent {
    pub id: StripeEventId,
    /// Such as `customer.subscription.updated`.
    #[serde(rename = "type")]
    pub kind: String,
    pub created: Timestamp,
    /// Whether it is about real money.
    pub livemode: bool,
    data: Data,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Data {
    object: About,
}

/// The object that has changed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct About {
    /// Such as `subscription`.
    pub object: String,
    /// An upcoming invoice has none.
    pub id: Option<String>,
    customer: Option<StripeCustomerId>,
}

impl StripeEvent {
    /// Returns the object that has changed.
    pub const fn about(&self) -> &About {
        &self.data.object
    }
}

impl About {
    /// Returns the customer to whom the object belongs, or who it is.
    pub fn customer(&self) -> Option<StripeCustomerId> {
        match (self.object.as_str(), &self.id) {
            ("customer", Some(id)) => StripeCustomerId::parse(id).ok(),
            _ => self.customer.clone(),
        }
    }
}

impl Listed for StripeEvent {
    fn id(&self) -> &str {
        self.id.as_str()
    }
}

impl Stripe {
    /// Returns an event. Stripe keeps it for 30 days.
    ///
    /// # Errors
    /// If it does not exist, or Stripe does not answer.
    pub async fn event(&self, id: &StripeEventId) -> Result<StripeEvent, StripeError> {
        self.send(retrieve(id)).await
    }

    /// Returns the events of this time and later, the latest first.
    pub fn events(&self, since: Timestamp) -> Pages<StripeEvent> {
        Pages::new(self, list(since))
    }
}

pub(super) fn retrieve(id: &StripeEventId) -> Request {
    Request::get(format!("/events/{id}"))
}

pub(super) fn list(since: Timestamp) -> Request {
    Request::get("/events").set("created[gte]", since.0)
}
