//! A small Stripe for development and tests: strict and stateful. `cargo dev` keeps its state in a
//! file.
//!
//! It is a test double of a service that cannot be reached from a test, and no part of the product.
//! It refuses what it does not know. `docs/development-stripe.md` tells what it does, and how to
//! use Stripe's own test mode in its place.

mod account;
mod api;
mod billing;
mod card;
mod clock;
mod controls;
mod customer;
mod decimal;
mod delivery;
mod event;
mod expand;
mod faults;
mod form;
mod idempotency;
mod invoice;
mod invoice_actions;
mod item;
mod journal;
mod meter;
mod object;
mod pages;
mod payment_intent;
mod payment_method;
mod period;
mod portal;
mod price;
mod product;
mod promotion;
mod refusal;
mod server;
mod setup_intent;
mod subscription;
mod subscription_create;
mod subscription_update;
#[cfg(test)]
mod tests;
mod webhook_endpoint;

use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use tokio::sync::Notify;

use self::{
    account::Account,
    api::Keys,
    delivery::{Mode, Parcel},
    faults::Faults,
    journal::Journal,
};

/// The release of the API that answers follow.
pub const API_VERSION: &str = "2026-09-30.endive";
/// The secret key of `cargo dev`. It opens nothing outside this machine.
pub const SECRET_KEY: &str = "sk_test_development";
/// The key for browsers.
pub const PUBLISHABLE_KEY: &str = "pk_test_development";
/// The secret with which `cargo dev` signs events. It proves nothing outside this machine.
pub const WEBHOOK_SECRET: &str = "whsec_development_of_this_machine";
/// Maximum requests that are remembered. The oldest is forgotten first.
const REQUESTS: usize = 10_000;

/// The service; clones share it.
#[derive(Clone)]
pub struct Stripe {
    shared: Arc<Shared>,
}

struct Shared {
    keys: Keys,
    state: Mutex<State>,
    /// Wakes the requests that hang.
    released: Notify,
}

/// Everything that changes.
struct State {
    account: Account,
    journal: Journal,
    /// Seconds that tests have let pass.
    ahead: i64,
    faults: Faults,
    delivery: Mode,
    /// Events that wait until a test delivers them.
    held: Vec<String>,
    requests: VecDeque<Seen>,
}

/// A request that was made.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    method: String,
    path: String,
    idempotency_key: Option<String>,
    /// `None` without an answer.
    status: Option<u16>,
}

impl Stripe {
    /// A service without any object, which forgets all at its end. `url` is its own address, for
    /// links.
    pub fn new(url: &str) -> Self {
        Self::with(keys(), State::new(url))
    }

    /// A service that keeps what it has in a file, and goes on with what the file has.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn kept(url: &str, file: &Path) -> anyhow::Result<Self> {
        let keys = keys();
        let state = State::new(url).continued(&keys, file)?;
        Ok(Self::with(keys, state))
    }

    fn with(keys: Keys, state: State) -> Self {
        let shared = Shared {
            keys,
            state: Mutex::new(state),
            released: Notify::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Sends all events to this address from now on, signed with this secret.
    pub fn add_webhook(&self, url: &str, secret: &str) {
        let account = &mut self.state().account;
        let (url, secret, all) = (url.to_owned(), secret.to_owned(), vec!["*".to_owned()]);
        let endpoint = webhook_endpoint::new(account, url, all, secret);
        let id = endpoint.id.clone();
        account.webhook_endpoints.insert(id, endpoint);
    }

    /// Sends the events of a request, or keeps them, as the tests want.
    fn send_events(&self, state: &mut State) {
        let events = std::mem::take(&mut state.account.undelivered);
        match state.delivery {
            Mode::Send => {
                for parcel in Parcel::of(&state.account, &events) {
                    tokio::spawn(parcel.deliver());
                }
            }
            Mode::Hold => state.held.extend(events),
            Mode::Omit => {}
        }
    }

    /// No code panics while it holds the lock; if some did, the objects would still be whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(url: &str) -> Self {
        let mut account = Account::new(delivery::now());
        url.clone_into(&mut account.url);
        Self {
            account,
            journal: Journal::default(),
            ahead: 0,
            faults: Faults::default(),
            delivery: Mode::default(),
            held: Vec::new(),
            requests: VecDeque::new(),
        }
    }
}

fn keys() -> Keys {
    Keys {
        secret: SECRET_KEY.to_owned(),
        publishable: PUBLISHABLE_KEY.to_owned(),
    }
}
