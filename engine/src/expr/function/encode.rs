//! Hashes and encodings of text and bytes.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryViewArray, UInt64Array};
use base64::{Engine, engine::general_purpose::STANDARD};
use md5::Md5;
use sha2::{Digest, Sha256};

use super::{Call, Gives, Kind, Nulls, Overload, Signature, rows};
use crate::{
    Error, Result,
    expr::{Expr, parse::type_name},
    kernels::hash::{hash_columns, is_key},
};

/// The functions that hash and encode.
pub(super) static FUNCTIONS: &[Signature] = &[
    Signature::new(
        "hash",
        &[Overload::new(&[Kind::Any], Gives::UInt64, hash).variadic(1)],
        "the engine's specified 64-bit hash of a row of values (equal on every machine and in \
         every version of the same hash)",
        &[("hash('a') = hash('a')", "true")],
    )
    .with_nulls(Nulls::Never("nulls have a hash"))
    .checked(|arguments| {
        let refused = arguments.iter().map(Expr::data_type).find(|of| !is_key(of));
        refused.map_or(Ok(()), |of| Err(format!("{} has no hash", type_name(&of))))
    })
    .differs("the numbers are not DuckDB's"),
    Signature::new(
        "md5",
        &[
            Overload::new(&[Kind::Text], Gives::Text, md5),
            Overload::new(&[Kind::Binary], Gives::Text, md5),
        ],
        "MD5 of the bytes, in hexadecimal",
        &[("md5('a')", "0cc175b9c0f1b6a831c399e269772661")],
    ),
    Signature::new(
        "sha256",
        &[
            Overload::new(&[Kind::Text], Gives::Text, sha256),
            Overload::new(&[Kind::Binary], Gives::Text, sha256),
        ],
        "SHA-256 of the bytes, in hexadecimal",
        &[("sha256('a')", "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb")],
    ),
    Signature::new(
        "hex",
        &[
            Overload::new(&[Kind::Text], Gives::Text, hex),
            Overload::new(&[Kind::Binary], Gives::Text, hex),
            Overload::new(&[Kind::Int64], Gives::Text, hex_of_number),
        ],
        "the bytes in hexadecimal, or a whole number, a negative one as its 64 bits",
        &[("hex('añ')", "61C3B1"), ("hex(255)", "FF"), ("hex(-1)", "FFFFFFFFFFFFFFFF")],
    )
    .aka(&["to_hex"]),
    Signature::new(
        "unhex",
        &[Overload::new(&[Kind::Text], Gives::Binary, unhex)],
        "the bytes that hexadecimal digits say",
        &[("unhex('C3B1')", "c3b1")],
    )
    .aka(&["from_hex"])
    .fails("where the text is not pairs of hexadecimal digits"),
    Signature::new(
        "base64",
        &[
            Overload::new(&[Kind::Text], Gives::Text, base64),
            Overload::new(&[Kind::Binary], Gives::Text, base64),
        ],
        "the bytes in base64 (RFC 4648, with padding)",
        &[("base64('añ')", "YcOx")],
    )
    .aka(&["to_base64"])
    .differs("text is taken too, as its UTF-8"),
    Signature::new(
        "from_base64",
        &[Overload::new(&[Kind::Text], Gives::Binary, from_base64)],
        "the bytes that base64 says",
        &[("from_base64('YcOx')", "61c3b1")],
    )
    .aka(&["unbase64"])
    .fails("where the text is no base64"),
    Signature::new(
        "encode",
        &[Overload::new(&[Kind::Text], Gives::Binary, encode)],
        "the text's UTF-8",
        &[("encode('añ')", "61c3b1")],
    ),
    Signature::new(
        "decode",
        &[Overload::new(&[Kind::Binary], Gives::Text, decode)],
        "the text whose UTF-8 the bytes are",
        &[("decode(unhex('61C3B1'))", "añ")],
    )
    .fails("where the bytes are no UTF-8"),
    Signature::new(
        "url_encode",
        &[Overload::new(&[Kind::Text], Gives::Text, url_encode)],
        "with all bytes but letters, digits and `-._~` as %XX",
        &[("url_encode('a ñ/b')", "a%20%C3%B1%2Fb")],
    ),
    Signature::new(
        "url_decode",
        &[Overload::new(&[Kind::Text], Gives::Text, url_decode)],
        "with every %XX as its byte",
        &[("url_decode('a%20%C3%B1')", "a ñ")],
    )
    .fails("where the result is no UTF-8"),
];

const UPPER: &[u8; 16] = b"0123456789ABCDEF";
const LOWER: &[u8; 16] = b"0123456789abcdef";

fn digits(bytes: &[u8], digits: &[u8; 16], mut put: impl FnMut(char)) {
    for byte in bytes {
        put(char::from(digits[usize::from(byte >> 4)]));
        put(char::from(digits[usize::from(byte & 15)]));
    }
}

