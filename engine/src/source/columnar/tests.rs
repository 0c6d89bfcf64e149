//! Files that were written read back; what a predicate rules out is not read; what is broken is an
//! error.

use std::{
    io,
    path::{Path, PathBuf},
    slice::from_ref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, Float64Array, Int32Array,
        Int64Array, ListArray, RecordBatch, Scalar, StringViewArray, StructArray,
    },
    buffer::BooleanBuffer,
    compute::{
        CastOptions, cast, cast_with_options, concat_batches, filter_record_batch,
        kernels::cmp::eq, prep_null_mask_filter,
    },
    datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit},
};
use base64::Engine as _;
use parquet::{arrow::ArrowWriter, file::properties::WriterProperties};
use proptest::prelude::*;

use super::{ColumnarSource, schema::inspect, splits};
use crate::{
    Result,
    disk::{Disk, Lock, ReadAt, RealDisk, WriteFile},
    expr::parse,
    formats::{Format, WriteFormat, compression::Compression, file_encoder, infer},
    operators::Operator,
    plan::{Read, Scan},
    source::{
        runtime_filter::{KeySet, RuntimeFilter, Tested, Told},
        tests::Input,
    },
};

fn written(format: &WriteFormat, compression: Compression, batches: &[RecordBatch]) -> Vec<u8> {
    let mut encoder = file_encoder(format, compression, &batches[0].schema()).unwrap();
    let mut out = Vec::new();
    encoder.begin(&mut out).unwrap();
    for batch in batches {
        encoder.encode(batch, &mut out).unwrap();
    }
    encoder.finish(&mut out).unwrap();
    out
}

