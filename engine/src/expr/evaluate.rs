//! `Expr` × `RecordBatch` → array.
//!
//! A batch at a time, over arrow's kernels. A constant stays one value until the very end, a
//! column is the batch's own array, and what a row does not need is not computed for it: a branch
//! of `case`, or the right side of `and` and `or`, sees only the rows that get there, so that its
//! errors are those rows' errors.

use std::{cell::RefCell, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, BooleanArray, BooleanBufferBuilder, Datum, Int64Array,
        NullBufferBuilder, PrimitiveArray, RecordBatch, StringViewArray, StructArray,
        cast::AsArray, downcast_primitive, new_null_array,
    },
    buffer::{BooleanBuffer, NullBuffer},
    compute::{self, kernels},
    datatypes::{DataType, Int64Type},
};

use crate::{
    Error, Result,
    expr::{BinaryOp, Expr, Predicate, cast, compare, pattern},
};

mod arithmetic;
mod blame;
mod member;
mod narrow;
mod share;

use share::Shared;

/// The values of `exprs` for every row of `batch`, each computed as by [`Expr::evaluate`]; what
/// they have in common is computed once.
///
/// # Errors
/// As [`Expr::evaluate`].
pub fn evaluate_all(exprs: &[Expr], batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    let exprs: Vec<_> = exprs.iter().collect();
    values(&exprs, batch).map_err(|error| blame::blamed(error, &exprs, batch))
}

/// As [`evaluate_all`], without the row that an error is about.
fn values(exprs: &[&Expr], batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    let count = batch.num_rows();
    if count == 0 {
        let empty = |expr: &&Expr| arrow::array::new_empty_array(&expr.data_type());
        return Ok(exprs.iter().map(empty).collect());
    }
    let shared = Shared::of(exprs);
    let rows = Rows::all(batch, &shared);
    exprs.iter().map(|expr| expr.value(&rows)?.into_array(count)).collect()
}

