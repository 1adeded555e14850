//! A DNS server that answers as a test says.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hickory_resolver::proto::{
    op::{Message, ResponseCode},
    rr::{RData, Record, RecordType},
};
use tokio::net::UdpSocket;

pub struct Dns {
    pub address: SocketAddr,
    lookups: Arc<AtomicUsize>,
}

impl Dns {
    /// Answers the first question for any name with the first addresses, the next one with the next,
    /// and from then on with the last.
    pub async fn answers(script: &[&[&str]]) -> Self {
        let parse = |text: &&str| text.parse().unwrap();
        let script = script.iter().map(|step| step.iter().map(parse).collect());
        let script: Vec<Vec<IpAddr>> = script.collect();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let lookups = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&lookups);
        tokio::spawn(async move {
            let mut asked = [0; 2];
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let question = Message::from_vec(&buffer[..length]).unwrap();
                let is_ipv4 = question.queries[0].query_type() == RecordType::A;
                let step = &mut asked[usize::from(is_ipv4)];
                let addresses = &script[(*step).min(script.len() - 1)];
                *step += 1;
                counted.fetch_add(usize::from(is_ipv4), Ordering::SeqCst);
                let answer = answer(&question, addresses).to_vec().unwrap();
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        Self { address, lookups }
    }

    /// Returns how often an address was asked for.
    pub fn lookups(&self) -> usize {
        self.lookups.load(Ordering::SeqCst)
    }
}

/// The answer is valid for no time, so that nobody keeps it.
fn answer(question: &Message, addresses: &[IpAddr]) -> Message {
    let query = &question.queries[0];
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.add_query(query.clone());
    let data = addresses.iter().map(|address| RData::from(*address));
    for data in data.filter(|data| data.record_type() == query.query_type()) {
        answer.add_answer(Record::from_rdata(query.name().clone(), 0, data));
    }
    if addresses.is_empty() {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    answer
}
