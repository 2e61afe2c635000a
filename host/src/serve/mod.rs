//! A running pipeline over HTTP: what it does, and the swap of its plugins.
//!
//! Reading is open to whoever can reach the address, which is the loopback by
//! default; changing needs a token. The room knows what a run tells and takes, and
//! nothing of how it is done.
//!
//! | method and path | |
//! |---|---|
//! | `GET /healthz` | 200 as long as the process answers |
//! | `GET /readyz` | 200 once the pipeline has recovered and reads, else 503 |
//! | `GET /progress?last=N` | the last progress records, JSON |
//! | `GET /plugins` | which version has which step since when, JSON |
//! | `GET /metrics` | counters and gauges in the text format of Prometheus |
//! | `POST /plugins/STEP/swap` | let the component that is the body have a step |
//! | `POST /plugins/STEP/rollback` | let an earlier version have it |
//! | `POST /reload` | read the pipeline file again, as SIGHUP does |
//!
//! Invariants:
//! - a body is bounded, and so are the connections and the time that a client may take
//!   to say what it wants;
//! - the token and the configuration of plugins are in no answer.
//!
//! | file | job |
//! |---|---|
//! | `board` | remembers what the run tells |
//! | `metrics` | counts it |
//! | `routes` | paths → answers |
//! | `listen` | connections, with their limits |

mod board;
mod listen;
mod metrics;
mod routes;

pub use board::Board;
pub use listen::listen;
pub use routes::{MAX_BODY_BYTES, Reload, Site};
