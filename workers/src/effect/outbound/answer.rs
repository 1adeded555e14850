//! What is read of an answer.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{HeaderMap, body::Body, header};
use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};
use tokio::time::{Instant, timeout_at};

/// What is kept of a body, in bytes: enough for a customer to recognize the answer.
pub(super) const KEPT: usize = 4 * 1024;
/// What is read of a body, in bytes. If it ends within, the connection can be used again.
const MAX_READ: usize = 64 * 1024;

/// Returns the beginning of a body. A body that is too long, too slow or broken off is cut off.
pub(super) async fn beginning<B>(mut body: B, deadline: Instant) -> String
where
    B: Body<Data = Bytes> + Unpin,
{
    let (mut kept, mut read) = (Vec::new(), 0);
    while let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await {
        let data = frame.into_data().unwrap_or_default();
        let room = KEPT - kept.len();
        kept.extend_from_slice(&data[..room.min(data.len())]);
        read += data.len();
        if read >= MAX_READ {
            break;
        }
    }
    let text = String::from_utf8_lossy(&kept);
    // In JSON, each would take six bytes.
    text.replace(
        |c: char| c.is_control() && !"\n\r\t".contains(c),
        "\u{fffd}",
    )
}

/// Returns the time of `Retry-After`, which is in seconds or an HTTP date; `None` if it is neither.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, iter};

    use futures_util::stream;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_read_up_to_64_kib_and_no_further() {
        let mut read = 0;
        let frames = iter::repeat_with(|| {
            read += 1;
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[b'x'; 1024])))
        });
        let body = StreamBody::new(stream::iter(frames));
        let deadline = Instant::now() + Duration::from_secs(60);
        assert_eq!(beginning(body, deadline).await, "x".repeat(4 * 1024));
        assert_eq!(read, 64);
    }

    #[test]
    fn retry_after_is_in_seconds_or_a_date() {
        let now: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("0", Some(0)),
            ("120", Some(120)),
            ("Thu, 26 Nov 2026 12:01:30 GMT", Some(90)),
            ("Thu, 26 Nov 2026 11:00:00 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("99999999999999999999", None),
            ("soon", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            let expected = expected.map(Duration::from_secs);
            assert_eq!(retry_after(&headers, now), expected, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
