//! `x in (…)` and `list[i]`.

use std::{hash::Hash, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, BooleanArray, PrimitiveArray, StringViewArray,
        UInt32Array, cast::AsArray,
    },
    buffer::{BooleanBuffer, NullBuffer},
    compute,
    datatypes::{
        DataType, Date32Type, Decimal128Type, Float64Type, Int8Type, Int16Type, Int32Type,
        Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
};
use hashbrown::HashSet;

use super::{Ints, Value};
use crate::{
    Error, Result,
    expr::{BinaryOp, Expr, Literal, compare},
};

/// So many constants are compared one by one: that is no slower than a set, and any type can do it.
const FEW: usize = 3;

/// Whether `input` is one of `list`, which are constants of its type; null where it is not and
/// one of them, or it, is null.
pub(super) fn among_constants(input: &Value, list: &[Expr]) -> Result<Value> {
    let literals: Vec<_> = list
        .iter()
        .filter_map(|item| match item {
            Expr::Literal(literal) => Some(literal),
            _ => None,
        })
        .collect();
    let values: Vec<_> =
        literals.iter().copied().filter(|one| !matches!(one, Literal::Null(_))).collect();
    let array = input.array();
    let found = match short_texts(array, &values) {
        Some(found) => Some(found),
        None if values.len() > FEW => in_set(array, &values),
        None => None,
    };
    let Some(found) = found else {
        let items: Vec<_> =
            literals.iter().map(|literal| Value::new(literal.to_array(), true)).collect();
        return among(input, &items);
    };
    let mut nulls = array.nulls().cloned();
    if values.len() < literals.len() {
        // What is not found might be the null.
        nulls = NullBuffer::union(nulls.as_ref(), Some(&NullBuffer::new(found.clone())));
    }
    Ok(Value::new(Arc::new(BooleanArray::new(found, nulls)), input.is_scalar()))
}

/// As [`among_constants`], of any values.
pub(super) fn among(input: &Value, list: &[Value]) -> Result<Value> {
    let mut found: Option<Value> = None;
    for item in list {
        let equal = compare::compare(BinaryOp::Equal, input, item)?;
        let equal = Value::new(Arc::new(equal), input.is_scalar() && item.is_scalar());
        found = Some(match found {
            None => equal,
            Some(before) => {
                let is_scalar = before.is_scalar() && equal.is_scalar();
                let rows = if before.is_scalar() { equal.array() } else { before.array() }.len();
                let (before, equal) = (before.into_array(rows)?, equal.into_array(rows)?);
                let either = compute::or_kleene(before.as_boolean(), equal.as_boolean())?;
                Value::new(Arc::new(either), is_scalar)
            }
        });
    }
    found.ok_or_else(|| Error::Internal(String::from("`in` without values")))
}

/// Which texts are among `literals`, where these are as short as to stand in their views; `None` for
/// others.
fn short_texts(array: &ArrayRef, literals: &[&Literal]) -> Option<BooleanBuffer> {
    /// So many views are compared one by one.
    const FEW_VIEWS: usize = 8;
    let texts = literals.iter().map(|literal| match literal {
        Literal::Utf8(text) => Some(text.as_str()),
        _ => None,
    });
    let rows = array.as_string_view_opt()?;
    let texts = StringViewArray::from_iter_values(texts.collect::<Option<Vec<_>>>()?);
    if !texts.views().iter().all(|view| compare::is_whole(*view)) {
        return None;
    }
    let (views, wanted) = (rows.views(), texts.views());
    if wanted.len() <= FEW_VIEWS {
        return Some(BooleanBuffer::collect_bool(views.len(), |row| wanted.contains(&views[row])));
    }
    let set: HashSet<u128> = wanted.iter().copied().collect();
    Some(BooleanBuffer::collect_bool(views.len(), |row| set.contains(&views[row])))
}

/// Which values of `array` are among `literals`; `None` for types that have no set.
fn in_set(array: &ArrayRef, literals: &[&Literal]) -> Option<BooleanBuffer> {
    /// The values of one variant of literals, as keys of a set.
    macro_rules! set {
        ($pattern:pat => $key:expr) => {
            literals
                .iter()
                .map(|literal| match literal {
                    $pattern => Some($key),
                    _ => None,
                })
                .collect::<Option<HashSet<_>>>()?
        };
    }
    macro_rules! whole {
        ($type:ty, $literal:ident) => {{
            let set = set!(Literal::$literal(value) => *value);
            of_primitive::<$type, _>(array.as_primitive_opt()?, &set, |value| value)
        }};
    }
    Some(match array.data_type() {
        DataType::Int8 => whole!(Int8Type, Int8),
        DataType::Int16 => whole!(Int16Type, Int16),
        DataType::Int32 => whole!(Int32Type, Int32),
        DataType::Int64 => whole!(Int64Type, Int64),
        DataType::UInt8 => whole!(UInt8Type, UInt8),
        DataType::UInt16 => whole!(UInt16Type, UInt16),
        DataType::UInt32 => whole!(UInt32Type, UInt32),
        DataType::UInt64 => whole!(UInt64Type, UInt64),
        DataType::Date32 => whole!(Date32Type, Date32),
        DataType::Float64 => {
            let key = |value: f64| compare::canonical(value).to_bits();
            let set = set!(Literal::Float64(value) => key(*value));
            of_primitive::<Float64Type, _>(array.as_primitive_opt()?, &set, key)
        }
        DataType::Decimal128(..) => {
            let set = set!(Literal::Decimal { value, .. } => *value);
            of_primitive::<Decimal128Type, _>(array.as_primitive_opt()?, &set, |value| value)
        }
        DataType::Utf8View => {
            let set = set!(Literal::Utf8(text) => text.as_str());
            let texts = array.as_string_view_opt()?;
            BooleanBuffer::collect_bool(texts.len(), |row| {
                texts.is_valid(row) && set.contains(texts.value(row))
            })
        }
        _ => return None,
    })
}

fn of_primitive<T: ArrowPrimitiveType, K: Hash + Eq>(
    array: &PrimitiveArray<T>,
    set: &HashSet<K>,
    key: impl Fn(T::Native) -> K,
) -> BooleanBuffer {
    let values = array.values();
    BooleanBuffer::collect_bool(values.len(), |row| set.contains(&key(values[row])))
}

/// The element of each list at a place, from 1 on, or from the end where negative.
pub(super) fn element(input: &Value, index: &Value) -> Result<Value> {
    let lists = input.array().as_list_opt::<i32>();
    let lists = lists.ok_or_else(|| Error::Internal(String::from("an element of no list")))?;
    let places = Ints::new(index)?;
    let rows = if input.is_scalar() { index.array().len() } else { lists.len() };
    let offsets = lists.value_offsets();
    let taken = (0..rows).map(|row| {
        let list = if input.is_scalar() { 0 } else { row };
        let place = places.get(row).filter(|_| lists.is_valid(list))?;
        let (begin, end) = (i64::from(offsets[list]), i64::from(offsets[list + 1]));
        let at = if place > 0 { begin.checked_add(place)? - 1 } else { end.checked_add(place)? };
        let is_there = place != 0 && (begin..end).contains(&at);
        u32::try_from(at).ok().filter(|_| is_there)
    });
    let taken: UInt32Array = taken.collect();
    let is_scalar = input.is_scalar() && index.is_scalar();
    Ok(Value::new(compute::take(lists.values(), &taken, None)?, is_scalar))
}
