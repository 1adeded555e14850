use super::*;

#[test]
fn a_link_or_host_in_a_text_is_found() {
    for link in [
        "Win at evil.example",
        "https://localhost",
        "evil.example/login",
        "(www.evil.example)",
        "evil.example.",
        "a@evil.example",
        "Acme,evil.example",
        "Prize:evil.example",
        "Prize/evil.example",
        "evil.xn--p1ai",
        "www.evil.com-now",
    ] {
        assert!(has_link(link), "{link}");
    }
    for name in [
        "Acme Inc.",
        "Dr. Ada",
        "A.B. & Co.",
        "3.14",
        "St.",
        "J. R. R. Tolkien",
        "…",
    ] {
        assert!(!has_link(name), "{name}");
    }
}

#[test]
fn an_address_is_lower_cased_and_trimmed() {
    assert_eq!(
        EmailAddress::parse(" Ada.Love+x@Example.COM ")
            .unwrap()
            .as_str(),
        "ada.love+x@example.com"
    );
}

#[test]
fn a_malformed_address_is_refused() {
    let long = format!("{}@example.com", "a".repeat(65));
    let longer = format!("a@{}.com", "a.".repeat(130));
    for wrong in [
        "",
        "a",
        "@",
        "a@",
        "@b.c",
        "a@b",
        "a@b..c",
        "a@-b.c",
        "a@b-.c",
        "a b@c.d",
        "a@b.c\n",
        "a\u{0}@b.c",
        "a..b@c.d",
        ".a@b.c",
        "a@b@c.d ,x",
        "\"a\"@b.c",
        "ä@b.c",
        "a@bücher.de",
        "a@b.c,d@e.f",
        "a@[127.0.0.1]",
        "a@b.c\r\nBcc: x@y.z",
        &long,
        &longer,
    ] {
        assert!(EmailAddress::parse(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_name_keeps_any_script_and_refuses_control_characters() {
    assert_eq!(PersonName::parse("  Zoë 李 ").unwrap().as_str(), "Zoë 李");
    for wrong in ["", "   ", "a\nb", "a\u{0}b", "a\u{202E}b", &"x".repeat(101)] {
        assert!(PersonName::parse(wrong).is_err(), "{wrong:?}");
    }
    assert!(PersonName::parse(&"李".repeat(100)).is_ok());
}

#[test]
fn a_device_is_cleaned_and_never_refused() {
    assert_eq!(Device::from_user_agent("cu\u{0}rl\n").as_str(), "curl");
    assert_eq!(Device::from_user_agent(" ").as_str(), "unknown");
    assert_eq!(
        Device::from_user_agent(&"x".repeat(999)).as_str().len(),
        200
    );
}

#[test]
fn a_description_may_have_several_lines() {
    assert_eq!(Description::parse(" a\n\tb ").unwrap().as_str(), "a\n\tb");
    for wrong in ["a\u{0}", "\u{202E}b", &"x".repeat(10_001)] {
        assert!(Description::parse(wrong).is_err());
    }
}

#[test]
fn a_password_hash_is_not_printed() {
    let hash = PasswordHash::parse("$argon2id$v=19$secret").unwrap();
    assert!(!format!("{hash:?}").contains("secret"));
}

#[test]
fn a_text_of_another_service_becomes_a_name_by_dropping_what_no_name_has() {
    let shortened = |text: &str| Name::shortened(text).map(String::from);
    assert_eq!(shortened(" Oil\u{202E} it\n "), Some("Oil it".to_owned()));
    assert_eq!(shortened(&"李".repeat(100)), Some("李".repeat(100)));
    assert_eq!(shortened(&"李".repeat(101)), Some("李".repeat(99) + "…"));
    for empty in ["", " \n", "\u{200B}"] {
        assert_eq!(shortened(empty), None);
    }
}

#[test]
fn a_reason_has_1_to_500_characters_on_one_line() {
    let reason = |text: &str| Reason::parse(text).map(String::from);
    assert_eq!(reason(" A friend ").as_deref(), Ok("A friend"));
    assert!(reason(&"é".repeat(500)).is_ok());
    for wrong in ["", "  ", "two\nlines", &"é".repeat(501)] {
        assert!(reason(wrong).is_err(), "{wrong}");
    }
}
