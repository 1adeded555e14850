//! The GraphQL gateway: authenticates, parses, publishes commands, awaits their outcomes and reads
//! views.
//!
//! It decides nothing about the business; workers do. [`run`] is the whole program.

// The root of the GraphQL schema nests one type in the other, a level for each area.
#![recursion_limit = "256"]

mod access;
mod backend;
mod clock;
pub mod config;
mod error;
mod graphql;
mod http;
mod identity;
mod method;
mod security;
mod shares;
#[cfg(test)]
mod testing;
mod use_cases;

use std::sync::Arc;

use anyhow::Context as _;
use async_nats::Client;
use axum::Router;
use event_store::{CommandSender, EventLog, Mongo, Monitor};
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub use config::{Config, Resolver};
pub use identity::compromised::pack as pack_passwords;

use crate::{
    access::PermissionCache,
    backend::{
        asks::Asks,
        commands::{Commands, jetstream},
        deliveries::Deliveries,
        inbox::Inbox,
        plans::Plans,
        security_log::SecurityLog,
        tail::Tails,
        views::Views,
    },
    graphql::{Api, cursor::Cursors},
    http::{
        Shared,
        readiness::Readiness,
        serve::{self, max_connections},
        sockets::Sockets,
    },
    identity::{
        Callers, Uses, cookie::Cookies, limits::Limits, login_throttle::LoginThrottle,
        mail_quota::MailQuota, passwords::Passwords, providers::Providers, webauthn::RelyingParty,
    },
    security::SecurityEvents,
    shares::Shares,
    use_cases::{
        UseCases,
        access_token::AccessTokens,
        account::Accounts,
        audit::AuditLog,
        billing::Billings,
        connection::Connections,
        deletion::Deletions,
        email_change::EmailChanges,
        feed::Feeds,
        inbound_source::{InboundSources, Receiver},
        joining::Joins,
        login_code::{LoginCodes, SentCodes},
        member::Members,
        opening::Openings,
        passkey::{Answered, Passkeys},
        plain::Plain,
        plan::Catalogue,
        provider_login::{Flows, ProviderLogins},
        recipient::Recipients,
        registration::{PendingRegistrations, Registrations},
        role::Roles,
        second_factor::SecondFactors,
        security::SecurityHistory,
        service::Services,
        session::Sessions,
        stripe_hook::StripeHooks,
        support::Support,
        tenant::Tenants,
        webhook::Webhooks,
    },
};

/// Serves on `listener` until `shutdown`, then gives open requests a bounded time to finish.
/// `monitor` answers supervisors meanwhile.
///
/// # Errors
/// If NATS cannot be reached, or the configuration or the API is wrong.
pub fn run(
    config: Config,
    listener: TcpListener,
    monitor: Monitor,
    shutdown: CancellationToken,
) -> BoxFuture<'static, anyhow::Result<()>> {
    run_with_pages(config, listener, monitor, Router::new(), shutdown)
}

/// Serves on `listener` until `shutdown`, then gives open requests a bounded time to finish.
/// Outside production it also serves the routes of `development`.
///
/// The future is boxed, so that the gateway is compiled once, here, and not in each program again.
///
/// # Errors
/// If NATS cannot be reached, or the configuration or the API is wrong.
pub fn run_with_pages(
    config: Config,
    listener: TcpListener,
    monitor: Monitor,
    development: Router,
    shutdown: CancellationToken,
) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(serve_all(config, listener, monitor, development, shutdown))
}

async fn serve_all(
    config: Config,
    listener: TcpListener,
    monitor: Monitor,
    development: Router,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let address = listener.local_addr();
    let address = address.context("reading the listening address")?;
    let posture = &config.posture;
    let checked = posture.check(&config.nats, &config.mongo, Some(&config.secrets), None);
    checked.await?;
    posture.warn_of_networks("UB_WEBHOOK_ALLOW", &config.webhook.webhook_allow);
    posture.warn_of_networks("UB_SSO_ALLOW", &config.providers.sso_allow);
    config.warn_of_hidden_clients();
    let nats = event_store::connect(&config.nats, "gateway").await?;
    posture.check_nats(&nats)?;
    // It may become reachable later.
    let mongo = Mongo::connect(&config.mongo, "gateway").await?;
    posture.check_mongo(&mongo).await?;
    let leave = event_store::leave_isolated_server(nats.clone(), config.nats.clone());
    let leave = AbortOnDropHandle::new(tokio::spawn(leave));
    let max_connections = max_connections();
    let sockets = Sockets::new(max_connections, config.limits.sockets_per_client);
    let stores = (nats, mongo.clone());
    let (app, readiness) = app(&config, stores, sockets, development, shutdown.clone()).await?;
    let check = move || {
        let readiness = readiness.clone();
        async move { readiness.check().await }
    };
    monitor.start(check, shutdown.clone());
    tracing::info!(%address, public_url = config.posture.public_url, "gateway listening");
    serve::serve(listener, max_connections, app, shutdown).await;
    drop(leave);
    tracing::info!("gateway stopped");
    Ok(())
}

