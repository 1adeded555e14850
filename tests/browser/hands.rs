//! What a person does on a page: they look, press, type and go.

use serde_json::json;
use tokio::time::{Duration, sleep, timeout};

use crate::Page;

/// What a person does on a page.
const HANDS: &str = r#"
    window.press = (text) => {
        const place = document.querySelector("dialog[open]") ?? document;
        const all = [...place.querySelectorAll("button, a.button")];
        const can = (one) => one.offsetParent && !one.disabled && one.textContent === text;
        const found = all.find(can);
        if (!found) return false;
        found.focus();
        found.click();
        return true;
    };
    window.type = (name, value) => {
        const all = [...document.querySelectorAll(`input[name="${name}"]`)].filter((one) => one.offsetParent);
        if (!all.length) return false;
        all.at(-1).value = value;
        all.at(-1).dispatchEvent(new Event("change", { bubbles: true }));
        return true;
    };
"#;

/// How long a page takes at most.
const SOON: Duration = Duration::from_secs(20);

impl Page {
    /// Waits until an expression is true. `if_it_leaves` is what counts if the page is left
    /// meanwhile.
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

    pub async fn until(&mut self, expression: &str) {
        self.until_or(expression, false).await;
    }

    pub async fn shows(&mut self, text: &str) {
        self.until(&format!(
            "document.body?.innerText.includes({})",
            json!(text)
        ))
        .await;
    }

    pub async fn press(&mut self, text: &str) {
        let press = format!("(() => {{ {HANDS}; return press({}) }})()", json!(text));
        self.until_or(&press, true).await;
    }

    pub async fn type_in(&mut self, name: &str, value: &str) {
        let (name, value) = (json!(name), json!(value));
        self.until(&format!(
            "(() => {{ {HANDS}; return type({name}, {value}) }})()"
        ))
        .await;
    }

    /// Presses the key that closes dialogs.
    pub async fn escape(&mut self) {
        for kind in ["keyDown", "keyUp"] {
            let key = json!({
                "type": kind, "key": "Escape", "code": "Escape", "windowsVirtualKeyCode": 27,
            });
            self.call("Input.dispatchKeyEvent", key).await;
        }
    }

    /// The text of the first such element.
    pub async fn text_of(&mut self, selector: &str) -> String {
        let selector = json!(selector);
        let text = format!("document.querySelector({selector}).textContent");
        let text = self.evaluate(&text).await;
        text.as_str().unwrap().to_owned()
    }

    /// Waits until the focus is on the heading of a section.
    pub async fn is_at(&mut self, heading: &str) {
        let heading = json!(heading);
        self.until(&format!("document.activeElement.textContent === {heading}"))
            .await;
    }

    pub async fn go(&mut self, path: &str) {
        self.go_to(&json!(path).to_string()).await;
    }

    /// Goes to what an expression says.
    pub async fn go_to(&mut self, expression: &str) {
        let assign = format!("location.assign({expression})");
        self.evaluate(&assign).await;
    }

    pub async fn arrives_at(&mut self, path: &str) {
        self.until(&format!(
            "location.pathname === {} && document.readyState === 'complete'",
            json!(path)
        ))
        .await;
    }
}
