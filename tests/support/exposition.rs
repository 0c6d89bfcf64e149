//! A strict reader of the Prometheus text format (0.0.4): what it takes, every scraper does.

use std::collections::{BTreeMap, BTreeSet};

/// What was scraped.
#[derive(Debug, Default)]
pub(crate) struct Scrape {
    /// Each family's type by its name.
    pub(crate) types: BTreeMap<String, String>,
    /// Each sample's value by its name and sorted labels: `name{a="1",b="2"}`.
    pub(crate) samples: BTreeMap<String, f64>,
    /// Each label's name.
    pub(crate) labels: BTreeSet<String>,
}

impl Scrape {
    /// The value of a series; 0 where it is not there, as a counter begins.
    pub(crate) fn value(&self, series: &str) -> f64 {
        self.samples.get(series).copied().unwrap_or(0.0)
    }
}

/// Reads a scrape; panics where a line breaks a rule.
pub(crate) fn parse(text: &str) -> Scrape {
    let mut scrape = Scrape::default();
    let (mut helped, mut family, mut kind) = (String::new(), String::new(), String::new());
    assert!(text.ends_with('\n'), "the last line does not end");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("no help: {line}"));
            assert!(is_name(name) && !help.trim().is_empty(), "{line}");
            name.clone_into(&mut helped);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, of) = rest.split_once(' ').unwrap_or_else(|| panic!("no type: {line}"));
            assert_eq!(name, helped, "a family's help stands before its type");
            assert!(["counter", "gauge", "histogram"].contains(&of), "{line}");
            assert_eq!(of == "counter", name.ends_with("_total"), "{line}");
            assert!(scrape.types.insert(name.to_owned(), of.to_owned()).is_none(), "twice: {line}");
            (family, kind) = (name.to_owned(), of.to_owned());
        } else {
            let (name, labels, value) = sample(line);
            let base = match kind.as_str() {
                "histogram" => ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|suffix| name.strip_suffix(suffix))
                    .unwrap_or_else(|| panic!("no part of a histogram: {line}")),
                _ => name,
            };
            assert_eq!(base, family, "a sample outside its family: {line}");
            assert!(kind == "gauge" || value >= 0.0, "{line}");
            scrape.labels.extend(labels.keys().cloned());
            let key = series(name, &labels);
            assert!(scrape.samples.insert(key, value).is_none(), "twice: {line}");
        }
    }
    check_histograms(&scrape);
    scrape
}

fn is_name(name: &str) -> bool {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    name.starts_with(is_first) && name.chars().all(|c| is_first(c) || c.is_ascii_digit())
}

fn series(name: &str, labels: &BTreeMap<String, String>) -> String {
    let labels: Vec<_> =
        labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
    if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) }
}

/// A line as name, labels and value.
fn sample(line: &str) -> (&str, BTreeMap<String, String>, f64) {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no sample: {line}"));
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, behind) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(label) && !label.contains(':'), "{line}");
            let (value, behind) = quoted(behind, line);
            assert!(labels.insert(label.to_owned(), value).is_none(), "twice `{label}`: {line}");
            rest = behind.strip_prefix(',').unwrap_or(behind);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("no value: {line}"));
    let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
    (name, labels, value)
}

/// A label's value up to its closing quote, and what stands behind that.
fn quoted<'a>(text: &'a str, line: &str) -> (String, &'a str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => match characters.next() {
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                Some((_, 'n')) => value.push('\n'),
                other => panic!("no escape: {other:?} in {line}"),
            },
            other => value.push(other),
        }
    }
    panic!("a quote is left open: {line}");
}

/// Buckets grow to the last, which is all.
fn check_histograms(scrape: &Scrape) {
    for (name, _) in scrape.types.iter().filter(|(_, kind)| *kind == "histogram") {
        let prefix = format!("{name}_count");
        let counts = scrape.samples.iter().filter(|(series, _)| {
            series
                .strip_prefix(&prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
        });
        for (series, count) in counts {
            let labels = series[prefix.len()..].trim_matches(['{', '}']);
            let of_series = |bucket: &&String| {
                bucket.starts_with(&format!("{name}_bucket{{"))
                    && labels.split(',').all(|label| bucket.contains(label))
            };
            let mut buckets: Vec<(f64, f64)> = scrape
                .samples
                .iter()
                .filter(|(bucket, _)| of_series(bucket))
                .map(|(bucket, value)| {
                    let bound = bucket.split("le=\"").nth(1).unwrap().split('"').next().unwrap();
                    (bound.parse().unwrap(), *value)
                })
                .collect();
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{series}: {buckets:?}");
            assert_eq!(buckets.last(), Some(&(f64::INFINITY, *count)), "{series}");
            assert!(scrape.samples.contains_key(&series.replace("_count", "_sum")), "{series}");
        }
    }
}
