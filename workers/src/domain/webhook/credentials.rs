//! Where the credentials of a webhook may go.

use events_schema::webhook::{Changes, Settings};

use super::Rejection;

/// Credentials go only to the server that they were given for. Who changes a webhook need not know
/// them, and would otherwise learn them at a server of their own.
pub(super) fn check_origin(present: &Settings, changes: &Changes) -> Result<(), Rejection> {
    let url = changes.url.as_ref();
    let moves = url.is_some_and(|url| !url.has_origin_of(&present.url));
    let credentials = present.credentials.as_ref();
    let keeps = changes.credentials.is_none()
        && credentials.is_some_and(|credentials| !credentials.is_empty());
    if moves && keeps {
        Err(Rejection::CredentialsOfAnotherServer)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use events_schema::{
        BuiltInRole::Admin,
        outbound::WebhookUrl,
        sealed::Sealed,
        webhook::{AuthKind, Credentials, Event},
    };

    use super::{
        super::{Webhooks, tests::*},
        *,
    };
    use crate::domain::testing::{Given, given};

    fn credentials(auth: AuthKind, names: &[&str]) -> Credentials {
        let sealed = format!("k1:{}", "QUFB".repeat(13));
        Credentials {
            auth,
            header_names: names.iter().map(ToString::to_string).collect(),
            sealed: Sealed::parse(&sealed).unwrap(),
        }
    }

    /// A webhook of `https://example.com/hooks`.
    fn webhook(credentials: Option<Credentials>) -> Given<Webhooks> {
        let settings = Settings {
            credentials,
            ..settings()
        };
        given([Event::Created {
            webhook: FIRST,
            settings,
            key: key(),
        }])
    }

    fn moved(url: &str, credentials: Option<Credentials>) -> Changes {
        Changes {
            url: Some(WebhookUrl::parse(url).unwrap()),
            credentials,
            ..Changes::default()
        }
    }

    #[test]
    fn credentials_do_not_go_to_another_server() {
        let elsewhere = "https://mallory.example/hooks";
        let secret = [
            credentials(AuthKind::Basic, &[]),
            credentials(AuthKind::OAuth2, &[]),
            credentials(AuthKind::None, &["x-key"]),
        ];
        for secret in secret {
            let webhook = webhook(Some(secret.clone()));
            let when = |changes| webhook.when(update(changes)).holding(Admin);
            let kept = when(moved(elsewhere, None));
            kept.rejects(Rejection::CredentialsOfAnotherServer);
            for changes in [
                moved("https://example.com/other", None),
                moved(elsewhere, Some(credentials(AuthKind::None, &[]))),
                moved(elsewhere, Some(secret)),
            ] {
                let updated = when(changes).decide().unwrap();
                assert_eq!(updated.events.len(), 1);
            }
        }
        for nothing in [None, Some(credentials(AuthKind::None, &[]))] {
            let when = webhook(nothing).when(update(moved(elsewhere, None)));
            let updated = when.holding(Admin).decide().unwrap();
            assert_eq!(updated.events.len(), 1);
        }
    }
}
