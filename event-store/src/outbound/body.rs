//! The body of a request, which is not sent any more after its deadline.
//!
//! A process may be stopped while it connects. When it goes on, the connection is there, but the
//! time for the request is over. The client would still send it, and only then look at the clock.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;

/// A body that breaks off at its deadline. Nothing of the request is written before it is asked
/// for its first part.
pub struct TimedBody {
    body: Full<Bytes>,
    deadline: Instant,
}

/// The deadline has passed.
#[derive(Debug, thiserror::Error)]
#[error("there is no time left for the request")]
pub struct TooLate;

impl TimedBody {
    /// Returns a body to be sent before this deadline.
    pub fn new(body: Bytes, deadline: Instant) -> Self {
        Self {
            body: Full::new(body),
            deadline,
        }
    }
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = TooLate;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TooLate>>> {
        if Instant::now() >= self.deadline {
            return Poll::Ready(Some(Err(TooLate)));
        }
        let frame = Pin::new(&mut self.body).poll_frame(context);
        frame.map(|frame| frame.map(|frame| frame.map_err(|never: Infallible| match never {})))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::time::Duration;

    use super::*;

    #[tokio::test]
    async fn nothing_is_sent_after_the_deadline() {
        let text = Bytes::from_static(b"event");
        let in_time = TimedBody::new(text.clone(), Instant::now() + Duration::from_secs(60));
        assert_eq!(in_time.collect().await.unwrap().to_bytes(), text);
        let late = TimedBody::new(text, Instant::now());
        assert!(late.collect().await.is_err());
    }
}
