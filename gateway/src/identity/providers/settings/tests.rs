use super::*;

fn parse(text: &str) -> Result<Vec<Provider>, String> {
    let requests = Requests::new(None, Vec::new()).unwrap();
    read(text, &requests).map_err(|error| format!("{error:#}"))
}

fn entry(fields: &str) -> Result<Vec<Provider>, String> {
    parse(&format!(r#"{{"providers": [{{{fields}}}]}}"#))
}

#[test]
fn a_provider_with_the_name_of_a_built_in_one_needs_an_id_and_a_secret_only() {
    for (name, title) in [
        ("google", "Google"),
        ("github", "GitHub"),
        ("facebook", "Facebook"),
    ] {
        let fields = format!(r#""name": "{name}", "client_id": "a", "client_secret": "b""#);
        let found = entry(&fields).unwrap();
        assert_eq!(found[0].title, title);
    }
    let corp = r#""name": "corp", "title": "Corp", "issuer": "https://id.corp.example",
                  "client_id": "a", "email": "authoritative""#;
    let found = entry(corp).unwrap();
    assert!(found[0].is_authoritative && found[0].title == "Corp");
    assert_eq!(found[0].kind, Kind::Oidc);
}

#[test]
fn a_wrong_file_is_refused_and_its_secrets_are_not_shown() {
    for wrong in [
        r#""name": "corp", "client_id": "a", "client_secret": "hunter2""#,
        r#""name": "Corp", "client_id": "a", "client_secret": "hunter2""#,
        r#""name": "google", "client_id": "", "client_secret": "hunter2""#,
        r#""name": "google", "client_id": "a", "client_secret": """#,
        r#""name": "google", "client_id": "a", "client_secret": ["hunter2"]"#,
        r#""name": "google", "client_id": "a", "secret": "hunter2""#,
        r#""name": "google", "client_id": "a", "client_secret": "hunter2", "client_secret_env": "X""#,
        r#""name": "google", "client_id": "a", "client_secret_env": "UB_NO_SUCH_VARIABLE""#,
        r#""name": "google", "client_id": "a", "email": "authoritative""#,
        r#""name": "corp", "client_id": "a", "issuer": "hunter2""#,
        r#""name": "github", "client_id": "a", "issuer": "http://hunter2.example""#,
        r#""name": "github", "client_id": "a", "issuer": "https://10.0.0.1""#,
        r#""name": "a", "issuer": "https://a.example", "client_id": "a", "kind": "saml""#,
        r#""name": "sso", "issuer": "https://a.example", "client_id": "a""#,
    ] {
        let error = entry(wrong).err().unwrap_or_else(|| panic!("{wrong}"));
        assert!(!error.contains("hunter2"), "{error}");
    }
    let twice = r#"{"providers": [{"name": "google", "client_id": "a"},
                                  {"name": "google", "client_id": "b"}]}"#;
    assert!(parse(twice).is_err_and(|error| error.contains("twice")));
}
