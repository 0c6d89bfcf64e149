//! [`Value`]: what a column's fields are read as, and its way from places in a block to an array.
//!
//! Every array is made in a loop of its own type. A field that is no value of the type is noted and
//! leaves a default behind: whoever asked takes its row out, or refuses it.
//!
//! Nested values are JSON, in CSV too; their elements and members are fields again.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{
        ArrayRef, ArrowPrimitiveType, BooleanArray, ListArray, NullArray, PrimitiveArray,
        StructArray, builder::BinaryViewBuilder,
    },
    buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer},
    datatypes::{
        DataType, Date32Type, Decimal128Type, Decimal256Type, DurationMicrosecondType,
        DurationMillisecondType, DurationNanosecondType, DurationSecondType, FieldRef,
        Fields as SchemaFields, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
        Int64Type, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit,
        TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
        TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
};
use chrono::format::{Item, Parsed, StrftimeItems};

use crate::formats::{
    block::{Block, Views},
    fields::{Field, Kind, Unescape},
    jsonl::scan,
    scalar::{self, bytes, decimal, time, time::Zone},
};

/// How a format's fields say values.
pub(crate) struct Rules {
    /// The kind of field that holds a bool or a number.
    pub(crate) scalar_kind: Kind,
    /// What is escaped, and how.
    pub(crate) unescape: Unescape,
    /// How dates are written, where not as ISO 8601 has it.
    pub(crate) date: Option<Pattern>,
    /// How timestamps are written, where not as ISO 8601 has it.
    pub(crate) timestamp: Option<Pattern>,
    /// Whether members of nested objects that no type names are left out; otherwise they make a
    /// value that is none of its type.
    pub(crate) leaves_out: bool,
}

/// A date or time in `strftime`'s language, read backwards.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Vec<Item<'static>>);

impl Pattern {
    /// The pattern that `text` says; `None` where it is none.
    pub(crate) fn new(text: &str) -> Option<Self> {
        StrftimeItems::new(text).parse_to_owned().ok().map(Self)
    }

    fn parsed(&self, text: &str) -> Option<Parsed> {
        let mut parsed = Parsed::new();
        chrono::format::parse(&mut parsed, text, self.0.iter()).ok()?;
        Some(parsed)
    }

    /// The date that `text` says, in days since 1970-01-01.
    pub(crate) fn date(&self, text: &str) -> Option<i32> {
        Some(self.parsed(text)?.to_naive_date().ok()?.to_epoch_days())
    }

    /// The timestamp that `text` says, in units; with a zone the moment.
    pub(crate) fn timestamp(&self, text: &str, unit: TimeUnit, zone: Option<&Zone>) -> Option<i64> {
        let parsed = self.parsed(text)?;
        let offset = parsed.to_fixed_offset().ok().map(|offset| offset.local_minus_utc());
        if offset.is_some() && zone.is_none() {
            return None;
        }
        let local =
            parsed.to_naive_datetime_with_offset(offset.unwrap_or(0)).ok().or_else(|| {
                // A pattern without a time says midnight.
                let midnight = parsed.to_naive_time().is_err();
                midnight.then(|| parsed.to_naive_date().ok()?.and_hms_opt(0, 0, 0)).flatten()
            })?;
        let utc = local.and_utc();
        let (seconds, nanos) = (utc.timestamp(), i64::from(utc.timestamp_subsec_nanos()));
        let per_unit = 1_000_000_000 / time::per_second(unit);
        if nanos % per_unit != 0 {
            return None;
        }
        let offset = match (offset, zone) {
            (Some(offset), _) => i64::from(offset),
            (None, Some(zone)) => zone.offset_of_local(seconds)?,
            (None, None) => 0,
        };
        (seconds - offset).checked_mul(time::per_second(unit))?.checked_add(nanos / per_unit)
    }
}