/// Returns the routes of the gateway, and what checks that it can serve.
async fn app(
    config: &Config,
    (nats, mongo): (Client, Mongo),
    sockets: Sockets,
    development: Router,
    closing: CancellationToken,
) -> anyhow::Result<(Router, Arc<Readiness>)> {
    let views = Views::start(mongo, nats.clone(), closing.clone());
    let sender = CommandSender::start(nats.clone()).await?;
    let commands = Commands::new(sender, config.command_timeout());
    let uses = Uses::new(jetstream(nats.clone()));
    let permissions = PermissionCache::new();
    let limits = Limits::new(&config.limits);
    let security_log = SecurityLog::start(nats.clone());
    let security = SecurityEvents::new(security_log.clone());
    let callers = Callers::new(
        config,
        views.clone(),
        permissions.clone(),
        uses.clone(),
        security.clone(),
    );
    let inbox = Inbox::new(nats.clone());
    let hooks = Receiver::new(
        inbox.clone(),
        views.clone(),
        limits.clone(),
        config.secrets.key(),
    )?;
    let stripe_hooks = StripeHooks::new(inbox.clone(), config.stripe_webhook_secrets.clone())?;
    let mails = MailQuota::new(
        jetstream(nats.clone()),
        config.secrets.key(),
        &config.limits,
        config.hides_clients(),
    );
    let parts = Parts {
        log: EventLog::new(nats.clone()),
        pending: PendingRegistrations::new(jetstream(nats.clone()), config.secrets.key()),
        mails: mails.clone(),
        sent_codes: SentCodes::new(jetstream(nats.clone())),
        answered: Answered::new(jetstream(nats.clone())),
        relying_party: RelyingParty::new(
            &config.posture.public_url,
            config.passkey_rp_id.as_deref(),
        )?,
        flows: Flows::new(jetstream(nats.clone()), config.secrets.key()),
        providers: Providers::load(&config.providers)?,
        second_factors: SecondFactors::new(
            jetstream(nats.clone()),
            commands.clone(),
            views.clone(),
            mails,
            security.clone(),
            config.secrets.key(),
            &config.posture.public_url,
        ),
        logins: LoginThrottle::new(
            jetstream(nats.clone()),
            config.secrets.key(),
            !config.hides_clients(),
        ),
        asks: Asks::new(nats.clone()),
        deliveries: Deliveries::new(nats),
        passwords: Passwords::new(config).await?,
        commands: commands.clone(),
        views: views.clone(),
        callers: callers.clone(),
        permissions,
        uses,
        limits: limits.clone(),
        security_log,
        security: security.clone(),
        inbox,
    };
    let cookies = Cookies::new(config.posture.is_https());
    let cursors = Cursors::new(&config.secrets.key());
    let is_production = config.posture.is_production();
    let use_cases = use_cases(config, parts);
    let provider_logins = use_cases.provider_logins.clone();
    let shared_limits = limits.clone();
    let api = Api::new(use_cases, cookies, cursors, limits, security, is_production)?;
    let readiness = Arc::new(Readiness::new(commands, views));
    let shared = Shared {
        api,
        callers,
        hooks,
        stripe_hooks,
        provider_logins,
        cookies,
        limits: shared_limits,
        readiness: readiness.clone(),
        sockets,
        is_production: config.posture.is_production(),
        is_https: config.posture.is_https(),
        closing,
    };
    Ok((http::router(shared, development), readiness))
}

/// What the use cases share.
struct Parts {
    commands: Commands,
    views: Views,
    log: EventLog,
    callers: Callers,
    permissions: PermissionCache,
    passwords: Passwords,
    logins: LoginThrottle,
    uses: Uses,
    limits: Limits,
    inbox: Inbox,
    pending: PendingRegistrations,
    mails: MailQuota,
    sent_codes: SentCodes,
    answered: Answered,
    relying_party: RelyingParty,
    flows: Flows,
    providers: Providers,
    second_factors: SecondFactors,
    security_log: SecurityLog,
    security: SecurityEvents,
    deliveries: Deliveries,
    asks: Asks,
}

