//! Mails with some news, what to do about it, and a link.

use super::MailText;

/// What a mail says.
pub(super) struct Notice<'a> {
    pub(super) subject: &'static str,
    pub(super) news: &'a str,
    /// It ends with a colon if the link follows from it.
    pub(super) advice: &'a str,
    pub(super) link: &'a str,
}

impl Notice<'_> {
    /// # Errors
    /// If a template is wrong.
    pub(super) fn render(&self) -> anyhow::Result<MailText> {
        let Self {
            subject,
            news,
            advice,
            link,
        } = self;
        let text = NoticeText { news, advice, link };
        MailText::new(subject, &text, &NoticeHtml { news, advice, link })
    }
}

#[derive(askama::Template)]
#[template(path = "notice.txt")]
struct NoticeText<'a> {
    news: &'a str,
    advice: &'a str,
    link: &'a str,
}

#[derive(askama::Template)]
#[template(path = "notice.html")]
struct NoticeHtml<'a> {
    news: &'a str,
    advice: &'a str,
    link: &'a str,
}
