//! Changes of the tenant's cards.

use async_graphql::{Context, ID, Object};
use events_schema::{Invalid, StripeCardId, StripeSetupIntentId};

use super::payments::{Card, SetupIntent};
use crate::{
    error::Error,
    graphql::{field::FieldContext, scalars::Success},
};

pub(in crate::graphql) struct CardMutation;

/// Changes of the tenant's cards. Card numbers go from the browser to Stripe, and never here.
#[Object(serial)]
impl CardMutation {
    /// Lets the browser save a card with Stripe.js. Each call begins another attempt, even with an
    /// `Idempotency-Key`.
    async fn create_setup_intent(&self, ctx: &Context<'_>) -> Result<Option<SetupIntent>, Error> {
        let field = FieldContext::of(ctx);
        let billings = &field.use_cases.billings;
        let publishable_key = billings.browser_key()?.to_owned();
        let secret = billings.create_setup_intent(field.caller).await?;
        Ok(Some(SetupIntent {
            client_secret: secret.reveal(),
            publishable_key,
        }))
    }

    /// Keeps the card that the browser has saved. The first card pays for invoices. `CONFLICT` if the
    /// browser has not saved it; `NOT_FOUND` if the tenant has no such attempt.
    async fn attach(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the setup intent, `seti_…`.")] setup_intent: ID,
    ) -> Result<Option<Card>, Error> {
        let field = FieldContext::of(ctx);
        let intent = stripe_id(&setup_intent, StripeSetupIntentId::parse)?;
        let billings = &field.use_cases.billings;
        let attached = billings.attach_card(field.caller, intent);
        Ok(Some(attached.await?.into()))
    }

    /// Lets a card pay for invoices. `NOT_FOUND` if the tenant has no such card.
    async fn set_default(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Card>, Error> {
        let field = FieldContext::of(ctx);
        let id = stripe_id(&id, StripeCardId::parse)?;
        let billings = &field.use_cases.billings;
        let set = billings.set_default_card(field.caller, id);
        Ok(Some(set.await?.into()))
    }

    /// Deletes a card. `NOT_FOUND` if the tenant has no such card.
    async fn delete(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Success>, Error> {
        let field = FieldContext::of(ctx);
        let id = stripe_id(&id, StripeCardId::parse)?;
        let billings = &field.use_cases.billings;
        billings.delete_card(field.caller, id).await?;
        Success::yes()
    }
}

/// Parses an id that Stripe has given.
///
/// # Errors
/// `NotFound` if it is malformed, as if it did not exist.
pub(super) fn stripe_id<T>(
    id: &str,
    parse: impl FnOnce(&str) -> Result<T, Invalid>,
) -> Result<T, Error> {
    parse(id).map_err(|_| Error::NotFound)
}
