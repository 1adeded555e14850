//! Sends mail by SMTP. The texts are in `mail_text.rs`.

use std::time::Duration;

use anyhow::Context as _;
use event_store::EventLog;
use events_schema::{
    EmailAddress, EmailId, Time, View as _,
    email::{self, Command, Event, Template},
};
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Tokio1Executor,
    message::{Mailbox, MultiPart},
    transport::smtp,
};
use tokio::time::timeout;

use crate::{
    domain::email::Email,
    effect::{
        Effect, Failure, Lane, Setup, Undone,
        mail_text::{Links, render},
        wanted_mail,
    },
};

/// How long a mail server may take for one step.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take for all steps: half an attempt's limit, so that time is left to record the
/// result.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends mail.
#[derive(Debug)]
pub struct SendMail {
    smtp: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    links: Links,
    attempts: i64,
    log: EventLog,
}

/// A mail to send.
pub struct Task {
    to: EmailAddress,
    template: Template,
    not_before: Option<Time>,
}

impl Effect for SendMail {
    type Record = Email;
    type Task = Task;
    const NAME: &'static str = "send_mail";
    const UNDONE: Option<Undone> = Some(Undone {
        view: email::View::NAME,
        state: Some(("status", "requested")),
        since: "requested_at",
    });

    fn new(setup: &Setup<'_>) -> anyhow::Result<Option<Self>> {
        let Setup { config, .. } = setup;
        let mail = &config.mail;
        let smtp = AsyncSmtpTransport::<Tokio1Executor>::from_url(&mail.smtp_url);
        let smtp = smtp.context("UB_SMTP_URL")?.timeout(Some(STEP_TIMEOUT));
        Ok(Some(Self {
            smtp: smtp.build(),
            from: mail.mail_from.clone(),
            links: Links {
                key: config.secrets.key(),
                public_url: config.posture.public_url.clone(),
            },
            attempts: mail.mail_attempts,
            log: setup.log.clone(),
        }))
    }

    fn attempts(&self) -> i64 {
        self.attempts
    }

    fn is_requested_by(event: &Event) -> bool {
        match event {
            Event::Requested { .. } => true,
            Event::Sent | Event::Failed { .. } | Event::Withdrawn => false,
        }
    }

    fn pending(record: &Email) -> Option<Task> {
        let (to, template, not_before) = record.pending()?;
        Some(Task {
            to: to.clone(),
            template: template.clone(),
            not_before,
        })
    }

    /// Mails wait by the domain of their recipient. Nobody waits for an invitation or a reminder,
    /// and many of them may be sent at once.
    fn lane(task: &Task) -> Lane {
        let domain = task.to.as_str().rsplit('@').next().unwrap_or_default();
        // The owner of a domain may have any number of subdomains, so they share a lane.
        let second_dot = domain.rmatch_indices('.').nth(1);
        let start = second_dot.map_or(0, |(dot, _)| dot + 1);
        Lane {
            destination: domain[start..].to_owned(),
            is_urgent: match task.template {
                Template::Verification { .. }
                | Template::AlreadyRegistered
                | Template::LoginsFailed
                | Template::LoginCode { .. }
                | Template::CredentialsChanged { .. }
                | Template::SecondFactorFailed
                | Template::NewDevice { .. }
                | Template::Impersonated { .. }
                | Template::PasswordReset { .. }
                | Template::PasswordChanged { .. }
                | Template::AccessTokenCreated { .. }
                | Template::ServiceTokenCreated { .. }
                | Template::EmailChange { .. }
                | Template::Connection { .. }
                | Template::Deletion { .. } => true,
                Template::Invitation { .. }
                | Template::AccessTokenExpires { .. }
                | Template::DomainMissing { .. }
                | Template::DomainSilent { .. }
                | Template::DomainLost { .. }
                | Template::WebhookFailing { .. }
                | Template::WebhookDisabled { .. }
                | Template::Billing { .. } => false,
            },
            not_before: task.not_before,
        }
    }

    async fn withdrawn(&self, log: &EventLog, task: &Task) -> anyhow::Result<Option<Command>> {
        let is_wanted = wanted_mail::is_wanted(log, &task.to, &task.template).await?;
        Ok((!is_wanted).then_some(Command::RecordWithdrawn))
    }

    /// The `Message-ID` derives from the mail's id, so that mail clients show a repetition once.
    async fn perform(&self, id: EmailId, task: &Task) -> Result<Command, Failure> {
        let to = wanted_mail::recipient(&self.log, &task.to, &task.template).await?;
        let text = render(&task.template, &to, &self.links)?;
        let to = to.as_str().parse().context("the recipient");
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
        Ok(Command::RecordSent)
    }

    fn performed() -> Option<Command> {
        Some(Command::RecordSent)
    }

    fn failed(_: &Task, reason: String) -> Command {
        Command::RecordFailed { reason }
    }
}

/// Returns a permanent failure if the server refuses the recipient for good. Other codes, such as
/// 535 (wrong password) or 554 (relay denied), report a fault that the operator can fix, or a
/// limit.
fn failure(error: smtp::Error) -> Failure {
    let code = error.status().map(|code| code.to_string());
    let error = anyhow::Error::from(error).context("the mail server");
    if code.is_some_and(|code| refuses_recipient(&code, &format!("{error:#}"))) {
        Failure::Permanent(error)
    } else {
        Failure::Temporary(error)
    }
}

/// Whether an answer with this code and text says that the recipient does not exist or takes no
/// mail: 550, 551 or 553, with an enhanced code (RFC 3463) about addresses or mailboxes, or with
/// none. 5.2.2 is a full mailbox.
fn refuses_recipient(code: &str, text: &str) -> bool {
    let mut words = text.split([' ', ':', '(', ')']);
    let enhanced = words.find(|word| {
        let mut parts = word.split('.');
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
        parts.next() == Some("5") && word.matches('.').count() == 2 && parts.all(is_number)
    });
    let is_about_recipient = enhanced.is_none_or(|enhanced| {
        let is_full = enhanced == "5.2.2";
        (enhanced.starts_with("5.1.") || enhanced.starts_with("5.2.")) && !is_full
    });
    ["550", "551", "553"].contains(&code) && is_about_recipient
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_is_given_up_only_if_its_recipient_is_refused() {
        for (expected, code, text) in [
            (true, "550", "permanent error (550): No such user"),
            (true, "550", "permanent error (550): 5.1.1 User unknown"),
            (true, "553", "permanent error (553): 5.1.3 Bad address"),
            (true, "550", "permanent error (550): 5.2.1 Mailbox disabled"),
            (
                false,
                "550",
                "permanent error (550): 5.4.5 Daily limit exceeded",
            ),
            (
                false,
                "550",
                "permanent error (550): 5.7.1 Not allowed to send",
            ),
            (false, "552", "permanent error (552): 5.2.2 Mailbox full"),
            (false, "550", "permanent error (550): 5.2.2 Mailbox full"),
            (
                false,
                "554",
                "permanent error (554): 5.7.1 Relay access denied",
            ),
            (false, "535", "permanent error (535): 5.7.8 Wrong password"),
            (false, "451", "transient error (451): 4.7.1 Later"),
        ] {
            assert_eq!(refuses_recipient(code, text), expected, "{text}");
        }
    }
}
