//! Mails to the owners of a tenant about a webhook that does not work.

use events_schema::{
    Commit, EmailAddress,
    email::{self, Template},
    webhook::{Area, DisabledReason, Event},
};

use super::{Consequence, Reaction, mail};

/// Requests the mails about webhooks that do not work.
#[derive(Debug)]
pub struct WebhookMail;

impl Reaction for WebhookMail {
    type Source = Area;
    type Target = email::Area;
    const NAME: &'static str = "webhook_mail";

    fn react(commit: &Commit<Area>) -> Vec<Consequence<email::Area>> {
        let events = commit.events.iter();
        events.flat_map(|event| mails(commit, event)).collect()
    }
}

fn mails(commit: &Commit<Area>, event: &Event) -> Vec<Consequence<email::Area>> {
    let (template, owners) = match event {
        Event::FailureWarned {
            url,
            failing_since,
            owners,
            ..
        } => {
            let template = Template::WebhookFailing {
                url: url.clone(),
                since: *failing_since,
            };
            (template, owners)
        }
        Event::Disabled {
            url,
            reason,
            owners,
            ..
        } => {
            let template = Template::WebhookDisabled {
                url: url.clone(),
                is_gone: *reason == DisabledReason::Gone,
            };
            (template, owners)
        }
        Event::Created { .. }
        | Event::Updated { .. }
        | Event::Deleted { .. }
        | Event::Enabled { .. }
        | Event::SecretRotated { .. }
        | Event::TestRequested { .. }
        | Event::RedeliveryRequested { .. }
        | Event::ReplayRequested { .. }
        | Event::ReplayCancelled { .. }
        | Event::ReplayFinished { .. }
        | Event::Resealed { .. } => return Vec::new(),
    };
    let request = |owner: &EmailAddress| {
        let revision = commit.revision.to_be_bytes();
        let occasion: [&[u8]; 4] = [
            b"webhook",
            commit.id.0.bytes(),
            &revision,
            owner.as_str().as_bytes(),
        ];
        mail(&occasion, owner, template.clone())
    };
    owners.iter().map(request).collect()
}

#[cfg(test)]
mod tests {
    use events_schema::{Id, Time, WebhookId, outbound::WebhookUrl};

    use super::*;
    use crate::reaction::testing::{ID, REVISION, when};

    const WEBHOOK: WebhookId = WebhookId(Id::from_bytes([3; 16]));

    fn owners() -> Vec<EmailAddress> {
        let owners = ["ada@example.com", "bob@example.com"];
        let owners = owners.map(|owner| EmailAddress::parse(owner).unwrap());
        owners.to_vec()
    }

    fn url() -> WebhookUrl {
        WebhookUrl::parse("https://example.com/").unwrap()
    }

    fn disabled(reason: DisabledReason, owners: Vec<EmailAddress>) -> Event {
        Event::Disabled {
            webhook: WEBHOOK,
            reason,
            url: url(),
            owners,
        }
    }

    fn mails(template: &Template) -> Vec<Consequence<email::Area>> {
        let revision = REVISION.to_be_bytes();
        let request = |owner: &EmailAddress| {
            let occasion: [&[u8]; 4] =
                [b"webhook", ID.bytes(), &revision, owner.as_str().as_bytes()];
            mail(&occasion, owner, template.clone())
        };
        owners().iter().map(request).collect()
    }

    #[test]
    fn each_owner_is_warned() {
        let since = Time(7);
        let warned = Event::FailureWarned {
            webhook: WEBHOOK,
            url: url(),
            failing_since: since,
            owners: owners(),
        };
        let failing = Template::WebhookFailing { url: url(), since };
        when::<WebhookMail>([warned]).then(mails(&failing));
    }

    #[test]
    fn each_owner_learns_why_a_webhook_was_disabled() {
        for (reason, is_gone) in [
            (DisabledReason::Failing, false),
            (DisabledReason::Gone, true),
        ] {
            let template = Template::WebhookDisabled {
                url: url(),
                is_gone,
            };
            when::<WebhookMail>([disabled(reason, owners())]).then(mails(&template));
        }
    }

    #[test]
    fn nobody_gets_a_mail_about_what_a_person_has_done() {
        let requested = disabled(DisabledReason::Requested, Vec::new());
        when::<WebhookMail>([requested]).then([]);
    }
}
