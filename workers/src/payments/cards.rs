//! Cards: saved by a browser, kept by Stripe.

use events_schema::{
    Sensitive, StripeCardId, StripeCustomerId, TenantKey,
    billing::ask::{AttachCard, Card, Cards, CreateSetupIntent, DeleteCard, SetDefaultCard},
};

use super::{
    Answers, Payments,
    refusal::{Reason, Refusal},
    shown,
};
use crate::stripe::{IdempotencyKey, SetupIntentStatus};

impl Answers<Cards> for Payments {
    async fn answer(&self, tenant: TenantKey, _: Cards) -> Result<Vec<Card>, Refusal> {
        match self.payment(tenant).await?.customer {
            Some(customer) => self.cards_of(&customer).await,
            None => Ok(Vec::new()),
        }
    }
}

impl Answers<CreateSetupIntent> for Payments {
    async fn answer(
        &self,
        tenant: TenantKey,
        question: CreateSetupIntent,
    ) -> Result<Sensitive, Refusal> {
        let customer = self.customer_or_new(tenant, question.name).await?;
        let intent = self.stripe.create_setup_intent(&customer).await?;
        intent
            .client_secret
            .ok_or_else(|| Reason::RefusedByStripe.into())
    }
}

impl Answers<AttachCard> for Payments {
    async fn answer(&self, tenant: TenantKey, question: AttachCard) -> Result<Card, Refusal> {
        let customer = self.customer(tenant).await?;
        let intent = self.stripe.setup_intent(&question.setup_intent).await?;
        if intent.customer.as_ref() != Some(&customer) {
            return Err(Reason::NotFound.into());
        }
        // With its success, the card belongs to the customer of the intent.
        let saved = intent.status == SetupIntentStatus::Succeeded;
        let card = intent.payment_method.filter(|_| saved);
        let card = card.ok_or(Reason::CardNotSaved)?;
        let has_default = self.stripe.customer(&customer).await?;
        if has_default.default_card().is_none() {
            self.set_default(&customer, &card).await?;
        }
        self.card_of(&customer, &card).await
    }
}

impl Answers<SetDefaultCard> for Payments {
    async fn answer(&self, tenant: TenantKey, question: SetDefaultCard) -> Result<Card, Refusal> {
        let customer = self.customer(tenant).await?;
        let card = self.card_of(&customer, &question.card).await?;
        self.set_default(&customer, &question.card).await?;
        Ok(Card {
            is_default: true,
            ..card
        })
    }
}

impl Answers<DeleteCard> for Payments {
    async fn answer(&self, tenant: TenantKey, question: DeleteCard) -> Result<(), Refusal> {
        let customer = self.customer(tenant).await?;
        let card = self.card_of(&customer, &question.card).await?;
        self.stripe.detach_card(new_key()?, &card.id).await?;
        Ok(())
    }
}

impl Payments {
    async fn cards_of(&self, customer: &StripeCustomerId) -> Result<Vec<Card>, Refusal> {
        let mut pages = self.stripe.cards(customer);
        let (known, cards) = tokio::try_join!(self.stripe.customer(customer), pages.next())?;
        let cards = cards.unwrap_or_default().into_iter();
        let default = known.default_card();
        Ok(cards
            .filter_map(|card| shown::card(card, default))
            .collect())
    }

    /// Returns a card of a customer.
    ///
    /// # Errors
    /// If the customer has no such card.
    async fn card_of(
        &self,
        customer: &StripeCustomerId,
        card: &StripeCardId,
    ) -> Result<Card, Refusal> {
        let mut cards = self.cards_of(customer).await?.into_iter();
        let found = cards.find(|found| found.id == *card);
        found.ok_or_else(|| Reason::NotFound.into())
    }

    async fn set_default(
        &self,
        customer: &StripeCustomerId,
        card: &StripeCardId,
    ) -> Result<(), Refusal> {
        let set = self.stripe.set_default_card(new_key()?, customer, card);
        set.await?;
        Ok(())
    }
}

/// Returns a key that nothing has. The same card can become the default one again on the same day,
/// and a repetition does no harm.
fn new_key() -> anyhow::Result<IdempotencyKey> {
    Ok(IdempotencyKey::new(event_store::random_id()?, "card"))
}
