//! Two CSV tables that belong together: products, and sales of them.
//!
//! The first column of both is the product's id, so that a join without a key fits them too. With
//! the same seed a sale's price is its product's.

use std::{io::Write, num::NonZeroU64};

use super::{Rows, random::Random, text, zipf::Zipf};

/// The columns of products.
pub(crate) const PRODUCTS_HEADER: &str = "product_id,name,category,price";
/// The columns of sales.
pub(crate) const SALES_HEADER: &str = "product_id,sale_id,quantity,unit_price,sold_on";

const CATEGORIES: [&str; 8] =
    ["audio", "books", "camera", "garden", "kitchen", "laptop", "phone", "toys"];
/// The days of 2024 and 2025.
const DAYS: u64 = 366 + 365;
const MONTHS: [u64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Products with the ids 1, 2, 3 and so on.
pub(crate) struct Products {
    seed: u64,
    id: u64,
    name: String,
}

impl Products {
    /// The products of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, id: 0, name: String::new() }
    }
}

impl Rows for Products {
    fn append(&mut self, row: &mut Vec<u8>) {
        self.id += 1;
        self.name.clear();
        text::push_word(&mut self.name, self.id);
        let (price, category) = of_product(self.seed, self.id);
        push(row, format_args!("{},", self.id));
        text::push_capitalised(row, &self.name);
        push(row, format_args!(",{category},{}.{:02}\n", price / 100, price % 100));
    }
}

/// Sales with ids of their own, of products that are drawn by Zipf's law.
pub(crate) struct Sales {
    seed: u64,
    random: Random,
    zipf: Zipf,
    id: u64,
}

impl Sales {
    /// Sales of the products 1 to `products`; with an exponent of 0 all sell alike.
    pub(crate) fn new(seed: u64, products: NonZeroU64, exponent: f64) -> Self {
        let zipf = Zipf::new(products, exponent);
        Self { seed, random: Random::new(seed), zipf, id: 0 }
    }
}

impl Rows for Sales {
    fn append(&mut self, row: &mut Vec<u8>) {
        self.id += 1;
        let product = self.zipf.draw(&mut self.random);
        let (price, _) = of_product(self.seed, product);
        let quantity = 1 + self.random.below(9);
        let (year, month, day) = date(self.random.below(DAYS));
        let (id, units, cents) = (self.id, price / 100, price % 100);
        push(
            row,
            format_args!(
                "{product},{id},{quantity},{units}.{cents:02},{year}-{month:02}-{day:02}\n"
            ),
        );
    }
}

/// A product's price in cents and its category.
fn of_product(seed: u64, id: u64) -> (u64, &'static str) {
    let mut random = Random::new(seed ^ id.rotate_left(32));
    let price = 99 + random.below(99_901);
    (price, CATEGORIES[usize::try_from(random.below(8)).unwrap_or(0)])
}

/// The date so many days, fewer than [`DAYS`], behind the first of January 2024.
fn date(day: u64) -> (u64, u64, u64) {
    let (year, mut day) = if day < 366 { (2024, day) } else { (2025, day - 366) };
    for (month, days) in (1..).zip(MONTHS) {
        let days = if year == 2024 && month == 2 { 29 } else { days };
        if day < days {
            return (year, month, day + 1);
        }
        day -= days;
    }
    (year, 12, 31)
}

/// Appends formatted text.
pub(super) fn push(row: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // A vector takes whatever is written.
    drop(row.write_fmt(text));
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        num::NonZeroU64,
    };

    use super::{Products, Sales, date};
    use crate::generate::{Amount, Rows, write};

    fn rows(rows: &mut dyn Rows, count: u64) -> Vec<Vec<String>> {
        let mut out = Vec::new();
        write(rows, None, Amount::Rows(count), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
    }

    #[test]
    fn every_sale_is_of_a_product_at_its_price() {
        let prices: BTreeMap<String, String> = rows(&mut Products::new(3), 20)
            .into_iter()
            .map(|product| (product[0].clone(), product[3].clone()))
            .collect();
        assert_eq!(prices.len(), 20);
        let mut sales = Sales::new(3, NonZeroU64::new(20).unwrap(), 0.0);
        let sales = rows(&mut sales, 1000);
        let sold: BTreeSet<&str> = sales.iter().map(|sale| sale[0].as_str()).collect();
        assert_eq!(sold.len(), 20, "a product that never sells");
        for (number, sale) in (1..).zip(&sales) {
            assert_eq!(sale.len(), 5);
            assert_eq!(sale[1], number.to_string());
            assert_eq!(prices[&sale[0]], sale[3]);
        }
    }

    #[test]
    fn skew_prefers_the_first_products() {
        let sold = |exponent| {
            let mut sales = Sales::new(3, NonZeroU64::new(1000).unwrap(), exponent);
            rows(&mut sales, 1000).iter().filter(|sale| sale[0] == "1").count()
        };
        // 1/1000 of all, and 1/zeta(2) = 0.608 of all.
        assert!(sold(0.0) < 10, "{}", sold(0.0));
        assert!((550..660).contains(&sold(2.0)), "{}", sold(2.0));
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(date(0), (2024, 1, 1));
        assert_eq!(date(59), (2024, 2, 29));
        assert_eq!(date(60), (2024, 3, 1));
        assert_eq!(date(365), (2024, 12, 31));
        assert_eq!(date(366), (2025, 1, 1));
        assert_eq!(date(366 + 59), (2025, 3, 1));
        assert_eq!(date(730), (2025, 12, 31));
    }
}
