//! The inference role: a sample of messages in, a schema out.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::bindings::exports::weir::plugin::inference as wit;
use super::bindings::weir::plugin::columns::VarBytesParam;
use super::columns::{Lowered, from_inference};
use super::parser::Messages;
use super::sandbox::{Failure, Seat};
use super::step::{StepSettings, refused, stands_in_a_step};
use super::{Plugin, Role};
use crate::{Error, Result};

/// What inference was set up with; the same for every instance.
struct Configured {
    config: String,
    indices: wit::GuestIndices,
}

/// A parser that also says which schema fits its messages, for one worker.
pub struct Inference {
    seat: Seat<wit::Guest>,
    configured: Arc<Configured>,
}

stands_in_a_step!(Inference, seat);

impl Inference {
    /// Set up a plugin for inference, with the configuration of its parser.
    ///
    /// # Errors
    /// Config if it cannot infer.
    pub fn new(plugin: &Plugin, settings: &StepSettings) -> Result<Self> {
        plugin.require(Role::Inference)?;
        let indices = wit::GuestIndices::new(plugin.pre()).map_err(|error| {
            Error::config(format!("{} cannot infer by contract 0.1.0", plugin.name())).because(error)
        })?;
        let seat = Seat::new(plugin.clone(), settings.step.clone(), settings.limits);
        Ok(Self { seat, configured: Arc::new(Configured { config: settings.config.to_string(), indices }) })
    }

    /// The same for another worker, with an instance of its own.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { seat: self.seat.fork(), configured: Arc::clone(&self.configured) }
    }

    /// The schema that fits all of these messages, whose fields are those that the
    /// parser asks for. A column without any value has the type [`Null`].
    ///
    /// # Errors
    /// Plugin if it fails; Config with its problems if it refuses.
    ///
    /// [`Null`]: arrow::datatypes::DataType::Null
    pub fn infer(&mut self, messages: Messages<'_>) -> Result<SchemaRef> {
        let configured = Arc::clone(&self.configured);
        let step = self.seat.step().to_owned();
        let answer = self.seat.with(
            |sandbox| sandbox.call(|store, instance| configured.indices.load(&mut *store, instance)),
            |sandbox, guest| {
                let lowered = Lowered::new(messages.fields).map_err(|error| Failure::Invalid(error.to_string()))?;
                let columns = lowered.params();
                let payload = VarBytesParam { offsets: messages.offsets, data: messages.payload };
                let sample = wit::Messages { payload, fields: lowered.batch(&columns) };
                let answer = sandbox.call(|store, _| guest.call_infer(store, &configured.config, sample))?;
                match answer {
                    Ok(schema) => from_inference(schema).map(Ok).map_err(Failure::Invalid),
                    Err(problems) => Ok(Err(problems)),
                }
            },
        );
        let answer =
            answer.map_err(|failure| Error::plugin(format!("{step} cannot infer a schema")).because(failure))?;
        answer.map_err(|problems| Error::from(refused(problems)).during(format!("{step} cannot infer a schema")))
    }
}