/// A type as fields are read.
pub(crate) enum Value {
    Null,
    Bool,
    Number(Number),
    Decimal128(u8, i8),
    Decimal256(u8, i8),
    Text,
    Binary,
    Date,
    Time,
    Timestamp(TimeUnit),
    Moment(TimeUnit, Zone, Arc<str>),
    Duration(TimeUnit),
    Interval,
    List(FieldRef, Box<Self>),
    Struct(SchemaFields, Vec<Self>, HashMap<String, usize>),
}

/// The numbers that arrays hold as they are.
#[derive(Clone, Copy)]
pub(crate) enum Number {
    Int8,
    Int16,
    Int32,
    Int64,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    Float32,
    Float64,
}

impl Value {
    /// How values of a type are read; `None` for a type that no text says.
    pub(crate) fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Bool,
            DataType::Int8 => Self::Number(Number::Int8),
            DataType::Int16 => Self::Number(Number::Int16),
            DataType::Int32 => Self::Number(Number::Int32),
            DataType::Int64 => Self::Number(Number::Int64),
            DataType::UInt8 => Self::Number(Number::UInt8),
            DataType::UInt16 => Self::Number(Number::UInt16),
            DataType::UInt32 => Self::Number(Number::UInt32),
            DataType::UInt64 => Self::Number(Number::UInt64),
            DataType::Float32 => Self::Number(Number::Float32),
            DataType::Float64 => Self::Number(Number::Float64),
            DataType::Decimal128(precision, scale) => Self::Decimal128(*precision, *scale),
            DataType::Decimal256(precision, scale) => Self::Decimal256(*precision, *scale),
            DataType::Utf8View => Self::Text,
            DataType::BinaryView => Self::Binary,
            DataType::Date32 => Self::Date,
            DataType::Time64(TimeUnit::Microsecond) => Self::Time,
            DataType::Timestamp(unit, None) => Self::Timestamp(*unit),
            DataType::Timestamp(unit, Some(zone)) => {
                Self::Moment(*unit, Zone::named(zone)?, Arc::clone(zone))
            }
            DataType::Duration(unit) => Self::Duration(*unit),
            DataType::Interval(IntervalUnit::MonthDayNano) => Self::Interval,
            DataType::List(element) => {
                Self::List(Arc::clone(element), Box::new(Self::of(element.data_type())?))
            }
            DataType::Struct(members) if !members.is_empty() => {
                let values = members.iter().map(|member| Self::of(member.data_type()));
                let names = members.iter().map(|member| member.name().clone()).zip(0..);
                Self::Struct(members.clone(), values.collect::<Option<_>>()?, names.collect())
            }
            _ => return None,
        })
    }

    /// The array that `fields` make, each of the record of the same number, or of that in `owners`.
    /// The records of fields that are no value go to `bad`, in order, some perhaps repeatedly.
    pub(crate) fn array(
        &self,
        rules: &Rules,
        block: &Block,
        fields: impl ExactSizeIterator<Item = Field> + Clone,
        owners: Option<&[u32]>,
        bad: &mut Vec<u32>,
    ) -> ArrayRef {
        let mut taken = Taken { rules, block, owners, bad, scratch: String::new() };
        match self {
            Self::Null => {
                let count = fields.len();
                for (at, field) in fields.enumerate() {
                    if field.kind() != Kind::Null {
                        taken.refuse(at);
                    }
                }
                Arc::new(NullArray::new(count))
            }
            Self::Bool => taken.bools(fields),
            Self::Number(number) => taken.numbers(*number, fields),
            Self::Decimal128(precision, scale) => {
                let parse =
                    |text: &str| decimal::parse_decimal(text.as_bytes(), *precision, *scale);
                let array = taken.digits::<Decimal128Type>(fields, parse);
                Arc::new(array.with_data_type(DataType::Decimal128(*precision, *scale)))
            }
            Self::Decimal256(precision, scale) => {
                let parse =
                    |text: &str| decimal::parse_decimal(text.as_bytes(), *precision, *scale);
                let array = taken.digits::<Decimal256Type>(fields, parse);
                Arc::new(array.with_data_type(DataType::Decimal256(*precision, *scale)))
            }
            Self::Text => taken.texts(fields),
            Self::Binary => taken.binaries(fields),
            Self::Date => Arc::new(match &rules.date {
                Some(pattern) => taken.said::<Date32Type>(fields, |text| pattern.date(text)),
                None => {
                    taken.said::<Date32Type>(fields, |text| scalar::parse_date(text.as_bytes()))
                }
            }),
            Self::Time => Arc::new(taken.said::<Time64MicrosecondType>(fields, |text| {
                time::parse_time_of_day(text.as_bytes(), TimeUnit::Microsecond)
            })),
            Self::Timestamp(unit) => match &rules.timestamp {
                Some(pattern) => taken
                    .timestamps(fields, *unit, None, |text| pattern.timestamp(text, *unit, None)),
                None => taken.timestamps(fields, *unit, None, |text| {
                    time::parse_timestamp(text.as_bytes(), *unit)
                }),
            },
            Self::Moment(unit, zone, name) => match &rules.timestamp {
                Some(pattern) => taken.timestamps(fields, *unit, Some(name), |text| {
                    pattern.timestamp(text, *unit, Some(zone))
                }),
                None => taken.timestamps(fields, *unit, Some(name), |text| {
                    time::parse_moment(text.as_bytes(), *unit, *zone)
                }),
            },
            Self::Duration(unit) => {
                let parse = |text: &str| time::parse_duration(text.as_bytes(), *unit);
                match unit {
                    TimeUnit::Second => Arc::new(taken.said::<DurationSecondType>(fields, parse)),
                    TimeUnit::Millisecond => {
                        Arc::new(taken.said::<DurationMillisecondType>(fields, parse))
                    }
                    TimeUnit::Microsecond => {
                        Arc::new(taken.said::<DurationMicrosecondType>(fields, parse))
                    }
                    TimeUnit::Nanosecond => {
                        Arc::new(taken.said::<DurationNanosecondType>(fields, parse))
                    }
                }
            }
            Self::Interval => Arc::new(taken.said::<IntervalMonthDayNanoType>(fields, |text| {
                time::parse_interval(text.as_bytes())
            })),
            Self::List(..) | Self::Struct(..) if rules.scalar_kind == Kind::Text => {
                self.out_of_text(taken, fields)
            }
            Self::List(element, value) => taken.lists(element, value, fields),
            Self::Struct(members, values, names) => taken.structs(members, values, names, fields),
        }
    }

    /// Nested values that stand in a format's own quotes: they are freed of them, and read as JSON.
    fn out_of_text(
        &self,
        mut taken: Taken<'_>,
        fields: impl ExactSizeIterator<Item = Field>,
    ) -> ArrayRef {
        let mut text = String::new();
        let mut owners = Vec::with_capacity(fields.len());
        let ranges: Vec<_> = fields
            .enumerate()
            .map(|(at, field)| {
                owners.push(taken.owner(at));
                let start = text.len();
                if field.kind() != Kind::Null {
                    taken.append(field, &mut text);
                }
                (start, text.len(), field.kind() != Kind::Null)
            })
            .collect();
        let block = Block::new(Buffer::from(text.as_bytes()), 0, true);
        let mut is_bad = Vec::new();
        let values: Vec<_> = (ranges.into_iter().enumerate())
            .map(|(at, (start, end, is_there))| match scan::whole(text.as_bytes(), start, end) {
                Some(field) if is_there => field,
                _ => {
                    if is_there {
                        is_bad.push(at);
                    }
                    Field::NULL
                }
            })
            .collect();
        for at in is_bad {
            taken.refuse(at);
        }
        let rules = Rules {
            scalar_kind: Kind::Literal,
            unescape: Unescape::Json,
            date: taken.rules.date.clone(),
            timestamp: taken.rules.timestamp.clone(),
            leaves_out: taken.rules.leaves_out,
        };
        self.array(&rules, &block, values.into_iter(), Some(&owners), taken.bad)
    }
}

