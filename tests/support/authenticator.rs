//! An authenticator app, as RFC 6238 describes it: written without the product's code.

use std::time::SystemTime;

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use local::Local;
use serde_json::{Value, json};
use sha1::Sha1;

use super::{Browser, eventually, list, set_platform_admin, succeeded, text};

pub const START_TOTP: &str = "mutation { credential { startTotp { uri secret } } }";
pub const CONFIRM_TOTP: &str = "
    mutation($code: String!) {
        credential { confirmTotp(code: $code) }
    }";

pub struct Authenticator {
    seed: Vec<u8>,
    /// The step of the latest code.
    last: i64,
}

impl Authenticator {
    /// An app into which this secret was typed.
    pub fn new(secret: &str) -> Self {
        Self {
            seed: BASE32_NOPAD.decode(secret.as_bytes()).unwrap(),
            last: 0,
        }
    }

    /// The seed itself.
    pub fn seed(&self) -> &[u8] {
        &self.seed
    }

    /// A code that was not used before. The server accepts two at once, and each further one half a
    /// minute later.
    pub async fn next(&mut self) -> String {
        let step = (self.last + 1).max(present());
        eventually("the next code", || async { step <= present() + 1 }).await;
        self.last = step;
        self.code(step)
    }

    /// The latest code again.
    pub fn latest(&self) -> String {
        self.code(self.last)
    }

    fn code(&self, step: i64) -> String {
        let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(&self.seed).unwrap();
        mac.update(&step.to_be_bytes());
        let hash = mac.finalize().into_bytes();
        let offset = usize::from(hash[19] & 0xf);
        let head: [u8; 4] = hash[offset..offset + 4].try_into().unwrap();
        let number = u32::from_be_bytes(head) & 0x7fff_ffff;
        format!("{:06}", number % 1_000_000)
    }
}

fn present() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(now.unwrap().as_secs() / 30).unwrap()
}

/// Adds an authenticator app to the account of this browser; returns it with the recovery codes.
pub async fn add_second_factor(browser: &Browser) -> (Authenticator, Vec<String>) {
    let setup = browser.data(START_TOTP, ()).await;
    let mut app = Authenticator::new(&text(&setup, "/credential/startTotp/secret"));
    let code = app.next().await;
    let confirmed = browser.data(CONFIRM_TOTP, json!({ "code": code })).await;
    let codes = list(&confirmed["credential"]["confirmTotp"]).iter();
    let codes = codes.map(|code| code.as_str().unwrap().to_owned());
    (app, codes.collect())
}

/// A person with this address who is an administrator of the platform, and has proved two factors.
pub async fn administrator(backend: &Local, email: &str) -> Browser {
    let browser = Browser::signed_up(backend, email).await;
    make_administrator(backend, &browser, email).await;
    browser
}

/// Makes the person of this browser an administrator of the platform, with two factors.
pub async fn make_administrator(backend: &Local, browser: &Browser, email: &str) {
    add_second_factor(browser).await;
    let granted = set_platform_admin(backend, email, true);
    granted.await.unwrap();
    await_administration(browser).await;
}

/// Waits until the gateway knows that the person of this browser is an administrator: it hears of it
/// a moment later.
pub async fn await_administration(browser: &Browser) {
    eventually("the administration", || async {
        let query = "{ platform { tenants { totalCount } } }";
        let seen: Value = browser.gql(query, ()).await;
        succeeded(&seen)
    })
    .await;
}
