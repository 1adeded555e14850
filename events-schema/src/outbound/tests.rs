use super::*;

fn check(url: &str, allowed: &[&str]) -> Result<(), Invalid> {
    let networks = allowed.iter().map(|text| IpNetwork::parse(text).unwrap());
    let networks: Vec<IpNetwork> = networks.collect();
    WebhookUrl::parse(url).unwrap().check(&networks)
}

#[test]
fn no_spelling_of_an_address_that_is_not_public_is_allowed() {
    let spellings = include_str!("spellings.txt").lines();
    let hosts: Vec<&str> = spellings.filter(|line| !line.starts_with('#')).collect();
    assert!(hosts.len() >= 60, "{}", hosts.len());
    for host in hosts {
        let checked = check(&format!("https://{host}/hook"), &[]);
        assert_eq!(checked, Err(NOT_PUBLIC), "{host}");
    }
}

#[test]
fn networks_are_blocked_from_their_first_address_to_their_last() {
    for (before, first, last, after) in [
        ("", "0.0.0.0", "0.255.255.255", "1.0.0.0"),
        ("9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"),
        (
            "100.63.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "100.128.0.0",
        ),
        (
            "126.255.255.255",
            "127.0.0.0",
            "127.255.255.255",
            "128.0.0.0",
        ),
        (
            "169.253.255.255",
            "169.254.0.0",
            "169.254.255.255",
            "169.255.0.0",
        ),
        (
            "172.15.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "172.32.0.0",
        ),
        ("191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"),
        ("192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"),
        (
            "192.88.98.255",
            "192.88.99.0",
            "192.88.99.255",
            "192.88.100.0",
        ),
        (
            "192.167.255.255",
            "192.168.0.0",
            "192.168.255.255",
            "192.169.0.0",
        ),
        (
            "198.17.255.255",
            "198.18.0.0",
            "198.19.255.255",
            "198.20.0.0",
        ),
        (
            "198.51.99.255",
            "198.51.100.0",
            "198.51.100.255",
            "198.51.101.0",
        ),
        (
            "203.0.112.255",
            "203.0.113.0",
            "203.0.113.255",
            "203.0.114.0",
        ),
        ("223.255.255.255", "224.0.0.0", "255.255.255.255", ""),
        ("2001:200::", "2001::", "2001:1ff:ffff::", "2001:200::"),
        (
            "2001:db7:ffff::",
            "2001:db8::",
            "2001:db8:ffff::",
            "2001:db9::",
        ),
        ("2001:ffff::", "2002::", "2002:ffff::", "2003::"),
        ("3ffe:ffff::", "3fff::", "3fff:fff:ffff::", "3fff:1000::"),
        ("2000::", "::", "1fff:ffff::", "2000::"),
        ("3fff:ffff::", "4000::", "ffff:ffff::", ""),
    ] {
        let is_global = |text: &str| is_global_unicast(text.parse().unwrap());
        assert!(!is_global(first) && !is_global(last), "{first} {last}");
        for neighbour in [before, after].into_iter().filter(|text| !text.is_empty()) {
            assert!(is_global(neighbour), "{neighbour}");
        }
    }
}

#[test]
fn a_public_address_needs_tls() {
    for host in [
        "93.184.216.34",
        "[2606:2800:220:1::]",
        "[::ffff:5db8:d822]",
        "example.com",
    ] {
        assert_eq!(
            check(&format!("https://{host}:8443/a?b=c"), &[]),
            Ok(()),
            "{host}"
        );
        assert_eq!(
            check(&format!("http://{host}/"), &[]),
            Err(NOT_ENCRYPTED),
            "{host}"
        );
    }
    let elsewhere = check("http://93.184.216.34/", &["127.0.0.0/8"]);
    assert_eq!(elsewhere, Err(NOT_ENCRYPTED));
}

#[test]
fn an_allowed_network_needs_neither_a_public_address_nor_tls() {
    for url in [
        "http://127.0.0.1:9000/",
        "https://127.1/",
        "http://[::ffff:7f00:1]/",
    ] {
        assert_eq!(check(url, &["10.0.0.0/8", "127.0.0.0/8"]), Ok(()), "{url}");
        assert_eq!(check(url, &["10.0.0.0/8"]), Err(NOT_PUBLIC), "{url}");
    }
    assert_eq!(check("http://localhost/", &["127.0.0.0/8"]), Ok(()));
    assert_eq!(check("http://localhost/", &[]), Err(NOT_ENCRYPTED));
}

#[test]
fn a_url_has_one_spelling() {
    for (given, written) in [
        ("https://EXAMPLE.com", "https://example.com/"),
        (" https://example.com:443/a/../b ", "https://example.com/b"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https:\\\\example.com\\a", "https://example.com/a"),
        ("https://0x5db8d822/", "https://93.184.216.34/"),
    ] {
        let url = WebhookUrl::parse(given).unwrap();
        assert_eq!(url.as_str(), written);
        assert_eq!(WebhookUrl::parse(written).unwrap(), url);
    }
}

#[test]
fn what_is_no_url_of_a_server_is_refused() {
    let long = format!("https://example.com/{}", "a".repeat(2029));
    for url in [
        "",
        "example.com",
        "/hook",
        "https://",
        "https:///?",
        "ftp://example.com/",
        "file:///etc/passwd",
        "data:text/plain,x",
        "https://user@example.com/",
        "https://:password@example.com/",
        "https://example.com@127.0.0.1/",
        "https://example.com/#part",
        "https://example.com/#",
        "https://exa mple.com/",
        "https://exa'mple.com/",
        "https://{example}.com/",
        "https://1.2.3.256/",
        "https://1.2.3.4.5/",
        "https://[::1/",
        "https://[fe80::1%25eth0]/",
        "https://example.com:65536/",
        &long,
    ] {
        assert!(WebhookUrl::parse(url).is_err(), "{url}");
    }
    assert!(WebhookUrl::parse(&long[..2048]).is_ok());
}

#[test]
fn urls_of_one_server_have_the_same_scheme_host_and_port() {
    let has_origin = |other: &str| {
        let url = WebhookUrl::parse("https://example.com/hooks").unwrap();
        WebhookUrl::parse(other).unwrap().has_origin_of(&url)
    };
    for same in ["https://example.com/", "https://EXAMPLE.com:443/other?x=1"] {
        assert!(has_origin(same), "{same}");
    }
    for other in [
        "http://example.com/hooks",
        "https://www.example.com/hooks",
        "https://example.com:8443/hooks",
    ] {
        assert!(!has_origin(other), "{other}");
    }
}
