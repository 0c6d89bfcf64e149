//! [`Scan`]: which of its files' columns and rows a reader gives, and what is known of them.
//!
//! A reader's node is made with all columns; rules take some away and add predicates.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::{
    expr::{BinaryOp, Expr, Predicate},
    formats::Format,
    plan::{InputFile, Read},
};

/// What of its files a reader gives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scan {
    /// All columns that could be read, those of partition folders last. Absent where the node's
    /// own schema has them all and no folder adds any.
    #[serde(default)]
    pub schema: Option<SchemaRef>,
    /// The columns that are read, as places in `schema`, in the order of the node's schema; all
    /// where absent.
    #[serde(default)]
    pub projection: Option<Vec<usize>>,
    /// Bound to the node's own schema, behind the projection. A hint: rows for which it is not
    /// true may be left out, or not.
    #[serde(default)]
    pub predicate: Option<Predicate>,
    /// The columns that folders named `column=value` give, which end `schema`.
    #[serde(default)]
    pub folders: Vec<FolderColumn>,
}

/// A column whose value stands in the name of a folder, the same for all rows of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderColumn {
    /// The name before the `=`.
    pub name: String,
    /// int64, date or string.
    pub data_type: DataType,
}

/// What files say of their rows before these are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadStatistics {
    /// All rows.
    pub rows: u64,
    /// The bytes of each column's values, uncompressed; as many as the scan's schema has columns.
    pub column_bytes: Vec<u64>,
}

impl Read {
    /// A reader of all columns and rows.
    pub fn of(format: Format, files: Vec<InputFile>, partitions: Option<u32>) -> Self {
        Self { format, files, partitions, scan: Scan::default(), statistics: None }
    }

    /// Reads only these columns, places in the node's schema as it is; returns the new schema.
    ///
    /// A predicate that is there must be bound anew by the caller, who binds other nodes too.
    pub fn project(&mut self, schema: &SchemaRef, columns: &[usize]) -> SchemaRef {
        let fields = columns.iter().filter_map(|column| schema.fields().get(*column)).cloned();
        let projected = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        self.scan.projection = Some(match self.scan.projection.take() {
            Some(before) => {
                columns.iter().filter_map(|column| before.get(*column).copied()).collect()
            }
            None => columns.to_vec(),
        });
        self.scan.schema.get_or_insert_with(|| Arc::clone(schema));
        projected
    }

    /// Adds a predicate over the node's schema to the one that is there.
    pub fn restrict(&mut self, predicate: Predicate) {
        self.scan.predicate = Some(match self.scan.predicate.take() {
            Some(Predicate(before)) => Predicate(Expr::Binary {
                op: BinaryOp::And,
                left: Box::new(before),
                right: Box::new(predicate.0),
                data_type: DataType::Boolean,
            }),
            None => predicate,
        });
    }

    /// The rows of its files, where they say so; predicates are not looked at.
    pub fn estimated_rows(&self) -> Option<u64> {
        self.statistics.as_ref().map(|statistics| statistics.rows)
    }

    /// The bytes of the columns that are read: of their values where the files tell, else the
    /// files' own sizes.
    pub fn estimated_bytes(&self) -> u64 {
        let Some(statistics) = &self.statistics else {
            return self.files.iter().map(|file| file.size_bytes).sum();
        };
        let bytes = |column: &usize| statistics.column_bytes.get(*column).copied().unwrap_or(0);
        match &self.scan.projection {
            Some(columns) => columns.iter().map(bytes).sum(),
            None => statistics.column_bytes.iter().sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};

    use super::ReadStatistics;
    use crate::{
        expr::parse,
        formats::{Format, intake::Intake},
        plan::Read,
    };

    #[test]
    fn projections_follow_one_another_and_sizes_follow_them() {
        let field = |name| Field::new(name, DataType::Int64, true);
        let schema = Arc::new(Schema::new(vec![field("a"), field("b"), field("c")]));
        let mut read = Read::of(Format::Text(Intake::default()), Vec::new(), None);
        read.statistics = Some(ReadStatistics { rows: 5, column_bytes: vec![1, 20, 300] });
        assert_eq!((read.estimated_rows(), read.estimated_bytes()), (Some(5), 321));
        let two = read.project(&schema, &[2, 1]);
        let one = read.project(&two, &[0]);
        assert_eq!(one.field(0).name(), "c");
        assert_eq!(read.scan.projection, Some(vec![2]));
        assert_eq!(read.scan.schema, Some(schema));
        assert_eq!(read.estimated_bytes(), 300);
        for text in ["c > 1", "c < 5"] {
            read.restrict(parse::predicate(text, &one).unwrap());
        }
        let expected = parse::predicate("c > 1 and c < 5", &one).unwrap();
        assert_eq!(read.scan.predicate, Some(expected));
    }
}
