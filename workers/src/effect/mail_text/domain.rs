//! Mails about the domains of a tenant's connections.

use anyhow::Context as _;
use events_schema::{DomainName, Time};

use super::{Links, MailText, date, notice::Notice};

/// Renders a mail to an owner: the record of a domain is missing.
///
/// # Errors
/// If a time is out of range.
pub(super) fn missing(domain: &DomainName, until: Time, links: &Links) -> anyhow::Result<MailText> {
    let date = date(until).context("the time until which the domain counts")?;
    let record = domain.record();
    let news = format!(
        "The DNS record {record} was not found. If it is missing until {date}, addresses of {domain} \
         are not taken as proved any more when your own issuer names them, and nobody new becomes a \
         member by them."
    );
    Notice {
        subject: "The DNS record of your domain is missing",
        news: &news,
        advice: "Publish the record again, or remove the domain if you do not need it:",
        link: links.public_url.as_str(),
    }
    .render()
}

/// Renders a mail to an owner: the DNS servers of a domain do not answer.
///
/// # Errors
/// If a time is out of range.
pub(super) fn silent(domain: &DomainName, since: Time, links: &Links) -> anyhow::Result<MailText> {
    let date = date(since).context("the time since which DNS does not answer")?;
    let record = domain.record();
    let news = format!(
        "The DNS servers of {domain} have not answered us since {date}. So we cannot see the record \
         {record}. People with addresses of {domain} log in as before."
    );
    Notice {
        subject: "The DNS servers of your domain do not answer",
        news: &news,
        advice: "Repair them, or remove the domain if you do not need it:",
        link: links.public_url.as_str(),
    }
    .render()
}

/// Renders a mail to an owner: a domain does not count any more.
///
/// # Errors
/// If a template is wrong.
pub(super) fn lost(domain: &DomainName, links: &Links) -> anyhow::Result<MailText> {
    let record = domain.record();
    let news = format!(
        "The DNS record {record} has been missing for a week. So addresses of {domain} are not taken \
         as proved any more when your own issuer names them."
    );
    Notice {
        subject: "Your domain is not verified any more",
        news: &news,
        advice: "Publish the record again, and verify the domain:",
        link: links.public_url.as_str(),
    }
    .render()
}
