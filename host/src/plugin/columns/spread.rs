//! Values that a plugin asks to be repeated, bounded before memory is taken.

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::DataType;

/// The values of a column at these rows, if they take no more than `max_bytes`.
///
/// A plugin chooses the rows: one long value, repeated for each of a million
/// rows, must not take the host's memory.
///
/// Fails with how much they would take.
pub fn spread(column: &ArrayRef, rows: &UInt32Array, max_bytes: usize) -> Result<ArrayRef, String> {
    let bytes = bytes_at(column.as_ref(), rows.values());
    if bytes > max_bytes {
        return Err(format!("its rows repeat input of {bytes} bytes in all, more than the {max_bytes} allowed"));
    }
    take(column, rows, None).map_err(|error| error.to_string())
}

/// About how many bytes the values at these rows take; exact for texts and bytes.
fn bytes_at(column: &dyn Array, rows: &[u32]) -> usize {
    let at = |offsets: &[i32]| -> usize {
        let length = |row: &u32| offsets[*row as usize + 1].abs_diff(offsets[*row as usize]) as usize;
        rows.iter().map(length).fold(0, usize::saturating_add)
    };
    let fixed = rows.len().saturating_mul(size_of::<i64>());
    match column.data_type() {
        DataType::Utf8 => fixed.saturating_add(at(column.as_string::<i32>().value_offsets())),
        DataType::Binary => fixed.saturating_add(at(column.as_binary::<i32>().value_offsets())),
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            // Items as large as they are on average.
            let each = list.values().get_array_memory_size() / list.values().len().max(1);
            fixed.saturating_add(at(list.value_offsets()).saturating_mul(each))
        }
        DataType::Struct(_) => {
            let children = column.as_struct().columns();
            children.iter().map(|child| bytes_at(child.as_ref(), rows)).fold(fixed, usize::saturating_add)
        }
        _ => fixed,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    fn check(column: ArrayRef, rows: Vec<u32>, max_bytes: usize, fits: bool) {
        let count = rows.len();
        match spread(&column, &UInt32Array::from(rows), max_bytes) {
            Ok(values) => assert!(fits && values.len() == count),
            Err(reason) => assert!(!fits && reason.contains("bytes"), "{reason}"),
        }
    }

    #[test]
    fn long_values_are_not_repeated_beyond_the_bound() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1000), "y".to_owned()]));
        check(Arc::clone(&texts), vec![0, 0, 1], 3000, true);
        check(Arc::clone(&texts), vec![0; 1000], 100_000, false);
        check(Arc::clone(&texts), vec![1; 1000], 100_000, true);
        check(Arc::new(Int64Array::from(vec![1])), vec![0; 1000], 1000, false);
    }
}
