//! Lower and upper case, by Unicode's full mapping.

use std::sync::Arc;

use arrow::array::ArrayRef;

use crate::{
    Result,
    expr::{
        evaluate::text_array,
        function::{Call, rows},
        text::case::{LOWER, UPPER, change_case},
    },
};

pub(in crate::expr::function) fn lower(call: &Call<'_>) -> Result<ArrayRef> {
    let text = text_array(call.arguments[0].array())?;
    Ok(Arc::new(change_case(text, &LOWER)))
}

pub(in crate::expr::function) fn upper(call: &Call<'_>) -> Result<ArrayRef> {
    let text = text_array(call.arguments[0].array())?;
    Ok(Arc::new(change_case(text, &UPPER)))
}

/// The first letter of each word in upper case, the others in lower; words are letters and digits.
pub(in crate::expr::function) fn initcap(call: &Call<'_>) -> Result<ArrayRef> {
    let texts = rows::texts(call, 0)?;
    rows::text_of(call, |row, out| {
        let mut is_inside = false;
        for character in texts.at(row).chars() {
            if is_inside {
                character.to_lowercase().for_each(|lower| out.extend_char(lower));
            } else {
                character.to_uppercase().for_each(|upper| out.extend_char(upper));
            }
            is_inside = character.is_alphanumeric();
        }
        Ok(())
    })
}
