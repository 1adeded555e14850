//! Cursors of the feed and the audit log: sequences of the log.

use data_encoding::BASE64URL_NOPAD;

use crate::error::Error;

/// Sequences are below this bound: no log has so many messages. The feed can add one to a cursor
/// without an overflow.
const MAX_SEQUENCE: u64 = 1 << 62;

/// Writes a sequence as a cursor.
pub(super) fn write(sequence: u64) -> String {
    BASE64URL_NOPAD.encode(&sequence.to_be_bytes())
}

/// Reads the cursor in this input.
///
/// # Errors
/// `BadUserInput` if the text is not a cursor.
pub(super) fn read(input: &'static str, text: &str) -> Result<u64, Error> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok();
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    let sequence = bytes.map(u64::from_be_bytes);
    let sequence = sequence.filter(|sequence| *sequence < MAX_SEQUENCE);
    sequence.ok_or_else(|| {
        let message = format!("{input} must be a cursor of the feed or the audit log.");
        Error::input(input, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_anything_else_is_refused() {
        assert_eq!(read("after", &write(7)).unwrap(), 7);
        for wrong in ["", "!", "AAAA", &write(u64::MAX)] {
            assert!(read("after", wrong).is_err(), "{wrong}");
        }
    }
}
