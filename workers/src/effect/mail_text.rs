//! The texts of mails: templates in `workers/templates/`, checked at compile time, with HTML
//! escaped. A mail is rendered when it is sent, so that its code and link are stored nowhere.

mod address;
mod billing;
mod connection;
mod deletion;
mod domain;
mod notice;
mod service_token;

use anyhow::{Context as _, bail};
use askama::Template as Render;
use events_schema::{
    AccountId, ChallengeId, EmailAddress, MemberId, Name, PersonName, RecipientId, TenantId, Time,
    email::Template,
    has_link,
    outbound::WebhookUrl,
    secret::{Purpose, ServerKey},
};

mod credentials;
use credentials::{
    credentials_changed, impersonated, login_code, new_device, second_factor_failed,
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
    /// The page where people log in, by a new password if they have forgotten theirs.
    fn login(&self) -> String {
        format!("{}/account/login", self.public_url)
    }

    /// The page with the ways to log in, the devices and the recent activity of an account.
    fn security(&self) -> String {
        format!("{}/account/security", self.public_url)
    }

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

/// Renders a mail to this address.
///
/// # Errors
/// If the mail invites to the platform, which has no members. A retry does not help.
pub fn render(template: &Template, to: &EmailAddress, links: &Links) -> anyhow::Result<MailText> {
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
        Template::LoginCode { challenge } => login_code(*challenge, links),
        Template::CredentialsChanged { change } => credentials_changed(change, links),
        Template::SecondFactorFailed => second_factor_failed(links),
        Template::NewDevice { device, at } => new_device(device, *at, links),
        Template::Impersonated {
            tenant_name,
            reason,
            at,
            ends_at,
        } => impersonated(tenant_name, reason, (*at, *ends_at), links),
        Template::AccessTokenCreated { name } => access_token_created(name, links),
        Template::ServiceTokenCreated {
            name,
            tenant_name,
            service_name,
        } => service_token::created(name, tenant_name, service_name, links),
        Template::AccessTokenExpires {
            name, expires_at, ..
        } => access_token_expires(name, *expires_at, links),
        Template::PasswordChanged { firstname } => password_changed(firstname, links),
        Template::WebhookFailing { url, since } => webhook_failing(url, *since, links),
        Template::WebhookDisabled { url, is_gone } => webhook_disabled(url, *is_gone, links),
        Template::EmailChange {
            account,
            challenge,
            notice,
        } => address::email_change(*account, *challenge, *notice, links),
        Template::Deletion { notice } => deletion::deletion(*notice, links),
        Template::DomainMissing { domain, until } => domain::missing(domain, *until, links),
        Template::DomainSilent { domain, since } => domain::silent(domain, *since, links),
        Template::DomainLost { domain } => domain::lost(domain, links),
        Template::Connection { name, notice } => connection::changed(name, notice, links),
        Template::Billing {
            tenant_name,
            notice,
            ..
        } => billing::billing(tenant_name, *notice, links),
        Template::Invitation {
            tenant,
            tenant_name,
            member,
            challenge,
            inviter,
        } => {
            let token = invitation_token(*tenant, *member, *challenge, links)?;
            invitation(tenant_name, inviter.as_ref(), &token, to, links)
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
    let link = &links.login();
    let subject = "Somebody tried to register with your e-mail address";
    let html = AlreadyRegisteredHtml { link };
    MailText::new(subject, &AlreadyRegisteredText { link }, &html)
}

fn logins_failed(links: &Links) -> anyhow::Result<MailText> {
    let link = &links.security();
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

fn access_token_expires(name: &Name, at: Time, links: &Links) -> anyhow::Result<MailText> {
    let date = &date(at).context("the end of the token")?;
    let name = Some(name.as_str()).filter(|name| !has_link(name));
    let (name, link) = (name.unwrap_or("…"), links.public_url.as_str());
    let html = AccessTokenExpiresHtml { name, date, link };
    let text = AccessTokenExpiresText { name, date, link };
    MailText::new("An access token expires soon", &text, &html)
}

fn webhook_failing(url: &WebhookUrl, since: Time, links: &Links) -> anyhow::Result<MailText> {
    let date = &date(since).context("the time of the first failure")?;
    let (host, link) = (url.host(), links.public_url.as_str());
    let html = WebhookFailingHtml { host, date, link };
    let text = WebhookFailingText { host, date, link };
    MailText::new("A webhook does not work", &text, &html)
}

fn webhook_disabled(url: &WebhookUrl, is_gone: bool, links: &Links) -> anyhow::Result<MailText> {
    let (host, link) = (url.host(), links.public_url.as_str());
    let html = WebhookDisabledHtml {
        host,
        is_gone,
        link,
    };
    let text = WebhookDisabledText {
        host,
        is_gone,
        link,
    };
    MailText::new("A webhook was disabled", &text, &html)
}

fn date(time: Time) -> anyhow::Result<String> {
    let time = jiff::Timestamp::from_millisecond(time.0)?;
    Ok(time.strftime("%-d %B %Y, %H:%M UTC").to_string())
}

fn password_changed(firstname: &PersonName, links: &Links) -> anyhow::Result<MailText> {
    let firstname = Some(firstname.as_str()).filter(|name| !has_link(name));
    // Somebody who has not changed it does not know the present one.
    let (firstname, link) = (firstname.unwrap_or("there"), &links.login());
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
    to: &EmailAddress,
    links: &Links,
) -> anyhow::Result<MailText> {
    let link = &format!("{}/invitation#token={token}", links.public_url);
    let token = links.key.stop_token(RecipientId::of(to));
    let stop_link = &format!("{}/invitation/stop#token={token}", links.public_url);
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
        stop_link,
    };
    let text = InvitationText {
        tenant_name,
        inviter,
        link,
        stop_link,
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
#[template(path = "access_token_expires.txt")]
struct AccessTokenExpiresText<'a> {
    name: &'a str,
    date: &'a str,
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "access_token_expires.html")]
struct AccessTokenExpiresHtml<'a> {
    name: &'a str,
    date: &'a str,
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
    stop_link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "invitation.html")]
struct InvitationHtml<'a> {
    tenant_name: &'a str,
    inviter: &'a str,
    link: &'a str,
    stop_link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "webhook_failing.txt")]
struct WebhookFailingText<'a> {
    host: &'a str,
    date: &'a str,
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "webhook_failing.html")]
struct WebhookFailingHtml<'a> {
    host: &'a str,
    date: &'a str,
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "webhook_disabled.txt")]
struct WebhookDisabledText<'a> {
    host: &'a str,
    is_gone: bool,
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "webhook_disabled.html")]
struct WebhookDisabledHtml<'a> {
    host: &'a str,
    is_gone: bool,
    link: &'a str,
}

#[cfg(test)]
mod tests;
