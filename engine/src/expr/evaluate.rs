//! `Expr` × `RecordBatch` → array.
//!
//! A batch at a time, over arrow's kernels. A constant stays one value until the very end, a
//! column is the batch's own array, and what a row does not need is not computed for it: a branch
//! of `case`, or the right side of `and` and `or`, sees only the rows that get there, so that its
//! errors are those rows' errors.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, BooleanArray, BooleanBufferBuilder, Datum, Int64Array, RecordBatch,
        StringViewArray, cast::AsArray, new_null_array,
    },
    buffer::BooleanBuffer,
    compute::{self, kernels},
    datatypes::{DataType, Float64Type, Int64Type},
    error::ArrowError,
};

use crate::{
    Error, Result,
    expr::{BinaryOp, Expr, Predicate, cast, compare},
};

impl Expr {
    /// The expression's value for every row of `batch`; text is `Utf8View`.
    ///
    /// - Arithmetic: int64 is checked; float64 follows IEEE 754, but division by zero is an error
    ///   for both. A null operand gives null.
    /// - Laziness: a branch of `case` is evaluated for the rows that take it, the right side of
    ///   `and` and `or` where the left side has not decided.
    ///
    /// # Errors
    /// [`Error::Evaluate`] on overflow, division by zero, a bad cast.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        let rows = Rows { batch, selection: None, count: batch.num_rows() };
        if rows.count == 0 {
            return Ok(arrow::array::new_empty_array(&self.data_type()));
        }
        self.value(&rows)?.into_array(rows.count)
    }

    fn value(&self, rows: &Rows<'_>) -> Result<Value> {
        match self {
            Self::Column { index, .. } => rows.column(*index).map(Value::rows),
            Self::Literal(literal) => Ok(Value::scalar(literal.to_array())),
            Self::Binary { op: op @ (BinaryOp::And | BinaryOp::Or), left, right, .. } => {
                connective(*op, left, right, rows)
            }
            Self::Binary { op, left, right, .. } => {
                let (left, right) = (left.value(rows)?, right.value(rows)?);
                binary(*op, &left, &right)
            }
            Self::Not(input) => {
                input.value(rows)?.map(|array| Ok(Arc::new(compute::not(array.as_boolean())?) as _))
            }
            Self::Negate(input) => input.value(rows)?.map(|array| {
                kernels::numeric::neg(array).map_err(|error| arithmetic("negation", error))
            }),
            Self::IsNull { input, negated } => input.value(rows)?.map(|array| {
                let test = if *negated { compute::is_not_null } else { compute::is_null };
                Ok(Arc::new(test(array)?) as _)
            }),
            Self::Case { branches, otherwise, data_type } => {
                case(branches, otherwise.as_deref(), data_type, rows)
            }
            Self::Cast { input, to, or_null } => {
                input.value(rows)?.map(|array| cast::cast(array, to, *or_null))
            }
            Self::Field { input, index, .. } => {
                input.value(rows)?.map(|array| field(array, *index))
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

    /// Whether evaluation can end in [`Error::Evaluate`].
    pub(crate) fn is_fallible(&self) -> bool {
        match self {
            Self::Column { .. } | Self::Literal(_) => false,
            Self::Binary { op, left, right, data_type } => {
                let itself = match op {
                    BinaryOp::Add | BinaryOp::Subtract | BinaryOp::Multiply => {
                        *data_type == DataType::Int64
                    }
                    BinaryOp::Divide | BinaryOp::IntegerDivide | BinaryOp::Modulo => true,
                    BinaryOp::Equal
                    | BinaryOp::NotEqual
                    | BinaryOp::Less
                    | BinaryOp::LessOrEqual
                    | BinaryOp::Greater
                    | BinaryOp::GreaterOrEqual
                    | BinaryOp::And
                    | BinaryOp::Or => false,
                };
                itself || left.is_fallible() || right.is_fallible()
            }
            Self::Not(input) | Self::IsNull { input, .. } | Self::Field { input, .. } => {
                input.is_fallible()
            }
            Self::Negate(_) => true,
            Self::Case { branches, otherwise, .. } => {
                branches.iter().any(|(when, then)| when.is_fallible() || then.is_fallible())
                    || otherwise.as_ref().is_some_and(|otherwise| otherwise.is_fallible())
            }
            Self::Cast { input, or_null, .. } => !or_null || input.is_fallible(),
            Self::Call { function, arguments, .. } => {
                function.is_fallible() || arguments.iter().any(Self::is_fallible)
            }
        }
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
    /// Which; all where absent. As long as the batch.
    selection: Option<BooleanArray>,
    /// How many.
    count: usize,
}

impl Rows<'_> {
    fn column(&self, index: usize) -> Result<ArrayRef> {
        let column = self.batch.columns().get(index).ok_or_else(|| {
            Error::Internal(format!("column {index} of {}", self.batch.num_columns()))
        })?;
        match &self.selection {
            None => Ok(Arc::clone(column)),
            Some(selection) => Ok(compute::filter(column, selection)?),
        }
    }

    /// Those of the rows for which `mask`, which has a bit for each of them, is set.
    fn narrow(&self, mask: &BooleanBuffer) -> Self {
        let count = mask.count_set_bits();
        if count == self.count {
            return Self { batch: self.batch, selection: self.selection.clone(), count };
        }
        let selection = match &self.selection {
            None => mask.clone(),
            Some(outer) => {
                let mut expanded = BooleanBufferBuilder::new(outer.len());
                expanded.append_n(outer.len(), false);
                for (place, is_set) in outer.values().set_indices().zip(mask) {
                    expanded.set_bit(place, is_set);
                }
                expanded.finish()
            }
        };
        Self { batch: self.batch, selection: Some(BooleanArray::new(selection, None)), count }
    }
}

/// What an expression gives: a value for each row, or one for all.
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
    fn rows(array: ArrayRef) -> Self {
        Self { array, is_scalar: false }
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
fn field(array: &dyn Array, index: usize) -> Result<ArrayRef> {
    let structs = array.as_struct_opt();
    let column = structs.and_then(|structs| structs.columns().get(index).zip(structs.nulls()));
    match (column, structs.and_then(|structs| structs.columns().get(index))) {
        (Some((column, nulls)), _) => {
            let present = BooleanArray::new(nulls.inner().clone(), None);
            Ok(compute::nullif(column, &compute::not(&present)?)?)
        }
        (None, Some(column)) => Ok(Arc::clone(column)),
        (None, None) => Err(Error::Internal(format!("no field {index} in {}", array.data_type()))),
    }
}

fn arithmetic(operation: &'static str, error: ArrowError) -> Error {
    match error {
        ArrowError::DivideByZero => Error::Evaluate { reason: format!("{operation} by zero") },
        ArrowError::ArithmeticOverflow(what) => {
            let values = what.strip_prefix("Overflow happened on: ").unwrap_or(&what);
            Error::Evaluate { reason: format!("{operation} overflows int64: {values}") }
        }
        other => Error::Arrow(other),
    }
}

fn binary(op: BinaryOp, left: &Value, right: &Value) -> Result<Value> {
    let is_scalar = left.is_scalar && right.is_scalar;
    let kernel = |kernel: fn(&dyn Datum, &dyn Datum) -> Result<ArrayRef, ArrowError>, name| {
        kernel(left, right).map_err(|error| arithmetic(name, error))
    };
    let array = match op {
        BinaryOp::Add => kernel(kernels::numeric::add, "addition")?,
        BinaryOp::Subtract => kernel(kernels::numeric::sub, "subtraction")?,
        BinaryOp::Multiply => kernel(kernels::numeric::mul, "multiplication")?,
        BinaryOp::Divide | BinaryOp::IntegerDivide => {
            refuse_float_zero(left, right, "division")?;
            kernel(kernels::numeric::div, "division")?
        }
        BinaryOp::Modulo => {
            refuse_float_zero(left, right, "modulo")?;
            kernel(kernels::numeric::rem, "modulo")?
        }
        BinaryOp::Equal
        | BinaryOp::NotEqual
        | BinaryOp::Less
        | BinaryOp::LessOrEqual
        | BinaryOp::Greater
        | BinaryOp::GreaterOrEqual => Arc::new(compare::compare(op, left, right)?),
        BinaryOp::And | BinaryOp::Or => {
            return Err(Error::Internal(String::from("a connective among the operators")));
        }
    };
    Ok(Value { array, is_scalar })
}

/// Refuses what arrow's kernels answer with an infinity: a float divided by zero.
fn refuse_float_zero(left: &Value, right: &Value, operation: &'static str) -> Result<()> {
    let Some(divisors) = right.array.as_primitive_opt::<Float64Type>() else { return Ok(()) };
    if !divisors.values().contains(&0.0) {
        return Ok(());
    }
    let rows = left.array.len().max(divisors.len());
    let at = |value: &Value, row: usize| if value.is_scalar { 0 } else { row };
    let is_refused = (0..rows).any(|row| {
        let divisor = at(right, row);
        divisors.is_valid(divisor)
            && divisors.value(divisor) == 0.0
            && left.array.is_valid(at(left, row))
    });
    if is_refused {
        return Err(Error::Evaluate { reason: format!("{operation} by zero") });
    }
    Ok(())
}

/// `and` and `or` with three values. Where the right side can fail, it is evaluated for the rows
/// that the left side has not decided.
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
    let right = if right.is_fallible() {
        let narrowed = rows.narrow(&undecided);
        let values = right.value(&narrowed)?.into_array(narrowed.count)?;
        if narrowed.count == rows.count {
            values
        } else {
            let decided: ArrayRef = Arc::new(BooleanArray::from(vec![decided]));
            let mask = BooleanArray::new(undecided, None);
            kernels::merge::merge(&mask, &values, &arrow::array::Scalar::new(decided))?
        }
    } else {
        right.value(rows)?.into_array(rows.count)?
    };
    let kernel = if op == BinaryOp::Or { compute::or_kleene } else { compute::and_kleene };
    Ok(Value::rows(Arc::new(kernel(left, right.as_boolean())?)))
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
    let values: Vec<_> = values.iter().map(AsRef::as_ref).collect();
    Ok(Value::rows(kernels::merge::merge_n(&values, &taken)?))
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
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{
            Array, ArrayRef, BooleanArray, Date32Array, Float64Array, RecordBatch, record_batch,
        },
        compute::concat,
        datatypes::{Field, Schema},
        util::display::array_value_to_string,
    };
    use proptest::prelude::*;

    use crate::expr::parse;

    fn batch() -> RecordBatch {
        let numbers = record_batch!(
            ("n", Int64, [Some(1), Some(2), None, Some(0)]),
            ("text", Utf8View, [Some("Ana, 7"), Some("bob"), None, Some("")])
        )
        .unwrap();
        let floats: ArrayRef =
            Arc::new(Float64Array::from(vec![Some(0.5), Some(f64::NAN), None, Some(-0.0)]));
        let flags: ArrayRef =
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true)]));
        let days: ArrayRef =
            Arc::new(Date32Array::from(vec![Some(0), Some(1), None, Some(19_782)]));
        let mut fields: Vec<_> = numbers.schema().fields().iter().cloned().collect();
        let mut columns = numbers.columns().to_vec();
        for (name, column) in [("x", floats), ("b", flags), ("day", days)] {
            fields.push(Arc::new(Field::new(name, column.data_type().clone(), true)));
            columns.push(column);
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    /// The values of an expression, one a row; a null is empty.
    fn values(text: &str) -> Result<Vec<String>, String> {
        let batch = batch();
        let expr =
            parse::expression(text, batch.schema_ref()).unwrap_or_else(|e| panic!("{text}: {e:?}"));
        let array = expr.evaluate(&batch).map_err(|error| error.to_string())?;
        assert_eq!(
            (array.len(), array.data_type()),
            (batch.num_rows(), &expr.data_type()),
            "{text}"
        );
        Ok((0..array.len()).map(|row| array_value_to_string(&array, row).unwrap()).collect())
    }

    #[test]
    fn expressions_have_these_values() {
        for (text, expected) in [
            ("n", ["1", "2", "", "0"]),
            ("n + 1", ["2", "3", "", "1"]),
            ("7 - n * 2", ["5", "3", "", "7"]),
            ("n / 2", ["0.5", "1.0", "", "0.0"]),
            ("n div 2", ["0", "1", "", "0"]),
            ("-7 div 2", ["-3"; 4]),
            ("-7 % 4", ["-3"; 4]),
            ("-n", ["-1", "-2", "", "0"]),
            ("x = x", ["true", "true", "", "true"]),
            ("x > 1e308", ["false", "true", "", "false"]),
            ("x = 0", ["false", "false", "", "true"]),
            ("x < 0", ["false", "false", "", "false"]),
            ("0.5 >= x", ["true", "false", "", "true"]),
            ("x <> null", [""; 4]),
            ("null is null", ["true"; 4]),
            ("n is null", ["false", "false", "true", "false"]),
            ("n is not null", ["true", "true", "false", "true"]),
            ("b and n > 0", ["true", "false", "", "false"]),
            ("b or n > 0", ["true", "true", "", "true"]),
            ("not b", ["false", "true", "", "false"]),
            ("b and null", ["", "false", "", ""]),
            ("b or null", ["true", "", "", "true"]),
            ("text = 'bob'", ["false", "true", "", "false"]),
            ("text < 'b'", ["true", "false", "", "true"]),
            ("day = '1970-01-02'", ["false", "true", "", "false"]),
            ("day < '1970-01-01T12:00:00'", ["true", "false", "", "false"]),
            ("case when n = 1 then 'one' when n = 2 then 'two' end", ["one", "two", "", ""]),
            ("case n when 1 then 10 else n end", ["10", "2", "", "0"]),
            ("case when b then x else n end", ["0.5", "2.0", "", "-0.0"]),
            ("case when null then 1 end", [""; 4]),
            ("lower(text)", ["ana, 7", "bob", "", ""]),
            ("upper(text)", ["ANA, 7", "BOB", "", ""]),
            ("length(text)", ["6", "3", "", "0"]),
            ("length('añ')", ["2"; 4]),
            ("trim('  a b ')", ["a b"; 4]),
            ("trim('   ')", [""; 4]),
            ("substr(text, 2)", ["na, 7", "ob", "", ""]),
            ("substr('abcdef', n, 2)", ["ab", "bc", "", "a"]),
            ("concat(text, '|', n, b)", ["Ana, 7|1true", "bob|2false", "|", "|0true"]),
            ("text || '!' || text", ["Ana, 7!Ana, 7", "bob!bob", "", "!"]),
            ("try_cast(text as int64)", [""; 4]),
            ("cast(n as string) || '.'", ["1.", "2.", "", "0."]),
            ("cast(2.5 as int64)", ["2"; 4]),
            ("cast(day as string)", ["1970-01-01", "1970-01-02", "", "2024-02-29"]),
            ("cast(b as int64) + 1", ["2", "1", "", "2"]),
        ] {
            assert_eq!(values(text), Ok(expected.map(String::from).to_vec()), "{text}");
        }
    }

    #[test]
    fn what_has_no_value_is_an_error_that_names_it() {
        for (text, expected) in [
            ("9223372036854775807 + n", "addition overflows int64: 9223372036854775807 + 1"),
            (
                "n - 9223372036854775807 - 9",
                "subtraction overflows int64: -9223372036854775806 - 9",
            ),
            ("n * 9223372036854775807", "multiplication overflows int64: 2 * 9223372036854775807"),
            ("1 / n", "division by zero"),
            ("1 div n", "division by zero"),
            ("5 % n", "modulo by zero"),
            ("1.5 / x", "division by zero"),
            ("n % 0.0", "modulo by zero"),
            ("cast(text as int64)", "cannot cast 'Ana, 7' to int64"),
            ("substr(text, 1, -1)", "substr of -1 characters"),
        ] {
            assert_eq!(values(text), Err(String::from(expected)), "{text}");
        }
        assert_eq!(values("null / x").map(|v| v.len()), Ok(4), "null divided by zero is null");
    }

    #[test]
    fn the_error_of_a_branch_is_that_of_the_rows_that_take_it() {
        assert_eq!(
            values("case when n = 0 then -1 else 6 div n end"),
            Ok(["6", "3", "", "-1"].map(String::from).to_vec())
        );
        assert_eq!(
            values("n <> 0 and 6 div n = 3"),
            Ok(["false", "true", "", "false"].map(String::from).to_vec())
        );
        assert_eq!(
            values("n = 0 or case when n = 1 then true else 6 div n = 3 end"),
            Ok(["true", "true", "", "true"].map(String::from).to_vec())
        );
    }

    #[test]
    fn a_column_is_not_copied() {
        let batch = batch();
        let expr = parse::expression("text", batch.schema_ref()).unwrap();
        assert!(Arc::ptr_eq(&expr.evaluate(&batch).unwrap(), batch.column(1)));
    }

    proptest! {
        #[test]
        fn a_batch_in_two_halves_has_the_same_values(
            cut in 0usize..=4,
            text in prop::sample::select(vec![
                "n + 1", "lower(text)", "case when b then x when n = 2 then 3 else 4 end",
                "b and x > 0 or text = 'bob'", "substr(text, n, 2)", "concat(text, x, day)", "upper(trim(text))",
            ]),
        ) {
            let batch = batch();
            let expr = parse::expression(text, batch.schema_ref()).unwrap();
            let whole = expr.evaluate(&batch).unwrap();
            let halves = [batch.slice(0, cut), batch.slice(cut, 4 - cut)].map(|half| expr.evaluate(&half).unwrap());
            let joined = concat(&[halves[0].as_ref(), halves[1].as_ref()]).unwrap();
            prop_assert_eq!(&whole, &joined);
        }
    }
}
