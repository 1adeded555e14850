//! The texts of mails: templates in `workers/templates/`, checked at compile time, with HTML
//! escaped. A mail is rendered when it is sent, so that its code and link are stored nowhere.

use anyhow::bail;
use askama::Template as Render;
use events_schema::{
    AccountId, ChallengeId, MemberId, Name, PersonName, TenantId,
    email::Template,
    has_link,
    secret::{Purpose, ServerKey},
};

/// The input of the codes and links in mails.
#[derive(Clone, Debug)]
pub struct Links {
    /// Codes and links derive from this key.
    pub key: ServerKey,
    /// The gateway's address for people, without a slash at the end.
    pub public_url: String,
}

impl Links {
    fn account(&self, page: &str, purpose: Purpose, id: AccountId, mail: ChallengeId) -> String {
        let token = self.key.link_token(purpose, id, mail);
        // Behind the #, so that no server logs it.
        format!("{}/account/{page}#token={token}", self.public_url)
    }
}

/// A mail as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailText {
    /// One line.
    pub subject: String,
    /// The body as plain text.
    pub text: String,
    /// The body as HTML.
    pub html: String,
}

impl MailText {
    fn new(subject: &str, text: &impl Render, html: &impl Render) -> anyhow::Result<Self> {
        Ok(Self {
            subject: subject.to_owned(),
            text: text.render()?,
            html: html.render()?,
        })
    }
}

/// Renders a mail.
///
/// # Errors
/// If the mail invites to the platform, which has no members. A retry does not help.
pub fn render(template: &Template, links: &Links) -> anyhow::Result<MailText> {
    match template {
        // This mail and the next have no name in them. The client that sent the request may have
        // chosen the name, and the mail may go to somebody else.
        Template::Verification {
            account,
            challenge,
            firstname: _,
        } => verification(*account, *challenge, links),
        Template::PasswordReset {
            account,
            challenge,
            firstname: _,
        } => password_reset(*account, *challenge, links),
        Template::AlreadyRegistered => already_registered(links),
        Template::LoginsFailed => logins_failed(links),
        Template::AccessTokenCreated { name } => access_token_created(name, links),
        Template::PasswordChanged { firstname } => password_changed(firstname, links),
        Template::Invitation {
            tenant,
            tenant_name,
            member,
            challenge,
            inviter,
        } => {
            let token = invitation_token(*tenant, *member, *challenge, links)?;
            invitation(tenant_name, inviter.as_ref(), &token, links)
        }
    }
}

fn verification(
    account: AccountId,
    challenge: ChallengeId,
    links: &Links,
) -> anyhow::Result<MailText> {
    let purpose = Purpose::Verification;
    let code = &links.key.code(purpose, challenge);
    let link = &links.account("verify", purpose, account, challenge);
    let html = VerificationHtml { code, link };
    MailText::new(
        "Verify your e-mail address",
        &VerificationText { code, link },
        &html,
    )
}

fn password_reset(
    account: AccountId,
    challenge: ChallengeId,
    links: &Links,
) -> anyhow::Result<MailText> {
    let purpose = Purpose::PasswordReset;
    let link = &links.account("reset-password", purpose, account, challenge);
    let html = PasswordResetHtml { link };
    MailText::new("Set a new password", &PasswordResetText { link }, &html)
}

fn already_registered(links: &Links) -> anyhow::Result<MailText> {
    let link = links.public_url.as_str();
    let subject = "Somebody tried to register with your e-mail address";
    let html = AlreadyRegisteredHtml { link };
    MailText::new(subject, &AlreadyRegisteredText { link }, &html)
}

fn logins_failed(links: &Links) -> anyhow::Result<MailText> {
    let link = links.public_url.as_str();
    let subject = "Many logins to your account have failed";
    MailText::new(
        subject,
        &LoginsFailedText { link },
        &LoginsFailedHtml { link },
    )
}

fn access_token_created(name: &Name, links: &Links) -> anyhow::Result<MailText> {
    // A thief may have created it, and so chosen the name.
    let name = Some(name.as_str()).filter(|name| !has_link(name));
    let (name, link) = (name.unwrap_or("…"), links.public_url.as_str());
    let html = AccessTokenCreatedHtml { name, link };
    let text = AccessTokenCreatedText { name, link };
    MailText::new("An access token was created", &text, &html)
}

