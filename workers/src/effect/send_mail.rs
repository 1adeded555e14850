//! Sends mail by SMTP. The texts are in `mail_text.rs`.

use std::time::Duration;

use anyhow::Context as _;
use events_schema::{
    EmailAddress, EmailId,
    email::{Command, Event, Template},
};
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Tokio1Executor,
    message::{Mailbox, MultiPart},
};
use tokio::time::timeout;

use crate::{
    config::Config,
    domain::email::Email,
    effect::{
        Effect,
        mail_text::{Links, render},
    },
};

/// How long a mail server may take for one step.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take for all steps: half the consumer's ack wait, so that no other worker begins
/// meanwhile.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends mail.
#[derive(Debug)]
pub struct SendMail {
    smtp: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    links: Links,
    attempts: i64,
}

/// A mail to send.
pub struct Task {
    to: EmailAddress,
    template: Template,
}

impl Effect for SendMail {
    type Record = Email;
    type Task = Task;
    const NAME: &'static str = "send_mail";

    fn new(config: &Config) -> anyhow::Result<Self> {
        let mail = &config.mail;
        let smtp = AsyncSmtpTransport::<Tokio1Executor>::from_url(&mail.smtp_url);
        let smtp = smtp.context("UB_SMTP_URL")?.timeout(Some(STEP_TIMEOUT));
        Ok(Self {
            smtp: smtp.build(),
            from: mail.mail_from.clone(),
            links: Links {
                key: mail.secret.clone(),
                public_url: mail.public_url.trim_end_matches('/').to_owned(),
            },
            attempts: mail.mail_attempts,
        })
    }

    fn attempts(&self) -> i64 {
        self.attempts
    }

    fn is_requested_by(event: &Event) -> bool {
        match event {
            Event::Requested { .. } => true,
            Event::Sent | Event::Failed { .. } => false,
        }
    }

    fn pending(record: &Email) -> Option<Task> {
        let (to, template) = record.pending()?;
        Some(Task {
            to: to.clone(),
            template: template.clone(),
        })
    }

    /// The `Message-ID` derives from the mail's id, so that mail clients show a repetition once.
    async fn perform(&self, id: EmailId, task: Task) -> anyhow::Result<()> {
        let text = render(&task.template, &self.links)?;
        let mail = lettre::Message::builder()
            .from(self.from.clone())
            .to(task.to.as_str().parse().context("the recipient")?)
            .message_id(Some(format!("<{id}@{}>", self.from.email.domain())))
            .subject(text.subject)
            .multipart(MultiPart::alternative_plain_html(text.text, text.html))?;
        let sent = timeout(SEND_TIMEOUT, self.smtp.send(mail)).await;
        let sent = sent.context("the mail server takes too long")?;
        sent.context("the mail server")?;
        Ok(())
    }

    fn succeeded() -> Command {
        Command::RecordSent
    }

    fn failed(reason: String) -> Command {
        Command::RecordFailed { reason }
    }
}