/// A column of every type of pipelines, made of numbers and texts.
fn every_type(numbers: &[Option<i64>], texts: &[Option<String>]) -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
    // What does not fit is null.
    let of = |to: &DataType| cast_with_options(&numbers, to, &CastOptions::default()).unwrap();
    let through = |first: &DataType, to: &DataType| cast(&of(first), to).unwrap();
    let text: ArrayRef = Arc::new(texts.iter().cloned().collect::<StringViewArray>());
    let bytes: BinaryViewArray =
        texts.iter().map(|value| value.as_ref().map(String::as_bytes)).collect();
    let lists = |array: &ArrayRef| -> ArrayRef {
        let offsets = (0..=i32::try_from(array.len()).unwrap()).map(|row| row / 2 * 2);
        let offsets = arrow::buffer::OffsetBuffer::new(offsets.collect::<Vec<_>>().into());
        let element = Arc::new(Field::new("item", array.data_type().clone(), true));
        let nulls = numbers.nulls().cloned();
        let all = i32::try_from(array.len()).unwrap() / 2 * 2;
        Arc::new(ListArray::new(
            element,
            offsets,
            array.slice(0, usize::try_from(all).unwrap()),
            nulls,
        ))
    };
    let pair: ArrayRef = Arc::new(StructArray::from(vec![
        (Arc::new(Field::new("a", DataType::Int64, true)), Arc::clone(&numbers)),
        (Arc::new(Field::new("b", DataType::Utf8View, true)), Arc::clone(&text)),
    ]));
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    for to in [
        DataType::Boolean,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal128(9, 0),
        DataType::Decimal128(18, 4),
        DataType::Decimal128(38, 10),
        DataType::Decimal256(60, 20),
        DataType::Date32,
        DataType::Timestamp(TimeUnit::Millisecond, None),
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Timestamp(TimeUnit::Nanosecond, Some("Europe/Berlin".into())),
        DataType::Duration(TimeUnit::Microsecond),
    ] {
        let column = match &to {
            DataType::Date32 => through(&DataType::Int32, &to),
            _ => of(&to),
        };
        columns.push((to.to_string(), column));
    }
    columns.push((String::from("text"), Arc::clone(&text)));
    columns.push((String::from("bytes"), Arc::new(bytes)));
    columns.push((String::from("numbers"), lists(&numbers)));
    columns.push((String::from("texts"), lists(&text)));
    columns.push((String::from("pairs"), lists(&pair)));
    columns.push((String::from("pair"), pair));
    let fields =
        columns.iter().map(|(name, column)| Field::new(name, column.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    RecordBatch::try_new(schema, columns.into_iter().map(|(_, column)| column).collect()).unwrap()
}

fn whole(input: &Input, format: &Format, partitions: u32) -> RecordBatch {
    let batches = input.batches(format, partitions).unwrap();
    let schema = infer::schema(&input.disk, format, &input.files).unwrap();
    concat_batches(&schema, &batches).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_was_written_reads_back(
        rows in prop::collection::vec(
            (prop::option::of(prop_oneof![any::<i64>(), -300..300i64, -90_000_000..90_000_000i64]),
             prop::option::of(".{0,20}")),
            1..60,
        ),
        partitions in 1u32..5,
    ) {
        let (numbers, texts): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let batch = every_type(&numbers, &texts);
        let cut = batch.num_rows() / 3;
        let parts = [batch.slice(0, cut), batch.slice(cut, batch.num_rows() - cut)];
        for (writer, reader) in [
            (WriteFormat::Parquet, Format::Parquet),
            (WriteFormat::Arrow, Format::Arrow),
            (WriteFormat::ArrowStream, Format::Arrow),
        ] {
            for compression in writer.compressions() {
                let bytes = written(&writer, *compression, &parts);
                let input = Input::of(&[&bytes]);
                prop_assert_eq!(&whole(&input, &reader, partitions), &batch, "{:?}", writer);
            }
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn a_files_bytes_follow_from_its_rows_and_not_from_their_batches(cut in 0usize..20_000) {
        let batch = numbers(0..20_000);
        for (format, compression) in [
            (WriteFormat::Parquet, Compression::Zstd),
            (WriteFormat::Arrow, Compression::Lz4),
            (WriteFormat::Jsonl, Compression::Snappy),
            (WriteFormat::Jsonl, Compression::Zstd),
            (WriteFormat::Jsonl, Compression::Lz4),
        ] {
            let parts = [batch.slice(0, cut), batch.slice(cut, batch.num_rows() - cut)];
            let one = written(&format, compression, from_ref(&batch));
            prop_assert!(one == written(&format, compression, &parts), "{:?}", format);
        }
    }
}

/// Numbers `n`, `n` as text, ten times their tenth, and the text again as bytes that fill pages.
#[expect(clippy::cast_precision_loss, reason = "the numbers are small")]
fn numbers(range: std::ops::Range<i64>) -> RecordBatch {
    let text = |n: i64| format!("{n:06}");
    let filler = |n: i64| format!("{:0>40}", n.wrapping_mul(7_919) % 1_000_003);
    RecordBatch::try_from_iter_with_nullable([
        ("n", Arc::new(Int64Array::from_iter_values(range.clone())) as ArrayRef, true),
        ("s", Arc::new(StringViewArray::from_iter_values(range.clone().map(text))) as _, true),
        (
            "f",
            Arc::new(range.clone().map(|n| Some(n as f64 / 2.0)).collect::<Float64Array>()) as _,
            true,
        ),
        ("x", Arc::new(StringViewArray::from_iter_values(range.map(filler))) as _, true),
    ])
    .unwrap()
}

/// A disk that counts the bytes that are read.
#[derive(Debug, Default)]
struct CountingDisk {
    bytes: Arc<AtomicU64>,
}

struct CountingFile(Arc<dyn ReadAt>, Arc<AtomicU64>);

impl ReadAt for CountingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.0.read_at(buffer, offset)?;
        self.1.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }

    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
}

impl Disk for CountingDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadAt>> {
        Ok(Arc::new(CountingFile(RealDisk.open(path)?, Arc::clone(&self.bytes))))
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        RealDisk.create(path)
    }
    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        RealDisk.truncate(path, bytes)
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir_all(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_file(path)
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_dir_all(path)
    }
    fn remove_empty_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_empty_dir(path)
    }
    fn true_name(&self, path: &Path) -> io::Result<PathBuf> {
        RealDisk.true_name(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        RealDisk.lock(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        RealDisk.list(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_dir(path)
    }
    fn exists(&self, path: &Path) -> bool {
        RealDisk.exists(path)
    }
}

/// What a reader gives of one column and one predicate over all columns: the splits, the batch and
/// the bytes read by its tasks.
struct Taken {
    splits: usize,
    rows: Vec<i64>,
    bytes: u64,
}

fn take(input: &Input, columns: &[usize], predicate: Option<&str>) -> Taken {
    let counted = Arc::new(CountingDisk::default());
    let disk: Arc<dyn Disk> = Arc::clone(&counted) as Arc<dyn Disk>;
    let schema = infer::schema(&disk, &Format::Parquet, &input.files).unwrap();
    let mut read = Read::of(Format::Parquet, input.files.clone(), None);
    let schema = read.project(&schema, columns);
    if let Some(text) = predicate {
        read.restrict(parse::predicate(text, &schema).unwrap());
    }
    let splits = splits(&read, &schema, &disk).unwrap();
    counted.bytes.store(0, Ordering::Relaxed);
    let mut rows = Vec::new();
    for split in &splits {
        let schema = SchemaRef::clone(&schema);
        let mut source = ColumnarSource::over(split, &read.format, &read.scan, schema, &disk);
        while let Some(batch) = source.next().unwrap() {
            assert_eq!(batch.num_columns(), columns.len());
            rows.extend(batch.column(0).as_primitive::<Int64Type>().values());
        }
    }
    Taken { splits: splits.len(), rows, bytes: counted.bytes.load(Ordering::Relaxed) }
}

/// A file of 10 row groups of 20,000 rows, each of several pages.
fn large(properties: parquet::file::properties::WriterPropertiesBuilder) -> Input {
    let properties = properties
        .set_max_row_group_row_count(Some(20_000))
        .set_data_page_row_count_limit(1000)
        .build();
    let batch = numbers(0..200_000);
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    Input::of(&[&writer.into_inner().unwrap()])
}

#[test]
fn columns_row_groups_and_pages_that_are_not_wanted_are_not_read() {
    let input = large(WriterProperties::builder());
    let size = input.files[0].size_bytes;
    let all = take(&input, &[0, 1, 2, 3], None);
    assert_eq!(all.rows, (0..200_000).collect::<Vec<_>>());
    assert!(all.bytes > size / 2, "{} of {size}", all.bytes);
    let one = take(&input, &[0], None);
    assert_eq!(one.rows.len(), 200_000);
    assert!(one.bytes < all.bytes / 3, "one column takes {} of {}", one.bytes, all.bytes);
    // One row group of ten, and a page of it.
    let some = take(&input, &[0, 1, 2, 3], Some("n >= 150000 and n < 150010"));
    assert_eq!(some.rows, (150_000..150_010).collect::<Vec<_>>());
    assert!(some.bytes < all.bytes / 8, "ten rows take {} of {}", some.bytes, all.bytes);
    assert_eq!(some.splits, 1);
    // By text, by a float and by a constant that is cast; all rows of a page come at least.
    for predicate in ["s = '150005'", "f = 75002.5", "n = 150005.0", "not (s <> '150005')"] {
        let found = take(&input, &[0, 1, 2, 3], Some(predicate));
        assert!(found.rows.contains(&150_005), "{predicate}");
        assert!(found.rows.len() < 5000, "{predicate}: {} rows", found.rows.len());
        assert!(found.bytes < all.bytes / 8, "{predicate}: {}", found.bytes);
    }
    let none = take(&input, &[0, 1], Some("n > 1000000"));
    assert_eq!(none.rows, [0; 0]);
    assert_eq!(none.splits, 1);
}

#[test]
fn columns_are_decoded_late_where_a_predicate_keeps_few_rows() {
    let input = large(WriterProperties::builder());
    // No statistics help here: every page has all remainders.
    let found = take(&input, &[0, 3], Some("x = '0000000000000000000000000000000000079190'"));
    assert!(found.rows.contains(&10), "{:?}", found.rows);
    assert!(found.rows.len() < 5, "{:?}", found.rows);
}

/// Rows of several types with nulls, in row groups of 3,000 rows and pages of 500.
fn mixed(rows: i64, filler_bytes: usize) -> Input {
    let range = 0..rows;
    let every = |n: i64, nth: i64| n % nth != 0;
    let price = range.clone().map(|n| every(n, 7).then_some(i128::from(n * 31 % 10_007)));
    let price: arrow::array::Decimal128Array = price.collect();
    let wide = range.clone().map(|n| every(n, 5).then_some(i128::from(n % 11) << 70));
    let wide: arrow::array::Decimal128Array = wide.collect();
    let word =
        |n: i64| every(n, 3).then(|| ["AIR", "MAIL", "a longer text than a view"][to(n % 3)]);
    let word: StringViewArray = range.clone().map(|n| word(n + 1)).collect();
    let filler = range.clone().map(|n| format!("{n:0>filler_bytes$}"));
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("n", Arc::new(Int64Array::from_iter_values(range)) as ArrayRef, true),
        ("price", Arc::new(price.with_precision_and_scale(15, 2).unwrap()) as _, true),
        ("wide", Arc::new(wide.with_precision_and_scale(30, 3).unwrap()) as _, true),
        ("word", Arc::new(word) as _, true),
        ("filler", Arc::new(StringViewArray::from_iter_values(filler)) as _, true),
    ])
    .unwrap();
    let groups = if filler_bytes > 50 { 1 << 20 } else { 3000 };
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(groups))
        .set_data_page_row_count_limit(500)
        .set_write_batch_size(500)
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    Input::of(&[&writer.into_inner().unwrap()])
}

