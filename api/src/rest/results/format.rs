//! In which format a result is sent: by `format`, by Accept, else its own.

use axum::http::{HeaderMap, StatusCode, header};
use minispark_engine::{
    error::Code,
    formats::{WriteFormat, csv::CsvWriteOptions},
};

use crate::rest::{problem::Problem, wire::ResultFormat};

const ARROW_STREAM: &str = "application/vnd.apache.arrow.stream";

/// The media type of a format.
pub(super) fn media_type(format: &WriteFormat) -> &'static str {
    match format {
        WriteFormat::Text => "text/plain; charset=utf-8",
        WriteFormat::Csv(_) => "text/csv; charset=utf-8",
        WriteFormat::Jsonl => "application/x-ndjson",
        WriteFormat::Arrow => "application/vnd.apache.arrow.file",
        WriteFormat::ArrowStream => ARROW_STREAM,
        WriteFormat::Parquet => "application/vnd.apache.parquet",
    }
}

/// The format to send, of a result whose files are of the format `own`.
///
/// # Errors
/// 406 where nothing of what the request accepts can be had.
pub(super) fn choose(
    asked: Option<ResultFormat>,
    headers: &HeaderMap,
    own: &WriteFormat,
) -> Result<WriteFormat, Problem> {
    let accept = Accept::of(headers);
    if let Some(asked) = asked {
        let wants_stream = accept.quality(ARROW_STREAM, Specific::Named)
            > accept.quality(media_type(&WriteFormat::Arrow), Specific::Named);
        return Ok(match asked {
            asked if asked == ResultFormat::of(own) => own.clone(),
            ResultFormat::Arrow if wants_stream => WriteFormat::ArrowStream,
            asked => written(asked),
        });
    }
    let offers = ResultFormat::ALL.into_iter().map(written).chain([WriteFormat::ArrowStream]);
    let offers = offers.filter(|offer| ResultFormat::of(offer) != ResultFormat::of(own));
    let mut best = (accept.quality(media_type(own), Specific::Any), own.clone());
    for offer in offers {
        let quality = accept.quality(media_type(&offer), Specific::Any);
        // The first of equals wins, and the result's own format is the first.
        if quality > best.0 {
            best = (quality, offer);
        }
    }
    if best.0 > 0 {
        return Ok(best.1);
    }
    let names = ResultFormat::ALL.map(|format| media_type(&written(format))).join(", ");
    Err(Problem::new(Code::BadRequest, format!("Accept names no type that can be had: {names}"))
        .with_status(StatusCode::NOT_ACCEPTABLE)
        .with_hint("leave Accept out, or say what you want with ?format="))
}

/// How rows are encoded anew.
fn written(format: ResultFormat) -> WriteFormat {
    match format {
        ResultFormat::Text => WriteFormat::Text,
        ResultFormat::Csv => WriteFormat::Csv(CsvWriteOptions { header: true, delimiter: b',' }),
        ResultFormat::Jsonl => WriteFormat::Jsonl,
        ResultFormat::Parquet => WriteFormat::Parquet,
        ResultFormat::Arrow => WriteFormat::Arrow,
    }
}

/// How exactly a media range must name a type to count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Specific {
    /// By itself.
    Named,
    /// By itself or by a wildcard.
    Any,
}

/// The media ranges of a request (RFC 9110, 12.5.1); without any, all is accepted.
struct Accept(Vec<(String, u16)>);

impl Accept {
    fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let ranges = values.flat_map(|value| value.split(',')).filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().filter(|name| !name.is_empty())?.to_ascii_lowercase();
            let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(1000, per_mille);
            Some((name, quality))
        });
        Self(ranges.collect())
    }

    /// How much a type is wanted, 0 to 1000, by the range that names it most exactly.
    fn quality(&self, media_type: &str, specific: Specific) -> u16 {
        let name = media_type.split(';').next().unwrap_or_default();
        let group = name.split('/').next().unwrap_or_default();
        let find = |wanted: &str| {
            self.0.iter().find(|(range, _)| range == wanted).map(|(_, quality)| *quality)
        };
        let by_name = find(name).or_else(|| {
            // A second name in use.
            (name == media_type_of_jsonl()).then(|| find("application/jsonl")).flatten()
        });
        match specific {
            Specific::Named => by_name.unwrap_or(0),
            Specific::Any if self.0.is_empty() => 1000,
            Specific::Any => {
                by_name.or_else(|| find(&format!("{group}/*"))).or_else(|| find("*/*")).unwrap_or(0)
            }
        }
    }
}

fn media_type_of_jsonl() -> &'static str {
    media_type(&WriteFormat::Jsonl)
}

/// A quality of `0` to `1` with at most three digits behind the point; what is none counts as 1.
fn per_mille(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{fraction:0<3}");
    match (whole, digits.get(..3).and_then(|digits| digits.parse().ok())) {
        ("0", Some(thousandths)) => thousandths,
        _ => 1000,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, StatusCode};
    use minispark_engine::formats::{WriteFormat, csv::CsvWriteOptions};

    use super::{choose, media_type, per_mille};
    use crate::rest::wire::ResultFormat;

    fn accepting(accept: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if !accept.is_empty() {
            headers.insert("accept", accept.parse().unwrap());
        }
        headers
    }

    #[test]
    fn accept_chooses_and_the_own_format_is_the_first_of_equals() {
        let own = WriteFormat::Csv(CsvWriteOptions { header: false, delimiter: b';' });
        for (accept, expected) in [
            ("", "text/csv"),
            ("*/*", "text/csv"),
            ("text/html,application/xml;q=0.9,*/*;q=0.8", "text/csv"),
            ("text/*", "text/csv"),
            ("text/plain", "text/plain"),
            ("application/x-ndjson, text/csv;q=0.5", "application/x-ndjson"),
            ("application/jsonl", "application/x-ndjson"),
            ("application/*", "application/x-ndjson"),
            ("text/csv;q=0, */*", "text/plain"),
            ("Application/Vnd.Apache.Parquet", "application/vnd.apache.parquet"),
            ("application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.stream"),
        ] {
            let chosen = choose(None, &accepting(accept), &own).unwrap();
            assert!(media_type(&chosen).starts_with(expected), "{accept}: {chosen:?}");
            assert_eq!(chosen == own, expected == "text/csv", "{accept}");
        }
        let refused = choose(None, &accepting("image/png"), &own).unwrap_err();
        assert_eq!(refused.status(), StatusCode::NOT_ACCEPTABLE);
        assert!(refused.document("r").detail.contains("vnd.apache.parquet"));
    }

    #[test]
    fn a_named_format_stands_above_accept_which_tells_an_arrow_stream_from_a_file() {
        let stream = "application/vnd.apache.arrow.stream";
        for (format, accept, expected) in [
            (ResultFormat::Jsonl, "image/png", WriteFormat::Jsonl),
            (ResultFormat::Arrow, "*/*", WriteFormat::Arrow),
            (ResultFormat::Arrow, stream, WriteFormat::ArrowStream),
            (ResultFormat::Text, stream, WriteFormat::Text),
        ] {
            let chosen = choose(Some(format), &accepting(accept), &WriteFormat::Text).unwrap();
            assert_eq!(chosen, expected, "{accept}");
        }
    }

    #[test]
    fn a_quality_has_three_digits() {
        for (text, expected) in [("1", 1000), ("0", 0), ("0.5", 500), ("0.05", 50), ("x", 1000)] {
            assert_eq!(per_mille(text), expected, "{text}");
        }
    }
}
