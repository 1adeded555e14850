//! Sends mail by SMTP. The texts are in `mail_text.rs`.

use std::time::Duration;

use anyhow::Context as _;
use events_schema::{
    EmailAddress, EmailId, View as _,
    email::{self, Command, Event, Template},
};
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Tokio1Executor,
    message::{Mailbox, MultiPart},
    transport::smtp::{
        self,
        response::{Category, Severity},
    },
};
use tokio::time::timeout;

use crate::{
    config::Config,
    domain::email::Email,
    effect::{
        Effect, Failure, Lane, Undone,
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
    const UNDONE: Undone = Undone {
        view: email::View::NAME,
        field: "status",
        value: "requested",
        since: "requested_at",
    };

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

    /// Mails wait by the domain of their recipient. Nobody waits for an invitation, and many of them
    /// may be sent at once.
    fn lane(task: &Task) -> Lane {
        let domain = task.to.as_str().rsplit('@').next();
        Lane {
            destination: domain.unwrap_or_default().to_owned(),
            is_urgent: match task.template {
                Template::Verification { .. }
                | Template::AlreadyRegistered
                | Template::PasswordReset { .. }
                | Template::PasswordChanged { .. } => true,
                Template::Invitation { .. } => false,
            },
        }
    }

    /// The `Message-ID` derives from the mail's id, so that mail clients show a repetition once.
    async fn perform(&self, id: EmailId, task: Task) -> Result<(), Failure> {
        let text = render(&task.template, &self.links)?;
        let to = task.to.as_str().parse().context("the recipient");
        let to = to.map_err(Failure::Permanent)?;
        let mail = lettre::Message::builder()
            .from(self.from.clone())
            .to(to)
            .message_id(Some(format!("<{id}@{}>", self.from.email.domain())))
            .subject(text.subject)
            .multipart(MultiPart::alternative_plain_html(text.text, text.html))
            .context("writing the mail")?;
        let sent = timeout(SEND_TIMEOUT, self.smtp.send(mail)).await;
        let sent = sent.context("the mail server takes too long")?;
        sent.map_err(failure)?;
        Ok(())
    }

    fn succeeded() -> Command {
        Command::RecordSent
    }

    fn failed(reason: String) -> Command {
        Command::RecordFailed { reason }
    }
}

/// Returns whether the mail server has refused the mail for good: with 55x. Other codes, such as
/// 535 for a wrong password, tell of a fault that the operator can mend.
fn failure(error: smtp::Error) -> Failure {
    let refuses_mail = error.status().is_some_and(|code| {
        let is_permanent = code.severity == Severity::PermanentNegativeCompletion;
        is_permanent && code.category == Category::MailSystem
    });
    let error = anyhow::Error::from(error).context("the mail server");
    if refuses_mail {
        Failure::Permanent(error)
    } else {
        Failure::Temporary(error)
    }
}
