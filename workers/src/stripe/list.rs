//! Lists of Stripe, which come in pages.

use std::marker::PhantomData;

use serde::{Deserialize, de::DeserializeOwned};

use super::{Stripe, StripeError, request::Request};

/// Objects of a page: the most that Stripe gives.
const PAGE: u32 = 100;

/// An object that comes in lists.
pub trait Listed: DeserializeOwned {
    /// Returns its id, after which the next page begins.
    fn id(&self) -> &str;
}

#[derive(Deserialize)]
struct Page<T> {
    data: Vec<T>,
    has_more: bool,
}

/// A list, read page by page, the latest objects first.
pub struct Pages<T> {
    stripe: Stripe,
    request: Request,
    size: u32,
    after: Option<String>,
    is_over: bool,
    kind: PhantomData<fn() -> T>,
}

impl<T: Listed> Pages<T> {
    pub(super) fn new(stripe: &Stripe, request: Request) -> Self {
        Self {
            stripe: stripe.clone(),
            request,
            size: PAGE,
            after: None,
            is_over: false,
            kind: PhantomData,
        }
    }

    /// Returns the same list in pages of so many objects, 1 to 100.
    #[must_use]
    pub fn of_size(self, size: u32) -> Self {
        Self { size, ..self }
    }

    /// Returns the part of the list that follows the object with this id.
    #[must_use]
    pub fn after(self, id: impl ToString) -> Self {
        Self {
            after: Some(id.to_string()),
            ..self
        }
    }

    /// Returns the next page; `None` after the last one.
    ///
    /// # Errors
    /// If Stripe gives no page. Then the same page may be asked for again.
    pub async fn next(&mut self) -> Result<Option<Vec<T>>, StripeError> {
        if self.is_over {
            return Ok(None);
        }
        let request = self.request.clone().set("limit", self.size);
        let request = request.set_some("starting_after", self.after.as_ref());
        let page: Page<T> = self.stripe.send(request).await?;
        self.after = page.data.last().map(|last| last.id().to_owned());
        self.is_over = !page.has_more || self.after.is_none();
        Ok(Some(page.data))
    }

    /// Returns the whole list. It must be short, such as the cards of one customer.
    ///
    /// # Errors
    /// If Stripe does not give all pages.
    pub async fn all(mut self) -> Result<Vec<T>, StripeError> {
        let mut all = Vec::new();
        while let Some(page) = self.next().await? {
            all.extend(page);
        }
        Ok(all)
    }

    /// Returns the first object that is wanted; `None` if the list has none.
    ///
    /// # Errors
    /// If Stripe does not give the pages up to it.
    pub async fn find(mut self, is_wanted: impl Fn(&T) -> bool) -> Result<Option<T>, StripeError> {
        while let Some(page) = self.next().await? {
            if let Some(found) = page.into_iter().find(&is_wanted) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

impl Stripe {
    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        mut request: Request,
    ) -> Result<T, StripeError> {
        request.key = request.key.map(|key| key.in_round(self.round));
        self.transport.send(&request, self.is_urgent).await
    }
}