/// Fields being taken into an array.
struct Taken<'a> {
    rules: &'a Rules,
    block: &'a Block,
    owners: Option<&'a [u32]>,
    bad: &'a mut Vec<u32>,
    scratch: String,
}

impl Taken<'_> {
    /// The record of a field.
    fn owner(&self, at: usize) -> u32 {
        match self.owners {
            Some(owners) => owners.get(at).copied().unwrap_or_default(),
            None => u32::try_from(at).unwrap_or(u32::MAX),
        }
    }

    fn refuse(&mut self, at: usize) {
        let owner = self.owner(at);
        self.bad.push(owner);
    }

    fn append(&self, field: Field, out: &mut String) {
        let text = &self.block.text()[field.range()];
        if field.kind() == Kind::Escaped {
            self.rules.unescape.append(text, out);
        } else {
            out.push_str(text);
        }
    }

    /// What `parse` makes of a field's text, freed of what is escaped.
    fn parsed<T>(&mut self, field: Field, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        if field.kind() == Kind::Escaped {
            self.scratch.clear();
            self.rules.unescape.append(&self.block.text()[field.range()], &mut self.scratch);
            return parse(&self.scratch);
        }
        parse(&self.block.text()[field.range()])
    }

    fn bools(&mut self, fields: impl ExactSizeIterator<Item = Field>) -> ArrayRef {
        let mut nulls = Vec::with_capacity(fields.len());
        let mut bools = Vec::with_capacity(fields.len());
        let is_word = self.rules.scalar_kind == Kind::Text;
        for (at, field) in fields.enumerate() {
            let text = &self.block.text().as_bytes()[field.range()];
            let value = match field.kind() {
                Kind::Null => Some(false),
                Kind::Text if is_word => scalar::parse_bool_word(text),
                kind if kind == self.rules.scalar_kind => scalar::parse_bool(text),
                _ => None,
            };
            if value.is_none() {
                self.refuse(at);
            }
            bools.push(value.unwrap_or_default());
            nulls.push(field.kind() != Kind::Null);
        }
        Arc::new(BooleanArray::new(BooleanBuffer::from(bools), valid(nulls)))
    }

    fn numbers(
        &mut self,
        number: Number,
        fields: impl ExactSizeIterator<Item = Field>,
    ) -> ArrayRef {
        /// An integer of fewer bits.
        fn narrow<T: TryFrom<i64>>(text: &str) -> Option<T> {
            T::try_from(scalar::parse_int64(text.as_bytes())?).ok()
        }
        match number {
            Number::Int8 => Arc::new(self.scalars::<Int8Type>(fields, narrow)),
            Number::Int16 => Arc::new(self.scalars::<Int16Type>(fields, narrow)),
            Number::Int32 => Arc::new(self.scalars::<Int32Type>(fields, narrow)),
            Number::Int64 => Arc::new(
                self.scalars::<Int64Type>(fields, |text| scalar::parse_int64(text.as_bytes())),
            ),
            Number::UInt8 => Arc::new(self.scalars::<UInt8Type>(fields, narrow)),
            Number::UInt16 => Arc::new(self.scalars::<UInt16Type>(fields, narrow)),
            Number::UInt32 => Arc::new(self.scalars::<UInt32Type>(fields, narrow)),
            Number::UInt64 => Arc::new(
                self.scalars::<UInt64Type>(fields, |text| scalar::parse_uint64(text.as_bytes())),
            ),
            Number::Float32 => Arc::new(self.scalars::<Float32Type>(fields, parse_float32)),
            Number::Float64 => Arc::new(self.scalars::<Float64Type>(fields, scalar::parse_float64)),
        }
    }

    /// Values that only the format's kind for them says.
    fn scalars<T: ArrowPrimitiveType>(
        &mut self,
        fields: impl ExactSizeIterator<Item = Field>,
        parse: impl Fn(&str) -> Option<T::Native>,
    ) -> PrimitiveArray<T> {
        let (text, kind) = (self.block.text(), self.rules.scalar_kind);
        primitive(fields, |at, field| {
            let value = (field.kind() == kind).then(|| parse(&text[field.range()])).flatten();
            value.unwrap_or_else(|| {
                self.refuse(at);
                T::Native::default()
            })
        })
    }

    /// Numbers that text may say as well.
    fn digits<T: ArrowPrimitiveType>(
        &mut self,
        fields: impl ExactSizeIterator<Item = Field>,
        parse: impl Fn(&str) -> Option<T::Native>,
    ) -> PrimitiveArray<T> {
        let text = self.block.text();
        primitive(fields, |at, field| {
            let is_value = matches!(field.kind(), Kind::Text | Kind::Literal);
            let value = is_value.then(|| parse(&text[field.range()])).flatten();
            value.unwrap_or_else(|| {
                self.refuse(at);
                T::Native::default()
            })
        })
    }

    /// Values that text says.
    fn said<T: ArrowPrimitiveType>(
        &mut self,
        fields: impl ExactSizeIterator<Item = Field>,
        parse: impl Fn(&str) -> Option<T::Native>,
    ) -> PrimitiveArray<T> {
        primitive(fields, |at, field| {
            let is_text = field.kind() != Kind::Literal;
            let value = if is_text { self.parsed(field, &parse) } else { None };
            value.unwrap_or_else(|| {
                self.refuse(at);
                T::Native::default()
            })
        })
    }

    fn timestamps(
        &mut self,
        fields: impl ExactSizeIterator<Item = Field>,
        unit: TimeUnit,
        zone: Option<&Arc<str>>,
        parse: impl Fn(&str) -> Option<i64>,
    ) -> ArrayRef {
        let zone = zone.map(Arc::clone);
        match unit {
            TimeUnit::Second => {
                Arc::new(self.said::<TimestampSecondType>(fields, parse).with_timezone_opt(zone))
            }
            TimeUnit::Millisecond => Arc::new(
                self.said::<TimestampMillisecondType>(fields, parse).with_timezone_opt(zone),
            ),
            TimeUnit::Microsecond => Arc::new(
                self.said::<TimestampMicrosecondType>(fields, parse).with_timezone_opt(zone),
            ),
            TimeUnit::Nanosecond => Arc::new(
                self.said::<TimestampNanosecondType>(fields, parse).with_timezone_opt(zone),
            ),
        }
    }

    fn texts(&mut self, fields: impl ExactSizeIterator<Item = Field>) -> ArrayRef {
        let mut nulls = Vec::with_capacity(fields.len());
        let mut views = Views::new(self.block, fields.len());
        for field in fields {
            let range = field.range();
            match field.kind() {
                Kind::Null => views.push_empty(),
                Kind::Text | Kind::Literal => views.push(range.start, range.end),
                Kind::Escaped => views.push_unescaped(|out| {
                    self.rules.unescape.append(&self.block.text()[range], out);
                }),
            }
            nulls.push(field.kind() != Kind::Null);
        }
        Arc::new(views.finish(valid(nulls)))
    }

    fn binaries(&mut self, fields: impl ExactSizeIterator<Item = Field>) -> ArrayRef {
        let mut column = BinaryViewBuilder::with_capacity(fields.len());
        let mut scratch = Vec::new();
        for (at, field) in fields.enumerate() {
            if field.kind() == Kind::Null {
                column.append_null();
                continue;
            }
            let text = &self.block.text()[field.range()];
            // Digits need no escape; what has one is freed of it and then most likely refused.
            let is_value = match field.kind() {
                Kind::Literal => {
                    column.append_value([]);
                    false
                }
                Kind::Escaped => {
                    self.scratch.clear();
                    self.rules.unescape.append(text, &mut self.scratch);
                    bytes::push_hex(self.scratch.as_bytes(), &mut scratch, &mut column)
                }
                Kind::Null | Kind::Text => {
                    bytes::push_hex(text.as_bytes(), &mut scratch, &mut column)
                }
            };
            if !is_value {
                self.refuse(at);
            }
        }
        Arc::new(column.finish())
    }

    fn lists(
        &mut self,
        element: &FieldRef,
        value: &Value,
        fields: impl ExactSizeIterator<Item = Field>,
    ) -> ArrayRef {
        let text = self.block.text().as_bytes();
        let (mut elements, mut owners) = (Vec::new(), Vec::new());
        let mut nulls = Vec::with_capacity(fields.len());
        let mut lengths = Vec::with_capacity(fields.len());
        for (at, field) in fields.enumerate() {
            let before = elements.len();
            let is_null = field.kind() == Kind::Null;
            if !is_null {
                let range = field.range();
                let is_list = field.kind() == Kind::Literal
                    && scan::elements(text, range.start, range.end, &mut |found| {
                        elements.push(found);
                    });
                if !is_list {
                    elements.truncate(before);
                    self.refuse(at);
                }
            }
            let length = elements.len() - before;
            owners.resize(elements.len(), self.owner(at));
            lengths.push(length);
            nulls.push(!is_null);
        }
        let children =
            value.array(self.rules, self.block, elements.iter().copied(), Some(&owners), self.bad);
        let offsets = OffsetBuffer::from_lengths(lengths);
        Arc::new(ListArray::new(Arc::clone(element), offsets, children, valid(nulls)))
    }

    fn structs(
        &mut self,
        members: &SchemaFields,
        values: &[Value],
        names: &HashMap<String, usize>,
        fields: impl ExactSizeIterator<Item = Field>,
    ) -> ArrayRef {
        let text = self.block.text().as_bytes();
        let count = fields.len();
        let mut nulls = Vec::with_capacity(count);
        let mut owners = Vec::with_capacity(count);
        let mut columns = vec![vec![Field::NULL; count]; values.len()];
        let mut last = vec![0; values.len()];
        let leaves_out = self.rules.leaves_out;
        for (at, field) in fields.enumerate() {
            owners.push(self.owner(at));
            nulls.push(field.kind() != Kind::Null);
            if field.kind() == Kind::Null {
                continue;
            }
            let range = field.range();
            let is_object = field.kind() == Kind::Literal
                && scan::members(text, range.start, range.end, &mut |name, member| {
                    let Some(place) = names.get(name).copied() else { return leaves_out };
                    columns[place][at] = member;
                    std::mem::replace(&mut last[place], at + 1) != at + 1
                });
            if !is_object {
                for column in &mut columns {
                    column[at] = Field::NULL;
                }
                self.refuse(at);
            }
        }
        let arrays = values.iter().zip(&columns).map(|(value, column)| {
            value.array(self.rules, self.block, column.iter().copied(), Some(&owners), self.bad)
        });
        Arc::new(StructArray::new(members.clone(), arrays.collect(), valid(nulls)))
    }
}

