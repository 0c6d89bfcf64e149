//! The table of the aggregates: names, what they take, what they give, an example each.

use arrow::datatypes::DataType;

use crate::{
    expr::{aggregate::AggregateFunction, parse::type_name},
    kernels::hash::is_key,
};

/// What an aggregate is called, takes and gives.
pub struct Definition {
    /// Which.
    pub function: AggregateFunction,
    /// Its name in documents.
    pub name: &'static str,
    /// Other names it is known by.
    pub aliases: &'static [&'static str],
    /// How it is called, for people.
    pub signature: &'static str,
    /// The type it gives, for people.
    pub result: &'static str,
    /// What it makes of nulls and of no rows, for people.
    pub nulls: &'static str,
    /// What it does, for people.
    pub about: &'static str,
    /// A call over [`EXAMPLE_ROWS`].
    pub example: &'static str,
    /// What it gives, as text.
    pub example_result: &'static str,
}

/// The rows of the examples: columns `n` int64, `x` float64, `s` string, `ok` bool; an empty cell
/// is null.
pub const EXAMPLE_ROWS: &str =
    "n,x,s,ok\n1,0.5,a,true\n2,1.5,b,true\n2,,a,\n,2.5,,false\n7,-1,c,true\n";

/// A call of one argument; the rows of the table say what differs.
const fn row(
    function: AggregateFunction,
    name: &'static str,
    about: &'static str,
    example: (&'static str, &'static str),
) -> Definition {
    Definition {
        function,
        name,
        aliases: &[],
        signature: "(x)",
        result: "float64",
        nulls: "nulls are left out; null over no values",
        about,
        example: example.0,
        example_result: example.1,
    }
}

