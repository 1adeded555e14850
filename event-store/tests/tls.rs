//! TLS to NATS and MongoDB, with certificates on both sides, on real servers.

#![allow(clippy::unwrap_used, reason = "a test binary panics when it fails")]

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use event_store::{Mongo, MongoOptions, NatsOptions};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::sleep,
};

const DEADLINE: Duration = Duration::from_secs(30);
const PASSWORD: &str = "p0123456789";

/// Certificates of two authorities, in files: `ca.pem`, `server.pem` and `client.pem` of our own,
/// and `other-ca.pem` and `other-client.pem` of a stranger. Servers and clients have their keys in
/// the same file.
struct Certificates(TempDir);

impl Certificates {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let own = folder.authority("ca");
        folder.certificate("server", &own, ExtendedKeyUsagePurpose::ServerAuth);
        folder.certificate("client", &own, ExtendedKeyUsagePurpose::ClientAuth);
        let other = folder.authority("other-ca");
        folder.certificate("other-client", &other, ExtendedKeyUsagePurpose::ClientAuth);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.pem"))
    }

    fn authority(&self, name: &str) -> Issuer<'static, KeyPair> {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(self.path(name), certificate.pem()).unwrap();
        Issuer::new(params, key)
    }

    fn certificate(
        &self,
        name: &str,
        authority: &Issuer<'static, KeyPair>,
        usage: ExtendedKeyUsagePurpose,
    ) {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, authority).unwrap();
        let both = certificate.pem() + &key.serialize_pem();
        fs::write(self.path(name), both).unwrap();
    }
}

/// A server on a port of its own, which ends with its test.
struct Server {
    port: u16,
    _process: Child,
    _folder: TempDir,
}

impl Server {
    async fn start(program: &Path, arguments: impl FnOnce(u16, &Path) -> Vec<String>) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        let process = Command::new(program)
            .args(arguments(port, folder.path()))
            .envs(servers::Role::ALL.map(|role| {
                let user = role.as_str().to_uppercase();
                (format!("UB_NATS_{user}_PASSWORD"), PASSWORD)
            }))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(
                start.elapsed() < DEADLINE,
                "{} does not start",
                program.display()
            );
            sleep(Duration::from_millis(20)).await;
        }
        Self {
            port,
            _process: process,
            _folder: folder,
        }
    }
}

/// A nats-server with the configuration of production that asks for certificates of our authority.
async fn nats_server(files: &Certificates) -> Server {
    let (program, _) = servers::programs().await.unwrap();
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../nats.conf");
    let (server, ca) = (files.path("server"), files.path("ca"));
    let (server, ca) = (server.to_str().unwrap(), ca.to_str().unwrap());
    Server::start(&program, |port, folder| {
        let (port, folder) = (port.to_string(), folder.to_str().unwrap());
        let place = ["-c", config, "-p", &port, "-m", "-1", "-sd", folder];
        let tls = [
            "--tlscert",
            server,
            "--tlskey",
            server,
            "--tlscacert",
            ca,
            "--tlsverify",
        ];
        [&place[..], &tls]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect()
    })
    .await
}

async fn mongod(files: &Certificates) -> Server {
    let (_, program) = servers::programs().await.unwrap();
    let (server, ca) = (files.path("server"), files.path("ca"));
    let (server, ca) = (server.to_str().unwrap(), ca.to_str().unwrap());
    Server::start(&program, |port, folder| {
        let (port, folder) = (port.to_string(), folder.to_str().unwrap());
        let place = ["--port", &port, "--dbpath", folder, "--nounixsocket"];
        let tls = ["--tlsMode", "requireTLS", "--tlsCAFile", ca];
        let certificate = ["--tlsCertificateKeyFile", server];
        [&place[..], &tls, &certificate]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect()
    })
    .await
}

/// Whether the workers' user connects, with these files.
async fn reaches_nats(
    files: &Certificates,
    server: &Server,
    ca: Option<&str>,
    client: Option<&str>,
) -> bool {
    let client = client.map(|name| files.path(name));
    let options = NatsOptions {
        nats_url: format!("tls://workers:{PASSWORD}@127.0.0.1:{}", server.port),
        nats_ca_file: ca.map(|name| files.path(name)),
        nats_certificate_file: client.clone(),
        nats_key_file: client,
    };
    let connected = event_store::connect(&options, "workers").await;
    connected.is_ok()
}

#[tokio::test]
async fn nats_is_reached_with_the_right_certificates_only() {
    let files = Certificates::new();
    let server = nats_server(&files).await;
    let reaches = async |ca, client| reaches_nats(&files, &server, ca, client).await;
    assert!(reaches(Some("ca"), Some("client")).await);
    assert!(
        !reaches(Some("other-ca"), Some("client")).await,
        "another authority"
    );
    assert!(
        !reaches(None, Some("client")).await,
        "the authorities of the system"
    );
    assert!(!reaches(Some("ca"), None).await, "no certificate");
    assert!(
        !reaches(Some("ca"), Some("other-client")).await,
        "a stranger's certificate"
    );
}

#[tokio::test]
async fn no_password_is_sent_to_a_nats_server_without_tls() {
    let files = Certificates::new();
    let folder = tempfile::tempdir().unwrap();
    let passwords = servers::Passwords::random().unwrap();
    let plain = servers::NatsServer::start(folder.path(), &passwords)
        .await
        .unwrap();
    for (scheme, ca) in [("tls", None), ("nats", Some("ca")), ("tls", Some("ca"))] {
        let url = plain
            .url(servers::Role::Workers)
            .replace("nats://", &format!("{scheme}://"));
        let options = NatsOptions {
            nats_url: url,
            nats_ca_file: ca.map(|name| files.path(name)),
            ..NatsOptions::default()
        };
        let connected = event_store::connect(&options, "workers").await;
        assert!(connected.is_err(), "{scheme} {ca:?}");
    }
}

#[tokio::test]
async fn mongodb_is_reached_with_the_right_certificates_only() {
    let files = Certificates::new();
    let server = mongod(&files).await;
    let reaches = async |options: &str| {
        let words = options.split(' ').map(|word| match word.split_once('=') {
            Some((name, file)) => format!("&{name}={}", files.path(file).display()),
            None => format!("&tls={word}"),
        });
        let options: String = words.collect();
        let options = MongoOptions {
            mongo_url: format!(
                "mongodb://127.0.0.1:{}/?directConnection=true{options}",
                server.port
            ),
            mongo_database: "test".to_owned(),
            mongo_hosts: Vec::new(),
        };
        let mongo = Mongo::connect(&options, "test").await.unwrap();
        mongo.ping().await.is_ok()
    };
    let right = "true tlsCAFile=ca tlsCertificateKeyFile=client";
    assert!(reaches(right).await);
    for wrong in [
        "true tlsCAFile=other-ca tlsCertificateKeyFile=client",
        // The authorities of the web.
        "true tlsCertificateKeyFile=client",
        "true tlsCAFile=ca",
        "true tlsCAFile=ca tlsCertificateKeyFile=other-client",
        "false",
    ] {
        assert!(!reaches(wrong).await, "{wrong}");
    }
}