fn hash(call: &Call<'_>) -> Result<ArrayRef> {
    let columns: Vec<ArrayRef> = call
        .arguments
        .iter()
        .map(|argument| rows::repeated(argument, call.rows))
        .collect::<Result<_>>()?;
    let mut hashes = Vec::new();
    hash_columns(&columns, &mut hashes);
    Ok(Arc::new(UInt64Array::from(hashes)))
}

fn digest<D: Digest>(call: &Call<'_>) -> Result<ArrayRef> {
    let bytes = rows::bytes(call, 0)?;
    rows::text_of(call, |row, out| {
        digits(&D::digest(bytes.at(row)), LOWER, |digit| out.extend_char(digit));
        Ok(())
    })
}

fn md5(call: &Call<'_>) -> Result<ArrayRef> {
    digest::<Md5>(call)
}

fn sha256(call: &Call<'_>) -> Result<ArrayRef> {
    digest::<Sha256>(call)
}

fn hex(call: &Call<'_>) -> Result<ArrayRef> {
    let bytes = rows::bytes(call, 0)?;
    rows::text_of(call, |row, out| {
        digits(bytes.at(row), UPPER, |digit| out.extend_char(digit));
        Ok(())
    })
}

fn hex_of_number(call: &Call<'_>) -> Result<ArrayRef> {
    let numbers = rows::ints(call, 0)?;
    rows::text_of(call, |row, out| {
        out.extend(&format!("{:X}", numbers.at(row)));
        Ok(())
    })
}

fn refuse(text: &str, what: &str) -> Error {
    let shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    Error::Evaluate { reason: format!("'{shown}' is no {what}") }
}

fn unhex(call: &Call<'_>) -> Result<ArrayRef> {
    let texts = rows::texts(call, 0)?;
    rows::binary_of(call, |row| {
        let text = texts.at(row);
        from_hex(text).ok_or_else(|| refuse(text, "row of pairs of hexadecimal digits"))
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

fn base64(call: &Call<'_>) -> Result<ArrayRef> {
    let bytes = rows::bytes(call, 0)?;
    rows::text_of(call, |row, out| {
        out.extend(&STANDARD.encode(bytes.at(row)));
        Ok(())
    })
}

fn from_base64(call: &Call<'_>) -> Result<ArrayRef> {
    let texts = rows::texts(call, 0)?;
    rows::binary_of(call, |row| {
        let text = texts.at(row);
        STANDARD.decode(text).map_err(|_| refuse(text, "base64"))
    })
}

fn encode(call: &Call<'_>) -> Result<ArrayRef> {
    let array = crate::expr::evaluate::text_array(call.arguments[0].array())?;
    let bytes: BinaryViewArray = array.clone().to_binary_view();
    Ok(Arc::new(bytes))
}

fn decode(call: &Call<'_>) -> Result<ArrayRef> {
    let bytes = rows::bytes(call, 0)?;
    rows::text_of(call, |row, out| {
        let text = simdutf8::basic::from_utf8(bytes.at(row));
        out.extend(text.map_err(|_| Error::Evaluate {
            reason: format!("{} bytes are no UTF-8", bytes.at(row).len()),
        })?);
        Ok(())
    })
}

fn url_encode(call: &Call<'_>) -> Result<ArrayRef> {
    let texts = rows::texts(call, 0)?;
    rows::text_of(call, |row, out| {
        for byte in texts.at(row).bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                out.extend_char(char::from(byte));
            } else {
                out.extend_char('%');
                digits(&[byte], UPPER, |digit| out.extend_char(digit));
            }
        }
        Ok(())
    })
}

fn url_decode(call: &Call<'_>) -> Result<ArrayRef> {
    let texts = rows::texts(call, 0)?;
    let mut decoded = Vec::new();
    rows::text_of(call, |row, out| {
        let text = texts.at(row);
        decoded.clear();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('%') {
            decoded.extend_from_slice(before.as_bytes());
            let byte = behind.get(..2).and_then(from_hex).and_then(|bytes| bytes.first().copied());
            decoded.push(byte.unwrap_or(b'%'));
            rest = if byte.is_some() { &behind[2..] } else { behind };
        }
        decoded.extend_from_slice(rest.as_bytes());
        let whole = str::from_utf8(&decoded).map_err(|_| refuse(text, "UTF-8 behind its %XX"))?;
        out.extend(whole);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::from_hex;

    #[test]
    fn hexadecimal_digits_come_in_pairs() {
        assert_eq!(from_hex("00fFA1"), Some(vec![0, 255, 161]));
        assert_eq!(from_hex(""), Some(Vec::new()));
        assert_eq!(from_hex("0"), None);
        assert_eq!(from_hex("0g"), None);
    }
}
