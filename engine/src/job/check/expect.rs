//! `expect`: checks of rows one by one, and checks of all rows together as steps that find none.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};

use super::{
    ProblemCode,
    fields::{Fields, Known},
    graph::Vertex,
    nodes::{Binder, Bound},
    relational::column_index,
};
use crate::{
    expr::{Aggregate, AggregateFunction, BinaryOp, Expr, Literal, Predicate, parse},
    formats::intake::{BadRowMode, OnBadRow},
    job::Json,
    plan::{Check, Op, Order},
};

/// The fields of `rows`.
const ROWS: Known =
    Known { of: "`rows`", always: &[], fields: &["min", "max"], later: &[], elsewhere: &[] };

/// What may become of rows for which a check does not hold.
pub(super) const ON_FAIL: [&str; 2] = ["fail", "quarantine"];

/// The most rows that may be expected.
const MOST_ROWS: u64 = i64::MAX.unsigned_abs();

pub(super) fn expect(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    input: Option<&Bound>,
) -> Option<Bound> {
    let fields = &vertex.fields;
    if !["rows", "unique", "not_null", "where"].iter().any(|name| fields.has(name)) {
        let message = "one of `rows`, `unique`, `not_null`, `where` is missing";
        binder.report.problem(fields.pointer(), ProblemCode::MissingField, message);
        return None;
    }
    let on_fail = on_fail(binder, fields);
    let rows = if fields.has("rows") { Some(bounds(binder, fields)) } else { None };
    let unique = columns(binder, fields, "unique", input);
    let not_null = columns(binder, fields, "not_null", input);
    let condition = fields.text("where", binder.report);
    let condition = condition.map(|text| {
        let bound = binder.parsed(text, &fields.at("where"), input, parse::predicate);
        bound.map(|predicate| Check { predicate, text: format!("where: {text}") })
    });
    let input = input?;
    let mut checks = Vec::new();
    for column in not_null? {
        let name = input.schema.field(column).name();
        let text = format!("not_null: {name}");
        checks.push(Check { predicate: Predicate(is_not_null(input, column)), text });
    }
    if let Some(condition) = condition {
        checks.push(condition?);
    } else if fields.has("where") {
        return None;
    }
    let mut inputs = vec![input.clone()];
    let mut offences = Vec::new();
    if let Some(rows) = rows {
        let (least, most) = rows?;
        inputs.push(wrong_count(binder, vertex, input, least, most)?);
        offences.push(match (least, most) {
            (least, most) if least == most => format!("rows: {least}"),
            (least, MOST_ROWS) => format!("rows: at least {least}"),
            (least, most) => format!("rows: {least} to {most}"),
        });
    }
    let unique = unique?;
    if !unique.is_empty() {
        let names = unique.iter().map(|column| input.schema.field(*column).name().as_str());
        offences.push(format!("unique: {}", names.collect::<Vec<_>>().join(", ")));
        inputs.push(repeated(binder, vertex, input, &unique)?);
    }
    let all: Vec<&Bound> = inputs.iter().collect();
    let op = Op::Expect { checks, offences, on_fail: on_fail? };
    let bound = binder.push(vertex.id, op, &all, Arc::clone(&input.schema), input.order.clone());
    Some(Bound { is_tokens: input.is_tokens, ..bound })
}

/// What becomes of rows for which a check does not hold. Checks of all rows together can only fail.
fn on_fail(binder: &mut Binder<'_, '_>, fields: &Fields<'_>) -> Option<OnBadRow> {
    if !fields.has("on_fail") {
        return Some(OnBadRow::default());
    }
    let pointer = fields.at("on_fail");
    match fields.text("on_fail", binder.report)? {
        "fail" => Some(OnBadRow::default()),
        "quarantine" => {
            let whole = ["rows", "unique"].into_iter().find(|name| fields.has(name));
            if let Some(whole) = whole {
                let message = format!(
                    "`{whole}` is no check of single rows, of which some could be put aside; use \
                     another expect node for it"
                );
                binder.report.problem(pointer, ProblemCode::ConflictingFields, message);
                return None;
            }
            Some(OnBadRow { mode: BadRowMode::Quarantine, ..OnBadRow::default() })
        }
        other => {
            let suggestion = parse::nearest(other, ON_FAIL);
            let message = format!("no `on_fail` of `{other}`; there are {}", ON_FAIL.join(", "));
            binder.report.suggest(pointer, ProblemCode::BadValue, message, suggestion);
            None
        }
    }
}

