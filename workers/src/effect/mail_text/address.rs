//! Mails about a change of the address of an account. None names the other address: it may belong
//! to a thief, or the mailbox to somebody else by now.

use anyhow::Context as _;
use events_schema::{AccountId, ChallengeId, Time, email::EmailChangeNotice, secret::Purpose};

use super::{Links, MailText, date, notice::Notice};

/// Renders a mail to one of the two addresses.
///
/// # Errors
/// If a time is out of range.
pub(super) fn email_change(
    account: AccountId,
    challenge: ChallengeId,
    notice: EmailChangeNotice,
    links: &Links,
) -> anyhow::Result<MailText> {
    let (login, security) = (links.login(), links.security());
    let (subject, news, advice, link) = match notice {
        EmailChangeNotice::Code => return code(challenge, links),
        EmailChangeNotice::Asked { silent_until } => {
            let link = links.account("email-change", Purpose::EmailChange, account, challenge);
            return asked(silent_until, &link);
        }
        EmailChangeNotice::ChangedFrom => {
            let link = links.account("email-undo", Purpose::EmailUndo, account, challenge);
            return changed_from(&link);
        }
        EmailChangeNotice::DeletionRequested { at } => {
            let link = links.account("email-undo", Purpose::EmailUndo, account, challenge);
            return deletion_requested(at, &link);
        }
        EmailChangeNotice::Held => (
            "Somebody wants to use your e-mail address",
            "Somebody who is logged in to another account wants to use this e-mail address for it. \
             Your account has this address already, so nothing was changed.",
            "If it was you, log in to this account instead:",
            &login,
        ),
        EmailChangeNotice::Ended => (
            "Your e-mail address stays as it is",
            "The e-mail address of your account was not changed: the change was refused, or \
             another account has got the new address meanwhile.",
            "If you did not ask for the change, change your password and look at your recent \
             activity now:",
            &security,
        ),
        EmailChangeNotice::ChangedTo => (
            "Your e-mail address was changed",
            "Your account has this e-mail address now. The owner of the former one can undo this \
             for 30 days.",
            "From now on, log in with this address:",
            &login,
        ),
        EmailChangeNotice::RestoredFrom => (
            "Your e-mail address was changed back",
            "The owner of its former e-mail address has undone the change to this one. You are \
             logged out everywhere.",
            "If this address should have an account, register with it:",
            &links.public_url,
        ),
        EmailChangeNotice::RestoredTo => (
            "Your e-mail address was changed back",
            "Your account has this e-mail address again. All sessions, access tokens and the \
             password have ended, and so have all ways to log in that were added since 30 days \
             before the change.",
            "Set a new password, or log in by a code that we mail to you:",
            &login,
        ),
    };
    Notice {
        subject,
        news,
        advice,
        link,
    }
    .render()
}

fn code(challenge: ChallengeId, links: &Links) -> anyhow::Result<MailText> {
    let code = &links.key.code(Purpose::EmailChange, challenge);
    MailText::new(
        "Your code to change your e-mail address",
        &EmailChangeCodeText { code },
        &EmailChangeCodeHtml { code },
    )
}

fn asked(silent_until: Option<Time>, link: &str) -> anyhow::Result<MailText> {
    let date = silent_until.map(date).transpose();
    let advice = match date.context("the end of the silence")? {
        Some(date) => format!(
            "If you do nothing, the address may be changed on {date}. Confirm the change now, or \
             refuse it:"
        ),
        None => "If you do nothing, the address stays. Confirm the change, or refuse it, within \
                 three days:"
            .to_owned(),
    };
    Notice {
        subject: "Should your account get another e-mail address?",
        news: "Somebody who is logged in to your account wants to change its e-mail address. If it \
               was not you, refuse it, change your password and look at your recent activity.",
        advice: &advice,
        link,
    }
    .render()
}

fn changed_from(link: &str) -> anyhow::Result<MailText> {
    Notice {
        subject: "The e-mail address of your account was changed",
        news: "Your account has another e-mail address now, and you can no longer log in with this \
               one.",
        advice: "If you did not want this, undo it within 30 days. This ends all sessions, the \
                 password, and all ways to log in that were added since or within 30 days before:",
        link,
    }
    .render()
}

fn deletion_requested(at: Time, link: &str) -> anyhow::Result<MailText> {
    let date = date(at).context("the time of the deletion")?;
    let news = format!(
        "The account that had this e-mail address until recently will be deleted on {date}: \
         somebody who is logged in to it wants that."
    );
    Notice {
        subject: "The account that had your e-mail address will be deleted",
        news: &news,
        advice: "If it is still your account, get it back before. This undoes the change of the \
                 e-mail address and keeps the account:",
        link,
    }
    .render()
}

#[derive(askama::Template)]
#[template(path = "email_change_code.txt")]
struct EmailChangeCodeText<'a> {
    code: &'a str,
}

#[derive(askama::Template)]
#[template(path = "email_change_code.html")]
struct EmailChangeCodeHtml<'a> {
    code: &'a str,
}
