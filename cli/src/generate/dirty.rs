//! CSV with bad rows of known kinds and numbers, to see what a reader makes of them.
//!
//! Good rows are an id, a name, an amount and a day, every tenth name in quotes with a comma or
//! a doubled quote in it. A bad row takes one line: what stands between line feeds is one row, good
//! or bad, and a reader that goes on behind a bad row at the next line feed finds as many of each
//! kind as were made.

use super::{
    Rows,
    random::Random,
    shop::push,
    text::{push_capitalised, push_word},
};

/// The columns.
pub(crate) const HEADER: &str = "id,name,amount,day";

/// What is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Defect {
    /// A field too many or too few.
    FieldCount,
    /// An amount that is no number.
    Number,
    /// A day that is in no calendar.
    Date,
    /// A quote that is opened and not closed on its line.
    OpenQuote,
    /// Text behind a closing quote.
    StrayQuote,
    /// A name that is not UTF-8.
    Utf8,
    /// A name as long as --long says; only where it is asked for, as such rows fill disks.
    TooLong,
}

impl Defect {
    /// Those that are made where nobody says otherwise.
    pub(crate) const USUAL: [Self; 6] =
        [Self::FieldCount, Self::Number, Self::Date, Self::OpenQuote, Self::StrayQuote, Self::Utf8];

    /// Its name, as options and answers have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FieldCount => "field_count",
            Self::Number => "number",
            Self::Date => "date",
            Self::OpenQuote => "open_quote",
            Self::StrayQuote => "stray_quote",
            Self::Utf8 => "utf8",
            Self::TooLong => "too_long",
        }
    }
}

/// A source of rows, some of them bad.
pub(crate) struct Dirty {
    random: Random,
    defects: Vec<Counted>,
    bad: f64,
    long_bytes: u64,
    id: u64,
    name: String,
    last: Option<usize>,
}

/// A defect, and in how many rows it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    /// What is wrong with them.
    pub(crate) defect: Defect,
    /// How many they are.
    pub(crate) rows: u64,
}

impl Dirty {
    /// Rows of which a share of `bad` has one of the defects, all of them alike; a row that is too
    /// long has a name of `long_bytes`.
    pub(crate) fn new(seed: u64, bad: f64, mut defects: Vec<Defect>, long_bytes: u64) -> Self {
        defects.sort_unstable();
        defects.dedup();
        let defects = defects.into_iter().map(|defect| Counted { defect, rows: 0 }).collect();
        let random = Random::new(seed);
        Self { random, defects, bad, long_bytes, id: 0, name: String::new(), last: None }
    }

    /// How many rows of each kind were made.
    pub(crate) fn counts(&self) -> &[Counted] {
        &self.defects
    }

    fn choose<'a>(&mut self, among: &[&'a str]) -> &'a str {
        let at = self.random.below(among.len() as u64);
        among[usize::try_from(at).unwrap_or(0)]
    }
}

impl Rows for Dirty {
    fn append(&mut self, row: &mut Vec<u8>) {
        self.id += 1;
        let is_bad = !self.defects.is_empty() && self.random.is(self.bad);
        self.last = is_bad
            .then(|| self.random.below(self.defects.len() as u64))
            .and_then(|at| usize::try_from(at).ok());
        let defect = self.last.map(|at| self.defects[at].defect);

        self.name.clear();
        let rank = 1 + self.random.below(1 << 15);
        push_word(&mut self.name, rank);
        push(row, format_args!("{},", self.id));
        match defect {
            Some(Defect::OpenQuote) => {
                row.push(b'"');
                push_capitalised(row, &self.name);
            }
            Some(Defect::StrayQuote) => {
                push(row, format_args!("\"{}\"{0}", self.name));
            }
            Some(Defect::Utf8) => {
                push_capitalised(row, &self.name);
                // A byte that never occurs, and a beginning without its end.
                let bytes: &[u8] = if self.random.is(0.5) { &[0xff] } else { &[0xc3, b'('] };
                row.extend_from_slice(bytes);
            }
            Some(Defect::TooLong) => {
                row.extend(std::iter::repeat_n(
                    b'x',
                    usize::try_from(self.long_bytes).unwrap_or(0),
                ));
            }
            _ => match self.random.below(20) {
                0 => push(row, format_args!("\"{}, {0}\"", self.name)),
                1 => push(row, format_args!("\"the \"\"{}\"\"\"", self.name)),
                _ => push_capitalised(row, &self.name),
            },
        }
        let cents = self.random.below(10_000_000);
        match defect {
            Some(Defect::Number) => {
                let wrong = self.choose(&["n/a", "12x4", "1.2.3", "--5", "one"]);
                push(row, format_args!(",{wrong}"));
            }
            _ => push(row, format_args!(",{}.{:02}", cents / 100, cents % 100)),
        }
        let (month, day) = (1 + self.random.below(12), 1 + self.random.below(28));
        match defect {
            Some(Defect::Date) => {
                let wrong = self.choose(&[
                    "2025-02-30",
                    "2025-13-01",
                    "31/12/2025",
                    "yesterday",
                    "2025-1-1",
                ]);
                push(row, format_args!(",{wrong}"));
            }
            Some(Defect::FieldCount) if self.random.is(0.5) => {}
            Some(Defect::FieldCount) => push(row, format_args!(",2025-{month:02}-{day:02},more")),
            _ => push(row, format_args!(",2025-{month:02}-{day:02}")),
        }
        row.push(b'\n');
    }

