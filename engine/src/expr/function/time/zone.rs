//! `timezone(zone, x)`: between what a zone's clocks show and instants.

use arrow::{
    array::{ArrayRef, timezone::Tz},
    datatypes::DataType,
};

use super::{
    moment::{Moments, instant_of, local, parse_zone},
    trunc::stamps,
};
use crate::{
    Result,
    expr::{
        Expr, Literal,
        function::{Call, rows},
    },
};

/// A timestamp with a zone of one without, and the other way.
pub(in crate::expr::function) fn result(arguments: &[Expr]) -> Result<DataType, String> {
    match arguments.get(1).map(Expr::data_type) {
        Some(DataType::Timestamp(unit, None)) => Ok(DataType::Timestamp(unit, Some("UTC".into()))),
        Some(DataType::Timestamp(unit, Some(_))) => Ok(DataType::Timestamp(unit, None)),
        other => Err(format!("{other:?} is no timestamp")),
    }
}

/// Refuses a constant that is no zone.
pub(super) fn check(argument: Option<&Expr>) -> Result<(), String> {
    match argument {
        Some(Expr::Literal(Literal::Utf8(name))) => {
            parse_zone(name).map(|_| ()).map_err(|error| error.to_string())
        }
        _ => Ok(()),
    }
}

pub(in crate::expr::function) fn timezone(call: &Call<'_>) -> Result<ArrayRef> {
    let names = rows::texts(call, 0)?;
    let moments = Moments::new(&call.arguments[1])?;
    let valid = rows::valid(call);
    let zones: Vec<Option<Tz>> = match names.constant() {
        Some(name) => vec![Some(parse_zone(name)?)],
        None => (0..call.rows)
            .map(|row| {
                let is_there = valid.as_ref().is_none_or(|valid| valid.is_valid(row));
                is_there.then(|| parse_zone(names.at(row))).transpose()
            })
            .collect::<Result<_>>()?,
    };
    let is_instant = moments.zone().is_some();
    stamps(call, |row| {
        let zone = zones.get(row.min(zones.len() - 1)).copied().flatten()?;
        let moment = moments.instant(row);
        Some(if is_instant { local(moment, zone) } else { instant_of(moment, zone) })
    })
}
