//! What the parts need to know about each other: as options for them, and as variables for
//! operators' commands.

use servers::{Role, Servers};

use crate::private_file::exports;

/// Addresses and keys that gateway and workers share.
pub(crate) struct Settings {
    pub(crate) mongo_url: String,
    pub(crate) mongo_hosts: String,
    pub(crate) public_url: String,
    pub(crate) secret: String,
    pub(crate) smtp_url: String,
}

impl Settings {
    pub(crate) fn gateway(
        &self,
        servers: &Servers,
        further: Vec<String>,
    ) -> anyhow::Result<gateway::Config> {
        let nats_url = servers.nats.url(Role::Gateway);
        parse([self.shared(&nats_url), further].concat())
    }

    pub(crate) fn workers(
        &self,
        servers: &Servers,
        mail_attempts: i64,
    ) -> anyhow::Result<workers::config::Config> {
        let mail = [
            ("--smtp-url", self.smtp_url.as_str()),
            ("--mail-from", "Ultimate Backend <no-reply@backend.local>"),
            ("--mail-attempts", &mail_attempts.to_string()),
        ];
        let nats_url = servers.nats.url(Role::Workers);
        parse([self.shared(&nats_url), words(&mail)].concat())
    }

    fn shared(&self, nats_url: &str) -> Vec<String> {
        words(&[
            ("--nats-url", nats_url),
            ("--mongo-url", &self.mongo_url),
            ("--mongo-hosts", &self.mongo_hosts),
            ("--public-url", &self.public_url),
            ("--secret", &self.secret),
        ])
    }

    /// Lines for a shell: `workers` reads the variables that begin with `UB_`, `nats` reads
    /// `NATS_URL`, and `mongosh "$UB_MONGO_URL"` is for a person to type.
    pub(crate) fn for_a_shell(&self, servers: &Servers) -> String {
        let lines = exports(&[
            ("UB_NATS_URL", &servers.nats.url(Role::Workers)),
            ("UB_MONGO_URL", &self.mongo_url),
            ("UB_MONGO_HOSTS", &self.mongo_hosts),
            ("UB_SMTP_URL", &self.smtp_url),
            ("UB_PUBLIC_URL", &self.public_url),
            ("UB_SECRET", &self.secret),
            ("NATS_URL", &servers.nats.url(Role::Operator)),
        ]);
        format!("# Written by each start of `cargo dev`.\n{lines}")
    }
}

fn words(pairs: &[(&str, &str)]) -> Vec<String> {
    pairs
        .iter()
        .flat_map(|&(name, value)| [name.to_owned(), value.to_owned()])
        .collect()
}

/// Reads options with the parser of the programs, so that defaults and limits are theirs.
fn parse<C: clap::Args + clap::FromArgMatches>(options: Vec<String>) -> anyhow::Result<C> {
    let matches = C::augment_args(clap::Command::new("local").no_binary_name(true))
        .try_get_matches_from(options)?;
    Ok(C::from_arg_matches(&matches)?)
}
