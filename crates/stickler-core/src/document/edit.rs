//! Changes of a cluster document's text that commands make: a backend more, or one less. What else stands in the text,
//! comments and order included, stays as its author wrote it.

use std::net::SocketAddr;

use toml_edit::{
    Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, TomlError, Value, value,
};

/// Why a document's text could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The text can't be read. It was applied, so this is a mistake of ours: apply the whole document instead.
    #[error("the cluster document can't be changed by a command: {0}")]
    Unreadable(#[from] TomlError),
    /// Look the pools up with `stickler pool list`.
    #[error("the cluster document has no pool {0:?}")]
    NoPool(String),
    /// Choose another name, or remove the other one first.
    #[error("pool {pool:?} has a backend {name:?} already, at {address}")]
    Taken {
        /// The pool.
        pool: String,
        /// The backend.
        name: String,
        /// Where that is, as written.
        address: String,
    },
    /// Look the backends up with `stickler backend list`.
    #[error("the cluster document names no backend {name:?} in pool {pool:?}")]
    NoBackend {
        /// The pool.
        pool: String,
        /// The backend.
        name: String,
    },
}

/// A backend as a command gives it. What it leaves out has its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBackend {
    /// Its pool's name.
    pub pool: String,
    /// See [`Backend`](super::cluster::Backend).
    pub name: String,
    /// Where it accepts connections.
    pub address: SocketAddr,
    /// Its share of new sessions.
    pub weight: Option<u32>,
    /// The most sessions that may be bound to it.
    pub max_sessions: Option<u64>,
    /// The most requests that each node has in flight to it.
    pub max_requests: Option<u32>,
    /// What the application calls it.
    pub route: Option<String>,
}

/// The text with one backend more, behind the others of its pool. It is still to be checked.
///
/// # Errors
/// [`EditError`].
pub fn add_backend(source: &str, backend: &NewBackend) -> Result<String, EditError> {
    let mut document: DocumentMut = source.parse()?;
    let pool = pool_named(&mut document, &backend.pool)?;
    if let Some(address) = address_of(pool.get("backend"), &backend.name) {
        let (pool, name) = (backend.pool.clone(), backend.name.clone());
        return Err(EditError::Taken { pool, name, address });
    }
    let written = backend.written();
    match pool.get_mut("backend") {
        Some(Item::ArrayOfTables(tables)) => tables.push(written),
        Some(Item::Value(Value::Array(array))) => array.push(written.into_inline_table()),
        _ => {
            let mut tables = ArrayOfTables::new();
            tables.push(written);
            let array = || tables.clone().into_array();
            let item = if pool.is_inline() {
                Item::Value(Value::Array(array()))
            } else {
                Item::ArrayOfTables(tables)
            };
            pool.insert("backend", item);
        }
    }
    Ok(document.to_string())
}

/// The text with one backend less.
///
/// # Errors
/// [`EditError`].
pub fn remove_backend(source: &str, pool: &str, name: &str) -> Result<String, EditError> {
    let mut document: DocumentMut = source.parse()?;
    let removed = match pool_named(&mut document, pool)?.get_mut("backend") {
        Some(Item::ArrayOfTables(tables)) => {
            let position = tables.iter().position(|table| is_named(table, name));
            position.map(|position| {
                tables.remove(position);
            })
        }
        Some(Item::Value(Value::Array(array))) => {
            let inline = |value: &Value| value.as_inline_table().is_some_and(|table| is_named(table, name));
            let position = array.iter().position(inline);
            position.map(|position| {
                array.remove(position);
            })
        }
        _ => None,
    };
    match removed {
        Some(()) => Ok(document.to_string()),
        None => Err(EditError::NoBackend { pool: pool.to_owned(), name: name.to_owned() }),
    }
}

impl NewBackend {
    fn written(&self) -> Table {
        let mut table = Table::new();
        table.insert("name", value(&self.name));
        table.insert("address", value(self.address.to_string()));
        let numbers = [
            ("weight", self.weight.map(i64::from)),
            ("max_sessions", self.max_sessions.map(|most| i64::try_from(most).unwrap_or(i64::MAX))),
            ("max_requests", self.max_requests.map(i64::from)),
        ];
        for (key, number) in numbers {
            if let Some(number) = number {
                table.insert(key, value(number));
            }
        }
        if let Some(route) = &self.route {
            table.insert("route", value(route));
        }
        table
    }
}

