//! The documentation matches the product: a shell runs the commands of the README, and the table of
//! settings is compared with the programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use clap::{Args, Command};
use local::Local;
use serde_json::Value;
use tokio::time::timeout;

use crate::support::{DEADLINE, eventually, set_platform_admin, start, succeeded};

const README: &str = include_str!("../../README.md");
const CONFIGURATION: &str = include_str!("../../docs/configuration.md");

/// The sessions that a person tries one after the other, in the same shell.
const SESSIONS: [&str; 3] = ["A first session", "Two tenants", "Receive an event"];
/// The sessions of an administrator of the platform, in the same folder and shell.
const PLANS: [&str; 2] = ["Plans, features and limits", "Subscribe, decline, upgrade"];

/// The commands of a session, and the answers to them.
fn session(heading: &str) -> (String, Vec<Value>) {
    let (_, session) = README.split_once(&format!("\n## {heading}\n")).unwrap();
    let (session, _) = session.split_once("\n## ").unwrap();
    let (mut commands, mut answers) = (String::new(), Vec::new());
    for block in session.split("```").skip(1).step_by(2) {
        if let Some(block) = block.strip_prefix("sh\n") {
            commands.push_str(block);
        } else if let Some(block) = block.strip_prefix("json\n") {
            let block = block.lines();
            answers.extend(block.map(|line| serde_json::from_str::<Value>(line).unwrap()));
        }
    }
    (commands, answers)
}

/// Runs commands in a shell; returns what it has printed.
async fn run(local: &Local, folder: &Path, commands: &str) -> Vec<Value> {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free_port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let script = commands
        .replace("9909", &free_port)
        .replace("http://127.0.0.1:9900", &local.url())
        .replace("http://127.0.0.1:9901", &local.mail_url())
        .replace("http://127.0.0.1:9903", local.stripe_url().unwrap());
    let bash = tokio::process::Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(folder)
        .kill_on_drop(true)
        .output();
    let output = timeout(DEADLINE, bash).await.expect("the commands go on");
    let output = output.unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_in_the_readme_get_the_answers_in_it() {
    let local = start().await;
    let folder = tempfile::tempdir().unwrap();
    let (commands, mut expected): (Vec<_>, Vec<_>) = SESSIONS.map(session).into_iter().unzip();
    let mut answered = run(&local, folder.path(), &commands.concat()).await;
    let granted = set_platform_admin(&local, "ada@example.com", true);
    granted.await.unwrap();
    let (functions, _) = commands[0].split_once("jar=").unwrap();
    add_second_factor(&local, folder.path(), functions).await;
    // The gateway hears of it a moment later.
    let ask =
        format!("{functions}jar=ada.cookies; gql '{{ platform {{ tenants {{ totalCount }} }} }}'");
    eventually("the administration", || async {
        succeeded(&run(&local, folder.path(), &ask).await[0])
    })
    .await;
    let (of_plans, answers): (Vec<_>, Vec<_>) = PLANS.map(session).into_iter().unzip();
    expected.extend(answers);
    let commands = format!("{functions}{}", of_plans.concat());
    answered.extend(run(&local, folder.path(), &commands).await);
    let expected = expected.concat();
    for (answered, expected) in answered.iter().zip(&expected) {
        assert_eq!(answered, expected);
    }
    assert_eq!(
        (answered.len(), expected.len()),
        (39, 39),
        "every answer in the README was compared"
    );
    local.stop().await.unwrap();
}

/// Adds an authenticator app to Ada's account by the commands of the README.
async fn add_second_factor(local: &Local, folder: &Path, functions: &str) {
    let mut blocks = README.split("```");
    let block = blocks.find(|block| block.starts_with("shell\ntotp()"));
    let commands = block.unwrap().strip_prefix("shell").unwrap();
    let answers = run(local, folder, &format!("{functions}{commands}")).await;
    assert!(succeeded(&answers[0]), "{answers:?}");
    let codes = answers[1].pointer("/data/credential/confirmTotp");
    assert_eq!(codes.unwrap().as_array().unwrap().len(), 10, "{answers:?}");
}

#[test]
fn the_table_of_settings_matches_the_programs() {
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
    let rows: Vec<Vec<&str>> = CONFIGURATION
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    for (variable, (default, of)) in &settings {
        let row = rows
            .iter()
            .find(|row| row[1].contains(&format!("`{variable}`")))
            .unwrap_or_else(|| panic!("{variable} is not in the table"));
        match of.as_slice() {
            ["gateway", "workers"] => assert_eq!(row[2], "both", "{variable}"),
            // What all commands share is not an option of `workers run` but of `workers`.
            ["gateway"] => assert!(
                row[2] == "gateway" || variable == "UB_PRODUCTION",
                "{variable}"
            ),
            other => assert_eq!([row[2]].as_slice(), other, "{variable}"),
        }
        let documented = row[3].trim_matches('`').replace('–', "");
        assert!(
            documented == *default || documented == "all",
            "{variable} defaults to {default:?}, not {documented:?}"
        );
    }
    for name in rows
        .iter()
        .flat_map(|row| row[1].split('`'))
        .filter(|name| name.starts_with("UB_") && !name.ends_with("_PASSWORD"))
    {
        assert!(
            settings.contains_key(name),
            "no program has the setting {name}"
        );
    }
}

/// The names of all test functions in a folder.
fn tests_in(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(tests_in(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            for attribute in ["#[test]\n", "test]\n", "test(flavor = \"multi_thread\")]\n"] {
                let tests = source.split(attribute).skip(1);
                let names_of = tests.filter_map(|test| {
                    let (_, function) = test.split_once("fn ")?;
                    Some(function.split_once('(')?.0.to_owned())
                });
                names.extend(names_of);
            }
        }
    }
    names
}

#[test]
fn every_test_that_the_security_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let names: BTreeSet<String> = [
        "tests/end_to_end",
        "gateway/src",
        "event-store",
        "events-schema/src",
        "deploy/servers/tests",
    ]
    .iter()
    .flat_map(|folder| tests_in(&root.join(folder)))
    .collect();
    let page = std::fs::read_to_string(root.join("docs/security.md")).unwrap();
    let (_, table) = page.split_once("## OWASP ASVS").unwrap();
    let is_test = |word: &&str| {
        let is_setting = word.starts_with("UB_");
        word.contains('_') && !is_setting && !word.contains(char::is_whitespace)
    };
    let named: Vec<&str> = table
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(is_test)
        .collect();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        assert!(names.contains(name), "there is no test {name}");
    }
}
