//! Questions of gateways about payments, and the answers of workers.

use async_nats::RequestErrorKind;
use futures_util::StreamExt as _;
use servers::Role::{Effects, Gateway, Workers};
use tokio::time::timeout;

use crate::{
    broker::{Broker, LIMIT},
    table::LIMITED,
};

/// The subscription of the workers that have the key of Stripe.
const ASKS: &str = "ask.*.billing.*";

#[tokio::test]
async fn a_question_about_payments_goes_to_one_worker_and_its_answer_to_the_gateway() {
    let broker = Broker::start().await;
    for role in LIMITED {
        let mut user = broker.connect(role).await;
        // Outside the group, a user would read along.
        assert_eq!(user.unreadable(&[ASKS]).await, [ASKS], "{role:?}");
    }
    let gateway = broker.connect(Gateway).await.client;
    for role in [Workers, Effects] {
        let mut user = broker.connect(role).await;
        let questions = user.client.queue_subscribe(ASKS, "effects".to_owned());
        let mut questions = questions.await.unwrap();
        // The server has seen the subscription when it has refused another one.
        assert_eq!(user.unreadable(&[ASKS]).await, [ASKS], "{role:?}");
        let answer = async {
            let question = timeout(LIMIT, questions.next()).await.unwrap().unwrap();
            let reply = question.reply.unwrap();
            assert!(!reply.starts_with("_INBOX_gateway"), "{reply}");
            user.client.publish(reply, "answer".into()).await.unwrap();
        };
        let asked = gateway.request("ask.a.billing.cards", "question".into());
        let (asked, ()) = tokio::join!(asked, answer);
        assert_eq!(asked.unwrap().payload, "answer", "{role:?}");
    }
}

#[tokio::test]
async fn a_question_that_no_worker_answers_fails_at_once() {
    let broker = Broker::start().await;
    let gateway = broker.connect(Gateway).await.client;
    let asked = gateway.request("ask.a.billing.cards", "".into()).await;
    assert_eq!(asked.unwrap_err().kind(), RequestErrorKind::NoResponders);
}
