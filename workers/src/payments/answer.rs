//! From a message to a reply: which question it is, and how the answer is written.

use async_nats::Message;
use events_schema::{
    TenantKey,
    billing::ask::{
        AttachCard, Cards, CreateSetupIntent, DeleteCard, FindDiscount, FindInvoice, Invoices,
        PaymentSecret, PortalLink, PreviewChange, Question, Reply, SetDefaultCard, Subscriptions,
        UpcomingInvoice,
    },
    subject,
};

use super::{Answers, Payments};

impl Payments {
    /// Returns the reply to a message. `None` if it is no question that this release knows.
    pub(super) async fn answer_to(&self, message: &Message) -> Option<Vec<u8>> {
        let (tenant, verb) = subject::parse_ask(&message.subject)?;
        let question = message.payload.as_ref();
        match verb {
            Cards::VERB => self.reply::<Cards>(tenant, question).await,
            CreateSetupIntent::VERB => self.reply::<CreateSetupIntent>(tenant, question).await,
            AttachCard::VERB => self.reply::<AttachCard>(tenant, question).await,
            SetDefaultCard::VERB => self.reply::<SetDefaultCard>(tenant, question).await,
            DeleteCard::VERB => self.reply::<DeleteCard>(tenant, question).await,
            PreviewChange::VERB => self.reply::<PreviewChange>(tenant, question).await,
            PortalLink::VERB => self.reply::<PortalLink>(tenant, question).await,
            Invoices::VERB => self.reply::<Invoices>(tenant, question).await,
            Subscriptions::VERB => self.reply::<Subscriptions>(tenant, question).await,
            FindDiscount::VERB => self.reply::<FindDiscount>(tenant, question).await,
            UpcomingInvoice::VERB => self.reply::<UpcomingInvoice>(tenant, question).await,
            FindInvoice::VERB => self.reply::<FindInvoice>(tenant, question).await,
            PaymentSecret::VERB => self.reply::<PaymentSecret>(tenant, question).await,
            _ => None,
        }
    }

    async fn reply<Q: Question>(&self, tenant: TenantKey, question: &[u8]) -> Option<Vec<u8>>
    where
        Self: Answers<Q>,
    {
        let question: Q = serde_json::from_slice(question).ok()?;
        let reply = match self.answer(tenant, question).await {
            Ok(answer) => Reply::Answer(answer),
            Err(refusal) => refusal.reply(),
        };
        serde_json::to_vec(&reply).ok()
    }
}
