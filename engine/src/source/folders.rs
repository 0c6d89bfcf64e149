//! Columns from the names of folders: `year=2024/month=01/part-0.parquet`, as Hive lays tables out.
//!
//! A value is escaped as in URLs; [`NULL`] stands for null, or an empty name.

use std::{
    fmt::Write,
    path::{Component, Path},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, StringViewArray, new_null_array},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Schema},
};

use crate::{
    Error, Result,
    expr::Literal,
    plan::{FolderColumn, Read},
    source::columnar::condition::{Bounds, Condition},
};

/// The folder of rows whose value is null.
pub(crate) const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The column and the value that a folder's name gives, if it gives one.
pub(crate) fn parse(name: &str) -> Option<(String, Option<String>)> {
    let (column, value) = name.split_once('=')?;
    if column.is_empty() {
        return None;
    }
    let value = (value != NULL && !value.is_empty()).then(|| unescaped(value));
    Some((unescaped(column), value))
}

/// The folder of a value of a column.
pub(crate) fn name(column: &str, value: Option<&str>) -> String {
    let value = match value {
        Some("") | None => String::from(NULL),
        Some(value) => escaped(value),
    };
    format!("{}={value}", escaped(column))
}

/// The columns and values in the folders of a path, outermost first.
pub(crate) fn of_path(path: &Path) -> Vec<(String, Option<String>)> {
    let folders = path.parent().into_iter().flat_map(Path::components);
    let names = folders.filter_map(|folder| match folder {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    names.filter_map(parse).collect()
}

/// The value that a file's folders give to a column, as an array of one.
///
/// # Errors
/// `Corrupt` for a value that is none of the type, which the plan has found it to be.
pub(crate) fn value(path: &Path, column: &FolderColumn) -> Result<ArrayRef> {
    let found = of_path(path).into_iter().rev().find(|(name, _)| *name == column.name);
    let Some((_, Some(text))) = found else {
        return Ok(new_null_array(&column.data_type, 1));
    };
    typed(&text, &column.data_type).ok_or_else(|| Error::Corrupt {
        what: path.display().to_string(),
        reason: format!("its folder gives `{text}` for `{}`, a {}", column.name, column.data_type),
    })
}

/// The reader without the files whose folders say that its predicate holds for none of their rows.
///
/// # Errors
/// As [`value`].
pub(crate) fn pruned(read: &Read, schema: &Schema) -> Result<Read> {
    let (Some(predicate), false) = (&read.scan.predicate, read.scan.folders.is_empty()) else {
        return Ok(read.clone());
    };
    let condition = Condition::of(predicate);
    let mut kept = Vec::with_capacity(read.files.len());
    for file in &read.files {
        let mut error = None;
        let mut bounds = |column: usize| {
            let name = schema.fields().get(column)?.name();
            let folder = read.scan.folders.iter().find(|folder| folder.name == *name)?;
            let value = value(&file.path, folder).map_err(|found| error = Some(found)).ok()?;
            let nulls = u64::from(value.is_null(0));
            Some(Bounds {
                min: Arc::clone(&value),
                max: value,
                nulls: vec![nulls].into(),
                rows: vec![1].into(),
            })
        };
        let may_hold = condition.may_hold(1, &mut bounds)[0];
        if let Some(error) = error {
            return Err(error);
        }
        if may_hold {
            kept.push(file.clone());
        }
    }
    // One that gives no row is left, so that there is a task.
    kept.extend(read.files.first().filter(|_| kept.is_empty()).cloned());
    Ok(Read { files: kept, ..read.clone() })
}

/// The narrowest of int64, date and string that all values of a column fit; nulls fit all.
pub(crate) fn inferred<'a>(values: impl Iterator<Item = Option<&'a str>> + Clone) -> DataType {
    let fits = |data_type: &DataType| {
        values.clone().flatten().all(|value| {
            // Other digits for the same number would not find their folder again.
            typed(value, data_type).is_some()
                && (*data_type != DataType::Int64
                    || value.parse::<i64>().is_ok_and(|number| number.to_string() == value))
        })
    };
    let known = [DataType::Int64, DataType::Date32];
    let is_empty = values.clone().flatten().next().is_none();
    known.into_iter().find(|known| !is_empty && fits(known)).unwrap_or(DataType::Utf8View)
}

fn typed(text: &str, data_type: &DataType) -> Option<ArrayRef> {
    let text = StringViewArray::from_iter_values([text]);
    if *data_type == DataType::Utf8View {
        return Some(Arc::new(text));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let array = cast_with_options(&text, data_type, &options).ok()?;
    Literal::of(&*array, 0)?;
    Some(array)
}

/// Escapes what has a meaning in paths or in such names, as Hive does.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\0'..='\u{1f}'
            | '\u{7f}'
            | '"'
            | '#'
            | '%'
            | '\''
            | '*'
            | '/'
            | ':'
            | '='
            | '?'
            | '\\'
            | '{'
            | '['
            | ']'
            | '^' => {
                write_escape(&mut out, character);
            }
            // These would hide the folder, or lead out of it.
            '.' | '_' if out.is_empty() => write_escape(&mut out, character),
            character => out.push(character),
        }
    }
    out
}

fn write_escape(out: &mut String, character: char) {
    // A text in memory takes all that is written.
    let written = write!(out, "%{:02X}", u32::from(character));
    debug_assert!(written.is_ok());
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let code = (*first == b'%').then(|| behind.get(..2)).flatten();
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| String::from(text))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use arrow::datatypes::DataType;
    use proptest::prelude::*;

    use super::{inferred, name, of_path, parse};

    proptest! {
        #[test]
        fn a_name_gives_its_value_back(column in ".{1,12}", value in prop::option::of(".{1,12}")) {
            let name = name(&column, value.as_deref());
            prop_assert!(!name.contains('/') && !name.starts_with(['.', '_']), "{name}");
            prop_assert_eq!(parse(&name), Some((column, value)));
        }
    }

    #[test]
    fn folders_are_read_from_paths() {
        let found =
            of_path(Path::new("/d/year=2024/city=K%C3%B6ln/x=__HIVE_DEFAULT_PARTITION__/a=b"));
        let text = |text: &str| Some(String::from(text));
        let expected = [("year", text("2024")), ("city", text("Köln")), ("x", None)];
        assert_eq!(found, expected.map(|(column, value)| (String::from(column), value)));
    }

    #[test]
    fn types_are_those_that_all_values_fit() {
        let of = |values: &[&str]| inferred(values.iter().map(|value| Some(*value)));
        assert_eq!(of(&["1", "-20"]), DataType::Int64);
        assert_eq!(of(&["01", "02"]), DataType::Utf8View);
        assert_eq!(of(&["2024-01-31", "2024-02-29"]), DataType::Date32);
        assert_eq!(of(&["2024-02-30"]), DataType::Utf8View);
        assert_eq!(of(&["1", "x"]), DataType::Utf8View);
        assert_eq!(inferred([None].into_iter()), DataType::Utf8View);
    }
}