/// The aggregates that documents may name.
pub static AGGREGATES: [Definition; 38] = [
    Definition {
        result: "int64, uint64 of unsigned, decimal(38,s), float64, duration",
        ..row(
            AggregateFunction::Sum,
            "sum",
            "the sum: exact, an overflow of the result is an error; of floats the same bits \
             whatever the order",
            ("sum(n)", "12"),
        )
    },
    Definition {
        signature: "(*) or (x, ...)",
        result: "int64",
        nulls: "`count(*)` counts all rows, `count(x)` those that are not null; 0 over none",
        ..row(AggregateFunction::Count, "count", "how many rows, or values", ("count(n)", "4"))
    },
    Definition {
        signature: "(x, ...)",
        result: "int64",
        nulls: "rows with a null are left out; 0 over none",
        ..row(
            AggregateFunction::Count,
            "count_distinct",
            "how many different values: `count(distinct x)`",
            ("count_distinct(n)", "3"),
        )
    },
    Definition {
        aliases: &["countif"],
        signature: "(condition)",
        result: "int64",
        nulls: "a null counts as false; 0 over none",
        ..row(
            AggregateFunction::Count,
            "count_if",
            "how many rows for which a condition is true",
            ("count_if(n > 1)", "3"),
        )
    },
    Definition {
        result: "the argument's",
        ..row(
            AggregateFunction::Min,
            "min",
            "the least value: text and binary by bytes, NaN the greatest",
            ("min(s)", "a"),
        )
    },
    Definition {
        result: "the argument's",
        ..row(
            AggregateFunction::Max,
            "max",
            "the greatest value: text and binary by bytes, NaN the greatest",
            ("max(x)", "2.5"),
        )
    },
    Definition {
        aliases: &["mean"],
        result: "float64, duration of durations",
        ..row(
            AggregateFunction::Avg,
            "avg",
            "the mean: an exact sum, divided once",
            ("avg(n)", "3.0"),
        )
    },
    Definition {
        aliases: &["approx_distinct"],
        result: "int64",
        nulls: "nulls are left out; 0 over none",
        ..row(
            AggregateFunction::ApproxCountDistinct,
            "approx_count_distinct",
            "about how many different values, mostly right to 2 %: a HyperLogLog of 4,096 registers \
             over the engine's specified hash",
            ("approx_count_distinct(s)", "3"),
        )
    },
    Definition {
        aliases: &["arg_min", "argmin"],
        signature: "(x, y)",
        result: "x's",
        nulls: "rows where x or y is null are left out; null over none",
        ..row(
            AggregateFunction::MinBy,
            "min_by",
            "x where y is least; the first of several in the input's order",
            ("min_by(s, x)", "c"),
        )
    },
    Definition {
        aliases: &["arg_max", "argmax"],
        signature: "(x, y)",
        result: "x's",
        nulls: "rows where x or y is null are left out; null over none",
        ..row(
            AggregateFunction::MaxBy,
            "max_by",
            "x where y is greatest; the first of several in the input's order",
            ("max_by(s, n)", "c"),
        )
    },
    Definition {
        aliases: &["first_value"],
        signature: "(x [order by ...])",
        result: "the argument's",
        ..row(
            AggregateFunction::First,
            "first",
            "the first value that is not null, in the given order, then the input's; by all columns \
             where it has none",
            ("first(s order by n desc)", "c"),
        )
    },
    Definition {
        aliases: &["last_value"],
        signature: "(x [order by ...])",
        result: "the argument's",
        ..row(
            AggregateFunction::Last,
            "last",
            "the last value that is not null, in the given order, then the input's; by all columns \
             where it has none",
            ("last(x)", "-1.0"),
        )
    },
    Definition {
        aliases: &["arbitrary"],
        result: "the argument's",
        ..row(
            AggregateFunction::AnyValue,
            "any_value",
            "a value, whichever, but always the same: the least, or the first of a type without an \
             order",
            ("any_value(n)", "1"),
        )
    },
    Definition {
        aliases: &["stddev_samp"],
        nulls: "nulls are left out; null over fewer than two values",
        ..row(
            AggregateFunction::StddevSamp,
            "stddev",
            "standard deviation of a sample",
            ("stddev(n)", "2.70801280154532"),
        )
    },
    row(
        AggregateFunction::StddevPop,
        "stddev_pop",
        "standard deviation of a population",
        ("stddev_pop(x)", "1.2930100540985752"),
    ),
    Definition {
        aliases: &["var_samp"],
        nulls: "nulls are left out; null over fewer than two values",
        ..row(
            AggregateFunction::VarSamp,
            "variance",
            "variance of a sample",
            ("variance(x)", "2.2291666666666665"),
        )
    },
    row(
        AggregateFunction::VarPop,
        "var_pop",
        "variance of a population",
        ("var_pop(x)", "1.671875"),
    ),
    Definition {
        signature: "(y, x)",
        nulls: "rows with a null are left out; null over fewer than two rows",
        ..row(
            AggregateFunction::CovarSamp,
            "covar_samp",
            "covariance of a sample",
            ("covar_samp(n, x)", "-3.416666666666667"),
        )
    },
    Definition {
        signature: "(y, x)",
        nulls: "rows with a null are left out; null over none",
        ..row(
            AggregateFunction::CovarPop,
            "covar_pop",
            "covariance of a population",
            ("covar_pop(n, x)", "-2.277777777777778"),
        )
    },
    Definition {
        signature: "(y, x)",
        nulls: "rows with a null are left out; null over none, and where one side never changes",
        ..row(
            AggregateFunction::Corr,
            "corr",
            "Pearson's coefficient of correlation",
            ("corr(n, x)", "-0.8446877845160875"),
        )
    },
    Definition {
        signature: "(y, x)",
        nulls: "rows with a null are left out; null over none, and where x never changes",
        ..row(
            AggregateFunction::RegrSlope,
            "regr_slope",
            "slope of the line through the points (x, y), by least squares",
            ("regr_slope(n, x)", "-2.1578947368421058"),
        )
    },
    Definition {
        signature: "(y, x)",
        nulls: "rows with a null are left out; null over none, and where x never changes",
        ..row(
            AggregateFunction::RegrIntercept,
            "regr_intercept",
            "where the line of regr_slope meets x = 0",
            ("regr_intercept(n, x)", "4.052631578947369"),
        )
    },
    Definition {
        signature: "(y, x)",
        nulls: "rows with a null are left out; null over none, and where x never changes",
        ..row(
            AggregateFunction::RegrR2,
            "regr_r2",
            "the part of y's variance that the line of regr_slope explains",
            ("regr_r2(n, x)", "0.7134974533106963"),
        )
    },
    Definition {
        nulls: "nulls are left out; null over fewer than three values, and where they are equal",
        ..row(
            AggregateFunction::Skewness,
            "skewness",
            "skewness, with the correction for a sample",
            ("skewness(n)", "1.8128019580592636"),
        )
    },
    Definition {
        nulls: "nulls are left out; null over fewer than four values, and where they are equal",
        ..row(
            AggregateFunction::Kurtosis,
            "kurtosis",
            "excess kurtosis, with the correction for a sample",
            ("kurtosis(n)", "3.4834710743801622"),
        )
    },
    row(
        AggregateFunction::Median,
        "median",
        "the value in the middle, exact; between two, their mean",
        ("median(n)", "2.0"),
    ),
    Definition {
        aliases: &["percentile_cont"],
        signature: "(x, q), or (q) within group (order by x)",
        ..row(
            AggregateFunction::QuantileCont,
            "quantile_cont",
            "the quantile q (a constant from 0 to 1), exact; between two values in proportion",
            ("quantile_cont(n, 0.9)", "5.500000000000001"),
        )
    },
    Definition {
        aliases: &["percentile_disc", "quantile"],
        signature: "(x, q), or (q) within group (order by x)",
        result: "the argument's",
        ..row(
            AggregateFunction::QuantileDisc,
            "quantile_disc",
            "the least value that has the part q (a constant from 0 to 1) of all at or below it, of \
             any type with an order",
            ("quantile_disc(s, 0.75)", "b"),
        )
    },
    Definition {
        aliases: &["approx_percentile"],
        signature: "(x, q)",
        ..row(
            AggregateFunction::ApproxQuantile,
            "approx_quantile",
            "quantile_disc in bounded memory: values are counted by sign, exponent and the first 8 \
             bits of their fraction, so that the result is right to 0.4 % of itself, and the same \
             whatever the order",
            ("approx_quantile(n, 0.5)", "2.0"),
        )
    },
    Definition {
        signature: "(x), or () within group (order by x)",
        result: "the argument's",
        ..row(
            AggregateFunction::Mode,
            "mode",
            "the value that comes most often; the least of several",
            ("mode(s)", "a"),
        )
    },
    Definition {
        aliases: &["bool_and"],
        result: "bool",
        ..row(
            AggregateFunction::Every,
            "every",
            "whether a condition is true for all",
            ("every(ok)", "false"),
        )
    },
    Definition {
        aliases: &["bool_or", "some"],
        result: "bool",
        ..row(
            AggregateFunction::Any,
            "any",
            "whether a condition is true for one",
            ("bool_or(ok)", "true"),
        )
    },
    Definition {
        result: "the argument's, a whole number",
        ..row(AggregateFunction::BitAnd, "bit_and", "bitwise and", ("bit_and(n)", "0"))
    },
    Definition {
        result: "the argument's, a whole number",
        ..row(AggregateFunction::BitOr, "bit_or", "bitwise or", ("bit_or(n)", "7"))
    },
    Definition {
        result: "the argument's, a whole number",
        ..row(AggregateFunction::BitXor, "bit_xor", "bitwise exclusive or", ("bit_xor(n)", "6"))
    },
    row(
        AggregateFunction::Product,
        "product",
        "the product, multiplied from the least value to the greatest, so that it is always the same",
        ("product(n)", "28.0"),
    ),
    Definition {
        aliases: &["listagg", "group_concat"],
        signature: "([distinct] s[, separator] [order by ...])",
        result: "string",
        ..row(
            AggregateFunction::StringAgg,
            "string_agg",
            "texts with a separator (a comma) between them, in the given order, then the input's",
            ("string_agg(s, '-' order by n desc)", "c-b-a-a"),
        )
    },
    Definition {
        aliases: &["list", "collect_list"],
        signature: "([distinct] x [order by ...])",
        result: "list<t>",
        ..row(
            AggregateFunction::ArrayAgg,
            "array_agg",
            "the values that are not null as a list, in the given order, then the input's",
            ("array_agg(n)", "[1, 2, 2, 7]"),
        )
    },
];

