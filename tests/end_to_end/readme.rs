//! The README tells the truth: its commands are run by a shell as they stand there, and its table
//! of settings is the binaries'.

use std::collections::BTreeMap;

use clap::{Args, Command};
use serde_json::Value;

use crate::support::start;

const README: &str = include_str!("../../README.md");

/// Mails take a moment, which a reader does not notice and a script does: so the mailbox is asked
/// until there is another.
const PATIENT_CURL: &str = r#"
curl() {
  case "$*" in
    */messages)
      for _ in $(seq 300); do
        all=$(command curl "$@"); count=$(grep -o receivedAt <<< "$all" | wc -l)
        if [ "$count" -gt "$(cat seen 2> /dev/null || echo 0)" ]; then echo "$count" > seen; break; fi
        sleep 0.1
      done
      echo "$all";;
    *) command curl "$@";;
  esac
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reader_pastes_is_answered_as_the_readme_says() {
    let local = start().await;
    let (mut script, mut expected) = (PATIENT_CURL.to_owned(), Vec::new());
    for heading in ["## A first session", "## Two tenants"] {
        let (_, session) = README.split_once(&format!("\n{heading}\n")).unwrap();
        let (session, _) = session.split_once("\n## ").unwrap();
        for block in session.split("```").skip(1).step_by(2) {
            if let Some(commands) = block.strip_prefix("sh\n") {
                script.push_str(commands);
            } else if let Some(answers) = block.strip_prefix("json\n") {
                expected.extend(
                    answers
                        .lines()
                        .map(|line| serde_json::from_str::<Value>(line).unwrap()),
                );
            }
        }
    }
    let script = script
        .replace("http://127.0.0.1:9900", &local.url())
        .replace("http://127.0.0.1:9901", &local.mail_url());
    let folder = tempfile::tempdir().unwrap();
    let bash = tokio::process::Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(folder.path())
        .output();
    let output = bash.await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let answered: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    for (answered, expected) in answered.iter().zip(&expected) {
        assert_eq!(answered, expected);
    }
    assert_eq!(
        (answered.len(), expected.len()),
        (20, 20),
        "every answer in the README was compared"
    );
    local.stop().await.unwrap();
}

#[test]
fn the_settings_in_the_readme_are_those_of_the_binaries() {
    let mut settings: BTreeMap<String, (String, Vec<&str>)> = BTreeMap::new();
    let parsers = [
        (
            "gateway",
            gateway::Config::augment_args(Command::new("gateway")),
        ),
        (
            "workers",
            workers::config::Config::augment_args(Command::new("workers")),
        ),
    ];
    for (of, parser) in &parsers {
        for argument in parser.get_arguments() {
            let Some(variable) = argument.get_env() else {
                continue;
            };
            let defaults: Vec<String> = argument
                .get_default_values()
                .iter()
                .map(|value| value.to_string_lossy().into_owned())
                .collect();
            let entry = settings
                .entry(variable.to_string_lossy().into_owned())
                .or_insert_with(|| (defaults.join(","), Vec::new()));
            assert_eq!(entry.0, defaults.join(","), "{variable:?} has two defaults");
            entry.1.push(of);
        }
    }
    assert!(settings.len() > 10);
    let (_, table) = README.split_once("## Configuration").unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    for (variable, (default, of)) in &settings {
        let row = rows
            .iter()
            .find(|row| row[1].contains(&format!("`{variable}`")))
            .unwrap_or_else(|| panic!("{variable} is not in the README"));
        match of.as_slice() {
            ["gateway", "workers"] => assert_eq!(row[2], "both", "{variable}"),
            // What all binaries share is not an option of `workers run` but of `workers`.
            ["gateway"] => assert!(
                row[2] == "gateway" || variable == "UB_PRODUCTION",
                "{variable}"
            ),
            other => assert_eq!([row[2]].as_slice(), other, "{variable}"),
        }
        let said = row[3].trim_matches('`').replace('–', "");
        assert!(
            said == *default || said == "all",
            "{variable} defaults to {default:?}, not {said:?}"
        );
    }
    for name in rows
        .iter()
        .flat_map(|row| row[1].split('`'))
        .filter(|name| name.starts_with("UB_") && !name.ends_with("_PASSWORD"))
    {
        assert!(settings.contains_key(name), "{name} is no setting");
    }
}
