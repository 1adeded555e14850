//! Sends the mails that were asked for, by SMTP. What they say stands in `mail_text.rs`.
//!
//! At least once: between the mail server's yes and our record of it lies a moment in which a crash
//! makes the mail go out again, under the same `Message-ID`. A replay of the log finds the record
//! and sends nothing.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use async_nats::{
    Client,
    jetstream::{self, AckKind, Context, Message},
};
use events_schema::{
    Actor, Area, Command, CommandId, Commit, EmailAddress, Id, Time,
    email::{self, Template},
    secret::derived_id,
};
use futures_util::StreamExt;
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Tokio1Executor,
    message::{Mailbox, MultiPart},
};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::email::Email,
    effect::mail_text::{Links, render},
    event_store::EventStore,
    loops::consumers::Consumer,
    loops::delivery::{self, Handled},
    loops::history::{History, subject_of},
};

/// How long a mail server may take for one step.
const SMTP_PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take for all of them: half the consumer's ack wait, so that no other worker
/// begins meanwhile.
const SEND_PATIENCE: Duration = Duration::from_secs(30);

/// Sends mail.
#[derive(Debug)]
pub struct SendMail {
    context: Context,
    store: EventStore,
    smtp: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    links: Links,
    consumer: Consumer,
}

impl SendMail {
    /// Sends by the server at `smtp_url` (`smtp://`, `smtps://`, credentials within), at most
    /// `attempts` times each mail.
    pub fn new(
        client: &Client,
        smtp_url: &str,
        from: Mailbox,
        links: Links,
        attempts: i64,
    ) -> anyhow::Result<Self> {
        let smtp = AsyncSmtpTransport::<Tokio1Executor>::from_url(smtp_url)
            .context("UB_SMTP_URL")?
            .timeout(Some(SMTP_PATIENCE))
            .build();
        let consumer = Consumer::effects("send_mail", Area::Email, attempts);
        Ok(Self {
            context: jetstream::new(client.clone()),
            store: EventStore::new(client.clone()),
            smtp,
            from,
            links,
            consumer,
        })
    }

    /// Runs until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let this = &self;
        delivery::messages(this.context.clone(), this.consumer.clone(), shutdown)
            .for_each_concurrent(this.consumer.concurrency, |message| async move {
                delivery::handle(
                    &this.context,
                    &this.consumer,
                    &message,
                    this.perform(&message),
                )
                .await;
            })
            .await;
        Ok(())
    }

    async fn perform(&self, message: &Message) -> anyhow::Result<Handled> {
        let commit: Commit<email::Event> = match serde_json::from_slice(&message.payload) {
            Ok(commit) => commit,
            Err(reason) => return Ok(Handled::Dead(format!("the body: {reason}"))),
        };
        if !commit
            .events
            .iter()
            .any(|event| matches!(event, email::Event::Requested { .. }))
        {
            return Ok(Handled::Done);
        }
        // The ack wait has run since the message was fetched, which may be a while; from here on
        // all of it is there.
        message
            .ack_with(AckKind::Progress)
            .await
            .map_err(anyhow::Error::from_boxed)
            .context("asking for time")?;
        let mut record = History::<Email>::default();
        record
            .refresh(&self.store, &subject_of::<Email>(commit.tenant, commit.id))
            .await?;
        // A replica may lag behind; taking its silence for "nothing to send" would lose the mail.
        ensure!(
            record.revision >= commit.revision,
            "the log does not show yet what was delivered"
        );
        let Some((to, template)) = record.state.pending() else {
            return Ok(Handled::Done);
        };
        let result = self.send(commit.id, to, template).await;
        match &result {
            Ok(()) => {
                self.record(message, &commit, "sent", email::Command::RecordSent)
                    .await?
            }
            Err(error) if delivery::deliveries(message) >= self.consumer.deliveries => {
                self.record(
                    message,
                    &commit,
                    "failed",
                    email::Command::RecordFailed {
                        reason: format!("{error:#}"),
                    },
                )
                .await?;
            }
            Err(_) => {}
        }
        result.map(|()| Handled::Done)
    }

    async fn send(&self, id: Id, to: &EmailAddress, template: &Template) -> anyhow::Result<()> {
        let text = render(template, &self.links)?;
        let mail = lettre::Message::builder()
            .from(self.from.clone())
            .to(to.as_str().parse().context("the recipient")?)
            .message_id(Some(format!("<{id}@{}>", self.from.email.domain())))
            .subject(text.subject)
            .multipart(MultiPart::alternative_plain_html(text.text, text.html))?;
        tokio::time::timeout(SEND_PATIENCE, self.smtp.send(mail))
            .await
            .context("the mail server takes too long")?
            .context("the mail server")?;
        Ok(())
    }

    async fn record(
        &self,
        message: &Message,
        commit: &Commit<email::Event>,
        result: &str,
        payload: email::Command,
    ) -> anyhow::Result<()> {
        let command = Command {
            id: CommandId(derived_id(&[
                b"send_mail",
                commit.tenant.to_string().as_bytes(),
                commit.id.bytes(),
                result.as_bytes(),
            ])),
            tenant: commit.tenant,
            area: Area::Email,
            aggregate: commit.id,
            actor: Actor::System,
            time: Time::from(SystemTime::now()),
            expected: None,
            origin: None,
            reply: None,
            payload,
        };
        let body = serde_json::to_vec(&command)?;
        delivery::publish(
            &self.context,
            message.headers.as_ref(),
            command.subject()?.to_string(),
            body.into(),
        )
        .await
        .context("recording the result")
    }
}
