//! Flat columns of the usual encodings, decoded by a decoder of our own: numbers, dates, decimals and
//! texts as they are or as codes of a dictionary.
//!
//! What the general decoder can't do: a predicate is evaluated once for each value of a dictionary
//! and looked up by code, so that the values themselves are never made; all columns of a row group go
//! on together, and of a column only the rows are made that the ones before have left; decimals
//! become as wide as the engine has them when they leave the dictionary. Everything else, nested
//! columns, other encodings, row groups of which pages are left out, is the general decoder's.

use arrow::{
    array::{ArrayRef, NullBufferBuilder},
    datatypes::DataType,
};
use bytes::Bytes;
use parquet::{
    basic::{Encoding, Type as PhysicalType},
    column::page::{Page, PageReader},
    errors::ParquetError,
    file::{metadata::ColumnChunkMetaData, serialized_reader::SerializedPageReader},
};

use super::chunks::Chunks;
use crate::Result;

mod hybrid;
pub(super) mod sift;
mod store;

use hybrid::Hybrid;
use store::{Kind, Store, TextPage};

/// What of a page can't be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Broken(&'static str);

impl From<Broken> for ParquetError {
    fn from(Broken(what): Broken) -> Self {
        Self::General(format!("a page has {what}"))
    }
}

type Decoded<T> = parquet::errors::Result<T>;

/// A column chunk on its way through a row group.
struct Cursor {
    kind: Kind,
    /// What its arrays are.
    data_type: DataType,
    is_nullable: bool,
    pages: SerializedPageReader<Chunks>,
    page: Option<DataPage>,
    /// Its values, and a last one that stands for nulls.
    dictionary: Option<Store>,
    /// Rows to be passed over before anything is read.
    behind: usize,
    /// The rows of the step in hand.
    step: Step,
    is_decoded: bool,
    /// What will be given.
    out: Store,
    out_nulls: NullBufferBuilder,
}

/// A data page, as far as it has not been read.
struct DataPage {
    rows: usize,
    /// Which rows have values; all where absent.
    levels: Option<Hybrid>,
    values: Values,
}

enum Values {
    Codes(Hybrid),
    Fixed { bytes: Bytes, at: usize },
    Texts { page: TextPage, at: usize },
}

/// Some rows of a column.
struct Step {
    /// Codes of the dictionary, the one behind its last value for a null; used where `values` is
    /// empty.
    codes: Vec<u32>,
    /// Values, where not all rows are in pages of codes.
    values: Store,
    /// Which of them are none; empty where all are some.
    valid: Vec<bool>,
    has_nulls: bool,
}

impl Step {
    /// Of no rows.
    fn of(kind: Kind) -> Self {
        Self { codes: Vec::new(), values: kind.store(), valid: Vec::new(), has_nulls: false }
    }
}

impl Cursor {
    /// At the beginning of a chunk; `None` where it is the general decoder's.
    fn new(
        chunk: &ColumnChunkMetaData,
        decoded: &DataType,
        data_type: DataType,
        chunks: &Chunks,
        rows: usize,
    ) -> Decoded<Option<Self>> {
        let descriptor = chunk.column_descr();
        if descriptor.max_rep_level() > 0 || descriptor.max_def_level() > 1 {
            return Ok(None);
        }
        let Some(kind) = Kind::of(chunk.column_type(), decoded) else { return Ok(None) };
        let is_usual = |encoding: Encoding| {
            let is_dictionary =
                matches!(encoding, Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY);
            is_dictionary || matches!(encoding, Encoding::PLAIN | Encoding::RLE)
        };
        if !chunk.encodings().all(is_usual) || chunk.column_type() == PhysicalType::BOOLEAN {
            return Ok(None);
        }
        let pages = SerializedPageReader::new(chunks.clone().into(), chunk, rows, None)?;
        let step = Step::of(kind);
        Ok(Some(Self {
            kind,
            data_type,
            is_nullable: descriptor.max_def_level() == 1,
            pages,
            page: None,
            dictionary: None,
            behind: 0,
            step,
            is_decoded: false,
            out: kind.store(),
            out_nulls: NullBufferBuilder::new(0),
        }))
    }