impl Expr {
    /// The expression's value for every row of `batch`; text is `Utf8View`.
    ///
    /// - Arithmetic: whole numbers and decimals are checked; floats follow IEEE 754, but division
    ///   by zero is an error for all. A null operand gives null.
    /// - Laziness: a branch of `case` is evaluated for the rows that take it, the right side of
    ///   `and` and `or` where the left side has not decided.
    ///
    /// # Errors
    /// [`Error::Evaluate`] on overflow, division by zero, a bad cast; it names the values of the
    /// first such row.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        let mut arrays =
            values(&[self], batch).map_err(|error| blame::blamed(error, &[self], batch))?;
        arrays.pop().ok_or_else(|| Error::Internal(String::from("an expression without value")))
    }

    /// Its value for `rows`, as it was computed before where that is shared.
    fn value(&self, rows: &Rows<'_>) -> Result<Value> {
        let Some(slot) = rows.shared.slot(self) else { return self.compute(rows) };
        if let Some(value) = rows.recall(slot)? {
            return Ok(value);
        }
        let value = self.compute(rows)?;
        rows.remember(slot, &value);
        Ok(value)
    }

    fn compute(&self, rows: &Rows<'_>) -> Result<Value> {
        match self {
            Self::Column { index, .. } => rows.column(*index).map(Value::rows),
            Self::Literal(literal) => Ok(Value::scalar(literal.to_array())),
            Self::Binary { op: op @ (BinaryOp::And | BinaryOp::Or), left, right, .. } => {
                connective(*op, left, right, rows)
            }
            Self::Binary { op, left, right, data_type } => {
                let (left, right) = (left.value(rows)?, right.value(rows)?);
                binary(*op, &left, &right, data_type)
            }
            Self::Chain { first, steps } => {
                let mut value = first.value(rows)?;
                for step in steps {
                    value = binary(step.op, &value, &step.right.value(rows)?, &step.data_type)?;
                }
                Ok(value)
            }
            Self::Not(input) => {
                input.value(rows)?.map(|array| Ok(Arc::new(compute::not(array.as_boolean())?) as _))
            }
            Self::Negate(input) => input.value(rows)?.map(arithmetic::negate),
            Self::IsNull { input, negated } => input.value(rows)?.map(|array| {
                let test = if *negated { compute::is_not_null } else { compute::is_null };
                Ok(Arc::new(test(array)?) as _)
            }),
            Self::IsTruth { input, value, negated } => input.value(rows)?.map(|array| {
                let bools = array.as_boolean();
                let is_value = if *value { bools.values().clone() } else { !bools.values() };
                let holds = match bools.nulls() {
                    Some(nulls) => &is_value & nulls.inner(),
                    None => is_value,
                };
                let holds = if *negated { !&holds } else { holds };
                Ok(Arc::new(BooleanArray::new(holds, None)) as _)
            }),
            Self::InList { input, list, negated } => {
                let input = input.value(rows)?;
                let found = if list.iter().all(|item| matches!(item, Self::Literal(_))) {
                    member::among_constants(&input, list)?
                } else {
                    let list = list.iter().map(|item| item.value(rows));
                    member::among(&input, &list.collect::<Result<Vec<_>>>()?)?
                };
                if *negated {
                    found.map(|array| Ok(Arc::new(compute::not(array.as_boolean())?) as _))
                } else {
                    Ok(found)
                }
            }
            Self::Like { input, pattern, escape, ignores_case, negated } => {
                let (input, pattern) = (input.value(rows)?, pattern.value(rows)?);
                let count = rows.count;
                pattern::like(&input, &pattern, *escape, *ignores_case, *negated, count)
            }
            Self::Case { branches, otherwise, data_type } => {
                case(branches, otherwise.as_deref(), data_type, rows)
            }
            Self::Cast { input, to, or_null } => {
                input.value(rows)?.map(|array| cast::cast(array, to, *or_null))
            }
            Self::Field { input, index, .. } => input.value(rows)?.map(|array| {
                let structs = array.as_struct_opt();
                let structs = structs.ok_or_else(|| Error::Internal(String::from("no struct")))?;
                field(structs, *index)
            }),
            Self::Element { input, index, .. } => {
                member::element(&input.value(rows)?, &index.value(rows)?)
            }
            Self::Call { function, arguments, data_type } => {
                let arguments: Vec<_> =
                    arguments.iter().map(|argument| argument.value(rows)).collect::<Result<_>>()?;
                let is_constant = arguments.iter().all(|argument| argument.is_scalar);
                let count = if is_constant { 1 } else { rows.count };
                let array = function.evaluate(&arguments, count, data_type)?;
                Ok(Value { array, is_scalar: is_constant })
            }
        }
    }

    /// Whether a row takes longer than comparing a few numbers does.
    pub(crate) fn is_costly(&self) -> bool {
        let itself = match self {
            Self::Like { .. } | Self::Call { .. } | Self::Case { .. } | Self::Element { .. } => {
                true
            }
            Self::InList { input, .. } => input.data_type().is_nested(),
            Self::Cast { input, to, .. } => !input.data_type().is_primitive() || !to.is_primitive(),
            Self::Binary { left, .. } => left.data_type().is_nested(),
            Self::Column { .. }
            | Self::Literal(_)
            | Self::Not(_)
            | Self::IsNull { .. }
            | Self::IsTruth { .. }
            | Self::Field { .. }
            | Self::Chain { .. }
            | Self::Negate(_) => false,
        };
        itself || self.children().into_iter().any(Self::is_costly)
    }

    /// Whether evaluation can end in [`Error::Evaluate`].
    pub(crate) fn is_fallible(&self) -> bool {
        let itself = match self {
            Self::Column { .. }
            | Self::Literal(_)
            | Self::Not(_)
            | Self::IsNull { .. }
            | Self::IsTruth { .. }
            | Self::InList { .. }
            | Self::Field { .. }
            | Self::Element { .. }
            | Self::Case { .. } => false,
            Self::Binary { op, data_type, .. } => arithmetic::is_fallible(*op, data_type),
            Self::Chain { steps, .. } => {
                steps.iter().any(|step| arithmetic::is_fallible(step.op, &step.data_type))
            }
            Self::Negate(_) => true,
            Self::Like { pattern, .. } => !matches!(pattern.as_ref(), Self::Literal(_)),
            Self::Cast { or_null, .. } => !or_null,
            Self::Call { function, .. } => function.is_fallible(),
        };
        itself || self.children().into_iter().any(Self::is_fallible)
    }
}

impl Predicate {
    /// For every row whether it is true; null may stand for false.
    ///
    /// # Errors
    /// As [`Expr::evaluate`].
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let values = self.0.evaluate(batch)?;
        let values = values.as_boolean_opt().cloned();
        values.ok_or_else(|| Error::Internal(String::from("a predicate that is not bool")))
    }
}

/// The rows of a batch for which an expression is evaluated.
struct Rows<'a> {
    batch: &'a RecordBatch,
    shared: &'a Shared,
    /// The rows from which these were chosen, and which of them they are; all where absent.
    outer: Option<(&'a Rows<'a>, Option<BooleanArray>)>,
    /// How many.
    count: usize,
    /// What was computed for just these rows and is asked for again.
    known: RefCell<Vec<Option<Value>>>,
}

