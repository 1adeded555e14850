//! The pages for logging in and for the security of an account, as a person uses them.

use serde_json::{Value, json};
use tokio::time::{Duration, sleep, timeout};

use crate::{
    ADA, Page, World,
    support::{Authenticator, PASSWORD},
};

/// What a person does on a page.
const HANDS: &str = r#"
    window.press = (text) => {
        const all = [...document.querySelectorAll("button, a.button")].filter((one) => one.offsetParent);
        const found = all.find((one) => one.textContent === text);
        if (!found) return false;
        found.click();
        return true;
    };
    window.type = (name, value) => {
        const all = [...document.querySelectorAll(`input[name="${name}"]`)].filter((one) => one.offsetParent);
        if (!all.length) return false;
        all.at(-1).value = value;
        return true;
    };
"#;

/// How long a page takes at most.
const SOON: Duration = Duration::from_secs(20);

impl Page {
    /// Waits until an expression is true. `if_it_leaves` is what counts if the page is left meanwhile.
    async fn until_or(&mut self, expression: &str, if_it_leaves: bool) {
        let parameters = json!({ "expression": format!("Boolean({expression})") });
        let is_true = async {
            loop {
                let answer = self.try_call("Runtime.evaluate", parameters.clone()).await;
                let value = answer.map(|answer| answer["result"]["value"].clone());
                if value.map_or(if_it_leaves, |value| value == true) {
                    break;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = timeout(SOON, is_true).await;
        if waited.is_err() {
            let shown = self.evaluate("location.href + document.body.innerText");
            panic!("not soon: {expression}; the page shows {}", shown.await);
        }
    }

    async fn until(&mut self, expression: &str) {
        self.until_or(expression, false).await;
    }

    async fn shows(&mut self, text: &str) {
        self.until(&format!(
            "document.body?.innerText.includes({})",
            json!(text)
        ))
        .await;
    }

    async fn press(&mut self, text: &str) {
        let press = format!("(() => {{ {HANDS}; return press({}) }})()", json!(text));
        self.until_or(&press, true).await;
    }

    async fn type_in(&mut self, name: &str, value: &str) {
        let (name, value) = (json!(name), json!(value));
        self.until(&format!(
            "(() => {{ {HANDS}; return type({name}, {value}) }})()"
        ))
        .await;
    }

    async fn go(&mut self, path: &str) {
        self.evaluate(&format!("location.assign({})", json!(path)))
            .await;
    }

    async fn arrives_at(&mut self, path: &str) {
        self.until(&format!(
            "location.pathname === {} && document.readyState === 'complete'",
            json!(path)
        ))
        .await;
    }
}

impl World {
    /// Says whether the person touches the authenticator when it asks for that.
    async fn touches(&mut self, does: bool) {
        let touches = json!({ "enabled": does });
        self.change("WebAuthn.setAutomaticPresenceSimulation", touches)
            .await;
    }
}

/// Logs out and opens a page. The person does not touch the authenticator yet, which browsers offer
/// by themselves where a person logs in.
async fn logged_out(path: &str) -> World {
    let mut world = World::start().await;
    world.touches(false).await;
    world.page.go("/account/security").await;
    world.page.arrives_at("/account/security").await;
    world.page.shows("Laptop").await;
    world.page.press("Log out here").await;
    world.page.arrives_at("/account/login").await;
    world.page.go(path).await;
    world
        .page
        .until(&format!("location.search === {}", search(path)))
        .await;
    world
}

fn search(path: &str) -> Value {
    let from = path.find('?').unwrap_or(path.len());
    json!(&path[from..])
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: run tests/browser/run"]
async fn a_person_logs_in_by_password_and_adds_a_second_factor_on_the_pages() {
    let mut world = logged_out("/account/login?return_to=%2F%2Fevil.example").await;
    let page = &mut world.page;
    page.type_in("email", ADA).await;
    page.type_in("password", PASSWORD).await;
    page.press("Log in").await;
    page.arrives_at("/account/security").await;
    world.touches(true).await;
    let page = &mut world.page;
    page.press("Add an authenticator app").await;
    // The password alone is not enough, since the account has a passkey.
    page.shows("Scan the code").await;
    let secret = page
        .evaluate("document.querySelector('dialog code').textContent")
        .await;
    assert_eq!(
        page.evaluate("document.querySelectorAll('dialog svg path').length")
            .await,
        1
    );
    let mut app = Authenticator::new(secret.as_str().unwrap());
    page.type_in("code", &app.next().await).await;
    page.press("Continue").await;
    page.shows("Keep these recovery codes").await;
    page.press("Done").await;
    page.shows("10 recovery codes are left").await;
    world.touches(false).await;
    let page = &mut world.page;
    page.press("Log out here").await;
    page.arrives_at("/account/login").await;
    page.type_in("email", ADA).await;
    page.type_in("password", PASSWORD).await;
    page.press("Log in").await;
    page.shows("One more step").await;
    page.type_in("code", &app.next().await).await;
    page.press("Continue").await;
    page.arrives_at("/account/security").await;
    page.shows(ADA).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: run tests/browser/run"]
async fn a_person_logs_in_by_a_passkey_and_manages_passkeys_on_the_pages() {
    let mut world = logged_out("/account/login?return_to=/account/security").await;
    world.touches(true).await;
    let page = &mut world.page;
    page.press("Use a passkey").await;
    page.arrives_at("/account/security").await;
    page.press("Rename").await;
    page.type_in("name", "Telephone").await;
    page.press("Continue").await;
    page.shows("The passkey is renamed.").await;
    page.shows("Telephone").await;
    page.press("Remove").await;
    page.shows("The password is removed.").await;
    // The passkey is the last way to log in now.
    page.press("Remove").await;
    page.until("document.querySelector('[role=status]').textContent.length > 3")
        .await;
    page.shows("Telephone").await;
}
