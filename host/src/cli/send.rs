//! `weir send`: send files, or made-up readings, to an event hub.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use url::Url;

use crate::config::SourceConfig;
use crate::env;
use crate::event_hubs::{
    Credential, HubSettings, Identity, Outgoing, Producer, Secret, StringProblem, Transport, Trouble, TroubleKind,
};
use crate::source::generator::GeneratorSettings;
use crate::{Error, Result};

/// Messages that are put together and sent at once, and their bytes.
const GROUP_MESSAGES: usize = 10_000;
const GROUP_BYTES: usize = 4 << 20;
/// How often sending is tried in a row without a message getting through.
const TRIES: u32 = 6;
/// With a rate, messages go out this often.
const TICK: Duration = Duration::from_millis(100);

/// Send files, or made-up readings, to an event hub.
///
/// Each file is one message, or each of its lines with `--lines`. Messages are
/// sent at least once: those of a batch whose answer is lost are sent again.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  weir send --to pipeline.toml input/*.json
  export EVENT_HUBS_CONNECTION_STRING='Endpoint=sb://…;SharedAccessKeyName=…;SharedAccessKey=…'
  weir send --event-hub telemetry --lines readings.jsonl
  weir send --event-hub telemetry --readings 100000 --rate 500
  weir send --namespace factory.servicebus.windows.net --event-hub telemetry input/*.json")]
pub(super) struct Args {
    /// The files, in this order.
    #[arg(value_name = "FILE", required_unless_present = "readings", conflicts_with = "readings")]
    files: Vec<PathBuf>,
    /// Send to the event hub that this pipeline reads.
    #[arg(long, value_name = "PIPELINE", conflicts_with_all = ["namespace", "endpoint", "transport"])]
    to: Option<PathBuf>,
    /// The name of the event hub, unless the connection string or the pipeline has it.
    #[arg(long, value_name = "NAME")]
    event_hub: Option<String>,
    /// The connection string; better given by the environment than on the command line.
    #[arg(long, value_name = "TEXT", env = "EVENT_HUBS_CONNECTION_STRING", hide_env_values = true, value_parser = secret)]
    connection_string: Option<Secret>,
    /// The namespace, to send as who is signed in to the Azure CLI.
    #[arg(long, value_name = "HOST")]
    namespace: Option<String>,
    /// Where to connect to instead, for example amqp://localhost:5672.
    #[arg(long, value_name = "URL")]
    endpoint: Option<Url>,
    /// Over what AMQP goes.
    #[arg(long, value_enum)]
    transport: Option<Protocol>,
    /// Each line of a file is a message.
    #[arg(long, conflicts_with = "readings")]
    lines: bool,
    /// The key that chooses the partition; messages are dealt in turn without one.
    #[arg(long, value_name = "TEXT")]
    partition_key: Option<String>,
    /// Send so many made-up readings instead of files.
    #[arg(long, value_name = "N")]
    readings: Option<u64>,
    /// How many readings one message has.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    readings_per_message: u32,
    /// The same seed gives the same readings.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many devices send readings.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    devices: u32,
    /// How long an answer may take before a batch is sent again.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = timeout)]
    timeout: Duration,
    /// At most so many messages a second.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
}

/// Over what AMQP goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Protocol {
    /// TCP, port 5671.
    Amqp,
    /// WebSockets, port 443.
    Websocket,
}

fn secret(text: &str) -> std::result::Result<Secret, String> {
    Ok(Secret::new(text))
}

fn timeout(text: &str) -> std::result::Result<Duration, String> {
    let time = humantime::parse_duration(text).ok().filter(|time| !time.is_zero());
    time.ok_or_else(|| "write a time longer than zero, such as 10s".to_owned())
}

pub(super) fn execute(args: &Args) -> Result<()> {
    let hub = hub(args)?;
    let bar = bar(args)?;
    let pace = args.rate.map(Pace::new);
    let mut sender = Sender { hub, timeout: args.timeout, producer: None, sent: 0, bytes: 0, bar, pace };
    super::block_on(async {
        let done = match args.readings {
            Some(readings) => send_readings(args, readings, &mut sender).await,
            None => send_files(args, &mut sender).await,
        };
        sender.bar.finish_and_clear();
        done?;
        if let Some(producer) = sender.producer.take() {
            producer.close().await;
        }
        let messages = if sender.sent == 1 { "1 message".to_owned() } else { format!("{} messages", sender.sent) };
        super::print(&format!("{messages} ({} bytes) sent to the {}", sender.bytes, sender.hub))
    })
}

/// Where to send to.
fn hub(args: &Args) -> Result<HubSettings> {
    if let Some(pipeline) = &args.to {
        let (pipeline, _) = super::load(pipeline)?;
        let SourceConfig::EventHubs(source) = pipeline.source else {
            return Err(Error::config("the pipeline reads no event hub: `--to` takes one with `[source.event_hubs]`"));
        };
        let event_hub = args.event_hub.clone().unwrap_or_else(|| source.hub.event_hub.clone());
        return Ok(HubSettings { event_hub, ..source.hub });
    }
    let transport = match args.transport {
        Some(Protocol::Websocket) => Transport::WebSocket,
        Some(Protocol::Amqp) | None => Transport::Amqp,
    };
    let endpoint = args.endpoint.clone();
    let unnamed = || Error::config("it is not said which event hub: add `--event-hub NAME`");
    if let Some(namespace) = &args.namespace {
        let event_hub = args.event_hub.clone().ok_or_else(unnamed)?;
        let credential = Credential::Entra(Identity::DeveloperTools);
        return Ok(HubSettings { namespace: namespace.clone(), event_hub, credential, transport, endpoint });
    }
    let text = args.connection_string.as_ref().ok_or_else(|| {
        Error::config(
            "it is not said where to send to: set EVENT_HUBS_CONNECTION_STRING, or use `--to PIPELINE` or `--namespace HOST`",
        )
    })?;
    let hub = HubSettings::of_connection_string(text.reveal(), args.event_hub.clone(), transport, endpoint);
    hub.map_err(|problem| match problem {
        StringProblem::NoHub => unnamed(),
        problem => Error::config(problem.to_string()),
    })
}

fn bar(args: &Args) -> Result<ProgressBar> {
    if !std::io::stderr().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    let length = match args.readings {
        Some(readings) => readings.div_ceil(u64::from(args.readings_per_message)),
        None if args.lines => return Ok(ProgressBar::new_spinner()),
        None => args.files.len() as u64,
    };
    let style = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} messages, {per_sec}, {eta} left");
    let style = style.map_err(|error| Error::bug("the bar has a broken template").because(error))?;
    Ok(ProgressBar::new(length).with_style(style))
}

async fn send_files(args: &Args, sender: &mut Sender) -> Result<()> {
    let message = |body: Bytes| Outgoing { body, partition_key: args.partition_key.clone(), ..Outgoing::default() };
    let mut group = Vec::new();
    for path in &args.files {
        let bytes = read(path).await?;
        if args.lines {
            let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).filter(|line| !line.is_empty());
            for line in lines {
                group.push(message(bytes.slice_ref(line)));
            }
        } else {
            group.push(message(bytes));
        }
        if group.len() >= GROUP_MESSAGES || group.iter().map(|one| one.body.len()).sum::<usize>() >= GROUP_BYTES {
            sender.send(&group).await.map_err(|error| error.during(path.display()))?;
            group.clear();
        }
    }
    sender.send(&group).await
}

async fn read(path: &Path) -> Result<Bytes> {
    let owned = path.to_owned();
    env::blocking(move || {
        std::fs::read(&owned)
            .map(Bytes::from)
            .map_err(|error| Error::unavailable(format!("cannot read {}", owned.display())).because(error))
    })
    .await
}

async fn send_readings(args: &Args, readings: u64, sender: &mut Sender) -> Result<()> {
    let settings = GeneratorSettings {
        seed: args.seed,
        devices: args.devices,
        readings_per_message: args.readings_per_message,
        ..GeneratorSettings::default()
    };
    settings.validate()?;
    let messages = readings.div_ceil(u64::from(args.readings_per_message));
    let mut next = 0;
    while next < messages {
        let group =
            (messages - next).min(GROUP_MESSAGES as u64).min((GROUP_BYTES as u64 / settings.message_bytes()).max(1));
        let outgoing: Vec<Outgoing> = (next..next + group)
            .map(|offset| {
                let mut body = Vec::new();
                settings.write_message(0, offset, &mut body);
                Outgoing { body: body.into(), partition_key: args.partition_key.clone(), ..Outgoing::default() }
            })
            .collect();
        sender.send(&outgoing).await?;
        next += group;
    }
    Ok(())
}

/// Keeps to a number of messages a second.
struct Pace {
    rate: u64,
    watch: env::Stopwatch,
}

impl Pace {
    fn new(rate: u64) -> Self {
        Self { rate, watch: env::Stopwatch::start() }
    }

    /// How many messages may go out now that so many have.
    fn allows(&self, sent: u64) -> u64 {
        let by_now = (self.watch.elapsed() + TICK).as_millis().saturating_mul(u128::from(self.rate)) / 1000;
        u64::try_from(by_now).unwrap_or(u64::MAX).saturating_sub(sent)
    }
}

/// Sends, and tries again.
struct Sender {
    hub: HubSettings,
    timeout: Duration,
    producer: Option<Producer>,
    sent: u64,
    bytes: u64,
    bar: ProgressBar,
    pace: Option<Pace>,
}

impl Sender {
    async fn send(&mut self, mut messages: &[Outgoing]) -> Result<()> {
        while !messages.is_empty() {
            let allowed = self.pace.as_ref().map_or(u64::MAX, |pace| pace.allows(self.sent));
            let count = messages.len().min(usize::try_from(allowed).unwrap_or(usize::MAX));
            if count == 0 {
                tokio::time::sleep(TICK).await;
                continue;
            }
            let (now, later) = messages.split_at(count);
            self.send_all(now).await?;
            messages = later;
        }
        Ok(())
    }

    async fn send_all(&mut self, mut messages: &[Outgoing]) -> Result<()> {
        let mut failed = 0;
        while !messages.is_empty() {
            let before = self.sent;
            let Err(trouble) = self.send_some(&mut messages).await else { continue };
            failed = if self.sent > before { 1 } else { failed + 1 };
            let is_final = matches!(trouble.kind, TroubleKind::Denied | TroubleKind::Missing | TroubleKind::Refused);
            if is_final || failed >= TRIES {
                let so_far = format!("so far {} of the messages were sent, the next ones may have been", self.sent);
                return Err(trouble.about(&self.hub).during(so_far));
            }
            let asked = match trouble.kind {
                TroubleKind::Busy { retry_after } => retry_after,
                _ => None,
            };
            tracing::warn!("the {} is tried again; messages may arrive twice: {trouble}", self.hub);
            tokio::time::sleep(env::back_off(&self.hub.event_hub, "send", failed, asked)).await;
        }
        Ok(())
    }

    /// Send as far as it goes, and move behind what the service has.
    async fn send_some(&mut self, messages: &mut &[Outgoing]) -> Result<(), Trouble> {
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => self.hub.producer(self.timeout).await?,
        };
        let sent = producer.send(messages).await;
        let (done, left) = messages.split_at(sent.messages);
        self.sent += done.len() as u64;
        self.bytes += done.iter().map(|message| message.body.len() as u64).sum::<u64>();
        self.bar.inc(done.len() as u64);
        *messages = left;
        match sent.trouble {
            None => {
                self.producer = Some(producer);
                Ok(())
            }
            Some(trouble) => {
                producer.close().await;
                Err(trouble)
            }
        }
    }
}
