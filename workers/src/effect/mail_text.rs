//! What the mails say: templates in `workers/templates/`, checked when compiled, HTML escaped.
//! Rendered when a mail is sent, so that its code and link are nowhere stored.

use askama::Template as _;
use events_schema::{
    TenantId,
    email::Template,
    secret::{Purpose, ServerKey},
};

/// What codes and links are made of.
#[derive(Clone, Debug)]
pub struct Links {
    /// The key that they derive from.
    pub key: ServerKey,
    /// Where people reach the gateway, without a slash at the end.
    pub public_url: String,
}

/// A mail, rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailText {
    /// One line.
    pub subject: String,
    /// For readers of plain text.
    pub text: String,
    /// The same as HTML.
    pub html: String,
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
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "invitation.html")]
struct InvitationHtml<'a> {
    tenant_name: &'a str,
    link: &'a str,
}

/// Renders a mail.
///
/// # Errors
/// None that retrying helps: a template was compiled or it was not, and nobody is invited to the
/// platform.
pub fn render(template: &Template, links: &Links) -> anyhow::Result<MailText> {
    let home = links.public_url.as_str();
    let (subject, text, html) = match template {
        // No name in this one and the reset: who asked for them may have chosen it, and the mail
        // goes to somebody else.
        Template::Verification {
            account,
            challenge,
            firstname: _,
        } => {
            let code = &links.key.code(Purpose::Verification, *challenge);
            let link = &format!(
                "{home}/account/verify?token={}",
                links
                    .key
                    .link_token(Purpose::Verification, *account, *challenge)
            );
            let html = VerificationHtml { code, link }.render()?;
            (
                "Confirm your e-mail address".to_owned(),
                VerificationText { code, link }.render()?,
                html,
            )
        }
        Template::AlreadyRegistered => {
            let html = AlreadyRegisteredHtml { link: home }.render()?;
            (
                "Somebody tried to register with your address".to_owned(),
                AlreadyRegisteredText { link: home }.render()?,
                html,
            )
        }
        Template::PasswordReset {
            account,
            challenge,
            firstname: _,
        } => {
            let token = links
                .key
                .link_token(Purpose::PasswordReset, *account, *challenge);
            let link = &format!("{home}/account/reset-password?token={token}");
            let html = PasswordResetHtml { link }.render()?;
            (
                "Set a new password".to_owned(),
                PasswordResetText { link }.render()?,
                html,
            )
        }
        Template::Invitation {
            tenant,
            tenant_name,
            member,
            challenge,
        } => {
            let TenantId::Tenant(tenant) = *tenant else {
                anyhow::bail!("nobody is invited to the platform")
            };
            let link = &format!(
                "{home}/invitation?token={}",
                links.key.invitation_token(tenant, *member, *challenge)
            );
            let tenant_name = tenant_name.as_str();
            let html = InvitationHtml { tenant_name, link }.render()?;
            // A name has no line breaks, so it ends no header.
            (
                format!("You are invited to {tenant_name}"),
                InvitationText { tenant_name, link }.render()?,
                html,
            )
        }
        Template::PasswordChanged { firstname } => {
            let firstname = firstname.as_str();
            let html = PasswordChangedHtml {
                firstname,
                link: home,
            }
            .render()?;
            (
                "Your password was changed".to_owned(),
                PasswordChangedText {
                    firstname,
                    link: home,
                }
                .render()?,
                html,
            )
        }
    };
    Ok(MailText {
        subject,
        text,
        html,
    })
}

#[cfg(test)]
mod tests {
    use events_schema::{AccountId, ChallengeId, Id, MemberId, Name, PersonName};

    use super::*;

    fn links() -> Links {
        Links {
            key: ServerKey::parse(&"k".repeat(32)).unwrap(),
            public_url: "https://example.com".to_owned(),
        }
    }
    const ACCOUNT: AccountId = AccountId(Id::from_bytes([1; 16]));
    const CHALLENGE: ChallengeId = ChallengeId(Id::from_bytes([2; 16]));
    const TENANT: Id = Id::from_bytes([3; 16]);
    const MEMBER: MemberId = MemberId(Id::from_bytes([4; 16]));
    fn invitation(tenant: TenantId, tenant_name: &str) -> Template {
        Template::Invitation {
            tenant,
            tenant_name: Name::parse(tenant_name).unwrap(),
            member: MEMBER,
            challenge: CHALLENGE,
        }
    }
    fn verification(firstname: &str) -> MailText {
        render(
            &Template::Verification {
                account: ACCOUNT,
                challenge: CHALLENGE,
                firstname: PersonName::parse(firstname).unwrap(),
            },
            &links(),
        )
        .unwrap()
    }

