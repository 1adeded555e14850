use events_schema::{
    AccessTokenId, Device, Id, ProviderName, Reason, TenantKey,
    email::{BillingNotice, CredentialChange, DeletionNotice, EmailChangeNotice},
    secret::Secret,
};

use super::*;

mod pages;

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
fn expiry(name: &str) -> Template {
    Template::AccessTokenExpires {
        tenant: TenantId::Tenant(TENANT),
        token: AccessTokenId(Id::from_bytes([5; 16])),
        name: Name::parse(name).unwrap(),
        expires_at: Time(1_700_000_000_000),
    }
}
fn url() -> WebhookUrl {
    WebhookUrl::parse("https://hooks.example.org/in?token=secret").unwrap()
}
fn to() -> EmailAddress {
    EmailAddress::parse("bob@example.com").unwrap()
}
pub(super) fn rendered(template: &Template) -> MailText {
    render(template, &to(), &links()).unwrap()
}
/// Finds the token of the link to this page.
fn token<'a>(body: &'a str, page: &str) -> &'a str {
    let start = format!("https://example.com/{page}#token=");
    let (_, rest) = body.split_once(&start).unwrap();
    let is_end = |c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c);
    rest.split(is_end).next().unwrap()
}

#[test]
fn a_mail_about_a_webhook_names_its_host_and_no_secret_of_its_url() {
    let since = Time(1_700_000_000_000);
    let failing = Template::WebhookFailing { url: url(), since };
    let disabled = |is_gone| Template::WebhookDisabled {
        url: url(),
        is_gone,
    };
    for (template, reason) in [
        (failing, "since 14 November 2023, 22:13 UTC"),
        (disabled(false), "five days"),
        (disabled(true), "410"),
    ] {
        let mail = rendered(&template);
        for body in [&mail.text, &mail.html] {
            assert!(body.contains("hooks.example.org"), "{body}");
            assert!(body.contains(reason), "{body}");
            assert!(!body.contains("secret"), "{body}");
        }
    }
}

