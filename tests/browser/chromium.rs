//! Headless Chromium, and pages in it, by the DevTools protocol over a WebSocket.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use crate::support::{eventually, text};

/// The browser. It ends when this is dropped.
pub struct Chromium {
    process: Child,
    profile: TempDir,
    address: String,
}

/// A page of the browser.
pub struct Page {
    socket: WebSocketStream<TcpStream>,
    last_id: u64,
}

impl Chromium {
    /// Starts the browser with a new profile.
    pub async fn start() -> Self {
        let program = std::env::var("CHROMIUM_BIN");
        let program = program.unwrap_or_else(|_| "chromium".to_owned());
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new(&program);
        command
            .args(["--headless=new", "--no-sandbox", "--disable-gpu"])
            .args(["--disable-dev-shm-usage", "--no-first-run"])
            .args(["--remote-debugging-port=0", "about:blank"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = command.spawn();
        let process = process.unwrap_or_else(|error| panic!("starting {program}: {error}"));
        // The browser writes its port here.
        let file = profile.path().join("DevToolsActivePort");
        eventually("the browser", || async { port(&file).is_some() }).await;
        let address = format!("127.0.0.1:{}", port(&file).unwrap());
        Self {
            process,
            profile,
            address,
        }
    }

    /// Opens a page and waits until it is loaded.
    pub async fn open(&self, url: &str) -> Page {
        let new = format!("http://{}/json/new?about:blank", self.address);
        let opened = reqwest::Client::new().put(new).send().await.unwrap();
        let opened: Value = opened.json().await.unwrap();
        let socket = TcpStream::connect(&self.address).await.unwrap();
        let request = text(&opened, "/webSocketDebuggerUrl");
        let (socket, _) = client_async(request, socket).await.unwrap();
        let mut page = Page { socket, last_id: 0 };
        page.call("Page.enable", json!({})).await;
        page.call("Page.navigate", json!({ "url": url })).await;
        page.event("Page.loadEventFired").await;
        page
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Page {
    /// Calls a method of the protocol; returns its result.
    pub async fn call(&mut self, method: &str, parameters: Value) -> Value {
        let result = self.try_call(method, parameters).await;
        result.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Calls a method of the protocol; returns its result or its error.
    pub async fn try_call(&mut self, method: &str, parameters: Value) -> Result<Value, Value> {
        self.last_id += 1;
        let call = json!({ "id": self.last_id, "method": method, "params": parameters });
        let message = Message::text(call.to_string());
        self.socket.send(message).await.unwrap();
        loop {
            let mut answer = self.receive().await;
            if answer["id"] == self.last_id {
                let error = answer["error"].take();
                return if error.is_null() {
                    Ok(answer["result"].take())
                } else {
                    Err(error)
                };
            }
        }
    }

    /// Evaluates an expression in the page; returns its value, or that of its promise.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true,
        });
        let mut result = self.call("Runtime.evaluate", parameters).await;
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}: {result}"
        );
        result["result"]["value"].take()
    }

    async fn event(&mut self, method: &str) {
        while self.receive().await["method"] != method {}
    }

    async fn receive(&mut self) -> Value {
        loop {
            let message = self.socket.next().await.unwrap().unwrap();
            if let Message::Text(message) = message {
                return serde_json::from_str(&message).unwrap();
            }
        }
    }
}

fn port(file: &Path) -> Option<u16> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().next()?.parse().ok()
}