    #[test]
    fn code_and_link_are_in_both_bodies() {
        let mail = verification("Ada");
        let code = links().key.code(Purpose::Verification, CHALLENGE);
        let link = format!(
            "https://example.com/account/verify?token={}",
            links()
                .key
                .link_token(Purpose::Verification, ACCOUNT, CHALLENGE)
        );
        for body in [&mail.text, &mail.html] {
            assert!(
                body.contains(&code) && body.contains(&link) && !body.contains("Ada"),
                "{body}"
            );
        }
    }

    #[test]
    fn a_reset_link_is_in_both_bodies_and_opens_for_a_reset_alone() {
        let firstname = PersonName::parse("Ada").unwrap();
        let mail = render(
            &Template::PasswordReset {
                account: ACCOUNT,
                challenge: CHALLENGE,
                firstname,
            },
            &links(),
        )
        .unwrap();
        for body in [&mail.text, &mail.html] {
            let (_, token) = body
                .split_once("https://example.com/account/reset-password?token=")
                .unwrap();
            let token = token
                .split(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c))
                .next()
                .unwrap();
            assert_eq!(
                links().key.open_link_token(Purpose::PasswordReset, token),
                Some((ACCOUNT, CHALLENGE))
            );
            assert_eq!(
                links().key.open_link_token(Purpose::Verification, token),
                None
            );
            assert!(!body.contains("Ada"), "{body}");
        }
    }

    #[test]
    fn an_invitation_names_the_tenant_and_its_link_is_in_both_bodies() {
        let mail = render(
            &invitation(TenantId::Tenant(TENANT), "<b>Acme & Co</b>"),
            &links(),
        )
        .unwrap();
        assert_eq!(mail.subject, "You are invited to <b>Acme & Co</b>");
        for body in [&mail.text, &mail.html] {
            let (_, token) = body
                .split_once("https://example.com/invitation?token=")
                .unwrap();
            let token = token
                .split(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c))
                .next()
                .unwrap();
            assert_eq!(
                links().key.open_invitation_token(token),
                Some((TENANT, MEMBER, CHALLENGE))
            );
        }
        assert!(mail.text.contains("<b>Acme & Co</b>"));
        assert!(
            !mail.html.contains("<b>Acme") && mail.html.contains("Acme"),
            "{}",
            mail.html
        );
    }

    #[test]
    fn nobody_is_invited_to_the_platform() {
        render(&invitation(TenantId::Platform, "Acme"), &links()).unwrap_err();
    }

    #[test]
    fn a_name_is_escaped_in_html_and_left_alone_in_text() {
        let firstname = PersonName::parse("<b>Ada & Co</b>").unwrap();
        let mail = render(&Template::PasswordChanged { firstname }, &links()).unwrap();
        assert!(mail.text.contains("<b>Ada & Co</b>"));
        assert!(!mail.html.contains("<b>Ada"), "{}", mail.html);
    }

    #[test]
    fn every_mail_has_a_one_line_subject_and_two_bodies() {
        let firstname = PersonName::parse("Ada").unwrap();
        for template in [
            Template::Verification {
                account: ACCOUNT,
                challenge: CHALLENGE,
                firstname: firstname.clone(),
            },
            Template::AlreadyRegistered,
            Template::PasswordReset {
                account: ACCOUNT,
                challenge: CHALLENGE,
                firstname: firstname.clone(),
            },
            invitation(TenantId::Tenant(TENANT), "Acme"),
            Template::PasswordChanged { firstname },
        ] {
            let mail = render(&template, &links()).unwrap();
            assert!(!mail.subject.is_empty() && !mail.subject.contains('\n'));
            for body in [&mail.text, &mail.html] {
                assert!(
                    body.contains("https://example.com")
                        && !body.contains("{{")
                        && !body.contains("{%"),
                    "{body}"
                );
            }
        }
    }
}
