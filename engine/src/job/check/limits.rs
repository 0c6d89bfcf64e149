//! `limits` of a job: how much memory and disk it may take of each process.

use super::{ProblemCode, Report, fields};
use crate::{
    job::{Json, check::fields::Fields},
    task::limits::Limits,
};

pub(super) const LIMIT_FIELDS: fields::Known = fields::Known {
    of: "limits",
    always: &[],
    fields: &["memory", "spill"],
    later: &["deadline", "output_rows"],
    elsewhere: &[],
};

/// The least memory with which operators get anywhere, in bytes.
const LEAST_MEMORY_BYTES: u64 = 1 << 20;

/// The limits of a job; none of those that are wrong.
pub(super) fn read(job: &Fields<'_>, report: &mut Report) -> Limits {
    let limits = job.get("limits").and_then(|json| Fields::open(json, "/limits", report));
    let Some(limits) = limits else { return Limits::default() };
    limits.check_names(&LIMIT_FIELDS, report);
    Limits {
        memory_bytes: size(&limits, "memory", LEAST_MEMORY_BYTES, report),
        spill_bytes: size(&limits, "spill", 1, report),
    }
}

/// A size: a number of bytes, or a text such as `64MiB`.
fn size(limits: &Fields<'_>, name: &str, least: u64, report: &mut Report) -> Option<u64> {
    let bytes = match limits.get(name)? {
        Json::Number(number) => number.as_u64(),
        Json::Text(text) => bytes(text),
        other => {
            let message = format!("expected a size such as \"64MiB\", found {}", other.kind());
            report.problem(limits.at(name), ProblemCode::WrongType, message);
            return None;
        }
    };
    match bytes {
        None => {
            let message = "expected a whole number and a unit, such as \"64MiB\"; units are B, kB, \
                MB, GB, TB, KiB, MiB, GiB, TiB";
            report.problem(limits.at(name), ProblemCode::BadValue, message);
        }
        Some(bytes) if bytes < least => {
            let message = format!("expected {least} bytes or more, found {bytes}");
            report.problem(limits.at(name), ProblemCode::OutOfRange, message);
        }
        Some(_) => {}
    }
    bytes.filter(|bytes| *bytes >= least)
}

/// `64MiB` in bytes.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_start().to_ascii_lowercase().as_str() {
        "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        for (text, expected) in [
            ("64MiB", Some(64 << 20)),
            ("64 mib", Some(64 << 20)),
            ("1GB", Some(1_000_000_000)),
            ("12B", Some(12)),
            ("12", None),
            ("MiB", None),
            ("-1B", None),
            ("99999999TiB", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
