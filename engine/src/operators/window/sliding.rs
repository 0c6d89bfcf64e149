//! An associative state over frames that mostly move forwards: each row is added about twice.
//!
//! The rows of a frame are a front, of which every suffix's state is kept, and a back, which only
//! grows. Leaving the front is a pop; when it is used up, the back becomes the front. (The queue
//! of two stacks; Tangwongsan, Hirzel and Schneider, "General incremental sliding-window
//! aggregation", 2015.) No state is ever taken apart, so that what is rounded or dropped in one can't
//! be left behind in the next.

use std::ops::Range;

/// How states come about.
pub(super) trait Combine {
    /// The state of some rows.
    type State: Clone;

    /// The state of no rows.
    fn empty(&self) -> Self::State;

    /// Adds a row.
    fn add(&self, state: &mut Self::State, row: usize);

    /// Adds the rows of another state.
    fn merge(&self, state: &mut Self::State, other: &Self::State);
}

/// Gives `emit` the state of each frame of `frames`, which are those of one partition, row after
/// row. `first` is the state of what comes before all frames that begin at the first one's start.
///
/// - Memory: a state for each row of a front, which is at most the widest frame.
///
/// What comes back is the state of the last frame's back: where all frames begin at one row, that
/// of all rows so far.
pub(super) fn sliding<C: Combine>(
    combine: &C,
    first: C::State,
    frames: impl Iterator<Item = Range<usize>>,
    mut emit: impl FnMut(&C::State),
) -> C::State {
    let mut frames = frames.peekable();
    let start = frames.peek().map_or(0, |frame| frame.start);
    let mut window =
        Window { combine, front: Vec::new(), low: start, middle: start, end: start, back: first };
    let none = combine.empty();
    for frame in frames {
        if frame.is_empty() {
            emit(&none);
            continue;
        }
        window.move_to(frame);
        match window.front.last() {
            None => emit(&window.back),
            Some(front) => {
                let mut state = front.clone();
                combine.merge(&mut state, &window.back);
                emit(&state);
            }
        }
    }
    window.back
}

struct Window<'a, C: Combine> {
    combine: &'a C,
    /// The states of `row..middle`, for every row from `middle - 1` down to `low`.
    front: Vec<C::State>,
    low: usize,
    middle: usize,
    end: usize,
    /// The state of `middle..end`.
    back: C::State,
}

impl<C: Combine> Window<'_, C> {
    fn move_to(&mut self, frame: Range<usize>) {
        // Frames move backwards only where a calendar's months are of different lengths.
        if frame.start < self.low || frame.end < self.end {
            self.restart(frame.start);
            self.extend(frame.end);
            return;
        }
        if frame.start >= self.end && frame.start > self.middle {
            self.restart(frame.start);
        } else if frame.start > self.middle {
            self.turn(frame.start);
        }
        self.front.truncate(self.middle - frame.start);
        self.low = frame.start;
        self.extend(frame.end);
    }

    /// Begins anew, without rows.
    fn restart(&mut self, start: usize) {
        self.front.clear();
        (self.low, self.middle, self.end) = (start, start, start);
        self.back = self.combine.empty();
    }

    fn extend(&mut self, end: usize) {
        for row in self.end..end {
            self.combine.add(&mut self.back, row);
        }
        self.end = end;
    }

    /// Makes the back the front, from `start` on.
    fn turn(&mut self, start: usize) {
        self.front.clear();
        let mut state = self.combine.empty();
        for row in (start..self.end).rev() {
            self.combine.add(&mut state, row);
            self.front.push(state.clone());
        }
        self.middle = self.end;
        self.back = self.combine.empty();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The set of rows, as a text: any row too many, missing or twice shows.
    struct Rows;

    impl Combine for Rows {
        type State = Vec<usize>;

        fn empty(&self) -> Vec<usize> {
            Vec::new()
        }

        fn add(&self, state: &mut Vec<usize>, row: usize) {
            state.push(row);
        }

        fn merge(&self, state: &mut Vec<usize>, other: &Vec<usize>) {
            state.extend(other);
        }
    }

    proptest! {
        #[test]
        fn every_frame_has_its_rows_once_wherever_frames_move(
            frames in prop::collection::vec((0_usize..40, 0_usize..40), 0..40),
            is_sorted in any::<bool>(),
        ) {
            let mut frames: Vec<_> = frames.iter().map(|(start, end)| *start..*end).collect();
            if is_sorted {
                let mut starts: Vec<_> = frames.iter().map(|frame| frame.start).collect();
                let mut ends: Vec<_> = frames.iter().map(|frame| frame.end).collect();
                starts.sort_unstable();
                ends.sort_unstable();
                frames = starts.into_iter().zip(ends).map(|(start, end)| start..end).collect();
            }
            let mut found = Vec::new();
            sliding(&Rows, Vec::new(), frames.iter().cloned(), |state| {
                let mut rows = state.clone();
                rows.sort_unstable();
                found.push(rows);
            });
            let expected: Vec<Vec<usize>> = frames.into_iter().map(Iterator::collect).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn frames_that_move_forwards_add_each_row_at_most_twice() {
        use std::cell::Cell;
        struct Counted(Cell<usize>);
        impl Combine for Counted {
            type State = usize;
            fn empty(&self) -> usize {
                0
            }
            fn add(&self, state: &mut usize, _: usize) {
                *state += 1;
                self.0.set(self.0.get() + 1);
            }
            fn merge(&self, state: &mut usize, other: &usize) {
                *state += other;
            }
        }
        let counted = Counted(Cell::new(0));
        let frames = (0..10_000_usize).map(|row| row.saturating_sub(500)..(row + 500).min(10_000));
        let mut sizes = frames.clone().map(|frame| frame.len());
        sliding(&counted, 0, frames, |state| assert_eq!(Some(*state), sizes.next()));
        assert!(counted.0.get() <= 20_000, "{}", counted.0.get());
    }

    #[test]
    fn running_frames_go_on_from_the_state_before() {
        let mut found = Vec::new();
        let all = sliding(&Rows, vec![7], (0..3).map(|row| 0..row + 1), |s| found.push(s.clone()));
        assert_eq!(found, [vec![7, 0], vec![7, 0, 1], vec![7, 0, 1, 2]]);
        assert_eq!(all, [7, 0, 1, 2]);
    }
}
