//! Every subject, filter, stream and bucket: the only place that spells their names.
//!
//! ```text
//! cmd.<tenant>.<area>.<verb>      a command of a client             COMMANDS
//! int.<tenant>.<area>.<verb>      a command of a worker or operator COMMANDS
//! evt.<tenant>.<area>.<id>        the commits of one aggregate      EVENTS
//! clm.<tenant>.<kind>.<hash>      the holder of a unique name       EVENTS
//! dead.<loop>.<tenant>.<area>     messages that were not handled    DEAD
//! view.<tenant>.<view>.<id>       a changed view document           VIEWS
//! changed.view.…                  the same, once it is stored       –
//! whk.<tenant>.<webhook>          wakes the delivery to a webhook   WEBHOOKS
//! whs.<tenant>.<webhook>          wakes it at a later time          WEBHOOKS
//! att.<tenant>.<webhook>.<result> an attempt to send an event       ATTEMPTS
//! sec.account.<account>.owner     what the owner of an account did  SECURITY
//! sec.account.<account>.others    what others tried with it         SECURITY
//! sec.tenant.<tenant>             what members were refused         SECURITY
//! in.<tenant>.<source>            a hook that another service sent  INBOX
//! ink.<tenant>.<source>.<hook>    its receipt                       INBOX
//! inr.<tenant>.<source>.<hook>    what became of it                 INBOX
//! ask.<tenant>.billing.<verb>     a question for Stripe             –
//! ins.<event>                     an event of Stripe                STRIPE
//! rcn.<night>                     who compares billings this night  STRIPE
//! ```

mod ask;
mod inbox;
mod webhooks;

use std::fmt;

pub use self::{ask::*, inbox::*, webhooks::*};
use crate::{AccountId, AreaName, ClaimKind, Id, Invalid, TenantId, TenantKey};

/// The stream of commands: a work queue.
pub const COMMANDS: &str = "COMMANDS";
/// The stream of commits and claims: the record, kept for ever.
pub const EVENTS: &str = "EVENTS";
/// The stream of changed view documents, kept for a minute.
pub const VIEWS: &str = "VIEWS";
/// What the stream of changed view documents puts before their subjects when it has stored them.
pub const CHANGED: &str = "changed.";
/// The stream of messages that could not be handled.
pub const DEAD: &str = "DEAD";
/// The stream of security events that people read. Each subject keeps its latest ones.
pub const SECURITY: &str = "SECURITY";

/// The key-value bucket that counts failed logins.
pub const LOGINS_BUCKET: &str = "LOGINS";
/// The key-value bucket of registrations whose address is not proved yet.
pub const REGISTRATIONS_BUCKET: &str = "REGISTRATIONS";
/// The key-value bucket of log-ins that wait for another party.
pub const FLOWS_BUCKET: &str = "FLOWS";
/// The key-value bucket that has the last use of each access token.
pub const TOKEN_USES_BUCKET: &str = "TOKEN_USES";
/// The bucket with the last use of each session.
pub const SESSION_USES_BUCKET: &str = "SESSION_USES";

/// The users of `nats.conf` that send commands. Workers send outcomes to nobody else.
pub const SENDERS: [&str; 7] = [
    "gateway",
    "workers",
    "reactions",
    "effects",
    "webhooks",
    "inbound",
    "migrator",
];

/// Asks every nats-server of a cluster for its JetStream settings.
pub const SERVER_SETTINGS: &str = "$SYS.REQ.SERVER.PING.JSZ";

/// A subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A command.
    Command {
        tenant: TenantId,
        area: AreaName,
        /// The name of the command's variant.
        verb: String,
        /// Whether only workers and operators send the command.
        internal: bool,
    },
    /// The commits of one aggregate.
    Event {
        tenant: TenantId,
        area: AreaName,
        /// The aggregate.
        id: Id,
    },
    /// The holder of a unique name.
    Claim {
        tenant: TenantId,
        kind: ClaimKind,
        /// The hash of the name.
        hash: Id,
    },
    /// Announces a view document that has reached a new revision.
    View {
        tenant: TenantId,
        /// [`View::NAME`](crate::View::NAME).
        name: String,
        /// The aggregate.
        id: Id,
    },
}

impl Subject {
    /// Parses a subject.
    ///
    /// # Errors
    /// If it is none of the four kinds. The error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let tokens: Vec<&str> = text.split('.').collect();
        let [kind, tenant, group, last] = tokens[..] else {
            return Err(Invalid("must have four tokens"));
        };
        let tenant = TenantId::parse(tenant)?;
        match kind {
            "cmd" | "int" => Ok(Self::Command {
                tenant,
                area: AreaName::parse(group)?,
                verb: name(last)?,
                internal: kind == "int",
            }),
            "evt" => Ok(Self::Event {
                tenant,
                area: AreaName::parse(group)?,
                id: Id::parse(last)?,
            }),
            "clm" => Ok(Self::Claim {
                tenant,
                kind: ClaimKind::parse(group)?,
                hash: Id::parse(last)?,
            }),
            "view" => Ok(Self::View {
                tenant,
                name: name(group)?,
                id: Id::parse(last)?,
            }),
            _ => Err(Invalid("must begin with cmd, int, evt, clm or view")),
        }
    }
}