/// Pools, and backends, may be written as tables with headings or in line.
fn pool_named<'d>(document: &'d mut DocumentMut, name: &str) -> Result<&'d mut dyn Pool, EditError> {
    let found: Option<&mut dyn Pool> = match document.get_mut("pool") {
        Some(Item::ArrayOfTables(tables)) => {
            tables.iter_mut().find(|table| is_named(*table, name)).map(|table| table as &mut dyn Pool)
        }
        Some(Item::Value(Value::Array(array))) => {
            let mut inline = array.iter_mut().filter_map(Value::as_inline_table_mut);
            inline.find(|table| is_named(*table, name)).map(|table| table as &mut dyn Pool)
        }
        _ => None,
    };
    found.ok_or_else(|| EditError::NoPool(name.to_owned()))
}

trait Pool: TableLike {
    fn is_inline(&self) -> bool;
}

impl Pool for Table {
    fn is_inline(&self) -> bool {
        false
    }
}

impl Pool for InlineTable {
    fn is_inline(&self) -> bool {
        true
    }
}

fn address_of(backends: Option<&Item>, name: &str) -> Option<String> {
    let address =
        |table: &dyn TableLike| table.get("address").and_then(Item::as_str).unwrap_or_default().to_owned();
    match backends? {
        Item::ArrayOfTables(tables) => {
            tables.iter().find(|table| is_named(*table, name)).map(|table| address(table))
        }
        Item::Value(Value::Array(array)) => {
            in_line(array).find(|table| is_named(*table, name)).map(|table| address(table))
        }
        _ => None,
    }
}

fn in_line(array: &Array) -> impl Iterator<Item = &InlineTable> {
    array.iter().filter_map(Value::as_inline_table)
}

fn is_named(table: &dyn TableLike, name: &str) -> bool {
    table.get("name").and_then(Item::as_str) == Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLES: &str = r#"# the shop
version = 1
[[pool]]
name = "shop" # ours
[[pool.backend]]
# the old one
name = "web-1"
address = "10.0.0.1:80"
[[pool.backend]]
name = "web-2"
address = "10.0.0.2:80"

# what follows stays
[[pool]]
name = "blog"
[[affinity]]
name = "cart"
"#;

    fn backend(pool: &str) -> NewBackend {
        NewBackend {
            pool: pool.to_owned(),
            name: "web-9".to_owned(),
            address: ([10, 0, 0, 9], 80).into(),
            weight: Some(50),
            max_sessions: None,
            max_requests: Some(8),
            route: None,
        }
    }

    #[test]
    fn a_backend_is_added_behind_the_others_of_its_pool_and_the_rest_stays_as_it_is() {
        let text = add_backend(TABLES, &backend("shop")).expect("it is added");
        let added = "\n[[pool.backend]]\nname = \"web-9\"\naddress = \"10.0.0.9:80\"\nweight = 50\nmax_requests = 8\n";
        let position = text.find(added).expect("it is there");
        assert!(position < text.find("# what follows").expect("the rest"), "{text}");
        assert_eq!(text.replacen(added, "", 1).replace('\n', ""), TABLES.replace('\n', ""));
        let text = add_backend(TABLES, &backend("blog")).expect("it is added");
        assert!(text.contains("name = \"blog\"\n\n[[pool.backend]]\nname = \"web-9\""), "{text}");
    }

    #[test]
    fn a_backend_is_taken_out_and_the_rest_stays_as_it_is() {
        let text = remove_backend(TABLES, "shop", "web-1").expect("it is removed");
        let gone = "[[pool.backend]]\n# the old one\nname = \"web-1\"\naddress = \"10.0.0.1:80\"\n";
        assert_eq!(text, TABLES.replacen(gone, "", 1));
    }

    #[test]
    fn pools_and_backends_that_are_written_in_line_can_be_changed_as_well() {
        let inline = "pool = [{ name = \"shop\", backend = [{ name = \"web-1\", address = \"10.0.0.1:80\" }] }, { name = \"blog\" }]\n";
        for pool in ["shop", "blog"] {
            let added = add_backend(inline, &backend(pool)).expect("it is added");
            let removed = remove_backend(&added, pool, "web-9").expect("it is removed");
            assert!(added.contains("\"10.0.0.9:80\"") && !removed.contains("10.0.0.9"), "{added} {removed}");
            assert!(added.parse::<DocumentMut>().is_ok());
        }
    }

    #[test]
    fn what_is_not_there_or_taken_is_said() {
        let error = |changed: Result<String, EditError>| changed.expect_err("it can't be").to_string();
        let taken = NewBackend { name: "web-1".to_owned(), ..backend("shop") };
        assert_eq!(
            error(add_backend(TABLES, &taken)),
            "pool \"shop\" has a backend \"web-1\" already, at 10.0.0.1:80"
        );
        assert_eq!(
            error(add_backend(TABLES, &backend("shopp"))),
            "the cluster document has no pool \"shopp\""
        );
        assert_eq!(
            error(remove_backend(TABLES, "blog", "web-1")),
            "the cluster document names no backend \"web-1\" in pool \"blog\""
        );
    }
}
