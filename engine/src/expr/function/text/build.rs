//! New texts from old ones: joined, replaced, padded, repeated, reversed.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, builder::StringViewBuilder};
use memchr::memmem::Finder;

use super::cut::byte_of;
use crate::{
    Error, Result,
    expr::{
        cast::TextOf,
        evaluate::Texts as Parts,
        function::{Call, rows},
        text::TextBuilder,
    },
};

fn refuse<T>(reason: String) -> Result<T> {
    Err(Error::Evaluate { reason })
}

pub(in crate::expr::function) fn concat(call: &Call<'_>) -> Result<ArrayRef> {
    joined(call, 0, |_| Some(""))
}

pub(in crate::expr::function) fn concat_ws(call: &Call<'_>) -> Result<ArrayRef> {
    let separators = rows::texts(call, 0)?;
    joined(call, 1, |row| separators.get(row))
}

/// The arguments from `first` on that are not null, with a separator between; null without one.
fn joined<'a>(
    call: &Call<'_>,
    first: usize,
    separator: impl Fn(usize) -> Option<&'a str>,
) -> Result<ArrayRef> {
    let parts: Vec<_> = call.arguments[first..]
        .iter()
        .map(|argument| Ok((TextOf::new(argument.array().as_ref())?, argument)))
        .collect::<Result<_>>()?;
    let mut builder = StringViewBuilder::with_capacity(call.rows);
    let mut text = String::new();
    for row in 0..call.rows {
        let Some(separator) = separator(row) else {
            builder.append_null();
            continue;
        };
        text.clear();
        let mut is_first = true;
        for (part, argument) in &parts {
            let row = if argument.is_scalar() { 0 } else { row };
            if argument.array().is_valid(row) {
                if !is_first {
                    text.push_str(separator);
                }
                is_first = false;
                part.write(row, &mut text);
            }
        }
        builder.append_value(&text);
    }
    Ok(Arc::new(builder.finish()))
}

pub(in crate::expr::function) fn join(call: &Call<'_>) -> Result<ArrayRef> {
    let parts: Vec<_> = call.arguments.iter().map(Parts::new).collect::<Result<_>>()?;
    let mut builder = StringViewBuilder::with_capacity(call.rows);
    let mut text = String::new();
    for row in 0..call.rows {
        text.clear();
        let is_whole = parts.iter().all(|part| part.get(row).map(|t| text.push_str(t)).is_some());
        if is_whole {
            builder.append_value(&text);
        } else {
            builder.append_null();
        }
    }
    Ok(Arc::new(builder.finish()))
}

pub(in crate::expr::function) fn replace(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, olds, news) = (rows::texts(call, 0)?, rows::texts(call, 1)?, rows::texts(call, 2)?);
    let constant = olds.constant().map(Finder::new);
    rows::text_of(call, |row, out| {
        let (text, new) = (texts.at(row), news.at(row));
        match &constant {
            Some(finder) => replaced(text, finder, new, out),
            None => replaced(text, &Finder::new(olds.at(row)), new, out),
        }
    })
}

fn replaced(text: &str, old: &Finder<'_>, new: &str, out: &mut TextBuilder) -> Result<()> {
    let size = old.needle().len();
    if size == 0 {
        out.extend(text);
        return Ok(());
    }
    let mut written = 0;
    for at in old.find_iter(text.as_bytes()) {
        out.extend(&text[written..at]);
        out.extend(new);
        written = at + size;
        rows::fits("replace", out.extended().len())?;
    }
    out.extend(&text[written..]);
    Ok(())
}

pub(in crate::expr::function) fn translate(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, olds, news) = (rows::texts(call, 0)?, rows::texts(call, 1)?, rows::texts(call, 2)?);
    let mut table: Vec<(char, Option<char>)> = Vec::new();
    let fill = |row: usize, pairs: &mut Vec<_>| {
        pairs.clear();
        let mut new = news.at(row).chars();
        for old in olds.at(row).chars() {
            let to = new.next();
            if !pairs.iter().any(|(known, _)| *known == old) {
                pairs.push((old, to));
            }
        }
    };
    let is_constant = olds.constant().is_some() && news.constant().is_some();
    if is_constant {
        fill(0, &mut table);
    }
    rows::text_of(call, |row, out| {
        if !is_constant {
            fill(row, &mut table);
        }
        for character in texts.at(row).chars() {
            match table.iter().find(|(old, _)| *old == character) {
                Some((_, to)) => to.iter().for_each(|to| out.extend_char(*to)),
                None => out.extend_char(character),
            }
        }
        Ok(())
    })
}

