//! Functions over numbers.
//!
//! What has no value is an error, not NaN: the root of -1, the logarithm of 0. What is too large
//! for a float64 is infinite, as arithmetic has it.

mod round;
mod float;
mod whole;
mod arithmetic;

use super::{Gives, Kind, Overload, Signature};

const ONE: &[Kind] = &[Kind::Float64];
const TWO: &[Kind] = &[Kind::Float64, Kind::Float64];
const WHOLE: &[Kind] = &[Kind::Int64];
const WHOLES: &[Kind] = &[Kind::Int64, Kind::Int64];
const ANY_TWO: &[Kind] = &[Kind::Any, Kind::Any];

const NO_VALUE: &str = "where there is no value (DuckDB gives NaN or an infinity)";

/// One way to round: of whole numbers, floats and decimals, to a number of digits or none.
macro_rules! rounding {
    ($whole:path, $float:path, $decimal:path) => {
        &[
            Overload::new(&[Kind::Whole, Kind::Int64], Gives::Argument(0), $whole).at_least(1),
            Overload::new(&[Kind::Float, Kind::Int64], Gives::Argument(0), $float).at_least(1),
            Overload::new(
                &[Kind::Decimal, Kind::Int64],
                Gives::Of(round::rounded_type, "decimal"),
                $decimal,
            )
            .at_least(1),
        ]
    };
}

/// A function of float64 alone.
macro_rules! of_floats {
    ($name:literal, $parameters:expr, $kernel:path, $about:literal, $example:expr) => {
        Signature::new(
            $name,
            &[Overload::new($parameters, Gives::Float64, $kernel)],
            $about,
            &[$example],
        )
    };
}

