//! The monitor of a worker process.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{COMMANDS_AND_VIEWS, World, eventually};

/// Returns a port that nobody listens on.
pub async fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    free.local_addr().unwrap().port()
}

/// Asks the monitor; returns the status and the body, or nothing if it does not answer.
pub async fn ask(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_ready_while_its_servers_answer_and_its_messages_arrive() {
    let mut world = World::start().await;
    let port = free_port().await;
    let listen = format!("127.0.0.1:{port}");
    let monitored = [COMMANDS_AND_VIEWS, &["--monitor-listen", &listen]].concat();
    let [_worker] = world.workers(&monitored).await;

    eventually("readiness", || async {
        ask(port, "/readyz")
            .await
            .is_some_and(|(status, _)| status == 200)
    })
    .await;
    let (_, parts) = ask(port, "/readyz").await.unwrap();
    for part in [
        r#""nats":true"#,
        r#""mongo":true"#,
        r#""commands_account":true"#,
        r#""views_membership":true"#,
    ] {
        assert!(parts.contains(part), "{parts}");
    }
    let (_, metrics) = ask(port, "/metrics").await.unwrap();
    let decided = r#"messaging_process_duration_seconds_count{consumer="commands_account""#;
    assert!(metrics.contains(decided), "{metrics}");

    world.servers.nats[0].kill().await.unwrap();
    eventually("the loss of NATS", || async {
        ask(port, "/readyz")
            .await
            .is_some_and(|(status, parts)| status == 503 && parts.contains(r#""nats":false"#))
    })
    .await;
    assert_eq!(ask(port, "/livez").await.unwrap().0, 200);
    world.servers.nats[0].restart().await.unwrap();
    eventually("readiness after the restart", || async {
        ask(port, "/readyz")
            .await
            .is_some_and(|(status, _)| status == 200)
    })
    .await;
}
