//! The examples of the page that need no library, in the languages that this machine has.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use events_schema::webhook_signature::SigningKey;
use serde_json::{Value, json};

use super::{example, now, packages::run_with, webhook};

struct Language {
    /// The name after the fence of the example.
    name: &'static str,
    /// What tells whether the machine has it.
    version: &'static [&'static str],
    /// What runs the script beside the example.
    run: &'static [&'static str],
    /// The file for the example, and what begins it.
    pasted: (&'static str, &'static str),
}

const LANGUAGES: [Language; 3] = [
    Language {
        name: "go",
        version: &["go", "version"],
        run: &["go", "run", "example.go", "pasted.go"],
        pasted: ("pasted.go", "package main\n\n"),
    },
    Language {
        name: "ruby",
        version: &["ruby", "--version"],
        run: &["ruby", "example.rb"],
        pasted: ("pasted.rb", ""),
    },
    Language {
        name: "php",
        version: &["php", "--version"],
        run: &["php", "example.php"],
        pasted: ("pasted.php", "<?php\n\n"),
    },
];

#[test]
fn the_examples_without_a_library_accept_what_we_sign_and_refuse_the_rest() {
    for language in LANGUAGES.iter().filter(|language| language.is_here()) {
        let folder = language.paste();
        let verdict = |input: &Value| -> Value {
            let output = run_with(&folder, language.run, &input.to_string());
            serde_json::from_str(&output).unwrap()
        };
        let (secret, other) = (SigningKey::hmac([7; 32]), SigningKey::hmac([9; 32]));
        let signed = |keys: &[SigningKey], timestamp: i64| {
            let mut input = webhook(keys, timestamp);
            input["secret"] = secret.secret().into();
            input
        };
        let name = language.name;
        let (genuine, refused) = (json!({"genuine": true}), "no signature matches");
        let refused = json!({ "refusal": refused });
        let ours = signed(std::slice::from_ref(&secret), now());
        assert_eq!(verdict(&ours), genuine, "{name}");
        let both = signed(&[other.clone(), secret.clone()], now());
        assert_eq!(verdict(&both), genuine, "{name}: a second secret");
        let mut changed = ours.clone();
        changed["body"] = format!("{} ", ours["body"].as_str().unwrap()).into();
        assert_eq!(verdict(&changed), refused, "{name}: another body");
        let of_other = signed(std::slice::from_ref(&other), now());
        assert_eq!(verdict(&of_other), refused, "{name}: another secret");
        let late = json!({"refusal": "the timestamp is more than five minutes from now"});
        for timestamp in [now() - 310, now() + 310] {
            let at_another_time = signed(std::slice::from_ref(&secret), timestamp);
            assert_eq!(verdict(&at_another_time), late, "{name}: {timestamp}");
        }
        let mut bare = ours;
        bare["headers"] = json!({});
        assert_eq!(verdict(&bare), late, "{name}: no headers");
    }
}

impl Language {
    fn is_here(&self) -> bool {
        let (program, arguments) = self.version.split_first().unwrap();
        let version = Command::new(program).args(arguments).output();
        let is_here = version.is_ok_and(|version| version.status.success());
        if !is_here {
            let must_be_here = env::var_os("UB_TEST_ALL_LANGUAGES").is_some();
            assert!(!must_be_here, "this machine has no {}", self.name);
            eprintln!("this machine has no {}: its example is not run", self.name);
        }
        is_here
    }

    /// Returns a folder with the example as a customer would paste it, and the script that runs it.
    fn paste(&self) -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/webhook_verifiers");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(self.name);
        fs::create_dir_all(&folder).unwrap();
        let (file, begin) = self.pasted;
        let script = file.replace("pasted", "example");
        fs::copy(source.join(&script), folder.join(&script)).unwrap();
        let example = format!("{begin}{}", example(self.name));
        fs::write(folder.join(file), example).unwrap();
        folder
    }
}