/// The aggregate of this name or alias, whatever its case.
pub fn find(name: &str) -> Option<&'static Definition> {
    AGGREGATES.iter().find(|definition| {
        let mut names = std::iter::once(&definition.name).chain(definition.aliases);
        names.any(|known| known.eq_ignore_ascii_case(name))
    })
}

/// Whether values of a type have an order, which min and max go by.
pub fn is_ordered(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Utf8View
            | DataType::BinaryView
            | DataType::Date32
            | DataType::Date64
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Timestamp(..)
            | DataType::Duration(_)
    ) || data_type.is_numeric()
}

/// The type of `function` over arguments of these types.
///
/// # Errors
/// Why they don't do.
pub fn result_type(function: AggregateFunction, types: &[DataType]) -> Result<DataType, String> {
    use AggregateFunction as F;
    let name = function.name();
    let (least, most) = match function {
        F::Count => (0, usize::MAX),
        F::FirstRow => (1, usize::MAX),
        F::MinBy
        | F::MaxBy
        | F::CovarSamp
        | F::CovarPop
        | F::Corr
        | F::RegrSlope
        | F::RegrIntercept
        | F::RegrR2
        | F::QuantileCont
        | F::QuantileDisc
        | F::ApproxQuantile
        | F::StringAgg => (2, 2),
        _ => (1, 1),
    };
    if types.len() < least || types.len() > most {
        let takes = if least == 1 { "one argument" } else { "two arguments" };
        return Err(format!("`{name}` takes {takes}, not {}", types.len()));
    }
    if types.contains(&DataType::Null) && !matches!(function, F::Count | F::FirstRow) {
        return Err(format!("the type of null is not known in `{name}`; say cast(null as ...)"));
    }
    let Some(first) = types.first() else { return Ok(DataType::Int64) };
    let wants =
        |what: &str, of: &DataType| Err(format!("`{name}` wants {what}, not {}", type_name(of)));
    let number = |of: &DataType| {
        if of.is_numeric() { Ok(DataType::Float64) } else { wants("a number", of) }
    };
    match function {
        F::ApproxCountDistinct if !is_key(first) => wants("values that can be told apart", first),
        F::Count | F::ApproxCountDistinct => Ok(DataType::Int64),
        F::Sum => match first {
            of if of.is_signed_integer() => Ok(DataType::Int64),
            of if of.is_unsigned_integer() => Ok(DataType::UInt64),
            of if of.is_floating() => Ok(DataType::Float64),
            DataType::Decimal128(_, scale) => Ok(DataType::Decimal128(38, *scale)),
            DataType::Decimal256(_, scale) => Ok(DataType::Decimal256(76, *scale)),
            DataType::Duration(_) => Ok(first.clone()),
            of => wants("a number or a duration", of),
        },
        F::Avg => match first {
            DataType::Duration(_) => Ok(first.clone()),
            of if of.is_numeric() => Ok(DataType::Float64),
            of => wants("a number or a duration", of),
        },
        F::Min | F::Max | F::Mode | F::QuantileDisc if !is_ordered(first) => {
            wants("a type with an order", first)
        }
        F::MinBy | F::MaxBy if !is_ordered(&types[1]) => {
            wants("a type with an order as its second argument", &types[1])
        }
        F::Min
        | F::Max
        | F::Mode
        | F::QuantileDisc
        | F::MinBy
        | F::MaxBy
        | F::First
        | F::Last
        | F::AnyValue => Ok(first.clone()),
        F::FirstRow => {
            let fields = types.iter().enumerate().map(|(index, of)| {
                arrow::datatypes::Field::new(format!("c{index}"), of.clone(), true)
            });
            Ok(DataType::Struct(fields.collect()))
        }
        F::StddevSamp
        | F::StddevPop
        | F::VarSamp
        | F::VarPop
        | F::Skewness
        | F::Kurtosis
        | F::Product
        | F::Median
        | F::QuantileCont
        | F::ApproxQuantile => number(first),
        F::CovarSamp | F::CovarPop | F::Corr | F::RegrSlope | F::RegrIntercept | F::RegrR2 => {
            number(first).and_then(|_| number(&types[1]))
        }
        F::Every | F::Any => match first {
            DataType::Boolean => Ok(DataType::Boolean),
            of => wants("a condition (bool)", of),
        },
        F::BitAnd | F::BitOr | F::BitXor => match first {
            of if of.is_integer() => Ok(first.clone()),
            of => wants("a whole number", of),
        },
        F::StringAgg => match (first, &types[1]) {
            (DataType::Utf8View, DataType::Utf8View) => Ok(DataType::Utf8View),
            (DataType::Utf8View, other) => wants("a text between texts", other),
            (of, _) => wants("string (say cast(... as string))", of),
        },
        F::ArrayAgg => Ok(DataType::new_list(first.clone(), true)),
    }
}
