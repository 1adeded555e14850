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
        "The DNS record {record} was not found. People with addresses of {domain} log in by your own \
         issuer. Without the record, that ends on {date}."
    );
    Notice {
        subject: "The DNS record of your domain is missing",
        news: &news,
        advice: "Publish the record again, or remove the domain if you do not need it:",
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
