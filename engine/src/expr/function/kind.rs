//! What a parameter takes ([`Kind`]) and what a function gives ([`Gives`]).

use arrow::datatypes::{DataType, TimeUnit};

use crate::expr::{Expr, INTERVAL, TIME, TIMESTAMP, parse::type_name};

/// What a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any type, as it is.
    Any,
    /// Text.
    Text,
    /// Binary.
    Binary,
    /// bool.
    Bool,
    /// Any whole number, as int64.
    Int64,
    /// Any whole number, as it is.
    Whole,
    /// Any whole number, float or decimal, as it is.
    Number,
    /// Any number, as float64.
    Float64,
    /// A decimal of 128 bits, as it is.
    Decimal,
    /// float32 or float64, as it is.
    Float,
    /// date.
    Date,
    /// A timestamp with or without zone, of any unit.
    Timestamp,
    /// A timestamp with a zone, of any unit.
    Zoned,
    /// time.
    Time,
    /// duration.
    Duration,
    /// interval.
    Interval,
    /// A list of any type.
    List,
    /// A list of numbers.
    NumberList,
    /// A list of text.
    TextList,
    /// A struct.
    Struct,
    /// Any type; all parameters of this kind are brought to the one in which they meet.
    Same,
    /// A value of the type that the list before has.
    Element,
}

impl Kind {
    /// Whether a value of this type is taken as it is.
    pub fn is_exactly(self, data_type: &DataType) -> bool {
        match self {
            Self::Any | Self::Same | Self::Element => true,
            Self::Text => *data_type == DataType::Utf8View,
            Self::Binary => *data_type == DataType::BinaryView,
            Self::Bool => *data_type == DataType::Boolean,
            Self::Int64 => *data_type == DataType::Int64,
            Self::Whole => data_type.is_integer(),
            Self::Number => data_type.is_numeric(),
            Self::Float64 => *data_type == DataType::Float64,
            Self::Float => matches!(data_type, DataType::Float32 | DataType::Float64),
            Self::Decimal => matches!(data_type, DataType::Decimal128(..)),
            Self::Date => *data_type == DataType::Date32,
            Self::Timestamp => matches!(data_type, DataType::Timestamp(..)),
            Self::Zoned => matches!(data_type, DataType::Timestamp(_, Some(_))),
            Self::Time => matches!(data_type, DataType::Time64(_)),
            Self::Duration => matches!(data_type, DataType::Duration(_)),
            Self::Interval => matches!(data_type, DataType::Interval(_)),
            Self::List => matches!(data_type, DataType::List(_)),
            Self::NumberList => {
                matches!(data_type, DataType::List(item) if item.data_type().is_numeric())
            }
            Self::TextList => {
                matches!(data_type, DataType::List(item) if *item.data_type() == DataType::Utf8View)
            }
            Self::Struct => matches!(data_type, DataType::Struct(_)),
        }
    }

    /// The type that a value of type `from` is cast to; `None` where it is not taken.
    pub fn cast_of(self, from: &DataType) -> Option<DataType> {
        match (self, from) {
            (_, DataType::Null) => Some(self.of_null()),
            (kind, from) if kind.is_exactly(from) => Some(from.clone()),
            (Self::Int64, from) if from.is_integer() => Some(DataType::Int64),
            (Self::Float64, from) if from.is_numeric() => Some(DataType::Float64),
            (Self::Timestamp, DataType::Date32) => Some(TIMESTAMP),
            _ => None,
        }
    }

    /// The type that a text literal is read as; `None` where it is not taken.
    pub fn of_literal(self) -> Option<DataType> {
        match self {
            Self::Date => Some(DataType::Date32),
            Self::Timestamp => Some(TIMESTAMP),
            Self::Time => Some(TIME),
            Self::Interval => Some(INTERVAL),
            _ => None,
        }
    }

