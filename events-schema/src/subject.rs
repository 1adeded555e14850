//! The whole subject grammar: build, parse, filter, and which stream holds what.
//!
//! ```text
//! cmd.<tenant>.<area>.<verb>      a command                        COMMANDS
//! evt.<tenant>.<area>.<id>        the commits of one aggregate     EVENTS
//! clm.<tenant>.<kind>.<hash>      who holds a unique name          EVENTS
//! dead.<loop>.<tenant>.<area>     what could not be handled        DEAD
//! view.<tenant>.<view>.<id>       "this view reached revision n"   core NATS, no stream
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ClaimKind, Id, Invalid, TenantId};

/// The stream of commands: a work queue.
pub const COMMANDS: &str = "COMMANDS";
/// The stream of commits and claims: the truth, kept for ever.
pub const EVENTS: &str = "EVENTS";
/// The stream of what could not be handled.
pub const DEAD: &str = "DEAD";

/// Where gateways await outcomes; workers answer nowhere else, whatever a command asks.
pub const OUTCOME_INBOXES: &str = "_INBOX_gateway.";

/// A part of the business. Adding one here makes the compiler name every table that must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Area {
    /// Keys for machines.
    AccessToken,
    /// People: registration, verification, password, profile.
    Account,
    /// Mail to people.
    Email,
    /// Who belongs to a tenant, as what.
    Member,
    /// The example area.
    Project,
    /// What custom roles allow.
    Role,
    /// Who is logged in where.
    Session,
    /// Organisations.
    Tenant,
}

impl Area {
    /// Every area there is.
    pub const ALL: [Self; 8] = [
        Self::AccessToken,
        Self::Account,
        Self::Email,
        Self::Member,
        Self::Project,
        Self::Role,
        Self::Session,
        Self::Tenant,
    ];

    /// Its subject token.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "access_token",
            Self::Account => "account",
            Self::Email => "email",
            Self::Member => "member",
            Self::Project => "project",
            Self::Role => "role",
            Self::Session => "session",
            Self::Tenant => "tenant",
        }
    }

    /// Reads a subject token.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|area| area.as_str() == text)
            .ok_or(Invalid("must be one of access_token, account, email, member, project, role, session, tenant"))
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A subject that something is said on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A command.
    Command {
        /// Whose data it would change.
        tenant: TenantId,
        /// Who decides it.
        area: Area,
        /// The command's name, as in its payload.
        verb: String,
    },
    /// The commits of one aggregate.
    Event {
        /// Whose data changed.
        tenant: TenantId,
        /// Which area decided.
        area: Area,
        /// The aggregate.
        id: Id,
    },
    /// Who holds a unique name.
    Claim {
        /// Within which tenant it is unique.
        tenant: TenantId,
        /// What kind of name it is.
        kind: ClaimKind,
        /// The hash of the name.
        hash: Id,
    },
    /// "This view reached revision n."
    View {
        /// Whose data it shows.
        tenant: TenantId,
        /// Its name, [`View::NAME`](crate::View::NAME).
        name: String,
        /// The aggregate that it shows.
        id: Id,
    },
}

impl Subject {
    /// Reads a subject; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let tokens: Vec<&str> = text.split('.').collect();
        let [kind, tenant, group, last] = tokens[..] else {
            return Err(Invalid("must have four tokens"));
        };
        let tenant = TenantId::parse(tenant)?;
        Ok(match kind {
            "cmd" if is_verb(last) => Self::Command {
                tenant,
                area: Area::parse(group)?,
                verb: last.to_owned(),
            },
            "cmd" => {
                return Err(Invalid(
                    "must end in a verb of lower-case letters and underscores",
                ));
            }
            "evt" => Self::Event {
                tenant,
                area: Area::parse(group)?,
                id: Id::parse(last)?,
            },
            "clm" => Self::Claim {
                tenant,
                kind: ClaimKind::parse(group)?,
                hash: Id::parse(last)?,
            },
            "view" if is_verb(group) => Self::View {
                tenant,
                name: group.to_owned(),
                id: Id::parse(last)?,
            },
            _ => return Err(Invalid("must begin with cmd, evt, clm or view")),
        })
    }
}

fn is_verb(token: &str) -> bool {
    (1..=64).contains(&token.len()) && token.bytes().all(|c| c.is_ascii_lowercase() || c == b'_')
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command { tenant, area, verb } => write!(f, "cmd.{tenant}.{area}.{verb}"),
            Self::Event { tenant, area, id } => write!(f, "evt.{tenant}.{area}.{id}"),
            Self::Claim { tenant, kind, hash } => {
                write!(f, "clm.{tenant}.{}.{hash}", kind.as_str())
            }
            Self::View { tenant, name, id } => write!(f, "view.{tenant}.{name}.{id}"),
        }
    }
}

/// The subjects of each stream. COMMANDS takes known areas only, so that a command which nobody
/// would ever decide is refused at once rather than kept.
pub fn stream_subjects(stream: &str) -> Vec<String> {
    match stream {
        COMMANDS => Area::ALL.iter().map(|area| commands_of(*area)).collect(),
        EVENTS => vec!["evt.*.*.*".to_owned(), "clm.*.*.*".to_owned()],
        DEAD => vec!["dead.*.*.*".to_owned()],
        _ => Vec::new(),
    }
}

/// Every command of an area, in all tenants.
pub fn commands_of(area: Area) -> String {
    format!("cmd.*.{area}.*")
}

/// Every commit of an area, in all tenants.
pub fn events_of(area: Area) -> String {
    format!("evt.*.{area}.*")
}

/// Every commit of an area, in one tenant.
pub fn events_of_tenant(tenant: TenantId, area: Area) -> String {
    format!("evt.{tenant}.{area}.*")
}

/// Where a message goes that `worker_loop` could not handle; what cannot be read of its subject
/// becomes `unknown`.
pub fn dead(worker_loop: &str, original: &str) -> String {
    let tokens: Vec<&str> = original.split('.').collect();
    let tenant = tokens
        .get(1)
        .and_then(|token| TenantId::parse(token).ok())
        .map_or("unknown".to_owned(), |t| t.to_string());
    let area = tokens
        .get(2)
        .and_then(|token| Area::parse(token).ok())
        .map_or("unknown", Area::as_str);
    format!("dead.{worker_loop}.{tenant}.{area}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_reads_back_as_it_was_built() {
        let id = Id::from_bytes([7; 16]);
        for tenant in [
            TenantId::Platform,
            TenantId::Tenant(Id::from_bytes([9; 16])),
        ] {
            for area in Area::ALL {
                for subject in [
                    Subject::Command {
                        tenant,
                        area,
                        verb: "request_mail".to_owned(),
                    },
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
    fn what_the_grammar_does_not_say_is_refused() {
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
    fn a_dead_subject_is_legal_whatever_the_original_was() {
        assert_eq!(
            dead("commands", "cmd.platform.account.x"),
            "dead.commands.platform.account"
        );
        assert_eq!(dead("views", "evt.* .>.x"), "dead.views.unknown.unknown");
        assert_eq!(dead("views", ""), "dead.views.unknown.unknown");
    }
}
