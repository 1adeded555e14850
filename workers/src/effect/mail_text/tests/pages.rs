//! The pages that mails lead to.

use super::*;

#[test]
fn a_mail_that_warns_leads_to_the_page_that_helps() {
    let device = Device::from_user_agent("Browser/1.0");
    let at = Time(1_700_000_000_000);
    let changed = |change| Template::CredentialsChanged { change };
    let deletion = |notice| Template::Deletion { notice };
    for (template, page) in [
        (Template::LoginsFailed, "security"),
        (Template::SecondFactorFailed, "security"),
        (Template::NewDevice { device, at }, "security"),
        (changed(CredentialChange::TotpRemoved), "security"),
        (deletion(DeletionNotice::Cancelled), "security"),
        (Template::AlreadyRegistered, "login"),
        (password_changed("Ada"), "login"),
    ] {
        leads_to(&rendered(&template), page);
    }
    for (notice, page) in [
        (EmailChangeNotice::Ended, "security"),
        (EmailChangeNotice::Held, "login"),
        (EmailChangeNotice::ChangedTo, "login"),
        (EmailChangeNotice::RestoredTo, "login"),
    ] {
        leads_to(&email_change(notice), page);
    }
}

fn leads_to(mail: &MailText, page: &str) {
    let link = format!("https://example.com/account/{page}");
    for body in [&mail.text, &mail.html] {
        assert!(body.contains(&link), "{body}");
    }
}

#[test]
fn a_mail_about_a_deletion_names_the_day_and_the_way_back() {
    let at = Time(1_700_000_000_000);
    let mail = |notice| rendered(&Template::Deletion { notice });
    let requested = mail(DeletionNotice::Requested { at });
    for body in [&requested.text, &requested.html] {
        assert!(body.contains("deleted on 14 November 2023"), "{body}");
        assert!(body.contains("https://example.com/account/keep"), "{body}");
    }
    for (notice, said) in [
        (DeletionNotice::Cancelled, "will not be deleted"),
        (DeletionNotice::Stopped, "only owner of a team"),
        (DeletionNotice::Done, "was deleted"),
    ] {
        assert!(mail(notice).text.contains(said), "{notice:?}");
    }
}