    fn keep(&mut self) {
        if let Some(at) = self.last {
            self.defects[at].rows += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::{Counted, Defect, Dirty};
    use crate::generate::{Amount, write};

    fn made(bad: f64, defects: &[Defect], amount: Amount) -> (Vec<u8>, Vec<Counted>) {
        let mut rows = Dirty::new(9, bad, defects.to_vec(), 100);
        let mut out = Vec::new();
        write(&mut rows, None, amount, &mut out).unwrap();
        (out, rows.counts().to_vec())
    }

    fn count(defect: Defect, rows: u64) -> Counted {
        Counted { defect, rows }
    }

    #[test]
    fn names_are_those_of_the_options() {
        for defect in Defect::value_variants() {
            assert_eq!(defect.to_possible_value().unwrap().get_name(), defect.name());
        }
    }

    #[test]
    fn what_is_told_is_what_stands_there() {
        let (text, counts) = made(0.3, &[Defect::Number], Amount::Rows(1000));
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.lines().count(), 1000);
        let wrong = [",n/a,", ",12x4,", ",1.2.3,", ",--5,", ",one,"];
        let bad =
            text.lines().filter(|line| wrong.iter().any(|wrong| line.contains(wrong))).count();
        assert_eq!(counts, [count(Defect::Number, bad as u64)]);
        assert!((250..350).contains(&bad), "{bad}");
    }

    #[test]
    fn a_defect_that_is_the_only_one_is_in_every_bad_row() {
        let bad = |defect| made(1.0, &[defect], Amount::Rows(20)).0;
        for line in bad(Defect::Utf8).split_inclusive(|byte| *byte == b'\n') {
            assert!(std::str::from_utf8(line).is_err(), "{line:?}");
        }
        for line in String::from_utf8(bad(Defect::OpenQuote)).unwrap().lines() {
            assert_eq!(line.matches('"').count(), 1, "{line}");
        }
        for line in String::from_utf8(bad(Defect::TooLong)).unwrap().lines() {
            assert_eq!(line.matches('x').count(), 100, "{line}");
        }
        for line in String::from_utf8(bad(Defect::FieldCount)).unwrap().lines() {
            // One of the quoted names has a comma of its own.
            let fields = line.replace(", ", "").split(',').count();
            assert!(fields == 3 || fields == 5, "{line}");
        }
    }

    #[test]
    fn a_row_that_does_not_fit_is_not_counted() {
        let (text, counts) = made(1.0, &[Defect::TooLong], Amount::Bytes(1000));
        let lines = text.split_inclusive(|byte| *byte == b'\n').count();
        assert!(text.len() <= 1000 && text.ends_with(b"\n"));
        assert_eq!(counts, [count(Defect::TooLong, lines as u64)]);
    }

    #[test]
    fn without_bad_rows_there_are_none() {
        let (text, counts) = made(0.0, &Defect::USUAL, Amount::Rows(1000));
        assert_eq!(String::from_utf8(text).unwrap().lines().count(), 1000);
        assert!(counts.iter().all(|counted| counted.rows == 0));
    }
}
