//! A DNS server that answers what a test publishes: texts of names.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::net::UdpSocket;

const HEADER: usize = 12;

/// It listens as long as the process lives.
#[derive(Clone)]
pub struct Dns {
    pub address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

#[derive(Default)]
struct Zone {
    texts: HashMap<String, String>,
    is_silent: bool,
}

impl Dns {
    pub async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let zone = Arc::<Mutex<Zone>>::default();
        let shared = Arc::clone(&zone);
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let answer = answer(&buffer[..length], &shared.lock().unwrap());
                if let Some(answer) = answer {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        Self { address, zone }
    }

    pub fn publishes(&self, name: &str, text: &str) {
        let mut zone = self.zone.lock().unwrap();
        zone.texts.insert(name.to_owned(), text.to_owned());
    }

    /// Answers nothing from now on.
    pub fn falls_silent(&self) {
        self.zone.lock().unwrap().is_silent = true;
    }
}

/// Answers one question; `None` while the server is silent. Nobody may keep the answer.
fn answer(question: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    if zone.is_silent {
        return None;
    }
    let (name, end) = name(question);
    let text = zone.texts.get(&name);
    let code = if text.is_some() { 0 } else { 3 };
    let mut answer = question[..2].to_vec();
    answer.extend([
        0x85,
        0x80 | code,
        0,
        1,
        0,
        u8::from(text.is_some()),
        0,
        0,
        0,
        0,
    ]);
    // The name, its type and its class.
    answer.extend(&question[HEADER..end + 4]);
    if let Some(text) = text {
        let length = u8::try_from(text.len()).unwrap();
        // The name again, TXT, IN, valid for no time, and the text behind its length.
        answer.extend([0xc0, 0x0c, 0, 16, 0, 1, 0, 0, 0, 0, 0, length + 1, length]);
        answer.extend(text.as_bytes());
    }
    Some(answer)
}

/// The name that is asked for, and where it ends.
fn name(question: &[u8]) -> (String, usize) {
    let (mut labels, mut at) = (Vec::new(), HEADER);
    while question[at] > 0 {
        let label = &question[at + 1..=at + usize::from(question[at])];
        labels.push(String::from_utf8(label.to_vec()).unwrap().to_lowercase());
        at += 1 + label.len();
    }
    (labels.join("."), at + 1)
}
