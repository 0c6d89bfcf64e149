//! Bytes as text: hexadecimal digits, and base64 where text was meant and is none.

use arrow::array::builder::BinaryViewBuilder;

const HEX: &[u8; 16] = b"0123456789abcdef";
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends two hexadecimal digits a byte, in lower case.
pub(crate) fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        let digit = |half: u8| HEX[usize::from(half)];
        out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

/// Appends the bytes that pairs of hexadecimal digits say, behind an optional `\x`; `false` where
/// it is something else.
pub(crate) fn parse_hex(text: &[u8], out: &mut Vec<u8>) -> bool {
    let digits = text.strip_prefix(br"\x").unwrap_or(text);
    let (pairs, rest) = digits.as_chunks::<2>();
    for [high, low] in pairs {
        let half =
            |digit: &u8| char::from(*digit).to_digit(16).and_then(|half| u8::try_from(half).ok());
        let (Some(high), Some(low)) = (half(high), half(low)) else { return false };
        out.push(high << 4 | low);
    }
    rest.is_empty()
}

/// Appends a value to a column; `false` where the text says none.
pub(crate) fn push_hex(text: &[u8], scratch: &mut Vec<u8>, column: &mut BinaryViewBuilder) -> bool {
    scratch.clear();
    let is_value = parse_hex(text, scratch);
    column.append_value(if is_value { scratch.as_slice() } else { &[] });
    is_value
}

/// RFC 4648, with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| {
            bits << 8 | u32::from(chunk.get(at).copied().unwrap_or_default())
        });
        for place in 0..4 {
            let six = (bits >> (18 - 6 * place)) & 63;
            let is_there = place <= chunk.len();
            text.push(if is_there { char::from(BASE64[six as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{base64, parse_hex, write_hex};

    #[test]
    fn hex_is_pairs_of_digits() {
        let mut out = Vec::new();
        write_hex(b"\x00\xff0", &mut out);
        assert_eq!(out, b"00ff30");
        let mut bytes = Vec::new();
        assert!(parse_hex(b"\\x00Ff30", &mut bytes));
        assert_eq!(bytes, b"\x00\xff0");
        assert!(parse_hex(b"", &mut bytes));
        for bad in ["0", "0g", "\\x0", " 00"] {
            assert!(!parse_hex(bad.as_bytes(), &mut Vec::new()), "{bad}");
        }
    }

    // The vectors of RFC 4648.
    #[test]
    fn base64_is_that_of_the_rfc() {
        let texts =
            ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(texts, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
        assert_eq!(base64(b"\xff\xfe\xfd"), "//79");
    }
}