impl<'a> Rows<'a> {
    fn all(batch: &'a RecordBatch, shared: &'a Shared) -> Self {
        let known = RefCell::new(vec![None; shared.len()]);
        Self { batch, shared, outer: None, count: batch.num_rows(), known }
    }

    /// Values of the rows from which these were chosen, for these alone.
    fn chosen(mask: Option<&BooleanArray>, array: &ArrayRef) -> Result<ArrayRef> {
        match mask {
            None => Ok(Arc::clone(array)),
            Some(mask) => Ok(compute::filter(array, mask)?),
        }
    }

    fn column(&self, index: usize) -> Result<ArrayRef> {
        match &self.outer {
            None => self.batch.columns().get(index).cloned().ok_or_else(|| {
                Error::Internal(format!("column {index} of {}", self.batch.num_columns()))
            }),
            Some((outer, mask)) => Self::chosen(mask.as_ref(), &outer.column(index)?),
        }
    }

    /// Those of the rows for which `mask`, which has a bit for each of them, is set.
    fn narrow<'b>(&'b self, mask: &BooleanBuffer) -> Rows<'b>
    where
        'a: 'b,
    {
        let count = mask.count_set_bits();
        let mask = (count < self.count).then(|| BooleanArray::new(mask.clone(), None));
        let known = RefCell::new(vec![None; self.shared.len()]);
        Rows { batch: self.batch, shared: self.shared, outer: Some((self, mask)), count, known }
    }

    /// What was computed for these rows, or for those from which they were chosen.
    fn recall(&self, slot: usize) -> Result<Option<Value>> {
        if let Some(value) = self.known.borrow().get(slot).and_then(Option::as_ref) {
            return Ok(Some(value.clone()));
        }
        let Some((outer, mask)) = &self.outer else { return Ok(None) };
        let Some(value) = outer.recall(slot)? else { return Ok(None) };
        if value.is_scalar {
            return Ok(Some(value));
        }
        let value = Value::rows(Self::chosen(mask.as_ref(), &value.array)?);
        self.remember(slot, &value);
        Ok(Some(value))
    }

    fn remember(&self, slot: usize, value: &Value) {
        if let Some(known) = self.known.borrow_mut().get_mut(slot) {
            *known = Some(value.clone());
        }
    }
}

/// What an expression gives: a value for each row, or one for all.
#[derive(Clone)]
pub(crate) struct Value {
    array: ArrayRef,
    is_scalar: bool,
}

impl Datum for Value {
    fn get(&self) -> (&dyn Array, bool) {
        (self.array.as_ref(), self.is_scalar)
    }
}

impl Value {
    /// A value for each row.
    pub(crate) fn rows(array: ArrayRef) -> Self {
        Self { array, is_scalar: false }
    }

    /// A value a row, or one for all.
    pub(crate) fn new(array: ArrayRef, is_scalar: bool) -> Self {
        Self { array, is_scalar }
    }

    fn scalar(array: ArrayRef) -> Self {
        Self { array, is_scalar: true }
    }

    /// The values: one a row, or the one for all.
    pub(crate) fn array(&self) -> &ArrayRef {
        &self.array
    }

    /// Whether there is one value for all rows.
    pub(crate) fn is_scalar(&self) -> bool {
        self.is_scalar
    }

    /// A value a row.
    pub(crate) fn into_array(self, count: usize) -> Result<ArrayRef> {
        if !self.is_scalar || count == 1 {
            return Ok(self.array);
        }
        if self.array.is_null(0) {
            return Ok(new_null_array(self.array.data_type(), count));
        }
        let zeros = arrow::array::UInt32Array::from_value(0, count);
        Ok(compute::take(&self.array, &zeros, None)?)
    }

    fn map(self, apply: impl FnOnce(&dyn Array) -> Result<ArrayRef>) -> Result<Self> {
        Ok(Self { array: apply(self.array.as_ref())?, is_scalar: self.is_scalar })
    }
}

/// A struct's field, null where the struct is.
pub(crate) fn field(structs: &StructArray, index: usize) -> Result<ArrayRef> {
    let column = structs.columns().get(index);
    let column = column.ok_or_else(|| Error::Internal(format!("no field {index} in a struct")))?;
    match structs.nulls() {
        None => Ok(Arc::clone(column)),
        Some(nulls) => {
            let absent = BooleanArray::new(!nulls.inner(), None);
            Ok(compute::nullif(column, &absent)?)
        }
    }
}