fn to(n: i64) -> usize {
    usize::try_from(n).unwrap()
}

/// The rows that a reader gives which was told of a predicate, and that the predicate keeps of them.
fn kept_of(input: &Input, columns: &[usize], text: &str, is_told: bool) -> RecordBatch {
    let schema = infer::schema(&input.disk, &Format::Parquet, &input.files).unwrap();
    let mut read = Read::of(Format::Parquet, input.files.clone(), Some(1));
    let schema = read.project(&schema, columns);
    let predicate = parse::predicate(text, &schema).unwrap();
    if is_told {
        read.restrict(predicate.clone());
    }
    let mut kept = Vec::new();
    for split in &splits(&read, &schema, &input.disk).unwrap() {
        let schema = SchemaRef::clone(&schema);
        let mut source = ColumnarSource::over(split, &read.format, &read.scan, schema, &input.disk);
        while let Some(batch) = source.next().unwrap() {
            let holds = predicate.evaluate(&batch).unwrap();
            kept.push(filter_record_batch(&batch, &holds).unwrap());
        }
    }
    concat_batches(&schema, &kept).unwrap()
}

#[test]
fn a_reader_says_whether_its_predicate_holds_for_all_rows() {
    let input = mixed(10_000, 10);
    let all = infer::schema(&input.disk, &Format::Parquet, &input.files).unwrap();
    for (columns, predicate, expected) in [
        (&[1, 3][..], "price < 50 and word = 'MAIL'", true),
        // Only what is never an error is tested early.
        (&[0, 1], "price < 50 and 100 / n > 3", false),
        // One column is the general decoder's.
        (&[1, 2], "price < 50", false),
    ] {
        let mut read = Read::of(Format::Parquet, input.files.clone(), Some(1));
        let schema = read.project(&all, columns);
        let predicate = parse::predicate(predicate, &schema).unwrap();
        read.restrict(predicate.clone());
        let split = &splits(&read, &schema, &input.disk).unwrap()[0];
        let source = ColumnarSource::over(split, &read.format, &read.scan, schema, &input.disk);
        let tested = Tested::default();
        let mut source = source.telling(Told { tested: tested.clone(), ..Told::default() });
        let mut rows = 0;
        while let Some(batch) = source.next().unwrap() {
            rows += batch.num_rows();
            assert_eq!(tested.get(), expected, "{}", predicate.0);
            if expected {
                let holds = predicate.evaluate(&batch).unwrap();
                assert_eq!(holds.true_count(), batch.num_rows());
            }
        }
        assert!(rows > 0);
    }
}

