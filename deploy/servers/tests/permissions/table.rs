//! Who may do what at nats-server.

use servers::Role::{
    self, Commands, Effects, Gateway, Inbound, Migrator, Reactions, Views, Webhooks, Workers,
};

/// Every user but the one that may do everything.
pub const LIMITED: [Role; 9] = [
    Gateway, Workers, Commands, Views, Reactions, Effects, Webhooks, Inbound, Migrator,
];
const LOOPS: &[Role] = &[
    Workers, Commands, Views, Reactions, Effects, Webhooks, Inbound,
];
const LOOPS_AND_MIGRATOR: &[Role] = &[
    Workers, Commands, Views, Reactions, Effects, Webhooks, Inbound, Migrator,
];
const DECIDERS: &[Role] = &[Workers, Commands];
/// A stream or a consumer can send its messages on to any subject, also to those of the log.
const KEEPERS: &[Role] = &[Workers, Commands, Migrator];
const READERS_OF_THE_LOG: &[Role] = &[
    Workers, Commands, Views, Effects, Webhooks, Inbound, Migrator,
];
/// They pull from their consumers of the log.
const PULLERS_OF_THE_LOG: &[Role] = &[Workers, Views, Reactions, Effects, Migrator];
/// They send events to webhooks.
const SENDERS_TO_WEBHOOKS: &[Role] = &[Workers, Webhooks];
/// They handle hooks of other services.
const HANDLERS_OF_HOOKS: &[Role] = &[Workers, Inbound];
const NOBODY: &[Role] = &[];