fn password_changed(firstname: &PersonName, links: &Links) -> anyhow::Result<MailText> {
    let firstname = Some(firstname.as_str()).filter(|name| !has_link(name));
    let (firstname, link) = (firstname.unwrap_or("there"), links.public_url.as_str());
    let html = PasswordChangedHtml { firstname, link };
    let text = PasswordChangedText { firstname, link };
    MailText::new("Your password has been changed", &text, &html)
}

fn invitation_token(
    tenant: TenantId,
    member: MemberId,
    challenge: ChallengeId,
    links: &Links,
) -> anyhow::Result<String> {
    let TenantId::Tenant(tenant) = tenant else {
        bail!("an invitation to the platform, which has no members")
    };
    Ok(links.key.invitation_token(tenant, member, challenge))
}

fn invitation(
    tenant_name: &Name,
    inviter: Option<&PersonName>,
    token: &str,
    links: &Links,
) -> anyhow::Result<MailText> {
    let link = &format!("{}/invitation#token={token}", links.public_url);
    // A name of an earlier release may have a link in it.
    let tenant_name = Some(tenant_name.as_str()).filter(|name| !has_link(name));
    let tenant_name = tenant_name.unwrap_or("a team");
    let inviter = inviter.map_or("Somebody", PersonName::as_str);
    // A name has no line breaks, so it cannot end the header.
    let subject = format!("You are invited to join {tenant_name}");
    let html = InvitationHtml {
        tenant_name,
        inviter,
        link,
    };
    let text = InvitationText {
        tenant_name,
        inviter,
        link,
    };
    MailText::new(&subject, &text, &html)
}

#[derive(askama::Template)]
#[template(path = "verification.txt")]
struct VerificationText<'a> {
    code: &'a str,
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "verification.html")]
struct VerificationHtml<'a> {
    code: &'a str,
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "already_registered.txt")]
struct AlreadyRegisteredText<'a> {
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "already_registered.html")]
struct AlreadyRegisteredHtml<'a> {
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "logins_failed.txt")]
struct LoginsFailedText<'a> {
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "logins_failed.html")]
struct LoginsFailedHtml<'a> {
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "password_reset.txt")]
struct PasswordResetText<'a> {
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "password_reset.html")]
struct PasswordResetHtml<'a> {
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "access_token_created.txt")]
struct AccessTokenCreatedText<'a> {
    name: &'a str,
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "access_token_created.html")]
struct AccessTokenCreatedHtml<'a> {
    name: &'a str,
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "password_changed.txt")]
struct PasswordChangedText<'a> {
    firstname: &'a str,
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "password_changed.html")]
struct PasswordChangedHtml<'a> {
    firstname: &'a str,
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "invitation.txt")]
struct InvitationText<'a> {
    tenant_name: &'a str,
    inviter: &'a str,
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "invitation.html")]
struct InvitationHtml<'a> {
    tenant_name: &'a str,
    inviter: &'a str,
    link: &'a str,
}

#[cfg(test)]
mod tests {
    use events_schema::{Id, TenantKey, secret::Secret};

    use super::*;

    const ACCOUNT: AccountId = AccountId(Id::from_bytes([1; 16]));
    const CHALLENGE: ChallengeId = ChallengeId(Id::from_bytes([2; 16]));
    const TENANT: TenantKey = TenantKey(Id::from_bytes([3; 16]));
    const MEMBER: MemberId = MemberId(Id::from_bytes([4; 16]));