/// Checks the name of a verb or view.
fn name(token: &str) -> Result<String, Invalid> {
    let legal = token.bytes().all(|c| c.is_ascii_lowercase() || c == b'_');
    if legal && (1..=64).contains(&token.len()) {
        Ok(token.to_owned())
    } else {
        Err(Invalid(
            "must name a verb or view by 1 to 64 lower-case letters and underscores",
        ))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command {
                tenant,
                area,
                verb,
                internal,
            } => {
                let kind = if *internal { "int" } else { "cmd" };
                write!(f, "{kind}.{tenant}.{area}.{verb}")
            }
            Self::Event { tenant, area, id } => write!(f, "evt.{tenant}.{area}.{id}"),
            Self::Claim { tenant, kind, hash } => {
                write!(f, "clm.{tenant}.{}.{hash}", kind.as_str())
            }
            Self::View { tenant, name, id } => write!(f, "view.{tenant}.{name}.{id}"),
        }
    }
}

/// Returns the prefix of the inboxes of a user of `nats.conf`.
pub fn inbox_of(user: &str) -> String {
    format!("_INBOX_{user}")
}

/// Returns the subjects of EVENTS.
pub fn of_events_stream() -> Vec<String> {
    vec!["evt.*.*.*".to_owned(), "clm.*.*.*".to_owned()]
}

/// Returns the subjects of COMMANDS: known areas only, so that a command that no worker could
/// decide is refused at once.
pub fn of_commands_stream() -> Vec<String> {
    let areas = AreaName::ALL.iter().copied();
    areas
        .flat_map(|area| [commands_of(area), internal_commands_of(area)])
        .collect()
}

/// Returns the subjects of VIEWS.
pub fn of_views_stream() -> Vec<String> {
    vec!["view.*.*.*".to_owned()]
}

/// Returns the filter for all changed view documents, as their stream sends them on.
pub fn changed_views() -> String {
    format!("{CHANGED}>")
}

/// Returns the subjects of DEAD.
pub fn of_dead_stream() -> Vec<String> {
    vec!["dead.*.*.*".to_owned()]
}

/// Returns the subjects of SECURITY.
pub fn of_security_stream() -> Vec<String> {
    vec!["sec.account.*.*".to_owned(), "sec.tenant.*".to_owned()]
}

/// Returns the subject of what the owner of an account did.
pub fn security_of_owner(account: AccountId) -> String {
    format!("sec.account.{account}.owner")
}

/// Returns the subject of what others tried with an account. Their attempts have a subject of their
/// own, so that they never push out what the owner did.
pub fn security_of_others(account: AccountId) -> String {
    format!("sec.account.{account}.others")
}

/// Returns the filter for all security events of an account.
pub fn security_of_account(account: AccountId) -> String {
    format!("sec.account.{account}.*")
}

/// Returns the subject of what the members of a tenant were refused.
pub fn security_of_tenant(tenant: TenantKey) -> String {
    format!("sec.tenant.{tenant}")
}

/// Returns the name of the stream behind a key-value bucket.
pub fn bucket_stream(bucket: &str) -> String {
    format!("KV_{bucket}")
}

/// Returns the subjects of a key-value bucket.
pub fn of_bucket(bucket: &str) -> Vec<String> {
    vec![format!("$KV.{bucket}.>")]
}

/// Returns the filter for the commands of an area that clients send.
pub fn commands_of(area: AreaName) -> String {
    format!("cmd.*.{area}.*")
}

/// Returns the filter for the commands of an area that only workers and operators send.
pub fn internal_commands_of(area: AreaName) -> String {
    format!("int.*.{area}.*")
}

/// Returns the filter for all commits of an area.
pub fn events_of(area: AreaName) -> String {
    format!("evt.*.{area}.*")
}

/// Reads whose commits a subject has; `None` if it is not one of commits. The area may be one that
/// only a newer release knows.
pub fn tenant_of_events(subject: &str) -> Option<TenantId> {
    let (tenant, _) = subject.strip_prefix("evt.")?.split_once('.')?;
    TenantId::parse(tenant).ok()
}

/// Returns the filter for all commits of one aggregate, whatever its tenant is.
pub fn events_of_aggregate(area: AreaName, id: Id) -> String {
    format!("evt.*.{area}.{id}")
}

/// Returns the filter for all commits of one tenant in an area.
pub fn events_of_tenant_in(tenant: TenantId, area: AreaName) -> String {
    format!("evt.{tenant}.{area}.*")
}

/// Returns the filter for the commits of one object of a tenant, whatever its area.
pub fn events_of_object(tenant: TenantId, id: Id) -> String {
    format!("evt.{tenant}.*.{id}")
}