fn use_cases(config: &Config, parts: Parts) -> UseCases {
    let Parts {
        commands,
        views,
        log,
        callers,
        permissions,
        passwords,
        logins,
        uses,
        limits,
        inbox,
        pending,
        mails,
        sent_codes,
        answered,
        relying_party,
        flows,
        providers,
        second_factors,
        security_log,
        security,
        deliveries,
        asks,
    } = parts;
    let secret = config.secrets.key();
    let hosts = config.mongo.mongo_hosts.iter();
    let joins = Joins {
        commands: commands.clone(),
        views: views.clone(),
        plans: Plans::new(&views),
    };
    let sessions = Sessions {
        joins,
        commands: commands.clone(),
        views: views.clone(),
        passwords: passwords.clone(),
        logins: logins.clone(),
        uses: uses.clone(),
        limits: limits.clone(),
        second_factors: second_factors.clone(),
        mails: mails.clone(),
        security: security.clone(),
        secret: secret.clone(),
    };
    let openings = Openings {
        commands: commands.clone(),
        views: views.clone(),
        limits: limits.clone(),
        sessions: sessions.clone(),
        secret: secret.clone(),
    };
    let login_codes = LoginCodes {
        commands: commands.clone(),
        views: views.clone(),
        sent: sent_codes,
        mails: mails.clone(),
        limits: limits.clone(),
        sessions: sessions.clone(),
        openings: openings.clone(),
        security: security.clone(),
        secret: secret.clone(),
    };
    let accounts = Accounts {
        commands: commands.clone(),
        views: views.clone(),
        passwords: passwords.clone(),
        logins,
        sessions: sessions.clone(),
        security: security.clone(),
        secret: secret.clone(),
    };
    UseCases {
        plain: Plain::new(commands.clone()),
        access_tokens: AccessTokens {
            commands: commands.clone(),
            uses,
            security: security.clone(),
        },
        audit: AuditLog::new(log.clone()),
        billings: Billings {
            commands: commands.clone(),
            views: views.clone(),
            plans: Plans::new(&views),
            publishable_key: config.stripe_publishable_key.clone(),
            asks,
            limits: limits.clone(),
            public_url: config.posture.public_url.clone(),
        },
        connections: Connections {
            commands: commands.clone(),
            views: views.clone(),
            providers: providers.clone(),
            mails: mails.clone(),
            secret: secret.clone(),
            public_url: config.posture.public_url.clone(),
            has_passkeys: relying_party.is_domain(),
        },
        catalogue: Catalogue {
            commands: commands.clone(),
            views: views.clone(),
            plans: Plans::new(&views),
        },
        deletions: Deletions::new(&commands, &views, &mails, &security, &config.accounts),
        email_changes: EmailChanges::new(&accounts, &login_codes, &config.accounts),
        accounts,
        feeds: Feeds {
            tails: Tails::new(log.clone(), views.clone()),
            callers: callers.clone(),
            of_accounts: Shares::new(config.limits.feeds_per_account),
            of_tenants: Shares::new(config.limits.feeds_per_tenant),
        },
        inbound_sources: InboundSources {
            commands: commands.clone(),
            inbox,
            secret: secret.clone(),
            public_url: config.posture.public_url.clone(),
        },
        login_codes: login_codes.clone(),
        members: Members {
            commands: commands.clone(),
            views: views.clone(),
            mails: mails.clone(),
            secret: secret.clone(),
        },
        passkeys: Passkeys {
            commands: commands.clone(),
            views: views.clone(),
            answered,
            sessions: sessions.clone(),
            security: security.clone(),
            secret: secret.clone(),
            relying_party,
        },
        provider_logins: ProviderLogins {
            commands: commands.clone(),
            views: views.clone(),
            providers,
            flows,
            openings,
            codes: login_codes,
            sessions: sessions.clone(),
            callers: callers.clone(),
            security: security.clone(),
            secret: secret.clone(),
            public_url: config.posture.public_url.clone(),
        },
        recipients: Recipients {
            commands: commands.clone(),
            views: views.clone(),
            secret: secret.clone(),
        },
        registrations: Registrations {
            commands: commands.clone(),
            views: views.clone(),
            pending,
            mails,
            passwords,
            limits,
            security,
            secret: secret.clone(),
        },
        services: Services::new(commands.clone()),
        support: Support::new(sessions.clone(), permissions.clone()),
        roles: Roles {
            commands: commands.clone(),
            permissions,
        },
        second_factors,
        security: SecurityHistory { log: security_log },
        sessions,
        tenants: Tenants {
            commands: commands.clone(),
            views,
            callers,
            log: log.clone(),
            strategy: config.tenant_databases,
            databases_per_host: config.databases_per_host,
            places: Some(config.limits.tenants_per_account).filter(|places| *places > 0),
            hosts: hosts.map(|(name, _)| name.clone()).collect(),
        },
        webhooks: Webhooks {
            commands,
            deliveries,
            secret,
            allowed: config.webhook.webhook_allow.clone(),
        },
    }
}
