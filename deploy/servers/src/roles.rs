//! Who logs in to the servers, and with which passwords.

use std::collections::HashMap;

use anyhow::Result;
use data_encoding::HEXLOWER;

/// A user of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Publishes commands of clients and reads.
    Gateway,
    /// Runs all loops of the workers.
    Workers,
    /// Runs the loop that decides commands and writes the log.
    Commands,
    /// Runs the loop that keeps views.
    Views,
    /// Runs the loop that reacts to events.
    Reactions,
    /// Runs the loop that acts on the outside world.
    Effects,
    /// Runs the loop that sends events to webhooks.
    Webhooks,
    /// Runs the loop that handles hooks of other services.
    Inbound,
    /// Runs the commands of an operator, such as `workers migrate`.
    Migrator,
    /// May do everything; for a person.
    Operator,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 10] = [
        Self::Gateway,
        Self::Workers,
        Self::Commands,
        Self::Views,
        Self::Reactions,
        Self::Effects,
        Self::Webhooks,
        Self::Inbound,
        Self::Migrator,
        Self::Operator,
    ];

    /// Returns the user name at NATS. The user's inbox prefix is `_INBOX_`, followed by this name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Workers => "workers",
            Self::Commands => "commands",
            Self::Views => "views",
            Self::Reactions => "reactions",
            Self::Effects => "effects",
            Self::Webhooks => "webhooks",
            Self::Inbound => "inbound",
            Self::Migrator => "migrator",
            Self::Operator => "operator",
        }
    }
}

/// The password of each role.
#[derive(Clone)]
pub struct Passwords(HashMap<Role, String>);

impl Passwords {
    /// Makes random passwords of 128 bits each, in the form that `nats.conf` requires.
    ///
    /// # Errors
    /// If the operating system has no random bytes.
    pub fn random() -> Result<Self> {
        let passwords = Role::ALL.map(|role| Ok((role, random_name('p')?)));
        passwords.into_iter().collect::<Result<_>>().map(Self)
    }

    /// Returns the password of a role.
    pub fn of(&self, role: Role) -> &str {
        self.0.get(&role).map_or("", String::as_str)
    }

    /// Returns the environment variables that `nats.conf` reads.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let variable = |(role, password): (&Role, &String)| {
            let name = role.as_str().to_uppercase();
            (format!("UB_NATS_{name}_PASSWORD"), password.clone())
        };
        self.0.iter().map(variable).collect()
    }
}

/// Returns 128 random bits as a letter and hexadecimal digits.
pub(crate) fn random_name(letter: char) -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{letter}{}", HEXLOWER.encode(&bytes)))
}
