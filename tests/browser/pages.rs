//! The pages of an account, as a person uses them.

mod links;
mod login;
mod providers;
mod security;
mod sso;

use serde_json::{Value, json};

use crate::{
    ADA, World,
    support::{Authenticator, Browser, PASSWORD, code},
};

impl World {
    /// Says whether the person touches the authenticator when it asks for that.
    async fn touches(&mut self, does: bool) {
        let touches = json!({ "enabled": does });
        self.change("WebAuthn.setAutomaticPresenceSimulation", touches)
            .await;
    }

    /// Logs out and opens a page. The person does not touch the authenticator yet, which browsers
    /// offer by themselves where a person logs in.
    async fn logs_out(&mut self, path: &str) {
        self.touches(false).await;
        self.page.go("/account/security").await;
        self.page.arrives_at("/account/security").await;
        self.page.shows("Laptop").await;
        self.page.press("Log out here").await;
        self.page.arrives_at("/account/login").await;
        self.page.go(path).await;
        let search = search(path);
        let is_there = format!("location.search === {search}");
        self.page.until(&is_there).await;
    }

    /// Logs in by the password.
    async fn logs_in(&mut self) {
        self.page.type_in("email", ADA).await;
        self.page.type_in("password", PASSWORD).await;
        self.page.press("Log in").await;
    }

    /// Adds an authenticator app on the page of security; returns it and the recovery codes.
    async fn adds_app(&mut self) -> (Authenticator, Vec<String>) {
        self.touches(true).await;
        let page = &mut self.page;
        page.press("Add an authenticator app").await;
        // The password alone is not enough, since the account has a passkey.
        page.press("Use a passkey").await;
        page.shows("Scan the code").await;
        let secret = page.text_of("dialog code").await;
        let mut app = Authenticator::new(&secret);
        page.type_in("code", &app.next().await).await;
        page.press("Continue").await;
        page.shows("Keep these recovery codes").await;
        let codes = page.text_of("dialog pre").await;
        page.press("Done").await;
        page.shows("10 recovery codes are left").await;
        self.touches(false).await;
        (app, codes.lines().map(str::to_owned).collect())
    }

    /// The code in the n-th mail with one to log in with.
    async fn mailed(&self, email: &str, nth: usize) -> String {
        let mailbox = Browser::new(&self.backend);
        code(&mailbox.mail(email, "in which you asked for it", nth).await)
    }
}

/// A person who has logged out and opens a page.
async fn logged_out(path: &str) -> World {
    let mut world = World::start().await;
    world.logs_out(path).await;
    world
}

fn search(path: &str) -> Value {
    let from = path.find('?').unwrap_or(path.len());
    let to = path.find('#').unwrap_or(path.len());
    json!(&path[from.min(to)..to])
}
