//! Libraries of other languages, as customers have them: their package managers install them once,
//! and again when their versions change.

#![allow(dead_code, reason = "each test uses the package manager that it needs")]

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

/// Returns a copy of a folder, which is named from the package, with what its `package-lock.json`
/// names.
pub fn installed_by_npm(folder: &str) -> PathBuf {
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    installed(folder, "package-lock.json", npm)
}

/// Returns a copy of a folder of the package, with what its `requirements.txt` names in `python`.
pub fn installed_by_pip(folder: &str) -> PathBuf {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--upgrade", "--no-deps"])
        .args(["--require-hashes", "--disable-pip-version-check"])
        .args(["--root-user-action", "ignore", "--target", "python"])
        .args(["--requirement", "requirements.txt"]);
    installed(folder, "requirements.txt", pip)
}

/// Runs a script in a folder with this input, and returns its output.
pub fn run(folder: &Path, program: &str, script: &str, input: &str) -> String {
    run_with(folder, &[program, script], input)
}

/// Runs a program with its arguments in a folder with this input, and returns its output.
pub fn run_with(folder: &Path, command: &[&str], input: &str) -> String {
    let (program, arguments) = command.split_first().unwrap();
    let mut running = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("PYTHONPATH", "python")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("this test needs {program}: {error}"));
    let mut stdin = running.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = running.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?} has failed");
    String::from_utf8(output.stdout).unwrap()
}

/// Copies the files of a folder of the package, and installs what the file `versions` names.
fn installed(folder: &str, versions: &str, mut install: Command) -> PathBuf {
    // The tests run at once.
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    // Another package may have the folder.
    let name = folder.trim_start_matches("../");
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&copy).unwrap();
    for file in fs::read_dir(&source).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    let done = copy.join(format!("{versions}.installed"));
    let wanted = fs::read(copy.join(versions)).unwrap();
    if fs::read(&done).ok().as_ref() != Some(&wanted) {
        let installed = install.current_dir(&copy).status();
        let installed = installed.unwrap_or_else(|error| panic!("{install:?}: {error}"));
        assert!(installed.success(), "{install:?} has failed");
        fs::write(done, wanted).unwrap();
    }
    copy
}
