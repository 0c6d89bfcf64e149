//! Aggregates and window functions in `DuckDB`'s words.
//!
//! What follows the order of rows says it: the keys that the call has, then those of its input's
//! order, or all its columns where that has none. Nulls, which aggregates leave out here, are
//! filtered.

use arrow::datatypes::{DataType, Schema};

use super::{
    Names, Written,
    expression::{all, text, type_name},
    name, sort_keys,
};
use crate::{
    expr::{
        Aggregate, AggregateFunction, SortKey,
        window::{Frame, FrameBound, FrameUnit, Kind, Offset, WindowFunction},
    },
    plan::Order,
};

/// What rows are ordered by where nothing else says it; `None` where SQL can't say it.
pub(super) fn ties(order: &Order, schema: &Schema) -> Option<Vec<SortKey>> {
    let ascending = |column| SortKey { column, descending: false, nulls_first: false };
    match order {
        Order::Source => None,
        Order::Sorted(keys) => Some(keys.clone()),
        Order::None => Some((0..schema.fields().len()).map(ascending).collect()),
    }
}

/// An aggregate, in the type that it has here, over rows whose ties are told apart so.
pub(super) fn aggregate(
    call: &Aggregate,
    schema: &Schema,
    ties: Option<&[SortKey]>,
    names: Names<'_>,
) -> Written {
    cast(call.function, &call.data_type, plain(call, schema, ties, names)?)
}

/// The call alone, which `over` may follow.
fn plain(call: &Aggregate, schema: &Schema, ties: Option<&[SortKey]>, names: Names<'_>) -> Written {
    use AggregateFunction as F;
    let mut arguments = all(&call.arguments, names)?;
    let mut conditions = Vec::new();
    if let Some(filter) = &call.filter {
        conditions.push(text(filter, names)?);
    }
    let mut order = Vec::new();
    let refused = |why: &str| Err(format!("`{}` {why}", call.function.name()));
    let present = |argument: &String| format!("{argument} is not null");
    let word = match call.function {
        F::Every => "bool_and",
        F::Any => "bool_or",
        F::AnyValue if call.data_type.is_nested() => return refused("of nested values has no SQL"),
        F::AnyValue => "min",
        F::StddevSamp => "stddev_samp",
        F::VarSamp => "var_samp",
        F::MinBy | F::MaxBy => "first",
        F::ApproxCountDistinct | F::ApproxQuantile => {
            return refused("is approximate, and so another number in each engine");
        }
        F::FirstRow => return refused("stands beside other aggregates"),
        F::Mode => return mode(call, &arguments, &conditions),
        other => other.name(),
    };
    match call.function {
        F::Median | F::QuantileCont => {
            arguments[0] = format!("cast({} as DOUBLE)", arguments[0]);
        }
        F::Count if arguments.len() > 1 => {
            conditions.extend(arguments.iter().map(present));
            arguments = if call.distinct {
                vec![format!("({})", arguments.join(", "))]
            } else {
                Vec::new()
            };
        }
        F::MinBy | F::MaxBy => {
            conditions.extend(arguments.iter().map(present));
            let by = arguments.pop().unwrap_or_default();
            let direction = if call.function == F::MaxBy { " desc" } else { "" };
            order.push(format!("{by}{direction} nulls last"));
        }
        F::First | F::Last | F::ArrayAgg => conditions.push(present(&arguments[0])),
        _ => {}
    }
    for key in &call.order_by {
        order.push(order_key(&text(&key.expr, names)?, key.descending, key.nulls_first));
    }
    if call.function.follows_order() {
        if call.distinct {
            // Each value once: those that are equal in the value have no other order.
            if call.order_by.is_empty() {
                order.push(order_key(&arguments[0], false, false));
            } else if call.order_by.iter().any(|key| key.expr != call.arguments[0]) {
                return refused("of different values is ordered by these alone in SQL");
            }
        } else if let Some(ties) = ties {
            let ties = ties.iter().map(|key| {
                let text = names(key.column, schema.field(key.column).name());
                order_key(&text, key.descending, key.nulls_first)
            });
            order.extend(ties);
        } else if order.is_empty() {
            return refused("follows the rows of files; say `order by` to have SQL for it");
        }
    }
    let distinct = if call.distinct { "distinct " } else { "" };
    let arguments = if arguments.is_empty() { String::from("*") } else { arguments.join(", ") };
    let order = match &order[..] {
        [] => String::new(),
        keys => format!(" order by {}", keys.join(", ")),
    };
    let filter = filter(&conditions);
    Ok(format!("{word}({distinct}{arguments}{order}){filter}"))
}

/// Its sums of whole numbers are wider than those here.
fn cast(function: AggregateFunction, data_type: &DataType, written: String) -> Written {
    match function {
        AggregateFunction::Sum if *data_type != DataType::Float64 => {
            Ok(format!("cast({written} as {})", type_name(data_type)?))
        }
        _ => Ok(written),
    }
}

/// The least of the values that come most often; `DuckDB`'s `mode` gives the one it met first.
fn mode(call: &Aggregate, arguments: &[String], conditions: &[String]) -> Written {
    if call.distinct {
        return Err(String::from("a `mode` of different values has no SQL"));
    }
    let counts = format!("map_entries(histogram({}){})", arguments.join(", "), filter(conditions));
    let most = format!("list_max([e.value for e in {counts}])");
    Ok(format!("list_min([e.key for e in {counts} if e.value = {most}])"))
}

fn filter(conditions: &[String]) -> String {
    match conditions {
        [] => String::new(),
        all => format!(" filter (where {})", all.join(" and ")),
    }
}

