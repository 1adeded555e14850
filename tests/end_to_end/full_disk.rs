//! The disk of the servers is full for a while.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use crate::{
    cargo_dev::{Dev, server},
    support::{
        CREATE_PROJECT, DEADLINE, code_of, create_project, eventually, input, project_names,
        succeeded,
    },
};

/// Takes all room on a disk until the file is removed.
fn fill(file: &Path) {
    let mut filler = File::create(file).unwrap();
    // Large pieces first, then the rest.
    for size in [1024 * 1024, 512, 1] {
        let full = loop {
            if let Err(error) = filler.write_all(&vec![0; size]) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    }
}

/// nats-server needs a restart after a failed write, as docs/operations.md says.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_no_answered_change_and_all_goes_on_after_a_restart_of_nats_server() {
    let may_mount = Command::new("unshare")
        .args(["--map-root-user", "--mount", "true"])
        .status();
    if !may_mount.is_ok_and(|status| status.success()) {
        println!("not tested: this machine allows no disks of its own to processes");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().canonicalize().unwrap();
    let dev = Dev::start_on_disk(dir.to_str().unwrap(), "2500m").await;
    let ada = dev.browser();
    ada.sign_up("ada@example.com").await;
    ada.create_tenant("acme").await;
    let ada = ada.in_tenant("acme");
    create_project(&ada, "Before").await;

    let id = dev.process.id().unwrap();
    let filler = PathBuf::from(format!("/proc/{id}/root{}/filler", dir.display()));
    fill(&filler);
    let (start, mut answered) = (Instant::now(), vec!["Before".to_owned()]);
    for at in 0.. {
        assert!(start.elapsed() < DEADLINE, "the disk is not full");
        let name = format!("Full {at}");
        let answer = ada
            .gql(CREATE_PROJECT, input(json!({ "name": name })))
            .await;
        if succeeded(&answer) {
            // The file of the log had some room.
            answered.push(name);
            continue;
        }
        assert_eq!(code_of(&answer), "PENDING", "{answer}");
        break;
    }

    fs::remove_file(&filler).unwrap();
    let nats_server = Pid::from_raw(server(&dir, "nats-server"));
    kill(nats_server, Signal::SIGKILL).unwrap();
    eventually("a change", || async {
        let after = input(json!({ "name": "After" }));
        succeeded(&ada.gql(CREATE_PROJECT, after).await)
    })
    .await;
    let shown = project_names(&ada, json!({ "first": 100 })).await;
    for name in answered {
        let count = shown.iter().filter(|shown| **shown == name).count();
        assert_eq!(count, 1, "{name} among {shown:?}");
    }
}
