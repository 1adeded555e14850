//! Mails about logging in and about credentials.

use std::borrow::Cow;

use anyhow::Context as _;
use events_schema::{
    ChallengeId, Device, Name, Reason, Time, email::CredentialChange, has_link, secret::Purpose,
};

use super::{Links, MailText, date};

pub(super) fn login_code(challenge: ChallengeId, links: &Links) -> anyhow::Result<MailText> {
    let code = &links.key.code(Purpose::LoginCode, challenge);
    let html = LoginCodeHtml { code };
    MailText::new("Your code to log in", &LoginCodeText { code }, &html)
}

pub(super) fn credentials_changed(
    change: &CredentialChange,
    links: &Links,
) -> anyhow::Result<MailText> {
    let (subject, what) = said_of(change);
    let (what, link) = (what.as_ref(), &links.security());
    let html = CredentialsChangedHtml { what, link };
    MailText::new(subject, &CredentialsChangedText { what, link }, &html)
}

/// Returns the subject and the sentence that tell of a change.
fn said_of(change: &CredentialChange) -> (&'static str, Cow<'static, str>) {
    let (subject, what) = match change {
        CredentialChange::IdentityLinked { provider } => {
            let by = provider.as_str();
            let what = format!("From now on, you can log in to your account by {by}.");
            return ("Another way to log in was added", what.into());
        }
        CredentialChange::IdentityUnlinked { provider } => {
            let by = provider.as_str();
            let what = format!("You can no longer log in to your account by {by}.");
            return ("A way to log in was removed", what.into());
        }
        CredentialChange::PasskeyAdded { name } => {
            let name = shown(name);
            let what = format!("From now on, the passkey “{name}” logs in to your account.");
            return ("A passkey was added", what.into());
        }
        CredentialChange::PasskeyRemoved { name } => {
            let name = shown(name);
            let what = format!("The passkey “{name}” no longer logs in to your account.");
            return ("A passkey was removed", what.into());
        }
        CredentialChange::PasskeySuspended { name } => {
            let name = shown(name);
            let what = format!(
                "The passkey “{name}” was used in a way that shows that somebody may have copied \
                 it. It no longer logs in to your account. Remove it, and add another one."
            );
            return ("A passkey may have been copied", what.into());
        }
        CredentialChange::PasswordSet => (
            "A password was set",
            "Your account has got a password. From now on, you can log in by it.",
        ),
        CredentialChange::PasswordRemoved => (
            "Your password was removed",
            "The password of your account was removed. You can no longer log in by it.",
        ),
        CredentialChange::TotpEnrolled => (
            "An authenticator app was added",
            "An authenticator app was added to your account. From now on, you need it to log in.",
        ),
        CredentialChange::TotpRemoved => (
            "The authenticator app was removed",
            "The authenticator app and the recovery codes were removed from your account.",
        ),
        CredentialChange::RecoveryCodesRenewed => (
            "Your recovery codes were replaced",
            "Your account has got new recovery codes. Those from before are no longer valid.",
        ),
        CredentialChange::RecoveryCodeUsed => (
            "A recovery code was used",
            "Somebody has used one of your recovery codes instead of the authenticator app.",
        ),
    };
    (subject, what.into())
}

/// Hides the name of a passkey if it may become a link: a thief may have chosen it.
fn shown(name: &Name) -> &str {
    let name = Some(name.as_str()).filter(|name| !has_link(name));
    name.unwrap_or("…")
}

pub(super) fn second_factor_failed(links: &Links) -> anyhow::Result<MailText> {
    let link = &links.security();
    MailText::new(
        "Somebody may know your password",
        &SecondFactorFailedText { link },
        &SecondFactorFailedHtml { link },
    )
}

pub(super) fn new_device(device: &Device, at: Time, links: &Links) -> anyhow::Result<MailText> {
    let date = &date(at).context("the time of the log-in")?;
    // The client has chosen the text, and may be a thief.
    let device = Some(device.as_str()).filter(|text| !has_link(text));
    let (device, link) = (device.unwrap_or("an unknown program"), &links.security());
    let html = NewDeviceHtml { device, date, link };
    let text = NewDeviceText { device, date, link };
    MailText::new("A log-in on a new device", &text, &html)
}

pub(super) fn impersonated(
    tenant_name: &Name,
    reason: &Reason,
    (at, ends_at): (Time, Time),
    links: &Links,
) -> anyhow::Result<MailText> {
    let begin = &date(at).context("the begin of the impersonation")?;
    let end = &date(ends_at).context("the end of the impersonation")?;
    // The tenant has chosen its name.
    let tenant_name = Some(tenant_name.as_str()).filter(|name| !has_link(name));
    let (tenant_name, reason) = (tenant_name.unwrap_or("your team"), reason.as_str());
    let link = &links.security();
    let html = ImpersonatedHtml {
        tenant_name,
        reason,
        begin,
        end,
        link,
    };
    let text = ImpersonatedText {
        tenant_name,
        reason,
        begin,
        end,
        link,
    };
    MailText::new("An administrator acts as you", &text, &html)
}

#[derive(askama::Template)]
#[template(path = "impersonated.txt")]
struct ImpersonatedText<'a> {
    tenant_name: &'a str,
    reason: &'a str,
    begin: &'a str,
    end: &'a str,
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "impersonated.html")]
struct ImpersonatedHtml<'a> {
    tenant_name: &'a str,
    reason: &'a str,
    begin: &'a str,
    end: &'a str,
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "login_code.txt")]
struct LoginCodeText<'a> {
    code: &'a str,
}

#[derive(askama::Template)]
#[template(path = "login_code.html")]
struct LoginCodeHtml<'a> {
    code: &'a str,
}

#[derive(askama::Template)]
#[template(path = "credentials_changed.txt")]
struct CredentialsChangedText<'a> {
    what: &'a str,
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "credentials_changed.html")]
struct CredentialsChangedHtml<'a> {
    what: &'a str,
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "second_factor_failed.txt")]
struct SecondFactorFailedText<'a> {
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "second_factor_failed.html")]
struct SecondFactorFailedHtml<'a> {
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "new_device.txt")]
struct NewDeviceText<'a> {
    device: &'a str,
    date: &'a str,
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "new_device.html")]
struct NewDeviceHtml<'a> {
    device: &'a str,
    date: &'a str,
    link: &'a str,
}
