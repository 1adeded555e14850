//! Servers with TLS.

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    },
};

use super::*;

/// A certificate for `hooks.example` that is valid until the end of this year, and its server.
async fn server(last_year: i32) -> (Server, CertificateDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["hooks.example".to_owned()]).unwrap();
    params.not_after = date_time_ymd(last_year, 12, 31);
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        );
    let tls = TlsAcceptor::from(Arc::new(config.unwrap()));
    (Server::answers_with_tls(tls, OK).await, certificate)
}

fn trusting(certificate: CertificateDer<'static>, dns: &Dns) -> Outbound {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let options = options(&["127.0.0.1"], Some(dns.address));
    Outbound::with_roots(&options, roots).unwrap()
}

#[tokio::test]
async fn a_server_with_a_trusted_certificate_for_its_name_is_used() {
    let dns = Dns::answers(&[&["127.0.0.1"]]).await;
    let (server, certificate) = server(2100).await;
    let client = trusting(certificate, &dns);
    let url = server.named_url("https", "hooks.example");

    let answer = answered(&client, &url).await;
    assert_eq!(
        (answer.status, answer.address),
        (StatusCode::OK, server.address)
    );

    for (url, reason) in [
        (
            server.named_url("https", "other.example"),
            "not valid for name",
        ),
        (server.named_url("https", "127.0.0.1"), "not valid for name"),
    ] {
        let failure = failed(&client, &url).await;
        assert!(matches!(failure, Failure::Tls(_)), "{failure:?}");
        assert!(failure.to_string().contains(reason), "{failure}");
    }
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_server_without_a_valid_certificate_gets_no_request() {
    let dns = Dns::answers(&[&["127.0.0.1"]]).await;
    let (unknown, _) = server(2100).await;
    let (expired, certificate) = server(2020).await;
    for (server, client, reason) in [
        (
            &unknown,
            client(&["127.0.0.1"], Some(&dns)),
            "UnknownIssuer",
        ),
        (&expired, trusting(certificate, &dns), "expired"),
    ] {
        let failure = failed(&client, &server.named_url("https", "hooks.example")).await;
        assert!(matches!(failure, Failure::Tls(_)), "{failure:?}");
        assert!(failure.to_string().contains(reason), "{failure}");
        assert!(server.requests().is_empty());
    }
}

#[tokio::test]
async fn a_server_without_tls_gets_no_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let received = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        let mut received = Vec::new();
        // The client may also reset the connection, since it has not read everything.
        let _end = stream.read_to_end(&mut received).await;
        received
    });
    let failure = failed(&client(&["127.0.0.1"], None), &url).await;
    assert!(matches!(failure, Failure::Tls(_)), "{failure:?}");
    let received = received.await.unwrap();
    assert!(!received.windows(4).any(|part| part == b"POST"));
}
