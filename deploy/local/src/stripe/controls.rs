//! What tests can ask for, below `/_test/`: failures, time, events and confirmations.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Stripe,
    delivery::{self, Mode, Parcel},
    faults::Fault,
    refusal::Refusal,
};

/// How often an event can be delivered by one request.
const TIMES: usize = 100;
/// How far the clock may go ahead, in seconds: ten years. Each month of each subscription is billed.
const MOST_AHEAD: i64 = 10 * 366 * 24 * 60 * 60;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Clock {
    /// Seconds.
    advance: Option<i64>,
    /// Seconds since 1970.
    to: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delivery {
    mode: Mode,
}

/// Which events to deliver, and how.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deliver {
    /// Ids, in the order of delivery. Without it, all that are held.
    events: Option<Vec<String>>,
    /// The seed of another order.
    shuffle: Option<u64>,
    /// How often each is delivered.
    #[serde(default = "once")]
    times: usize,
}

const fn once() -> usize {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Authenticate {
    /// The id of a setup intent or payment intent.
    id: String,
    succeeds: bool,
}

impl Stripe {
    /// Answers a request below `/_test/`.
    ///
    /// # Errors
    /// If the path is unknown, or a parameter is wrong.
    pub(super) async fn control(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Result<Value, Refusal> {
        match (method, path) {
            ("POST", "/_test/faults") => self.add_fault(parse(body)?),
            ("DELETE", "/_test/faults") => {
                self.state().faults.clear();
                self.shared.released.notify_waiters();
                Ok(json!({}))
            }
            ("GET", "/_test/clock") => Ok(json!({ "now": self.state().account.now })),
            ("POST", "/_test/clock") => self.set_clock(&parse(body)?),
            ("POST", "/_test/delivery") => {
                self.state().delivery = parse::<Delivery>(body)?.mode;
                Ok(json!({}))
            }
            ("POST", "/_test/deliver") => self.deliver(parse(body)?).await,
            ("POST", "/_test/authenticate") => self.authenticate(&parse(body)?),
            ("GET", "/_test/requests") => Ok(json!(self.state().requests)),
            ("DELETE", "/_test/requests") => {
                self.state().requests.clear();
                Ok(json!({}))
            }
            _ => Err(Refusal::no_such_url(method, path)),
        }
    }

    fn add_fault(&self, fault: Fault) -> Result<Value, Refusal> {
        if !fault.is_possible() {
            return Err(Refusal::invalid("The status must be 400 to 599.").param("status"));
        }
        self.state().faults.add(fault);
        Ok(json!({}))
    }

    /// Lets time pass. It never goes back.
    fn set_clock(&self, clock: &Clock) -> Result<Value, Refusal> {
        let mut state = self.state();
        let now = state.account.now;
        let to = match (clock.advance, clock.to) {
            (Some(advance), None) => now.saturating_add(advance),
            (None, Some(to)) => to,
            (Some(_), Some(_)) | (None, None) => {
                return Err(Refusal::invalid("Give either `advance` or `to`."));
            }
        };
        if to < now {
            return Err(Refusal::invalid("Time does not go back."));
        }
        if to > delivery::now() + MOST_AHEAD {
            return Err(Refusal::invalid("The clock goes ten years ahead at most."));
        }
        state.ahead += to - now;
        state.pass_time(to);
        let answer = json!({ "now": state.account.now });
        self.send_events(&mut state);
        Ok(answer)
    }

    /// Delivers events now, one after the other, and returns what each endpoint answered.
    async fn deliver(&self, deliver: Deliver) -> Result<Value, Refusal> {
        if deliver.times > TIMES {
            let message = format!("An event is delivered at most {TIMES} times.");
            return Err(Refusal::invalid(message).param("times"));
        }
        let parcels = {
            let mut state = self.state();
            let events = deliver.events;
            let events = events.unwrap_or_else(|| std::mem::take(&mut state.held));
            let events = std::iter::repeat_n(events, deliver.times);
            let mut events: Vec<String> = events.flatten().collect();
            if let Some(seed) = deliver.shuffle {
                delivery::shuffle(&mut events, seed);
            }
            Parcel::of(&state.account, &events)
        };
        let mut delivered = Vec::new();
        for parcel in parcels {
            let status = parcel.attempt().await;
            let answer = json!({ "event": parcel.event, "url": parcel.url, "status": status });
            delivered.push(answer);
        }
        Ok(delivered.into())
    }

    /// The owner of a card confirms, or not.
    fn authenticate(&self, asked: &Authenticate) -> Result<Value, Refusal> {
        let mut state = self.state();
        let answer = state.authenticate(&asked.id, asked.succeeds);
        self.send_events(&mut state);
        answer
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::invalid(error.to_string()))
}
