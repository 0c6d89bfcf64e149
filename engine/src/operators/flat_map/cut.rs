//! Cutting text into tokens, a chunk of 64 bytes at a time.
//!
//! A chunk's [`Marks`] say in a few bit operations where its tokens begin and end. A token that
//! the chunk cuts off begins the next one, so that every token of up to 64 bytes stands in one
//! chunk. Only tokens with removed characters inside, those with characters beyond ASCII whose case
//! changes, and longer ones are gone through byte by byte.

#[cfg(target_arch = "x86_64")]
use crate::operators::flat_map::marks::Wide;
use crate::{
    expr::text::{
        INLINE_BYTES, TextBuilder, TextValue,
        case::{Case, LOWER},
    },
    operators::flat_map::marks::{CHUNK, Marking, Marks, Usual},
};

/// The most tokens of a chunk: one of two bytes is white space.
const CHUNK_TOKENS: usize = CHUNK / 2;

/// Bytes of a chunk and behind it, so that a view can be read from any of its places.
const SPAN: usize = CHUNK + 16;

/// Tokens as views, up to a number.
pub(super) struct Tokens {
    /// As many as there may be; those behind `count` are still to come.
    views: Vec<u128>,
    count: usize,
    cutter: Cutter,
    #[cfg(target_arch = "x86_64")]
    wide: Option<Wide>,
}

impl Tokens {
    /// Room for `most` tokens, in lower case or as they stand; `spare` is memory to use again.
    pub(super) fn new(most: usize, is_lowered: bool, spare: Vec<u128>) -> Self {
        let mut views = spare;
        views.resize(most, 0);
        let case = is_lowered.then_some(&LOWER);
        Self {
            views,
            count: 0,
            cutter: Cutter { case, text: TextBuilder::default() },
            #[cfg(target_arch = "x86_64")]
            wide: Wide::found(),
        }
    }

    /// Where shared text and new text is put.
    pub(super) fn text(&mut self) -> &mut TextBuilder {
        &mut self.cutter.text
    }

    /// The tokens as a builder's only values.
    pub(super) fn into_text(self) -> TextBuilder {
        let Self { mut views, count, cutter: Cutter { mut text, .. }, .. } = self;
        views.truncate(count);
        text.set_views(views);
        text
    }

    /// Appends the tokens of `value` from byte `from` on, while there is room. Returns the byte at
    /// which to go on, the text's length at its end.
    ///
    /// `from` is where a token or white space begins.
    #[inline]
    pub(super) fn cut(&mut self, value: &TextValue<'_>, from: usize) -> usize {
        #[cfg(target_arch = "x86_64")]
        if let Some(wide) = self.wide {
            #[expect(unsafe_code, reason = "a call of what not every processor has is unsafe")]
            // SAFETY: a `Wide` exists only where all of these features were found.
            return unsafe { self.cut_wide(wide, value, from) };
        }
        self.cut_by(Usual, value, from)
    }

    /// [`Self::cut_by`], compiled for more than every processor has.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
    fn cut_wide(&mut self, wide: Wide, value: &TextValue<'_>, from: usize) -> usize {
        self.cut_by(wide, value, from)
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "each caller is compiled for other processors")]
    fn cut_by(&mut self, marking: impl Marking, value: &TextValue<'_>, from: usize) -> usize {
        let bytes = value.text.as_bytes();
        let mut base = from;
        while base < bytes.len() {
            let left = self.views.get_mut(self.count..);
            let Some(views) = left.and_then(|left| left.first_chunk_mut()) else { return base };
            let copy;
            let span = if let Some(span) = value.window(base).first_chunk::<SPAN>() {
                span
            } else {
                copy = padded(&bytes[base..]);
                &copy
            };
            let place = Place { value, base, left: bytes.len() - base };
            let mut room = Room { views, made: 0 };
            base = self.cutter.chunk(marking, &place, span, &mut room);
            self.count += room.made;
        }
        base
    }
}

/// Room for the tokens of a chunk.
struct Room<'a> {
    views: &'a mut [u128; CHUNK_TOKENS],
    made: usize,
}

impl Room<'_> {
    #[inline]
    fn add(&mut self, view: u128) {
        self.views[self.made % CHUNK_TOKENS] = view;
        self.made += 1;
    }
}