fn binary(op: BinaryOp, left: &Value, right: &Value, data_type: &DataType) -> Result<Value> {
    let is_scalar = left.is_scalar && right.is_scalar;
    let array: ArrayRef = match op {
        BinaryOp::Add
        | BinaryOp::Subtract
        | BinaryOp::Multiply
        | BinaryOp::Divide
        | BinaryOp::IntegerDivide
        | BinaryOp::Modulo => arithmetic::compute(op, left, right, data_type)?,
        BinaryOp::Equal
        | BinaryOp::NotEqual
        | BinaryOp::Less
        | BinaryOp::LessOrEqual
        | BinaryOp::Greater
        | BinaryOp::GreaterOrEqual
        | BinaryOp::IsDistinct
        | BinaryOp::IsNotDistinct => Arc::new(compare::compare(op, left, right)?),
        BinaryOp::And | BinaryOp::Or => {
            return Err(Error::Internal(String::from("a connective among the operators")));
        }
    };
    Ok(Value { array, is_scalar })
}

/// One row of so many is few.
const FEW_FRACTION: usize = 4;

/// `and` and `or` with three values. Where the right side can fail, or costs much, it is evaluated for
/// the rows that the left side has not decided.
fn connective(op: BinaryOp, left: &Expr, right: &Expr, rows: &Rows<'_>) -> Result<Value> {
    let left = left.value(rows)?.into_array(rows.count)?;
    let left = left.as_boolean();
    let decided = op == BinaryOp::Or;
    let undecided = match left.nulls() {
        // A bit is set where the value is null or is not the one that decides.
        Some(nulls) if decided => &!left.values() | &!nulls.inner(),
        Some(nulls) => left.values() | &!nulls.inner(),
        None if decided => !left.values(),
        None => left.values().clone(),
    };
    if undecided.count_set_bits() == 0 {
        return Ok(Value::rows(Arc::new(left.clone())));
    }
    // Few rows are worth choosing for what costs more than choosing them.
    let is_worth_it = right.is_costly() && undecided.count_set_bits() <= rows.count / FEW_FRACTION;
    let right = if right.is_fallible() || is_worth_it {
        let narrowed = rows.narrow(&undecided);
        let values = right.value(&narrowed)?.into_array(narrowed.count)?;
        if narrowed.count == rows.count {
            values
        } else {
            spread(values.as_boolean(), &undecided, decided)
        }
    } else {
        right.value(rows)?.into_array(rows.count)?
    };
    let kernel = if op == BinaryOp::Or { compute::or_kleene } else { compute::and_kleene };
    Ok(Value::rows(Arc::new(kernel(left, right.as_boolean())?)))
}

/// Values at the places where `mask` is set, in their order, and `other` everywhere else.
fn spread(values: &BooleanArray, mask: &BooleanBuffer, other: bool) -> ArrayRef {
    let put = |bits: &BooleanBuffer, rest: bool| {
        let mut all = BooleanBufferBuilder::new(mask.len());
        all.append_n(mask.len(), rest);
        for (row, bit) in mask.set_indices().zip(bits) {
            if bit != rest {
                all.set_bit(row, bit);
            }
        }
        all.finish()
    };
    let nulls = values.nulls().map(|nulls| NullBuffer::new(put(nulls.inner(), true)));
    Arc::new(BooleanArray::new(put(values.values(), other), nulls))
}

/// Where the values are true, and not null.
fn is_true(values: &BooleanArray) -> BooleanBuffer {
    match values.nulls() {
        Some(nulls) => values.values() & nulls.inner(),
        None => values.values().clone(),
    }
}

/// Which branch a row takes, as an index into the branches' values.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Taken(Option<u32>);

impl kernels::merge::MergeIndex for Taken {
    fn index(&self) -> Option<usize> {
        self.0.map(|branch| branch as usize)
    }
}

