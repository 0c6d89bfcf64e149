//! Compression of whole files, read and written as streams.
//!
//! What Parquet and Arrow files compress inside of themselves has the same names ([`Compression`])
//! and is those formats' own affair.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Read, Write},
    path::Path,
};

use lz4_flex::frame::{FrameDecoder, FrameEncoder};
use serde::{Deserialize, Serialize};

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952, several members too.
    Gzip,
    /// RFC 8878, several frames too.
    Zstd,
    /// The LZ4 frame format, several frames too.
    Lz4,
    /// bzip2, several streams too.
    Bzip2,
    /// The Snappy frame format.
    Snappy,
    /// RFC 7932; stands inside of Parquet files only.
    Brotli,
}

/// What a compressed file may become, as a multiple of its size.
const MAX_RATIO: u64 = 1000;
/// Up to so many bytes a ratio says nothing.
const MIN_RATIO_BYTES: u64 = 64 << 20;
/// How much is read from a file at once.
const INPUT_BYTES: usize = 256 << 10;

/// A stream of decompressed bytes.
pub type Decompressor = Box<dyn Read + Send>;

impl Compression {
    /// Those of whole files.
    pub const OF_FILES: [Self; 6] =
        [Self::None, Self::Gzip, Self::Zstd, Self::Lz4, Self::Bzip2, Self::Snappy];

    /// Its word in job documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Bzip2 => "bzip2",
            Self::Snappy => "snappy",
            Self::Brotli => "brotli",
        }
    }

    /// The one among `known` that a document names.
    pub fn named(name: &str, known: &[Self]) -> Option<Self> {
        known.iter().copied().find(|compression| compression.name() == name)
    }

    /// What the names of whole files that it compressed end with.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
            Self::Lz4 => ".lz4",
            Self::Bzip2 => ".bz2",
            Self::Snappy => ".sz",
            Self::Brotli => ".br",
        }
    }

    /// What a file's name says of it, upper and lower case alike.
    pub fn of_path(path: &Path) -> Self {
        let Some(suffix) = path.extension().and_then(|suffix| suffix.to_str()) else {
            return Self::None;
        };
        match suffix.to_ascii_lowercase().as_str() {
            "gz" | "gzip" => Self::Gzip,
            "zst" | "zstd" => Self::Zstd,
            "lz4" => Self::Lz4,
            "bz2" | "bzip2" => Self::Bzip2,
            "sz" | "snappy" => Self::Snappy,
            _ => Self::None,
        }
    }

    /// The bytes that `input` was compressed from.
    ///
    /// - Memory: a window of the codec's (8 MiB at most for Zstandard) and 256 KiB.
    ///
    /// # Errors
    /// `InvalidData` where it is none of this compression, is corrupt, or becomes more than a
    /// thousand times its size; `UnexpectedEof` where it is cut off.
    pub fn reader<R: Read + Send + 'static>(self, input: R) -> io::Result<Decompressor> {
        let input = BufReader::with_capacity(INPUT_BYTES, Counted { input, bytes: 0 });
        Ok(match self {
            Self::None => Box::new(input),
            Self::Gzip => bounded(flate2::bufread::MultiGzDecoder::new(input), |decoder| {
                decoder.get_ref().get_ref().bytes
            }),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
                decoder.window_log_max(MAX_WINDOW_LOG)?;
                bounded(decoder, |decoder| decoder.get_ref().get_ref().bytes)
            }
            Self::Lz4 => bounded(Lz4Frames(FrameDecoder::new(input)), |frames| {
                frames.0.get_ref().get_ref().bytes
            }),
            Self::Bzip2 => bounded(bzip2::bufread::MultiBzDecoder::new(input), |decoder| {
                decoder.get_ref().get_ref().bytes
            }),
            Self::Snappy => bounded(snap::read::FrameDecoder::new(input), |decoder| {
                decoder.get_ref().get_ref().bytes
            }),
            Self::Brotli => return Err(inside_parquet_only()),
        })
    }

    /// A stream that compresses into `output`.
    ///
    /// # Errors
    /// `Unsupported` for what is no compression of whole files.
    pub fn writer<W: Write>(self, output: W) -> io::Result<Compressor<W>> {
        Ok(match self {
            Self::None => Compressor::Plain(output),
            Self::Gzip => {
                let level = flate2::Compression::default();
                Compressor::Gzip(flate2::write::GzEncoder::new(output, level))
            }
            Self::Zstd => {
                let mut encoder =
                    zstd::stream::write::Encoder::new(output, zstd::DEFAULT_COMPRESSION_LEVEL)?;
                encoder.include_checksum(true)?;
                Compressor::Zstd(encoder)
            }
            Self::Lz4 => {
                let info =
                    lz4_flex::frame::FrameInfo::new().block_checksums(false).content_checksum(true);
                Compressor::Lz4(Box::new(FrameEncoder::with_frame_info(info, output)))
            }
            Self::Bzip2 => Compressor::Bzip2(bzip2::write::BzEncoder::new(
                output,
                bzip2::Compression::default(),
            )),
            Self::Snappy => Compressor::Snappy(Box::new(snap::write::FrameEncoder::new(output))),
            Self::Brotli => return Err(inside_parquet_only()),
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The largest window of a Zstandard frame that is taken, as a power of two: 128 MiB, which
/// `zstd --long` makes; a header could ask for gigabytes.
const MAX_WINDOW_LOG: u32 = 27;

fn inside_parquet_only() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "brotli compresses inside of Parquet files only")
}

/// An input that counts what was read of it.
struct Counted<R> {
    input: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

/// A decoder that ends where a small input becomes absurdly much.
struct Bounded<D, F> {
    decoder: D,
    taken: F,
    given_bytes: u64,
}

fn bounded<D, F>(decoder: D, taken: F) -> Decompressor
where
    D: Read + Send + 'static,
    F: Fn(&D) -> u64 + Send + 'static,
{
    Box::new(Bounded { decoder, taken, given_bytes: 0 })
}

impl<D: Read, F: Fn(&D) -> u64> Read for Bounded<D, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.decoder.read(buffer)?;
        self.given_bytes += read as u64;
        if self.given_bytes > MIN_RATIO_BYTES {
            let taken_bytes = (self.taken)(&self.decoder);
            if self.given_bytes / MAX_RATIO > taken_bytes {
                let message = format!(
                    "{taken_bytes} compressed bytes become more than {MAX_RATIO} times as many"
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        }
        Ok(read)
    }
}

/// All frames of an LZ4 file; its decoder stops behind each.
struct Lz4Frames<R: BufRead>(FrameDecoder<R>);

impl<R: BufRead> Read for Lz4Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let read = self.0.read(buffer)?;
            if read > 0 || self.0.get_mut().fill_buf()?.is_empty() {
                return Ok(read);
            }
        }
    }
}

