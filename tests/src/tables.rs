//! What is in a table, for exact comparison.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use weir::env::{Env, Location};
use weir::sink::delta::show;

/// The values of an integer column over all rows, in ascending order; none if
/// there is no table yet.
///
/// # Panics
/// If the table cannot be read.
pub async fn sorted_integers(env: &Env, location: &Location, column: &str) -> Vec<i64> {
    let storage = env.storage(location).expect("the location is usable");
    let columns = [column.to_owned()];
    let rows = match show::first_rows(&storage, usize::MAX, Some(&columns)).await {
        Ok(rows) => rows,
        Err(error) if error.kind() == weir::ErrorKind::Data => return Vec::new(),
        Err(error) => panic!("the table cannot be read: {error}"),
    };
    let mut values: Vec<i64> =
        rows.iter().flat_map(|rows| rows.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    values.sort_unstable();
    values
}
