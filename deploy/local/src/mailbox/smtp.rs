//! The SMTP side of the mailbox: accepts connections, and keeps the mails that they send.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use mailin::{
    Action, Handler, Response, Session, SessionBuilder,
    response::{NO_STORAGE, OK},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::Mailbox;

/// Maximum bytes of a mail, as at most mail servers. Our mails have no attachments.
pub(super) const MESSAGE_BYTES: usize = 10 * 1024 * 1024;
/// Maximum bytes of a line. RFC 5321 allows 1,000, but some programs write a paragraph in one line.
pub(super) const LINE_BYTES: u64 = 64 * 1024;
/// Maximum recipients of a mail: the number that RFC 5321 requires every server to accept.
pub(super) const RECIPIENTS: usize = 100;
/// Maximum connections at once; more wait. A worker opens a few.
pub(super) const CONNECTIONS: usize = 64;
/// How long a connection may be idle (RFC 5321, 4.5.3.2.7).
const IDLE: Duration = Duration::from_secs(5 * 60);
/// Pause after a failed accept: it mostly means that file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Mailbox {
    /// Receives mail until `shutdown`. A mail that is not complete by then is not kept.
    ///
    /// # Errors
    /// Never: an error of a connection ends that connection.
    pub async fn serve_smtp(
        self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut sessions = JoinSet::new();
        while let Some(accepted) = shutdown
            .run_until_cancelled(accept(&listener, &places))
            .await
        {
            let (stream, ip, place) = accepted?;
            let mailbox = self.clone();
            sessions.spawn(async move {
                if let Err(error) = mailbox.converse(stream, ip).await {
                    tracing::debug!(%error, "an SMTP connection broke");
                }
                drop(place);
            });
            while sessions.try_join_next().is_some() {}
        }
        Ok(())
    }

    async fn converse(self, stream: TcpStream, ip: IpAddr) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let mailbox = self.clone();
        let delivery = Delivery {
            mailbox: self,
            from: String::new(),
            to: Vec::new(),
            data: Vec::new(),
            too_large: false,
        };
        let mut session = SessionBuilder::new("localhost").build(ip, delivery);
        let mut response = session.greeting();
        let mut line = Vec::new();
        loop {
            let mut answer = Vec::new();
            response.write_to(&mut answer)?;
            timeout(IDLE, stream.write_all(&answer)).await??;
            if response.action == Action::Close {
                return Ok(());
            }
            response = next(&mut session, &mut stream, &mut line).await?;
            mailbox.wait_while_stalled(&line).await;
        }
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> anyhow::Result<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await?;
    loop {
        match listener.accept().await {
            Ok((stream, address)) => return Ok((stream, address.ip(), place)),
            Err(error) => {
                tracing::warn!(%error, "an SMTP connection was not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Reads lines until one needs an answer.
async fn next(
    session: &mut Session<Delivery>,
    stream: &mut BufReader<TcpStream>,
    line: &mut Vec<u8>,
) -> io::Result<Response> {
    loop {
        line.clear();
        let Ok(read) = timeout(
            IDLE,
            (&mut *stream).take(LINE_BYTES).read_until(b'\n', line),
        )
        .await
        else {
            return Ok(Response::custom(421, "Idle for too long".to_owned()));
        };
        if read? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !line.ends_with(b"\n") {
            return Ok(Response::custom(
                421,
                "Line too long, or incomplete".to_owned(),
            ));
        }
        let mut response = session.process(line);
        if response.is_error && line == b".\r\n" {
            // After a refusal the session still expects data. Only a new one reads commands again.
            response.action = Action::Close;
        }
        if response.action != Action::NoReply {
            return Ok(response);
        }
    }
}

/// The mail that a connection is sending.
struct Delivery {
    mailbox: Mailbox,
    from: String,
    to: Vec<String>,
    data: Vec<u8>,
    too_large: bool,
}

impl Delivery {
    fn refusal(&self) -> Option<Response> {
        let code = self.mailbox.refusal()?;
        Some(Response::custom(code, "Refused, as requested".to_owned()))
    }
}

impl Handler for Delivery {
    fn mail(&mut self, _ip: IpAddr, _domain: &str, from: &str) -> Response {
        from.clone_into(&mut self.from);
        self.to.clear();
        OK
    }

    fn rcpt(&mut self, to: &str) -> Response {
        if let Some(refusal) = self.refusal() {
            return refusal;
        }
        if self.to.len() == RECIPIENTS {
            return Response::custom(452, "Too many recipients".to_owned());
        }
        self.to.push(to.to_owned());
        OK
    }

    fn data_start(
        &mut self,
        _domain: &str,
        _from: &str,
        _is8bit: bool,
        _to: &[String],
    ) -> Response {
        self.data.clear();
        self.too_large = false;
        self.refusal().unwrap_or(OK)
    }

    fn data(&mut self, line: &[u8]) -> io::Result<()> {
        self.too_large |= self.data.len() + line.len() > MESSAGE_BYTES;
        if !self.too_large {
            self.data.extend_from_slice(line);
        }
        Ok(())
    }

    fn data_end(&mut self) -> Response {
        if self.too_large {
            self.data = Vec::new();
            return NO_STORAGE;
        }
        if let Some(refusal) = self.refusal() {
            return refusal;
        }
        self.mailbox.keep(
            std::mem::take(&mut self.from),
            std::mem::take(&mut self.to),
            &std::mem::take(&mut self.data),
        );
        OK
    }
}