/// A stream that compresses what is written to it.
pub enum Compressor<W: Write> {
    /// Bytes as they are.
    Plain(W),
    /// See [`Compression::Gzip`].
    Gzip(flate2::write::GzEncoder<W>),
    /// See [`Compression::Zstd`].
    Zstd(zstd::stream::write::Encoder<'static, W>),
    /// See [`Compression::Lz4`].
    Lz4(Box<FrameEncoder<W>>),
    /// See [`Compression::Bzip2`].
    Bzip2(bzip2::write::BzEncoder<W>),
    /// See [`Compression::Snappy`].
    Snappy(Box<snap::write::FrameEncoder<W>>),
}

impl<W: Write> Compressor<W> {
    /// What has been compressed so far.
    pub fn get_mut(&mut self) -> &mut W {
        match self {
            Self::Plain(output) => output,
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
            Self::Lz4(encoder) => encoder.get_mut(),
            Self::Bzip2(encoder) => encoder.get_mut(),
            Self::Snappy(encoder) => encoder.get_mut(),
        }
    }

    /// Writes what is held back and the end of the stream; a stream without a byte is whole too.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(output) => Ok(output),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
            Self::Lz4(encoder) => Ok(encoder.finish()?),
            Self::Bzip2(encoder) => encoder.finish(),
            Self::Snappy(encoder) => {
                encoder.into_inner().map_err(snap::write::IntoInnerError::into_error)
            }
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(output) => output.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
            Self::Lz4(encoder) => encoder.write(bytes),
            Self::Bzip2(encoder) => encoder.write(bytes),
            Self::Snappy(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(output) => output.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
            Self::Lz4(encoder) => encoder.flush(),
            Self::Bzip2(encoder) => encoder.flush(),
            Self::Snappy(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Cursor, Read, Write},
        path::Path,
    };

    use proptest::prelude::*;

    use super::Compression;

    fn compressed(compression: Compression, pieces: &[&[u8]]) -> Vec<u8> {
        let mut writer = compression.writer(Vec::new()).unwrap();
        for piece in pieces {
            writer.write_all(piece).unwrap();
        }
        writer.finish().unwrap()
    }