    /// The page that the next row is in; pages that are passed over as a whole are not decompressed.
    fn page(&mut self) -> Decoded<&mut DataPage> {
        loop {
            let left = self.page.as_ref().map_or(0, |page| page.rows);
            if left > 0 && self.behind < left {
                break;
            }
            self.behind -= left;
            self.page = None;
            let Some(next) = self.pages.peek_next_page()? else {
                return Err(ParquetError::EOF(String::from("a column has too few rows")));
            };
            let rows = next.num_rows.or(next.num_levels);
            if let Some(rows) = rows.filter(|rows| !next.is_dict && *rows <= self.behind) {
                self.pages.skip_next_page()?;
                self.behind -= rows;
                continue;
            }
            let Some(page) = self.pages.get_next_page()? else {
                return Err(ParquetError::EOF(String::from("a column has too few rows")));
            };
            self.page = self.begin(page)?;
        }
        let passed = std::mem::take(&mut self.behind);
        match &mut self.page {
            Some(page) => {
                page.skip(passed, self.kind)?;
                Ok(page)
            }
            None => Err(ParquetError::EOF(String::from("a column has too few rows"))),
        }
    }

    /// A data page made ready; `None` for a dictionary, which is kept.
    fn begin(&mut self, page: Page) -> Decoded<Option<DataPage>> {
        let (bytes, rows, encoding, levels) = match page {
            Page::DictionaryPage { buf, num_values, encoding, .. } => {
                if !matches!(encoding, Encoding::PLAIN | Encoding::PLAIN_DICTIONARY) {
                    return Err(Broken("a dictionary of another encoding").into());
                }
                self.dictionary = Some(self.values_of(buf, num_values as usize)?);
                return Ok(None);
            }
            Page::DataPage { buf, num_values, encoding, def_level_encoding, .. } => {
                if !self.is_nullable {
                    (buf, num_values, encoding, None)
                } else if def_level_encoding == Encoding::RLE {
                    let length = buf.first_chunk().map(|length| u32::from_le_bytes(*length));
                    let length = length.ok_or(Broken("no levels"))? as usize;
                    let end = length.saturating_add(size_of::<u32>());
                    if end > buf.len() {
                        return Err(Broken("fewer levels than it says").into());
                    }
                    let levels = buf.slice(size_of::<u32>()..end);
                    (buf.slice(end..), num_values, encoding, Some(levels))
                } else {
                    return Err(Broken("levels of another encoding").into());
                }
            }
            Page::DataPageV2 {
                buf,
                num_values,
                encoding,
                def_levels_byte_len,
                rep_levels_byte_len,
                ..
            } => {
                let (from, length) = (rep_levels_byte_len as usize, def_levels_byte_len as usize);
                let end = from.saturating_add(length);
                if end > buf.len() {
                    return Err(Broken("fewer levels than it says").into());
                }
                let levels = self.is_nullable.then(|| buf.slice(from..end));
                (buf.slice(end..), num_values, encoding, levels)
            }
        };
        let levels = levels.map(|levels| Hybrid::new(levels, 1)).transpose()?;
        let values = match encoding {
            Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY => {
                // Where all rows are null there may be none.
                if self.dictionary.is_none() {
                    self.dictionary = Some(self.values_of(Bytes::new(), 0)?);
                }
                match bytes.first() {
                    Some(width) => Values::Codes(Hybrid::new(bytes.slice(1..), *width)?),
                    // All rows are null.
                    None => Values::Codes(Hybrid::new(bytes, 0)?),
                }
            }
            Encoding::PLAIN if self.kind.width().is_some() => Values::Fixed { bytes, at: 0 },
            Encoding::PLAIN => Values::Texts { page: TextPage::new(bytes, self.kind), at: 0 },
            _ => return Err(Broken("an encoding that its column chunk does not name").into()),
        };
        Ok(Some(DataPage { rows: rows as usize, levels, values }))
    }