    fn links() -> Links {
        Links {
            key: ServerKey::new(Secret::parse(&"k".repeat(32)).unwrap(), Vec::new()),
            public_url: "https://example.com".to_owned(),
        }
    }
    fn name(text: &str) -> PersonName {
        PersonName::parse(text).unwrap()
    }
    fn verification() -> Template {
        Template::Verification {
            account: ACCOUNT,
            challenge: CHALLENGE,
            firstname: name("Ada"),
        }
    }
    fn password_reset() -> Template {
        Template::PasswordReset {
            account: ACCOUNT,
            challenge: CHALLENGE,
            firstname: name("Ada"),
        }
    }
    fn password_changed(firstname: &str) -> Template {
        Template::PasswordChanged {
            firstname: name(firstname),
        }
    }
    fn invitation(tenant: TenantId, tenant_name: &str) -> Template {
        Template::Invitation {
            tenant,
            tenant_name: Name::parse(tenant_name).unwrap(),
            member: MEMBER,
            challenge: CHALLENGE,
            inviter: Some(name("Ada Lovelace")),
        }
    }
    fn rendered(template: &Template) -> MailText {
        render(template, &links()).unwrap()
    }
    /// Finds the token of the link to this page.
    fn token<'a>(body: &'a str, page: &str) -> &'a str {
        let start = format!("https://example.com/{page}#token=");
        let (_, rest) = body.split_once(&start).unwrap();
        let is_end = |c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c);
        rest.split(is_end).next().unwrap()
    }

    #[test]
    fn both_bodies_of_a_verification_mail_have_the_code_and_the_link() {
        let mail = rendered(&verification());
        let code = links().key.code(Purpose::Verification, CHALLENGE);
        for body in [&mail.text, &mail.html] {
            assert!(body.contains(&code), "{body}");
            let token = token(body, "account/verify");
            let opened = links().key.open_link_token(Purpose::Verification, token);
            assert_eq!(opened, Some((ACCOUNT, CHALLENGE)));
        }
    }

    #[test]
    fn both_bodies_of_a_reset_mail_have_a_link_that_only_resets_a_password() {
        let mail = rendered(&password_reset());
        for body in [&mail.text, &mail.html] {
            let token = token(body, "account/reset-password");
            let opened = links().key.open_link_token(Purpose::PasswordReset, token);
            assert_eq!(opened, Some((ACCOUNT, CHALLENGE)));
            let opened = links().key.open_link_token(Purpose::Verification, token);
            assert_eq!(opened, None);
        }
    }

    #[test]
    fn a_mail_that_anybody_can_request_has_no_name_in_it() {
        for template in [verification(), password_reset()] {
            let mail = rendered(&template);
            for text in [&mail.subject, &mail.text, &mail.html] {
                assert!(!text.contains("Ada"), "{text}");
            }
        }
    }

    #[test]
    fn both_bodies_of_an_invitation_name_the_tenant_and_have_the_link() {
        let mail = rendered(&invitation(TenantId::Tenant(TENANT), "Acme"));
        assert_eq!(mail.subject, "You are invited to join Acme");
        for body in [&mail.text, &mail.html] {
            assert!(
                body.contains("Ada Lovelace invites you to join Acme"),
                "{body}"
            );
            let opened = links().key.open_invitation_token(token(body, "invitation"));
            assert_eq!(opened, Some((TENANT, MEMBER, CHALLENGE)));
        }
    }

    #[test]
    fn no_mail_shows_a_name_with_a_link() {
        let link = "Win at evil.example";
        for template in [
            invitation(TenantId::Tenant(TENANT), link),
            password_changed(link),
            Template::AccessTokenCreated {
                name: Name::parse(link).unwrap(),
            },
        ] {
            let mail = rendered(&template);
            for text in [&mail.subject, &mail.text, &mail.html] {
                assert!(!text.contains("evil"), "{text}");
            }
        }
    }

    #[test]
    fn nobody_is_invited_to_the_platform() {
        render(&invitation(TenantId::Platform, "Acme"), &links()).unwrap_err();
    }

    #[test]
    fn a_name_is_escaped_in_html_only() {
        let tenant = TenantId::Tenant(TENANT);
        for template in [
            password_changed("<b>Acme & Co</b>"),
            invitation(tenant, "<b>Acme & Co</b>"),
        ] {
            let mail = rendered(&template);
            assert!(mail.text.contains("<b>Acme & Co</b>"), "{}", mail.text);
            assert!(mail.html.contains("Acme"), "{}", mail.html);
            assert!(!mail.html.contains("<b>Acme"), "{}", mail.html);
        }
    }

    #[test]
    fn a_name_is_not_escaped_in_a_subject() {
        let mail = rendered(&invitation(TenantId::Tenant(TENANT), "<b>Acme & Co</b>"));
        assert_eq!(mail.subject, "You are invited to join <b>Acme & Co</b>");
    }

    #[test]
    fn each_mail_has_a_subject_in_one_line_and_two_bodies_with_a_link() {
        for template in [
            verification(),
            password_reset(),
            Template::AlreadyRegistered,
            password_changed("Ada"),
            invitation(TenantId::Tenant(TENANT), "Acme"),
        ] {
            let mail = rendered(&template);
            assert!(!mail.subject.is_empty() && !mail.subject.contains('\n'));
            for body in [&mail.text, &mail.html] {
                assert!(body.contains("https://example.com"), "{body}");
                assert!(!body.contains("{{") && !body.contains("{%"), "{body}");
            }
        }
    }
}
