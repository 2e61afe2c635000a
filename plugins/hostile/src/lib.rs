//! A plugin that misbehaves as its configuration says, for the tests of the
//! host: `{"mode": "trap", "when": "poison"}`.
//!
//! Without a mode, and for chunks in which `when` does not occur or no row has
//! the `number` that is `poison`, it is a parser of one `text` for each message,
//! a transform that returns its input, an aggregator with the sum of the integer
//! column `number`, and a rule that raises an alert with the `number` of each
//! row, or with the sum of its group so far where it is `keyed`; so a test sees
//! both sides of a fault. The modes are listed in `mode`.

mod mischief;
mod mode;
mod stateful;

use mode::{Mode, Settings};
use stateful::Sum;
use weir_plugin::build::BytesBuilder;
use weir_plugin::{
    Batch, Error, Groups, Manifest, Messages, Parsed, ParserInfo, Plugin, Problem, Schema, TransformInfo, Transformed,
    Values,
};

struct Hostile {
    settings: Settings,
    calls: u32,
    sums: Groups<Sum>,
    hoard: Vec<Vec<u8>>,
}

impl Hostile {
    fn configure(config: &str) -> Result<Self, Vec<Problem>> {
        let settings = Settings::new(config)?;
        mischief::at_configure(&settings)?;
        Ok(Self { settings, calls: 0, sums: Groups::default(), hoard: Vec::new() })
    }

    /// The mode for this call: the one configured, if `when` is in the input.
    fn mode<'a>(&mut self, mut inputs: impl Iterator<Item = &'a [u8]>) -> Mode {
        self.calls += 1;
        let when = self.settings.when.as_bytes();
        let poisoned = when.is_empty() || inputs.any(|input| input.windows(when.len()).any(|window| window == when));
        if poisoned { self.settings.mode } else { Mode::Behave }
    }
}

impl Plugin for Hostile {
    fn manifest() -> Manifest {
        Manifest::new("hostile", env!("CARGO_PKG_VERSION"), "Misbehaves, for tests.", &mode::schema())
    }
}

impl weir_plugin::Parser for Hostile {
    fn configure(config: &str, _stored: Option<Schema>) -> Result<(Self, ParserInfo), Vec<Problem>> {
        let output = Schema::builder().utf8("text").build();
        Ok((Self::configure(config)?, ParserInfo { output, message_fields: Vec::new() }))
    }

    fn parse(&mut self, chunk: Messages) -> Result<Parsed, Error> {
        let mode = self.mode(chunk.payloads());
        mischief::before(mode, self.calls, self.settings.count)?;
        let mut text = BytesBuilder::with_capacity(chunk.len(), chunk.payload.data.len());
        chunk.payloads().for_each(|payload| text.push(payload));
        let count = u32::try_from(chunk.len()).map_err(|_| Error::new("too many messages"))?;
        let rows = Batch { rows: count, columns: vec![text.into_utf8()] };
        let mut parsed = Parsed { rows, origins: (0..count).collect(), rejected: Vec::new() };
        mischief::spoil(mode, &mut parsed.rows, &mut parsed.origins, &mut parsed.rejected, self.settings.count);
        Ok(parsed)
    }
}

impl weir_plugin::Transform for Hostile {
    fn configure(config: &str, input: Schema) -> Result<(Self, TransformInfo), Vec<Problem>> {
        let columns = input.top_level().map(|field| field.name.clone()).collect();
        Ok((Self::configure(config)?, TransformInfo { columns, output: input, carried: Vec::new() }))
    }

    fn apply(&mut self, rows: Batch) -> Result<Transformed, Error> {
        let texts = rows.columns.iter().filter_map(|column| match &column.values {
            Values::Utf8(texts) => Some(texts.data.as_slice()),
            _ => None,
        });
        let mode = self.mode(texts);
        mischief::before(mode, self.calls, self.settings.count)?;
        let origins = (0..rows.rows).collect();
        let mut transformed = Transformed { rows, origins, rejected: Vec::new() };
        let Transformed { rows, origins, rejected } = &mut transformed;
        mischief::spoil(mode, rows, origins, rejected, self.settings.count);
        Ok(transformed)
    }
}

weir_plugin::export!(Hostile: parser, transform, aggregator, rule);
