//! `generate`: data from a seed, into a file or a pipe.

use std::{
    fs,
    io::{self, BufWriter, Write},
    num::NonZeroU64,
    path::{Path, PathBuf},
};

use minispark_engine::{
    disk::{Disk, RealDisk},
    error::Code,
};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    args::generate::{Common, Generate},
    error::{Error, Exit, Result},
    generate::{
        Amount, Made, Rows,
        dirty::{self, Defect, Dirty},
        shop::{PRODUCTS_HEADER, Products, SALES_HEADER, Sales},
        text::Text,
        write,
    },
    output::{self, Output},
    units::{show_bytes, show_count},
};

/// What is collected before it is written.
const BUFFER_BYTES: usize = 1 << 20;

/// Makes the data, and tells how much of what it made: in a line on stderr or, with `--json`, in a
/// document on stdout (on stderr where stdout has the data).
///
/// # Errors
/// Where the output can't be written.
pub(crate) fn generate(args: &Generate, output: Output) -> Result<Exit> {
    match args {
        Generate::Text(args) => {
            let words = args.words.0..=args.words.1;
            let seed = args.common.seed;
            let mut rows = Text::new(seed, at_least_one(args.vocabulary), args.zipf, words);
            let made = put(&mut rows, None, &args.common)?;
            tell(&args.common, made, None, output)
        }
        Generate::Sales(args) => {
            let seed = args.common.seed;
            let mut rows = Sales::new(seed, at_least_one(args.products), args.zipf);
            let made = put(&mut rows, args.header.then_some(SALES_HEADER), &args.common)?;
            tell(&args.common, made, None, output)
        }
        Generate::Products(args) => {
            let mut rows = Products::new(args.common.seed);
            let made = put(&mut rows, args.header.then_some(PRODUCTS_HEADER), &args.common)?;
            tell(&args.common, made, None, output)
        }
        Generate::Dirty(args) => {
            let kinds =
                if args.kinds.is_empty() { Defect::USUAL.to_vec() } else { args.kinds.clone() };
            let mut rows = Dirty::new(args.common.seed, args.bad, kinds, args.long);
            let made = put(&mut rows, args.header.then_some(dirty::HEADER), &args.common)?;
            tell(&args.common, made, Some(&rows), output)
        }
    }
}

/// The number, whose least value the command line has checked.
fn at_least_one(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN)
}

/// Writes the rows to where they belong.
fn put(rows: &mut dyn Rows, header: Option<&str>, common: &Common) -> Result<Made> {
    let amount = match (common.rows, common.size) {
        (Some(count), _) => Amount::Rows(count),
        (None, Some(bytes)) => Amount::Bytes(bytes),
        (None, None) => return Err(Error::usage("how much? Name --rows or --size")),
    };
    let path = &common.output;
    if path == Path::new("-") {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock());
        let made = write(rows, header, amount, &mut out)?;
        out.flush()?;
        return Ok(made);
    }
    let failed = |error: io::Error| {
        let what = format!("cannot write `{}`: {error}", path.display());
        let code = match error.kind() {
            io::ErrorKind::StorageFull => Code::DiskFull,
            _ => Code::BadRequest,
        };
        Error::new(Exit::Other, code, what)
    };
    let disk = RealDisk;
    // A pipe or a device takes the data as it comes; a file appears when it is whole.
    let is_special = fs::metadata(path).is_ok_and(|found| !found.is_file());
    let target = if is_special { path.clone() } else { part_of(path) };
    let written = (|| {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, disk.create(&target)?);
        let made = write(rows, header, amount, &mut out)?;
        out.flush()?;
        Ok(made)
    })();
    let placed = match written {
        Ok(made) if is_special => Ok(made),
        Ok(made) => disk.rename(&target, path).map(|()| made),
        Err(error) => Err(error),
    };
    placed.map_err(|error| {
        if !is_special {
            // What failed is told; what is left of the data helps nobody.
            drop(disk.remove_file(&target));
        }
        failed(error)
    })
}

/// The name of a file that is not whole yet.
fn part_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.part"))
}

/// What was made.
#[derive(Serialize)]
struct Document<'a> {
    path: &'a Path,
    seed: u64,
    rows: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bad_rows: Option<Map<String, Value>>,
}

fn tell(common: &Common, made: Made, dirty: Option<&Dirty>, output: Output) -> Result<Exit> {
    let counts = dirty.map(Dirty::counts);
    if output.json_asked() {
        let bad_rows = counts.map(|counts| {
            counts.iter().map(|one| (one.defect.name().to_owned(), one.rows.into())).collect()
        });
        let Made { rows, bytes } = made;
        let document = Document { path: &common.output, seed: common.seed, rows, bytes, bad_rows };
        if common.output == Path::new("-") {
            output.say(&serde_json::to_string_pretty(&document).map_err(io::Error::from)?);
        } else {
            output::document(&document)?;
        }
        return Ok(Exit::Done);
    }
    let (rows, bytes) = (show_count(made.rows), show_bytes(made.bytes));
    let mut parts = vec![format!("{rows} rows"), bytes];
    let counts = counts.into_iter().flatten();
    parts.extend(counts.map(|one| format!("{} {}", show_count(one.rows), one.defect.name())));
    output.say(&parts.join(", "));
    Ok(Exit::Done)
}