    /// The values of a dictionary, and one more for nulls.
    fn values_of(&self, bytes: Bytes, count: usize) -> Decoded<Store> {
        let mut store = self.kind.store();
        if let Some(width) = self.kind.width() {
            let length = count.checked_mul(width).filter(|length| *length <= bytes.len());
            let length = length.ok_or(Broken("fewer values than it says"))?;
            store.reserve_exact(count + 1);
            push_fixed(&mut store, self.kind, &bytes[..length]);
        } else {
            // Each has its length before it.
            store.reserve_exact(count.min(bytes.len() / size_of::<u32>()) + 1);
            store.push_views(&TextPage::new(bytes, self.kind), 0, count)?;
        }
        store.push_null();
        Ok(store)
    }

    /// Decodes the next `count` rows into the step, unless that was done.
    fn decode(&mut self, count: usize) -> Decoded<()> {
        if self.is_decoded {
            return Ok(());
        }
        let mut step = std::mem::replace(&mut self.step, Step::of(self.kind));
        step.codes.clear();
        step.values.clear();
        step.valid.clear();
        step.has_nulls = false;
        let mut missing = count;
        while missing > 0 {
            let kind = self.kind;
            let page = self.page()?;
            let taken = missing.min(page.rows);
            let is_codes = matches!(page.values, Values::Codes(_));
            if !is_codes && !step.codes.is_empty() {
                self.uncode(&mut step);
            }
            let Self { page: Some(open), dictionary, .. } = self else { break };
            let before = step.codes.len();
            open.read(taken, kind, dictionary.as_ref(), &mut step)?;
            if is_codes && step.values.len() > 0 {
                // Some rows before are values: so are these.
                let null = dictionary.as_ref().map_or(0, Store::len).saturating_sub(1);
                let codes = step.codes.split_off(before);
                append_codes(&mut step, dictionary.as_ref(), &codes, null);
            }
            missing -= taken;
        }
        self.step = step;
        self.is_decoded = true;
        Ok(())
    }

    /// Turns the codes of a step into values.
    fn uncode(&self, step: &mut Step) {
        let null = self.dictionary.as_ref().map_or(0, Store::len).saturating_sub(1);
        let codes = std::mem::take(&mut step.codes);
        append_codes(step, self.dictionary.as_ref(), &codes, null);
    }

    /// Goes on by a step of `count` rows of which none is wanted any more.
    fn pass(&mut self, count: usize) {
        if !std::mem::take(&mut self.is_decoded) {
            self.behind += count;
        }
    }

    /// Appends rows of the step to what will be given; all where `chosen` is absent.
    fn append(&mut self, count: usize, chosen: Option<&[u32]>) {
        let null = self.dictionary.as_ref().map_or(0, Store::len).saturating_sub(1);
        let Step { codes, values, valid, has_nulls } = &self.step;
        let (out, nulls) = (&mut self.out, &mut self.out_nulls);
        let appended = chosen.map_or(count, <[u32]>::len);
        if values.len() > 0 {
            match chosen {
                Some(rows) => out.take(values, rows.iter().map(|row| *row as usize)),
                None => out.take(values, 0..count),
            }
            match (*has_nulls, chosen) {
                (false, _) => nulls.append_n_non_nulls(appended),
                (true, Some(rows)) => {
                    for row in rows {
                        nulls.append(valid[*row as usize]);
                    }
                }
                (true, None) => valid.iter().for_each(|is_valid| nulls.append(*is_valid)),
            }
        } else if let Some(dictionary) = &self.dictionary {
            match chosen {
                Some(rows) => {
                    out.take(dictionary, rows.iter().map(|row| codes[*row as usize] as usize));
                }
                None => out.take(dictionary, codes.iter().map(|code| *code as usize)),
            }
            let is_valid = |code: u32| code as usize != null;
            match (*has_nulls, chosen) {
                (false, _) => nulls.append_n_non_nulls(appended),
                (true, Some(rows)) => {
                    for row in rows {
                        nulls.append(is_valid(codes[*row as usize]));
                    }
                }
                (true, None) => codes.iter().for_each(|code| nulls.append(is_valid(*code))),
            }
        }
    }

    /// What was appended, as an array.
    fn finish(&mut self) -> Result<ArrayRef> {
        let nulls = self.out_nulls.finish();
        self.out.finish(self.kind, &self.data_type, nulls)
    }
}

