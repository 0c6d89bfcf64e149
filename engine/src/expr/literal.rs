//! [`Literal`]: a constant's value, which travels in plans without losing a digit.

use std::{fmt::Display, str::FromStr, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, BinaryViewArray, BooleanArray, PrimitiveArray,
        StringViewArray, cast::AsArray, new_null_array,
    },
    datatypes::{
        DataType, Date32Type, Decimal128Type, DurationMicrosecondType, DurationMillisecondType,
        DurationNanosecondType, DurationSecondType, Float32Type, Float64Type, Int8Type, Int16Type,
        Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
        Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
        TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
        UInt64Type,
    },
};
use serde::{Deserialize, Serialize};

/// A constant's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Literal {
    /// A null of a type.
    Null(DataType),
    /// `true`, `false`.
    Bool(bool),
    /// A whole number of 8 bits.
    Int8(i8),
    /// A whole number of 16 bits.
    Int16(i16),
    /// A whole number of 32 bits.
    Int32(i32),
    /// A whole number as it is written.
    Int64(i64),
    /// A whole number of 8 bits, not negative.
    UInt8(u8),
    /// A whole number of 16 bits, not negative.
    UInt16(u16),
    /// A whole number of 32 bits, not negative.
    UInt32(u32),
    /// A whole number of 64 bits, not negative.
    UInt64(u64),
    /// A float of 32 bits.
    Float32(#[serde(with = "exact")] f32),
    /// Any other number.
    Float64(#[serde(with = "exact")] f64),
    /// A decimal: `value` with the point before its last `scale` digits.
    Decimal {
        /// All digits.
        #[serde(with = "exact")]
        value: i128,
        /// The most digits of its type.
        precision: u8,
        /// How many of them stand behind the point.
        scale: i8,
    },
    /// A number as it is written, with a point (`0.06`) or beyond int64: exact among literals and
    /// beside decimals, float64 everywhere else. None is left in a bound expression.
    Exact {
        /// All digits.
        #[serde(with = "exact")]
        value: i128,
        /// How many of them stand behind the point.
        scale: u8,
    },
    /// Text.
    Utf8(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// Days since 1970-01-01.
    Date32(i32),
    /// Units since 1970-01-01, with or without zone.
    Timestamp {
        /// How many.
        value: i64,
        /// Of what.
        unit: TimeUnit,
        /// The zone it is shown in; without one it is a wall clock's.
        zone: Option<Arc<str>>,
    },
    /// Microseconds since midnight.
    Time(i64),
    /// A length of time.
    Duration {
        /// How many units.
        value: i64,
        /// Which.
        unit: TimeUnit,
    },
    /// Months, days and nanoseconds, none of which is a whole number of the others.
    Interval {
        /// Months.
        months: i32,
        /// Days.
        days: i32,
        /// Nanoseconds.
        nanos: i64,
    },
}

/// Numbers as text: JSON has neither NaN nor infinities nor numbers beyond 64 bits, and its reader
/// may be off by a digit, so that a plan would mean something else on the worker it is sent to.
mod exact {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Literal {
    /// A timestamp in microseconds without zone.
    pub fn timestamp(value: i64) -> Self {
        Self::Timestamp { value, unit: TimeUnit::Microsecond, zone: None }
    }

    /// Its type.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Null(data_type) => data_type.clone(),
            Self::Bool(_) => DataType::Boolean,
            Self::Int8(_) => DataType::Int8,
            Self::Int16(_) => DataType::Int16,
            Self::Int32(_) => DataType::Int32,
            Self::Int64(_) => DataType::Int64,
            Self::UInt8(_) => DataType::UInt8,
            Self::UInt16(_) => DataType::UInt16,
            Self::UInt32(_) => DataType::UInt32,
            Self::UInt64(_) => DataType::UInt64,
            Self::Float32(_) => DataType::Float32,
            Self::Exact { scale: 0, .. } => DataType::Decimal128(38, 0),
            Self::Float64(_) | Self::Exact { .. } => DataType::Float64,
            Self::Decimal { precision, scale, .. } => DataType::Decimal128(*precision, *scale),
            Self::Utf8(_) => DataType::Utf8View,
            Self::Binary(_) => DataType::BinaryView,
            Self::Date32(_) => DataType::Date32,
            Self::Timestamp { unit, zone, .. } => DataType::Timestamp(*unit, zone.clone()),
            Self::Time(_) => DataType::Time64(TimeUnit::Microsecond),
            Self::Duration { unit, .. } => DataType::Duration(*unit),
            Self::Interval { .. } => DataType::Interval(IntervalUnit::MonthDayNano),
        }
    }

    /// An array of this one value.
    pub(crate) fn to_array(&self) -> ArrayRef {
        match self {
            Self::Null(data_type) => new_null_array(data_type, 1),
            Self::Bool(value) => Arc::new(BooleanArray::from(vec![*value])),
            Self::Int8(value) => one::<Int8Type>(*value),
            Self::Int16(value) => one::<Int16Type>(*value),
            Self::Int32(value) => one::<Int32Type>(*value),
            Self::Int64(value) => one::<Int64Type>(*value),
            Self::UInt8(value) => one::<UInt8Type>(*value),
            Self::UInt16(value) => one::<UInt16Type>(*value),
            Self::UInt32(value) => one::<UInt32Type>(*value),
            Self::UInt64(value) => one::<UInt64Type>(*value),
            Self::Float32(value) => one::<Float32Type>(*value),
            Self::Float64(value) => one::<Float64Type>(*value),
            Self::Exact { value, scale } if *scale > 0 => {
                one::<Float64Type>(exact_float(*value, *scale))
            }
            Self::Exact { value, .. } | Self::Decimal { value, .. } => {
                retyped::<Decimal128Type>(*value, &self.data_type())
            }
            Self::Utf8(value) => Arc::new(StringViewArray::from_iter_values([value])),
            Self::Binary(value) => Arc::new(BinaryViewArray::from_iter_values([value])),
            Self::Date32(value) => one::<Date32Type>(*value),
            Self::Timestamp { value, unit, .. } => {
                let (value, data_type) = (*value, self.data_type());
                match unit {
                    TimeUnit::Second => retyped::<TimestampSecondType>(value, &data_type),
                    TimeUnit::Millisecond => retyped::<TimestampMillisecondType>(value, &data_type),
                    TimeUnit::Microsecond => retyped::<TimestampMicrosecondType>(value, &data_type),
                    TimeUnit::Nanosecond => retyped::<TimestampNanosecondType>(value, &data_type),
                }
            }
            Self::Time(value) => one::<Time64MicrosecondType>(*value),
            Self::Duration { value, unit } => match unit {
                TimeUnit::Second => one::<DurationSecondType>(*value),
                TimeUnit::Millisecond => one::<DurationMillisecondType>(*value),
                TimeUnit::Microsecond => one::<DurationMicrosecondType>(*value),
                TimeUnit::Nanosecond => one::<DurationNanosecondType>(*value),
            },
            Self::Interval { months, days, nanos } => {
                one::<IntervalMonthDayNanoType>(IntervalMonthDayNano::new(*months, *days, *nanos))
            }
        }
    }

    /// The value of `row`; `None` for types that have no literal (lists, structs, wide decimals).
    pub(crate) fn of(array: &dyn Array, row: usize) -> Option<Self> {
        let data_type = array.data_type();
        if array.is_null(row) {
            return Some(Self::Null(data_type.clone()));
        }
        Some(match data_type {
            DataType::Boolean => Self::Bool(array.as_boolean().value(row)),
            DataType::Int8 => Self::Int8(array.as_primitive::<Int8Type>().value(row)),
            DataType::Int16 => Self::Int16(array.as_primitive::<Int16Type>().value(row)),
            DataType::Int32 => Self::Int32(array.as_primitive::<Int32Type>().value(row)),
            DataType::Int64 => Self::Int64(array.as_primitive::<Int64Type>().value(row)),
            DataType::UInt8 => Self::UInt8(array.as_primitive::<UInt8Type>().value(row)),
            DataType::UInt16 => Self::UInt16(array.as_primitive::<UInt16Type>().value(row)),
            DataType::UInt32 => Self::UInt32(array.as_primitive::<UInt32Type>().value(row)),
            DataType::UInt64 => Self::UInt64(array.as_primitive::<UInt64Type>().value(row)),
            DataType::Float32 => Self::Float32(array.as_primitive::<Float32Type>().value(row)),
            DataType::Float64 => Self::Float64(array.as_primitive::<Float64Type>().value(row)),
            DataType::Decimal128(precision, scale) => Self::Decimal {
                value: array.as_primitive::<Decimal128Type>().value(row),
                precision: *precision,
                scale: *scale,
            },
            DataType::Utf8View => Self::Utf8(String::from(array.as_string_view().value(row))),
            DataType::BinaryView => Self::Binary(array.as_binary_view().value(row).to_vec()),
            DataType::Date32 => Self::Date32(array.as_primitive::<Date32Type>().value(row)),
            DataType::Timestamp(unit, zone) => Self::Timestamp {
                value: match unit {
                    TimeUnit::Second => array.as_primitive::<TimestampSecondType>().value(row),
                    TimeUnit::Millisecond => {
                        array.as_primitive::<TimestampMillisecondType>().value(row)
                    }
                    TimeUnit::Microsecond => {
                        array.as_primitive::<TimestampMicrosecondType>().value(row)
                    }
                    TimeUnit::Nanosecond => {
                        array.as_primitive::<TimestampNanosecondType>().value(row)
                    }
                },
                unit: *unit,
                zone: zone.clone(),
            },
            DataType::Time64(TimeUnit::Microsecond) => {
                Self::Time(array.as_primitive::<Time64MicrosecondType>().value(row))
            }
            DataType::Duration(unit) => Self::Duration {
                value: match unit {
                    TimeUnit::Second => array.as_primitive::<DurationSecondType>().value(row),
                    TimeUnit::Millisecond => {
                        array.as_primitive::<DurationMillisecondType>().value(row)
                    }
                    TimeUnit::Microsecond => {
                        array.as_primitive::<DurationMicrosecondType>().value(row)
                    }
                    TimeUnit::Nanosecond => {
                        array.as_primitive::<DurationNanosecondType>().value(row)
                    }
                },
                unit: *unit,
            },
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
                Self::Interval { months: value.months, days: value.days, nanos: value.nanoseconds }
            }
            _ => return None,
        })
    }
}

