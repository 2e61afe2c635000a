//! What the bundled rules share: conditions on one column, templates of
//! messages, and the part of a configuration that names an alert.
//!
//! `condition` judges a column at a time, `template` writes a message for a row,
//! `alarm` reads both from JSON and reports every fault at once.
//!
//! Invariants: a null meets no condition but `is_null`; NaN is greater than any
//! number; judging rows allocates nothing.

mod alarm;
mod condition;
mod template;

#[cfg(test)]
mod tests;

pub use alarm::{Alarm, Place, schema_properties};
pub use condition::Condition;
pub use template::Template;

use weir_plugin::{DataType, Schema};

/// The input columns that a rule needs, each once.
///
/// None of them has children, so the index of a name is also the position of
/// the column in a batch.
#[derive(Clone, Debug)]
pub struct Columns<'a> {
    input: &'a Schema,
    names: Vec<String>,
}

impl<'a> Columns<'a> {
    /// None yet, of rows of this schema.
    #[must_use]
    pub fn new(input: &'a Schema) -> Self {
        Self { input, names: Vec::new() }
    }

    /// Ask for a column; its position and type.
    ///
    /// # Errors
    /// There is no such column, or nothing can be said about its type.
    pub fn want(&mut self, name: &str) -> Result<(usize, DataType), String> {
        let Some(position) = self.input.position(name) else {
            let known: Vec<&str> = self.input.top_level().map(|field| field.name.as_str()).collect();
            return Err(format!("there is no column '{name}'; there are {}", known.join(", ")));
        };
        let data_type = self.input.fields[position].data_type;
        if matches!(data_type, DataType::Binary | DataType::List | DataType::Struct) {
            return Err(format!("column '{name}' is {}, which rules cannot read", data_type.name()));
        }
        let known = self.names.iter().position(|known| known == name);
        let index = known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        Ok((index, data_type))
    }

    /// The names, as `configure` announces them.
    #[must_use]
    pub fn into_names(self) -> Vec<String> {
        self.names
    }
}
