//! The rows of an answer: run to a folder, then printed or put into one file.

use std::{
    io::{self, IsTerminal},
    path::Path,
};

use minispark_engine::{
    disk::{Disk, WriteFile},
    error::Code,
    sink::commit::Published,
};

use super::{ANSWER, Look, file_error, formats, job::Job, table};
use crate::{
    args::files::RowsFormat,
    error::{Error, Exit, Result},
    output::{self, Output, head::Head},
};

/// Where rows go, and in what form.
pub(super) struct Place<'a> {
    pub(super) format: RowsFormat,
    /// A file; stdout where absent.
    pub(super) file: Option<&'a Path>,
    /// The most rows of a table.
    pub(super) show: u64,
}

impl<'a> Place<'a> {
    /// As the arguments say: a table is for people, CSV for programs.
    pub(super) fn of(
        format: Option<RowsFormat>,
        file: Option<&'a Path>,
        show: u64,
        output: Output,
    ) -> Result<Self> {
        let format = match (format, file) {
            (Some(format), _) => format,
            (None, Some(file)) => formats::of_output(file)?.0,
            (None, None) if output.json_asked() => RowsFormat::Json,
            (None, None) if io::stdout().is_terminal() => RowsFormat::Table,
            (None, None) => RowsFormat::Csv,
        };
        if file.is_none()
            && matches!(format, RowsFormat::Parquet | RowsFormat::Arrow)
            && io::stdout().is_terminal()
        {
            return Err(Error::usage("a terminal shows no such bytes")
                .help("name a file by --output, or send stdout to one"));
        }
        Ok(Self { format, file, show })
    }
}

impl Look {
    /// Runs the job and has the rows of its node [`ANSWER`] go where they shall.
    pub(super) fn print(&self, job: &Job, place: &Place<'_>) -> Result<Exit> {
        if let Some(file) = place.file
            && self.disk.exists(file)
        {
            let what = format!("`{}` is there already", file.display());
            return Err(Error::new(Exit::Conflict, Code::OutputExists, what)
                .help("name another file, or remove this one"));
        }
        let folder = self.folder.join("rows");
        let codec = place.file.and_then(formats::codec_of);
        let writer = formats::writer("rows", &folder, place.format, codec.as_deref());
        let job = job.clone().with("rows", writer, &[ANSWER]);
        let published = match self.run(&job)? {
            Ok(published) => published,
            Err(exit) => return Ok(exit),
        };
        match place.file {
            None => self.to_stdout(&published, place)?,
            Some(file) => {
                self.to_file(&published, place.format, file)?;
                let rows = crate::units::show_count(published.rows);
                self.output.say(&format!("{rows} rows in {}", file.display()));
            }
        }
        Ok(Exit::Done)
    }

    fn to_stdout(&self, published: &Published, place: &Place<'_>) -> Result<()> {
        if place.format == RowsFormat::Table {
            let mut text = Vec::new();
            let most = place.show.saturating_add(1);
            self.copy(published, place.format, Some(most), &mut |bytes| {
                text.extend_from_slice(bytes);
                Ok(())
            })?;
            table::print(&text)?;
            if published.rows > place.show {
                let all = crate::units::show_count(published.rows);
                let show = place.show;
                self.output.say(&format!("the first {show} of {all} rows; --format csv has all"));
            }
            return Ok(());
        }
        self.copy(published, place.format, None, &mut |bytes| output::rows(bytes))
    }

    fn to_file(&self, published: &Published, format: RowsFormat, file: &Path) -> Result<()> {
        // Beside its place, so that it appears whole.
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let part = file.with_file_name(format!(".{name}.part"));
        let failed = |error: io::Error| file_error("write", &part, &error);
        let mut writer: Box<dyn WriteFile> = self.disk.create(&part).map_err(failed)?;
        let copied = self
            .copy(published, format, None, &mut |bytes| writer.write_all(bytes).map_err(failed));
        let written = copied.and_then(|()| writer.flush().map_err(failed)).and_then(|()| {
            drop(writer);
            self.disk.rename(&part, file).map_err(|error| file_error("write", file, &error))
        });
        if written.is_err() {
            // The error that is told is the first one.
            drop(self.disk.remove_file(&part));
        }
        written
    }

    /// The bytes of a result as one file's; of text so many lines at most.
    pub(super) fn copy(
        &self,
        published: &Published,
        format: RowsFormat,
        lines: Option<u64>,
        give: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let has_header = matches!(format, RowsFormat::Table | RowsFormat::Csv | RowsFormat::Tsv);
        let mut wanted = Head::new(lines.unwrap_or(u64::MAX), has_header);
        let mut array = (format == RowsFormat::Json).then(Array::default);
        for (number, file) in published.files.iter().enumerate() {
            // Every part of CSV has the header; it is wanted once.
            let mut header = Head::new(u64::from(has_header && number > 0), true);
            let failed = |error: io::Error| file_error("read", &file.path, &error);
            let reader = self.disk.open(&file.path).map_err(failed)?;
            let mut buffer = vec![0; 256 << 10];
            let mut offset = 0;
            loop {
                let read = reader.read_at(&mut buffer, offset).map_err(failed)?;
                if read == 0 || wanted.is_full() {
                    break;
                }
                offset += read as u64;
                let bytes = &buffer[..read];
                let bytes = if header.is_full() {
                    bytes
                } else {
                    let skipped = header.take(bytes).len();
                    &bytes[skipped..]
                };
                match &mut array {
                    Some(array) => array.give(bytes, give)?,
                    None => give(wanted.take(bytes))?,
                }
            }
        }
        match array {
            Some(array) => array.end(give),
            None => Ok(()),
        }
    }
}

/// Objects of a line each as one array.
#[derive(Default)]
struct Array {
    has_begun: bool,
    is_within: bool,
}

impl Array {
    fn give(&mut self, bytes: &[u8], give: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !self.is_within {
                give(if self.has_begun { b",\n  " } else { b"[\n  " })?;
                self.has_begun = true;
            }
            let ends = line.ends_with(b"\n");
            give(if ends { &line[..line.len() - 1] } else { line })?;
            self.is_within = !ends;
        }
        Ok(())
    }

    fn end(&self, give: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        give(if self.has_begun { b"\n]\n" } else { b"[]\n" })
    }
}

#[cfg(test)]
mod tests {
    use super::Array;

    fn array(parts: &[&str]) -> String {
        let (mut array, mut text) = (Array::default(), Vec::new());
        let mut give = |bytes: &[u8]| {
            text.extend_from_slice(bytes);
            Ok(())
        };
        for part in parts {
            array.give(part.as_bytes(), &mut give).unwrap();
        }
        array.end(&mut give).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn lines_become_an_array_wherever_they_are_cut() {
        assert_eq!(array(&[]), "[]\n");
        assert_eq!(array(&["{}\n"]), "[\n  {}\n]\n");
        assert_eq!(array(&["{\"a\"", ":1}\n{", "}", "\n"]), "[\n  {\"a\":1},\n  {}\n]\n");
    }
}