#[test]
fn what_a_reader_decides_early_is_what_a_filter_decides() {
    let few = mixed(10_000, 10);
    // More than is kept of a row group's filter columns.
    let much = mixed(180_000, 120);
    for (predicate, is_any) in [
        ("price < 50", true),
        ("50.00 <= price and price <> 99.01", true),
        ("price > 90 or price is null", true),
        ("price between 10 and 12.5 and n > 100", true),
        ("wide = 0 and word = 'MAIL'", true),
        ("word in ('MAIL', 'a longer text than a view') and price > 20", true),
        ("word like '%longer%' and n % 2 = 0", true),
        ("word <> 'AIR' and n >= 2999 and n < 3002", true),
        ("filler like '%77' and price >= 0", true),
        ("n >= 0", true),
        ("price > 1000000", false),
    ] {
        for input in [&few, &much] {
            for columns in [&[0, 1, 2, 3, 4][..], &[4, 3, 1, 0, 2]] {
                let told = kept_of(input, columns, predicate, true);
                assert_eq!(told, kept_of(input, columns, predicate, false), "{predicate}");
                assert_eq!(told.num_rows() > 0, is_any, "{predicate}");
            }
        }
    }
    // All that is read is looked at.
    for (columns, predicate) in
        [(&[1][..], "price < 50"), (&[1, 3], "price < 50 and word = 'MAIL'")]
    {
        let told = kept_of(&few, columns, predicate, true);
        assert_eq!(told, kept_of(&few, columns, predicate, false), "{predicate}");
        assert!(told.num_rows() > 0);
    }
}

