//! A local Event Hubs endpoint that speaks AMQP 1.0 over plain TCP, with faults on command.

use std::fs;
use std::io::{self, BufRead as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use clap::Parser;
use weir_tests::event_hubs::{AtEnd, Key, LocalHubs, Settings};

const EXAMPLES: &str = "\
Examples:
  event-hubs-local --hub telemetry=4
  event-hubs-local --port 5672 --hub telemetry=4 --hub alerts=2 --fill telemetry=100000,250
  event-hubs-local --hub telemetry=1 --key-name root --key secret --ready-file ready

Commands are read line by line; help lists them:
  drop telemetry/0
  busy receivers:telemetry always
  freeze telemetry/0 30 after 1000 deliveries
  trim telemetry/0 500
  status";

/// A local Event Hubs endpoint for tests: AMQP 1.0 over plain TCP, with faults on command
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
struct Arguments {
    /// The port; 0 takes a free one
    #[arg(long, default_value_t = 5672)]
    port: u16,
    /// A hub and the number of its partitions; may be repeated
    #[arg(long = "hub", value_name = "NAME=PARTITIONS", required = true, value_parser = hub)]
    hubs: Vec<(String, usize)>,
    /// Name of the key that tokens must be signed with
    #[arg(long, requires = "key", value_name = "NAME")]
    key_name: Option<String>,
    /// The key that tokens must be signed with; without it any token is taken
    #[arg(long, requires = "key_name")]
    key: Option<String>,
    /// Sequence number of the first message of each partition
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    first_sequence: i64,
    /// Let receivers begin inclusively at the sequence number or offset that comes next
    #[arg(long)]
    accept_at_end: bool,
    /// Store messages of a size in all partitions of a hub together; may be repeated
    #[arg(long, value_name = "NAME=COUNT,BYTES", value_parser = fill)]
    fill: Vec<(String, usize, usize)>,
    /// Write the first connection string to a file when it listens
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
}

fn hub(text: &str) -> Result<(String, usize), String> {
    let wrong = || format!("{text:?} is not NAME=PARTITIONS, for example telemetry=4");
    let (name, partitions) = text.split_once('=').ok_or_else(wrong)?;
    let partitions = partitions.parse().ok().filter(|count| *count > 0).ok_or_else(wrong)?;
    Ok((name.to_owned(), partitions))
}

fn fill(text: &str) -> Result<(String, usize, usize), String> {
    let wrong = || format!("{text:?} is not NAME=COUNT,BYTES, for example telemetry=100000,250");
    let (name, size) = text.split_once('=').ok_or_else(wrong)?;
    let (count, bytes) = size.split_once(',').ok_or_else(wrong)?;
    Ok((name.to_owned(), count.parse().map_err(|_| wrong())?, bytes.parse().map_err(|_| wrong())?))
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _closed = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), String> {
    let Arguments { port, hubs, key_name, key, first_sequence, accept_at_end, fill, ready_file } = arguments;
    let names: Vec<_> = hubs.iter().map(|(name, _)| name.clone()).collect();
    for (name, ..) in &fill {
        if !names.contains(name) {
            return Err(format!("--fill names hub {name:?}, which no --hub does"));
        }
    }
    let settings = Settings {
        hubs,
        port,
        key: key_name.zip(key).map(|(name, secret)| Key { name, secret }),
        first_sequence,
        at_end: if accept_at_end { AtEnd::Accepted } else { AtEnd::Refused },
        log: Some(Arc::new(say)),
        ..Settings::default()
    };
    let endpoint = LocalHubs::try_start(settings).map_err(|error| format!("port {port} cannot be had: {error}"))?;
    for (name, count, bytes) in fill {
        let partitions = endpoint.partitions(&name);
        let body = Bytes::from(vec![b'x'; bytes]);
        for partition in 0..partitions {
            let share = count / partitions + usize::from(partition < count % partitions);
            endpoint.append_many(&name, partition, std::iter::repeat_n(body.clone(), share));
        }
    }
    names.iter().for_each(|name| say(&endpoint.connection_string(name)));
    if let (Some(path), Some(first)) = (&ready_file, names.first()) {
        // Whoever waits for the file must not find it half written.
        let partial = path.with_extension("partial");
        let written = fs::write(&partial, endpoint.connection_string(first)).and_then(|()| fs::rename(&partial, path));
        written.map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    }
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        if line.trim().is_empty() {
            continue;
        }
        match endpoint.obey(&line) {
            Ok(text) => say(&text),
            Err(wrong) => say(&format!("error: {wrong}")),
        }
    }
    // Nobody gives commands any more, but clients still come.
    loop {
        std::thread::park();
    }
}

/// Print a line; whoever closed our output wants no more of it.
fn say(line: &str) {
    let _closed = writeln!(io::stdout().lock(), "{line}");
}