/// Who may publish on each subject, beside the operator.
pub const PUBLISHERS: &[(&str, &[Role])] = &[
    ("cmd.a.tenant.create", &[Gateway]),
    // They would send mail to anybody, and make anybody an owner.
    ("int.platform.email.request", &[Workers, Reactions, Effects]),
    ("int.a.member.add_founder", &[Workers, Reactions]),
    // They would delete accounts, and change their addresses.
    ("int.a.member.leave", &[Workers, Reactions, Effects]),
    (
        "int.a.member.follow_account",
        &[Workers, Reactions, Effects],
    ),
    ("int.platform.account.close", &[Workers, Effects, Migrator]),
    (
        "int.platform.account.stop_deletion",
        &[Workers, Effects, Migrator],
    ),
    (
        "int.platform.account.complete_email_change",
        &[Workers, Effects, Migrator],
    ),
    // It would disable webhooks of tenants.
    ("int.a.webhook.give_up", &[Workers, Webhooks, Migrator]),
    ("whk.a.b", &[Workers, Webhooks, Migrator]),
    // It would change the tasks of everybody.
    ("int.a.task.import", HANDLERS_OF_HOOKS),
    // They would give anybody a plan, and plans other prices.
    (
        "int.a.billing.record_subscription",
        &[Workers, Effects, Inbound, Migrator],
    ),
    (
        "int.a.billing.end",
        &[Workers, Reactions, Effects, Inbound, Migrator],
    ),
    (
        "int.platform.plan.record_prices",
        &[Workers, Effects, Migrator],
    ),
    // It would put anything on an invoice.
    ("int.a.usage.cut", &[Workers, Effects]),
    // It would end the work of an administrator who helps a tenant.
    ("int.a.support.expire", &[Workers, Effects]),
    // It would verify any domain.
    ("int.platform.connection.record_check", &[Workers, Effects]),
    ("int.platform.connection.end", &[Workers, Reactions]),
    ("int.platform.connection.reseal", &[Workers, Migrator]),
    // A hook is believed, so only those who verify it may write it.
    ("in.a.b", &[Gateway]),
    ("ink.a.b.c", &[Gateway]),
    ("ins.a", &[Gateway]),
    ("rcn.a", &[Workers, Effects]),
    ("inr.a.b.c", HANDLERS_OF_HOOKS),
    ("$JS.API.DIRECT.GET.INBOX", &[Gateway, Workers, Inbound]),
    ("$JS.API.DIRECT.GET.STRIPE", &[Gateway]),
    // A consumer can deliver to any subject, too.
    ("$JS.API.CONSUMER.CREATE.INBOX.a.in.>", &[Workers]),
    ("$JS.API.CONSUMER.CREATE.INBOX.inbound_hooks.in.>", KEEPERS),
    ("$JS.API.CONSUMER.MSG.NEXT.INBOX.a", &[Workers]),
    ("$JS.API.CONSUMER.CREATE.STRIPE.stripe_hooks.ins.>", KEEPERS),
    (
        "$JS.API.CONSUMER.MSG.NEXT.INBOX.inbound_hooks",
        HANDLERS_OF_HOOKS,
    ),
    (
        "$JS.API.CONSUMER.MSG.NEXT.STRIPE.stripe_hooks",
        HANDLERS_OF_HOOKS,
    ),
    ("$JS.ACK.INBOX.a.1.1.1.1.0", &[Workers]),
    ("$JS.ACK.INBOX.inbound_hooks.1.1.1.1.0", HANDLERS_OF_HOOKS),
    ("$JS.ACK.STRIPE.stripe_hooks.1.1.1.1.0", HANDLERS_OF_HOOKS),
    ("$JS.API.STREAM.UPDATE.INBOX", &[Migrator]),
    ("$JS.API.CONSUMER.CREATE.STRIPE.a.ins.>", &[Workers]),
    ("$JS.API.CONSUMER.MSG.NEXT.STRIPE.a", &[Workers]),
    ("$JS.API.STREAM.UPDATE.STRIPE", &[Migrator]),
    ("$JS.API.STREAM.PURGE.STRIPE", NOBODY),
    ("$JS.API.STREAM.PURGE.INBOX", NOBODY),
    ("_INBOX_inbound.a", DECIDERS),
    // It would show the cards and invoices of a tenant.
    ("ask.a.billing.cards", &[Gateway]),
    ("ask.a.plan.cards", NOBODY),
    // Where answers go back to a gateway.
    ("_R_.a", NOBODY),
    ("whs.a.b", SENDERS_TO_WEBHOOKS),
    ("att.a.b.ok", SENDERS_TO_WEBHOOKS),
    ("$KV.CURSORS.a.b", &[Workers, Webhooks, Migrator]),
    (
        "$JS.API.DIRECT.GET.KV_CURSORS.$KV.CURSORS.a.b",
        &[Gateway, Workers, Webhooks, Migrator],
    ),
    ("$JS.API.DIRECT.GET.ATTEMPTS", &[Gateway, Workers, Webhooks]),
    ("$JS.API.STREAM.INFO.ATTEMPTS", &LIMITED),
    ("$JS.API.STREAM.INFO.KV_CURSORS", &LIMITED),
    ("$JS.API.CONSUMER.CREATE.WEBHOOKS.a.whk.>", &[Workers]),
    (
        "$JS.API.CONSUMER.CREATE.WEBHOOKS.webhooks_deliver.whk.>",
        KEEPERS,
    ),
    ("$JS.API.CONSUMER.MSG.NEXT.WEBHOOKS.a", &[Workers]),
    (
        "$JS.API.CONSUMER.MSG.NEXT.WEBHOOKS.webhooks_deliver",
        SENDERS_TO_WEBHOOKS,
    ),
    ("$JS.ACK.WEBHOOKS.a.1.1.1.1.0", &[Workers]),
    (
        "$JS.ACK.WEBHOOKS.webhooks_deliver.1.1.1.1.0",
        SENDERS_TO_WEBHOOKS,
    ),
    ("$JS.API.CONSUMER.CREATE.KV_CURSORS.a", NOBODY),
    ("$JS.API.CONSUMER.CREATE.ATTEMPTS.a", NOBODY),
    // They would make anybody an administrator, and move tenants.
    ("int.platform.account.grant_platform_admin", &[Migrator]),
    ("int.a.tenant.begin_move", &[Migrator]),
    ("int.a.inbound_source.reseal", &[Migrator]),
    ("evt.platform.account.a", DECIDERS),
    ("clm.platform.email.a", DECIDERS),
    ("view.platform.account.a", &[Workers, Views, Migrator]),
    ("changed.view.platform.account.a", NOBODY),
    ("dead.commands.platform.account", LOOPS),
    ("sec.tenant.a", &[Gateway]),
    ("_INBOX_gateway.a", DECIDERS),
    ("_INBOX_reactions.a", DECIDERS),
    ("_INBOX_effects.a", DECIDERS),
    ("_INBOX_webhooks.a", DECIDERS),
    ("_INBOX_migrator.a", DECIDERS),
    ("_INBOX_commands.a", NOBODY),
    ("_INBOX_operator.a", NOBODY),
    ("_INBOX.a", NOBODY),
    ("$KV.LOGINS.a", &[Gateway]),
    ("$KV.REGISTRATIONS.a", &[Gateway]),
    ("$KV.FLOWS.a", &[Gateway]),
    ("$KV.TOKEN_USES.a", &[Gateway]),
    ("$KV.SESSION_USES.a", &[Gateway]),
    ("$KV.OTHER.a", NOBODY),
    ("$JS.API.DIRECT.GET.KV_LOGINS.$KV.LOGINS.a", &[Gateway]),
    ("$JS.API.DIRECT.GET.KV_FLOWS.$KV.FLOWS.a", &[Gateway]),
    (
        "$JS.API.DIRECT.GET.KV_REGISTRATIONS.$KV.REGISTRATIONS.a",
        &[Gateway],
    ),
    (
        "$JS.API.DIRECT.GET.KV_TOKEN_USES.$KV.TOKEN_USES.a",
        &[Gateway],
    ),
    (
        "$JS.API.DIRECT.GET.KV_SESSION_USES.$KV.SESSION_USES.a",
        &[Gateway],
    ),
    (
        "$JS.API.DIRECT.GET.EVENTS",
        &[
            Gateway, Workers, Commands, Views, Effects, Webhooks, Inbound, Migrator,
        ],
    ),
    ("$JS.API.DIRECT.GET.EVENTS.evt.platform.account.a", NOBODY),
    ("$JS.API.DIRECT.GET.SECURITY", &[Gateway]),
    ("$JS.API.DIRECT.GET.SECURITY.sec.tenant.a", NOBODY),
    ("$JS.API.STREAM.MSG.GET.EVENTS", READERS_OF_THE_LOG),
    ("$JS.API.STREAM.MSG.GET.COMMANDS", NOBODY),
    ("$JS.API.STREAM.INFO.EVENTS", &LIMITED),
    ("$JS.API.STREAM.INFO.COMMANDS", &LIMITED),
    ("$JS.API.STREAM.INFO.VIEWS", &LIMITED),
    ("$JS.API.STREAM.INFO.KV_LOGINS", &LIMITED),
    ("$JS.API.STREAM.INFO.KV_FLOWS", &LIMITED),
    ("$JS.API.STREAM.INFO.SECURITY", &LIMITED),
    ("$JS.API.STREAM.INFO.DEAD", LOOPS_AND_MIGRATOR),
    ("$JS.API.STREAM.CREATE.COMMANDS", KEEPERS),
    ("$JS.API.STREAM.UPDATE.COMMANDS", KEEPERS),
    ("$JS.API.STREAM.CREATE.VIEWS", KEEPERS),
    ("$JS.API.STREAM.UPDATE.VIEWS", KEEPERS),
    ("$JS.API.STREAM.CREATE.WEBHOOKS", KEEPERS),
    ("$JS.API.STREAM.UPDATE.WEBHOOKS", KEEPERS),
    ("$JS.API.STREAM.UPDATE.KV_CURSORS", &[Migrator]),
    ("$JS.API.STREAM.UPDATE.ATTEMPTS", &[Migrator]),
    // A user that may update the log's stream can truncate it.
    ("$JS.API.STREAM.CREATE.EVENTS", &[Migrator]),
    ("$JS.API.STREAM.UPDATE.EVENTS", &[Migrator]),
    ("$JS.API.STREAM.UPDATE.DEAD", &[Migrator]),
    ("$JS.API.STREAM.UPDATE.KV_LOGINS", &[Migrator]),
    ("$JS.API.STREAM.UPDATE.KV_FLOWS", &[Migrator]),
    ("$JS.API.STREAM.CREATE.SECURITY", &[Migrator]),
    ("$JS.API.STREAM.UPDATE.SECURITY", &[Migrator]),
    ("$JS.API.STREAM.CREATE.OTHER", NOBODY),
    ("$JS.API.STREAM.UPDATE.OTHER", NOBODY),
    ("$JS.API.STREAM.LIST", NOBODY),
    ("$JS.API.INFO", NOBODY),
    ("$JS.API.STREAM.DELETE.EVENTS", NOBODY),
    ("$JS.API.STREAM.DELETE.COMMANDS", NOBODY),
    ("$JS.API.STREAM.PURGE.EVENTS", NOBODY),
    ("$JS.API.STREAM.PURGE.COMMANDS", NOBODY),
    ("$JS.API.STREAM.PURGE.SECURITY", NOBODY),
    ("$JS.API.STREAM.MSG.DELETE.EVENTS", NOBODY),
    ("$JS.API.STREAM.SNAPSHOT.EVENTS", NOBODY),
    ("$JS.API.STREAM.RESTORE.EVENTS", NOBODY),
    ("$JS.API.CONSUMER.CREATE.EVENTS.a.evt.>", KEEPERS),
    ("$JS.API.CONSUMER.MSG.NEXT.EVENTS.a", PULLERS_OF_THE_LOG),
    ("$JS.ACK.EVENTS.a.1.1.1.1.0", PULLERS_OF_THE_LOG),
    ("$JS.API.CONSUMER.CREATE.EVENTS.webhooks_wake", KEEPERS),
    (
        "$JS.API.CONSUMER.CREATE.EVENTS.inbound_replays.evt.>",
        KEEPERS,
    ),
    (
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS.webhooks_wake",
        &[Workers, Views, Reactions, Effects, Webhooks, Migrator],
    ),
    (
        "$JS.ACK.EVENTS.inbound_replays.1.1.1.1.0",
        &[Workers, Views, Reactions, Effects, Inbound, Migrator],
    ),
    ("$JS.API.CONSUMER.CREATE.COMMANDS.a.cmd.>", DECIDERS),
    ("$JS.API.CONSUMER.MSG.NEXT.COMMANDS.a", DECIDERS),
    ("$JS.ACK.COMMANDS.a.1.1.1.1.0", DECIDERS),
    ("$JS.API.CONSUMER.CREATE.VIEWS.a", NOBODY),
    ("$JS.API.CONSUMER.DURABLE.CREATE.OTHER.a", NOBODY),
    ("$JS.API.CONSUMER.DELETE.EVENTS.a", NOBODY),
    ("$JS.API.CONSUMER.PAUSE.EVENTS.a", NOBODY),
    ("$SYS.REQ.SERVER.PING.JSZ", LOOPS_AND_MIGRATOR),
    ("$SYS.REQ.SERVER.PING.CONNZ", NOBODY),
];

/// Only the operator may read these.
pub const FOREIGN: [&str; 11] = [
    "ask.>",
    ">",
    "evt.>",
    "clm.>",
    "cmd.>",
    "int.>",
    "view.>",
    "dead.>",
    "sec.>",
    "_INBOX.>",
    "$JS.API.>",
];