/// Some values of a column.
struct Listed(ArrayRef);

impl KeySet for Listed {
    fn bounds(&self) -> Option<(ArrayRef, ArrayRef)> {
        None
    }

    fn contains(&self, values: &ArrayRef) -> Result<BooleanBuffer> {
        let mut found = BooleanBuffer::new_unset(values.len());
        for key in 0..self.0.len() {
            let equal = eq(values, &Scalar::new(self.0.slice(key, 1)))?;
            let equal = match equal.null_count() {
                0 => equal,
                _ => prep_null_mask_filter(&equal),
            };
            found = &found | equal.values();
        }
        Ok(found)
    }
}

#[test]
fn rows_without_a_partner_are_left_out_and_no_others() {
    let texts: ArrayRef =
        Arc::new(StringViewArray::from(vec!["MAIL", "a longer text than a view"]));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![7, 3001, 3002, 9_999]));
    for (predicate, keys) in [
        ("n >= 0", vec![(3, &texts)]),
        ("price < 50", vec![(3, &texts)]),
        ("price < 50", vec![(0, &numbers)]),
        ("word = 'MAIL' or n = 7", vec![(0, &numbers), (3, &texts)]),
    ] {
        let input = mixed(10_000, 10);
        let mut expected = kept_of(&input, &[0, 1, 2, 3, 4], predicate, false);
        let schema = expected.schema();
        for (column, values) in &keys {
            let found = Listed(ArrayRef::clone(values)).contains(expected.column(*column)).unwrap();
            expected = filter_record_batch(&expected, &BooleanArray::new(found, None)).unwrap();
        }
        assert!(expected.num_rows() > 0, "{predicate}");
        let mut read = Read::of(Format::Parquet, input.files.clone(), Some(1));
        let predicate = parse::predicate(predicate, &schema).unwrap();
        read.restrict(predicate.clone());
        let filters = keys.iter().map(|(column, values)| {
            let filter = RuntimeFilter::default();
            filter.set(Arc::new(Listed(ArrayRef::clone(values))));
            (*column, filter)
        });
        let filters: Vec<_> = filters.collect();
        let mut given = Vec::new();
        for split in &splits(&read, &schema, &input.disk).unwrap() {
            let schema = SchemaRef::clone(&schema);
            let source = ColumnarSource::over(split, &read.format, &read.scan, schema, &input.disk);
            let told = Told { filters: filters.clone(), ..Told::default() };
            let mut source = source.telling(told);
            while let Some(batch) = source.next().unwrap() {
                assert!(batch.num_rows() > 0);
                let holds = predicate.evaluate(&batch).unwrap();
                given.push(filter_record_batch(&batch, &holds).unwrap());
            }
        }
        // Keys that half of the rows have are not tested for long: then more is given.
        let mut kept = concat_batches(&schema, &given).unwrap();
        let is_sharp = kept.num_rows() == expected.num_rows();
        assert!(is_sharp || keys.iter().any(|(column, _)| *column == 3));
        for (column, values) in &keys {
            let found = Listed(ArrayRef::clone(values)).contains(kept.column(*column)).unwrap();
            kept = filter_record_batch(&kept, &BooleanArray::new(found, None)).unwrap();
        }
        assert_eq!(kept, expected);
    }
}

