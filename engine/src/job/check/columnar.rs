//! Readers of files that know their own columns, and columns that folders give.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use arrow::datatypes::{Field, Schema, SchemaRef};

use super::{ProblemCode, fields::Fields, nodes::Binder};
use crate::{
    disk::remote::is_remote,
    expr::parse,
    job::Json,
    plan::{FolderColumn, InputFile, Read},
    source::{columnar::schema::inspect, folders},
};

impl Binder<'_, '_> {
    /// The columns of a columnar reader: those that `columns` names in its order, or all.
    pub(super) fn columnar_schema(
        &mut self,
        fields: &Fields<'_>,
        read: &mut Read,
    ) -> Option<SchemaRef> {
        if let Some(Json::Object(_)) = fields.get("columns") {
            let message =
                "the files know their types: name the columns in a list, and cast in `map`";
            self.report.problem(fields.at("columns"), ProblemCode::WrongType, message);
            return None;
        }
        let chosen = fields.texts("columns", self.report);
        if fields.has("columns") && chosen.is_none() {
            return None;
        }
        let only: Option<Vec<String>> = chosen
            .as_ref()
            .map(|names| names.iter().map(|(name, _)| String::from(*name)).collect());
        let disk = &self.site.data.inputs;
        let found = match inspect(&read.format, &read.files, only.as_deref(), disk) {
            Ok(found) => found,
            Err(error) => {
                self.unreadable(fields, &error);
                return None;
            }
        };
        let mut is_right = true;
        let mut seen = BTreeSet::new();
        for (name, pointer) in chosen.unwrap_or_default() {
            if !seen.insert(name) {
                let message = format!("`{name}` is named a second time");
                self.report.problem(pointer, ProblemCode::DuplicateColumn, message);
                is_right = false;
            } else if !found.names.iter().any(|known| known == name) {
                let suggestion = parse::nearest(name, found.names.iter().map(String::as_str));
                let message = format!("no column `{name}`; there are {}", found.names.join(", "));
                self.report.suggest(pointer, ProblemCode::UnknownColumn, message, suggestion);
                is_right = false;
            }
        }
        read.statistics = found.statistics;
        is_right.then_some(found.schema)
    }

    /// The schema with the columns that the names of folders give behind it; such a column takes
    /// the place of one of the files' own.
    pub(super) fn with_folders(
        &mut self,
        fields: &Fields<'_>,
        hive: Option<bool>,
        schema: SchemaRef,
        read: &mut Read,
    ) -> Option<SchemaRef> {
        if hive == Some(false) {
            return Some(schema);
        }
        let tops = self.folders_read(fields, hive == Some(true));
        let columns = match folder_columns(&read.files, &tops) {
            Ok(columns) => columns,
            Err(message) => {
                self.report.problem(fields.at("path"), ProblemCode::InputUnreadable, message);
                return None;
            }
        };
        if columns.is_empty() {
            return Some(schema);
        }
        let is_own = |name: &String| columns.iter().all(|column| column.name != *name);
        let own = schema.fields().iter().enumerate().filter(|(_, field)| is_own(field.name()));
        let (places, mut all): (Vec<usize>, Vec<Arc<Field>>) =
            own.map(|(place, field)| (place, Arc::clone(field))).unzip();
        if let Some(statistics) = &mut read.statistics {
            let bytes = |place: &usize| statistics.column_bytes.get(*place).copied().unwrap_or(0);
            let kept: Vec<u64> = places.iter().map(bytes).collect();
            statistics.column_bytes = kept;
            statistics.column_bytes.resize(places.len() + columns.len(), 0);
        }
        let field =
            |column: &FolderColumn| Field::new(&column.name, column.data_type.clone(), true);
        all.extend(columns.iter().map(field).map(Arc::new));
        if !read.format.is_columnar() && places.len() < schema.fields().len() {
            let names = columns.iter().map(|column| format!("`{}`", column.name));
            let names = names.collect::<Vec<_>>().join(", ");
            let message = format!(
                "the files have columns of their own that folders give too ({names}); leave the \
                 folders' out with `hive: false`"
            );
            self.report.problem(fields.at("path"), ProblemCode::DuplicateColumn, message);
            return None;
        }
        let all = Arc::new(Schema::new(all));
        read.scan.folders = columns;
        read.scan.schema = Some(Arc::clone(&all));
        Some(all)
    }

    /// The folders that a reader's paths name, below which names give columns; with `everywhere`
    /// all folders do.
    fn folders_read(&self, fields: &Fields<'_>, everywhere: bool) -> Vec<std::path::PathBuf> {
        if everywhere {
            return ["/", "s3:", "gs:", "az:"].map(std::path::PathBuf::from).into();
        }
        let texts = match fields.get("path") {
            Some(Json::Text(text)) => vec![text.as_str()],
            Some(Json::List(items)) => items
                .iter()
                .filter_map(|item| match item {
                    Json::Text(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        };
        let base_dir = self.site.base_dir.as_deref().unwrap_or(Path::new("/"));
        let place = |text| match Path::new(text) {
            url if is_remote(url) => url.to_owned(),
            path => base_dir.join(path),
        };
        texts.into_iter().map(place).collect()
    }
}

/// The columns of the folders between `tops` and the files; all files must have the same.
fn folder_columns(
    files: &[InputFile],
    tops: &[std::path::PathBuf],
) -> Result<Vec<FolderColumn>, String> {
    let below = |file: &InputFile| {
        let rest = tops.iter().find_map(|top| file.path.strip_prefix(top).ok());
        rest.map(folders::of_path).unwrap_or_default()
    };
    let of_files: Vec<_> = files.iter().map(below).collect();
    let Some(first) = of_files.first() else { return Ok(Vec::new()) };
    for (file, found) in files.iter().zip(&of_files) {
        if !found.iter().map(|(name, _)| name).eq(first.iter().map(|(name, _)| name)) {
            let names = |columns: &[(String, Option<String>)]| {
                let names: Vec<_> = columns.iter().map(|(name, _)| name.as_str()).collect();
                if names.is_empty() { String::from("none") } else { names.join(", ") }
            };
            return Err(format!(
                "`{}` lies in folders of other columns ({}) than the files before it ({}); read \
                 them apart, or with `hive: false`",
                file.path.display(),
                names(found),
                names(first)
            ));
        }
    }
    let column = |(place, (name, _)): (usize, &(String, Option<String>))| {
        let values = of_files.iter().map(|found| found[place].1.as_deref());
        FolderColumn { name: name.clone(), data_type: folders::inferred(values) }
    };
    let columns: Vec<FolderColumn> = first.iter().enumerate().map(column).collect();
    let mut seen = BTreeSet::new();
    if let Some(twice) = columns.iter().find(|known| !seen.insert(known.name.clone())) {
        return Err(format!("two folders of one path give the column `{}`", twice.name));
    }
    Ok(columns)
}
