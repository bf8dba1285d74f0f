//! Reads tables of a parsed document, and notes every key that is missing, unknown, or holds what it
//! should not. Serde would stop at the first of them.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problems;
use super::report::{Complaint, Place, Report, did_you_mean, quoted};
use super::values;
use super::written::Written;

/// The most bytes of a document's text.
const MAX_TEXT: usize = 1024 * 1024;

/// The one version of both documents' written form.
const VERSION: u64 = 1;

/// Parses a document and has `check` read and check it. When `check` gives `None`, it has reported why.
/// `what` is how messages call the document.
pub(super) fn read_document<T>(
    file: &str,
    text: &str,
    what: &'static str,
    check: impl FnOnce(TableReader<'_>) -> Option<T>,
) -> Result<T, Problems> {
    let mut report = Report::new(file, text);
    if text.len() > MAX_TEXT {
        report.add(&(0..0), Complaint::new(format!("{what} is longer than 1MiB")));
        return report.finish(None);
    }
    let (root, errors) = DeTable::parse_recoverable(text);
    report.add_syntax(&errors);
    let mut reader = TableReader::new(&report, root.get_ref(), what, 0..0);
    let version = reader.required("version", "1", values::integer);
    let checked = match version {
        Some(version) if *version.get_ref() != VERSION => {
            let complaint = Complaint::new(format!("`version` {} is unknown here", version.get_ref()));
            report.add(&version.span(), complaint.help(format!("this build reads version {VERSION}")));
            None
        }
        _ => check(reader),
    };
    report.finish(checked)
}

/// One table of a document that is being read. The keys it was asked for are those it may hold.
pub(super) struct TableReader<'d> {
    /// Where problems go.
    pub report: &'d Report<'d>,
    /// The table's header or opening brace.
    pub place: Place,
    /// What messages call the table.
    pub heading: &'static str,
    table: &'d DeTable<'d>,
    asked: Vec<&'static str>,
}

impl<'d> TableReader<'d> {
    fn new(report: &'d Report<'d>, table: &'d DeTable<'d>, heading: &'static str, place: Place) -> Self {
        Self { report, place, table, heading, asked: Vec::new() }
    }

    /// The value of `key`; `None` when the key is not there, or after its problem was added.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Complaint>,
    ) -> Option<Spanned<T>> {
        let value = self.value(key)?;
        self.read(key, value, read)
    }

    /// Like [`optional`](Self::optional), and adds a problem when the key is not there. `example` is a
    /// value as one would write it.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Complaint>,
    ) -> Option<Spanned<T>> {
        if !self.table.contains_key(key) {
            self.missing(key, &format!("{key} = {example}"));
        }
        self.optional(key, read)
    }

    /// Whether `key` is there, readable or not.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The values of the array `key`, each read by itself; `None` when the key is not there, or after its
    /// problem was added. `what` is how messages call its values; more than `most` are a problem.
    pub fn list<T>(
        &mut self,
        key: &'static str,
        what: &'static str,
        most: usize,
        read: impl Fn(&DeValue<'_>) -> Result<T, Complaint>,
    ) -> Written<Vec<Written<T>>> {
        let value = self.value(key)?;
        let DeValue::Array(array) = value.get_ref() else {
            let found = values::kind(value.get_ref());
            let complaint = Complaint::new(format!("`{key}` must be an array of {what}, not {found}"));
            self.report.add(&value.span(), complaint.help("put it in square brackets"));
            return None;
        };
        if let Some(first) = array.get(most) {
            self.report.add(&first.span(), Complaint::new(format!("more than {most} {what} in `{key}`")));
        }
        let entries = array.iter().take(most).map(|entry| self.read(key, entry, &read));
        Some(Spanned::new(value.span(), entries.collect()))
    }

    /// The table `key`, which `heading` names in messages.
    pub fn table(&mut self, key: &'static str, heading: &'static str) -> Option<TableReader<'d>> {
        let value = self.value(key)?;
        let table = self.as_table(value, heading)?;
        Some(TableReader::new(self.report, table, heading, value.span()))
    }

    /// The tables of the array `key`, which `heading` names in messages; none when the key is not there.
    /// More than `most` are a problem.
    pub fn tables(&mut self, key: &'static str, heading: &'static str, most: usize) -> Vec<TableReader<'d>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let DeValue::Array(array) = value.get_ref() else {
            let complaint = Complaint::new(format!("`{key}` must be an array of tables"));
            self.report.add(&value.span(), complaint.help(format!("write {heading}")));
            return Vec::new();
        };
        if let Some(first) = array.get(most) {
            self.report.add(&first.span(), Complaint::new(format!("more than {most} of {heading}")));
        }
        array
            .iter()
            .take(most)
            .filter_map(|entry| {
                let table = self.as_table(entry, heading)?;
                Some(TableReader::new(self.report, table, heading, entry.span()))
            })
            .collect()
    }

    /// Like [`tables`](Self::tables), and adds a problem when there is none. `example` is what to add.
    pub fn required_tables(
        &mut self,
        key: &'static str,
        heading: &'static str,
        most: usize,
        example: &str,
    ) -> Vec<TableReader<'d>> {
        let nothing = self.table.get(key).is_none_or(|value| match value.get_ref() {
            DeValue::Array(array) => array.is_empty(),
            _ => false,
        });
        if nothing {
            self.missing(key, example);
        }
        self.tables(key, heading, most)
    }

    fn read<T>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Complaint>,
    ) -> Written<T> {
        match read(value.get_ref()) {
            Ok(read) => Some(Spanned::new(value.span(), read)),
            Err(Complaint { message, suggestion }) => {
                let complaint = Complaint { message: format!("`{key}` {message}"), suggestion };
                self.report.add(&value.span(), complaint);
                None
            }
        }
    }

    fn missing(&self, key: &str, example: &str) {
        let complaint = Complaint::new(format!("`{key}` is missing from {}", self.heading));
        self.report.add_missing(&self.place, complaint.help(format!("add {example}")));
    }

    /// Every key of the table with its value, whatever the keys are called.
    pub fn entries(&self) -> impl Iterator<Item = (&'d str, &'d Spanned<DeValue<'d>>)> {
        self.table.iter().map(|(key, value)| (&**key.get_ref(), value))
    }

    /// Adds a problem for each key that nobody asked for.
    pub fn finish(self) {
        for (key, _) in self.table.iter().filter(|(key, _)| !self.asked.contains(&&**key.get_ref())) {
            let complaint =
                Complaint::new(format!("unknown key {} in {}", quoted(key.get_ref()), self.heading));
            let complaint = match did_you_mean(key.get_ref(), self.asked.iter().copied()) {
                Some(known) => complaint.help(format!("did you mean `{known}`?")),
                None => complaint.help(format!("the keys are {}", self.asked.join(", "))),
            };
            self.report.add(&key.span(), complaint);
        }
    }

    fn value(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.asked.push(key);
        self.table.get(key)
    }

    fn as_table(&self, value: &'d Spanned<DeValue<'d>>, heading: &str) -> Option<&'d DeTable<'d>> {
        match value.get_ref() {
            DeValue::Table(table) => Some(table),
            other => {
                let found = values::kind(other);
                let complaint = Complaint::new(format!("{heading} must be a table, not {found}"));
                self.report.add(&value.span(), complaint.help(format!("write {heading}")));
                None
            }
        }
    }
}
