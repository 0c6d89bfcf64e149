//! Server-sent events, as they come from a master: bytes to events.

use reqwest::Response;

use crate::error::Result;

/// The most bytes of one event: a status document of the largest job fits many times.
const EVENT_LIMIT_BYTES: usize = 16 << 20;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// Where the stream goes on behind it.
    pub(crate) id: Option<String>,
    /// What it is about.
    pub(crate) name: String,
    /// A JSON object.
    pub(crate) data: String,
}

/// A stream of events under way.
pub(crate) struct Events {
    answer: Response,
    parser: Parser,
}

impl Events {
    /// The events of an answer.
    pub(crate) fn new(answer: Response) -> Self {
        Self { answer, parser: Parser::default() }
    }

    /// The next event; `None` where the stream ends, in order or not.
    ///
    /// It may be dropped while it waits: nothing that has come is lost.
    ///
    /// # Errors
    /// Where it is no stream of events.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.parser.next() {
                return Ok(Some(event));
            }
            match self.answer.chunk().await {
                Ok(Some(bytes)) => self.parser.push(&bytes)?,
                Ok(None) | Err(_) => return Ok(None),
            }
        }
    }
}

/// Lines to events; a comment is a sign of life and no event.
#[derive(Debug, Default)]
struct Parser {
    bytes: Vec<u8>,
    event: Event,
}

impl Parser {
    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() + self.event.data.len() > EVENT_LIMIT_BYTES {
            return Err(crate::error::Error::new(
                crate::error::Exit::Other,
                minispark_engine::error::Code::Internal,
                "an event of the server is too large",
            ));
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Event> {
        while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if !event.data.is_empty() {
                    return Some(event);
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => self.event.id = Some(value.to_owned()),
                "event" => value.clone_into(&mut self.event.name),
                "data" => {
                    if !self.event.data.is_empty() {
                        self.event.data.push('\n');
                    }
                    self.event.data.push_str(value);
                }
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, Parser};

    fn events(pieces: &[&str]) -> Vec<Event> {
        let mut parser = Parser::default();
        let mut found = Vec::new();
        for piece in pieces {
            parser.push(piece.as_bytes()).unwrap();
            found.extend(std::iter::from_fn(|| parser.next()));
        }
        found
    }

    fn event(id: &str, name: &str, data: &str) -> Event {
        Event { id: Some(id.to_owned()), name: name.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn events_come_whole_however_their_bytes_come() {
        let text = "retry: 2000\n\nid: 7-1\nevent: job\ndata: {\"a\":1}\n\n: hb\n\nid:7-2\r\nevent:end\r\ndata:{}\r\n\r\n";
        let expected = [event("7-1", "job", "{\"a\":1}"), event("7-2", "end", "{}")];
        assert_eq!(events(&[text]), expected);
        let pieces: Vec<String> = text.chars().map(String::from).collect();
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        assert_eq!(events(&pieces), expected);
    }

    #[test]
    fn what_is_cut_off_is_no_event() {
        assert_eq!(events(&["id: 7-1\nevent: job\ndata: {}\n"]), []);
    }
}