/// The least and the most rows.
fn bounds(binder: &mut Binder<'_, '_>, fields: &Fields<'_>) -> Option<(u64, u64)> {
    let value = fields.get("rows")?;
    let Json::Object(_) = value else {
        let rows = fields.number("rows", 0..=MOST_ROWS, binder.report)?;
        return Some((rows, rows));
    };
    let pointer = fields.at("rows");
    let bounds = Fields::open(value, &pointer, binder.report)?;
    bounds.check_names(&ROWS, binder.report);
    let least = bounds.number("min", 0..=MOST_ROWS, binder.report);
    let most = bounds.number("max", 0..=MOST_ROWS, binder.report);
    let least = if bounds.has("min") { least? } else { 0 };
    let most = if bounds.has("max") { most? } else { MOST_ROWS };
    if !bounds.has("min") && !bounds.has("max") {
        let message = "one of `min`, `max` is missing";
        binder.report.problem(pointer, ProblemCode::MissingField, message);
        return None;
    }
    if least > most {
        let message = format!("`min` {least} is more than `max` {most}");
        binder.report.problem(pointer, ProblemCode::BadValue, message);
        return None;
    }
    Some((least, most))
}

/// The places of the columns that a field names; none where it is absent.
fn columns(
    binder: &mut Binder<'_, '_>,
    fields: &Fields<'_>,
    name: &str,
    input: Option<&Bound>,
) -> Option<Vec<usize>> {
    if !fields.has(name) {
        return Some(Vec::new());
    }
    let texts = fields.texts(name, binder.report)?;
    let input = input?;
    let found: Vec<_> = texts
        .into_iter()
        .map(|(text, pointer)| column_index(binder, text, &pointer, &input.schema))
        .collect();
    found.into_iter().collect()
}

fn is_not_null(input: &Bound, column: usize) -> Expr {
    Expr::IsNull { input: Box::new(parse::column(&input.schema, column)), negated: true }
}

/// The number of rows where it is not as it should be: one row, or none.
fn wrong_count(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    input: &Bound,
    least: u64,
    most: u64,
) -> Option<Bound> {
    let counted = count(binder, &format!("{}.count", vertex.id), input, Vec::new())?;
    let than = |op, limit: u64| compare(&counted, 0, op, limit);
    let either = Expr::Binary {
        op: BinaryOp::Or,
        left: Box::new(than(BinaryOp::Less, least)),
        right: Box::new(than(BinaryOp::Greater, most)),
        data_type: DataType::Boolean,
    };
    Some(filter(binder, format!("{}.rows", vertex.id), &counted, either))
}

/// The keys that stand more than once, with how often. As in SQL, a null is unlike any value.
fn repeated(
    binder: &mut Binder<'_, '_>,
    vertex: &Vertex<'_>,
    input: &Bound,
    columns: &[usize],
) -> Option<Bound> {
    let mut valid = columns.iter().map(|column| is_not_null(input, *column));
    let first = valid.next()?;
    let all = valid.fold(first, |left, right| Expr::Binary {
        op: BinaryOp::And,
        left: Box::new(left),
        right: Box::new(right),
        data_type: DataType::Boolean,
    });
    let keyed = filter(binder, format!("{}.keyed", vertex.id), input, all);
    let counted = count(binder, &format!("{}.groups", vertex.id), &keyed, columns.to_vec())?;
    let several = compare(&counted, columns.len(), BinaryOp::Greater, 1);
    Some(filter(binder, format!("{}.unique", vertex.id), &counted, several))
}

/// The rows of each group, in a column behind the keys.
fn count(
    binder: &mut Binder<'_, '_>,
    id: &str,
    input: &Bound,
    columns: Vec<usize>,
) -> Option<Bound> {
    let aggregate = Aggregate::new(AggregateFunction::Count, Vec::new()).ok()?;
    let mut out: Vec<_> =
        columns.iter().map(|column| input.schema.field(*column).clone()).collect();
    let taken = |name: &str| out.iter().any(|field: &Field| field.name() == name);
    let name = if taken("rows") { "rows.count" } else { "rows" };
    out.push(Field::new(name, aggregate.data_type.clone(), true));
    let keys = columns.into_iter().map(|column| parse::column(&input.schema, column)).collect();
    let op = Op::Reduce { keys, aggregates: vec![aggregate] };
    Some(binder.push(id, op, &[input], Arc::new(Schema::new(out)), Order::None))
}

/// A count beside a limit.
fn compare(input: &Bound, column: usize, op: BinaryOp, limit: u64) -> Expr {
    Expr::Binary {
        op,
        left: Box::new(parse::column(&input.schema, column)),
        right: Box::new(Expr::Literal(Literal::Int64(i64::try_from(limit).unwrap_or(i64::MAX)))),
        data_type: DataType::Boolean,
    }
}

fn filter(binder: &mut Binder<'_, '_>, id: String, input: &Bound, condition: Expr) -> Bound {
    let (schema, order) = (Arc::clone(&input.schema), input.order.clone());
    binder.push(id, Op::Filter { predicate: Predicate(condition) }, &[input], schema, order)
}
