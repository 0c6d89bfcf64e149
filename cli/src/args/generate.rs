//! What may be said of data that is made from a seed.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::{generate::dirty::Defect, units::size_bytes};

/// `generate`
#[derive(Debug, Subcommand)]
pub(crate) enum Generate {
    /// Lines of words, to be counted.
    Text(Text),
    /// CSV of sales: product, sale, quantity, price, day.
    Sales(Sales),
    /// CSV of products: id, name, category, price.
    Products(Products),
    /// CSV with bad rows among good ones: id, name, amount, day.
    Dirty(Dirty),
}

/// How much to make, from what and where to.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// How many rows.
    #[arg(long, value_name = "N", required_unless_present = "size", conflicts_with = "size")]
    pub(crate) rows: Option<u64>,
    /// As many whole rows as fit, such as 1GiB.
    #[arg(long, value_name = "SIZE", value_parser = size_bytes)]
    pub(crate) size: Option<u64>,
    /// Another seed is other data of the same kind.
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub(crate) seed: u64,
    /// The file, which appears when it is whole; `-` is stdout.
    pub(crate) output: PathBuf,
}

/// `generate text`
#[derive(Debug, Args)]
pub(crate) struct Text {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How many different words, in lower case.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 262_143,
        value_parser = clap::value_parser!(u64).range(1..=1 << 40)
    )]
    pub(crate) vocabulary: u64,
    /// The exponent of Zipf's law: how much more often frequent words come; 0 is all alike.
    #[arg(long, value_name = "S", default_value = "1", value_parser = exponent)]
    pub(crate) zipf: f64,
    /// Words of a line: a number, or from one to another.
    #[arg(long, value_name = "N|MIN-MAX", default_value = "8-25", value_parser = span)]
    pub(crate) words: (u64, u64),
}

/// `generate sales`
#[derive(Debug, Args)]
pub(crate) struct Sales {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How many products there are: ids from 1 to N.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1000,
        value_parser = clap::value_parser!(u64).range(1..=1 << 40)
    )]
    pub(crate) products: u64,
    /// The exponent of Zipf's law: how much more often the first products sell; 0 is all alike.
    #[arg(long, value_name = "S", default_value = "0", value_parser = exponent)]
    pub(crate) zipf: f64,
    /// Begin with a line of column names.
    #[arg(long)]
    pub(crate) header: bool,
}

/// `generate products`
#[derive(Debug, Args)]
pub(crate) struct Products {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Begin with a line of column names.
    #[arg(long)]
    pub(crate) header: bool,
}

/// `generate dirty`
#[derive(Debug, Args)]
pub(crate) struct Dirty {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The share of bad rows, from 0 to 1.
    #[arg(long, value_name = "SHARE", default_value = "0.01", value_parser = share)]
    pub(crate) bad: f64,
    /// What is wrong with them, all alike [default: all but `too_long`].
    #[arg(long, value_name = "KIND,...", value_enum, value_delimiter = ',')]
    pub(crate) kinds: Vec<Defect>,
    /// The bytes of a name that is too long.
    #[arg(long, value_name = "SIZE", default_value = "17MiB", value_parser = size_bytes)]
    pub(crate) long: u64,
    /// Begin with a line of column names.
    #[arg(long)]
    pub(crate) header: bool,
}

/// An exponent of Zipf's law.
fn exponent(text: &str) -> Result<f64, String> {
    number_up_to(text, 20.0)
}

/// A share of the whole.
fn share(text: &str) -> Result<f64, String> {
    number_up_to(text, 1.0)
}

fn number_up_to(text: &str, most: f64) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=most).contains(number));
    number.ok_or_else(|| format!("expected a number from 0 to {most}"))
}

/// A number from 1 on, or two with a dash between them.
fn span(text: &str) -> Result<(u64, u64), String> {
    let (least, most) = text.split_once('-').unwrap_or((text, text));
    let number = |part: &str| part.parse().ok().filter(|number| (1..=1_000_000).contains(number));
    match (number(least), number(most)) {
        (Some(least), Some(most)) if least <= most => Ok((least, most)),
        _ => Err("expected a number such as 9, or a span such as 8-25".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{Generate, exponent, share, span};
    use crate::args::{Cli, Verb};

    #[test]
    fn data_needs_an_amount_and_a_place() {
        let refused = |line: &str| Cli::try_parse_from(line.split(' ')).is_err();
        let line = "minispark generate text --rows 3 --words 9 -";
        let verb = Cli::try_parse_from(line.split(' ')).unwrap().verb;
        let Some(Verb::Generate(Generate::Text(text))) = verb else { panic!("{line}") };
        assert_eq!((text.common.rows, text.words), (Some(3), (9, 9)));
        assert!(refused("minispark generate text -"));
        assert!(refused("minispark generate text --rows 3"));
        assert!(refused("minispark generate text --rows 3 --size 1MiB -"));
        assert!(refused("minispark generate products --rows 3 --zipf 1 -"));
    }

    #[test]
    fn numbers_have_their_bounds() {
        assert_eq!(span("8-25"), Ok((8, 25)));
        assert!(span("0").is_err() && span("9-8").is_err() && span("-").is_err());
        assert_eq!((exponent("1.25"), share("1")), (Ok(1.25), Ok(1.0)));
        assert!(exponent("-1").is_err() && exponent("NaN").is_err() && share("1.1").is_err());
    }
}