#[test]
fn a_footer_that_was_read_before_is_no_other_files() {
    let (one, other) = (mixed(2000, 10), mixed(4000, 10));
    let rows = |input: &Input| kept_of(input, &[0], "n >= 0", true).num_rows();
    for _ in 0..2 {
        assert_eq!((rows(&one), rows(&other)), (2000, 4000));
    }
}

#[test]
fn a_bloom_filter_rules_out_what_statistics_can_not() {
    let plain = large(WriterProperties::builder());
    let with_filter = large(WriterProperties::builder().set_bloom_filter_enabled(true));
    let wanted = Some("x = '000000000000000000000000000000000050000x'");
    let before = take(&plain, &[0, 3], wanted);
    let after = take(&with_filter, &[0, 3], wanted);
    assert_eq!((before.rows.len(), after.rows.len()), (0, 0));
    assert!(before.bytes > 1_000_000, "{}", before.bytes);
    let file = |input: &Input| input.files[0].size_bytes;
    let filters = file(&with_filter) - file(&plain);
    assert!(after.bytes < filters + 200_000, "{} with filters of {filters}", after.bytes);
    for (text, n) in [("n = 77", 77), ("s = '000077'", 77)] {
        assert!(take(&with_filter, &[0, 1, 3], Some(text)).rows.contains(&n), "{text}");
    }
}

#[test]
fn splits_are_row_groups_by_their_bytes_whatever_partitions_are_asked_for() {
    let input = large(WriterProperties::builder());
    for partitions in [1, 3, 10, 25] {
        let rows: Vec<i64> = input
            .batches(&Format::Parquet, partitions)
            .unwrap()
            .iter()
            .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
            .collect();
        assert_eq!(rows, (0..200_000).collect::<Vec<_>>(), "{partitions}");
        assert_eq!(input.splits(&Format::Parquet, partitions).unwrap().len(), partitions as usize);
    }
}

