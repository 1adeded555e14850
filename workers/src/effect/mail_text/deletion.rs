//! Mails about the deletion of an account.

use anyhow::Context as _;
use events_schema::email::DeletionNotice;

use super::{Links, MailText, date, notice::Notice};

/// Renders a mail to the owner of the account.
///
/// # Errors
/// If a time is out of range.
pub(super) fn deletion(notice: DeletionNotice, links: &Links) -> anyhow::Result<MailText> {
    let page = links.public_url.as_str();
    let (keep, security) = (format!("{page}/account/keep"), links.security());
    let (subject, news, advice, link) = match notice {
        DeletionNotice::Requested { at } => (
            "Your account will be deleted",
            format!(
                "Your account will be deleted on {}, as you have asked. Until then, you can log in \
                 and use it.",
                date(at).context("the time of the deletion")?
            ),
            "If you want to keep it, or if it was not you who asked, log in and say so:",
            keep.as_str(),
        ),
        DeletionNotice::Cancelled => (
            "Your account stays",
            "Your account will not be deleted.".to_owned(),
            "If it was not you who has kept it, change your password and look at your recent \
             activity now:",
            security.as_str(),
        ),
        DeletionNotice::Stopped => (
            "Your account could not be deleted",
            "Your account was not deleted, since it is the only owner of a team by now.".to_owned(),
            "Make somebody else an owner there, or delete the team. Then ask again to delete your \
             account:",
            page,
        ),
        DeletionNotice::Done => (
            "Your account was deleted",
            "Your account was deleted. You have left all teams, and nobody can log in to it any \
             more."
                .to_owned(),
            "This address may register again:",
            page,
        ),
    };
    Notice {
        subject,
        news: &news,
        advice,
        link,
    }
    .render()
}