/// How tokens are cut.
struct Cutter {
    /// The case that they are put in; `None`: as they stand.
    case: Option<&'static Case>,
    /// Bytes of long tokens that stand nowhere as they are, and the shared ones.
    text: TextBuilder,
}

impl Cutter {
    /// Adds the tokens that end in the chunk that `span` begins with. Returns where the next chunk
    /// begins.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "each caller is compiled for other processors")]
    fn chunk(
        &mut self,
        marking: impl Marking,
        place: &Place<'_>,
        span: &[u8; SPAN],
        room: &mut Room<'_>,
    ) -> usize {
        let Some(chunk) = span.first_chunk() else { return place.base + place.left };
        let Marks { mut space, removed, wide } = marking.marks(chunk);
        let mut next = CHUNK;
        // What is behind the value is none of its tokens.
        if place.left < CHUNK {
            space |= u64::MAX << place.left;
        }
        if wide & !space != 0 {
            next += with_wide_spaces(span, wide, &mut space);
        }
        let token = !space;
        let mut starts = token & !(token << 1);
        let ends = space & (token << 1);
        if token >> (CHUNK - 1) != 0 {
            let last = CHUNK - 1 - starts.leading_zeros() as usize;
            if last == 0 {
                return self.long(place, room);
            }
            starts &= !(1 << last);
            next = last;
        }
        let runs = Runs { starts, ends };
        if (removed | wide) & token == 0 {
            for (start, end) in runs {
                let view = self.plain(place, span, start, end);
                room.add(view);
            }
        } else {
            for (start, end) in runs {
                self.odd(place, span, (start, end), (removed, wide), room);
            }
        }
        place.base + next.min(place.left)
    }

    /// The view of the ASCII token `start..end` of a chunk.
    #[inline]
    fn plain(&mut self, place: &Place<'_>, span: &[u8; SPAN], start: usize, end: usize) -> u128 {
        let length = end - start;
        if length > INLINE_BYTES {
            return self.whole(place, start, end);
        }
        let (mut low, mut high) = inline(span, start, length);
        if let Some(case) = self.case {
            (low, high) = (case.word(low), case.word(high));
        }
        u128::from(high) << 64 | u128::from(low | length as u64)
    }

    /// The view of a token that is long or has characters beyond ASCII.
    #[inline(never)]
    fn whole(&mut self, place: &Place<'_>, start: usize, end: usize) -> u128 {
        let (start, end) = (place.base + start, place.base + end);
        let token = &place.value.text[start..end];
        match self.case {
            Some(case) if case.put(token, &mut self.text) => self.text.end_extended(),
            _ => place.value.part(start, end),
        }
    }

    /// Adds a run of a chunk in which there may be anything but white space.
    fn odd(
        &mut self,
        place: &Place<'_>,
        span: &[u8; SPAN],
        (start, end): (usize, usize),
        (removed, wide): (u64, u64),
        room: &mut Room<'_>,
    ) {
        let run = (u64::MAX >> (CHUNK - (end - start))) << start;
        let kept = run & !removed;
        if kept == 0 {
            return;
        }
        let first = kept.trailing_zeros() as usize;
        let last = CHUNK - 1 - kept.leading_zeros() as usize;
        let inside = (u64::MAX >> (CHUNK - 1 - (last - first))) << first;
        room.add(if inside & removed != 0 {
            self.joined(&place.value.text[place.base + first..=place.base + last])
        } else if inside & wide != 0 {
            self.whole(place, first, last + 1)
        } else {
            self.plain(place, span, first, last + 1)
        });
    }

    /// The view of the token of which `text` is left without removed characters.
    fn joined(&mut self, text: &str) -> u128 {
        let kept = text.split(is_removed);
        match self.case {
            // Whether a letter is the last one is known of the whole token only.
            Some(case) => {
                let token: String = kept.collect();
                if !case.put(&token, &mut self.text) {
                    self.text.extend(&token);
                }
            }
            None => kept.for_each(|part| self.text.extend(part)),
        }
        self.text.end_extended()
    }