#[test]
fn files_are_joined_by_name_with_wider_types_and_nulls_for_what_one_lacks() {
    let first = RecordBatch::try_from_iter_with_nullable([
        ("a", Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef, true),
        ("b", Arc::new(StringViewArray::from(vec!["x", "y"])) as ArrayRef, true),
    ])
    .unwrap();
    let second = RecordBatch::try_from_iter_with_nullable([
        ("c", Arc::new(BooleanArray::from(vec![true])) as ArrayRef, true),
        ("a", Arc::new(Int64Array::from(vec![5_000_000_000])) as ArrayRef, true),
    ])
    .unwrap();
    for (writer, reader) in
        [(WriteFormat::Parquet, Format::Parquet), (WriteFormat::Arrow, Format::Arrow)]
    {
        let files =
            [&first, &second].map(|batch| written(&writer, Compression::None, from_ref(batch)));
        let input = Input::of(&[&files[0], &files[1]]);
        let rows = input.rows(&reader, 2).unwrap();
        let text = |value: &str| Some(String::from(value));
        assert_eq!(
            rows,
            [
                vec![text("1"), text("x"), None],
                vec![text("2"), text("y"), None],
                vec![text("5000000000"), None, text("true")],
            ]
        );
        let third =
            RecordBatch::try_from_iter([("b", Arc::new(Int32Array::from(vec![1])) as ArrayRef)]);
        let third = written(&writer, Compression::None, &[third.unwrap()]);
        let other = Input::of(&[&files[0], &third]);
        assert_eq!(
            other.error(&reader, 1),
            "cannot read `1`: column `b` is int32 here and string in the files before"
        );
    }
}

#[test]
fn footers_tell_rows_and_bytes() {
    let input = large(WriterProperties::builder());
    let found = inspect(&Format::Parquet, &input.files, None, &input.disk).unwrap();
    let statistics = found.statistics.unwrap();
    assert_eq!(statistics.rows, 200_000);
    assert_eq!(statistics.column_bytes.len(), 4);
    let only = [String::from("x"), String::from("n")];
    let narrow = inspect(&Format::Parquet, &input.files, Some(&only), &input.disk).unwrap();
    let names: Vec<_> = narrow.schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["x", "n"]);
    assert_eq!(narrow.statistics.unwrap().column_bytes.len(), 2);
}

/// All rows of bytes that may be no file; an error is as good.
fn attempt(bytes: &[u8], format: &Format) -> Result<usize> {
    let input = Input::of(&[bytes]);
    let schema = infer::schema(&input.disk, format, &input.files)?;
    let mut rows = 0;
    let mut read = Read::of(format.clone(), input.files.clone(), Some(2));
    if schema.fields().len() > 1 && schema.field(0).data_type() == &DataType::Int64 {
        // The way through statistics, page index and filters must hold as well.
        read.restrict(
            parse::predicate(&format!("{} < 1000", schema.field(0).name()), &schema).unwrap(),
        );
    }
    for split in splits(&read, &schema, &input.disk)? {
        let schema = SchemaRef::clone(&schema);
        let mut source = ColumnarSource::over(&split, format, &read.scan, schema, &input.disk);
        while let Some(batch) = source.next()? {
            rows += batch.num_rows();
        }
    }
    Ok(rows)
}

fn small() -> RecordBatch {
    let n = Int64Array::from(vec![Some(1), None, Some(3), Some(3)]);
    let s = StringViewArray::from(vec![Some("a"), Some("a longer text than 12"), None, Some("")]);
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
        Some(vec![Some(7)]),
    ]);
    RecordBatch::try_from_iter_with_nullable([
        ("n", Arc::new(n) as ArrayRef, true),
        ("s", Arc::new(s) as ArrayRef, true),
        ("l", Arc::new(list) as ArrayRef, true),
    ])
    .unwrap()
}

#[test]
fn no_byte_that_is_flipped_and_no_end_that_is_cut_off_makes_a_panic() {
    for (writer, reader, compression) in [
        (WriteFormat::Parquet, Format::Parquet, Compression::None),
        (WriteFormat::Parquet, Format::Parquet, Compression::Zstd),
        (WriteFormat::Parquet, Format::Parquet, Compression::Snappy),
        (WriteFormat::Arrow, Format::Arrow, Compression::None),
        (WriteFormat::Arrow, Format::Arrow, Compression::Lz4),
        (WriteFormat::ArrowStream, Format::Arrow, Compression::None),
    ] {
        let bytes = written(&writer, compression, &[small()]);
        // The predicate on the way may leave the null out.
        assert!(attempt(&bytes, &reader).unwrap() >= 3);
        for place in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut broken = bytes.clone();
                broken[place] ^= flip;
                // Data that still is data can't be told from what was written.
                drop(attempt(&broken, &reader));
            }
            let cut = attempt(&bytes[..place], &reader);
            assert!(
                cut.is_err() || writer == WriteFormat::ArrowStream,
                "{writer:?} cut at {place}"
            );
        }
    }
}

