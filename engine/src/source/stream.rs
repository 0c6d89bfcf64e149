//! [`TextStream`]: the text of a file that is compressed or in another encoding than UTF-8.
//!
//! It is read from its start to its end, in bounded memory: what comes out is UTF-8, and where the
//! file has something that is no character of its encoding, a byte that no UTF-8 has. So that is a
//! bad row like any other text that is none.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use encoding_rs::{Decoder, DecoderResult, UTF_16BE, UTF_16LE, WINDOWS_1252};

use crate::{
    Error, Result,
    formats::intake::{Encoding, Intake},
    source::blocks::PinnedFile,
};

/// How many bytes of another encoding are taken at once.
const PIECE_BYTES: usize = 64 << 10;
/// What stands for something that is no character; no UTF-8 has it.
const NO_CHARACTER: u8 = 0xff;

/// The text of a file, from its start.
pub(crate) struct TextStream {
    file: Arc<PinnedFile>,
    bytes: Box<dyn Read + Send>,
    /// How many bytes of the file were taken.
    taken: Arc<AtomicU64>,
}

impl TextStream {
    /// The text of `file`, taken in like this.
    ///
    /// # Errors
    /// [`Error::Io`] where the codec can't begin.
    pub(crate) fn open(file: &Arc<PinnedFile>, intake: &Intake) -> Result<Self> {
        let path = &file.planned().path;
        let taken = Arc::<AtomicU64>::default();
        let raw = FileBytes { file: Arc::clone(file), taken: Arc::clone(&taken) };
        let plain = intake.compression_of(path).reader(raw).map_err(Error::io("read", path))?;
        let bytes: Box<dyn Read + Send> = match Transcoder::of(intake.encoding) {
            None => plain,
            Some(transcoder) => Box::new(Transcoded {
                input: plain,
                transcoder,
                piece: vec![0; PIECE_BYTES],
                text: Vec::new(),
                given: 0,
                has_ended: false,
            }),
        };
        Ok(Self { file: Arc::clone(file), bytes, taken })
    }

    /// How many bytes of the file were taken so far.
    pub(crate) fn taken_bytes(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Fills `buffer` as far as the text goes; less than all of it is the end.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for bytes that are not what was compressed; `InputChanged`, `Io`.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.bytes.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.error(error)),
            }
        }
        Ok(filled)
    }

    fn error(&self, error: io::Error) -> Error {
        // A file that has become another one is no corrupt one.
        if let Err(changed) = self.file.check() {
            return changed;
        }
        let path = &self.file.planned().path;
        match error.kind() {
            io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::Other => Error::Corrupt {
                what: path.display().to_string(),
                reason: format!(
                    "it can't be decompressed: {error} (where it is not compressed, set \
                     `compression` to `none`)"
                ),
            },
            _ => Error::io("read", path)(error),
        }
    }
}

/// A file's bytes, one after the other.
struct FileBytes {
    file: Arc<PinnedFile>,
    taken: Arc<AtomicU64>,
}

impl Read for FileBytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let position = self.taken.load(Ordering::Relaxed);
        let left = self.file.planned().size_bytes.saturating_sub(position);
        let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = self.file.read_some(&mut buffer[..wanted], position)?;
        self.taken.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Makes UTF-8 of another encoding.
enum Transcoder {
    Latin1,
    Of(Box<Decoder>),
    /// UTF-16 whose byte order is told by its first two bytes.
    Utf16 {
        head: Vec<u8>,
    },
}

