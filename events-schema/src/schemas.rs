//! JSON Schemas of every message, generated into `events-schema/schemas/` and checked for drift.

use std::{fs, path::Path};

use schemars::{JsonSchema, schema_for};

use crate::{
    ClaimHolder, Command, Commit, Document, Outcome, access_token, account, email, member, project,
    role, session, tenant,
};

fn check<T: JsonSchema>(name: &str) -> Option<String> {
    let mut text = serde_json::to_string_pretty(&schema_for!(T)).unwrap();
    text.push('\n');
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("schemas")
        .join(format!("{name}.json"));
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    (fs::read_to_string(&path).ok() != Some(text)).then(|| name.to_owned())
}

#[test]
fn the_schemas_in_the_repository_are_those_of_the_code() {
    let drifted: Vec<String> = [
        check::<Command<access_token::Command>>("access_token.command"),
        check::<Commit<access_token::Event>>("access_token.commit"),
        check::<Document<access_token::View>>("access_token.view"),
        check::<Command<account::Command>>("account.command"),
        check::<Commit<account::Event>>("account.commit"),
        check::<Document<account::View>>("account.view"),
        check::<Command<email::Command>>("email.command"),
        check::<Commit<email::Event>>("email.commit"),
        check::<Document<email::View>>("email.view"),
        check::<Command<member::Command>>("member.command"),
        check::<Commit<member::Event>>("member.commit"),
        check::<Document<member::View>>("member.view"),
        check::<Document<member::Membership>>("membership.view"),
        check::<Command<project::Command>>("project.command"),
        check::<Commit<project::Event>>("project.commit"),
        check::<Document<project::View>>("project.view"),
        check::<Command<role::Command>>("role.command"),
        check::<Commit<role::Event>>("role.commit"),
        check::<Document<role::View>>("role.view"),
        check::<Command<session::Command>>("session.command"),
        check::<Commit<session::Event>>("session.commit"),
        check::<Document<session::View>>("session.view"),
        check::<Command<tenant::Command>>("tenant.command"),
        check::<Commit<tenant::Event>>("tenant.commit"),
        check::<Document<tenant::View>>("tenant.view"),
        check::<Outcome>("outcome"),
        check::<ClaimHolder>("claim"),
    ]
    .into_iter()
    .flatten()
    .collect();
    assert!(
        drifted.is_empty(),
        "{drifted:?} differ; if the change is additive, run `UPDATE_SCHEMAS=1 cargo test -p events-schema`"
    );
}