/// The functions over numbers.
pub(super) static FUNCTIONS: &[Signature] = &[
    Signature::new(
        "abs",
        &[Overload::new(&[Kind::Number], Gives::Argument(0), round::abs)],
        "without its sign",
        &[("abs(-3)", "3")],
    )
    .fails("where the type has no such number: abs(-128) of int8"),
    Signature::new(
        "sign",
        &[Overload::new(&[Kind::Number], Gives::Int64, round::sign)],
        "-1, 0 or 1; 0 of NaN",
        &[("sign(-2.5)", "-1")],
    )
    .aka(&["signum"])
    .differs("int64, not int8"),
    Signature::new(
        "ceil",
        &[
            Overload::new(&[Kind::Whole], Gives::Argument(0), round::whole_as_it_is),
            Overload::new(&[Kind::Float], Gives::Argument(0), round::ceil),
            Overload::new(
                &[Kind::Decimal],
                Gives::Of(round::rounded_type, "decimal"),
                round::ceil_decimal,
            ),
        ],
        "the least whole number that is not less",
        &[("ceil(1.5)", "2"), ("ceil(cast('-1.5' as decimal(3,1)))", "-1"), ("ceil(7)", "7")],
    )
    .aka(&["ceiling"])
    .fails("where a decimal's digits do not hold the result")
    .differs("whole numbers stay whole, not float64"),
    Signature::new(
        "floor",
        &[
            Overload::new(&[Kind::Whole], Gives::Argument(0), round::whole_as_it_is),
            Overload::new(&[Kind::Float], Gives::Argument(0), round::floor),
            Overload::new(
                &[Kind::Decimal],
                Gives::Of(round::rounded_type, "decimal"),
                round::floor_decimal,
            ),
        ],
        "the greatest whole number that is not greater",
        &[("floor(-1.5)", "-2"), ("floor(7)", "7")],
    )
    .fails("where a decimal's digits do not hold the result")
    .differs("whole numbers stay whole, not float64"),
    Signature::new(
        "round",
        rounding!(round::round_whole, round::round_float, round::round_decimal),
        "`round(x[, n])`: to n digits behind the point (default 0), or before it where n is \
         negative; halves away from zero. Of decimals n must be a constant",
        &[
            ("round(2.5)", "3"),
            ("round(1.245, 2)", "1.25"),
            ("round(cast('12.345' as decimal(5,3)), 1)", "12.3"),
            ("round(1250, -2)", "1300"),
        ],
    )
    .fails("where the type does not hold the result"),
    Signature::new(
        "trunc",
        rounding!(round::trunc_whole, round::trunc_float, round::trunc_decimal),
        "as round, towards zero",
        &[("trunc(-1.7)", "-1"), ("trunc(1.789, 2)", "1.78"), ("trunc(1299, -2)", "1200")],
    )
    .aka(&["truncate"])
    .fails("where the type does not hold the result"),
    of_floats!("sqrt", ONE, float::sqrt, "square root", ("sqrt(16)", "4")).fails(NO_VALUE),
    of_floats!("cbrt", ONE, float::cbrt, "cube root", ("cbrt(27)", "3")),
    of_floats!("exp", ONE, float::exp, "e to the power of x", ("exp(0)", "1")),
    of_floats!("ln", ONE, float::ln, "natural logarithm", ("ln(1)", "0")).fails(NO_VALUE),
    Signature::new(
        "log",
        &[
            Overload::new(ONE, Gives::Float64, float::log10),
            Overload::new(TWO, Gives::Float64, float::log),
        ],
        "`log(x)`: logarithm to base 10; `log(b, x)`: to base b",
        &[("log(1000)", "3"), ("log(2, 8)", "3")],
    )
    .fails(NO_VALUE),
    of_floats!("log10", ONE, float::log10, "logarithm to base 10", ("log10(100)", "2"))
        .fails(NO_VALUE),
    of_floats!("log2", ONE, float::log2, "logarithm to base 2", ("log2(8)", "3")).fails(NO_VALUE),
    of_floats!(
        "pow",
        TWO,
        float::pow,
        "the first to the power of the second",
        ("pow(2, 10)", "1024")
    )
    .aka(&["power"])
    .fails(NO_VALUE),
    of_floats!("sin", ONE, float::sin, "sine, of radians", ("sin(0)", "0")).fails(NO_VALUE),
    of_floats!("cos", ONE, float::cos, "cosine, of radians", ("cos(0)", "1")).fails(NO_VALUE),
    of_floats!("tan", ONE, float::tan, "tangent, of radians", ("tan(0)", "0")).fails(NO_VALUE),
    of_floats!(
        "cot",
        ONE,
        float::cot,
        "cotangent, of radians",
        ("round(cot(1), 10)", "0.6420926159")
    )
    .fails(NO_VALUE),
    of_floats!("asin", ONE, float::asin, "inverse sine, in radians", ("asin(0)", "0"))
        .fails(NO_VALUE),
    of_floats!("acos", ONE, float::acos, "inverse cosine, in radians", ("acos(1)", "0"))
        .fails(NO_VALUE),
    of_floats!("atan", ONE, float::atan, "inverse tangent, in radians", ("atan(0)", "0")),
    of_floats!(
        "atan2",
        TWO,
        float::atan2,
        "`atan2(y, x)`: the angle of the point (x, y), in radians",
        ("atan2(1, 1)", "0.7853981633974483")
    ),
    of_floats!("sinh", ONE, float::sinh, "hyperbolic sine", ("sinh(0)", "0")),
    of_floats!("cosh", ONE, float::cosh, "hyperbolic cosine", ("cosh(0)", "1")),
    of_floats!("tanh", ONE, float::tanh, "hyperbolic tangent", ("tanh(0)", "0")),
    of_floats!("asinh", ONE, float::asinh, "inverse hyperbolic sine", ("asinh(0)", "0")),
    of_floats!("acosh", ONE, float::acosh, "inverse hyperbolic cosine", ("acosh(1)", "0"))
        .fails(NO_VALUE),
    of_floats!("atanh", ONE, float::atanh, "inverse hyperbolic tangent", ("atanh(0)", "0"))
        .fails(NO_VALUE),
    of_floats!("degrees", ONE, float::degrees, "radians as degrees", ("degrees(pi())", "180")),
    of_floats!(
        "radians",
        ONE,
        float::radians,
        "degrees as radians",
        ("radians(180)", "3.141592653589793")
    ),
    of_floats!("pi", &[], float::pi, "π", ("pi()", "3.141592653589793")),
    of_floats!("e", &[], float::e, "Euler's number", ("e()", "2.718281828459045"))
        .differs("has none; as in Spark"),
    Signature::new(
        "isnan",
        &[Overload::new(ONE, Gives::Bool, float::is_nan)],
        "whether it is NaN",
        &[("isnan(cast('nan' as float64))", "true")],
    )
    .aka(&["is_nan"]),
    Signature::new(
        "isinf",
        &[Overload::new(ONE, Gives::Bool, float::is_infinite)],
        "whether it is infinite",
        &[("isinf(cast('-inf' as float64))", "true")],
    )
    .aka(&["is_inf"]),
    Signature::new(
        "isfinite",
        &[Overload::new(ONE, Gives::Bool, float::is_finite)],
        "whether it is neither NaN nor infinite",
        &[("isfinite(1.5)", "true")],
    )
    .aka(&["is_finite"]),
    Signature::new(
        "mod",
        &[Overload::rewrite(ANY_TWO, Gives::Argument(0), arithmetic::modulo)],
        "`a % b`: the remainder, with the sign of a",
        &[("mod(-7, 3)", "-1")],
    )
    .fails("where b is 0"),
    Signature::new(
        "div",
        &[Overload::rewrite(ANY_TWO, Gives::Argument(0), arithmetic::divide)],
        "`a div b`: whole division, towards zero",
        &[("div(-7, 2)", "-3")],
    )
    .fails("where b is 0")
    .differs("has `//` and `divide`"),
    Signature::new(
        "try_add",
        &[Overload::prepared(
            ANY_TWO,
            Gives::Argument(0),
            arithmetic::prepare_add,
            arithmetic::try_add,
        )],
        "`a + b`; null where that overflows",
        &[("try_add(9223372036854775807, 1)", "null"), ("try_add(1, 2)", "3")],
    )
    .differs("has `try(…)`; as in Spark"),
    Signature::new(
        "try_subtract",
        &[Overload::prepared(
            ANY_TWO,
            Gives::Argument(0),
            arithmetic::prepare_subtract,
            arithmetic::try_subtract,
        )],
        "`a - b`; null where that overflows",
        &[("try_subtract(-9223372036854775807, 9)", "null")],
    )
    .differs("has `try(…)`; as in Spark"),
    Signature::new(
        "try_multiply",
        &[Overload::prepared(
            ANY_TWO,
            Gives::Argument(0),
            arithmetic::prepare_multiply,
            arithmetic::try_multiply,
        )],
        "`a * b`; null where that overflows",
        &[("try_multiply(9223372036854775807, 2)", "null")],
    )
    .differs("has `try(…)`; as in Spark"),
    Signature::new(
        "try_divide",
        &[Overload::prepared(
            ANY_TWO,
            Gives::Argument(0),
            arithmetic::prepare_divide,
            arithmetic::try_divide,
        )],
        "`a / b`; null where b is 0",
        &[("try_divide(1, 0)", "null"), ("try_divide(1, 2)", "0.5")],
    )
    .differs("has `try(…)`; as in Spark"),
    Signature::new(
        "gcd",
        &[Overload::new(WHOLES, Gives::Int64, whole::gcd)],
        "greatest common divisor, not negative",
        &[("gcd(12, 18)", "6")],
    )
    .aka(&["greatest_common_divisor"])
    .fails("where int64 does not hold the result"),
    Signature::new(
        "lcm",
        &[Overload::new(WHOLES, Gives::Int64, whole::lcm)],
        "least common multiple, not negative",
        &[("lcm(4, 6)", "12")],
    )
    .aka(&["least_common_multiple"])
    .fails("where int64 does not hold the result"),
    Signature::new(
        "factorial",
        &[Overload::new(WHOLE, Gives::Integer128, whole::factorial)],
        "the product of 1 to n",
        &[("factorial(5)", "120")],
    )
    .fails("where n is negative or greater than 33"),
    Signature::new(
        "bitand",
        &[Overload::new(WHOLES, Gives::Int64, whole::bit_and)],
        "bits that are set in both",
        &[("bitand(6, 3)", "2")],
    )
    .aka(&["bitwise_and"])
    .differs("has `&`"),
    Signature::new(
        "bitor",
        &[Overload::new(WHOLES, Gives::Int64, whole::bit_or)],
        "bits that are set in one of them",
        &[("bitor(6, 3)", "7")],
    )
    .aka(&["bitwise_or"])
    .differs("has `|`"),
    Signature::new(
        "xor",
        &[Overload::new(WHOLES, Gives::Int64, whole::bit_xor)],
        "bits that are set in just one of them",
        &[("xor(5, 3)", "6")],
    )
    .aka(&["bitxor", "bitwise_xor"]),
    Signature::new(
        "bitnot",
        &[Overload::new(WHOLE, Gives::Int64, whole::bit_not)],
        "all bits turned over",
        &[("bitnot(5)", "-6")],
    )
    .aka(&["bitwise_not"])
    .differs("has `~`"),
    Signature::new(
        "shiftleft",
        &[Overload::new(WHOLES, Gives::Int64, whole::shift_left)],
        "times two to the n",
        &[("shiftleft(1, 3)", "8")],
    )
    .aka(&["shift_left", "bitwise_left_shift"])
    .fails("where n is no place of 0 to 63, or bits would be lost")
    .differs("has `<<`"),
    Signature::new(
        "shiftright",
        &[Overload::new(WHOLES, Gives::Int64, whole::shift_right)],
        "divided by two to the n, downwards",
        &[("shiftright(-8, 1)", "-4")],
    )
    .aka(&["shift_right", "bitwise_right_shift"])
    .fails("where n is no place of 0 to 63")
    .differs("has `>>`"),
    Signature::new(
        "bit_count",
        &[Overload::new(WHOLE, Gives::Int64, whole::bit_count)],
        "how many bits are set",
        &[("bit_count(7)", "3")],
    ),
];
