//! Equal rows that memory can't hold, where functions see no more than those and what comes before.

use arrow::array::ArrayRef;

use crate::{
    Result,
    expr::window::{Kind, WindowFunction},
    memory::spill::SpillReader,
    operators::{
        Operator,
        window::{
            Hold, State,
            chunk::{Chunk, Start},
            hold,
            large::{Over, Writing},
            whole::{one_group, running},
        },
    },
};

/// The value that all rows of a group share, of each function that has one.
type Shared<'a> = &'a [Option<ArrayRef>];

/// The rows of a group, block after block.
///
/// Functions that see the whole group have one value for all of its rows, which is computed in a pass
/// of its own; others go on from block to block as they do from chunk to chunk.
pub(super) struct LargeGroup {
    rows: SpillReader,
    /// What the next block begins.
    first: Start,
    /// The value of each function that has one for all rows.
    shared: Vec<Option<ArrayRef>>,
}

impl LargeGroup {
    /// Of all that was written; what the functions know goes on with it.
    pub(super) fn new(
        writing: Writing,
        first: Start,
        functions: &mut [(WindowFunction, State)],
        over: &Over,
    ) -> Result<Self> {
        let file = writing.file()?;
        let reader = || file.reader(0..file.blocks());
        let shared = |(function, state): &mut (WindowFunction, State)| {
            let is_shared = hold(function) == Hold::Groups;
            match (&function.function, state) {
                (Kind::Aggregate(aggregate), State::Aggregate(method, carried)) if is_shared => {
                    running(aggregate, *method, reader(), first, carried, over).map(Some)
                }
                _ => Ok(None),
            }
        };
        let shared = functions.iter_mut().map(shared).collect::<Result<_>>()?;
        Ok(Self { rows: reader(), first, shared })
    }

    /// The next rows, and the values that all rows share.
    pub(super) fn next(&mut self) -> Result<Option<(Chunk, Shared<'_>)>> {
        let Some(batch) = self.rows.next()? else { return Ok(None) };
        let first = std::mem::replace(&mut self.first, Start::Row);
        Ok(Some((one_group(batch, first), &self.shared)))
    }
}