#[test]
fn what_is_no_file_of_the_format_is_refused_by_name() {
    let other = b"id,name\n1,a\n2,b\n3,and some more text so that it is long enough\n";
    let of = |bytes: &[u8], format: &Format| Input::of(&[bytes]).error(format, 1);
    assert_eq!(
        of(other, &Format::Parquet),
        "cannot read `0`: no Parquet file: its end is not `PAR1`"
    );
    assert_eq!(of(b"", &Format::Parquet), "cannot read `0`: too short for a Parquet file");
    assert_eq!(
        of(b"", &Format::Arrow),
        "cannot read `0`: it is empty, neither an Arrow file nor a stream"
    );
    let text = of(other, &Format::Arrow);
    assert!(text.contains("neither an Arrow file nor a stream"), "{text}");
}

/// pyarrow's stream of one int8 with the mark of Arrow 0.17's compression at its batch.
const OLD_COMPRESSION: &str = "/////3gAAAAQAAAAAAAKAAwABgAFAAgACgAAAAABBAAMAAAACAAIAAAABAAIAAAABAAAAAEAAAAUAAAAEAAUAAgA\
    BgAHAAwAAAAQABAAAAAAAAECEAAAABwAAAAEAAAAAAAAAAEAAABhAAAACAAMAAgABwAIAAAAAAAAAQgAAAD/////\
    2AAAABgAAAAAAAAAAAAOABgABgAFAAgAEAAMAA4AAAAAAwQAZAAAAAwAAAAIAAAAAAAAAAEAAAAMAAAACAAMAAQA\
    CAAIAAAAEAAAAAQAAAADAAAAbHo0AB4AAABBUlJPVzpleHBlcmltZW50YWxfY29tcHJlc3Npb24AAAAACgAYAAwA\
    BAAIAAoAAAA8AAAAEAAAAAEAAAAAAAAAAAAAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABAAAAAAAAAAAA\
    AAABAAAAAQAAAAAAAAAAAAAAAAAAAAcAAAAAAAAA/////wAAAAA=";

#[test]
fn a_batch_of_the_old_compression_is_refused_and_not_read_as_it_is() {
    let bytes = base64::engine::general_purpose::STANDARD.decode(OLD_COMPRESSION).unwrap();
    assert_eq!(
        Input::of(&[&bytes]).error(&Format::Arrow, 1),
        "cannot read `0`: its rows are compressed in the way of Arrow 0.17, which was a trial; \
         write it again with a later Arrow"
    );
}

#[test]
fn a_stream_may_have_batches_without_bytes() {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Null, true)]));
    let column: ArrayRef = Arc::new(arrow::array::NullArray::new(3));
    let batch = RecordBatch::try_new(schema, vec![column]).unwrap();
    let bytes = written(&WriteFormat::ArrowStream, Compression::None, &[batch.clone(), batch]);
    let input = Input::of(&[&bytes]);
    let rows: usize =
        input.batches(&Format::Arrow, 1).unwrap().iter().map(RecordBatch::num_rows).sum();
    assert_eq!(rows, 6);
}

#[test]
fn a_scan_without_a_column_still_counts_rows() {
    let input = large(WriterProperties::builder());
    let schema = Arc::new(Schema::empty());
    let scan = Scan { projection: Some(Vec::new()), ..Scan::default() };
    let split = &input.splits(&Format::Parquet, 1).unwrap()[0];
    let mut source = ColumnarSource::over(split, &Format::Parquet, &scan, schema, &input.disk);
    let mut rows = 0;
    while let Some(batch) = source.next().unwrap() {
        rows += batch.num_rows();
    }
    assert_eq!(rows, 200_000);
}
