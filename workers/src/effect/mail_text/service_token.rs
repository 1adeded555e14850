//! The mail about a new access token of a service.

use events_schema::{Name, has_link};

use super::{Links, MailText};

pub(super) fn created(
    name: &Name,
    tenant: &Name,
    service: &Name,
    links: &Links,
) -> anyhow::Result<MailText> {
    // A thief may have chosen the names.
    let [name, service] = [name, service].map(|name| without_link(name, "…"));
    let (tenant, link) = (without_link(tenant, "your team"), links.public_url.as_str());
    let html = ServiceTokenCreatedHtml {
        name,
        tenant,
        service,
        link,
    };
    let text = ServiceTokenCreatedText {
        name,
        tenant,
        service,
        link,
    };
    MailText::new("An access token of a service was created", &text, &html)
}

pub(super) fn without_link<'a>(name: &'a Name, instead: &'a str) -> &'a str {
    let name = Some(name.as_str()).filter(|name| !has_link(name));
    name.unwrap_or(instead)
}

#[derive(askama::Template)]
#[template(path = "service_token_created.txt")]
struct ServiceTokenCreatedText<'a> {
    name: &'a str,
    tenant: &'a str,
    service: &'a str,
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "service_token_created.html")]
struct ServiceTokenCreatedHtml<'a> {
    name: &'a str,
    tenant: &'a str,
    service: &'a str,
    link: &'a str,
}

#[cfg(test)]
mod tests {
    use events_schema::email::Template;

    use super::{super::tests::rendered, *};

    fn mail(name: &str, tenant: &str, service: &str) -> MailText {
        let [name, tenant_name, service_name] =
            [name, tenant, service].map(|text| Name::parse(text).unwrap());
        rendered(&Template::ServiceTokenCreated {
            name,
            tenant_name,
            service_name,
        })
    }

    #[test]
    fn a_mail_about_a_token_of_a_service_says_whose_it_is_and_what_ends_it() {
        let mail = mail("CI", "Acme", "Import");
        for body in [&mail.text, &mail.html] {
            for part in [
                "Import",
                "of Acme",
                "CI",
                "Only deleting the token or the service",
            ] {
                assert!(body.contains(part), "{body}");
            }
            assert!(!body.contains("change your password"), "it would not help");
        }
    }

    #[test]
    fn a_mail_about_a_token_of_a_service_shows_no_name_with_a_link() {
        let link = "Win at evil.example";
        let mail = mail(link, link, link);
        for text in [&mail.subject, &mail.text, &mail.html] {
            assert!(!text.contains("evil"), "{text}");
        }
    }
}