    /// Adds the token of more than a chunk that begins at `place`. Returns its end.
    #[cold]
    fn long(&mut self, place: &Place<'_>, room: &mut Room<'_>) -> usize {
        let rest = &place.value.text[place.base..];
        let run = &rest[..rest.find(char::is_whitespace).unwrap_or(rest.len())];
        let token = run.trim_matches(is_removed);
        let start = run.len() - run.trim_start_matches(is_removed).len();
        if token.contains(is_removed) {
            room.add(self.joined(token));
        } else if !token.is_empty() {
            room.add(self.whole(place, start, start + token.len()));
        }
        place.base + run.len()
    }
}

/// A chunk's place in its value.
struct Place<'a> {
    value: &'a TextValue<'a>,
    /// Where in the value it begins.
    base: usize,
    /// How many bytes of the value are there from its first one on; at least one.
    left: usize,
}

/// Starts and ends of runs, a bit each.
struct Runs {
    starts: u64,
    ends: u64,
}

impl Iterator for Runs {
    type Item = (usize, usize);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.starts == 0 {
            return None;
        }
        let run = (self.starts.trailing_zeros() as usize, self.ends.trailing_zeros() as usize);
        self.starts &= self.starts - 1;
        self.ends &= self.ends.wrapping_sub(1);
        Some(run)
    }
}

/// The halves of the view of at most 12 bytes of a chunk, but for the length.
#[inline]
fn inline(span: &[u8; SPAN], start: usize, length: usize) -> (u64, u64) {
    /// Which bits of the halves a text of so many bytes has.
    const KEPT: [(u64, u64); 16] = {
        let mut kept = [(0, 0); 16];
        let mut length = 1;
        while length <= INLINE_BYTES {
            kept[length] = if length <= 4 {
                ((u64::MAX >> (8 * (4 - length))) & (u64::MAX << 32), 0)
            } else {
                (u64::MAX << 32, u64::MAX >> (8 * (12 - length)))
            };
            length += 1;
        }
        kept
    };
    // Two loads: to move sixteen bytes by four within registers takes longer.
    let at = start % CHUNK;
    let [a, b, c, d, rest @ ..] = *span[at..].first_chunk::<12>().unwrap_or(&[0; 12]);
    let low = u64::from(u32::from_le_bytes([a, b, c, d])) << 32;
    let (kept_low, kept_high) = KEPT[length % 16];
    (low & kept_low, u64::from_le_bytes(rest) & kept_high)
}

fn is_removed(character: char) -> bool {
    matches!(character, '.' | ',' | ';' | '?' | '!' | '-')
}

/// At most a span's first bytes, and zeros behind them.
fn padded(bytes: &[u8]) -> [u8; SPAN] {
    let mut span = [0; SPAN];
    let length = bytes.len().min(SPAN);
    span[..length].copy_from_slice(&bytes[..length]);
    span
}

/// Adds the bytes of white space beyond ASCII to `space`. Returns how many of them stand behind the
/// chunk.
#[inline(never)]
fn with_wide_spaces(span: &[u8; SPAN], wide: u64, space: &mut u64) -> usize {
    let mut left = wide & !*space;
    let mut behind = 0;
    while left != 0 {
        let at = left.trailing_zeros() as usize;
        left &= left - 1;
        let width = wide_space(&span[at..]);
        if width > 0 {
            *space |= ((1 << width) - 1) << at;
            behind = (at + width).saturating_sub(CHUNK);
        }
    }
    behind
}

/// How many bytes the white space beyond ASCII takes with which `bytes` begins; 0 where it is none.
#[inline]
fn wide_space(bytes: &[u8]) -> usize {
    match bytes {
        [0xC2, 0x85 | 0xA0, ..] => 2,
        [0xE1, 0x9A, 0x80, ..]
        | [0xE2, 0x80, 0x80..=0x8A | 0xA8 | 0xA9 | 0xAF, ..]
        | [0xE2, 0x81, 0x9F, ..]
        | [0xE3, 0x80, 0x80, ..] => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::wide_space;

    #[test]
    fn every_unicode_white_space_separates_and_nothing_else_does() {
        for character in '\u{80}'..=char::MAX {
            let mut bytes = [0; 4];
            let encoded = character.encode_utf8(&mut bytes);
            let expected = if character.is_whitespace() { encoded.len() } else { 0 };
            assert_eq!(wide_space(encoded.as_bytes()), expected, "{character:?}");
        }
    }
}