    /// The type of a null that nothing says the type of.
    fn of_null(self) -> DataType {
        let list = |item| DataType::new_list(item, true);
        match self {
            Self::Any | Self::Same | Self::Element | Self::Text => DataType::Utf8View,
            Self::Binary => DataType::BinaryView,
            Self::Bool => DataType::Boolean,
            Self::Int64 | Self::Whole | Self::Number => DataType::Int64,
            Self::Float64 | Self::Float => DataType::Float64,
            Self::Decimal => DataType::Decimal128(38, 0),
            Self::Date => DataType::Date32,
            Self::Timestamp => TIMESTAMP,
            Self::Zoned => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Duration => DataType::Duration(TimeUnit::Microsecond),
            Self::Interval => INTERVAL,
            Self::List | Self::TextList => list(DataType::Utf8View),
            Self::NumberList => list(DataType::Int64),
            Self::Struct => DataType::Struct(arrow::datatypes::Fields::empty()),
        }
    }

    /// What it is called in messages and in the documentation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Text => "string",
            Self::Binary => "binary",
            Self::Bool => "bool",
            Self::Int64 => "int64",
            Self::Whole => "whole number",
            Self::Number => "number",
            Self::Float64 => "float64",
            Self::Float => "float",
            Self::Decimal => "decimal",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::Zoned => "timestamp_tz",
            Self::Time => "time",
            Self::Duration => "duration",
            Self::Interval => "interval",
            Self::List => "list",
            Self::NumberList => "list<number>",
            Self::TextList => "list<string>",
            Self::Struct => "struct",
            Self::Same => "T",
            Self::Element => "element",
        }
    }
}

/// What a function gives.
#[derive(Clone, Copy)]
pub enum Gives {
    /// Text.
    Text,
    /// Binary.
    Binary,
    /// bool.
    Bool,
    /// int64.
    Int64,
    /// decimal(38,0).
    Integer128,
    /// uint64.
    UInt64,
    /// float64.
    Float64,
    /// date.
    Date,
    /// timestamp, in microseconds and without zone.
    Timestamp,
    /// `timestamp_tz`, in microseconds and UTC.
    Zoned,
    /// interval.
    Interval,
    /// The type of the argument of this place.
    Argument(usize),
    /// The type of the elements of the list of this place.
    Element(usize),
    /// A list of text.
    TextList,
    /// A list of int64.
    IntList,
    /// What this says of the arguments, with its name in the documentation.
    Of(fn(&[Expr]) -> Result<DataType, String>, &'static str),
}

impl Gives {
    /// The type, for arguments that have been brought to the parameters' types.
    ///
    /// # Errors
    /// Why there is none.
    pub fn data_type(self, arguments: &[Expr]) -> Result<DataType, String> {
        let at = |index: usize| {
            let argument = arguments.get(index).map(Expr::data_type);
            argument.ok_or_else(|| format!("argument {} is missing", index + 1))
        };
        Ok(match self {
            Self::Text => DataType::Utf8View,
            Self::Binary => DataType::BinaryView,
            Self::Bool => DataType::Boolean,
            Self::Int64 => DataType::Int64,
            Self::Integer128 => DataType::Decimal128(38, 0),
            Self::UInt64 => DataType::UInt64,
            Self::Float64 => DataType::Float64,
            Self::Date => DataType::Date32,
            Self::Timestamp => TIMESTAMP,
            Self::Zoned => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Interval => INTERVAL,
            Self::Argument(index) => at(index)?,
            Self::Element(index) => match at(index)? {
                DataType::List(item) => item.data_type().clone(),
                other => return Err(format!("{} is no list", type_name(&other))),
            },
            Self::TextList => DataType::new_list(DataType::Utf8View, true),
            Self::IntList => DataType::new_list(DataType::Int64, true),
            Self::Of(of, _) => of(arguments)?,
        })
    }

    /// What it is called in the documentation, where the parameters are these.
    pub fn name(self, parameters: &[Kind]) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Binary => "binary",
            Self::Bool => "bool",
            Self::Int64 => "int64",
            Self::Integer128 => "decimal(38,0)",
            Self::UInt64 => "uint64",
            Self::Float64 => "float64",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::Zoned => "timestamp_tz",
            Self::Interval => "interval",
            Self::Argument(index) => match parameters.get(index) {
                Some(Kind::Any) | None => "its type",
                Some(kind) => kind.name(),
            },
            Self::Element(_) => "element",
            Self::TextList => "list<string>",
            Self::IntList => "list<int64>",
            Self::Of(_, name) => name,
        }
    }
}