#[test]
fn a_mail_about_a_plan_names_the_tenant_and_the_day_and_has_a_link_to_our_page_only() {
    let time = Time(1_700_000_000_000);
    let mail = |name: &str, notice| {
        rendered(&Template::Billing {
            tenant: TENANT,
            tenant_name: Name::parse(name).unwrap(),
            notice,
        })
    };
    for (notice, subject) in [
        (
            BillingNotice::PaymentFailed { since: time },
            "A payment has failed",
        ),
        (
            BillingNotice::TrialEnds { at: time },
            "Your trial ends soon",
        ),
        (
            BillingNotice::Restricted { since: time },
            "Nothing more can be created",
        ),
        (BillingNotice::Ended { since: time }, "Your plan has ended"),
    ] {
        let named = mail("Acme", notice);
        assert_eq!(named.subject, subject);
        for body in [&named.text, &named.html] {
            assert!(
                body.contains("Acme") && body.contains("14 November 2023"),
                "{body}"
            );
            let mut links = body.match_indices("https://").map(|(at, _)| &body[at..]);
            assert!(
                links.all(|link| link.starts_with("https://example.com")),
                "{body}"
            );
        }
        assert!(!mail("evil.example", notice).text.contains("evil"));
    }
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
fn both_bodies_of_a_mail_to_log_in_have_the_code_and_no_link() {
    let mail = rendered(&Template::LoginCode {
        challenge: CHALLENGE,
    });
    let code = links().key.code(Purpose::LoginCode, CHALLENGE);
    for body in [&mail.text, &mail.html] {
        assert!(body.contains(&code), "{body}");
        assert!(!body.contains("://"), "{body}");
    }
}

#[test]
fn a_mail_about_a_new_device_has_no_link_that_a_thief_has_chosen() {
    let rendered = |agent| {
        let device = Device::from_user_agent(agent);
        let at = Time(1_700_000_000_000);
        rendered(&Template::NewDevice { device, at })
    };
    for (agent, shown) in [
        ("Mozilla/5.0", "know: Mozilla/5.0, on 14 November 2023"),
        ("go to evil.example", "know: an unknown program, on"),
        ("", "know: unknown, on"),
    ] {
        let mail = rendered(agent);
        for body in [&mail.text, &mail.html] {
            assert!(body.contains(shown), "{body}");
        }
    }
}

#[test]
fn a_mail_about_an_impersonation_says_where_when_and_why() {
    let mail = |tenant: &str| {
        rendered(&Template::Impersonated {
            tenant_name: Name::parse(tenant).unwrap(),
            reason: Reason::parse("Ticket <7>").unwrap(),
            at: Time(1_700_000_000_000),
            ends_at: Time(1_700_000_600_000),
        })
    };
    let named = mail("Acme");
    assert!(named.text.contains("this reason: Ticket <7>"));
    assert!(!named.html.contains("<7>"));
    for body in [&named.text, &named.html] {
        for part in ["in Acme, from", "2023, 22:13 UTC", "2023, 22:23 UTC"] {
            assert!(body.contains(part), "{body}");
        }
    }
    assert!(!mail("evil.example").text.contains("evil"));
}

#[test]
fn a_mail_about_credentials_says_what_has_changed() {
    let provider = || ProviderName::parse("google").unwrap();
    for (change, what) in [
        (CredentialChange::TotpEnrolled, "was added"),
        (CredentialChange::TotpRemoved, "were removed"),
        (CredentialChange::RecoveryCodesRenewed, "new recovery codes"),
        (CredentialChange::PasswordSet, "has got a password"),
        (
            CredentialChange::PasskeyAdded {
                name: Name::parse("Phone").unwrap(),
            },
            "the passkey “Phone” logs in",
        ),
        (
            CredentialChange::PasskeyRemoved {
                name: Name::parse("Phone").unwrap(),
            },
            "“Phone” no longer logs in",
        ),
        (
            CredentialChange::PasskeySuspended {
                name: Name::parse("evil.example").unwrap(),
            },
            "The passkey “…” was used",
        ),
        (CredentialChange::PasswordRemoved, "no longer log in by it"),
        (
            CredentialChange::IdentityLinked {
                provider: provider(),
            },
            "log in to your account by google",
        ),
        (
            CredentialChange::IdentityUnlinked {
                provider: provider(),
            },
            "no longer log in",
        ),
        (CredentialChange::RecoveryCodeUsed, "instead of"),
    ] {
        let mail = rendered(&Template::CredentialsChanged { change });
        for body in [&mail.text, &mail.html] {
            assert!(body.contains(what), "{body}");
        }
    }
    let mail = rendered(&Template::SecondFactorFailed);
    assert!(mail.text.contains("wrong codes"));
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
fn both_bodies_of_an_invitation_have_a_link_that_stops_invitations_to_their_recipient() {
    let mail = rendered(&invitation(TenantId::Tenant(TENANT), "Acme"));
    for body in [&mail.text, &mail.html] {
        let opened = links().key.open_stop_token(token(body, "invitation/stop"));
        assert_eq!(opened, Some(RecipientId::of(&to())));
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
        expiry(link),
    ] {
        let mail = rendered(&template);
        for text in [&mail.subject, &mail.text, &mail.html] {
            assert!(!text.contains("evil"), "{text}");
        }
    }
}

#[test]
fn a_reminder_names_the_token_and_its_end() {
    let mail = rendered(&expiry("Deployment"));
    for body in [&mail.text, &mail.html] {
        assert!(body.contains("Deployment"), "{body}");
        assert!(body.contains("14 November 2023, 22:13 UTC"), "{body}");
    }
}

#[test]
fn nobody_is_invited_to_the_platform() {
    render(&invitation(TenantId::Platform, "Acme"), &to(), &links()).unwrap_err();
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
        expiry("CI"),
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

fn email_change(notice: EmailChangeNotice) -> MailText {
    rendered(&Template::EmailChange {
        account: ACCOUNT,
        challenge: CHALLENGE,
        notice,
    })
}

#[test]
fn a_mail_to_a_new_address_has_the_code_and_no_link() {
    let mail = email_change(EmailChangeNotice::Code);
    let code = links().key.code(Purpose::EmailChange, CHALLENGE);
    for body in [&mail.text, &mail.html] {
        assert!(body.contains(&code), "{body}");
        assert!(!body.contains("://"), "{body}");
    }
}

#[test]
fn a_mail_to_an_address_that_is_held_has_no_code() {
    let mail = email_change(EmailChangeNotice::Held);
    let code = links().key.code(Purpose::EmailChange, CHALLENGE);
    assert!(!mail.text.contains(&code) && !mail.html.contains(&code));
}

#[test]
fn a_mail_to_the_present_address_says_what_its_silence_means() {
    let until = Some(Time(1_700_000_000_000));
    for (silent_until, said) in [
        (None, "the address stays"),
        (until, "may be changed on 14 November 2023, 22:13 UTC"),
    ] {
        let mail = email_change(EmailChangeNotice::Asked { silent_until });
        for body in [&mail.text, &mail.html] {
            assert!(body.contains(said), "{body}");
            let token = token(body, "account/email-change");
            let opened = |purpose| links().key.open_link_token(purpose, token);
            assert_eq!(opened(Purpose::EmailChange), Some((ACCOUNT, CHALLENGE)));
            assert_eq!(opened(Purpose::EmailUndo), None);
        }
    }
}

#[test]
fn only_mails_to_the_former_address_undo_a_change() {
    let at = Time(1_700_000_000_000);
    let deletion = email_change(EmailChangeNotice::DeletionRequested { at });
    assert!(
        deletion.text.contains("deleted on 14 November 2023"),
        "{}",
        deletion.text
    );
    let changed = email_change(EmailChangeNotice::ChangedFrom);
    for mail in [changed, deletion] {
        for body in [&mail.text, &mail.html] {
            let token = token(body, "account/email-undo");
            let opened = |purpose| links().key.open_link_token(purpose, token);
            assert_eq!(opened(Purpose::EmailUndo), Some((ACCOUNT, CHALLENGE)));
            assert_eq!(opened(Purpose::EmailChange), None);
        }
    }
    for notice in [
        EmailChangeNotice::ChangedTo,
        EmailChangeNotice::RestoredFrom,
        EmailChangeNotice::RestoredTo,
        EmailChangeNotice::Ended,
        EmailChangeNotice::Held,
    ] {
        let mail = email_change(notice);
        assert!(!mail.text.contains("token="), "{}", mail.text);
    }
}