fn case(
    branches: &[(Expr, Expr)],
    otherwise: Option<&Expr>,
    data_type: &DataType,
    rows: &Rows<'_>,
) -> Result<Value> {
    let mut taken = vec![Taken(None); rows.count];
    let mut pending = BooleanBuffer::new_set(rows.count);
    let mut values: Vec<ArrayRef> = Vec::new();
    let mut take = |mask: &BooleanBuffer, value: &Expr| -> Result<()> {
        let narrowed = rows.narrow(mask);
        if narrowed.count > 0 {
            let branch = u32::try_from(values.len()).unwrap_or(u32::MAX);
            mask.set_indices().for_each(|row| taken[row] = Taken(Some(branch)));
            values.push(value.value(&narrowed)?.into_array(narrowed.count)?);
        }
        Ok(())
    };
    for (when, then) in branches {
        let narrowed = rows.narrow(&pending);
        if narrowed.count == 0 {
            break;
        }
        let holds = when.value(&narrowed)?.into_array(narrowed.count)?;
        let holds = is_true(holds.as_boolean());
        let mut mask = BooleanBufferBuilder::new(rows.count);
        mask.append_n(rows.count, false);
        for (row, is_taken) in pending.set_indices().zip(&holds) {
            mask.set_bit(row, is_taken);
        }
        let mask = mask.finish();
        take(&mask, then)?;
        pending = &pending & &!&mask;
    }
    if let Some(otherwise) = otherwise {
        take(&pending, otherwise)?;
    }
    if values.is_empty() {
        return Ok(Value::scalar(new_null_array(data_type, 1)));
    }
    if values.len() == 1 && values[0].len() == rows.count {
        return Ok(Value::rows(values.swap_remove(0)));
    }
    Ok(Value::rows(merged(&values, &taken)?))
}

/// For each row the next value of the branch that it takes, null where it takes none.
fn merged(branches: &[ArrayRef], taken: &[Taken]) -> Result<ArrayRef> {
    /// Values of a fixed width are put row by row, which no run of equal branches can make up for.
    macro_rules! row_by_row {
        ($type:ty) => {
            Ok(Arc::new(merged_primitive::<$type>(branches, taken)))
        };
    }
    let Some(first) = branches.first() else {
        return Err(Error::Internal(String::from("a case without a branch")));
    };
    downcast_primitive! {
        first.data_type() => (row_by_row),
        _ => {
            let branches: Vec<_> = branches.iter().map(AsRef::as_ref).collect();
            Ok(kernels::merge::merge_n(&branches, taken)?)
        }
    }
}

fn merged_primitive<T: ArrowPrimitiveType>(
    branches: &[ArrayRef],
    taken: &[Taken],
) -> PrimitiveArray<T> {
    let branches: Vec<&PrimitiveArray<T>> =
        branches.iter().map(AsArray::as_primitive::<T>).collect();
    let mut next = vec![0; branches.len()];
    let mut valid = NullBufferBuilder::new(taken.len());
    let mut values = Vec::with_capacity(taken.len());
    for row in taken {
        let Taken(Some(branch)) = row else {
            values.push(T::default_value());
            valid.append_null();
            continue;
        };
        let branch = *branch as usize;
        let place = next[branch];
        next[branch] += 1;
        values.push(branches[branch].values()[place]);
        valid.append(branches[branch].is_valid(place));
    }
    let merged = PrimitiveArray::new(values.into(), valid.finish());
    match branches.first() {
        Some(first) => merged.with_data_type(first.data_type().clone()),
        None => merged,
    }
}

/// The whole numbers of a value, for kernels that go row by row.
pub(crate) struct Ints<'a> {
    array: &'a Int64Array,
    is_scalar: bool,
}

impl<'a> Ints<'a> {
    /// Of a value that is int64.
    pub(crate) fn new(value: &'a Value) -> Result<Self> {
        let array = value.array.as_primitive_opt::<Int64Type>();
        let array = array.ok_or_else(|| Error::Internal(String::from("an argument not int64")))?;
        Ok(Self { array, is_scalar: value.is_scalar })
    }

    /// The number of a row; `None` for a null.
    pub(crate) fn get(&self, row: usize) -> Option<i64> {
        let row = if self.is_scalar { 0 } else { row };
        self.array.is_valid(row).then(|| self.array.value(row))
    }
}

/// The texts of a value, for kernels that go row by row.
pub(crate) struct Texts<'a> {
    array: &'a StringViewArray,
    is_scalar: bool,
}

impl<'a> Texts<'a> {
    /// Of a value that is text.
    pub(crate) fn new(value: &'a Value) -> Result<Self> {
        Ok(Self { array: text_array(&value.array)?, is_scalar: value.is_scalar })
    }

    /// The text of a row; `None` for a null.
    pub(crate) fn get(&self, row: usize) -> Option<&'a str> {
        let row = if self.is_scalar { 0 } else { row };
        self.array.is_valid(row).then(|| self.array.value(row))
    }
}

/// The text array behind a value that is text.
pub(crate) fn text_array(array: &ArrayRef) -> Result<&StringViewArray> {
    let text = array.as_string_view_opt();
    text.ok_or_else(|| Error::Internal(String::from("an argument not text")))
}

#[cfg(test)]
mod tests;
