//! A transform that returns its input as it is.
//!
//! The smallest example of a transform, and the probe with which the cost of
//! the boundary is measured: everything crosses it, nothing is computed.

use weir_plugin::{Batch, Error, Manifest, Plugin, Problem, Schema, Transform, TransformInfo, Transformed};

struct Identity;

impl Plugin for Identity {
    fn manifest() -> Manifest {
        Manifest::new(
            "identity",
            env!("CARGO_PKG_VERSION"),
            "Returns its input as it is.",
            r#"{"type": "object", "additionalProperties": false}"#,
        )
    }
}

impl Transform for Identity {
    fn configure(_config: &str, input: Schema) -> Result<(Self, TransformInfo), Vec<Problem>> {
        let columns = input.top_level().map(|field| field.name.clone()).collect();
        Ok((Self, TransformInfo { columns, output: input, carried: Vec::new() }))
    }

    fn apply(&mut self, rows: Batch) -> Result<Transformed, Error> {
        let origins = (0..rows.rows).collect();
        Ok(Transformed { rows, origins, rejected: Vec::new() })
    }
}

weir_plugin::export_transform!(Identity);