/// The float that is nearest to a number as it is written.
pub(crate) fn exact_float(value: i128, scale: u8) -> f64 {
    parsed(&format!("{value}e-{scale}")).unwrap_or(f64::NAN)
}

fn parsed<T: FromStr<Err: Display>>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn one<T: ArrowPrimitiveType>(value: T::Native) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::from_value(value, 1))
}

/// As [`one`], of a type that has a zone, or a precision and scale.
fn retyped<T: ArrowPrimitiveType>(value: T::Native, data_type: &DataType) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::from_value(value, 1).with_data_type(data_type.clone()))
}

#[cfg(test)]
pub(crate) mod tests {
    use arrow::datatypes::{DataType, TimeUnit};
    use proptest::prelude::*;

    use super::Literal;

    fn sent(literal: &Literal) -> Literal {
        serde_json::from_str(&serde_json::to_string(literal).unwrap()).unwrap()
    }

    /// Any literal but floats that are no numbers, which equal nothing.
    pub(crate) fn literals() -> impl Strategy<Value = Literal> {
        let unit = prop::sample::select(vec![
            TimeUnit::Second,
            TimeUnit::Millisecond,
            TimeUnit::Microsecond,
            TimeUnit::Nanosecond,
        ]);
        let zone = prop::sample::select(vec![None, Some("UTC"), Some("Europe/Berlin")]);
        prop_oneof![
            Just(Literal::Null(DataType::Decimal128(10, 2))),
            any::<bool>().prop_map(Literal::Bool),
            any::<i8>().prop_map(Literal::Int8),
            any::<i16>().prop_map(Literal::Int16),
            any::<i32>().prop_map(Literal::Int32),
            any::<i64>().prop_map(Literal::Int64),
            any::<u8>().prop_map(Literal::UInt8),
            any::<u16>().prop_map(Literal::UInt16),
            any::<u32>().prop_map(Literal::UInt32),
            any::<u64>().prop_map(Literal::UInt64),
            any::<f32>().prop_map(Literal::Float32),
            any::<f64>().prop_map(Literal::Float64),
            (any::<i64>(), 0i8..=18).prop_map(|(value, scale)| Literal::Decimal {
                value: i128::from(value) * 1_000_000_007,
                precision: 38,
                scale
            }),
            any::<String>().prop_map(Literal::Utf8),
            any::<Vec<u8>>().prop_map(Literal::Binary),
            (-100_000i32..1_000_000).prop_map(Literal::Date32),
            (any::<i32>(), unit.clone(), zone).prop_map(|(value, unit, zone)| Literal::Timestamp {
                value: i64::from(value),
                unit,
                zone: zone.map(Into::into)
            }),
            (0i64..86_400_000_000).prop_map(Literal::Time),
            (any::<i32>(), unit)
                .prop_map(|(value, unit)| Literal::Duration { value: i64::from(value), unit }),
            (any::<i16>(), any::<i16>(), any::<i32>()).prop_map(|(months, days, nanos)| {
                Literal::Interval {
                    months: i32::from(months),
                    days: i32::from(days),
                    nanos: i64::from(nanos) * 1000,
                }
            }),
        ]
    }

    proptest! {
        #[test]
        fn a_float_literal_is_the_same_float_after_a_journey(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            let Literal::Float64(back) = sent(&Literal::Float64(value)) else { panic!("{value}") };
            prop_assert!(back.to_bits() == bits || (back.is_nan() && value.is_nan()), "{value}");
        }

        #[test]
        fn a_literal_is_the_same_after_a_journey_and_as_an_array(literal in literals()) {
            prop_assert_eq!(&sent(&literal), &literal);
            let array = literal.to_array();
            prop_assert_eq!(array.data_type(), &literal.data_type());
            prop_assert_eq!(Literal::of(&array, 0), Some(literal));
        }
    }
}
