//! Mails about the connections of a tenant.

use events_schema::{Name, email::ConnectionNotice};

use super::{Links, MailText, notice::Notice, service_token::without_link};

/// Renders a mail to an owner: who gets into the tenant by a connection has changed.
///
/// # Errors
/// If a template is wrong.
pub(super) fn changed(
    name: &Name,
    notice: &ConnectionNotice,
    links: &Links,
) -> anyhow::Result<MailText> {
    // A thief may have chosen the name.
    let name = without_link(name, "…");
    let news = match notice {
        ConnectionNotice::Created => format!(
            "The connection {name} was created. People can log in to your tenant by its issuer."
        ),
        ConnectionNotice::Changed => format!(
            "The connection {name} was changed: its issuer, its client, the role of new members or \
             what its issuer is trusted with."
        ),
        ConnectionNotice::Deleted => format!(
            "The connection {name} was deleted. Nobody can log in to your tenant by it any more."
        ),
        ConnectionNotice::EnforcementBegun => {
            format!("From now on, everybody needs the connection {name} in your tenant.")
        }
        ConnectionNotice::EnforcementEnded => {
            format!("Nobody needs the connection {name} in your tenant any more.")
        }
        ConnectionNotice::DomainVerified { domain } => format!(
            "The domain {domain} was verified for the connection {name}. Its issuer proves addresses \
             of the domain from now on."
        ),
    };
    Notice {
        subject: "The log-in to your tenant has changed",
        news: &news,
        advice: "If this was none of your administrators, check your connections and members now:",
        link: links.public_url.as_str(),
    }
    .render()
}

#[cfg(test)]
mod tests {
    use events_schema::{DomainName, email::Template};

    use super::{super::tests::rendered, *};

    fn mail(name: &str, notice: ConnectionNotice) -> MailText {
        let name = Name::parse(name).unwrap();
        rendered(&Template::Connection { name, notice })
    }

    #[test]
    fn a_mail_about_a_connection_says_what_has_become_of_which_one() {
        let domain = DomainName::parse("example.com").unwrap();
        for (notice, expected) in [
            (ConnectionNotice::Created, "Acme was created"),
            (ConnectionNotice::Changed, "Acme was changed"),
            (ConnectionNotice::Deleted, "Acme was deleted"),
            (
                ConnectionNotice::EnforcementBegun,
                "everybody needs the connection Acme",
            ),
            (
                ConnectionNotice::EnforcementEnded,
                "Nobody needs the connection Acme",
            ),
            (
                ConnectionNotice::DomainVerified { domain },
                "example.com was verified for the connection Acme",
            ),
        ] {
            let mail = mail("Acme", notice);
            for body in [&mail.text, &mail.html] {
                assert!(body.contains(expected), "{body}");
            }
        }
    }

    #[test]
    fn a_mail_about_a_connection_shows_no_name_with_a_link() {
        let mail = mail("Win at evil.example", ConnectionNotice::Created);
        for text in [&mail.subject, &mail.text, &mail.html] {
            assert!(!text.contains("evil"), "{text}");
        }
    }
}
