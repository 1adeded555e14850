//! The README tells the truth: its first session is run as it stands there, and its table of settings is the binaries'.

use std::collections::BTreeMap;

use clap::{Args, Command};
use serde_json::Value;

use crate::support::{Browser, code, start};

const README: &str = include_str!("../../../../README.md");

#[tokio::test(flavor = "multi_thread")]
async fn the_first_session_goes_as_the_readme_says() {
    let local = start().await;
    let browser = Browser::new(&local);
    let (_, session) = README.split_once("## A first session").unwrap();
    let (session, _) = session.split_once("\n## ").unwrap();
    let (mut asked, mut compared) = (Vec::new(), 0);
    for block in session.split("```").skip(1).step_by(2) {
        if let Some(commands) = block.strip_prefix("sh\n") {
            for line in commands.lines() {
                let Some(body) = line.strip_prefix("gql '").and_then(|line| line.strip_suffix('\'')) else { continue };
                let body = if body.contains("'$code'") {
                    body.replace("'$code'", &code(&browser.mail("ada@example.com", "code", 1).await))
                } else {
                    body.to_owned()
                };
                let request = browser.http().post(browser.url("/graphql")).header("content-type", "application/json");
                asked.push(request.body(body).send().await.unwrap().json::<Value>().await.unwrap());
            }
        } else if let Some(answers) = block.strip_prefix("json\n") {
            let answers: Vec<Value> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            compared += answers.len();
            assert_eq!(asked, answers);
            asked.clear();
        }
    }
    assert_eq!(compared, 6, "every answer in the README was compared");
    local.stop().await.unwrap();
}

#[test]
fn the_settings_in_the_readme_are_those_of_the_binaries() {
    let mut settings: BTreeMap<String, (String, Vec<&str>)> = BTreeMap::new();
    let parsers = [
        ("gateway", gateway::Config::augment_args(Command::new("gateway"))),
        ("workers", workers::config::Config::augment_args(Command::new("workers"))),
    ];
    for (of, parser) in &parsers {
        for argument in parser.get_arguments() {
            let Some(variable) = argument.get_env() else { continue };
            let defaults: Vec<String> = argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
            let entry = settings.entry(variable.to_string_lossy().into_owned()).or_insert_with(|| (defaults.join(","), Vec::new()));
            assert_eq!(entry.0, defaults.join(","), "{variable:?} has two defaults");
            entry.1.push(of);
        }
    }
    assert!(settings.len() > 10);
    let (_, table) = README.split_once("## Configuration").unwrap();
    let rows: Vec<Vec<&str>> =
        table.lines().filter(|line| line.starts_with("| `")).map(|line| line.split('|').map(str::trim).collect()).collect();
    for (variable, (default, of)) in &settings {
        let row =
            rows.iter().find(|row| row[1].contains(&format!("`{variable}`"))).unwrap_or_else(|| panic!("{variable} is not in the README"));
        match of.as_slice() {
            ["gateway", "workers"] => assert_eq!(row[2], "both", "{variable}"),
            // What all binaries share is not an option of `workers run` but of `workers`.
            ["gateway"] => assert!(row[2] == "gateway" || variable == "UB_PRODUCTION", "{variable}"),
            other => assert_eq!([row[2]].as_slice(), other, "{variable}"),
        }
        let said = row[3].trim_matches('`').replace('–', "");
        assert!(said == *default || said == "all", "{variable} defaults to {default:?}, not {said:?}");
    }
    for name in rows.iter().flat_map(|row| row[1].split('`')).filter(|name| name.starts_with("UB_") && !name.ends_with("_PASSWORD")) {
        assert!(settings.contains_key(name), "{name} is no setting");
    }
}