/// Appends what some codes stand for to a step's values.
fn append_codes(step: &mut Step, dictionary: Option<&Store>, codes: &[u32], null: usize) {
    let Some(dictionary) = dictionary else { return };
    step.values.take(dictionary, codes.iter().map(|code| *code as usize));
    step.valid.extend(codes.iter().map(|code| *code as usize != null));
}

fn push_fixed(store: &mut Store, kind: Kind, bytes: &[u8]) {
    match kind {
        Kind::Decimal { bytes: width } => store.push_decimals(bytes, width),
        _ => store.push_plain(bytes),
    }
}

impl DataPage {
    /// Which of the next rows have values; `None` for all.
    fn levels(&mut self, count: usize) -> Result<Option<Vec<u32>>, Broken> {
        let Some(levels) = &mut self.levels else { return Ok(None) };
        if levels.are_all(1, count)? {
            return Ok(None);
        }
        let mut read = Vec::with_capacity(count);
        levels.read(count, &mut read)?;
        Ok(read.contains(&0).then_some(read))
    }

    /// Passes over rows.
    fn skip(&mut self, count: usize, kind: Kind) -> Result<(), Broken> {
        if count == 0 {
            return Ok(());
        }
        let levels = self.levels(count)?;
        let present = levels.map_or(count, |levels| levels.iter().filter(|l| **l > 0).count());
        match &mut self.values {
            Values::Codes(codes) => codes.skip(present)?,
            Values::Fixed { at, .. } => *at += present * kind.width().unwrap_or(0),
            Values::Texts { page, at } => *at = page.behind(*at, present)?,
        }
        self.rows -= count;
        Ok(())
    }

    /// Appends the next rows to a step: codes to its codes, values to its values.
    fn read(
        &mut self,
        count: usize,
        kind: Kind,
        dictionary: Option<&Store>,
        step: &mut Step,
    ) -> Result<(), Broken> {
        let levels = self.levels(count)?;
        let present = match &levels {
            Some(levels) => levels.iter().filter(|level| **level > 0).count(),
            None => count,
        };
        step.has_nulls |= levels.is_some();
        match &mut self.values {
            Values::Codes(codes) => {
                let values = dictionary.map_or(0, Store::len).saturating_sub(1);
                let null = u32::try_from(values).map_err(|_| Broken("too many values"))?;
                let from = step.codes.len();
                codes.read(present, &mut step.codes)?;
                if step.codes[from..].iter().any(|code| *code >= null) {
                    return Err(Broken("a code that its dictionary has not"));
                }
                if let Some(levels) = levels {
                    let dense = step.codes.split_off(from);
                    let mut dense = dense.into_iter();
                    let code = |level: u32| if level > 0 { dense.next() } else { None };
                    step.codes.extend(levels.into_iter().map(code).map(|c| c.unwrap_or(null)));
                }
            }
            Values::Fixed { bytes, at } => {
                let end = present * kind.width().unwrap_or(0) + *at;
                let plain = bytes.get(*at..end).ok_or(Broken("fewer values than it says"))?;
                match levels {
                    None => {
                        push_fixed(&mut step.values, kind, plain);
                        step.valid.resize(step.valid.len() + count, true);
                    }
                    Some(levels) => {
                        let mut dense = kind.store();
                        push_fixed(&mut dense, kind, plain);
                        spread(&mut dense, &levels, step);
                    }
                }
                *at = end;
            }
            Values::Texts { page, at } => match levels {
                None => {
                    *at = step.values.push_views(page, *at, count)?;
                    step.valid.resize(step.valid.len() + count, true);
                }
                Some(levels) => {
                    let mut dense = kind.store();
                    *at = dense.push_views(page, *at, present)?;
                    spread(&mut dense, &levels, step);
                }
            },
        }
        self.rows -= count;
        Ok(())
    }
}

/// Appends values to a step, with a null wherever a level says that there is none.
fn spread(dense: &mut Store, levels: &[u32], step: &mut Step) {
    let null = dense.len();
    dense.push_null();
    let mut next = 0;
    let places: Vec<usize> = levels
        .iter()
        .map(|level| {
            if *level == 0 {
                return null;
            }
            next += 1;
            next - 1
        })
        .collect();
    step.values.take(dense, places.iter().copied());
    step.valid.extend(levels.iter().map(|level| *level > 0));
}
