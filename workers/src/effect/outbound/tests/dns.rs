//! A DNS server that answers as a test says.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use hickory_resolver::proto::{
    op::{Message, ResponseCode},
    rr::{RData, Record, RecordType, rdata::TXT},
};
use tokio::net::UdpSocket;

pub struct Dns {
    pub address: SocketAddr,
    lookups: Arc<AtomicUsize>,
    text_lookups: Arc<AtomicUsize>,
    zone: Arc<Mutex<Zone>>,
}

#[derive(Default)]
struct Zone {
    texts: HashMap<String, Vec<String>>,
    is_silent: bool,
}

impl Dns {
    /// Answers the first question for any name with the first addresses, the next one with the
    /// next, and from then on with the last.
    pub async fn answers(script: &[&[&str]]) -> Self {
        let parse = |text: &&str| text.parse().unwrap();
        let script = script.iter().map(|step| step.iter().map(parse).collect());
        let script: Vec<Vec<IpAddr>> = script.collect();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let lookups = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&lookups);
        let text_lookups = Arc::new(AtomicUsize::new(0));
        let counted_texts = Arc::clone(&text_lookups);
        let zone = Arc::<Mutex<Zone>>::default();
        let shared = Arc::clone(&zone);
        tokio::spawn(async move {
            let mut asked = [0; 2];
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let question = Message::from_vec(&buffer[..length]).unwrap();
                let query = &question.queries[0];
                let data = if query.query_type() == RecordType::TXT {
                    counted_texts.fetch_add(1, Ordering::SeqCst);
                    shared.lock().unwrap().texts_of(&query.name().to_ascii())
                } else {
                    let is_ipv4 = query.query_type() == RecordType::A;
                    let step = &mut asked[usize::from(is_ipv4)];
                    let addresses = &script[(*step).min(script.len() - 1)];
                    *step += 1;
                    counted.fetch_add(usize::from(is_ipv4), Ordering::SeqCst);
                    addresses
                        .iter()
                        .map(|address| RData::from(*address))
                        .collect()
                };
                if shared.lock().unwrap().is_silent {
                    continue;
                }
                let answer = answer(&question, data).to_vec().unwrap();
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        Self {
            address,
            lookups,
            text_lookups,
            zone,
        }
    }

    /// Gives a name a further text, in parts as DNS needs them.
    pub fn publishes(&self, name: &str, text: &str) {
        let mut zone = self.zone.lock().unwrap();
        let texts = zone.texts.entry(name.to_owned()).or_default();
        texts.push(text.to_owned());
    }

    /// Takes all texts of a name away.
    pub fn withdraws(&self, name: &str) {
        self.zone.lock().unwrap().texts.remove(name);
    }

    /// Answers nothing from now on.
    pub fn falls_silent(&self) {
        self.zone.lock().unwrap().is_silent = true;
    }

    /// Returns how often an address was asked for.
    pub fn lookups(&self) -> usize {
        self.lookups.load(Ordering::SeqCst)
    }
}

impl Dns {
    /// Returns how often texts were asked for.
    #[allow(
        dead_code,
        reason = "some tests that include this file do not count them"
    )]
    pub fn text_lookups(&self) -> usize {
        self.text_lookups.load(Ordering::SeqCst)
    }
}

impl Zone {
    fn texts_of(&self, name: &str) -> Vec<RData> {
        let texts = self.texts.get(&name.trim_end_matches('.').to_lowercase());
        let parts = |text: &String| {
            let parts = text.as_bytes().chunks(100);
            parts
                .map(|part| String::from_utf8(part.to_vec()).unwrap())
                .collect()
        };
        let texts = texts.into_iter().flatten();
        texts
            .map(|text| RData::TXT(TXT::new(parts(text))))
            .collect()
    }
}

/// The answer is valid for no time, so that nobody keeps it.
fn answer(question: &Message, data: Vec<RData>) -> Message {
    let query = &question.queries[0];
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.add_query(query.clone());
    let is_empty = data.is_empty();
    let of_type = |data: &RData| data.record_type() == query.query_type();
    for data in data.into_iter().filter(of_type) {
        answer.add_answer(Record::from_rdata(query.name().clone(), 0, data));
    }
    if is_empty {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    answer
}