impl Transcoder {
    fn of(encoding: Encoding) -> Option<Self> {
        let decoder = |of: &'static encoding_rs::Encoding| {
            Self::Of(Box::new(of.new_decoder_with_bom_removal()))
        };
        Some(match encoding {
            Encoding::Utf8 => return None,
            Encoding::Latin1 => Self::Latin1,
            Encoding::Windows1252 => {
                Self::Of(Box::new(WINDOWS_1252.new_decoder_without_bom_handling()))
            }
            Encoding::Utf16 => Self::Utf16 { head: Vec::new() },
            Encoding::Utf16Le => decoder(UTF_16LE),
            Encoding::Utf16Be => decoder(UTF_16BE),
        })
    }

    /// Appends the text of `bytes`, which are the last ones or not.
    fn append(&mut self, bytes: &[u8], is_last: bool, text: &mut Vec<u8>) {
        match self {
            Self::Latin1 => {
                for byte in bytes {
                    let mut character = [0; 2];
                    text.extend_from_slice(
                        char::from(*byte).encode_utf8(&mut character).as_bytes(),
                    );
                }
            }
            Self::Of(decoder) => decode(decoder, bytes, is_last, text),
            Self::Utf16 { head } => {
                head.extend_from_slice(bytes);
                if head.len() < 2 && !is_last {
                    return;
                }
                let encoding = if head.starts_with(&[0xfe, 0xff]) { UTF_16BE } else { UTF_16LE };
                let mut decoder = encoding.new_decoder_with_bom_removal();
                decode(&mut decoder, head, is_last, text);
                *self = Self::Of(Box::new(decoder));
            }
        }
    }
}

fn decode(decoder: &mut Decoder, bytes: &[u8], is_last: bool, text: &mut Vec<u8>) {
    let mut rest = bytes;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let (result, read, written) =
            decoder.decode_to_utf8_without_replacement(rest, &mut piece, is_last);
        text.extend_from_slice(&piece[..written]);
        rest = &rest[read..];
        match result {
            DecoderResult::InputEmpty => return,
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(..) => text.push(NO_CHARACTER),
        }
    }
}

/// A stream that is made UTF-8.
struct Transcoded {
    input: Box<dyn Read + Send>,
    transcoder: Transcoder,
    piece: Vec<u8>,
    /// What was made and not given yet, from `given` on.
    text: Vec<u8>,
    given: usize,
    has_ended: bool,
}

impl Read for Transcoded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.text.len() && !self.has_ended {
            self.text.clear();
            self.given = 0;
            let read = self.input.read(&mut self.piece)?;
            self.has_ended = read == 0;
            self.transcoder.append(&self.piece[..read], self.has_ended, &mut self.text);
        }
        let left = &self.text[self.given..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::Transcoder;
    use crate::formats::intake::Encoding;

    /// The text of bytes that come one by one.
    fn text(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
        let (mut transcoder, mut text) = (Transcoder::of(encoding).unwrap(), Vec::new());
        for byte in bytes {
            transcoder.append(&[*byte], false, &mut text);
        }
        transcoder.append(&[], true, &mut text);
        text
    }

    // Python's codecs give the same texts.
    #[test]
    fn text_is_the_same_in_every_encoding() {
        assert_eq!(text(Encoding::Latin1, b"\xe9\x80\n"), "é\u{80}\n".as_bytes());
        assert_eq!(text(Encoding::Windows1252, b"\xe9\x80\n"), "é€\n".as_bytes());
        let little = b"\xff\xfea\0\xe9\0\x3d\xd8\x00\xde";
        let big = b"\xfe\xff\0a\0\xe9\xd8\x3d\xde\x00";
        assert_eq!(text(Encoding::Utf16, little), "aé😀".as_bytes());
        assert_eq!(text(Encoding::Utf16, big), "aé😀".as_bytes());
        assert_eq!(text(Encoding::Utf16, &little[2..]), "aé😀".as_bytes());
        assert_eq!(text(Encoding::Utf16Be, &big[2..]), "aé😀".as_bytes());
        assert_eq!(text(Encoding::Utf16Le, little), "aé😀".as_bytes());
        assert_eq!(text(Encoding::Utf16, b""), b"");
    }

    #[test]
    fn what_is_no_character_is_no_text_either() {
        assert_eq!(text(Encoding::Utf16Le, b"a\0\x00\xd8b\0"), b"a\xffb");
        assert_eq!(text(Encoding::Utf16Le, b"a\0b"), b"a\xff");
    }
}
