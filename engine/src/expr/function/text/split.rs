//! Texts cut into lists of parts, which stay where they are.

use arrow::array::ArrayRef;
use memchr::memmem::Finder;

use crate::{
    Result,
    expr::function::{Call, rows},
};

pub(in crate::expr::function) fn string_split(call: &Call<'_>) -> Result<ArrayRef> {
    let separators = rows::texts(call, 1)?;
    let constant = separators.constant().map(Finder::new);
    rows::cuts_of(call, |row, text, push| {
        match &constant {
            Some(finder) => parts(text, finder, push),
            None => parts(text, &Finder::new(separators.at(row)), push),
        }
        Ok(())
    })
}

/// Calls `push` with where each part begins and ends; without separator each character is one.
fn parts(text: &str, separator: &Finder<'_>, push: &mut dyn FnMut(usize, usize)) {
    let size = separator.needle().len();
    if size == 0 {
        for (at, character) in text.char_indices() {
            push(at, at + character.len_utf8());
        }
        return;
    }
    let mut start = 0;
    for at in separator.find_iter(text.as_bytes()) {
        push(start, at);
        start = at + size;
    }
    push(start, text.len());
}