pub(in crate::expr::function) fn lpad(call: &Call<'_>) -> Result<ArrayRef> {
    padded(call, "lpad", |text, padding, out| {
        padding(out);
        out.extend(text);
    })
}

pub(in crate::expr::function) fn rpad(call: &Call<'_>) -> Result<ArrayRef> {
    padded(call, "rpad", |text, padding, out| {
        out.extend(text);
        padding(out);
    })
}

fn padded(
    call: &Call<'_>,
    name: &str,
    put: impl Fn(&str, &dyn Fn(&mut TextBuilder), &mut TextBuilder),
) -> Result<ArrayRef> {
    let (texts, sizes) = (rows::texts(call, 0)?, rows::ints(call, 1)?);
    let pads = if call.arguments.len() > 2 { Some(rows::texts(call, 2)?) } else { None };
    rows::text_of(call, |row, out| {
        let text = texts.at(row);
        let size = usize::try_from(sizes.at(row).max(0)).unwrap_or(usize::MAX);
        let end = byte_of(text, size);
        if end < text.len() {
            out.extend(&text[..end]);
            return Ok(());
        }
        let missing = size.saturating_sub(text.chars().count());
        let pad = pads.as_ref().map_or(" ", |pads| pads.at(row));
        if missing > 0 && pad.is_empty() {
            return refuse(format!("{name} with nothing to fill up with"));
        }
        rows::fits(name, missing.saturating_add(text.len()))?;
        let padding = |to: &mut TextBuilder| {
            pad.chars().cycle().take(missing).for_each(|character| to.extend_char(character));
        };
        put(text, &padding, out);
        Ok(())
    })
}

pub(in crate::expr::function) fn repeat(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, counts) = (rows::texts(call, 0)?, rows::ints(call, 1)?);
    rows::text_of(call, |row, out| {
        let text = texts.at(row);
        let count = usize::try_from(counts.at(row).max(0)).unwrap_or(usize::MAX);
        rows::fits("repeat", text.len().saturating_mul(count))?;
        if !text.is_empty() {
            (0..count).for_each(|_| out.extend(text));
        }
        Ok(())
    })
}

pub(in crate::expr::function) fn reverse(call: &Call<'_>) -> Result<ArrayRef> {
    let texts = rows::texts(call, 0)?;
    rows::text_of(call, |row, out| {
        let text = texts.at(row);
        if text.is_ascii() && text.len() <= 64 {
            let mut bytes = [0; 64];
            let reversed = &mut bytes[..text.len()];
            reversed.copy_from_slice(text.as_bytes());
            reversed.reverse();
            out.extend(str::from_utf8(reversed).unwrap_or_default());
        } else {
            text.chars().rev().for_each(|character| out.extend_char(character));
        }
        Ok(())
    })
}

pub(in crate::expr::function) fn overlay(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, news, from) = (rows::texts(call, 0)?, rows::texts(call, 1)?, rows::ints(call, 2)?);
    let counts = if call.arguments.len() > 3 { Some(rows::ints(call, 3)?) } else { None };
    rows::text_of(call, |row, out| {
        let (text, new, from) = (texts.at(row), news.at(row), from.at(row));
        if from < 1 {
            return refuse(format!("overlay from {from}; characters are counted from 1"));
        }
        let whole = || i64::try_from(new.chars().count()).unwrap_or(i64::MAX);
        let count = counts.as_ref().map_or_else(whole, |counts| counts.at(row));
        let place =
            |skipped: i64| byte_of(text, usize::try_from(skipped.max(0)).unwrap_or(usize::MAX));
        out.extend(&text[..place(from - 1)]);
        out.extend(new);
        out.extend(&text[place((from - 1).saturating_add(count))..]);
        Ok(())
    })
}

pub(in crate::expr::function) fn chr(call: &Call<'_>) -> Result<ArrayRef> {
    let codes = rows::ints(call, 0)?;
    rows::text_of(call, |row, out| {
        let code = codes.at(row);
        let character = u32::try_from(code).ok().and_then(char::from_u32);
        match character {
            Some(character) => out.extend_char(character),
            None => return refuse(format!("no character has the number {code}")),
        }
        Ok(())
    })
}
