//! Window functions: over what, in whichever words.

use arrow::datatypes::{DataType, Schema};

use super::{
    Dialect, Scope, Written,
    aggregate::{self, Key, keys, sort_keys},
    duckdb,
    expression::all,
    refused, spark,
};
use crate::expr::{
    SortKey,
    window::{Frame, FrameBound, FrameUnit, Kind, Offset, WindowFunction},
};

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
    /// Where it stands.
    pub(super) scope: Scope<'a>,
}

/// The value of a row of the frame.
pub(super) struct Picked {
    /// Of which row: from 1, or from the end where negative.
    pub(super) place: i64,
    /// The value.
    pub(super) value: String,
    /// Whether rows without one are passed over.
    pub(super) ignores_nulls: bool,
    /// The order of the frame's rows, where it does not stand in `over`.
    pub(super) within: Vec<Key>,
}

impl Window<'_> {
    /// A function over it, in the type that it has here.
    pub(super) fn call(&self, call: &WindowFunction) -> Written {
        let dialect = self.scope.dialect;
        let arguments = all(&call.arguments, self.scope)?;
        let nulls = if call.ignore_nulls { " ignore nulls" } else { "" };
        let first = arguments.first().cloned().unwrap_or_default();
        let by_rows = call.frame.unit == FrameUnit::Rows;
        let total = self.total();
        let is_total = match &call.function {
            Kind::RowNumber | Kind::Ntile(_) | Kind::Lag(_) => true,
            Kind::Rank | Kind::DenseRank | Kind::PercentRank | Kind::CumeDist => false,
            Kind::FirstValue | Kind::LastValue | Kind::NthValue(_) | Kind::Aggregate(_) => by_rows,
        };
        if is_total && total.is_empty() && self.ties.is_none() && dialect == Dialect::Spark {
            return refused("a window over the rows of files without `order_by` has no SQL");
        }
        let over = self.over(call, if is_total { &total } else { self.order_by })?;
        let picked = |place: i64| {
            // The order of rows that a frame holds to be equal can't stand in `over`.
            let within = if by_rows { Vec::new() } else { keys(&total, self.schema, self.scope) };
            let ignores_nulls = call.ignore_nulls;
            let picked = Picked { place, value: first.clone(), ignores_nulls, within };
            match dialect {
                Dialect::DuckDb => duckdb::picked(&picked, &over),
                Dialect::Spark => spark::picked(&picked, &over, total.len() > self.order_by.len()),
            }
        };
        let text = match &call.function {
            Kind::RowNumber => format!("row_number(){over}"),
            Kind::Rank => format!("rank(){over}"),
            Kind::DenseRank => format!("dense_rank(){over}"),
            Kind::PercentRank => format!("percent_rank(){over}"),
            Kind::CumeDist => format!("cume_dist(){over}"),
            Kind::Ntile(tiles) => format!("ntile({tiles}){over}"),
            Kind::Lag(rows) => {
                let word = if *rows < 0 { "lead" } else { "lag" };
                let default = arguments.get(1).map(|d| format!(", {d}")).unwrap_or_default();
                let rows = rows.unsigned_abs();
                match dialect {
                    Dialect::DuckDb => format!("{word}({first}, {rows}{default}{nulls}){over}"),
                    Dialect::Spark => format!("{word}({first}, {rows}{default}){nulls}{over}"),
                }
            }
            Kind::FirstValue => picked(1),
            Kind::LastValue => picked(-1),
            Kind::NthValue(place) => picked(i64::try_from(*place).unwrap_or(i64::MAX)),
            Kind::Aggregate(call) => {
                return aggregate::over(call, self.schema, Some(&total), over, self.scope);
            }
        };
        let is_number = matches!(
            call.function,
            Kind::RowNumber | Kind::Rank | Kind::DenseRank | Kind::Ntile(_)
        );
        // Which are of 32 bits there.
        Ok(if is_number && dialect == Dialect::Spark { spark::long(&text) } else { text })
    }

    /// ` over (…)` of a call, with the rows in the order of `order`.
    fn over(&self, call: &WindowFunction, order: &[SortKey]) -> Written {
        let dialect = self.scope.dialect;
        let mut over = Vec::new();
        if !self.partition_by.is_empty() {
            let names = self
                .partition_by
                .iter()
                .map(|column| dialect.name(self.schema.field(*column).name()));
            over.push(format!("partition by {}", names.collect::<Vec<_>>().join(", ")));
        }
        let has_frame = call.function.has_frame();
        if !order.is_empty() {
            over.push(format!("order by {}", sort_keys(order, self.schema, self.scope)));
        } else if dialect == Dialect::Spark && !has_frame {
            // It wants an order, also of rows that are all equal.
            over.push(String::from("order by null"));
        }
        if has_frame {
            let key = self.order_by.first().map(|key| self.schema.field(key.column).data_type());
            over.push(frame(&call.frame, key, order.is_empty(), dialect)?);
        }
        Ok(format!(" over ({})", over.join(" ")))
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
fn frame(frame: &Frame, key: Option<&DataType>, is_unordered: bool, dialect: Dialect) -> Written {
    let unit = match frame.unit {
        FrameUnit::Rows => "rows",
        FrameUnit::Range if is_unordered && dialect == Dialect::Spark => {
            // All rows are equal; Spark has no such frame of values.
            return Ok(String::from("rows between unbounded preceding and unbounded following"));
        }
        FrameUnit::Range => "range",
        FrameUnit::Groups if dialect == Dialect::Spark => {
            return refused("a frame of `groups` has no SQL in Spark");
        }
        FrameUnit::Groups => "groups",
    };
    let distance = |offset: &Offset| match dialect {
        Dialect::DuckDb => Ok(duckdb::distance(offset, key)),
        Dialect::Spark => spark::distance(offset, key),
    };
    let bound = |bound: &FrameBound| -> Written {
        Ok(match bound {
            FrameBound::UnboundedPreceding => String::from("unbounded preceding"),
            FrameBound::Preceding(by) => format!("{} preceding", distance(by)?),
            FrameBound::CurrentRow => String::from("current row"),
            FrameBound::Following(by) => format!("{} following", distance(by)?),
            FrameBound::UnboundedFollowing => String::from("unbounded following"),
        })
    };
    Ok(format!("{unit} between {} and {}", bound(&frame.start)?, bound(&frame.end)?))
}

/// A number without its point as a decimal of so many digits behind it.
pub(super) fn decimal(digits: i128, scale: i8) -> String {
    let places = usize::from(scale.unsigned_abs());
    let text = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = text.split_at(text.len() - places);
    if fraction.is_empty() { String::from(whole) } else { format!("{whole}.{fraction}") }
}