/// Returns the filter for all commits of one tenant.
pub fn events_of_tenant(tenant: TenantId) -> String {
    format!("evt.{tenant}.*.*")
}

/// Returns the filter for the claims of this kind and hash in all tenants, such as the memberships
/// of an account.
pub fn claims_of_all_tenants(kind: ClaimKind, hash: Id) -> String {
    format!("clm.*.{}.{hash}", kind.as_str())
}

/// Returns the filter for all claims of a kind in one tenant.
pub fn claims_of_kind(tenant: TenantId, kind: ClaimKind) -> String {
    format!("clm.{tenant}.{}.*", kind.as_str())
}

/// Returns the subject of requests that read a stream directly, from any replica.
pub fn direct_get(stream: &str) -> String {
    format!("$JS.API.DIRECT.GET.{stream}")
}

/// Returns the subject of requests for the state of a stream.
pub fn stream_info(stream: &str) -> String {
    format!("$JS.API.STREAM.INFO.{stream}")
}

/// Returns the subject of a message that `worker_loop` could not handle. Parts of the original
/// subject that cannot be read become `unknown`.
pub fn dead(worker_loop: &str, original: &str) -> String {
    let mut tokens = original.split('.').skip(1);
    let tenant = tokens.next().and_then(|token| TenantId::parse(token).ok());
    let area = tokens.next().and_then(|token| AreaName::parse(token).ok());
    let tenant = tenant.map_or("unknown".to_owned(), |tenant| tenant.to_string());
    let area = area.map_or("unknown", AreaName::as_str);
    format!("dead.{worker_loop}.{tenant}.{area}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TenantKey;

    fn command(tenant: TenantId, area: AreaName, internal: bool) -> Subject {
        Subject::Command {
            tenant,
            area,
            verb: "request_mail".to_owned(),
            internal,
        }
    }

    #[test]
    fn a_subject_parses_back_from_its_text() {
        let id = Id::from_bytes([7; 16]);
        let acme = TenantId::Tenant(TenantKey(Id::from_bytes([9; 16])));
        for tenant in [TenantId::Platform, acme] {
            for area in AreaName::ALL.iter().copied() {
                for subject in [
                    command(tenant, area, false),
                    command(tenant, area, true),
                    Subject::Event { tenant, area, id },
                    Subject::View {
                        tenant,
                        name: area.to_string(),
                        id,
                    },
                    Subject::Claim {
                        tenant,
                        kind: ClaimKind::Email,
                        hash: id,
                    },
                ] {
                    assert_eq!(Subject::parse(&subject.to_string()), Ok(subject));
                }
            }
        }
    }

    #[test]
    fn a_text_outside_the_grammar_is_no_subject() {
        let id = "07070707070707070707070707070707";
        for wrong in [
            "",
            "evt",
            "evt.platform.account",
            "evt.platform.account.x",
            "evt.platform.nothing.1",
            "evt.Platform.account.1",
            "cmd.platform.account.*",
            "cmd.platform.account.>",
            "cmd.platform.account.Register",
            "cmd.platform.account.",
            "foo.platform.account.register",
            "clm.platform.slug2.1",
            &format!("evt.platform.account.{id}.x"),
            &format!("evt.*.account.{id}"),
            &format!("evt.platform..{id}"),
            &format!("evt.platform.account.{id} "),
        ] {
            assert!(Subject::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn commits_of_an_unknown_area_name_their_tenant() {
        let acme = TenantId::Tenant(TenantKey(Id::from_bytes([9; 16])));
        for tenant in [TenantId::Platform, acme] {
            let subject = format!("evt.{tenant}.newer.07070707070707070707070707070707");
            assert_eq!(tenant_of_events(&subject), Some(tenant));
        }
        for wrong in ["", "evt", "evt.x.y.z", "cmd.platform.account.register"] {
            assert_eq!(tenant_of_events(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_security_events_of_an_account_have_subjects_of_the_stream_and_of_its_filter() {
        let account = AccountId(Id::from_bytes([7; 16]));
        let of_owner = security_of_owner(account);
        let of_others = security_of_others(account);
        assert_ne!(of_owner, of_others);
        let filter = security_of_account(account);
        let accounts = &of_security_stream()[0];
        for subject in [of_owner, of_others] {
            assert!(
                subject.starts_with(filter.trim_end_matches('*')),
                "{subject}"
            );
            let tokens = |text: &str| text.split('.').count();
            assert_eq!([tokens(&filter), tokens(accounts)], [tokens(&subject); 2]);
        }
    }

    #[test]
    fn the_subject_of_a_dead_letter_is_always_legal() {
        for (original, expected) in [
            ("cmd.platform.account.x", "dead.commands.platform.account"),
            ("evt.* .>.x", "dead.commands.unknown.unknown"),
            ("", "dead.commands.unknown.unknown"),
        ] {
            assert_eq!(dead("commands", original), expected);
        }
    }
}
