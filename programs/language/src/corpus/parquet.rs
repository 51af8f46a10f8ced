//! Parquet: one column of strings or bytes is the text.
//!
//! Row groups are read one after the other, and of each only the text column, page by page.

use super::CorpusError;
use super::content::{Rows, TEXT_FIELDS, letters};
use super::files::at;
use ::parquet::basic::{ConvertedType, LogicalType, Type};
use ::parquet::column::reader::ColumnReader;
use ::parquet::data_type::ByteArray;
use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::schema::types::ColumnDescriptor;
use std::cmp::Reverse;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// What is done with the number and the bytes of a row's value.
type Take<'a> = dyn FnMut(u64, &[u8]) -> Result<(), CorpusError> + 'a;

/// Values that are read at once.
const BATCH: usize = 1_024;

/// The texts of the file's rows. A row whose text is null has none.
pub(super) fn read(path: &Path, field: Option<&str>) -> Result<Rows, CorpusError> {
    let file = File::open(path).map_err(at(path))?;
    // On some damage the crate panics: of 32,000 changed files 21 met an assertion of its own, such as one for
    // a page's place in the file, which is below zero then. Such a file is an error like any other here, though
    // the process's panic hook has told of it already.
    let parsed = catch_unwind(AssertUnwindSafe(|| Table::open(path, file)?.texts(field)));
    parsed.unwrap_or_else(|_| Err(wrong(path, "it is damaged; copy or download it again")))
}

/// An open file.
struct Table<'a> {
    path: &'a Path,
    reader: SerializedFileReader<File>,
}

impl<'a> Table<'a> {
    fn open(path: &'a Path, file: File) -> Result<Self, CorpusError> {
        let reader = SerializedFileReader::new(file).map_err(|error| unreadable(path, &error))?;
        Ok(Self { path, reader })
    }

    fn texts(&self, field: Option<&str>) -> Result<Rows, CorpusError> {
        let column = self.text_column(field)?;
        let mut rows = Rows::default();
        let mut done = 0;
        for group in 0..self.reader.num_row_groups() {
            done = self.visit(group, column, done, &mut |row, value| {
                let text = std::str::from_utf8(value).map_err(|_| {
                    let what = format!("row {row} is not UTF-8; write it anew as UTF-8");
                    wrong(self.path, &what)
                })?;
                rows.push(text);
                Ok(())
            })?;
        }
        Ok(rows)
    }

    /// Which column is the text: the one called `field`, or one whose name says so, else the one with most
    /// letters in the first row group.
    fn text_column(&self, field: Option<&str>) -> Result<usize, CorpusError> {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        let columns: Vec<(usize, String)> = (0..schema.num_columns())
            .filter(|&i| may_be_text(&schema.column(i)))
            .map(|i| (i, schema.column(i).path().string()))
            .collect();
        let called = |wanted: &str| columns.iter().find(|(_, name)| name == wanted).map(|(i, _)| *i);
        if let Some(field) = field {
            return called(field).ok_or_else(|| self.lacks(field));
        }
        if let Some(column) = TEXT_FIELDS.iter().find_map(|name| called(name)) {
            return Ok(column);
        }
        let mut best = None;
        for &(column, _) in &columns {
            let mut count = 0;
            if self.reader.num_row_groups() > 0 && columns.len() > 1 {
                self.visit(0, column, 0, &mut |_, value| {
                    // Bytes that are no text, such as pictures, have no letters.
                    count += std::str::from_utf8(value).map_or(0, letters);
                    Ok(())
                })?;
            }
            // The first of several with as many.
            best = best.max(Some((count, Reverse(column))));
        }
        best.map(|(_, Reverse(column))| column)
            .ok_or_else(|| self.lacks(""))
    }

    /// Calls `take` with the number, from 1, and the bytes of each value in a row group that is not null.
    /// There are `before` rows before it; returns how many there are up to its end.
    fn visit(
        &self,
        group: usize,
        column: usize,
        before: u64,
        take: &mut Take<'_>,
    ) -> Result<u64, CorpusError> {
        let unreadable = |error: ParquetError| unreadable(self.path, &error);
        let group = self.reader.get_row_group(group).map_err(unreadable)?;
        let present = group.metadata().schema_descr().column(column).max_def_level();
        let ColumnReader::ByteArrayColumnReader(mut reader) =
            group.get_column_reader(column).map_err(unreadable)?
        else {
            return Err(wrong(
                self.path,
                "its text column is of another type than it says",
            ));
        };
        let wanted = before + u64::try_from(group.metadata().num_rows()).unwrap_or(0);
        let (mut row, mut values, mut levels) = (before, Vec::<ByteArray>::new(), Vec::new());
        loop {
            values.clear();
            levels.clear();
            let read = reader.read_records(BATCH, Some(&mut levels), None, &mut values);
            let (records, _, _) = read.map_err(unreadable)?;
            if records == 0 {
                break;
            }
            let mut values = values.iter();
            for i in 0..records {
                row += 1;
                let is_null = present > 0 && levels.get(i) != Some(&present);
                if let Some(value) = (!is_null).then(|| values.next()).flatten() {
                    take(row, value.data())?;
                }
            }
        }
        if row != wanted {
            let what = format!("{row} rows were found where {wanted} belong; copy or download it again");
            return Err(wrong(self.path, &what));
        }
        Ok(row)
    }

    /// No column is called `field`, or could be.
    fn lacks(&self, field: &str) -> CorpusError {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        let columns = schema.columns().iter();
        CorpusError::NoField {
            place: self.path.display().to_string(),
            field: field.to_owned(),
            has: columns
                .map(|column| format!("{:?} ({})", column.path().string(), kind(column)))
                .collect(),
        }
    }
}

/// One string, or bytes that may be one, in a row.
fn may_be_text(column: &ColumnDescriptor) -> bool {
    let plain = matches!(
        column.logical_type_ref(),
        None | Some(LogicalType::String | LogicalType::Json | LogicalType::Enum)
    );
    let converted = matches!(
        column.converted_type(),
        ConvertedType::NONE | ConvertedType::UTF8 | ConvertedType::JSON | ConvertedType::ENUM
    );
    column.physical_type() == Type::BYTE_ARRAY && column.max_rep_level() == 0 && plain && converted
}

fn kind(column: &ColumnDescriptor) -> String {
    match column.physical_type() {
        _ if column.max_rep_level() > 0 => "a list".to_owned(),
        Type::BYTE_ARRAY => "text".to_owned(),
        other => other.to_string().to_lowercase(),
    }
}

fn unreadable(path: &Path, error: &ParquetError) -> CorpusError {
    let (what, attempt) = match error {
        ParquetError::General(what) if what.contains("feature") => (
            what.as_str(),
            "write it anew with snappy, gzip, zstd or no compression",
        ),
        ParquetError::NYI(what) => (what.as_str(), "write it anew, with plainer settings"),
        ParquetError::General(what) | ParquetError::EOF(what) => {
            (what.as_str(), "if it is not whole, copy or download it again")
        }
        other => (
            &*other.to_string(),
            "if it is not whole, copy or download it again",
        ),
    };
    wrong(path, &format!("{what}; {attempt}"))
}

fn wrong(path: &Path, what: &str) -> CorpusError {
    CorpusError::Parquet {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}