    fn read(compression: Compression, bytes: Vec<u8>) -> std::io::Result<Vec<u8>> {
        let mut out = Vec::new();
        compression.reader(Cursor::new(bytes))?.read_to_end(&mut out)?;
        Ok(out)
    }

    fn real() -> impl Iterator<Item = Compression> {
        Compression::OF_FILES.into_iter().filter(|compression| *compression != Compression::None)
    }

    proptest! {
        #[test]
        fn what_was_compressed_reads_back(
            first in prop::collection::vec(any::<u8>(), 0..3000),
            second in "[ab]{0,200}",
        ) {
            let expected = [&first[..], second.as_bytes()].concat();
            for compression in Compression::OF_FILES {
                let bytes = compressed(compression, &[&first, second.as_bytes()]);
                prop_assert_eq!(&read(compression, bytes).unwrap(), &expected);
            }
        }
    }

    #[test]
    fn several_streams_behind_one_another_are_one() {
        for compression in Compression::OF_FILES {
            let mut bytes = compressed(compression, &[b"one,"]);
            bytes.extend(compressed(compression, &[]));
            bytes.extend(compressed(compression, &[b"two"]));
            assert_eq!(read(compression, bytes).unwrap(), b"one,two", "{compression}");
        }
    }

    #[test]
    fn the_tools_own_files_are_read() {
        // As Python's gzip and bz2 write `minispark` and a newline.
        let gzip = [
            0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 0xcb, 0xcd, 0xcc, 0xcb, 0x2c, 0x2e, 0x48, 0x2c,
            0xca, 0xe6, 2, 0, 0x7c, 0x83, 0x4b, 0x2a, 0xa, 0, 0, 0,
        ];
        assert_eq!(read(Compression::Gzip, gzip.to_vec()).unwrap(), b"minispark\n");
        let bzip2 = [
            0x42, 0x5a, 0x68, 0x39, 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, 0x12, 0x13, 0xe4, 0xa5, 0,
            0, 2, 0xc1, 0x80, 0, 0x10, 0x20, 0x2b, 0x58, 0, 0x20, 0, 0x22, 3, 4, 0x20, 0xc9, 0x88,
            0xe4, 0x53, 0x2e, 0x4d, 0xf1, 0x77, 0x24, 0x53, 0x85, 9, 1, 0x21, 0x3e, 0x4a, 0x50,
        ];
        assert_eq!(read(Compression::Bzip2, bzip2.to_vec()).unwrap(), b"minispark\n");
    }

    #[test]
    fn a_stream_that_is_cut_off_or_is_none_is_an_error() {
        let text: Vec<u8> =
            (0..60_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for compression in real() {
            let bytes = compressed(compression, &[&text]);
            let cut = bytes[..bytes.len() / 2 + 1].to_vec();
            assert!(read(compression, cut).is_err(), "{compression} cut off");
            assert!(read(compression, b"plain text, no codec".to_vec()).is_err(), "{compression}");
        }
    }

    #[test]
    fn a_flipped_byte_is_an_error_or_the_same_and_never_a_panic() {
        let text: Vec<u8> = (0..2000_u32).flat_map(|n| n.to_string().into_bytes()).collect();
        for compression in real() {
            let bytes = compressed(compression, &[&text]);
            for place in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[place] ^= 0x15;
                let found = read(compression, flipped);
                assert!(
                    found.is_err() || found.is_ok_and(|found| found == text || found.is_empty()),
                    "{compression} {place}"
                );
            }
        }
    }

    #[test]
    fn a_bomb_is_an_error() {
        let zeros = vec![0; 1 << 20];
        for compression in [Compression::Zstd, Compression::Bzip2] {
            let mut writer = compression.writer(Vec::new()).unwrap();
            for _ in 0..100 {
                writer.write_all(&zeros).unwrap();
            }
            let bytes = writer.finish().unwrap();
            let found = std::io::copy(
                &mut compression.reader(Cursor::new(bytes.clone())).unwrap(),
                &mut std::io::sink(),
            );
            assert!(found.is_err(), "{compression}: {} bytes", bytes.len());
        }
    }

    #[test]
    fn names_and_suffixes_tell_them() {
        for compression in Compression::OF_FILES {
            let name = compression.name();
            assert_eq!(Compression::named(name, &Compression::OF_FILES), Some(compression));
            let path = format!("part.csv{}", compression.suffix());
            assert_eq!(Compression::of_path(Path::new(&path)), compression);
        }
        assert_eq!(Compression::of_path(Path::new("a.CSV.GZ")), Compression::Gzip);
        assert_eq!(Compression::named("brotli", &Compression::OF_FILES), None);
    }
}