/// The number that `text` says, rounded once.
fn parse_float32(text: &str) -> Option<f32> {
    let value: f32 = text.parse().ok()?;
    // What says a number and is too great is none; `parse` also takes the words for infinity.
    (value.is_finite() || !text.bytes().any(|byte| byte.is_ascii_digit())).then_some(value)
}

/// A validity mask, or none where all values are there.
pub(crate) fn valid(valid: Vec<bool>) -> Option<NullBuffer> {
    // Without an early end, so that many are looked at together.
    let are_all = valid.iter().fold(true, |all, is_there| all & is_there);
    (!are_all).then(|| NullBuffer::from(valid))
}

/// A column of fixed-width values.
fn primitive<T: ArrowPrimitiveType>(
    fields: impl ExactSizeIterator<Item = Field>,
    mut parse: impl FnMut(usize, Field) -> T::Native,
) -> PrimitiveArray<T> {
    let mut nulls = Vec::with_capacity(fields.len());
    let mut values = Vec::with_capacity(fields.len());
    for (at, field) in fields.enumerate() {
        let is_null = field.kind() == Kind::Null;
        values.push(if is_null { T::Native::default() } else { parse(at, field) });
        nulls.push(!is_null);
    }
    PrimitiveArray::<T>::new(values.into(), valid(nulls))
}