fn order_key(text: &str, descending: bool, nulls_first: bool) -> String {
    let direction = if descending { " desc" } else { "" };
    let nulls = if nulls_first { "first" } else { "last" };
    format!("{text}{direction} nulls {nulls}")
}

/// What a window's functions are called over.
pub(super) struct Window<'a> {
    /// The input's columns.
    pub(super) schema: &'a Schema,
    /// The columns whose equal values make a partition.
    pub(super) partition_by: &'a [usize],
    /// The keys of its order.
    pub(super) order_by: &'a [SortKey],
    /// What tells rows apart that are equal in those; open where SQL can't say it.
    pub(super) ties: Option<Vec<SortKey>>,
    /// How columns are called.
    pub(super) names: Names<'a>,
}

impl Window<'_> {
    /// A function over it, in the type that it has here.
    pub(super) fn call(&self, call: &WindowFunction) -> Written {
        let arguments = all(&call.arguments, self.names)?;
        let nulls = if call.ignore_nulls { " ignore nulls" } else { "" };
        let first = arguments.first().cloned().unwrap_or_default();
        let by_rows = call.frame.unit == FrameUnit::Rows;
        // The order of rows that a frame holds to be equal can't stand in `over`.
        let total = self.total();
        let within = if by_rows || total.is_empty() {
            String::new()
        } else {
            format!(" order by {}", sort_keys(&total, self.schema))
        };
        let (text, is_total) = match &call.function {
            Kind::RowNumber => (String::from("row_number()"), true),
            Kind::Rank => (String::from("rank()"), false),
            Kind::DenseRank => (String::from("dense_rank()"), false),
            Kind::PercentRank => (String::from("percent_rank()"), false),
            Kind::CumeDist => (String::from("cume_dist()"), false),
            Kind::Ntile(tiles) => (format!("ntile({tiles})"), true),
            Kind::Lag(rows) => {
                let word = if *rows < 0 { "lead" } else { "lag" };
                let default = arguments.get(1).map(|d| format!(", {d}")).unwrap_or_default();
                (format!("{word}({first}, {}{default}{nulls})", rows.unsigned_abs()), true)
            }
            Kind::FirstValue => (format!("first_value({first}{within}{nulls})"), by_rows),
            Kind::LastValue => (format!("last_value({first}{within}{nulls})"), by_rows),
            Kind::NthValue(place) => {
                (format!("nth_value({first}, {place}{within}{nulls})"), by_rows)
            }
            Kind::Aggregate(call) => (plain(call, self.schema, Some(&total), self.names)?, by_rows),
        };
        let mut over = Vec::new();
        if !self.partition_by.is_empty() {
            let names =
                self.partition_by.iter().map(|column| name(self.schema.field(*column).name()));
            over.push(format!("partition by {}", names.collect::<Vec<_>>().join(", ")));
        }
        let keys = if is_total { &total[..] } else { self.order_by };
        if !keys.is_empty() {
            over.push(format!("order by {}", sort_keys(keys, self.schema)));
        }
        if call.function.has_frame() {
            let key = self.order_by.first().map(|key| self.schema.field(key.column).data_type());
            over.push(frame(&call.frame, key));
        }
        let text = format!("{text} over ({})", over.join(" "));
        match &call.function {
            Kind::Aggregate(aggregate) => cast(aggregate.function, &call.data_type, text),
            _ => Ok(text),
        }
    }

    /// The order's keys with those that tell equal rows apart.
    fn total(&self) -> Vec<SortKey> {
        let mut keys = self.order_by.to_vec();
        for key in self.ties.iter().flatten() {
            let is_known = self.partition_by.contains(&key.column)
                || keys.iter().any(|known| known.column == key.column);
            if !is_known {
                keys.push(key.clone());
            }
        }
        keys
    }
}

/// The frame of an order whose only key has this type, where its bounds are distances.
fn frame(frame: &Frame, key: Option<&DataType>) -> String {
    let unit = match frame.unit {
        FrameUnit::Rows => "rows",
        FrameUnit::Range => "range",
        FrameUnit::Groups => "groups",
    };
    let offset = |offset: &Offset| match offset {
        Offset::Count(count) => count.to_string(),
        Offset::Ticks(ticks) => match key {
            Some(DataType::Decimal128(_, scale)) => decimal(*ticks, *scale),
            Some(key) if key.is_temporal() => format!("to_microseconds({})", ticks / 1000),
            _ => ticks.to_string(),
        },
        Offset::Float(bits) => format!("{:?}", f64::from_bits(*bits)),
        Offset::Calendar { months, nanoseconds } => {
            format!("(to_months({months}) + to_microseconds({}))", nanoseconds / 1000)
        }
    };
    let bound = |bound: &FrameBound| match bound {
        FrameBound::UnboundedPreceding => String::from("unbounded preceding"),
        FrameBound::Preceding(by) => format!("{} preceding", offset(by)),
        FrameBound::CurrentRow => String::from("current row"),
        FrameBound::Following(by) => format!("{} following", offset(by)),
        FrameBound::UnboundedFollowing => String::from("unbounded following"),
    };
    format!("{unit} between {} and {}", bound(&frame.start), bound(&frame.end))
}

/// A number without its point as a decimal of so many digits behind it.
fn decimal(digits: i128, scale: i8) -> String {
    let places = usize::from(scale.unsigned_abs());
    let text = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = text.split_at(text.len() - places);
    if fraction.is_empty() { String::from(whole) } else { format!("{whole}.{fraction}") }
}
